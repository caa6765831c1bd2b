/** The chart of a predicted hit ratio: sizes on a logarithmic axis, and a vertical line for each size worth a mark. */
import uPlot from "uplot";
import { type ChartColors, readColors, withAlpha } from "../chart/colors";
import { bytes, formatTick } from "../lib/format";
import type { CurveLine, SizeMark } from "./curve";

const HEIGHT_PX = 190;
/** Distances of ticks, in powers of two. */
const INCREMENTS = [1, 2, 5, 10, 20];

export interface CurveShown {
  line: CurveLine;
  marks: readonly SizeMark[];
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
    const data: uPlot.AlignedData = [shown.line.xs, shown.line.ratios];
    if (this.plot) this.plot.setData(data);
    else this.plot = new uPlot(this.options(), data, this.host);
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
    const xs = this.shown?.line.xs ?? [];
    if (!this.plot || xs.length === 0) return;
    const last = xs.length - 1;
    const at = Math.min(last, Math.max(0, (this.plot.cursor.idx ?? (steps < 0 ? xs.length : -1)) + steps));
    this.plot.setCursor({ left: this.plot.valToPos(xs[at] ?? 0, "x"), top: 20 });
  }

  clearCursor(): void {
    this.plot?.setCursor({ left: -10, top: -10 });
  }

  private options(): uPlot.Options {
    const { colors } = this;
    const common = {
      stroke: colors.text,
      font: colors.font,
      grid: { stroke: colors.grid, width: 1 },
      ticks: { show: false },
      gap: 6,
    };
    const stroke = colors.series("blue");
    const stepped = uPlot.paths.stepped?.({ align: 1 });
    return {
      width: Math.max(120, this.host.clientWidth),
      height: HEIGHT_PX,
      padding: [8, 30, 0, 0],
      legend: { show: false },
      scales: {
        x: { time: false, range: () => [this.shown?.line.from ?? 0, this.shown?.line.to ?? 1] },
        y: { range: () => [0, 1] },
      },
      axes: [
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
      ],
      series: [
        {},
        {
          stroke,
          width: 1.6,
          fill: withAlpha(stroke, 0.1),
          points: { show: false },
          ...(stepped && { paths: stepped }),
        },
      ],
      cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
      hooks: {
        draw: [(u) => this.drawMarks(u)],
        setCursor: [(u) => this.onCursor(u.cursor.idx ?? null)],
      },
    };
  }

  private drawMarks(u: uPlot): void {
    const marks = this.shown?.marks ?? [];
    const largest = Math.max(...marks.map((mark) => mark.bytes));
    for (const mark of marks) drawMark(u, mark, mark.bytes < largest, this.colors);
  }
}

/** A vertical line with its size; the present one is drawn through, the best one dashed. The smaller one's label stands at its left. */
function drawMark(u: uPlot, mark: SizeMark, isSmaller: boolean, colors: ChartColors): void {
  const { ctx, bbox } = u;
  const scale = devicePixelRatio;
  const x = Math.round(u.valToPos(Math.log2(Math.max(1, mark.bytes)), "x", true)) + 0.5;
  const color = mark.kind === "now" ? colors.text : colors.series("green");
  ctx.save();
  ctx.strokeStyle = color;
  ctx.fillStyle = color;
  ctx.lineWidth = 1.4 * scale;
  if (mark.kind === "best") ctx.setLineDash([5 * scale, 4 * scale]);
  ctx.beginPath();
  ctx.moveTo(x, bbox.top);
  ctx.lineTo(x, bbox.top + bbox.height);
  ctx.stroke();
  ctx.font = colors.font.replace(/(\d+)px/, (_, size: string) => `${Number(size) * scale}px`);
  ctx.textBaseline = "bottom";
  const gap = 6 * scale;
  const width = ctx.measureText(mark.label).width + gap;
  const isLeft = isSmaller ? x - bbox.left > width : bbox.left + bbox.width - x < width;
  ctx.textAlign = isLeft ? "right" : "left";
  // Near the bottom, where a curve worth having is not; each in a line of its own.
  const y = bbox.top + bbox.height - (mark.kind === "now" ? 6 : 21) * scale;
  const labelX = x + (isLeft ? -gap : gap);
  // A rim, so that lines behind it do not cross the label.
  ctx.setLineDash([]);
  ctx.strokeStyle = colors.surface;
  ctx.lineWidth = 4 * scale;
  ctx.strokeText(mark.label, labelX, y);
  ctx.fillText(mark.label, labelX, y);
  ctx.restore();
}
