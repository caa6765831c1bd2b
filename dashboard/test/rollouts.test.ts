import { describe, expect, it } from "vitest";
import type { Rollout, RolloutStep, Suggestion, Verdict } from "../src/api/steering";
import { cacheSources, HIT_RATIO } from "../src/caches/panels";
import { buildModel } from "../src/chart/model";
import { notesOf, noteValues } from "../src/chart/notes";
import { fittedEnds } from "../src/lib/axis";
import { LineTable } from "../src/lib/lines";
import { type AnyPanel, NO_FACTS } from "../src/node/panel";
import { beginOf, judgedNotes, marksOf, rangeOf } from "../src/rollouts/notes";
import { ordersFor } from "../src/rollouts/orders";
import { lastVerdict, rolloutTitle, timelineOf } from "../src/rollouts/timeline";

const MINUTE = 60_000;

function verdict(over: Partial<Verdict> = {}): Verdict {
  return {
    result: "pass",
    metric: "redis.hit_ratio",
    expected: { value: 0.9, low: 0.88, high: 0.92 },
    observed: { value: 0.91, low: 0.9, high: 0.92 },
    samples: 100,
    reason: "better beyond doubt",
    ...over,
  };
}

function step(startedAtMs: number, over: Partial<RolloutStep> = {}): RolloutStep {
  return { nodes: ["web-1"], started_at_ms: startedAtMs, revision: 7, verdict: null, ...over };
}

function rollout(over: Partial<Rollout> = {}): Rollout {
  return {
    id: "r-1",
    suggestion_id: "s-1",
    state: "validating",
    attempt: 1,
    steps: [step(10 * MINUTE), step(12 * MINUTE)],
    reason: "",
    started_at_ms: 9 * MINUTE,
    ended_at_ms: null,
    ...over,
  };
}

