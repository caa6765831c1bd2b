/** What somebody may do to a rollout, and what is asked before it is done. */
import type { Rollout } from "../api/steering";
import { isOver } from "../changes/words";

/** What somebody may order. */
export type Order = "pause" | "resume" | "rollback" | "unlock";

interface Question {
  button: string;
  title: string;
  action: string;
  isDangerous?: boolean;
  /** What it does. */
  about: string;
}

/** What is asked before. */
export const QUESTIONS: Readonly<Record<Order, Question>> = {
  pause: {
    button: "Pause…",
    title: "Pause this rollout?",
    action: "Pause",
    about: "What is in force stays in force, and is still taken back when it does harm. It goes no further.",
  },
  resume: {
    button: "Resume…",
    title: "Resume this rollout?",
    action: "Resume",
    about: "It goes on from where it was paused.",
  },
  rollback: {
    button: "Roll back…",
    title: "Roll this back?",
    action: "Roll back",
    isDangerous: true,
    about:
      "The old values go back into force now. It counts as a failed attempt: the next one has to wait, and after three the target is locked.",
  },
  unlock: {
    button: "Unlock target…",
    title: "Unlock this target?",
    action: "Unlock",
    about:
      "Allows new attempts at it; of several caches, at each that is locked. First see for yourself which values are in force there.",
  },
};

/** Failed attempts after which a target is locked. */
const ATTEMPTS = 3;

/** Whether a target of a rollout that has ended is locked, or may be where that is not told. */
function mayBeLocked({ members, target, state, attempt }: Rollout): boolean {
  if (members && members.length > 0) return members.some(({ locked }) => locked);
  if (!target) return false;
  return state === "failed" || (state === "rolled_back" && attempt >= ATTEMPTS);
}

/** What is possible in the present state. */
export function ordersFor(rollout: Rollout): Order[] {
  const { state, stage, paused } = rollout;
  if (isOver(state)) return mayBeLocked(rollout) ? ["unlock"] : [];
  if (stage === "restoring") return [];
  return [paused ? "resume" : "pause", "rollback"];
}
