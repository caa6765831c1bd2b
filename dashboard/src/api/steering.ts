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
  /** What is not known and why, in words. */
  missing?: string[] | null;
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
  /** Of several servers those of the first. */
  change: Change[];
  /** The servers to be changed: one, or several alike. */
  members?: Member[] | null;
  prediction: Prediction;
  evidence: Evidence[];
  risk: { level: string; reasons: string[] };
  undo: string;
  track_record: TrackRecord;
  /** Nobody but people can carry it out. */
  by_hand?: boolean | null;
  lower_is_better?: boolean | null;
  /** The person who proposed it; empty for an advisor. */
  proposed_by?: string | null;
  decided?: Decided | null;
  /** Its rollout, once it is confirmed. */
  rollout_id?: string | null;
  /** What it was computed from; missing in lists. */
  inputs?: Inputs | MemberInputs[] | null;
}

/** What a suggestion for one server was computed from. */
export interface Inputs {
  more?: { curve?: HitCurve | null } | null;
  /** What the person who proposed it said. */
  note?: string | null;
}

/** The same of one of several servers; null for all but the first few. */
export interface MemberInputs {
  target: string;
  inputs: Inputs | null;
}

/** One of the servers to be changed. */
export interface Member {
  target: Target;
  change: Change[];
}

/** Who decided. */
export interface Decided {
  by: string;
  /** Where the call came from. */
  address: string;
  at_ms: number;
  note: string;
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
  /** What would have been without the change, under the same traffic. */
  expected: Interval | null;
  observed: Interval | null;
  samples: number;
  reason: string;
  at_ms?: number | null;
}

export interface RolloutStep {
  nodes: string[];
  started_at_ms: number;
  revision: number;
  /** Null until the judge has looked. */
  verdict: Verdict | null;
  /** When it last did. */
  judged_at_ms?: number | null;
  /** All that it said, oldest first. */
  verdicts?: Verdict[] | null;
  /** Places from 1. */
  wave?: number | null;
  step?: number | null;
}

/** One of the servers that a rollout changes. */
export interface RolloutMember extends Member {
  /** untouched, asked, in_force, upset, restoring, restored or stuck. */
  state: string;
  /** Nothing is tried there until somebody unlocks it. */
  locked: boolean;
}

/** Servers that change together, by their ids. */
export interface Wave {
  targets: string[];
  /** Those that they are compared with, which have not changed yet. */
  controls: string[];
  /** waiting, applying, holding, judging, passed, promoted, restoring, restored, failed or untouched. */
  state: string;
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
  /** Of several servers those of the first. */
  change?: Change[] | null;
  /** The servers that are changed: one, or several alike. */
  members?: RolloutMember[] | null;
  /** Which of them change together, the canary first. */
  waves?: Wave[] | null;
  /** What the change should bring. */
  prediction?: Prediction | null;
  /** Where it is within its state: applying, holding, judging, sealing, restoring, over. */
  stage?: string | null;
  /** When time alone changes its stage. */
  stage_until_ms?: number | null;
  paused?: boolean | null;
  started_at_ms?: number | null;
  ended_at_ms?: number | null;
}

/** How the log of decisions is; nothing is decided unless it is whole. */
export interface JournalState {
  state: "whole" | "reading" | "away" | "broken";
  reason: string | null;
  /** Numbers of the first row that is kept and of the last one; 0: there is none. */
  first: number;
  last: number;
  hash: string;
}

/** What a check of the whole chain found. */
export interface Verified {
  intact: boolean;
  rows: number;
  first: number;
  last: number;
  hash: string;
  broken_at: number;
  problem: string | null;
}

/** One decision. */
export interface AuditEntry {
  sequence: number;
  at_ms: number;
  subject: string;
  subject_id: string;
  /** What happened, in a word or two. */
  what: string;
  from_state: string;
  to_state: string;
  actor: string;
  actor_address: string;
  reason: string;
  kind: string;
  target: Target | null;
  suggestion_id: string;
  rollout_id: string;
  nodes: string[];
  change: Change[];
  hash: string;
}

export interface AuditAnswer {
  entries: AuditEntry[];
  next_cursor: string | null;
  journal: JournalState;
  verified: Verified | null;
}

/** What is wanted of a target, and what became of it. */
export interface TargetPolicy {
  kind: string;
  name: string;
  rollout_id: string | null;
  canary: boolean;
  wanted: Readonly<Record<string, string>> | null;
  result: string | null;
  in_force: Readonly<Record<string, string>>;
  reason: string | null;
  /** Why nothing may be set there. */
  barred: string | null;
}

export interface NodePolicy {
  node: string;
  connected: boolean;
  wanted_revision: number;
  in_force_revision: number;
  reason: string | null;
  targets: TargetPolicy[];
}

/** One page of a list; `next` leads to the following one. */
export interface Listed<T> {
  items: T[];
  next: string | null;
}
