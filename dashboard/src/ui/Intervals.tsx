/** A few values with their intervals, one under the other on one axis, with a level to compare them with. */
import { placeOn, scaleOf } from "../lib/scale";
import type { Tone } from "./Pill";

export interface IntervalRow {
  id: string;
  label: string;
  value: number;
  low: number;
  high: number;
  /** The numbers in words. */
  text: string;
  tone?: Tone;
}

interface Props {
  rows: readonly IntervalRow[];
  /** A vertical line through all rows. */
  reference?: { value: number; label: string } | undefined;
  /** All of it in one sentence, for readers who do not see it. */
  label: string;
}

const percentOf = (share: number): string => `${(share * 100).toFixed(2)}%`;

export function Intervals({ rows, reference, label }: Props) {
  const all = rows.flatMap(({ value, low, high }) => [value, low, high]);
  const scale = scaleOf(reference ? [...all, reference.value] : all);
  const left = (value: number): string => percentOf(placeOn(scale, value));
  return (
    <div class="intervals" role="img" aria-label={label}>
      {rows.map(({ id, label: name, value, low, high, text, tone = "calm" }) => (
        <div key={id} class="interval" data-interval={id} data-tone={tone}>
          <span class="interval-name">{name}</span>
          <span class="interval-track">
            {reference && <i class="interval-reference" style={{ left: left(reference.value) }} />}
            <i
              class="interval-band"
              style={{ left: left(low), width: percentOf(placeOn(scale, high) - placeOn(scale, low)) }}
            />
            <i class="interval-value" style={{ left: left(value) }} />
          </span>
          <span class="interval-text">{text}</span>
        </div>
      ))}
      {reference && (
        <div class="interval interval-foot">
          <span class="interval-name" />
          <span class="interval-track">
            <span
              class="interval-label"
              data-side={placeOn(scale, reference.value) > 0.5 ? "left" : "right"}
              style={{ left: left(reference.value) }}
            >
              {reference.label}
            </span>
          </span>
          <span class="interval-text" />
        </div>
      )}
    </div>
  );
}
