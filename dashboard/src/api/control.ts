/** Standing control of pools of load balancers (see /openapi.json). */
import { fetchAudit } from "./changes";
import { getJson, postJson } from "./client";
import type { AuditEntry, Target } from "./steering";

export type ControlState = "running" | "frozen" | "killed" | "let_go";
export type HoldState = "standing" | "let_go" | "restoring" | "restored";
export type ControlOrder = "freeze" | "unfreeze" | "kill";

export interface Frozen {
  at_ms: number;
  by: string;
  reason: string;
  by_person: boolean;
}

export interface Envelope {
  /** Least and largest weight by parameter. */
  bounds: Readonly<Record<string, readonly [number, number]>>;
  largest_shift: number;
  push_ms: number;
}

type Values = Readonly<Record<string, string>>;

export interface ControlledBalancer {
  target: Target;
  state: HoldState;
  reason: string | null;
  /** Wanted weights by parameter, or those that were last. */
  values: Values;
  /** What the kill switch wants back. */
  configured: Values;
}

export interface Confirmation {
  target: string;
  values: Values;
  confirmed_at_ms: number | null;
  took_ms: number | null;
}

export interface Push {
  sequence: number;
  pushed_at_ms: number;
  window_ms: number;
  balancers: readonly Confirmation[];
}

export interface Control {
  pool: string;
  rollout_id: string;
  state: ControlState;
  since_ms: number;
  /** Who stopped pushes; of a kill, who used the switch. */
  frozen: Frozen | null;
  /** Why nothing was pushed after the last window. */
  waits: string | null;
  envelope: Envelope;
  balancers: readonly ControlledBalancer[];
  heard: number;
  pushes: number;
  /** The newest first. */
  last_pushes: readonly Push[];
}

/** Control of a pool, and the decisions about it, the newest first. */
export interface ControlKnown {
  /** Null: there never was any. */
  control: Control | null;
  decisions: readonly AuditEntry[];
}

/** Control of every pool: those that have ended come last. */
export async function fetchControl(signal?: AbortSignal): Promise<Control[]> {
  return (await getJson<{ control: Control[] }>("api/performance/control", signal)).control;
}

/** Asks for one pool again and again; decisions only when there is a new one. */
export function controlAsker(pool: string): (signal: AbortSignal) => Promise<ControlKnown> {
  let known = "";
  let decisions: readonly AuditEntry[] = [];
  return async (signal) => {
    const control = (await fetchControl(signal)).find((each) => each.pool === pool) ?? null;
    if (!control) return { control, decisions: [] };
    const { rollout_id: id, pushes, state, frozen } = control;
    const now = `${id} ${pushes} ${state} ${frozen?.at_ms ?? ""}`;
    if (now !== known) {
      decisions = (await fetchAudit({ subject: id, cursor: null }, signal)).items;
      known = now;
    }
    return { control, decisions };
  };
}

export function orderControl(pool: string, order: ControlOrder, note: string): Promise<unknown> {
  return postJson(`api/performance/balancers/pools/${encodeURIComponent(pool)}/${order}`, { note });
}
