/** Calls about caches, suggestions and rollouts. */
import { getJson, postJson } from "./client";
import type {
  AuditAnswer,
  AuditEntry,
  FleetCachesAnswer,
  JournalState,
  Listed,
  NodePolicy,
  OptimizeAnswer,
  Rollout,
  Suggestion,
  Verified,
} from "./steering";

const BASE = "api/performance";

/** Which part of a list is wanted. */
export interface ListQuery {
  status?: string;
  kind?: string;
  target?: string;
  cursor?: string | null;
}

function query(of: object): string {
  const pairs = Object.entries(of).filter(
    ([, value]) => value !== null && value !== undefined && value !== "",
  );
  return pairs.length > 0 ? `?${new URLSearchParams(pairs as [string, string][])}` : "";
}

export function fetchFleetCaches(signal?: AbortSignal): Promise<FleetCachesAnswer> {
  return getJson(`${BASE}/cache`, signal);
}

export async function fetchSuggestions(of: ListQuery, signal?: AbortSignal): Promise<Listed<Suggestion>> {
  type Answer = { suggestions: Suggestion[]; next_cursor?: string | null };
  const answer = await getJson<Answer>(`${BASE}/suggestions${query(of)}`, signal);
  return { items: answer.suggestions, next: answer.next_cursor ?? null };
}

export function fetchSuggestion(id: string, signal?: AbortSignal): Promise<Suggestion> {
  return getJson(`${BASE}/suggestions/${encodeURIComponent(id)}`, signal);
}

/** Answers with the rollout that begins. */
export function confirmSuggestion(id: string, note: string): Promise<Rollout> {
  return postJson(`${BASE}/suggestions/${encodeURIComponent(id)}/confirm`, { note });
}

export function rejectSuggestion(id: string, note: string): Promise<Suggestion> {
  return postJson(`${BASE}/suggestions/${encodeURIComponent(id)}/reject`, { note });
}

/** Has the advisors look now, at everything or at one target. */
export function optimize(target: string | null): Promise<OptimizeAnswer> {
  return postJson(`${BASE}/optimize`, { scope: "all", target, dry_run: false });
}

export async function fetchRollouts(of: ListQuery, signal?: AbortSignal): Promise<Listed<Rollout>> {
  type Answer = { rollouts: Rollout[]; next_cursor?: string | null };
  const answer = await getJson<Answer>(`${BASE}/rollouts${query(of)}`, signal);
  return { items: answer.rollouts, next: answer.next_cursor ?? null };
}

export function fetchRollout(id: string, signal?: AbortSignal): Promise<Rollout> {
  return getJson(`${BASE}/rollouts/${encodeURIComponent(id)}`, signal);
}

export type RolloutOrder = "rollback" | "pause" | "resume";

export function orderRollout(id: string, order: RolloutOrder, note: string): Promise<Rollout> {
  return postJson(`${BASE}/rollouts/${encodeURIComponent(id)}/${order}`, { note });
}

/** Allows new attempts at a target. */
export function unlockTarget(id: string, note: string): Promise<unknown> {
  return postJson(`${BASE}/targets/${encodeURIComponent(id)}/unlock`, { note });
}

/** A page of decisions, and how the log is. */
export interface Decisions extends Listed<AuditEntry> {
  journal: JournalState;
}

export async function fetchAudit(
  of: { subject: string; cursor: string | null },
  signal?: AbortSignal,
): Promise<Decisions> {
  const {
    entries,
    next_cursor: next,
    journal,
  } = await getJson<AuditAnswer>(`${BASE}/audit${query(of)}`, signal);
  return { items: entries, next, journal };
}

/** Has the whole chain of decisions checked. */
export async function verifyAudit(): Promise<Verified> {
  const { verified } = await getJson<AuditAnswer>(`${BASE}/audit?verify=true&limit=1`);
  if (!verified) throw new Error("the collector did not check");
  return verified;
}

/** What is wanted of a node and in force there; null while its agent is not known here. */
export async function fetchPolicy(node: string, signal?: AbortSignal): Promise<NodePolicy | null> {
  const answer = await getJson<{ policies: NodePolicy[] }>(`${BASE}/policies`, signal);
  return answer.policies.find((policy) => policy.node === node) ?? null;
}

/** The first `pages` pages of a list as one. */
export async function fetchPages<T>(
  ask: (cursor: string | null) => Promise<Listed<T>>,
  pages: number,
): Promise<Listed<T>> {
  const items: T[] = [];
  let next: string | null = null;
  for (let page = 0; page < pages; page += 1) {
    const answer: Listed<T> = await ask(next);
    items.push(...answer.items);
    next = answer.next;
    if (next === null) break;
  }
  return { items, next };
}
