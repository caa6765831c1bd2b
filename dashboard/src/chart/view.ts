/**
 * One chart on the page: owns its uPlot, updates it in place, and builds it anew only when its rows change.
 * A chart outside the viewport is not drawn; it catches up when it comes into view.
 */
import uPlot from "uplot";
import type { Unit } from "../lib/format";
import { readColors } from "./colors";
import { drawHeat, drawReference, drawUnknown, drawZero, hatchPattern } from "./draw";
import { drawExpected, drawSeen } from "./drawNotes";
import { type ChartModel, plotLines, structureOf } from "./model";
import { optionsFor } from "./options";

export interface ChartEvents {
  /** The crosshair is at this bucket of the model, or has left. */
  onCursor(at: number | null): void;
  /** A stretch of time was selected. */
  onZoom(fromMs: number, toMs: number): void;
  /** Double click: back to before the zoom. */
  onReset(): void;
}

const HEIGHT_PX = 168;
/** A narrower selection is a click, not a zoom. */
const MIN_SELECT_PX = 5;

/** The chart on which the pointer went down; the others only mirror its selection. */
let dragging: ChartView | null = null;

export class ChartView {
  private plot: uPlot | null = null;
  private structure = "";
  private model: ChartModel | null = null;
  private isVisible = false;
  private isStale = false;
  private pattern: CanvasPattern | null = null;
  private colors = readColors();
  private readonly resize: ResizeObserver;
  private readonly intersection: IntersectionObserver;

  constructor(
    private readonly host: HTMLElement,
    private readonly unit: Unit,
    private readonly events: ChartEvents,
  ) {
    this.resize = new ResizeObserver(() => {
      const width = this.host.clientWidth;
      if (this.plot && width > 0 && width !== this.plot.width)
        this.plot.setSize({ width, height: HEIGHT_PX });
    });
    this.resize.observe(host);
    this.intersection = new IntersectionObserver(
      (entries) => {
        this.isVisible = entries.at(-1)?.isIntersecting ?? false;
        if (this.isVisible && this.isStale) this.draw();
      },
      { rootMargin: "200px" },
    );
    this.intersection.observe(host);
    host.addEventListener("dblclick", () => this.events.onReset());
    host.addEventListener("mousedown", () => {
      dragging = this;
    });
  }

  dispose(): void {
    this.resize.disconnect();
    this.intersection.disconnect();
    this.plot?.destroy();
    this.plot = null;
    if (dragging === this) dragging = null;
  }

  update(model: ChartModel): void {
    this.model = model;
    this.isStale = true;
    if (this.isVisible) this.draw();
  }

  /** Takes the colours of a changed theme. */
  recolor(): void {
    this.colors = readColors();
    this.structure = "";
    this.isStale = true;
    if (this.isVisible) this.draw();
  }

  /** Moves the crosshair of all charts by `steps` buckets, from the right edge when there is none. */
  moveCursor(steps: number): void {
    const { plot, model } = this;
    if (!plot || !model || model.xs.length === 0) return;
    const last = model.xs.length - 1;
    const at = Math.min(last, Math.max(0, (plot.cursor.idx ?? last + (steps < 0 ? 0 : 1)) + steps));
    const left = plot.valToPos(model.xs[at] ?? 0, "x");
    this.publishCursor(left, plot.over.clientHeight / 2);
  }

  /** Takes the crosshair away from all charts. */
  clearCursor(): void {
    this.publishCursor(-10, -10);
  }

  private publishCursor(left: number, top: number): void {
    // The last argument tells the other charts; uPlot's types do not have it.
    type SetCursor = (at: { left: number; top: number }, fire: boolean, publish: boolean) => void;
    (this.plot?.setCursor as SetCursor | undefined)?.({ left, top }, true, true);
  }

  private draw(): void {
    const { model } = this;
    if (!model) return;
    this.isStale = false;
    const data = [model.xs, ...plotLines(model)] as uPlot.AlignedData;
    const structure = structureOf(model);
    if (this.plot && structure === this.structure) {
      this.plot.setData(data);
      return;
    }
    this.structure = structure;
    this.build(data);
  }

  private build(data: uPlot.AlignedData): void {
    this.plot?.destroy();
    const size = { width: Math.max(120, this.host.clientWidth), height: HEIGHT_PX };
    const current = (): ChartModel => this.model as ChartModel;
    const hooks = {
      clear: (u: uPlot) => {
        drawUnknown(u, current(), this.hatch(u));
        drawExpected(u, current().notes ?? {}, this.colors);
      },
      draw: (u: uPlot) => this.drawOver(u, current()),
      cursor: (u: uPlot) => this.events.onCursor(u.cursor.idx ?? null),
      select: (u: uPlot) => this.onSelect(u),
    };
    this.pattern = null;
    this.plot = new uPlot(optionsFor(current, this.unit, this.colors, size, hooks), data, this.host);
  }

  private hatch(u: uPlot): CanvasPattern | null {
    this.pattern ??= hatchPattern(u.ctx, this.colors.hatch);
    return this.pattern;
  }

  private drawOver(u: uPlot, model: ChartModel): void {
    if (model.shape === "heat") drawHeat(u, model, this.colors);
    if (model.shape === "mirror") drawZero(u, this.colors.zero);
    drawReference(u, model, this.colors);
    drawSeen(u, model.notes ?? {}, this.colors);
  }

  private onSelect(u: uPlot): void {
    const { left, width } = u.select;
    if (width > 0) u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
    if (dragging !== this || width < MIN_SELECT_PX) return;
    dragging = null;
    this.events.onZoom(u.posToVal(left, "x") * 1000, u.posToVal(left + width, "x") * 1000);
  }
}
