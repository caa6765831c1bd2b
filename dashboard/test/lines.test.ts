import { describe, expect, it } from "vitest";
import { LineTable, type Source } from "../src/lib/lines";

const GAUGE: Source = { metric: "g", agg: "avg", by: ["mode"] };
const COUNTER: Source = { metric: "c", agg: "rate", by: ["core"], filter: { mode: "idle" } };
const A = { mode: "a" };

function tableOf(stepMs: number, first: number, length: number): LineTable {
  return new LineTable([GAUGE, COUNTER], stepMs, first, length);
}

function valuesOf(table: LineTable, source: Source = GAUGE): readonly (number | null)[] | undefined {
  return table.linesOf(source)[0]?.values;
}

describe("history", () => {
  it("fills whole buckets and leaves the rest unknown", () => {
    const table = tableOf(1000, 10, 4);
    const points: [number, number | null][] = [
      [9000, 1],
      [10_000, 2],
      [12_000, null],
      [13_000, 0],
      [14_000, 5],
    ];
    table.addHistory(GAUGE, [{ attributes: A, points }]);
    expect(valuesOf(table)).toEqual([2, null, null, 0]);
    expect(table.isLoaded(GAUGE)).toBe(true);
    expect(table.isLoaded(COUNTER)).toBe(false);
  });

  it("never overwrites what was seen live, and fills holes when asked again", () => {
    const table = tableOf(1000, 10, 3);
    table.addSample("g", A, 11_000, 7);
    table.addHistory(GAUGE, [{ attributes: A, points: [[11_000, 3]] }]);
    expect(valuesOf(table)).toEqual([null, 7, null]);
    table.addHistory(GAUGE, [{ attributes: A, points: [[12_000, 4]] }]);
    expect(valuesOf(table)).toEqual([null, 7, 4]);
  });

  it("joins the stored and the live part of one bucket by the time each covers", () => {
    const table = tableOf(10_000, 0, 2);
    table.addSample("g", A, 6000, 30);
    // Samples cover at most five seconds; this first one covers 5 s, the next 1 s.
    table.addSample("g", A, 7000, 60);
    table.addHistory(GAUGE, [{ attributes: A, points: [[0, 10]] }]);
    expect(valuesOf(table)?.[0]).toBeCloseTo((30 * 5 + 60 + 10 * 6) / 12);
  });
});

describe("live samples", () => {
  it("average within a bucket, weighted by time", () => {
    const table = tableOf(10_000, 0, 2);
    for (const [tsMs, value] of [
      [10_000, 1],
      [11_000, 1],
      [13_000, 4],
    ] as const) {
      table.addSample("g", A, tsMs, value);
    }
    expect(valuesOf(table)?.[1]).toBeCloseTo((1 * 5 + 1 + 4 * 2) / 8);
  });

  it("become rates of the bucket that ends with them for counters, filtered and told apart by attributes", () => {
    const table = tableOf(1000, 0, 4);
    for (const [tsMs, value] of [
      [1000, 50],
      [2000, 50.5],
      [3000, 51.5],
    ] as const) {
      table.addSample("c", { core: "0", mode: "idle" }, tsMs, value);
      table.addSample("c", { core: "0", mode: "user" }, tsMs, value * 9);
    }
    expect(table.linesOf(COUNTER)).toHaveLength(1);
    expect(valuesOf(table, COUNTER)).toEqual([null, 0.5, 1, null]);
  });
});

describe("the window", () => {
  it("slides forwards only, and lets go of lines that have nothing left", () => {
    const table = tableOf(1000, 0, 3);
    table.addSample("g", A, 1000, 1);
    table.addSample("g", { mode: "b" }, 2000, 2);
    expect(table.slideTo(4500)).toBe(true);
    expect(table.first).toBe(2);
    expect(table.linesOf(GAUGE).map((line) => [line.attributes.mode, line.values])).toEqual([
      ["b", [2, null, null]],
    ]);
    expect(table.slideTo(1000)).toBe(false);
    table.slideTo(1_000_000);
    expect(table.linesOf(GAUGE)).toEqual([]);
  });

  it("shows another range at once, until its history arrives", () => {
    const fine = tableOf(1000, 0, 4);
    fine.addHistory(GAUGE, [{ attributes: A, points: [0, 1, 2, 3].map((n) => [n * 1000, n]) }]);
    const coarse = tableOf(2000, 0, 3);
    coarse.seedFrom(fine);
    expect(valuesOf(coarse)).toEqual([0.5, 2.5, null]);
    const finer = tableOf(1000, 0, 4);
    finer.seedFrom(coarse);
    expect(valuesOf(finer)).toEqual([0.5, 0.5, 2.5, 2.5]);
    finer.addHistory(GAUGE, [{ attributes: A, points: [[1000, 9]] }]);
    expect(valuesOf(finer)).toEqual([null, 9, null, null]);
  });
});
