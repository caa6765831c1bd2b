/** The life of a change as a list of moments, in words. Pure. */
import type { Decided, Rollout, RolloutStep, Suggestion, Verdict } from "../api/steering";
import { changeText } from "../changes/values";
import { isJudged, isOver, JUDGEMENTS, kindWords, STATES, stageWords, wordsOf } from "../changes/words";
import type { Tone } from "../ui/Pill";
import { saidOf } from "./notes";

export interface Entry {
  id: string;
  /** Null: now. */
  atMs: number | null;
  title: string;
  text: string;
  tone: Tone;
  verdict: Verdict | null;
  /** Time whose measurements the verdict is of. */
  judgedMs: { fromMs: number; toMs: number } | null;
}

type Draft = Partial<Entry> & Pick<Entry, "id" | "atMs" | "title">;

const entry = (draft: Draft): Entry => ({ text: "", tone: "calm", verdict: null, judgedMs: null, ...draft });

/** From the suggestion to the end, or to what is awaited now. */
export function timelineOf(rollout: Rollout, suggestion: Suggestion | null): Entry[] {
  const entries: Entry[] = [];
  if (suggestion)
    entries.push(entry({ id: "suggested", atMs: suggestion.created_at_ms, title: "Suggested" }));
  if (rollout.started_at_ms != null)
    entries.push(
      entry({
        id: "confirmed",
        atMs: rollout.started_at_ms,
        title: `Confirmed, attempt ${rollout.attempt}`,
        text: decidedWords(suggestion?.decided),
      }),
    );
  rollout.steps.forEach((step, at) => {
    entries.push(...stepEntries(rollout, step, at));
  });
  entries.push(lastEntry(rollout));
  return entries;
}

/** A step, and what the judge said of it. The last word belongs to the step itself where there is only one. */
function stepEntries(rollout: Rollout, step: RolloutStep, at: number): Entry[] {
  const { nodes, revision, verdict, started_at_ms: fromMs } = step;
  const { steps, ended_at_ms: ended } = rollout;
  const toMs = step.judged_at_ms || steps[at + 1]?.started_at_ms || ended;
  const said = saidOf(step);
  const offered = entry({
    id: `step-${at}`,
    atMs: fromMs,
    title: stepTitle(rollout, step, at),
    text: `On ${nodes.join(", ")}, policy revision ${revision}.`,
    tone: verdict ? wordsOf(JUDGEMENTS, verdict.result).tone : "calm",
    verdict: said.length > 1 ? null : verdict,
    judgedMs: said.length <= 1 && verdict && toMs ? { fromMs, toMs } : null,
  });
  if (said.length <= 1) return [offered];
  const looks = said.flatMap((each, look) => {
    const next = said[look + 1];
    if (next && isSaidAgain(each, next)) return [];
    const same = said.slice(0, look + 1).reverse();
    const other = same.findIndex(
      (before, back) => back > 0 && !isSaidAgain(before, same[back - 1] ?? before),
    );
    const count = other < 0 ? same.length : other;
    const { name, tone } = wordsOf(JUDGEMENTS, each.result);
    const atMs = each.at_ms || toMs || fromMs;
    const id = `step-${at}-look-${look}`;
    const title = `The judge: ${name}${count > 1 ? `, ${count} times` : ""}`;
    const judgedMs = look === said.length - 1 ? { fromMs, toMs: atMs } : null;
    return [entry({ id, atMs, title, tone, verdict: each, judgedMs })];
  });
  return [offered, ...looks];
}

/** Whether the judge says the same once more, without a number that may have changed. */
function isSaidAgain(before: Verdict, after: Verdict): boolean {
  const isNumber = before.observed || after.observed || before.expected || after.expected;
  return !isNumber && before.result === after.result && before.reason === after.reason;
}

function stepTitle(rollout: Rollout, { wave, step }: RolloutStep, at: number): string {
  const { steps } = rollout;
  const waves = Math.max(rollout.waves?.length ?? 1, ...steps.map((each) => each.wave ?? 1));
  if (steps.length === 1 && waves === 1) return "Offered to the agent";
  return waves > 1 ? `Wave ${wave ?? 1}, step ${step ?? at + 1}` : `Step ${step ?? at + 1}`;
}

/** Who decided and what they said. */
export function decidedWords(decided: Decided | null | undefined): string {
  if (!decided) return "";
  const from = decided.address ? ` from ${decided.address}` : "";
  return `By ${decided.by}${from}${decided.note ? `: “${decided.note}”` : "."}`;
}

function lastEntry(rollout: Rollout): Entry {
  const { state, reason, stage, paused } = rollout;
  const words = wordsOf(STATES, state);
  if (isOver(state)) {
    const text = [words.meaning, why(reason)].filter(Boolean).join(" ");
    return entry({
      id: "end",
      atMs: rollout.ended_at_ms ?? null,
      title: capital(words.name),
      text,
      tone: words.tone,
    });
  }
  const title = paused ? "Paused" : capital(stageWords(stage) || words.name);
  const meaning = paused ? "It goes no further until somebody resumes it." : words.meaning;
  return entry({
    id: "now",
    atMs: null,
    title,
    text: [meaning, why(reason)].filter(Boolean).join(" "),
    tone: stage === "restoring" ? "bad" : "warn",
  });
}

/** Why it goes back or ended; the judge's numbers stand with its verdict. */
function why(reason: string): string {
  return sentence(isJudged(reason) ? "the judge found harm" : reason);
}

/** A reason as the collector writes it, as a sentence of its own. */
export function sentence(reason: string): string {
  if (!reason) return "";
  return `${capital(reason)}${/[.!?]$/.test(reason) ? "" : "."}`;
}

export function capital(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The newest verdict there is. */
export function lastVerdict({ steps }: Rollout): Verdict | null {
  return steps.findLast(({ verdict }) => verdict !== null)?.verdict ?? null;
}

/** What to call a rollout. */
export function rolloutTitle({ id, title, change, kind }: Rollout): string {
  if (title) return title;
  if (change?.[0]) return capital(changeText(change[0]));
  return kind ? capital(kindWords(kind)) : id;
}
