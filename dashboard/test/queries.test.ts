import { describe, expect, it } from "vitest";
import { problemText } from "../src/api/client";
import type { LayerStats, QueryCacheStats, QueryShape, SizeCurve } from "../src/api/performance";
import { heldOrder } from "../src/lib/held";
import { doneWords, tagOf, warningWords } from "../src/queries/clearing";
import { curveLine, curveSentence, marksOf, ratioAt } from "../src/queries/curve";
import { outcomesOf } from "../src/queries/outcomes";
import { orderOf, SHAPE_COLUMNS, shapeKey, sortShapes } from "../src/queries/shapes";
import {
  gained,
  KEPT_MS,
  type Reading,
  ratesOf,
  readingOf,
  recentRatio,
  stepBetween,
  Traffic,
} from "../src/queries/traffic";
import { trafficModel } from "../src/queries/trafficModel";

const MIB = 1024 * 1024;

function layer(over: Partial<LayerStats> = {}): LayerStats {
  return {
    hit_ratio: null,
    hits: 0,
    negative_hits: 0,
    stale_served: 0,
    stale_on_error: 0,
    misses: { absent: 0, expired: 0, invalidated: 0 },
    coalesced: 0,
    refreshes: 0,
    loads: 0,
    load_errors: 0,
    invalidations: 0,
    entries: 0,
    bytes: 0,
    max_bytes: 32 * MIB,
    evictions: 0,
    curve: { points: [], best_bytes: null, sampled: 0 },
    ...over,
  };
}

function reading(tsMs: number, hits: number, misses: number, stale = 0): Reading {
  return { tsMs, layers: { answers: { hits, misses, stale } } };
}

describe("rates of a layer", () => {
  it("are increases over the time that really passed", () => {
    const step = stepBetween(reading(1000, 10, 4), reading(3000, 16, 5, 1));
    expect(step.gained.answers).toEqual({ hits: 6, misses: 1, stale: 1 });
    expect(ratesOf([step], "answers", "hits")).toEqual([3]);
    expect(ratesOf([step], "answers", "misses")).toEqual([0.5]);
  });

  it("are never negative: after a restart all counters count from zero", () => {
    const before = { hits: 1000, misses: 10, stale: 3 };
    expect(gained(before, { hits: 4, misses: 12, stale: 0 })).toEqual({ hits: 4, misses: 12, stale: 0 });
    const traffic = new Traffic();
    const counts = [
      [900, 90],
      [910, 91],
      [2, 1],
      [6, 1],
    ] as const;
    for (const [at, [hits, misses]] of counts.entries()) traffic.push(reading(at * 2000, hits, misses));
    expect(ratesOf(traffic.steps, "answers", "hits")).toEqual([5, 1, 2]);
    expect(ratesOf(traffic.steps, "answers", "misses")).toEqual([0.5, 0.5, 0]);
  });

  it("are unknown over a silence and for a layer that is off, which is not zero", () => {
    const silent = stepBetween(reading(0, 1, 1), reading(60_000, 500, 1));
    expect(ratesOf([silent], "answers", "hits")).toEqual([null]);
    const step = stepBetween(reading(0, 1, 1), reading(2000, 2, 1));
    expect(ratesOf([step], "l2", "hits")).toEqual([null]);
  });

  it("are kept for ten minutes, and late readings are ignored", () => {
    const traffic = new Traffic();
    for (let at = 0; at <= KEPT_MS + 60_000; at += 2000) traffic.push(reading(at, at, 0));
    expect(traffic.steps.length).toBe(KEPT_MS / 2000);
    const { steps } = traffic;
    traffic.push(reading(5000, 1, 0));
    expect(traffic.steps).toBe(steps);
  });

  it("read the counters of each layer, and a ratio as the collector defines it", () => {
    const stats = {
      answers: layer({
        hits: 5,
        stale_served: 2,
        stale_on_error: 1,
        misses: { absent: 1, expired: 2, invalidated: 4 },
      }),
      l1: layer(),
      l2: null,
      window: { span_ms: 0, configured_ms: 0, bytes: 0, max_bytes: 0, answers: 8 },
    } satisfies QueryCacheStats;
    const { layers } = readingOf(stats, 1);
    expect(layers.answers).toEqual({ hits: 5, misses: 7, stale: 3 });
    expect(layers.window).toEqual({ hits: 8, misses: 0, stale: 0 });
    expect(layers.l2).toBeUndefined();
    const step = stepBetween(reading(0, 0, 0), reading(2000, 6, 2, 2));
    expect(recentRatio([step], "answers")).toBe(0.8);
    expect(recentRatio([], "answers")).toBeNull();
  });

  it("fill the chart from the first reading on", () => {
    const traffic = new Traffic();
    for (let at = 0; at <= 200_000; at += 2000) traffic.push(reading(at, at, 0));
    const model = trafficModel("answers", ["hits", "misses"], traffic.steps, 200_000);
    expect([model.fromSeconds, model.toSeconds]).toEqual([0, 200]);
    expect(model.unknown).toEqual([]);
    expect(trafficModel("answers", ["hits"], [], 100_000).unknown).toEqual([[40, 100]]);
  });
});

