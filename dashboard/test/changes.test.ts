import { describe, expect, it } from "vitest";
import type { OptimizeAnswer, Prediction, TrackRecord, Verdict } from "../src/api/steering";
import {
  changeSize,
  changeText,
  difference,
  human,
  predictionSentence,
  rangeText,
  settingText,
  unitOfMetric,
} from "../src/changes/values";
import { agreementWords, expiryWords, isJudged, trackWords, verdictWords } from "../src/changes/words";
import { placeOn, scaleOf } from "../src/lib/scale";
import { foundWords, queryHref, skippedTargets } from "../src/suggestions/words";

const change = (from: string, to: string, unit = "bytes", parameter = "maxmemory") => ({
  parameter,
  from,
  to,
  unit,
});

describe("values in the collector's units", () => {
  it("are read as people read them", () => {
    expect(human("67108864", "bytes")).toBe("64 MiB");
    expect(human(6657199308, "By")).toBe("6.20 GiB");
    expect(human(0.841, "ratio")).toBe("84.1 %");
    expect(human(1500, "ms")).toBe("1.50 s");
    expect(human(7_200_000, "ms")).toBe("2 h");
    expect(human(5321, "1/s")).toBe("5.32k/s");
    expect(human(5321, "{key}")).toBe("5.32k");
    expect(human(0.81, "share of misses")).toBe("81.0 % of misses");
    expect(human(3, "°C")).toBe("3 °C");
  });

  it("are left alone when they are words", () => {
    expect(human("allkeys-lru", "")).toBe("allkeys-lru");
    expect(human("allkeys-lru", "bytes")).toBe("allkeys-lru");
    expect(human("", "bytes")).toBe("");
    expect(human("10", "")).toBe("10");
  });

  it("have a meaning of their own where zero is no number", () => {
    expect(settingText("maxmemory", "0", "bytes")).toBe("no limit");
    expect(settingText("maxmemory-samples", "0", "")).toBe("0");
    expect(settingText("maxmemory", "67108864", "")).toBe("64 MiB");
  });
});

describe("a change", () => {
  it("is one line", () => {
    expect(changeText(change("67108864", "134217728"))).toBe("memory limit 64 MiB → 128 MiB");
    expect(changeText(change("a", "b", "", "maxmemory-policy"))).toBe("eviction policy a → b");
    expect(changeText(change("1", "2", "", "hz"))).toBe("hz 1 → 2");
  });

  it("has a size where it is a number", () => {
    expect(changeSize(change("64", "128"))).toBe("×2");
    expect(changeSize(change("64", "160"))).toBe("×2.50");
    expect(changeSize(change("64", "80"))).toBe("+25 %");
    expect(changeSize(change("64", "48"))).toBe("−25 %");
    for (const none of [change("0", "5"), change("a", "b"), change("5", "5"), change("", "5")])
      expect(changeSize(none)).toBe("");
  });
});

describe("a prediction", () => {
  const prediction: Prediction = {
    metric: "redis.hit_ratio",
    before: 0.841,
    after: 0.913,
    low: 0.905,
    high: 0.921,
    unit: "ratio",
    confidence: 0.9,
  };

  it("is a sentence with the interval before the number", () => {
    expect(predictionSentence(prediction)).toBe(
      "The hit ratio is 84.1 % now. With the change 90.5 to 92.1 % is expected (90 % sure), most likely 91.3 %: +7.2 points.",
    );
    const stays = {
      ...prediction,
      after: prediction.before,
      low: prediction.before,
      high: prediction.before,
    };
    expect(predictionSentence(stays)).toMatch(/now, and is to stay so: less counts as harm\.$/);
  });

  it("differs in points for shares and in its own unit for the rest", () => {
    expect(difference(0.913, 0.841, "ratio")).toBe("−7.2 points");
    expect(difference(64 * 2 ** 20, 48 * 2 ** 20, "bytes")).toBe("−16 MiB");
    expect(difference(1, 2, "")).toBe("+1");
  });

  it("names the unit of an interval once where both ends have it", () => {
    expect(rangeText(0.905, 0.921, "ratio")).toBe("90.5 to 92.1 %");
    expect(rangeText(2 ** 20, 2 ** 30, "bytes")).toBe("1 MiB to 1 GiB");
    expect(rangeText(0.9, 0.9001, "ratio")).toBe("90.0 %");
  });

  it("stands on an axis that holds all of it", () => {
    const scale = scaleOf([0.841, 0.905, 0.913, 0.921]);
    const places = [0.841, 0.905, 0.913, 0.921].map((value) => placeOn(scale, value));
    expect(places).toEqual([...places].sort((a, b) => a - b));
    expect(places[0]).toBeGreaterThan(0.05);
    expect(places[3]).toBeLessThan(0.95);
    expect(placeOn(scaleOf([5, 5]), 5)).toBeCloseTo(0.5);
    expect(placeOn(scaleOf([0, 0]), 0)).toBeCloseTo(0.5);
    expect(scaleOf([Number.NaN])).toEqual({ from: 0, to: 1 });
  });
});

