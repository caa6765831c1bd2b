/**
 * The chart of a hit ratio by size: sizes on a logarithmic axis, a vertical line for each size worth a mark, the
 * interval as a band where there is one, and a hatched area where nothing is known.
 */
import uPlot from "uplot";
import { bytes, formatTick, inLines } from "../lib/format";
import type { Value } from "../lib/lines";
import { type ChartColors, readColors, withAlpha } from "./colors";
import { hatchPattern, scaledFont } from "./draw";

const HEIGHT_PX = 190;
/** Distances of ticks, in powers of two. */
const INCREMENTS = [1, 2, 5, 10, 20];

/** A size worth a vertical line. */
export interface SizeMark {
  bytes: number;
  label: string;
  kind: "now" | "best";
}

export interface CurveShown {
  /** Binary logarithms of sizes. */
  xs: readonly number[];
  ratios: readonly Value[];
  /** Ends of the interval at each size. */
  band?: { lows: readonly Value[]; highs: readonly Value[] };
  /** Ends of the axes. */
  from: number;
  to: number;
  yFrom: number;
  yTo: number;
  /** A size is as good as the next smaller one that was measured; else lines join the points. */
  isStepped: boolean;
  marks: readonly SizeMark[];
  /** From this logarithm on nothing is known but what `label` says. */
  beyond?: { from: number; label: string };
}

export class CurvePlot {
  private plot: uPlot | null = null;
  private shown: CurveShown | null = null;
  private colors = readColors();
  private readonly resize: ResizeObserver;

  constructor(
    private readonly host: HTMLElement,
    /** The crosshair is at this point of the line, or has left. */
    private readonly onCursor: (at: number | null) => void,
  ) {
    this.resize = new ResizeObserver(() => {
      const width = host.clientWidth;
      if (this.plot && width > 0 && width !== this.plot.width)
        this.plot.setSize({ width, height: HEIGHT_PX });
    });
    this.resize.observe(host);
  }

  dispose(): void {
    this.resize.disconnect();
    this.plot?.destroy();
    this.plot = null;
  }

  update(shown: CurveShown): void {
    this.shown = shown;
    const { xs, ratios, band } = shown;
    const lines = band ? [xs, ratios, band.lows, band.highs] : [xs, ratios];
    const data = lines as uPlot.AlignedData;
    if (this.plot && this.plot.series.length === data.length) this.plot.setData(data);
    else {
      this.plot?.destroy();
      this.plot = new uPlot(this.options(shown), data, this.host);
    }
  }

  recolor(): void {
    this.colors = readColors();
    if (!this.shown) return;
    this.plot?.destroy();
    this.plot = null;
    this.update(this.shown);
  }

  /** Moves the crosshair by `steps` points. */
  moveCursor(steps: number): void {
    const xs = this.shown?.xs ?? [];
    if (!this.plot || xs.length === 0) return;
    const last = xs.length - 1;
    const at = Math.min(last, Math.max(0, (this.plot.cursor.idx ?? (steps < 0 ? xs.length : -1)) + steps));
    this.plot.setCursor({ left: this.plot.valToPos(xs[at] ?? 0, "x"), top: 20 });
  }

  clearCursor(): void {
    this.plot?.setCursor({ left: -10, top: -10 });
  }

