/** Kinds, states and verdicts in words. */
import type {
  Judgement,
  Member,
  Prediction,
  RolloutState,
  SuggestionStatus,
  TrackRecord,
  Verdict,
} from "../api/steering";
import { duration } from "../lib/format";
import type { Tone } from "../ui/Pill";
import { difference, human, metricWords, unitOfMetric } from "./values";

export interface Words {
  name: string;
  tone: Tone;
  /** One sentence for readers who ask. */
  meaning: string;
}

const KINDS: Readonly<Record<string, string>> = {
  "cache.size": "cache size",
  "cache.eviction_policy": "eviction policy",
  "cache.ttl": "time to live",
  "cache.hot_key": "hot key",
  "cache.big_key": "big key",
  "balancer.weights": "balancer weights",
  "balancer.drain": "drain",
  "agent.sampling": "sampling",
};

export function kindWords(kind: string): string {
  return KINDS[kind] ?? kind;
}

export const STATUSES: Readonly<Record<SuggestionStatus, Words>> = {
  proposed: { name: "proposed", tone: "warn", meaning: "Waits for somebody to confirm or reject it." },
  confirmed: { name: "confirmed", tone: "good", meaning: "Somebody wanted it; a rollout carries it out." },
  rejected: { name: "rejected", tone: "calm", meaning: "Somebody did not want it." },
  expired: {
    name: "expired",
    tone: "calm",
    meaning: "Nobody decided in time. It comes again if it still holds.",
  },
};

export const STATES: Readonly<Record<RolloutState, Words>> = {
  canary: {
    name: "canary",
    tone: "warn",
    meaning: "Goes into force in bounded steps. Harm, silence or a lost collector takes it back at once.",
  },
  validating: {
    name: "validating",
    tone: "warn",
    meaning: "In force, and compared with what would have been. It is still taken back by itself.",
  },
  promoted: { name: "promoted", tone: "good", meaning: "It proved right and stays." },
  rolled_back: {
    name: "rolled back",
    tone: "calm",
    meaning: "The old values were read back: they are in force.",
  },
  failed: {
    name: "failed",
    tone: "bad",
    meaning: "The old values could not be shown to be in force. Somebody must look; the target is locked.",
  },
};

/** Where one of several caches is in a rollout. */
export const MEMBER_STATES: Readonly<Record<string, Words>> = {
  untouched: { name: "as it was", tone: "calm", meaning: "It was not changed." },
  asked: { name: "offered", tone: "warn", meaning: "Its agent is asked to put the values into force." },
  in_force: { name: "in force", tone: "good", meaning: "Its agent has read the new values back." },
  upset: { name: "not in force", tone: "bad", meaning: "The values are not in force, and will not be." },
  restoring: { name: "going back", tone: "warn", meaning: "The old values are wanted." },
  restored: { name: "taken back", tone: "calm", meaning: "The old values were read back." },
  stuck: { name: "stuck", tone: "bad", meaning: "Its agent refuses the old values: look there." },
};

/** Where a wave is. */
export const WAVE_STATES: Readonly<Record<string, Words>> = {
  waiting: { name: "waiting", tone: "calm", meaning: "Its turn is when the one before has passed." },
  applying: { name: "applying", tone: "warn", meaning: "Agents are asked to put the values into force." },
  holding: { name: "holding", tone: "warn", meaning: "In force, held under hard stops." },
  judging: { name: "judging", tone: "warn", meaning: "Compared with those that have not changed yet." },
  passed: { name: "passed", tone: "good", meaning: "The judge found no harm." },
  promoted: { name: "promoted", tone: "good", meaning: "It proved right and stays." },
  restoring: { name: "going back", tone: "warn", meaning: "The old values are wanted." },
  restored: { name: "taken back", tone: "calm", meaning: "The old values were read back." },
  failed: { name: "failed", tone: "bad", meaning: "It is not known that the old values are in force." },
  untouched: { name: "not reached", tone: "calm", meaning: "The rollout ended before its turn." },
};

