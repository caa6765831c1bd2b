/** What is drawn on a chart's canvas besides uPlot's own lines. */
import type uPlot from "uplot";
import type { ChartColors } from "./colors";
import type { ChartModel } from "./model";

const HATCH_TILE = 8;

/** A tile of diagonal strokes; patterns repeat in canvas pixels, so it is made for one pixel ratio. */
export function hatchPattern(ctx: CanvasRenderingContext2D, color: string): CanvasPattern | null {
  const size = Math.round(HATCH_TILE * devicePixelRatio);
  const tile = document.createElement("canvas");
  tile.width = size;
  tile.height = size;
  const pen = tile.getContext("2d");
  if (!pen) return null;
  pen.strokeStyle = color;
  pen.lineWidth = devicePixelRatio;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift - 1, size + 1);
    pen.lineTo(shift + size + 1, -1);
  }
  pen.stroke();
  return ctx.createPattern(tile, "repeat");
}

/** Hatches the time in which nothing is known. */
export function drawUnknown(u: uPlot, model: ChartModel, pattern: CanvasPattern | null): void {
  if (!pattern) return;
  const { ctx, bbox } = u;
  ctx.save();
  ctx.fillStyle = pattern;
  for (const [from, to] of model.unknown) {
    const left = Math.max(bbox.left, u.valToPos(from, "x", true));
    const right = Math.min(bbox.left + bbox.width, u.valToPos(to, "x", true));
    if (right - left >= 1) ctx.fillRect(left, bbox.top, right - left, bbox.height);
  }
  ctx.restore();
}

/** A dashed level with its name. */
export function drawReference(u: uPlot, model: ChartModel, colors: ChartColors): void {
  if (!model.reference) return;
  const { ctx, bbox } = u;
  const y = Math.round(u.valToPos(model.reference.value, "y", true));
  if (y < bbox.top || y > bbox.top + bbox.height) return;
  ctx.save();
  ctx.strokeStyle = colors.reference;
  ctx.fillStyle = colors.reference;
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([4 * devicePixelRatio, 4 * devicePixelRatio]);
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.font = scaledFont(colors.font);
  ctx.textAlign = "left";
  const isBelow = y - bbox.top < 16 * devicePixelRatio;
  ctx.textBaseline = isBelow ? "top" : "bottom";
  ctx.fillText(
    model.reference.label,
    bbox.left + 6 * devicePixelRatio,
    y + (isBelow ? 4 : -2) * devicePixelRatio,
  );
  ctx.restore();
}

/** The line between the two directions of a mirror. */
export function drawZero(u: uPlot, color: string): void {
  const { ctx, bbox } = u;
  const y = Math.round(u.valToPos(0, "y", true)) + 0.5;
  ctx.save();
  ctx.strokeStyle = color;
  ctx.lineWidth = devicePixelRatio;
  ctx.beginPath();
  ctx.moveTo(bbox.left, y);
  ctx.lineTo(bbox.left + bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

/** One strip for each row, the first on top; the hotter, the larger the share. Unknown is left blank. */
export function drawHeat(u: uPlot, model: ChartModel, colors: ChartColors): void {
  const { ctx, bbox } = u;
  const { xs, visible } = model;
  const stepPx =
    xs.length > 1 ? u.valToPos(xs[1] ?? 0, "x", true) - u.valToPos(xs[0] ?? 0, "x", true) : bbox.width;
  const rowPx = bbox.height / Math.max(1, visible.length);
  const gap = rowPx > 6 * devicePixelRatio ? devicePixelRatio : 0;
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const lefts = xs.map((x) => u.valToPos(x, "x", true));
  visible.forEach((row, at) => {
    const top = bbox.top + at * rowPx;
    lefts.forEach((left, index) => {
      const value = row.values[index];
      if (value === null || value === undefined) return;
      ctx.globalAlpha = 1;
      ctx.fillStyle = colors.heatCold;
      ctx.fillRect(left - stepPx, top, stepPx + 0.6, rowPx - gap);
      ctx.globalAlpha = Math.min(1, Math.max(0, value));
      ctx.fillStyle = colors.heatHot;
      ctx.fillRect(left - stepPx, top, stepPx + 0.6, rowPx - gap);
    });
  });
  ctx.restore();
}

/** `font` in canvas pixels. */
export function scaledFont(font: string): string {
  return font.replace(/(\d+)px/, (_, size: string) => `${Number(size) * devicePixelRatio}px`);
}