describe("outcomes", () => {
  it("share the accesses among themselves; what is part of a miss has no share", () => {
    const rows = outcomesOf(
      layer({
        hits: 5,
        negative_hits: 2,
        stale_served: 1,
        misses: { absent: 2, expired: 1, invalidated: 1 },
        coalesced: 9,
      }),
    );
    const share = (id: string) => rows.find((row) => row.id === id)?.share;
    expect([share("fresh"), share("negative"), share("stale"), share("absent")]).toEqual([
      0.3, 0.2, 0.1, 0.2,
    ]);
    expect(share("coalesced")).toBeNull();
    expect(rows.reduce((sum, row) => sum + (row.share ?? 0), 0)).toBeCloseTo(1);
    expect(outcomesOf(layer()).every((row) => row.share === null)).toBe(true);
  });
});

describe("the curve", () => {
  const curve: SizeCurve = {
    points: [
      { bytes: 4 * MIB, hit_ratio: 0.6 },
      { bytes: 16 * MIB, hit_ratio: 0.91 },
      { bytes: 48 * MIB, hit_ratio: 0.92 },
    ],
    best_bytes: 16 * MIB,
    sampled: 5000,
  };

  it("says what the present size and the best one would do", () => {
    expect(curveSentence(curve, 64 * MIB)).toBe(
      "64 MiB now: 92 % of accesses could hit; 16 MiB would give 91 %.",
    );
    expect(curveSentence(curve, 8 * MIB)).toBe(
      "8 MiB now: 60 % of accesses could hit; 16 MiB would give 91 %.",
    );
    expect(curveSentence(curve, 16 * MIB)).toBe(
      "16 MiB now: 91 % of accesses could hit; no other size is worth a change.",
    );
  });

  it("admits that too little was seen", () => {
    expect(curveSentence({ ...curve, best_bytes: null, sampled: 12 }, MIB)).toContain(
      "Only 12 accesses were looked at so far: too few",
    );
    expect(curveSentence({ ...curve, best_bytes: null, sampled: 1 }, MIB)).toContain("Only 1 access was");
    expect(curveSentence({ points: [], best_bytes: null, sampled: 0 }, MIB)).toContain("nothing is known");
  });

  it("holds a ratio until the next size", () => {
    expect(ratioAt(curve, MIB)).toBe(0);
    expect(ratioAt(curve, 15 * MIB)).toBe(0.6);
    expect(ratioAt(curve, 1024 * MIB)).toBe(0.92);
  });

  it("is drawn by powers of two, as far as the marks", () => {
    const { xs, ratios, from, to } = curveLine(curve, 64 * MIB);
    expect(xs.slice(0, 2)).toEqual([22, 24]);
    expect([from, to]).toEqual([22, 27]);
    expect([xs.at(-1), ratios.at(-1)]).toEqual([27, 0.92]);
    expect(marksOf(curve, 64 * MIB).map(({ label }) => label)).toEqual(["now 64 MiB", "best 16 MiB"]);
    expect(marksOf(curve, 16 * MIB)).toHaveLength(1);
    const nothing = curveLine({ points: [], best_bytes: null, sampled: 0 }, 0);
    expect(nothing.to).toBeGreaterThan(nothing.from);
  });
});

