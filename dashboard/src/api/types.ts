/**
 * The collector's answers, as the dashboard reads them (see /openapi.json).
 * Times are epoch milliseconds; a value that is not known is `null`, never zero.
 */

/** Who a host is; every field may be missing when the agent could not tell. */
export interface HostIdentity {
  name?: string | null;
  id?: string | null;
  arch?: string | null;
  os_type?: string | null;
  os_description?: string | null;
  kernel?: string | null;
  cpus?: number | null;
  memory_bytes?: number | null;
  boot_time_ms?: number | null;
  cpu_model?: string | null;
  addresses?: readonly string[];
}

/** Last values of one node. */
export interface NodeStatus {
  node: string;
  up: boolean;
  last_seen_ms: number | null;
  agent_version: string | null;
  /** 0 or null without a policy. */
  policy_revision: number | null;
  /** Share of all CPUs neither idle nor waiting for I/O, 0 to 1. */
  cpu_utilization: number | null;
  /** Share of memory, 0 to 1. */
  memory_utilization: number | null;
  load_1m: number | null;
  network_receive_bytes_per_second: number | null;
  network_transmit_bytes_per_second: number | null;
  disk_read_bytes_per_second: number | null;
  disk_write_bytes_per_second: number | null;
  series: number | null;
  samples_per_second: number | null;
  host?: HostIdentity | null;
  /** Where its samples are; null until its agent reports to this collector. */
  accounting?: Accounting | null;
}

/** Where the samples of a node are: produced = stored + in_flight + shed + gap. */
export interface Accounting {
  reported_ms: number;
  produced: number;
  stored: number;
  in_flight: number;
  /** Samples given up, by reason. */
  shed: Readonly<Record<string, number>>;
  gap: number;
  spool_bytes: number;
  spool_limit_bytes: number;
  backlog_segments: number;
  corrupt_segments: number;
  clock_steps: { forward: number; backward: number };
  oldest_unacked_ms: number | null;
  /** Of those in flight, samples that are in memory only. */
  unspooled: number;
}

export interface Alert {
  /** Names this occurrence. */
  id: string;
  name: string;
  severity: "warning" | "critical";
  /** Null when it is the collector's own. */
  node: string | null;
  state: "firing" | "resolved";
  since_ms: number;
  updated_ms: number;
  resolved_ms: number | null;
  text: string;
}

export interface AlertsAnswer {
  alerts: Alert[];
  firing: number;
}

export interface FleetTotals {
  nodes: number;
  nodes_up: number;
  series: number | null;
  samples_per_second: number | null;
}

export interface StatusAnswer {
  nodes: NodeStatus[];
  totals: FleetTotals;
}

export type Attributes = Readonly<Record<string, string>>;

export interface MetricSeries {
  attributes: Attributes;
  points: [tsMs: number, value: number | null][];
}

export interface MetricsAnswer {
  metric: string;
  unit: string;
  step_ms: number;
  tier: string;
  cache: string;
  series: MetricSeries[];
}

/** `agg` of GET /api/performance/metrics. */
export type Aggregation = "avg" | "min" | "max" | "sum" | "last" | "rate";

export interface Sample {
  metric: string;
  attributes?: Attributes;
  value: number | null;
}

export interface StatusEvent {
  type: "status";
  ts_ms: number;
  nodes: NodeStatus[];
  totals: FleetTotals;
}

export interface SamplesEvent {
  type: "samples";
  node: string;
  ts_ms: number;
  samples: Sample[];
}

export interface AlertEvent extends Alert {
  type: "alert";
}

/** Events were lost: whoever reads must ask for the present state again. */
export interface ResyncEvent {
  type: "resync";
}

/** Something of this kind changed. What it is now is asked for, so nothing else of the event is read. */
export interface ChangeEvent {
  type: ChangeKind;
}

export type ChangeKind = "suggestion" | "rollout" | "policy" | "cache" | "balancer";

export type LiveEvent = StatusEvent | SamplesEvent | AlertEvent | ChangeEvent | ResyncEvent;

/** RFC 9457, as every failed call answers. */
export interface Problem {
  type?: string;
  title?: string;
  status?: number;
  detail?: string;
  errors?: { field?: string; reason?: string }[];
}
