/** What other eviction policies would do, against the present one on the same requests. */
import type { PolicyEstimate } from "../api/steering";
import { points } from "../lib/format";
import type { IntervalRow } from "../ui/Intervals";

/** The best first; the present policy is the level that the others are compared with, and has no row. */
export function policyRows(policies: readonly PolicyEstimate[], present: string | null): IntervalRow[] {
  return policies
    .filter(({ policy }) => policy !== present)
    .sort((a, b) => b.paired_delta - a.paired_delta)
    .map(({ policy, paired_delta: value, delta_low: low, delta_high: high }) => ({
      id: policy,
      label: policy,
      value,
      low,
      high,
      text: points(value),
      tone: low > 0 ? "good" : high < 0 ? "bad" : "calm",
    }));
}

/** What the best of them would bring, in a sentence. */
export function policyWords(policies: readonly PolicyEstimate[], present: string | null): string {
  const best = policyRows(policies, present)[0];
  if (!best) return "Other policies are not measured yet: they are tried on a copy of sampled requests.";
  const range = `${points(best.low)} to ${points(best.high)}`;
  if (best.low > 0) return `${best.label} would hit more: ${range}.`;
  if (best.high < 0) return `None would hit more; the nearest, ${best.label}: ${range}.`;
  return `No other is better beyond doubt; the most likely, ${best.label}: ${range}.`;
}
