/** Decisions and the log of them in words. */
import type { AuditEntry, JournalState, Verified } from "../api/steering";

/** Who decided: a person with where the call came from, or a part of Flyball. */
export function actorWords({ actor, actor_address: address }: AuditEntry): string {
  return address ? `${actor} at ${address}` : actor;
}

/** Page of what a decision is about; null without one. */
export function subjectPage(subject: string): "suggestions" | "rollouts" | "caches" | null {
  const pages = { suggestion: "suggestions", rollout: "rollouts", target: "caches" } as const;
  return pages[subject as keyof typeof pages] ?? null;
}

/** Why nothing can be decided at present; empty when all is well. */
export function journalWords({ state, reason }: JournalState): string {
  if (state === "whole") return "";
  return `Nothing can be decided at present: the log ${reason ?? `is ${state}`}.`;
}

/** What a check found. */
export function verifiedWords({ intact, rows, first, last, broken_at: brokenAt, problem }: Verified): string {
  if (!intact)
    return `Row ${brokenAt} does not follow from the one before (${problem ?? "it was changed"}). Up to row ${last} it is whole.`;
  if (rows === 0) return "The log is empty.";
  return `${rows} ${rows === 1 ? "row" : "rows"}, ${first} to ${last}, each follows from the one before.`;
}
