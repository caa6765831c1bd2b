/** A rollout on a time axis: when its steps began, what was expected of each and what was seen. Pure. */
import type { Rollout, RolloutStep, Verdict } from "../api/steering";
import { isOver, JUDGEMENTS, STATES, wordsOf } from "../changes/words";
import type { ChartNotes, Expectation, Mark, Observation } from "../chart/notes";
import { fixedRange, PRESETS, type TimeRange } from "../lib/range";

/** When it began; null when that is not known. */
export function beginOf({ started_at_ms: started, steps }: Rollout): number | null {
  return started ?? steps[0]?.started_at_ms ?? null;
}

/** Moments worth a line in a chart of its target: each step, and the end. */
export function marksOf(rollout: Rollout): Mark[] {
  const { steps, state, ended_at_ms: ended } = rollout;
  const marks: Mark[] = steps.map((step, at) => ({
    tsMs: step.started_at_ms,
    label: at === 0 ? "change" : markLabel(steps, at),
  }));
  if (ended != null) marks.push({ tsMs: ended, label: wordsOf(STATES, state).name });
  return marks;
}

/** A new wave, or a further step of the same one. */
function markLabel(steps: readonly RolloutStep[], at: number): string {
  const { wave, step } = steps[at] ?? {};
  if (wave && wave !== steps[at - 1]?.wave) return `wave ${wave}`;
  return `step ${step ?? at + 1}`;
}

/** When a step was over: the next one began, the rollout ended, or not yet. */
function endOf(rollout: Rollout, at: number, nowMs: number): number {
  return rollout.steps[at + 1]?.started_at_ms ?? rollout.ended_at_ms ?? nowMs;
}

/** Notes for the chart of the metric that the judge looks at: what was promised, what would have been, and what was seen. */
export function judgedNotes(rollout: Rollout, metric: string, nowMs: number): ChartNotes {
  const expected: Expectation[] = [];
  const observed: Observation[] = [];
  const { prediction: promised, steps } = rollout;
  const first = steps[0];
  if (first && promised?.metric === metric) {
    const { after: value, low, high } = promised;
    const toMs = rollout.ended_at_ms ?? nowMs;
    expected.push({ kind: "promised", value, low, high, fromMs: first.started_at_ms, toMs });
  }
  steps.forEach((step, at) => {
    const { verdict } = step;
    const toMs = endOf(rollout, at, nowMs);
    if (verdict?.metric === metric && verdict.expected)
      expected.push({ kind: "without", ...verdict.expected, fromMs: step.started_at_ms, toMs });
    for (const each of saidOf(step))
      if (each.metric === metric && each.observed) observed.push(observation(step, each, toMs));
  });
  return { expected, observed };
}

/** All that the judge said of a step. */
export function saidOf({ verdict, verdicts }: RolloutStep): readonly Verdict[] {
  if (verdicts && verdicts.length > 0) return verdicts;
  return verdict ? [verdict] : [];
}

function observation(step: RolloutStep, verdict: Verdict, toMs: number): Observation {
  const { value, low, high } = verdict.observed ?? { value: 0, low: 0, high: 0 };
  const tone = wordsOf(JUDGEMENTS, verdict.result).tone;
  return { tsMs: verdict.at_ms || step.judged_at_ms || toMs, value, low, high, tone };
}

/** Shortest time that is shown before the first step and after the end. */
const LEAST_AIR_MS = 60_000;
/** And as a share of the whole. */
const AIR = 0.15;
/** The air after the end appears in so many steps while the time goes on. */
const FUTURE_STEPS = 6;

const DAY_MS = 86_400_000;

/** The range in which the whole of it is seen: up to the present while it runs, and still once it is over. */
export function rangeOf(rollout: Rollout, nowMs: number): TimeRange {
  const begin = beginOf(rollout) ?? nowMs;
  if (!isOver(rollout.state)) {
    const needed = nowMs - begin + LEAST_AIR_MS;
    const preset = PRESETS.find(({ lengthMs }) => lengthMs >= needed);
    return { kind: "live", lengthMs: preset?.lengthMs ?? Math.ceil(needed / DAY_MS) * DAY_MS };
  }
  const end = rollout.ended_at_ms ?? rollout.steps.at(-1)?.started_at_ms ?? begin;
  return aroundRange(begin, end, nowMs);
}

/** A stretch of time with some air around it, but no more of the future than a tenth of it: nothing is known of that. */
export function aroundRange(
  fromMs: number,
  toMs: number,
  nowMs: number = Number.POSITIVE_INFINITY,
): TimeRange {
  const air = Math.max(LEAST_AIR_MS, (toMs - fromMs) * AIR);
  if (toMs + air <= nowMs) return fixedRange(fromMs - air, toMs + air);
  // In steps, so that the range does not move with every second.
  const steps = Math.ceil((nowMs - toMs) / (air / FUTURE_STEPS)) + 1;
  return fixedRange(fromMs - air, toMs + Math.min(air, Math.max(1, steps) * (air / FUTURE_STEPS)));
}