  private options(shown: CurveShown): uPlot.Options {
    const stroke = this.colors.series("blue");
    const stepped = shown.isStepped ? uPlot.paths.stepped?.({ align: 1 }) : undefined;
    const line: uPlot.Series = {
      stroke,
      width: 1.6,
      points: { show: false },
      ...(!shown.band && { fill: withAlpha(stroke, 0.1) }),
      ...(stepped && { paths: stepped }),
    };
    const end: uPlot.Series = { stroke: withAlpha(stroke, 0.35), width: 1, points: { show: false } };
    return {
      width: Math.max(120, this.host.clientWidth),
      height: HEIGHT_PX,
      padding: [8, 30, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: false, range: () => [this.shown?.from ?? 0, this.shown?.to ?? 1] },
        y: { range: () => [this.shown?.yFrom ?? 0, this.shown?.yTo ?? 1] },
      },
      axes: this.axes(),
      series: shown.band ? [{}, line, end, end] : [{}, line],
      bands: shown.band ? [{ series: [3, 2], fill: withAlpha(stroke, 0.18) }] : [],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      hooks: {
        drawClear: [(u) => this.drawBeyond(u)],
        draw: [(u) => this.drawMarks(u)],
        setCursor: [(u) => this.onCursor(u.cursor.idx ?? null)],
      },
    };
  }

  private axes(): uPlot.Axis[] {
    const { colors } = this;
    const common = {
      stroke: colors.text,
      font: colors.font,
      grid: { stroke: colors.grid, width: 1 },
      ticks: { show: false },
      gap: 6,
    };
    return [
      {
        ...common,
        size: 24,
        space: 64,
        incrs: INCREMENTS,
        values: (_u, ticks) => ticks.map((power) => bytes(2 ** power)),
      },
      {
        ...common,
        size: 62,
        space: 26,
        values: (_u, ticks) => ticks.map((tick) => formatTick(tick, "ratio")),
      },
    ];
  }

  /** Hatches the sizes that nothing is known of. */
  private drawBeyond(u: uPlot): void {
    const { beyond } = this.shown ?? {};
    const pattern = beyond && hatchPattern(u.ctx, this.colors.hatch);
    if (!beyond || !pattern) return;
    const { ctx, bbox } = u;
    const left = Math.max(bbox.left, u.valToPos(beyond.from, "x", true));
    const width = bbox.left + bbox.width - left;
    if (width < 1) return;
    ctx.save();
    ctx.fillStyle = pattern;
    ctx.fillRect(left, bbox.top, width, bbox.height);
    ctx.restore();
  }

  private drawMarks(u: uPlot): void {
    const { marks = [], beyond } = this.shown ?? {};
    const largest = Math.max(...marks.map((mark) => mark.bytes));
    for (const mark of marks) drawMark(u, mark, mark.bytes < largest, this.colors);
    if (beyond) drawBeyondLabel(u, beyond, this.colors);
  }
}

/** Where on the height the words about sizes beyond stand: a curve that ends is usually high up, and marks have theirs below. */
const LABEL_AT = 0.4;

/** Beside the end of the curve, at its right; in two lines where one has no room, and over the curve where none has. */
function drawBeyondLabel(u: uPlot, beyond: { from: number; label: string }, colors: ChartColors): void {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  const x = u.valToPos(beyond.from, "x", true);
  ctx.save();
  ctx.font = scaledFont(colors.font);
  const gap = 6 * scale;
  const end = bbox.left + bbox.width;
  const lines = inLines(beyond.label, (text) => ctx.measureText(text).width <= end - x - gap);
  const isLeft = lines === null;
  ctx.textAlign = isLeft ? "right" : "left";
  ctx.textBaseline = "top";
  const top = bbox.top + bbox.height * LABEL_AT;
  (lines ?? [beyond.label]).forEach((line, at) => {
    label(ctx, line, isLeft ? end - gap : x + gap, top + at * 14 * scale, colors.text, colors);
  });
  ctx.restore();
}

/** Text with a rim, so that lines behind it do not cross it. */
function label(
  ctx: CanvasRenderingContext2D,
  text: string,
  x: number,
  y: number,
  color: string,
  colors: ChartColors,
): void {
  ctx.setLineDash([]);
  ctx.strokeStyle = colors.surface;
  ctx.lineWidth = 4 * devicePixelRatio;
  ctx.strokeText(text, x, y);
  ctx.fillStyle = color;
  ctx.fillText(text, x, y);
}

/** A vertical line with its size; the present one is drawn through, the best one dashed. The smaller one's label stands at its left. */
function drawMark(u: uPlot, mark: SizeMark, isSmaller: boolean, colors: ChartColors): void {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  const x = Math.round(u.valToPos(Math.log2(Math.max(1, mark.bytes)), "x", true)) + 0.5;
  const color = mark.kind === "now" ? colors.text : colors.series("green");
  ctx.save();
  ctx.strokeStyle = color;
  ctx.lineWidth = 1.4 * scale;
  if (mark.kind === "best") ctx.setLineDash([5 * scale, 4 * scale]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.font = scaledFont(colors.font);
  ctx.textBaseline = "bottom";
  const gap = 6 * scale;
  const width = ctx.measureText(mark.label).width + gap;
  const isLeft = isSmaller ? x - bbox.left > width : bbox.left + bbox.width - x < width;
  ctx.textAlign = isLeft ? "right" : "left";
  // Near the bottom, where a curve worth having is not; each in a line of its own.
  const y = bbox.top + bbox.height - (mark.kind === "now" ? 6 : 21) * scale;
  label(ctx, mark.label, x + (isLeft ? -gap : gap), y, color, colors);
  ctx.restore();
}
