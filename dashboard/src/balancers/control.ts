/** Standing control in words and rows. Pure. */
import type { Control, ControlOrder, ControlState, HoldState, Push } from "../api/control";
import type { AuditEntry } from "../api/steering";
import { format, percent } from "../lib/format";
import type { Tone } from "../ui/Pill";
import { range } from "./words";

interface Word {
  name: string;
  tone: Tone;
  meaning: string;
}

export const CONTROL_STATES: Readonly<Record<ControlState, Word>> = {
  running: { name: "running", tone: "good", meaning: "Weights follow the load, within what was confirmed." },
  frozen: {
    name: "frozen",
    tone: "warn",
    meaning: "Nothing is pushed. The weights that are in force stay until somebody unfreezes it.",
  },
  killed: {
    name: "killed",
    tone: "bad",
    meaning: "The kill switch was used: the weights from before control are wanted back, and nothing else.",
  },
  let_go: {
    name: "let go",
    tone: "bad",
    meaning: "No balancer is left under control: another hand has set weights, or their agents refuse them.",
  },
};

/** Of a control that froze by itself. */
const PANIC: Word = {
  name: "frozen by itself",
  tone: "bad",
  meaning:
    "Nothing is pushed, because something is wrong that a person has to look at. The weights that are in force stay.",
};

export const HOLD_STATES: Readonly<Record<HoldState, Word>> = {
  standing: { name: "under control", tone: "good", meaning: "It gets every push." },
  let_go: { name: "let go", tone: "bad", meaning: "Nothing is wanted of its weights any more." },
  restoring: {
    name: "going back",
    tone: "warn",
    meaning: "Its agent has not read the old weights back yet.",
  },
  restored: { name: "back", tone: "calm", meaning: "The weights from before control are in force." },
};

export function stateWord({ state, frozen }: Control): Word {
  return state === "frozen" && frozen && !frozen.by_person ? PANIC : CONTROL_STATES[state];
}

/** What a person may order now. */
export function ordersFor({ state, frozen }: Control): ControlOrder[] {
  if (state === "running") return ["freeze", "kill"];
  if (state === "frozen") return frozen?.by_person ? ["unfreeze", "kill"] : ["unfreeze", "freeze", "kill"];
  return [];
}

interface Question {
  button: string;
  title: string;
  action: string;
  isDangerous?: boolean;
  /** What will happen. */
  about: string[];
}

const balancers = (count: number): string => (count === 1 ? "one balancer" : `${count} balancers`);

/** What is asked before an order is given. */
export function question(control: Control, order: ControlOrder): Question {
  const standing = control.balancers.filter(({ state }) => state === "standing").length;
  const free = control.balancers.length - standing;
  switch (order) {
    case "freeze":
      return {
        button: "Freeze…",
        title: `Freeze control of ${control.pool}?`,
        action: "Freeze",
        about: [
          "No weights are pushed until somebody unfreezes it. Those that are in force stay, whatever the load does.",
        ],
      };
    case "unfreeze":
      return {
        button: "Unfreeze…",
        title: `Unfreeze control of ${control.pool}?`,
        action: "Unfreeze",
        about: [
          `Weights are pushed to ${balancers(standing)} again, from those that are in force, within what was confirmed.`,
          ...(control.frozen?.by_person ? [] : ["First see that what froze it is no longer so."]),
        ],
      };
    case "kill": {
      const weights = weightRows(control).map(({ name, configured }) => `${name} ${configured}`);
      return {
        button: "Back to the configured weights…",
        title: "Back to the configured weights?",
        action: `Set ${balancers(standing)} back`,
        isDangerous: true,
        about: [
          `At ${balancers(standing)} the weights from before control go back into force now: ${weights.join(", ")}.`,
          "Control ends. It begins again only with a new suggestion that somebody confirms. A rollout at the pool that is under way is rolled back.",
          ...(free > 0 ? [`At ${balancers(free)} nothing is changed: not under control any more.`] : []),
        ],
      };
    }
  }
}

/** The backend of `weight:GROUP/BACKEND`. */
export function backendOf(parameter: string): string {
  return parameter.slice(parameter.indexOf("/") + 1);
}

export interface WeightRow {
  parameter: string;
  name: string;
  bounds: string;
  /** Wanted of the balancers under control; from the least to the largest where they differ. */
  wanted: string;
  configured: string;
}

/** What was confirmed and is wanted of each weight. */
export function weightRows({ envelope, balancers: all }: Control): WeightRow[] {
  const held = all.filter(({ state }) => state !== "let_go");
  return Object.entries(envelope.bounds).map(([parameter, [least, most]]) => {
    const numbers = (of: "values" | "configured") =>
      held.flatMap((each) => (each[of][parameter] === undefined ? [] : [Number(each[of][parameter])]));
    return {
      parameter,
      name: backendOf(parameter),
      bounds: `${least} to ${most}`,
      wanted: range(numbers("values")),
      configured: range(numbers("configured")),
    };
  });
}

