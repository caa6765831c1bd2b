import { describe, expect, it } from "vitest";
import type { Rollout, RolloutMember, RolloutStep, Wave } from "../src/api/steering";
import { areAlike, changeLines } from "../src/changes/values";
import { placeWords } from "../src/changes/words";
import { marksOf } from "../src/rollouts/notes";
import { ordersFor } from "../src/rollouts/orders";
import { timelineOf } from "../src/rollouts/timeline";
import { isGroup, lockedOf, seenBy, shownOf, wavesOf, wavesSentence } from "../src/rollouts/waves";

const id = (node: string) => `redis:${node}:sessions`;

function member(node: string, state: string, over: Partial<RolloutMember> = {}): RolloutMember {
  const target = { id: id(node), node, kind: "redis", name: "sessions" };
  const change = [{ parameter: "maxmemory", from: "67108864", to: "134217728", unit: "bytes" }];
  return { target, change, state, locked: false, ...over };
}

const wave = (targets: string[], controls: string[], state: string): Wave => ({
  targets: targets.map(id),
  controls: controls.map(id),
  state,
});

const step = (wave: number, started_at_ms: number): RolloutStep => ({
  nodes: [],
  started_at_ms,
  revision: 1,
  verdict: null,
  wave,
  step: 1,
});

/** `b` has changed, `c` changes and is compared with `a`, whose turn is next. */
function group(over: Partial<Rollout> = {}): Rollout {
  return {
    id: "r-1",
    suggestion_id: "s-1",
    state: "validating",
    attempt: 1,
    reason: "",
    started_at_ms: 1000,
    ended_at_ms: null,
    target: { id: id("*"), node: "", kind: "redis", name: "sessions" },
    steps: [step(1, 2000), step(2, 5000)],
    members: [member("a", "untouched"), member("b", "in_force"), member("c", "in_force")],
    waves: [wave(["b"], ["c"], "passed"), wave(["c"], ["a"], "judging"), wave(["a"], [], "waiting")],
    ...over,
  };
}

const spans = (rollout: Rollout, nowMs: number) =>
  wavesOf(rollout, nowMs).flatMap(({ rows }) =>
    rows.map(({ member, spans }) => [
      member.target.node,
      ...spans.map(({ kind, fromMs, toMs }) => `${kind} ${fromMs}-${toMs}`),
    ]),
  );

describe("waves", () => {
  it("say which cache changed when, and what it was compared with meanwhile", () => {
    expect(spans(group(), 9000)).toEqual([
      ["b", "changed 2000-9000"],
      ["c", "control 2000-5000", "changed 5000-9000"],
      ["a", "control 5000-9000"],
    ]);
  });

  it("end with the rollout", () => {
    expect(spans(group({ state: "rolled_back", ended_at_ms: 8000 }), 9000)[0]).toEqual([
      "b",
      "changed 2000-8000",
    ]);
  });

  it("are named with their state, when they began, and their controls", () => {
    const shown = wavesOf(group(), 9000).map(({ name, state, beganMs, controls }) => [
      name,
      state.name,
      beganMs,
      controls.map(({ node }) => node).join(),
    ]);
    expect(shown).toEqual([
      ["Canary", "passed", 2000, "c"],
      ["Wave 2", "judging", 5000, "a"],
      ["Wave 3", "waiting", null, ""],
    ]);
    expect(wavesSentence(group())).toBe("2 of 3 caches changed so far, in 3 waves.");
    const over = { state: "promoted", members: [member("a", "in_force"), member("b", "in_force")] } as const;
    expect(wavesSentence(group({ ...over, members: [...over.members] }))).toBe(
      "All 2 caches changed, in 3 waves.",
    );
  });

  it("have charts of the canary until somebody picks another cache, with the steps of its wave alone", () => {
    expect(shownOf(group(), null, null)?.node).toBe("b");
    expect(shownOf(group(), null, id("a"))?.node).toBe("a");
    expect(seenBy(group(), id("c")).steps.map(({ wave }) => wave)).toEqual([2]);
    expect(marksOf(group()).map(({ label }) => label)).toEqual(["change", "wave 2"]);
    const titles = timelineOf(group({ steps: [step(1, 2000)] }), null).map(({ title }) => title);
    expect(titles).toContain("Wave 1, step 1");
  });

  it("are nothing of one cache", () => {
    const one = group({ members: [member("a", "in_force")], waves: [wave(["a"], [], "judging")] });
    expect([isGroup(one), isGroup(group()), isGroup({})]).toEqual([false, true, false]);
    expect(shownOf(one, null, null)?.node).toBe("a");
  });
});

describe("unlocking", () => {
  it("is of each cache that is locked, never of the group", () => {
    const members = [member("a", "untouched"), member("b", "stuck", { locked: true })];
    const failed = group({ state: "failed", members });
    expect(lockedOf(failed)).toEqual([id("b")]);
    expect(ordersFor(failed)).toEqual(["unlock"]);
    expect(ordersFor(group({ state: "failed" }))).toEqual([]);
  });
});

describe("a group in words", () => {
  it("is on so many nodes", () => {
    expect(placeWords([])).toBe("");
    expect(placeWords([member("a", ""), member("a", "")])).toBe("1 node");
    expect(placeWords([member("a", ""), member("b", "")])).toBe("2 nodes");
  });

  it("does not show different changes as one", () => {
    const [first, second] = [member("a", ""), member("b", "")];
    expect(changeLines(first.change, [first, second])).toEqual(["memory limit 64 MiB → 128 MiB"]);
    const other = member("c", "", {
      change: [{ parameter: "maxmemory", from: "1000", to: "134217728", unit: "bytes" }],
    });
    expect(areAlike([first, other])).toBe(false);
    expect(changeLines(first.change, [first, other]).at(-1)).toBe("and 1 more like it");
  });
});
