/** What somebody may do to a rollout under way, each asked once more. */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { orderRollout, unlockTarget } from "../api/changes";
import type { Rollout } from "../api/steering";
import { isOver } from "../changes/words";
import { Dialog } from "../ui/Dialog";

type Order = "pause" | "resume" | "rollback" | "unlock";

interface Question {
  button: string;
  title: string;
  action: string;
  isDangerous?: boolean;
  about: ComponentChildren;
}

const QUESTIONS: Readonly<Record<Order, Question>> = {
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
    about: "Allows new attempts at it. First see for yourself which values are in force there.",
  },
};

/** What is possible in the present state. */
export function ordersFor({ state, stage, paused, target }: Rollout): Order[] {
  if (isOver(state)) return state !== "promoted" && target ? ["unlock"] : [];
  if (stage === "restoring") return [];
  return [paused ? "resume" : "pause", "rollback"];
}

interface Props {
  rollout: Rollout;
  onDone(): void;
}

export function Controls({ rollout, onDone }: Props) {
  const asked = useSignal<Order | null>(null);
  const orders = ordersFor(rollout);
  const order = asked.value;
  const question = order && QUESTIONS[order];
  const act = async (note: string): Promise<void> => {
    if (order === "unlock") await unlockTarget(rollout.target?.id ?? "", note);
    else if (order) await orderRollout(rollout.id, order, note);
    onDone();
  };
  return (
    <>
      {orders.length > 0 && (
        <div class="decide">
          {orders.map((each) => (
            <button
              key={each}
              type="button"
              class={QUESTIONS[each].isDangerous ? "danger" : undefined}
              onClick={() => (asked.value = each)}
            >
              {QUESTIONS[each].button}
            </button>
          ))}
        </div>
      )}
      {question && (
        <Dialog
          title={question.title}
          action={question.action}
          isDangerous={question.isDangerous ?? false}
          onDo={act}
          onClose={() => (asked.value = null)}
        >
          <p>{question.about}</p>
        </Dialog>
      )}
    </>
  );
}
