/** What somebody may do to a rollout under way, each asked once more. */
import { useSignal } from "@preact/signals";
import { orderRollout, unlockTarget } from "../api/changes";
import type { Rollout } from "../api/steering";
import { Dialog } from "../ui/Dialog";
import { type Order, ordersFor, QUESTIONS } from "./orders";
import { lockedOf } from "./waves";

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
    if (order === "unlock") for (const id of lockedOf(rollout)) await unlockTarget(id, note);
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
