import { describe, expect, it } from "vitest";
import { bridgedAtOwnPace, unknownSpans, usualSpacing } from "../src/lib/gaps";

const N = null;

describe("bridging", () => {
  it("leaves every hole of a line that has a value in each bucket", () => {
    const values = [1, 2, N, 4, 5, 6, N];
    expect(bridgedAtOwnPace(values)).toEqual(values);
  });

  it("holds the value between the samples of a slow sampler, but not over its outage", () => {
    const slow = [1, N, N, 2, N, N, 3, N, N, N, N, N, N, N, 4, N, N, 5, N, N];
    expect(usualSpacing(slow)).toBe(3);
    expect(bridgedAtOwnPace(slow)).toEqual([1, 1, 1, 2, 2, 2, 3, N, N, N, N, N, N, N, 4, 4, 4, 5, 5, 5]);
  });

  it("joins the rates of a slow counter, known at both ends of each interval", () => {
    const values = [1, N, N, N, 1, 2, N, N, N, 2, 3, N, N, N, 3];
    expect(bridgedAtOwnPace(values)).toEqual([1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3]);
  });

  it("does not take zero for a hole", () => {
    expect(bridgedAtOwnPace([0, 0, N, 0, 0])).toEqual([0, 0, N, 0, 0]);
  });
});

describe("unknown time", () => {
  const xs = [0, 1, 2, 3, 4, 5, 6];

  it("is where every line is unknown, from the last point to the next", () => {
    const a = [1, 1, N, N, N, 1, 1];
    const b = [1, 1, 1, N, N, 1, 1];
    expect(unknownSpans([a, b], xs, 0, 6, 1)).toEqual([[2, 5]]);
  });

  it("includes the time before the first and after the last point", () => {
    expect(unknownSpans([[N, N, N, 1, N, N, N]], xs, 0, 6, 2)).toEqual([
      [0, 3],
      [3, 6],
    ]);
  });

  it("gives the newest point time to arrive", () => {
    expect(unknownSpans([[1, 1, 1, 1, 1, 1, N]], xs, 0, 6, 2)).toEqual([]);
  });

  it("is everything when nothing is known, and nothing when all is", () => {
    expect(unknownSpans([[N, N, N, N, N, N, N]], xs, 0, 6, 1)).toEqual([[0, 6]]);
    expect(unknownSpans([[0, 0, 0, 0, 0, 0, 0]], xs, 0, 6, 1)).toEqual([]);
  });
});
