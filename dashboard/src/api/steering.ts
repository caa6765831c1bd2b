/**
 * Caches of the fleet, and the life of a change: suggestion, rollout, verdicts (see /openapi.json).
 * Shares and hit ratios are 0 to 1, times epoch milliseconds; what is not known is `null` or missing, never zero.
 */

/** How an agent gets on with a cache. */
export type CacheState = "up" | "unreachable" | "loading" | "denied" | "slow";

/** A value with the interval that holds the truth in nine cases of ten. */
export interface Interval {
  value: number;
  low: number;
  high: number;
}

export interface CurvePoint {
  bytes: number;
  hit_ratio: number;
  low: number;
  high: number;
}

/** Hit ratio by size. */
export interface HitCurve {
  measured_at_ms: number;
  /** Largest size that was measured; beyond it nothing is known. */
  reach_bytes: number;
  /** By growing size. */
  points: CurvePoint[];
  method?: string | null;
}

/** What another eviction policy would do at the present size. */
export interface PolicyEstimate {
  policy: string;
  hit_ratio: number;
  low: number;
  high: number;
  /** Less the present policy's, on the same requests. */
  paired_delta: number;
  delta_low: number;
  delta_high: number;
}

/** Why requests miss: shares of all misses. */
export interface MissShares {
  capacity: number;
  expired: number;
  invalidated: number;
  cold: number;
  /** Misses that this was taken from. */
  sampled?: number | null;
}

/** A key that stands out; its name does not leave the host. */
export interface KeyFinding {
  kind: "hot" | "big";
  key_hash: string;
  type: string;
  bytes: number;
  share_of_requests: number;
}

export interface CacheInfo {
  id: string;
  node: string;
  kind: string;
  name: string;
  version: string;
  state?: CacheState | null;
  /** Why it is not up, in words. */
  reason?: string | null;
  role?: string | null;
  measured_at_ms?: number | null;
  hit_ratio: number | null;
  requests_per_second: number | null;
  used_bytes: number | null;
  /** 0: no limit. */
  max_bytes: number | null;
  eviction_policy: string | null;
  evictions_per_second: number | null;
  expirations_per_second: number | null;
  keys: number | null;
  misses: MissShares | null;
  curve: HitCurve | null;
  policies?: PolicyEstimate[] | null;
  key_findings?: KeyFinding[] | null;
}

export interface FleetCachesAnswer {
  caches: CacheInfo[];
}

export interface Target {
  id: string;
  node: string;
  kind: string;
  name: string;
}

export type SuggestionStatus = "proposed" | "confirmed" | "rejected" | "expired";

export interface Change {
  parameter: string;
  from: string;
  to: string;
  unit: string;
}

export interface Prediction {
  metric: string;
  /** Without the change. */
  before: number;
  /** With it. */
  after: number;
  low: number;
  high: number;
  unit: string;
  /** Of the interval, 0 to 1. */
  confidence: number;
}

export interface Evidence {
  name: string;
  value: number;
  unit: string;
  /** Time that it was measured over; 0: at a moment. */
  window_ms: number;
  /** How anybody can get it again. */
  query: string;
}

export interface TrackRecord {
  /** Changes of this kind that were carried out at this target. */
  tried: number;
  /** Those that stayed. */
  promoted: number;
  /** Mean distance between what was predicted and what was seen. */
  mean_abs_error: number | null;
  /** Of all targets: the share of intervals that held what was seen, and how many were judged. */
  coverage?: number | null;
  judged?: number | null;
}

export interface Suggestion {
  id: string;
  kind: string;
  target: Target;
  title: string;
  status: SuggestionStatus;
  created_at_ms: number;
  expires_at_ms: number;
  change: Change[];
  prediction: Prediction;
  evidence: Evidence[];
  risk: { level: string; reasons: string[] };
  undo: string;
  track_record: TrackRecord;
  /** Nobody but people can carry it out. */
  by_hand?: boolean | null;
  lower_is_better?: boolean | null;
}

/** Why an advisor has nothing to suggest for a target. */
export interface Skipped {
  target: string;
  /** What was looked for. */
  kind?: string | null;
  reason: string;
}

export interface OptimizeAnswer {
  run_id: string;
  suggestions: Suggestion[];
  skipped: Skipped[];
}

export type RolloutState = "canary" | "validating" | "promoted" | "rolled_back" | "failed";

export type Judgement = "pass" | "harm" | "inconclusive";

export interface Verdict {
  result: Judgement;
  metric: string;
  expected: Interval | null;
  observed: Interval | null;
  samples: number;
  reason: string;
}

export interface RolloutStep {
  nodes: string[];
  started_at_ms: number;
  revision: number;
  /** Null until the judge has looked. */
  verdict: Verdict | null;
  /** When it last did. */
  judged_at_ms?: number | null;
}

export interface Rollout {
  id: string;
  suggestion_id: string;
  state: RolloutState;
  attempt: number;
  steps: RolloutStep[];
  /** Why it goes back or how it ended; empty while all is well. */
  reason: string;
  kind?: string | null;
  target?: Target | null;
  title?: string | null;
  change?: Change[] | null;
  /** Where it is within its state: applying, holding, judging, sealing, restoring, over. */
  stage?: string | null;
  paused?: boolean | null;
  started_at_ms?: number | null;
  ended_at_ms?: number | null;
}

/** One page of a list; `next` leads to the following one. */
export interface Listed<T> {
  items: T[];
  next: string | null;
}
