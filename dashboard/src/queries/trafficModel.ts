/** What the chart of a layer's accesses draws. */
import type { ChartModel } from "../chart/model";
import { axisTop } from "../lib/axis";
import { unknownSpans } from "../lib/gaps";
import { peak } from "../lib/stack";
import type { Row } from "../node/panel";
import { KEPT_MS, type Layer, type Outcome, ratesOf, type Step } from "./traffic";

/** Lines differ by their strokes too, for readers who do not see colours. */
export const STROKES: Record<Outcome, { label: string; color: string; dash?: number[] }> = {
  hits: { label: "hits", color: "green" },
  misses: { label: "misses", color: "amber", dash: [7, 3] },
  stale: { label: "stale served", color: "violet", dash: [2, 3] },
};

/** The shortest time that is drawn, while there are few readings. */
const SHORTEST_MS = 60_000;
/** A last point this close to the right edge is not yet a gap. */
const SLACK_SECONDS = 8;

export function trafficModel(
  layer: Layer,
  outcomes: readonly Outcome[],
  steps: readonly Step[],
  nowMs: number,
): ChartModel {
  const xs = steps.map(({ tsMs }) => tsMs / 1000);
  const rows = outcomes.map((outcome): Row => {
    const { label, color, dash } = STROKES[outcome];
    const values = ratesOf(steps, layer, outcome);
    return { id: outcome, label, color, values, ...(dash && { dash }) };
  });
  const known = rows.map(({ values }) => values);
  const firstMs = (steps[0]?.tsMs ?? nowMs) - (steps[0]?.coverMs ?? 0);
  const fromMs = Math.max(nowMs - KEPT_MS, Math.min(firstMs, nowMs - SHORTEST_MS));
  const [fromSeconds, toSeconds] = [fromMs / 1000, nowMs / 1000];
  return {
    shape: "lines",
    xs,
    fromSeconds,
    toSeconds,
    rows,
    omitted: 0,
    visible: rows,
    unknown: unknownSpans(known, xs, fromSeconds, toSeconds, SLACK_SECONDS),
    yMin: 0,
    yMax: axisTop(peak(known), "ops/s"),
    reference: null,
    isLoading: false,
  };
}
