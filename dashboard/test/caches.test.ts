import { describe, expect, it } from "vitest";
import type { CacheInfo, HitCurve, PolicyEstimate } from "../src/api/steering";
import { CACHE_COLUMNS, cacheOrder, fullness, matchesCache, sortCaches } from "../src/caches/columns";
import { beyondWords, curveAt, curveShown, curveWords, sparkOf } from "../src/caches/curve";
import { missRows, missSentence } from "../src/caches/misses";
import { CACHE_PANELS, cacheSources, HIT_RATIO } from "../src/caches/panels";
import { policyRows, policyWords } from "../src/caches/policies";
import { LineTable } from "../src/lib/lines";

const MIB = 1024 * 1024;

const CURVE: HitCurve = {
  measured_at_ms: 0,
  reach_bytes: 100 * MIB,
  points: [
    { bytes: 16 * MIB, hit_ratio: 0.4, low: 0.39, high: 0.41 },
    { bytes: 32 * MIB, hit_ratio: 0.6, low: 0.59, high: 0.61 },
    { bytes: 64 * MIB, hit_ratio: 0.8, low: 0.78, high: 0.82 },
    { bytes: 96 * MIB, hit_ratio: 0.9, low: 0.87, high: 0.93 },
    // Measured once, but beyond what can be relied on now.
    { bytes: 512 * MIB, hit_ratio: 0.99, low: 0.5, high: 1 },
  ],
};

function cache(over: Partial<CacheInfo> = {}): CacheInfo {
  return {
    id: "redis:web-1:sessions",
    node: "web-1",
    kind: "redis",
    name: "sessions",
    version: "7.0.15",
    state: "up",
    hit_ratio: 0.8,
    requests_per_second: 100,
    used_bytes: 32 * MIB,
    max_bytes: 64 * MIB,
    eviction_policy: "allkeys-lru",
    evictions_per_second: 0,
    expirations_per_second: 0,
    keys: 10,
    misses: null,
    curve: null,
    ...over,
  };
}

describe("the table of caches", () => {
  const names = (caches: CacheInfo[]) => caches.map(({ name }) => name);

  it("begins with what is not up, however it is written in the address", () => {
    const caches = [cache({ name: "b" }), cache({ name: "a" }), cache({ name: "z", state: "denied" })];
    const [column, way] = cacheOrder("no such column", "desc");
    expect(names(sortCaches(caches, column, way))).toEqual(["z", "a", "b"]);
  });

  it("puts what is not known last in either direction", () => {
    const caches = [
      cache({ name: "an unknown one", hit_ratio: null }),
      cache({ name: "low", hit_ratio: 0.1 }),
      cache({ name: "high", hit_ratio: 0.9 }),
    ];
    for (const [direction, expected] of [
      ["asc", ["low", "high", "an unknown one"]],
      ["desc", ["high", "low", "an unknown one"]],
    ] as const) {
      const [column] = cacheOrder("hit", direction);
      expect(names(sortCaches(caches, column, direction))).toEqual(expected);
    }
  });

  it("finds every column by its id", () => {
    for (const column of CACHE_COLUMNS) expect(cacheOrder(column.id, "asc")[0]).toBe(column);
  });

  it("filters by every word, wherever it stands", () => {
    expect(matchesCache(cache(), "LRU web-1")).toBe(true);
    expect(matchesCache(cache(), "lru web-2")).toBe(false);
  });

  it("calls a cache without a limit neither full nor empty", () => {
    expect(fullness(cache())).toBe(0.5);
    expect(fullness(cache({ max_bytes: 0 }))).toBeNull();
    expect(fullness(cache({ used_bytes: null }))).toBeNull();
  });
});

describe("the curve", () => {
  it("is a straight line over bytes between two points", () => {
    expect(curveAt(CURVE, 64 * MIB)).toMatchObject({ hit_ratio: 0.8, low: 0.78 });
    expect(curveAt(CURVE, 48 * MIB)?.hit_ratio).toBeCloseTo(0.7);
    expect(curveAt(CURVE, 48 * MIB)?.high).toBeCloseTo(0.715);
  });

  it("is nothing outside of what was measured", () => {
    expect(curveAt(CURVE, 8 * MIB)).toBeNull();
    expect(curveAt(CURVE, 200 * MIB)).toBeNull();
    expect(curveAt({ ...CURVE, points: [] }, 64 * MIB)).toBeNull();
  });

  it("promises beyond its end no more than is certain", () => {
    expect(beyondWords(CURVE)).toBe("at least 87.0 % beyond here");
    expect(beyondWords({ ...CURVE, points: [] })).toBe("nothing is known beyond here");
  });

  it("says what the present size, twice of it and half of it do", () => {
    const words = curveWords(CURVE, 48 * MIB);
    expect(words).toContain("48 MiB now: 70.0 % (68.5 to 71.5 %).");
    expect(words).toContain("Twice as much: 90.0 % (87.0 to 93.0 %), +20.0 points.");
    expect(words).toContain("Half of it: 50.0 % (49.0 to 51.0 %), −20.0 points.");
    expect(curveWords(CURVE, 64 * MIB)).toContain(
      "Twice as much is beyond what was measured: at least 87.0 %.",
    );
  });

  it("says why it says nothing", () => {
    expect(curveWords(null, 64 * MIB)).toContain("Not measured yet");
    expect(curveWords(CURVE, 0)).toContain("no limit");
    expect(curveWords(CURVE, 1024 * MIB)).toContain("beyond what could be measured, which ends at 100 MiB");
    expect(curveWords(CURVE, MIB)).toContain("below the smallest size");
  });

  it("is drawn to its reach, with room for what is not known", () => {
    const shown = curveShown(CURVE, 64 * MIB);
    expect(shown.xs).toEqual([24, 25, 26, Math.log2(96 * MIB)]);
    expect(shown.beyond?.from).toBeCloseTo(Math.log2(100 * MIB));
    expect([shown.from, shown.to]).toEqual([24, 28]);
    expect(shown.band?.highs).toEqual([0.41, 0.61, 0.82, 0.93]);
    expect(shown.marks).toEqual([{ bytes: 64 * MIB, label: "now 64 MiB", kind: "now" }]);
    expect(shown.yFrom).toBeLessThan(0.39);
    expect(shown.yTo).toBeLessThanOrEqual(1);
  });

  it("holds a present size that lies outside of it", () => {
    expect(curveShown(CURVE, 1024 * MIB).to).toBeGreaterThan(30);
    expect(curveShown(CURVE, MIB).from).toBe(20);
    expect(curveShown(CURVE, 0).marks).toEqual([]);
  });
});

