import { describe, expect, it } from "vitest";
import { CounterRate, increase } from "../src/lib/rate";

describe("increase", () => {
  it("is the difference, or what was counted since a reset", () => {
    expect(increase(100, 130)).toBe(30);
    expect(increase(100, 100)).toBe(0);
    expect(increase(100, 7)).toBe(7);
  });
});

describe("CounterRate", () => {
  it("gives no rate for the first reading", () => {
    expect(new CounterRate().push(1000, 5)).toBeNull();
  });

  it("divides by the time that really passed", () => {
    const rate = new CounterRate();
    rate.push(1000, 100);
    expect(rate.push(3000, 150)).toEqual({ rate: 25, coverMs: 2000 });
  });

  it("never turns a reset into a negative or huge rate", () => {
    const rate = new CounterRate();
    rate.push(1000, 1_000_000);
    rate.push(2000, 1_000_010);
    expect(rate.push(3000, 4)?.rate).toBe(4);
    expect(rate.push(4000, 10)?.rate).toBe(6);
  });

  it("ignores repeated and late readings", () => {
    const rate = new CounterRate();
    rate.push(1000, 100);
    rate.push(2000, 110);
    expect(rate.push(2000, 110)).toBeNull();
    expect(rate.push(1500, 105)).toBeNull();
    expect(rate.push(3000, 130)?.rate).toBe(20);
  });

  it("does not spread an increase over a silence", () => {
    const rate = new CounterRate();
    rate.push(1000, 100);
    rate.push(2000, 110);
    expect(rate.push(62_000, 700)).toBeNull();
    expect(rate.push(63_000, 710)?.rate).toBe(10);
  });

  it("follows a slow sampler at its own pace", () => {
    const rate = new CounterRate();
    rate.push(0, 0);
    expect(rate.push(30_000, 30)?.rate).toBe(1);
    expect(rate.push(60_000, 90)?.rate).toBe(2);
  });
});