describe("shapes", () => {
  function shape(name: string, over: Partial<QueryShape> = {}): QueryShape {
    return {
      shape: name,
      tiers: ["raw"],
      count: 1,
      slow: 0,
      failed: 0,
      total_ms: 0,
      max_ms: 0,
      rows: 0,
      bytes: 0,
      series: 0,
      range_ms: 0,
      last_at_ms: 0,
      sql: "",
      advice: [],
      ...over,
    };
  }
  const shapes = [
    shape("b", { total_ms: 10, count: 10 }),
    shape("a10", { total_ms: 30, count: 2 }),
    shape("a2", { total_ms: 10, count: 1 }),
  ];
  const names = (sort: string, direction: "asc" | "desc") =>
    sortShapes(shapes, ...orderOf(sort, direction)).map((each) => each.shape);

  it("stand by their time in all, or by a column, with ties in natural order", () => {
    expect(names("node", "asc")).toEqual(["a10", "a2", "b"]);
    expect(names("total", "asc")).toEqual(["a2", "b", "a10"]);
    expect(names("mean", "desc")).toEqual(["a10", "a2", "b"]);
    expect(names("shape", "asc")).toEqual(["a2", "a10", "b"]);
    expect(names("shape", "desc")).toEqual(["b", "a10", "a2"]);
  });

  it("have columns of different names, and a text for each", () => {
    expect(new Set(SHAPE_COLUMNS.map(({ id }) => id)).size).toBe(SHAPE_COLUMNS.length);
    const one = shape("x", { tiers: ["1m", "raw"], total_ms: 1500, count: 3, last_at_ms: 1000 });
    const text = (id: string) => SHAPE_COLUMNS.find((column) => column.id === id)?.text(one, 61_000);
    expect([text("tiers"), text("total"), text("mean"), text("last")]).toEqual([
      "1m + raw",
      "1.50 s",
      "500 ms",
      "1 min ago",
    ]);
  });

  it("stay where they stood while held", () => {
    const order = ["gone raw", ...shapes.slice(0, 2).map(shapeKey)];
    const held = heldOrder(order, [shapes[2], shapes[1], shapes[0]] as QueryShape[], shapeKey);
    expect(held.map((each) => each.shape)).toEqual(["b", "a10", "a2"]);
  });
});

describe("clearing", () => {
  it("makes tags, and none without a name", () => {
    expect(tagOf("all", "ignored")).toBe("all");
    expect(tagOf("metric", " system.cpu.time ")).toBe("metric:system.cpu.time");
    expect(tagOf("node", "a:b")).toBe("node:a:b");
    expect(tagOf("node", "  ")).toBeNull();
  });

  it("says what is about to go, what is gone, and that a name is not known", () => {
    expect(doneWords("all")).toBe("Cleared everything that was kept.");
    expect(warningWords("metric:m", ["m"])).toMatch(/^Clear what is kept of the metric “m”\?/);
    expect(warningWords("metric:m", ["m"])).not.toContain("known");
    expect(warningWords("node:a:b", ["c"])).toMatch(/“a:b”.*No node of this name is known\.$/);
    expect(warningWords("node:a", [])).not.toContain("known");
  });

  it("says each field's error once", () => {
    const errors = [{ field: "tag", reason: "must be all" }];
    expect(problemText({ detail: "not valid: tag: must be all", errors }, 400)).toBe(
      "not valid: tag: must be all",
    );
    expect(problemText({ detail: "not valid", errors }, 400)).toBe("not valid; tag: must be all");
    expect(problemText({}, 502)).toBe("the collector answered 502");
  });
});