/** On how many nodes several caches are; nothing of none. */
export function placeWords(members: readonly Member[]): string {
  const nodes = new Set(members.map(({ target }) => target.node)).size;
  if (nodes === 0) return "";
  return nodes === 1 ? "1 node" : `${nodes} nodes`;
}

const FINAL: readonly RolloutState[] = ["promoted", "rolled_back", "failed"];

export function isOver(state: RolloutState): boolean {
  return FINAL.includes(state);
}

const UNHEARD_OF = (name: string): Words => ({ name: name.replaceAll("_", " "), tone: "calm", meaning: "" });

/** Words for a state; one that is not known is named as it is. */
export function wordsOf(all: Readonly<Record<string, Words>>, name: string): Words {
  return all[name] ?? UNHEARD_OF(name);
}

const STAGES: Readonly<Record<string, string>> = {
  applying: "waiting for agents to put it into force",
  holding: "in force, held under hard stops",
  judging: "the judge is looking",
  sealing: "passed; agents take the values for good",
  restoring: "going back to the old values",
};

/** Where a rollout is within its state; empty when there is nothing to say. */
export function stageWords(stage: string | null | undefined): string {
  return stage ? (STAGES[stage] ?? "") : "";
}

export const JUDGEMENTS: Readonly<Record<Judgement, Words>> = {
  pass: { name: "pass", tone: "good", meaning: "Better, or not worse, beyond doubt." },
  harm: { name: "harm", tone: "bad", meaning: "Worse beyond doubt: it is taken back." },
  inconclusive: { name: "inconclusive", tone: "warn", meaning: "Not decided yet: more has to be seen." },
};

/** Where what was seen lies against what was promised, in words. */
export function agreementWords(
  { metric, observed }: Verdict,
  promised: Prediction | null | undefined,
): string {
  if (!observed || promised?.metric !== metric) return "";
  if (observed.value < promised.low) return "less than promised";
  if (observed.value > promised.high) return "more than promised";
  return "as promised";
}

/** What the judge found: what was seen against what would have been, or else its own reason. */
export function verdictWords({ metric, expected, observed, reason }: Verdict): string {
  if (!expected || !observed) return reason;
  const unit = unitOfMetric(metric);
  const [seen, without] = [human(observed.value, unit), human(expected.value, unit)];
  const delta = difference(expected.value, observed.value, unit);
  return `${metricWords(metric)} ${seen}, without the change ${without}: ${delta}`;
}

/** Whether a rollout ended, or goes back, for what the judge found. */
export function isJudged(reason: string): boolean {
  return reason.startsWith("the judge found");
}

export const RISKS: Readonly<Record<string, Tone>> = { low: "good", medium: "warn", high: "bad" };

const times = (n: number): string => (n === 1 ? "once" : `${n} times`);

/** How an error of a prediction reads: in points for shares. */
function errorText(error: number, unit: string): string {
  return unit === "ratio" ? `${(error * 100).toFixed(1)} points` : human(error, unit);
}

/** How well such predictions came true before: here, and everywhere. */
export function trackWords(track: TrackRecord, unit: string): string {
  const { tried, promoted, mean_abs_error: error, coverage, judged } = track;
  const off = error === null ? "" : `, on average ${errorText(error, unit)} off`;
  const here =
    tried > 0 ? `Tried ${times(tried)} here, promoted ${promoted}${off}.` : "Never tried here before.";
  if (!judged || coverage === null || coverage === undefined) return here;
  const held = Math.round(coverage * judged);
  const all = judged === 1 ? "the only one that was judged" : `of ${judged} that were judged`;
  return `${here} Everywhere: ${held} ${all} came out within the predicted interval.`;
}

/** When a suggestion ends by itself. */
export function expiryWords(expiresAtMs: number, nowMs: number): string {
  const left = expiresAtMs - nowMs;
  return left > 0 ? `expires in ${duration(Math.max(1000, left))}` : "about to expire";
}