describe("a rollout on the time axis", () => {
  it("has a line for each step and for its end", () => {
    expect(marksOf(rollout()).map(({ label }) => label)).toEqual(["change", "step 2"]);
    expect(marksOf(rollout({ state: "rolled_back", ended_at_ms: 20 * MINUTE })).at(-1)).toEqual({
      tsMs: 20 * MINUTE,
      label: "rolled back",
    });
  });

  it("expects from a step's begin until the next one, the end, or now", () => {
    const steps = [step(10 * MINUTE, { verdict: verdict() }), step(12 * MINUTE, { verdict: verdict() })];
    const spans = (over: Partial<Rollout>) =>
      judgedNotes(rollout({ steps, ...over }), "redis.hit_ratio", 15 * MINUTE).expected?.map(
        ({ fromMs, toMs }) => [fromMs / MINUTE, toMs / MINUTE],
      );
    expect(spans({})).toEqual([
      [10, 12],
      [12, 15],
    ]);
    expect(spans({ ended_at_ms: 13 * MINUTE })?.[1]).toEqual([12, 13]);
  });

  it("has what was promised over the whole of it", () => {
    const prediction = {
      metric: "redis.hit_ratio",
      before: 0.8,
      after: 0.9,
      low: 0.88,
      high: 0.92,
      unit: "ratio",
      confidence: 0.9,
    };
    const { expected } = judgedNotes(rollout({ prediction }), "redis.hit_ratio", 15 * MINUTE);
    expect(expected).toEqual([
      { kind: "promised", value: 0.9, low: 0.88, high: 0.92, fromMs: 10 * MINUTE, toMs: 15 * MINUTE },
    ]);
    expect(judgedNotes(rollout({ prediction }), "another", 15 * MINUTE).expected).toEqual([]);
  });

  it("has everything that the judge said", () => {
    const verdicts = [
      verdict({ result: "inconclusive", at_ms: 11 * MINUTE }),
      verdict({ at_ms: 13 * MINUTE }),
    ];
    const steps = [step(10 * MINUTE, { verdict: verdicts[1] ?? null, verdicts })];
    const { observed } = judgedNotes(rollout({ steps }), "redis.hit_ratio", 15 * MINUTE);
    expect(observed?.map(({ tsMs, tone }) => [tsMs / MINUTE, tone])).toEqual([
      [11, "warn"],
      [13, "good"],
    ]);
    const ids = timelineOf(rollout({ steps, state: "promoted" }), null).map(({ id }) => id);
    expect(ids).toEqual(["confirmed", "step-0", "step-0-look-0", "step-0-look-1", "end"]);
  });

  it("tells once what the judge says again and again", () => {
    const waits = { result: "inconclusive", reason: "too early", expected: null, observed: null } as const;
    const verdicts = [
      verdict({ ...waits, at_ms: 11 * MINUTE }),
      verdict({ ...waits, at_ms: 12 * MINUTE }),
      verdict({ ...waits, reason: "noisy", at_ms: 13 * MINUTE }),
      verdict({ at_ms: 14 * MINUTE }),
      verdict({ at_ms: 15 * MINUTE }),
    ];
    const steps = [step(10 * MINUTE, { verdict: verdicts[4] ?? null, verdicts })];
    const looks = timelineOf(rollout({ steps, state: "promoted" }), null).filter(({ id }) =>
      id.includes("look"),
    );
    expect(looks.map(({ atMs, title }) => [(atMs ?? 0) / MINUTE, title])).toEqual([
      [12, "The judge: inconclusive, 2 times"],
      [13, "The judge: inconclusive"],
      [14, "The judge: pass"],
      [15, "The judge: pass"],
    ]);
  });

  it("has what was seen where the judge saw it", () => {
    const steps = [
      step(10 * MINUTE, { verdict: verdict({ result: "harm" }), judged_at_ms: 11 * MINUTE }),
      step(12 * MINUTE, { verdict: verdict(), judged_at_ms: 0 }),
    ];
    const { observed } = judgedNotes(rollout({ steps }), "redis.hit_ratio", 15 * MINUTE);
    expect(observed?.map(({ tsMs, tone }) => [tsMs / MINUTE, tone])).toEqual([
      [11, "bad"],
      [15, "good"],
    ]);
  });

  it("has nothing of other metrics, and nothing that was not said", () => {
    const steps = [
      step(0, { verdict: verdict({ metric: "redis.memory.used" }) }),
      step(1, { verdict: verdict({ expected: null, observed: null }) }),
      step(2),
    ];
    expect(judgedNotes(rollout({ steps }), "redis.hit_ratio", 9)).toEqual({ expected: [], observed: [] });
  });

  it("is seen as a whole: live while it runs, still once it is over", () => {
    expect(rangeOf(rollout(), 11 * MINUTE)).toEqual({ kind: "live", lengthMs: 5 * MINUTE });
    expect(rangeOf(rollout(), 20 * MINUTE)).toEqual({ kind: "live", lengthMs: 15 * MINUTE });
    const days = rangeOf(rollout(), 3 * 24 * 60 * MINUTE);
    expect(days).toEqual({ kind: "live", lengthMs: 3 * 24 * 60 * MINUTE });
    expect(rangeOf(rollout({ state: "promoted", ended_at_ms: 29 * MINUTE }), 99 * MINUTE)).toEqual({
      kind: "fixed",
      fromMs: 6 * MINUTE,
      toMs: 32 * MINUTE,
    });
    const ended = rollout({ state: "promoted", ended_at_ms: 29 * MINUTE });
    expect(rangeOf(ended, 29 * MINUTE)).toMatchObject({ toMs: 29.5 * MINUTE });
    expect(rangeOf(ended, 29.6 * MINUTE)).toMatchObject({ toMs: 30.5 * MINUTE });
    expect(rangeOf(ended, 31.9 * MINUTE)).toMatchObject({ toMs: 32 * MINUTE });
  });

  it("begins with its first step when nothing better is known", () => {
    expect(beginOf(rollout({ started_at_ms: null }))).toBe(10 * MINUTE);
    expect(beginOf(rollout({ started_at_ms: null, steps: [] }))).toBeNull();
  });
});

describe("notes", () => {
  it("of all charts and of one are drawn together, and have room", () => {
    const mark = { tsMs: 1, label: "change" };
    const expected = [{ kind: "promised" as const, fromMs: 0, toMs: 1, value: 0.9, low: 0.88, high: 0.92 }];
    const notes = notesOf({ "": { marks: [mark] }, a: { expected } }, "a");
    expect(notes).toEqual({ marks: [mark], expected });
    expect(notesOf({ "": { marks: [mark] } }, "b")).toEqual({ marks: [mark] });
    expect(noteValues(notes)).toEqual([0.88, 0.9, 0.92]);
  });

  it("have room on the axis of the chart that they are drawn over, and of no other", () => {
    const sources = cacheSources("sessions");
    const table = LineTable.over(Object.values(sources), 1000, 0, 3000);
    const points: [number, number][] = [
      [0, 6],
      [1000, 6],
    ];
    table.addHistory(sources.hits, [{ attributes: {}, points }]);
    table.addHistory(sources.misses, [{ attributes: {}, points: points.map(([ts]) => [ts, 4]) }]);
    const notes = {
      value: {
        [HIT_RATIO.id]: {
          expected: [{ kind: "promised" as const, fromMs: 0, toMs: 1, value: 0.9, low: 0.88, high: 0.92 }],
        },
      },
    };
    const model = (panel: AnyPanel) =>
      buildModel(
        panel,
        { table, sources, notes, window: { fromMs: 0, toMs: 3000 }, unsettledFromMs: 0, isSilent: false },
        new Set(),
        NO_FACTS,
      );
    const ratio = model(HIT_RATIO);
    expect(ratio.yMin).toBeGreaterThan(0.5);
    expect(ratio.yMin).toBeLessThan(0.6);
    expect(ratio.yMax).toBeGreaterThan(0.92);
    expect(ratio.notes?.expected).toHaveLength(1);
    expect(model({ ...HIT_RATIO, id: "another" }).yMax).toBeLessThan(0.65);
  });

  it("widen an axis that is fitted to its values", () => {
    const [from, to] = fittedEnds([[0.7, null, 0.72], [0.9]], "share");
    expect(from).toBeGreaterThan(0.6);
    expect(from).toBeLessThan(0.7);
    expect(to).toBeGreaterThan(0.9);
    expect(to).toBeLessThanOrEqual(1);
    expect(fittedEnds([[0.5]], "share")[1] - fittedEnds([[0.5]], "share")[0]).toBeCloseTo(0.02);
    expect(fittedEnds([[1]], "share")[1]).toBe(1);
    expect(fittedEnds([[null]], "share")).toEqual([0, 1]);
    expect(fittedEnds([[0]], "bytes")[0]).toBe(0);
  });
});