describe("the track record", () => {
  const track = (over: Partial<TrackRecord>): TrackRecord => ({
    tried: 3,
    promoted: 3,
    mean_abs_error: 0.004,
    ...over,
  });

  it("says how often it was tried, kept, and by how much it was off", () => {
    expect(trackWords(track({}), "ratio")).toBe("Tried 3 times here, promoted 3, on average 0.4 points off.");
    expect(trackWords(track({ tried: 1, promoted: 0, mean_abs_error: null }), "ratio")).toBe(
      "Tried once here, promoted 0.",
    );
    expect(trackWords(track({ mean_abs_error: 2 ** 20 }), "bytes")).toContain("1 MiB off");
  });

  it("tells of the others where there is nothing of its own", () => {
    const words = trackWords(
      track({ tried: 0, promoted: 0, mean_abs_error: null, coverage: 0.9, judged: 10 }),
      "ratio",
    );
    expect(words).toBe(
      "Never tried here before. Everywhere: 9 of 10 that were judged came out within the predicted interval.",
    );
    expect(trackWords(track({ coverage: null, judged: 0 }), "ratio")).not.toContain("Everywhere");
  });
});

describe("words", () => {
  it("tell when a suggestion ends by itself", () => {
    expect(expiryWords(7_260_000, 60_000)).toBe("expires in 2 h");
    expect(expiryWords(0, 60_000)).toBe("about to expire");
  });

  it("tell where what was seen lies", () => {
    const verdict = (value: number): Verdict => ({
      result: "inconclusive",
      metric: "redis.hit_ratio",
      expected: { value: 0.9, low: 0.88, high: 0.92 },
      observed: { value, low: 0, high: 1 },
      samples: 1,
      reason: "",
    });
    const promised: Prediction = {
      metric: "redis.hit_ratio",
      before: 0.85,
      after: 0.9,
      low: 0.88,
      high: 0.92,
      unit: "ratio",
      confidence: 0.9,
    };
    expect([0.8, 0.885, 0.915, 0.95].map((value) => agreementWords(verdict(value), promised))).toEqual([
      "less than promised",
      "as promised",
      "as promised",
      "more than promised",
    ]);
    expect(agreementWords({ ...verdict(0.9), observed: null }, promised)).toBe("");
    expect(agreementWords({ ...verdict(0.9), metric: "another" }, promised)).toBe("");
    expect(agreementWords(verdict(0.9), null)).toBe("");
  });

  it("tell what the judge found", () => {
    const verdict: Verdict = {
      result: "harm",
      metric: "redis.hit_ratio",
      expected: { value: 0.64, low: 0.63, high: 0.65 },
      observed: { value: 0.44, low: 0.43, high: 0.45 },
      samples: 1,
      reason: "redis.hit_ratio is 0.200 worse",
    };
    expect(verdictWords(verdict)).toBe("hit ratio 44.0 %, without the change 64.0 %: −20.0 points");
    expect(verdictWords({ ...verdict, expected: null })).toBe("redis.hit_ratio is 0.200 worse");
    expect(isJudged("the judge found harm: redis.hit_ratio is 0.200 worse")).toBe(true);
    expect(isJudged("operator wants the old values back")).toBe(false);
  });

  it("know the unit of metrics that come without", () => {
    expect(["redis.hit_ratio", "system.cpu.utilization", "redis.memory.used", "x"].map(unitOfMetric)).toEqual(
      ["ratio", "ratio", "bytes", ""],
    );
  });

  it("sum up a look", () => {
    const answer = (found: number, skipped: number) =>
      ({ suggestions: Array(found), skipped: Array(skipped) }) as unknown as OptimizeAnswer;
    expect(foundWords(answer(0, 0))).toBe("nothing new to suggest");
    expect(foundWords(answer(1, 0))).toBe("1 new suggestion");
    expect(foundWords(answer(2, 3))).toBe("2 new suggestions; below is why not more");
  });

  it("tell what was passed over once for each target and reason", () => {
    const skipped = [
      { target: "a", kind: "cache.size", reason: "stale" },
      { target: "b", kind: "cache.size", reason: "full" },
      { target: "a", kind: "cache.ttl", reason: "stale" },
      { target: "a", kind: null, reason: "locked" },
    ];
    expect(skippedTargets(skipped)).toEqual([
      {
        target: "a",
        reasons: [
          { kinds: "cache size, time to live", reason: "stale" },
          { kinds: "", reason: "locked" },
        ],
      },
      { target: "b", reasons: [{ kinds: "cache size", reason: "full" }] },
    ]);
  });

  it("lead to where evidence is measured again", () => {
    expect(queryHref("GET /api/performance/metrics?metric=a&node=b")).toBe(
      "./api/performance/metrics?metric=a&node=b",
    );
    expect(queryHref("GET /api/performance/cache (caches, id x)")).toBe("./api/performance/cache");
    expect(queryHref("SELECT 1")).toBeNull();
  });
});
