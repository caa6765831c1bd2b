/** From the line table to what one chart draws: pure, once for each change. */
import { axisTop, fittedEnds } from "../lib/axis";
import { unknownSpans } from "../lib/gaps";
import type { LineTable, Source, Value, Values } from "../lib/lines";
import { combine, peak, stacked } from "../lib/stack";
import { type AnyPanel, busiest, type HostFacts, type Row } from "../node/panel";
import { coresShape } from "../node/panels/cpu";
import { type ChartNotes, notesOf, noteValues } from "./notes";

export interface ChartModel {
  shape: "lines" | "stack" | "mirror" | "heat";
  /** Starts of buckets, in seconds. */
  xs: readonly number[];
  fromSeconds: number;
  toSeconds: number;
  /** Every row of the legend. */
  rows: readonly Row[];
  /** Rows left out because there are too many. */
  omitted: number;
  /** Rows drawn. */
  visible: readonly Row[];
  /** Time in which nothing is known, in seconds. */
  unknown: readonly [number, number][];
  yMin: number;
  yMax: number;
  reference: { value: number; label: string } | null;
  notes?: ChartNotes;
  /** History is still on its way. */
  isLoading: boolean;
}

/** A last point this close to the right edge is not yet a gap. */
const SLACK_SECONDS = 2.6;

/** The part of a page's knowledge that a chart draws from. */
export interface View {
  table: LineTable;
  /** Questions by name. */
  sources: Readonly<Record<string, Source>>;
  /** Drawn over the charts. */
  notes: { readonly value: Readonly<Record<string, ChartNotes>> };
  window: { fromMs: number; toMs: number };
  /** From here on nothing is called unknown yet. */
  unsettledFromMs: number;
  /** Nothing at all is known of the node in this window. */
  isSilent: boolean | null;
}

export function buildModel(
  panel: AnyPanel,
  { table, sources, notes, window, unsettledFromMs, isSilent }: View,
  hidden: ReadonlySet<string>,
  facts: HostFacts,
): ChartModel {
  const named = (name: string): Source => sources[name] as Source;
  const all = panel.rows((name) => table.linesOf(named(name)));
  const shape = panel.shape === "heat" ? coresShape(all.length) : panel.shape;
  const rows = shape === "heat" ? all : busiest(all);
  const visible = rows.filter((row) => !hidden.has(`${panel.id}:${row.id}`));
  const xs = axisOf(table);
  const isLoading = !panel.sources.every((name) => table.isLoaded(named(name)));
  const [fromSeconds, toSeconds] = [window.fromMs / 1000, window.toMs / 1000];
  const known = rows.flatMap((row) => (row.below ? [row.values, row.below] : [row.values]));
  const reference = panel.reference?.(facts) ?? null;
  const noted = notesOf(notes.value, panel.id);
  const levels = [...noteValues(noted), ...(reference ? [reference.value] : [])];
  const [yMin, yMax] = ends(panel, shape, visible, facts, levels);
  const slack = SLACK_SECONDS + table.stepMs / 1000;
  return {
    shape,
    xs,
    fromSeconds,
    toSeconds,
    rows,
    omitted: all.length - rows.length,
    visible,
    // A host without swap is not a host of unknown swap.
    unknown:
      isLoading || (all.length === 0 && !isSilent)
        ? []
        : unknownSpans(known, xs, fromSeconds, toSeconds, slack).filter(
            ([begin]) => begin * 1000 < unsettledFromMs,
          ),
    yMin,
    yMax,
    reference,
    notes: noted,
    isLoading,
  };
}

function ends(
  panel: AnyPanel,
  shape: ChartModel["shape"],
  visible: readonly Row[],
  facts: HostFacts,
  levels: readonly number[],
): [number, number] {
  if (shape === "heat") return [0, Math.max(1, visible.length)];
  const above =
    shape === "stack" ? stacked(visible.map((row) => row.values)) : visible.map((row) => row.values);
  if (panel.isFitted) return fittedEnds([...above, levels], panel.unit);
  const fixed = panel.top?.(facts) ?? null;
  const top = fixed ?? axisTop(Math.max(peak(above), ...levels), panel.unit);
  if (shape !== "mirror") return [0, top];
  const below = peak(visible.flatMap((row) => (row.below ? [row.below] : [])));
  return [-axisTop(below, panel.unit), top];
}

let cached: { first: number; length: number; stepMs: number; xs: number[] } | null = null;

/** The time axis of a table; the same array as long as the window stands, since all charts share it. */
export function axisOf(table: LineTable): readonly number[] {
  const { first, length, stepMs } = table;
  if (cached?.first !== first || cached.length !== length || cached.stepMs !== stepMs) {
    const xs = Array.from({ length }, (_, at) => ((first + at) * stepMs) / 1000);
    cached = { first, length, stepMs, xs };
  }
  return cached.xs;
}

/** Lines as uPlot takes them, the axis first. */
export function plotLines(model: ChartModel): Values[] {
  const { visible } = model;
  switch (model.shape) {
    case "stack":
      return stacked(visible.map((row) => row.values));
    case "mirror":
      return visible.flatMap((row) => [row.values, negative(row.below ?? row.values.map(() => null))]);
    default:
      return visible.map((row) => row.values);
  }
}

function negative(values: Values): Value[] {
  return combine((value) => -value, values);
}

/** What must be equal for a chart to be updated in place rather than built anew. */
export function structureOf(model: ChartModel): string {
  return [model.shape, ...model.visible.map((row) => `${row.id}/${row.color}`)].join("|");
}
