/** Confirm or reject, each asked once more with room for a note; or what was decided. */
import { useSignal } from "@preact/signals";
import { confirmSuggestion, rejectSuggestion } from "../api/changes";
import { ApiError } from "../api/client";
import type { Suggestion } from "../api/steering";
import { changeLines } from "../changes/values";
import { expiryWords, placeWords, STATUSES, wordsOf } from "../changes/words";
import { decidedWords } from "../rollouts/timeline";
import { nowMs } from "../state/clock";
import { open, pageHref } from "../state/route";
import { Dialog } from "../ui/Dialog";

interface Props {
  suggestion: Suggestion;
  /** The suggestion is to be asked for again. */
  onDecided(): void;
}

export function Decide({ suggestion, onDecided }: Props) {
  const asked = useSignal<"confirm" | "reject" | null>(null);
  const refusal = useSignal("");
  const members = suggestion.members ?? [];
  const close = (): void => {
    asked.value = null;
  };
  /** A refusal because of the state is told beside the state itself, which is asked for anew. */
  const guarded = (act: () => Promise<void>) => async (): Promise<void> => {
    refusal.value = "";
    try {
      await act();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 409) throw error;
      refusal.value = error.message;
      onDecided();
    }
  };
  const confirm = (note: string) =>
    guarded(async () => open("rollouts", (await confirmSuggestion(suggestion.id, note)).id))();
  const reject = (note: string) =>
    guarded(async () => {
      await rejectSuggestion(suggestion.id, note);
      onDecided();
    })();
  return (
    <div class="decide" data-status={suggestion.status}>
      {suggestion.status === "proposed" ? (
        <>
          {!suggestion.by_hand && (
            <button type="button" class="primary" onClick={() => (asked.value = "confirm")}>
              Confirm…
            </button>
          )}
          <button type="button" onClick={() => (asked.value = "reject")}>
            Reject…
          </button>
          <span class="muted">
            {suggestion.by_hand && "No agent can do this: do it, then reject it with a note. It "}
            <Expiry expiresAtMs={suggestion.expires_at_ms} />
          </span>
        </>
      ) : (
        <Decided suggestion={suggestion} />
      )}
      {refusal.value && (
        <p class="problem" role="alert">
          The collector refused: {refusal.value}.
        </p>
      )}
      {asked.value === "confirm" && (
        <Dialog title="Carry this out?" action="Confirm" onDo={confirm} onClose={close}>
          <ul class="dialog-changes">
            {changeLines(suggestion.change, members).map((line) => (
              <li key={line}>{line}</li>
            ))}
          </ul>
          {members.length > 1 && (
            <p>
              {members.length} caches on {placeWords(members)} change in waves: one or a few first, compared
              with others that wait. Harm in any wave takes all of them back.
            </p>
          )}
          <p>
            It goes into force in bounded steps, is compared with what was promised, and is taken back by
            itself when it does harm. You can pause it or take it back at any time.
          </p>
        </Dialog>
      )}
      {asked.value === "reject" && (
        <Dialog title="Reject this?" action="Reject" onDo={reject} onClose={close}>
          <p>
            Nothing changes. The same is not suggested again for 30 days, unless the value in force changes.
          </p>
        </Dialog>
      )}
    </div>
  );
}

/** Reads the ticking clock itself. */
function Expiry({ expiresAtMs }: { expiresAtMs: number }) {
  return <>{expiryWords(expiresAtMs, nowMs.value)}</>;
}

function Decided({ suggestion: { status, decided, rollout_id: rollout } }: { suggestion: Suggestion }) {
  return (
    <p class="decided">
      {wordsOf(STATUSES, status).meaning} {decidedWords(decided)}{" "}
      {rollout && <a href={pageHref("rollouts", rollout)}>See the rollout</a>}
    </p>
  );
}