describe("the timeline", () => {
  const suggestion = { created_at_ms: MINUTE } as Suggestion;

  it("goes from the suggestion to what is awaited now", () => {
    const entries = timelineOf(rollout({ stage: "judging" }), suggestion);
    expect(entries.map(({ id }) => id)).toEqual(["suggested", "confirmed", "step-0", "step-1", "now"]);
    expect(entries.at(-1)).toMatchObject({ atMs: null, title: "The judge is looking" });
  });

  it("ends with how it ended and why", () => {
    const over = rollout({ state: "rolled_back", ended_at_ms: 20 * MINUTE, reason: "agent web-1 is silent" });
    expect(timelineOf(over, null).at(-1)).toMatchObject({
      id: "end",
      atMs: 20 * MINUTE,
      title: "Rolled back",
      text: "The old values were read back: they are in force. Agent web-1 is silent.",
    });
  });

  it("says when it waits for a person", () => {
    expect(timelineOf(rollout({ paused: true, stage: "judging" }), null).at(-1)?.title).toBe("Paused");
  });

  it("keeps its order when nothing is known of its begin", () => {
    expect(timelineOf(rollout({ started_at_ms: null, steps: [] }), null).map(({ id }) => id)).toEqual([
      "now",
    ]);
  });

  it("knows which measurements a verdict is of", () => {
    const steps = [
      step(1, { verdict: verdict() }),
      step(5, { verdict: verdict(), judged_at_ms: 7 }),
      step(9),
    ];
    const spans = timelineOf(rollout({ steps }), null).map(({ judgedMs }) => judgedMs);
    expect(spans).toEqual([null, { fromMs: 1, toMs: 5 }, { fromMs: 5, toMs: 7 }, null, null]);
  });

  it("colours a step by what the judge said of it", () => {
    const steps = [step(1, { verdict: verdict({ result: "harm" }) })];
    expect(timelineOf(rollout({ steps }), null).find(({ id }) => id === "step-0")?.tone).toBe("bad");
    expect(lastVerdict(rollout({ steps }))?.result).toBe("harm");
    expect(lastVerdict(rollout())).toBeNull();
  });
});

describe("orders", () => {
  const target = { id: "redis:a:b", node: "a", kind: "redis", name: "b" };

  it("are those that the state allows", () => {
    expect(ordersFor(rollout())).toEqual(["pause", "rollback"]);
    expect(ordersFor(rollout({ paused: true }))).toEqual(["resume", "rollback"]);
    expect(ordersFor(rollout({ stage: "restoring" }))).toEqual([]);
    expect(ordersFor(rollout({ state: "promoted", target }))).toEqual([]);
    expect(ordersFor(rollout({ state: "failed", target }))).toEqual(["unlock"]);
    expect(ordersFor(rollout({ state: "rolled_back", target }))).toEqual([]);
    expect(ordersFor(rollout({ state: "rolled_back", attempt: 3, target }))).toEqual(["unlock"]);
    expect(ordersFor(rollout({ state: "failed" }))).toEqual([]);
  });
});

describe("titles", () => {
  it("come from whatever is known", () => {
    const change = [{ parameter: "maxmemory", from: "1048576", to: "2097152", unit: "bytes" }];
    expect(rolloutTitle(rollout({ title: "Give a more" }))).toBe("Give a more");
    expect(rolloutTitle(rollout({ change }))).toBe("Memory limit 1 MiB → 2 MiB");
    expect(rolloutTitle(rollout({ kind: "cache.size" }))).toBe("Cache size");
    expect(rolloutTitle(rollout())).toBe("r-1");
  });
});
