import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { History } from "../src/chart/history";
import type { Source } from "../src/lib/lines";

// The live connection of the page listens from the start.
vi.hoisted(() => {
  const document = { hidden: false, addEventListener: () => undefined };
  Object.assign(globalThis, { document });
});

const LOAD: Source = { metric: "system.cpu.load_average.1m", agg: "avg", by: [] };
const MINUTE = 60_000;

/** What the collector was asked for. */
let asked: URLSearchParams[] = [];

beforeEach(() => {
  asked = [];
  vi.useFakeTimers();
  vi.stubGlobal("requestAnimationFrame", () => 1);
  vi.stubGlobal("cancelAnimationFrame", () => undefined);
  vi.stubGlobal("fetch", async (address: string) => {
    asked.push(new URL(address, "http://collector.test").searchParams);
    return Response.json({
      metric: LOAD.metric,
      unit: "",
      step_ms: 1000,
      tier: "raw",
      cache: "miss",
      series: [],
    });
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const begun = () =>
  new History({
    node: "alpha",
    range: { kind: "live", lengthMs: 5 * MINUTE },
    sources: { load: LOAD },
    presence: "load",
  }).begin();

it("asks for the newest part of a live range once more", async () => {
  const history = begun();
  await vi.advanceTimersByTimeAsync(MINUTE);
  history.dispose();
  expect(asked.length).toBe(2);
});

it("forgets what a live range still waited for when another range is chosen", async () => {
  const history = begun();
  const now = Date.now();
  history.setRange({ kind: "fixed", fromMs: now - 3 * MINUTE, toMs: now - 2 * MINUTE });
  await vi.advanceTimersByTimeAsync(MINUTE);
  history.dispose();
  expect(history.unsettledFromMs).toBe(Number.POSITIVE_INFINITY);
  for (const question of asked) expect(Number(question.get("from"))).toBeLessThan(Number(question.get("to")));
  expect(asked.length).toBe(2);
});
