/** The life of a change as a list of moments, in words. Pure. */
import type { Rollout, RolloutStep, Suggestion, Verdict } from "../api/steering";
import { changeText } from "../changes/values";
import { isOver, JUDGEMENTS, kindWords, STATES, stageWords, wordsOf } from "../changes/words";
import type { Tone } from "../ui/Pill";

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
      entry({ id: "confirmed", atMs: rollout.started_at_ms, title: `Confirmed, attempt ${rollout.attempt}` }),
    );
  rollout.steps.forEach((step, at) => {
    entries.push(stepEntry(rollout, step, at));
  });
  entries.push(lastEntry(rollout));
  return entries;
}

function stepEntry(rollout: Rollout, step: RolloutStep, at: number): Entry {
  const { nodes, revision, verdict, started_at_ms: fromMs } = step;
  const { steps, ended_at_ms: ended } = rollout;
  const toMs = step.judged_at_ms || steps[at + 1]?.started_at_ms || ended;
  return entry({
    id: `step-${at}`,
    atMs: step.started_at_ms,
    title: steps.length > 1 ? `Step ${at + 1}` : "Offered to the agent",
    text: `On ${nodes.join(", ")}, policy revision ${revision}.`,
    tone: verdict ? wordsOf(JUDGEMENTS, verdict.result).tone : "calm",
    verdict,
    judgedMs: verdict && toMs ? { fromMs, toMs } : null,
  });
}

function lastEntry(rollout: Rollout): Entry {
  const { state, reason, stage, paused } = rollout;
  const words = wordsOf(STATES, state);
  if (isOver(state)) {
    const text = [words.meaning, sentence(reason)].filter(Boolean).join(" ");
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
    text: [meaning, sentence(reason)].filter(Boolean).join(" "),
    tone: stage === "restoring" ? "bad" : "warn",
  });
}

/** A reason as the collector writes it, as a sentence of its own. */
function sentence(reason: string): string {
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
