/** Moments, expectations and observations on a chart's canvas. Bands lie under the lines, the rest above. */
import type uPlot from "uplot";
import { type ChartColors, withAlpha } from "./colors";
import { scaledFont } from "./draw";
import type { ChartNotes, Expectation, Mark, Observation } from "./notes";

/** Clips what `paint` draws to the chart. */
function within(u: uPlot, paint: (ctx: CanvasRenderingContext2D) => void): void {
  const { ctx, bbox } = u;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  paint(ctx);
  ctx.restore();
}

const BANDS = { promised: "teal", without: "slate" } as const;

const atTime = (u: uPlot, tsMs: number): number => u.valToPos(tsMs / 1000, "x", true);
const atValue = (u: uPlot, value: number): number => u.valToPos(value, "y", true);

/** Under the lines: what was expected. */
export function drawExpected(u: uPlot, { expected = [] }: ChartNotes, colors: ChartColors): void {
  if (expected.length === 0) return;
  within(u, (ctx) => {
    for (const each of expected) drawBand(u, ctx, each, colors.series(BANDS[each.kind]));
  });
}

function drawBand(u: uPlot, ctx: CanvasRenderingContext2D, band: Expectation, color: string): void {
  const left = atTime(u, band.fromMs);
  const width = Math.max(devicePixelRatio, atTime(u, band.toMs) - left);
  const top = atValue(u, band.high);
  ctx.fillStyle = withAlpha(color, 0.2);
  ctx.fillRect(left, top, width, Math.max(devicePixelRatio, atValue(u, band.low) - top));
  ctx.strokeStyle = color;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([6 * devicePixelRatio, 3 * devicePixelRatio]);
  ctx.beginPath();
  const y = Math.round(atValue(u, band.value)) + 0.5;
  ctx.moveTo(left, y);
  ctx.lineTo(left + width, y);
  ctx.stroke();
  ctx.setLineDash([]);
}

/** Above the lines: moments, and what was seen. */
export function drawSeen(u: uPlot, { marks = [], observed = [] }: ChartNotes, colors: ChartColors): void {
  if (marks.length > 0) within(u, (ctx) => drawMarks(u, ctx, marks, colors));
  if (observed.length === 0) return;
  within(u, (ctx) => {
    for (const each of observed) drawObservation(u, ctx, each, colors);
  });
}

/** Labels that would run into the one before are left out; the line stays. */
function drawMarks(
  u: uPlot,
  ctx: CanvasRenderingContext2D,
  marks: readonly Mark[],
  colors: ChartColors,
): void {
  const { bbox } = u;
  const pad = 4 * devicePixelRatio;
  ctx.strokeStyle = colors.reference;
  ctx.lineWidth = devicePixelRatio;
  ctx.font = scaledFont(colors.font);
  ctx.textBaseline = "top";
  let free = Number.NEGATIVE_INFINITY;
  for (const { tsMs, label } of marks) {
    const x = Math.round(atTime(u, tsMs)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.beginPath();
    ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio]);
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
    const { width } = ctx.measureText(label);
    const isLeft = x + pad + width > bbox.left + bbox.width;
    const start = isLeft ? x - pad - width : x + pad;
    if (start < free) continue;
    free = start + width + pad;
    ctx.setLineDash([]);
    // A rim, so that lines behind it do not cross the label.
    ctx.save();
    ctx.strokeStyle = colors.surface;
    ctx.lineWidth = 4 * devicePixelRatio;
    ctx.textAlign = "left";
    ctx.strokeText(label, start, bbox.top + pad);
    ctx.fillStyle = colors.reference;
    ctx.fillText(label, start, bbox.top + pad);
    ctx.restore();
  }
}

const TONES = { good: "green", warn: "amber", bad: "red", calm: "slate" } as const;

function drawObservation(
  u: uPlot,
  ctx: CanvasRenderingContext2D,
  seen: Observation,
  colors: ChartColors,
): void {
  const color = colors.series(TONES[seen.tone]);
  const x = Math.round(atTime(u, seen.tsMs)) + 0.5;
  const [low, high] = [atValue(u, seen.low), atValue(u, seen.high)];
  const cap = 4 * devicePixelRatio;
  ctx.strokeStyle = color;
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(x, low);
  ctx.lineTo(x, high);
  for (const y of [low, high]) {
    ctx.moveTo(x - cap, y);
    ctx.lineTo(x + cap, y);
  }
  ctx.stroke();
  ctx.beginPath();
  ctx.arc(x, atValue(u, seen.value), 3.6 * devicePixelRatio, 0, 2 * Math.PI);
  ctx.fillStyle = color;
  ctx.fill();
  ctx.strokeStyle = colors.surface;
  ctx.stroke();
}
