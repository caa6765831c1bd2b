/** What is known of load balancers and pools, in words and numbers. Pure. */
import type {
  BackendState,
  BalancerInfo,
  BalancerState,
  Placement,
  Pool,
  PoolMember,
  UtilizationSource,
  WeightMeaning,
} from "../api/balancers";
import { format, UNKNOWN } from "../lib/format";
import type { Tone } from "../ui/Pill";

interface Word {
  name: string;
  tone: Tone;
  meaning: string;
}

export const BALANCER_STATES: Readonly<Record<BalancerState, Word>> = {
  unreachable: { name: "unreachable", tone: "bad", meaning: "The agent cannot connect to it." },
  denied: { name: "denied", tone: "bad", meaning: "It refuses the agent." },
  slow: { name: "slow", tone: "warn", meaning: "It does not answer in time." },
  up: { name: "up", tone: "good", meaning: "It answers." },
};

export const BACKEND_STATES: Readonly<Record<BackendState, Word>> = {
  ready: { name: "ready", tone: "good", meaning: "It is given requests." },
  drain: { name: "drained", tone: "warn", meaning: "It is given no new requests; those under way end." },
  maint: { name: "maintenance", tone: "warn", meaning: "A person took it out." },
  down: { name: "down", tone: "bad", meaning: "A check of the balancer says that it cannot serve." },
  ejected: { name: "ejected", tone: "bad", meaning: "The balancer's outlier detection has taken it out." },
};

/** What another weight would do, by what the balancer makes of weights. */
export const MEANINGS: Readonly<Record<WeightMeaning, { name: string; words: string }>> = {
  exact: {
    name: "exact",
    words:
      "Requests are shared in proportion to the weights: a backend of half the weight gets half as many.",
  },
  when_busy: {
    name: "when busy",
    words:
      "The backend with the fewest requests for its weight is next. Weights count only while backends are busy: idle ones rank equal, so with little traffic shares are even whatever the weights say.",
  },
  draw: {
    name: "draw",
    words:
      "Weights are the chances of a draw; of the backends drawn the less loaded one gets the request. Shares follow the weights, less what load evens out.",
  },
  drain_only: {
    name: "drain only",
    words: "A backend is chosen by a hash or a fixed map. Nothing but zero makes a difference while it runs.",
  },
  none: { name: "none", words: "Weights are ignored." },
};

export const SOURCES: Readonly<Record<UtilizationSource, string>> = {
  orca: "The backend's own word (ORCA)",
  limit: "Requests under way over their limit, summed over all balancers",
  host: "CPU of its host, from that host's agent",
};

/** Milliseconds as people read them. */
export function milliseconds(value: number | null): string {
  return format(value === null ? null : value / 1_000, "seconds");
}

/** The same of all, or from the least to the most. */
export function range(numbers: readonly number[]): string {
  if (numbers.length === 0) return UNKNOWN;
  const [least, most] = [Math.min(...numbers), Math.max(...numbers)];
  return least === most ? String(least) : `${least}–${most}`;
}

/** The weights that are wanted and not in force; empty: none. */
export function wantedWeights(placements: readonly Placement[]): string {
  const open = placements.flatMap(({ weight_wanted: wanted, weight }) =>
    wanted !== null && wanted !== weight ? [wanted] : [],
  );
  return open.length === 0 ? "" : range(open);
}

/** Share of traffic less share of capacity; null while either is not known. */
export function surplus(share: number | null, capacity: number | null): number | null {
  return share === null || capacity === null ? null : share - capacity;
}

export function countsOf(pool: Pool): { counting: readonly PoolMember[]; missing: readonly PoolMember[] } {
  return {
    counting: pool.members.filter(({ missing }) => missing === null),
    missing: pool.members.filter(({ missing }) => missing !== null),
  };
}

/** Each way in which balancers of the pool share requests, with the balancers that do. */
export function algorithms(pool: Pool): { member: PoolMember; names: string[] }[] {
  const found: { member: PoolMember; names: string[] }[] = [];
  for (const member of pool.members) {
    const name = `${member.name} on ${member.node}`;
    const same = found.find(
      (each) => each.member.algorithm === member.algorithm && each.member.weights === member.weights,
    );
    if (same) same.names.push(name);
    else found.push({ member, names: [name] });
  }
  return found;
}

/** Those in trouble first, then by name and node. */
export function sortBalancers(all: readonly BalancerInfo[]): BalancerInfo[] {
  const urgency = (each: BalancerInfo): number => Object.keys(BALANCER_STATES).indexOf(each.state);
  const name = (each: BalancerInfo): string => `${each.name} ${each.node}`;
  return [...all].sort((a, b) => urgency(a) - urgency(b) || name(a).localeCompare(name(b)));
}
