/** Several like caches on a time axis: which changed when, and which they were compared with. Pure. */
import type { Rollout, RolloutMember, Target, Wave } from "../api/steering";
import { isOver, WAVE_STATES, type Words, wordsOf } from "../changes/words";
import { beginOf } from "./notes";

/** What a cache was over a time: compared with as it was, or changed. */
export interface Span {
  kind: "control" | "changed";
  fromMs: number;
  toMs: number;
}

export interface WaveRow {
  member: RolloutMember;
  spans: Span[];
}

export interface WaveShown {
  /** From 1. */
  place: number;
  name: string;
  state: Words;
  /** Null: it was not its turn yet. */
  beganMs: number | null;
  /** What it was, or will be, compared with. */
  controls: Target[];
  rows: WaveRow[];
}

/** Whether it is about several caches at once. */
export function isGroup({ members }: Pick<Rollout, "members">): boolean {
  return (members?.length ?? 0) > 1;
}

/** When a wave began; null before. */
function beganOf({ steps }: Rollout, place: number): number | null {
  return steps.find(({ wave }) => (wave ?? 1) === place)?.started_at_ms ?? null;
}

/** The time that is drawn. */
export function timeOf(rollout: Rollout, nowMs: number): { fromMs: number; toMs: number } {
  const fromMs = beginOf(rollout) ?? nowMs;
  return { fromMs, toMs: Math.max(fromMs + 1, rollout.ended_at_ms ?? nowMs) };
}

/** The waves with their caches, the canary first. */
export function wavesOf(rollout: Rollout, nowMs: number): WaveShown[] {
  const waves = rollout.waves ?? [];
  const members = new Map(rollout.members?.map((member) => [member.target.id, member]));
  const { toMs: end } = timeOf(rollout, nowMs);
  const found = (ids: string[]): RolloutMember[] => ids.flatMap((id) => members.get(id) ?? []);
  return waves.map((wave, at) => ({
    place: at + 1,
    name: at === 0 ? "Canary" : `Wave ${at + 1}`,
    state: wordsOf(WAVE_STATES, wave.state),
    beganMs: beganOf(rollout, at + 1),
    controls: found(wave.controls).map(({ target }) => target),
    rows: found(wave.targets).map((member) => ({
      member,
      spans: spansOf(rollout, waves, member.target.id, end),
    })),
  }));
}

/** What a cache was while each wave was under way. A wave is until the next one begins. */
function spansOf(rollout: Rollout, waves: readonly Wave[], id: string, endMs: number): Span[] {
  return waves.flatMap(({ targets, controls }, at): Span[] => {
    const fromMs = beganOf(rollout, at + 1);
    if (fromMs === null) return [];
    if (targets.includes(id)) return [{ kind: "changed", fromMs, toMs: endMs }];
    if (!controls.includes(id)) return [];
    return [{ kind: "control", fromMs, toMs: beganOf(rollout, at + 2) ?? endMs }];
  });
}

/** The cache whose charts are shown: the picked one, else the first that changed. */
export function shownOf(rollout: Rollout, target: Target | null, picked: string | null): Target | null {
  if (!isGroup(rollout)) return rollout.members?.[0]?.target ?? target;
  const id = picked ?? rollout.waves?.[0]?.targets[0];
  const members = rollout.members ?? [];
  return (members.find((member) => member.target.id === id) ?? members[0])?.target ?? target;
}

/** The rollout as one of its caches saw it: the steps of its own wave. */
export function seenBy(rollout: Rollout, id: string): Rollout {
  const place = (rollout.waves ?? []).findIndex(({ targets }) => targets.includes(id)) + 1;
  if (!isGroup(rollout) || place === 0) return rollout;
  return { ...rollout, steps: rollout.steps.filter(({ wave }) => (wave ?? 1) === place) };
}

/** Where the rollout is, in a sentence. */
export function wavesSentence(rollout: Rollout): string {
  const waves = rollout.waves ?? [];
  const touched = rollout.members?.filter(({ state }) => state !== "untouched").length ?? 0;
  const count = rollout.members?.length ?? 0;
  const so = isOver(rollout.state) ? "" : " so far";
  const all = touched === count ? `All ${count} caches changed` : `${touched} of ${count} caches changed`;
  return `${all}${so}, in ${waves.length} ${waves.length === 1 ? "wave" : "waves"}.`;
}

/** Ids of the caches that somebody has to unlock; of a rollout that does not tell, its target's. */
export function lockedOf({ members, target }: Rollout): string[] {
  if (!members || members.length === 0) return target ? [target.id] : [];
  return members.filter(({ locked }) => locked).map((member) => member.target.id);
}
