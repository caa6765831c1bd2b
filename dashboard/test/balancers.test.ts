import { describe, expect, it } from "vitest";
import type { BackendHistory, Placement, Pool, PoolHistory, PoolMember } from "../src/api/balancers";
import { axis, modelOf, newest, POOL_PANELS, rowsOf } from "../src/balancers/history";
import { algorithms, countsOf, milliseconds, range, surplus, wantedWeights } from "../src/balancers/words";

const column = (...values: (number | null)[]): BackendHistory => ({
  id: "10.0.0.1:80",
  requests_per_second: values,
  error_ratio: values,
  latency_ms: values,
  share: values,
  weight_share: values,
  utilization: values,
});

const latency = POOL_PANELS.find(({ measure }) => measure === "latency_ms");
if (!latency) throw new Error("there is a chart of the latency");

describe("history", () => {
  const history: PoolHistory = {
    step_ms: 5_000,
    times_ms: [10_000, 15_000, 25_000],
    backends: [column(20, null, 40)],
  };

  it("has a regular axis on which windows without reports are gaps", () => {
    expect(axis(history)).toEqual([10, 15, 20, 25]);
    expect(rowsOf(history, latency)[0]?.values).toEqual([0.02, null, null, 0.04]);
  });

  it("is empty when nothing was reported", () => {
    const empty: PoolHistory = { step_ms: 5_000, times_ms: [], backends: [column()] };
    expect(modelOf(empty, latency, new Set()).xs).toEqual([]);
  });

  it("does not draw what is hidden, and keeps it in the legend", () => {
    const model = modelOf(history, latency, new Set(["pool-latency:10.0.0.1:80"]));
    expect([model.rows.length, model.visible.length]).toEqual([1, 0]);
  });

  it("tells the newest value that is known", () => {
    expect(newest({ id: "", label: "", color: "1", values: [1, 2, null] })).toBe(2);
    expect(newest({ id: "", label: "", color: "1", values: [null] })).toBeNull();
  });
});

describe("words", () => {
  const place = (weight: number, wanted: number | null): Placement => ({
    balancer: "b",
    name: "n",
    state: "ready",
    weight_configured: 1,
    weight,
    weight_wanted: wanted,
    requests_per_second: 0,
    share: null,
  });
  const member = (name: string, algorithm: string, missing: string | null = null): PoolMember => ({
    id: name,
    node: "lb",
    kind: "haproxy",
    name,
    state: "up",
    missing,
    algorithm,
    weights: "exact",
    weights_note: "",
    queue: 0,
  });

  it("tells what is wanted only where it is not in force", () => {
    expect(wantedWeights([place(1, 1), place(2, null)])).toBe("");
    expect(wantedWeights([place(1, 5), place(2, 7)])).toBe("5–7");
  });

  it("has one number or the ends of several", () => {
    expect([range([]), range([3, 3]), range([9, 3])]).toEqual(["–", "3", "3–9"]);
  });

  it("knows no surplus while traffic or capacity is not known", () => {
    expect([surplus(null, 0.5), surplus(0.5, null), surplus(0.5, 0.25)]).toEqual([null, null, 0.25]);
  });

  it("shows latencies as times", () => {
    expect([milliseconds(null), milliseconds(20)]).toEqual(["–", "20 ms"]);
  });

  it("puts balancers that share requests alike together, and apart those that do not count", () => {
    const pool = {
      members: [member("a", "roundrobin"), member("b", "leastconn", "silent"), member("c", "roundrobin")],
    };
    const found = algorithms(pool as Pool);
    expect(found.map(({ names }) => names)).toEqual([["a on lb", "c on lb"], ["b on lb"]]);
    expect(countsOf(pool as Pool).missing.map(({ name }) => name)).toEqual(["b"]);
  });
});
