/** The values beside a legend: under the crosshair, else the newest, else the mean of a range that stands still. */
import { format, UNKNOWN, type Unit } from "../lib/format";
import type { Value, Values } from "../lib/lines";
import { mean } from "../lib/stack";
import type { Row } from "../node/panel";
import type { ChartModel } from "./model";

/** Which moment values are read at. */
export type Moment = { kind: "at"; index: number } | { kind: "newest" } | { kind: "mean" };

/** The newest value counts as present when it is no older than this many buckets. */
const FRESH_BUCKETS = 3;

export function valueAt(values: Values, moment: Moment): Value {
  switch (moment.kind) {
    case "at":
      return values[moment.index] ?? null;
    case "mean":
      return mean(values);
    case "newest":
      for (let back = 1; back <= FRESH_BUCKETS; back += 1) {
        const value = values[values.length - back];
        if (value !== null && value !== undefined) return value;
      }
      return null;
  }
}

export function rowText(row: Row, moment: Moment, unit: Unit): string {
  const above = format(valueAt(row.values, moment), unit);
  return row.below ? `▲ ${above}  ▼ ${format(valueAt(row.below, moment), unit)}` : above;
}

/** Mean over rows and the busiest one. */
export function heatTexts(model: ChartModel, moment: Moment, unit: Unit): { mean: string; busiest: string } {
  let busiest: { label: string; value: number } | null = null;
  const values: Value[] = [];
  for (const row of model.visible) {
    const value = valueAt(row.values, moment);
    values.push(value);
    if (value !== null && (busiest === null || value > busiest.value)) busiest = { label: row.label, value };
  }
  return {
    mean: format(mean(values), unit),
    busiest: busiest ? `${busiest.label}, ${format(busiest.value, unit)}` : UNKNOWN,
  };
}
