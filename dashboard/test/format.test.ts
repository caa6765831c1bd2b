import { describe, expect, it } from "vitest";
import {
  ago,
  bytes,
  count,
  duration,
  format,
  formatTick,
  inLines,
  percent,
  points,
  seconds,
  share,
  significant,
  UNKNOWN,
} from "../src/lib/format";

describe("numbers", () => {
  it("keeps three significant digits and the width of live values", () => {
    expect([0, 2, 2.3, 2.345, 23.45, 234.5, 99.96, 0.012, 0.0042].map(significant)).toEqual([
      "0",
      "2",
      "2.30",
      "2.35",
      "23.4",
      "235",
      "100",
      "0.01",
      "0.004",
    ]);
  });

  it("never shows something as zero", () => {
    expect(significant(0.0001)).toBe("<0.001");
    expect(percent(0.0001)).toBe("<0.1 %");
    expect(percent(0)).toBe("0 %");
  });

  it("moves to the next prefix before a number has four digits", () => {
    expect(bytes(999)).toBe("999 B");
    expect(bytes(1000)).toBe("0.98 KiB");
    expect(bytes(1024)).toBe("1 KiB");
    expect(bytes(1.5 * 1024 ** 3)).toBe("1.50 GiB");
    expect(count(12_540)).toBe("12.5k");
    expect(count(999_900)).toBe("1.00M");
  });

  it("chooses the unit of a time by its size", () => {
    expect(seconds(0.0000425)).toBe("42.5 µs");
    expect(seconds(0.0042)).toBe("4.20 ms");
    expect(seconds(1.5)).toBe("1.50 s");
    expect(seconds(0)).toBe("0 s");
  });

  it("keeps the tenths of a share whose tenths matter, and calls nothing all or none", () => {
    expect([0.8412, 0.05, 1, 0].map(share)).toEqual(["84.1 %", "5.0 %", "100 %", "0 %"]);
    expect(share(0.99999)).toBe(">99.9 %");
    expect(share(0.0001)).toBe("<0.1 %");
    expect([0.072, -0.004, 0.0001].map(points)).toEqual(["+7.2 points", "−0.4 points", "±0.0 points"]);
  });

  it("tells unknown from zero in every unit", () => {
    for (const unit of ["ratio", "share", "bytes", "bytes/s", "ops/s", "seconds", "count"] as const) {
      expect(format(null, unit)).toBe(UNKNOWN);
      expect(format(Number.NaN, unit)).toBe(UNKNOWN);
      expect(format(0, unit)).not.toBe(UNKNOWN);
    }
  });

  it("labels ticks without idle zeros", () => {
    expect(formatTick(0.05, "ratio")).toBe("5 %");
    expect(formatTick(0.125, "ratio")).toBe("12.5 %");
    expect(formatTick(1536, "bytes")).toBe("1.5 KiB");
    expect(formatTick(100, "count")).toBe("100");
    expect(formatTick(2048, "bytes/s")).toBe("2 KiB/s");
  });
});

describe("times", () => {
  it("shows the two largest parts of a duration", () => {
    expect(duration(0)).toBe("0 s");
    expect(duration(61_000)).toBe("1 min 1 s");
    expect(duration(3 * 86_400_000 + 5 * 3_600_000 + 59_000)).toBe("3 d 5 h");
    expect(duration(3_600_000)).toBe("1 h");
  });

  it("calls fresh things now and unseen ones never", () => {
    expect(ago(10_000, 12_000)).toBe("now");
    expect(ago(10_000, 25_000)).toBe("15 s ago");
    expect(ago(null, 25_000)).toBe("never");
  });
});

describe("a label", () => {
  const room =
    (letters: number) =>
    (line: string): boolean =>
      line.length <= letters;

  it("is one line where it has room, two where one has none, and none where a word has none", () => {
    expect(inLines("at least 83 % beyond here", room(30))).toEqual(["at least 83 % beyond here"]);
    expect(inLines("at least 83 % beyond here", room(14))).toEqual(["at least 83 %", "beyond here"]);
    expect(inLines("at least 83 % beyond here", room(9))).toBeNull();
    expect(inLines("word", room(3))).toBeNull();
  });
});
