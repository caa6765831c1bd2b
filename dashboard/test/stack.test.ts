import { describe, expect, it } from "vitest";
import { axisTop } from "../src/lib/axis";
import { combine, lastKnown, mean, peak, stacked } from "../src/lib/stack";

describe("stacks", () => {
  it("sums from the first line up", () => {
    expect(
      stacked([
        [1, 2],
        [10, 20],
      ]),
    ).toEqual([
      [1, 2],
      [11, 22],
    ]);
  });

  it("are unknown only where every line is", () => {
    expect(
      stacked([
        [null, 1, null],
        [5, null, null],
      ]),
    ).toEqual([
      [0, 1, null],
      [5, 1, null],
    ]);
  });
});

describe("summaries", () => {
  it("leave the unknown out", () => {
    expect(mean([null, 2, 4])).toBe(3);
    expect(mean([null])).toBeNull();
    expect(lastKnown([1, 0, null])).toBe(0);
    expect(peak([[1, null], [7]])).toBe(7);
  });

  it("combine only where all are known and the result is a number", () => {
    expect(combine((a, b) => a / b, [1, null, 4, 1], [2, 2, null, 0])).toEqual([0.5, null, null, null]);
  });
});

describe("axes", () => {
  it("do not blow noise up to a full chart", () => {
    expect(axisTop(0.0001, "ratio")).toBe(0.01);
    expect(axisTop(0, "bytes/s")).toBe(1024);
    expect(axisTop(100, "ops/s")).toBeGreaterThan(100);
  });
});