/** `20 % of the traffic, 60 pushes a minute`. */
export function paceWords({ envelope: { largest_shift: shift, push_ms: pushMs } }: Control): {
  shift: string;
  pushes: string;
} {
  const perMinute = 60_000 / Math.max(1, pushMs);
  return { shift: `${percent(shift)} of the traffic`, pushes: format(perMinute, "count") };
}

export interface HistoryRow {
  id: string;
  atMs: number | null;
  kind: "push" | "held" | "word";
  /** What was changed or done, a line each. */
  what: readonly string[];
  why: string;
  /** Balancers that it went to; null: not known. */
  reached: number | null;
  /** Of them those whose agents have read it back; null: not known. */
  confirmed: number | null;
  /** Until the last of them had, milliseconds. */
  tookMs: number | null;
  /** Checks that made it smaller, or held it back. */
  held: readonly string[];
}

const WORDS: Readonly<Record<string, string>> = {
  promoted: "Control began",
  froze: "Frozen",
  unfroze: "Unfrozen",
  killed: "Kill switch",
};

/** Pushes and what people said, the newest first; above them why nothing is pushed now. */
export function historyRows(control: Control, decisions: readonly AuditEntry[]): HistoryRow[] {
  const pushes = new Map(control.last_pushes.map((push) => [push.sequence, push]));
  const before = new Map(control.last_pushes.map((push, at) => [push, control.last_pushes[at + 1]]));
  const rows: HistoryRow[] = [];
  const told = new Set<number>();
  for (const entry of decisions) {
    if (entry.subject !== "rollout") continue;
    told.add(entry.sequence);
    const push = pushes.get(entry.sequence);
    if (entry.what === "pushed") rows.push(pushRow(entry, push, push && before.get(push)));
    else if (WORDS[entry.what]) rows.push(wordRow(entry));
  }
  // Pushes that are newer than the log that was read.
  for (const push of [...control.last_pushes].reverse())
    if (!told.has(push.sequence)) rows.unshift(pushRow(null, push, before.get(push)));
  if (control.state === "running" && control.waits)
    rows.unshift({
      id: "held",
      atMs: null,
      kind: "held",
      what: ["Nothing was pushed after the last window"],
      why: "",
      reached: null,
      confirmed: null,
      tookMs: null,
      held: [control.waits.replace(/^no push: /, "")],
    });
  return rows;
}

function wordRow(entry: AuditEntry): HistoryRow {
  const from = entry.actor_address ? ` from ${entry.actor_address}` : "";
  const who = entry.what === "promoted" ? "" : ` by ${entry.actor}${from}`;
  return {
    id: String(entry.sequence),
    atMs: entry.at_ms,
    kind: "word",
    what: [`${WORDS[entry.what]}${who}`],
    why: entry.reason,
    reached: null,
    confirmed: null,
    tookMs: null,
    held: [],
  };
}

/** `old`: the push before, whose weights it has changed. */
function pushRow(entry: AuditEntry | null, push: Push | undefined, old: Push | undefined): HistoryRow {
  const [why = "", ...held] = (entry?.reason ?? "").split("; ");
  const took = push?.balancers.flatMap(({ took_ms: ms }) => (ms === null ? [] : [ms])) ?? [];
  const confirmed = push?.balancers.filter(({ confirmed_at_ms: at }) => at !== null).length ?? null;
  return {
    id: String(push?.sequence ?? entry?.sequence),
    atMs: push?.pushed_at_ms ?? entry?.at_ms ?? null,
    kind: "push",
    what: push ? changes(push, old) : toLines(entry),
    why: why.replace(/^push: /, ""),
    reached: push?.balancers.length ?? entry?.nodes.length ?? null,
    confirmed,
    tookMs: took.length > 0 ? Math.max(...took) : null,
    held,
  };
}

/** What became of each weight, over all balancers; without the push before only what is wanted. */
function changes(push: Push, old: Push | undefined): string[] {
  const parameters = new Set(push.balancers.flatMap(({ values }) => Object.keys(values)));
  const numbers = (of: Push | undefined, parameter: string): number[] =>
    of?.balancers.flatMap(({ values }) =>
      values[parameter] === undefined ? [] : [Number(values[parameter])],
    ) ?? [];
  return [...parameters].sort().flatMap((parameter) => {
    const [from, to] = [range(numbers(old, parameter)), range(numbers(push, parameter))];
    if (!old) return [`${backendOf(parameter)} ${to}`];
    return from === to ? [] : [`${backendOf(parameter)} ${from} → ${to}`];
  });
}

function toLines(entry: AuditEntry | null): string[] {
  return entry?.change.map(({ parameter, to }) => `${backendOf(parameter)} ${to}`) ?? [];
}

/** `2 of 2`, or why it is not known. */
export function confirmedWords({ reached, confirmed }: HistoryRow): string {
  if (reached === null) return "";
  return confirmed === null ? `of ${reached}, not known` : `${confirmed} of ${reached}`;
}
