/** Load balancers of the fleet and the pools that they make (see /openapi.json). */
import { getJson } from "./client";

export type BalancerState = "up" | "unreachable" | "denied" | "slow";
export type BackendState = "ready" | "drain" | "maint" | "down" | "ejected";
/** What a change of weights does at run time. */
export type WeightMeaning = "exact" | "when_busy" | "draw" | "drain_only" | "none";
/** Where a utilisation is known from. */
export type UtilizationSource = "orca" | "limit" | "host";

export interface BackendInfo {
  name: string;
  state: BackendState;
  requests_per_second: number;
  error_ratio: number | null;
}

export interface GroupInfo {
  name: string;
  algorithm: string;
  weights: WeightMeaning;
  weights_note: string;
  queue: number;
  backends: BackendInfo[];
}

export interface BalancerInfo {
  id: string;
  node: string;
  kind: string;
  name: string;
  version: string;
  state: BalancerState;
  reason: string | null;
  measured_at_ms: number;
  groups: GroupInfo[];
  missing: string[];
}

export interface PoolMember {
  id: string;
  node: string;
  kind: string;
  name: string;
  state: BalancerState;
  /** Why it counts for nothing; null: it counts. */
  missing: string | null;
  algorithm: string;
  weights: WeightMeaning;
  weights_note: string;
  queue: number;
}

export interface Placement {
  balancer: string;
  name: string;
  state: BackendState;
  weight_configured: number;
  weight: number;
  weight_wanted: number | null;
  requests_per_second: number;
  share: number | null;
}

export interface PoolBackend {
  id: string;
  address: string;
  state: BackendState;
  requests_per_second: number;
  error_ratio: number | null;
  latency_ms: number | null;
  latency_p99_ms: number | null;
  in_flight: number | null;
  queue: number;
  limit: number | null;
  utilization: number | null;
  utilization_source: UtilizationSource | null;
  share: number | null;
  weight_share: number | null;
  capacity_share: number | null;
  placements: Placement[];
}

export interface Pool {
  id: string;
  name: string;
  group: string;
  window_ms: number;
  requests_per_second: number;
  error_ratio: number | null;
  members: PoolMember[];
  backends: PoolBackend[];
}

type Column = readonly (number | null)[];

export interface BackendHistory {
  id: string;
  requests_per_second: Column;
  error_ratio: Column;
  latency_ms: Column;
  share: Column;
  weight_share: Column;
  utilization: Column;
}

export interface PoolHistory {
  step_ms: number;
  times_ms: readonly number[];
  backends: readonly BackendHistory[];
}

export interface BalancersAnswer {
  balancers: BalancerInfo[];
  pools: Pool[];
}

export interface PoolAnswer {
  pool: Pool;
  history: PoolHistory;
}

const BASE = "api/performance/balancers";

export function fetchBalancers(signal?: AbortSignal): Promise<BalancersAnswer> {
  return getJson(BASE, signal);
}

export function fetchPool(name: string, minutes: number, signal?: AbortSignal): Promise<PoolAnswer> {
  return getJson(`${BASE}/pools/${encodeURIComponent(name)}?minutes=${minutes}`, signal);
}
