import { describe, expect, it } from "vitest";
import type { Control, ControlledBalancer, Push } from "../src/api/control";
import type { AuditEntry } from "../src/api/steering";
import {
  confirmedWords,
  historyRows,
  ordersFor,
  paceWords,
  question,
  stateWord,
  weightRows,
} from "../src/balancers/control";

const A = "weight:web/a";
const B = "weight:web/b";

const weights = (a: number, b: number): Record<string, string> => ({ [A]: String(a), [B]: String(b) });

function balancer(node: string, over: Partial<ControlledBalancer> = {}): ControlledBalancer {
  return {
    target: { id: `haproxy:${node}:edge`, node, kind: "haproxy", name: "edge" },
    state: "standing",
    reason: null,
    values: weights(100, 50),
    configured: weights(100, 100),
    ...over,
  };
}

function push(sequence: number, b: number, confirmed: readonly (number | null)[]): Push {
  return {
    sequence,
    pushed_at_ms: sequence * 1_000,
    window_ms: sequence * 1_000,
    balancers: confirmed.map((ms, at) => ({
      target: `haproxy:lb-${at}:edge`,
      values: weights(100, b),
      confirmed_at_ms: ms === null ? null : sequence * 1_000 + ms,
      took_ms: ms,
    })),
  };
}

function control(over: Partial<Control> = {}): Control {
  return {
    pool: "web",
    rollout_id: "r-1",
    state: "running",
    since_ms: 1,
    frozen: null,
    waits: null,
    envelope: { bounds: { [A]: [20, 256], [B]: [10, 200] }, largest_shift: 0.2, push_ms: 1_000 },
    balancers: [balancer("lb-1"), balancer("lb-2", { values: weights(100, 40) })],
    heard: 2,
    pushes: 2,
    last_pushes: [],
    ...over,
  };
}

function entry(sequence: number, what: string, over: Partial<AuditEntry> = {}): AuditEntry {
  const base = {
    sequence,
    at_ms: sequence * 1_000,
    subject: "rollout",
    what,
    actor: "control",
    actor_address: "",
    reason: "",
    nodes: ["lb-1", "lb-2"],
    change: [],
  };
  return { ...base, ...over } as unknown as AuditEntry;
}

const by = (isPerson: boolean) => ({ at_ms: 5, by: "ana", reason: "look", by_person: isPerson });

describe("standing control", () => {
  it("tells a person's freeze from its own", () => {
    expect(stateWord(control()).name).toBe("running");
    expect(stateWord(control({ state: "frozen", frozen: by(true) })).tone).toBe("warn");
    expect(stateWord(control({ state: "frozen", frozen: by(false) })).name).toBe("frozen by itself");
    expect(stateWord(control({ state: "killed", frozen: by(true) })).name).toBe("killed");
  });

  it("offers what is possible", () => {
    expect(ordersFor(control())).toEqual(["freeze", "kill"]);
    expect(ordersFor(control({ state: "frozen", frozen: by(true) }))).toEqual(["unfreeze", "kill"]);
    expect(ordersFor(control({ state: "frozen", frozen: by(false) }))).toEqual([
      "unfreeze",
      "freeze",
      "kill",
    ]);
    expect(ordersFor(control({ state: "killed", frozen: by(true) }))).toEqual([]);
  });

  it("says before a kill what will be in force, where, and where not", () => {
    const gone = balancer("lb-3", { state: "let_go", reason: "a person" });
    const { about, action } = question(control({ balancers: [balancer("lb-1"), gone] }), "kill");
    expect(action).toBe("Set one balancer back");
    expect(about[0]).toContain("At one balancer the weights from before control");
    expect(about[0]).toContain("a 100, b 100");
    expect(about[2]).toContain("nothing is changed");
  });

  it("has the bounds of each weight, and what is wanted of those that are held", () => {
    expect(weightRows(control())[1]).toEqual({
      parameter: B,
      name: "b",
      bounds: "10 to 200",
      wanted: "40–50",
      configured: "100",
    });
    expect(paceWords(control())).toEqual({ shift: "20 % of the traffic", pushes: "60" });
  });
});

describe("what was pushed", () => {
  it("joins the log with what agents have read back", () => {
    const rows = historyRows(control({ last_pushes: [push(9, 30, [12, null]), push(7, 40, [10, 20])] }), [
      entry(9, "pushed", { reason: "push: b moved most, from 40 to 30; in parts: 33 % would move" }),
      entry(8, "unfroze", { actor: "ana", actor_address: "10.0.0.1", reason: "go" }),
      entry(7, "pushed", { reason: "push: b moved most, from 50 to 40" }),
      entry(5, "pushed", { change: [{ parameter: B, from: "", to: "50", unit: "weight" }] }),
      entry(4, "judged"),
      entry(3, "promoted"),
    ]);
    expect(rows.map(({ id, kind }) => `${id} ${kind}`)).toEqual([
      "9 push",
      "8 word",
      "7 push",
      "5 push",
      "3 word",
    ]);
    const [newest, word, whole, old] = rows;
    expect(newest).toMatchObject({ what: ["b 40 → 30"], reached: 2, confirmed: 1, tookMs: 12 });
    expect(newest).toMatchObject({ why: "b moved most, from 40 to 30", held: ["in parts: 33 % would move"] });
    expect(word?.what).toEqual(["Unfrozen by ana from 10.0.0.1"]);
    // Without the push before only what is wanted.
    expect(whole).toMatchObject({ what: ["a 100", "b 40"], confirmed: 2, tookMs: 20, held: [] });
    expect(old).toMatchObject({ what: ["b 50"], reached: 2, confirmed: null });
    expect(rows.map(confirmedWords)).toEqual(["1 of 2", "", "2 of 2", "of 2, not known", ""]);
  });

  it("has pushes that the log did not have yet, and why nothing is pushed now", () => {
    const waits = "no push: no weight moved by 3 % and more than rounding";
    const pushes = [push(9, 30, [1]), push(8, 40, [1])];
    const rows = historyRows(control({ waits, last_pushes: pushes }), [entry(8, "pushed")]);
    expect(rows.map(({ id }) => id)).toEqual(["held", "9", "8"]);
    expect(rows[0]?.held).toEqual(["no weight moved by 3 % and more than rounding"]);
    expect(historyRows(control({ waits, state: "frozen", frozen: by(true) }), [])).toEqual([]);
  });
});
