import { describe, expect, it } from "vitest";
import type { AuditEntry, TargetPolicy, Verified } from "../src/api/steering";
import { actorWords, journalWords, subjectPage, verifiedWords } from "../src/audit/words";
import { outcomeWords, settingRows } from "../src/changes/inForce";
import { decidedWords } from "../src/rollouts/timeline";

describe("the log of decisions", () => {
  const verified: Verified = {
    intact: true,
    rows: 12,
    first: 1,
    last: 12,
    hash: "ab",
    broken_at: 0,
    problem: null,
  };

  it("is whole, empty, or breaks somewhere", () => {
    expect(verifiedWords(verified)).toBe("12 rows, 1 to 12, each follows from the one before.");
    expect(verifiedWords({ ...verified, rows: 0 })).toBe("The log is empty.");
    expect(
      verifiedWords({
        ...verified,
        intact: false,
        last: 4,
        broken_at: 5,
        problem: "its hash is another one",
      }),
    ).toBe("Row 5 does not follow from the one before (its hash is another one). Up to row 4 it is whole.");
  });

  it("says when nothing can be decided", () => {
    const journal = { reason: null, first: 1, last: 2, hash: "" };
    expect(journalWords({ ...journal, state: "whole" })).toBe("");
    expect(journalWords({ ...journal, state: "away", reason: "cannot be read" })).toBe(
      "Nothing can be decided at present: the log cannot be read.",
    );
  });

  it("names who decided and leads to what it is about", () => {
    const entry = { actor: "operator", actor_address: "127.0.0.1" } as AuditEntry;
    expect(actorWords(entry)).toBe("operator at 127.0.0.1");
    expect(actorWords({ ...entry, actor: "judge", actor_address: "" })).toBe("judge");
    expect(["suggestion", "rollout", "target", "x"].map(subjectPage)).toEqual([
      "suggestions",
      "rollouts",
      "caches",
      null,
    ]);
    expect(decidedWords(null)).toBe("");
    expect(decidedWords({ by: "operator", address: "10.0.0.1", at_ms: 1, note: "agreed" })).toBe(
      "By operator from 10.0.0.1: “agreed”",
    );
  });
});

describe("what is in force", () => {
  const policy: TargetPolicy = {
    kind: "redis",
    name: "sessions",
    rollout_id: "r-1",
    canary: true,
    wanted: { maxmemory: "2" },
    result: "applied",
    in_force: { maxmemory: "2", "maxmemory-policy": "allkeys-lru" },
    reason: null,
    barred: null,
  };

  it("stands beside what is wanted", () => {
    expect(settingRows(policy)).toEqual([
      { parameter: "maxmemory", inForce: "2", wanted: "2" },
      { parameter: "maxmemory-policy", inForce: "allkeys-lru", wanted: null },
    ]);
    expect(settingRows({ ...policy, in_force: {} })).toEqual([
      { parameter: "maxmemory", inForce: null, wanted: "2" },
    ]);
  });

  it("is told in words", () => {
    expect(outcomeWords(policy)).toContain("On trial");
    expect(outcomeWords({ ...policy, canary: false })).toBe("For good.");
    expect(outcomeWords({ ...policy, wanted: null })).toContain("Nothing is wanted");
    expect(outcomeWords({ ...policy, result: null })).toContain("has not told yet");
    expect(outcomeWords({ ...policy, barred: "steer = true is not set" })).toBe(
      "Nothing may be set there: steer = true is not set.",
    );
  });
});