describe("misses", () => {
  const misses = { capacity: 0.7, expired: 0.1, invalidated: 0, cold: 0.2 };

  it("have a row for each cause, also for those that are nothing", () => {
    expect(missRows(misses).map(({ id, share }) => [id, share])).toEqual([
      ["capacity", 0.7],
      ["expired", 0.1],
      ["invalidated", 0],
      ["cold", 0.2],
    ]);
  });

  it("are summed up by their largest part", () => {
    expect(missSentence(misses)).toBe("Most of the misses are for want of room.");
    expect(missSentence({ capacity: 0, expired: 0, invalidated: 0.05, cold: 0.95 })).toBe(
      "Nearly all of the misses are first requests.",
    );
    expect(missSentence({ capacity: 0.3, expired: 0.4, invalidated: 0.2, cold: 0.1 })).toContain(
      "The largest part",
    );
    expect(missSentence({ capacity: 0, expired: 0, invalidated: 0, cold: 0 })).toBe("Nothing missed.");
  });
});

describe("other policies", () => {
  const estimate = (policy: string, value: number, half: number): PolicyEstimate => ({
    policy,
    hit_ratio: 0.8 + value,
    low: 0.7,
    high: 0.9,
    paired_delta: value,
    delta_low: value - half,
    delta_high: value + half,
  });

  it("are compared with the present one, the best first", () => {
    const all = [estimate("a", -0.05, 0.01), estimate("lru", 0, 0), estimate("b", 0.02, 0.01)];
    expect(policyRows(all, "lru").map(({ id, tone }) => [id, tone])).toEqual([
      ["b", "good"],
      ["a", "bad"],
    ]);
    expect(policyWords(all, "lru")).toBe("b would hit more: +1.0 points to +3.0 points.");
  });

  it("are not called better while zero is within their interval", () => {
    expect(policyWords([estimate("b", 0.02, 0.03)], "lru")).toContain("No other is better beyond doubt");
    expect(policyWords([estimate("b", -0.05, 0.01)], "lru")).toContain("None would hit more");
    expect(policyWords([estimate("lru", 0, 0)], "lru")).toContain("not measured yet");
  });
});

describe("the history of a cache", () => {
  const sources = cacheSources("sessions");

  it("asks for this cache alone", () => {
    for (const source of Object.values(sources)) expect(source.filter).toEqual({ cache: "sessions" });
  });

  it("has a source for whatever its charts draw", () => {
    for (const { sources: names } of CACHE_PANELS)
      for (const name of names) expect(sources[name], name).toBeDefined();
  });

  it("has a hit ratio from live samples too, and none where nothing was looked up", () => {
    const table = LineTable.over(Object.values(sources), 1000, 0, 4000);
    const counts = [
      [0, 0],
      [30, 10],
      [30, 10],
      [39, 11],
    ];
    counts.forEach(([hits = 0, misses = 0], second) => {
      for (const [metric, value] of [
        ["redis.keyspace.hits", hits],
        ["redis.keyspace.misses", misses],
      ] as const) {
        table.addSample(metric, { cache: "sessions" }, second * 1000, value);
        table.addSample(metric, { cache: "another" }, second * 1000, value * 7 + 3);
      }
    });
    const [row] = HIT_RATIO.rows((name) => table.linesOf(sources[name]));
    expect(row?.values).toEqual([0.75, null, 0.9, null, null]);
  });
});

describe("the curve as small as a word", () => {
  it("is fitted to what was measured, within its reach, with the present size", () => {
    const spark = sparkOf(CURVE, 32 * MIB);
    expect(spark?.line.map(({ at }) => at)).toEqual([
      0,
      expect.closeTo(0.387, 2),
      expect.closeTo(0.774, 2),
      1,
    ]);
    expect(spark?.lows[0]?.level).toBeCloseTo(0);
    expect(spark?.highs.at(-1)?.level).toBeCloseTo(1);
    expect(spark?.now).toBeCloseTo(0.387, 2);
    expect(spark?.last.bytes).toBe(96 * MIB);
  });

  it("has no mark for a size that is not on it, and is not there with one point", () => {
    expect(sparkOf(CURVE, 1024 * MIB)?.now).toBeNull();
    expect(sparkOf(CURVE, 0)?.now).toBeNull();
    expect(sparkOf({ ...CURVE, points: CURVE.points.slice(0, 1) }, 1)).toBeNull();
  });
});

describe("a curve with a size that is suggested", () => {
  it("marks both", () => {
    const { marks } = curveShown(CURVE, 32 * MIB, 64 * MIB);
    expect(marks.map(({ label, kind }) => [label, kind])).toEqual([
      ["now 32 MiB", "now"],
      ["then 64 MiB", "best"],
    ]);
  });
});
