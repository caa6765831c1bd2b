import { describe, expect, it } from "vitest";
import {
  endsOf,
  fixedRange,
  lengthName,
  lengthOf,
  MAX_POINTS,
  MIN_LENGTH_MS,
  PRESETS,
  parseLength,
  scaleRange,
  shiftRange,
  stepFor,
} from "../src/lib/range";

const HOUR = 3_600_000;

describe("steps", () => {
  it("draws the short ranges second by second and never too many points", () => {
    expect(stepFor(300_000)).toBe(1000);
    for (let length = 5000; length < 400 * 24 * HOUR; length *= 1.37) {
      expect(length / stepFor(length)).toBeLessThanOrEqual(MAX_POINTS);
    }
  });

  it("grows with the range", () => {
    const steps = PRESETS.map(({ lengthMs }) => stepFor(lengthMs));
    expect(steps).toEqual([1000, 2000, 10_000, 60_000, 300_000]);
  });
});

describe("ranges", () => {
  it("puts ends in order and widens what is too short", () => {
    expect(fixedRange(9_000_000, 1_000_000)).toEqual({ kind: "fixed", fromMs: 1_000_000, toMs: 9_000_000 });
    expect(lengthOf(fixedRange(1000, 1001))).toBe(MIN_LENGTH_MS);
  });

  it("follows the present only while live", () => {
    expect(endsOf({ kind: "live", lengthMs: HOUR }, 10 * HOUR)).toEqual({
      fromMs: 9 * HOUR,
      toMs: 10 * HOUR,
    });
    expect(endsOf(fixedRange(HOUR, 2 * HOUR), 10 * HOUR)).toEqual({ fromMs: HOUR, toMs: 2 * HOUR });
  });

  it("scales around the middle and shifts by shares", () => {
    expect(scaleRange(fixedRange(2 * HOUR, 4 * HOUR), 0.5)).toEqual(fixedRange(2.5 * HOUR, 3.5 * HOUR));
    expect(scaleRange({ kind: "live", lengthMs: HOUR }, 2)).toEqual({ kind: "live", lengthMs: 2 * HOUR });
    expect(shiftRange({ kind: "live", lengthMs: HOUR }, -0.5, 10 * HOUR)).toEqual(
      fixedRange(8.5 * HOUR, 9.5 * HOUR),
    );
  });

  it("names lengths so that they read back the same", () => {
    for (const length of [5000, 90_000, 300_000, HOUR, 36 * HOUR, 24 * HOUR, 48 * HOUR]) {
      expect(parseLength(lengthName(length))).toBe(length);
    }
    expect(lengthName(24 * HOUR)).toBe("24h");
  });

  it("refuses lengths that are none", () => {
    for (const text of ["", "m", "5", "-5m", "5x", "1s", "9999999d"]) expect(parseLength(text)).toBeNull();
  });
});
