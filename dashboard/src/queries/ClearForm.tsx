/** Clears kept answers: what, then a confirmation in the page, then what came of it. */
import { useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { clearCache, fetchCatalog } from "../api/client";
import { fleet } from "../state/fleet";
import { type ClearKind, doneWords, KINDS, tagOf, warningWords } from "./clearing";

interface Outcome {
  isDone: boolean;
  text: string;
}

const NAMES_ID = "clear-names";
const PROBLEM_ID = "clear-problem";

export function ClearForm({ onCleared }: { onCleared(): void }) {
  const kind = useSignal<ClearKind>("all");
  const name = useSignal("");
  /** The tag that waits for the confirmation. */
  const asked = useSignal<string | null>(null);
  const isSending = useSignal(false);
  const outcome = useSignal<Outcome | null>(null);
  const names = useNames(kind.value);
  const submit = useRef<HTMLButtonElement>(null);

  const change = (): void => {
    asked.value = null;
    outcome.value = null;
  };
  const ask = (event: Event): void => {
    event.preventDefault();
    outcome.value = null;
    asked.value = tagOf(kind.value, name.value);
    if (asked.value === null) outcome.value = { isDone: false, text: `Name the ${kind.value} first.` };
  };
  const cancel = (): void => {
    asked.value = null;
    submit.current?.focus();
  };
  const clear = async (tag: string): Promise<void> => {
    isSending.value = true;
    outcome.value = await send(tag);
    if (outcome.value.isDone) onCleared();
    isSending.value = false;
    cancel();
  };
  const isWrong = outcome.value?.isDone === false;
  return (
    <form
      class="panel clear"
      onSubmit={ask}
      onKeyDown={(event) => event.key === "Escape" && asked.value !== null && cancel()}
      aria-label="Clear what is kept"
    >
      <div class="clear-fields">
        <KindChoice
          kind={kind.value}
          onPick={(picked) => {
            change();
            kind.value = picked;
            name.value = "";
          }}
        />
        {kind.value !== "all" && (
          <NameField
            kind={kind.value}
            name={name.value}
            names={names}
            isWrong={isWrong}
            onInput={(text) => {
              change();
              name.value = text;
            }}
          />
        )}
        <button ref={submit} type="submit">
          Clear…
        </button>
      </div>
      {asked.value !== null && (
        <Confirm
          tag={asked.value}
          names={names}
          isSending={isSending.value}
          onYes={(tag) => void clear(tag)}
          onNo={cancel}
        />
      )}
      <Result outcome={outcome.value} />
    </form>
  );
}

async function send(tag: string): Promise<Outcome> {
  try {
    const done = await clearCache(tag);
    return { isDone: true, text: doneWords(done.tag) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    return { isDone: false, text: `Not cleared: ${why}.` };
  }
}

function KindChoice({ kind, onPick }: { kind: ClearKind; onPick(kind: ClearKind): void }) {
  return (
    <fieldset class="segments choice">
      <legend class="sr">What to clear</legend>
      {KINDS.map((each) => (
        <label key={each.kind}>
          <input
            type="radio"
            name="kind"
            class="sr"
            value={each.kind}
            checked={each.kind === kind}
            onChange={() => onPick(each.kind)}
          />
          <span>{each.name}</span>
        </label>
      ))}
    </fieldset>
  );
}

interface NameProps {
  kind: ClearKind;
  name: string;
  names: readonly string[];
  isWrong: boolean;
  onInput(text: string): void;
}

function NameField({ kind, name, names, isWrong, onInput }: NameProps) {
  return (
    <label>
      <span class="sr">Name of the {kind}</span>
      <input
        name="name"
        list={NAMES_ID}
        autocomplete="off"
        placeholder={kind === "metric" ? "system.cpu.utilization" : "name of the node"}
        value={name}
        aria-invalid={isWrong || undefined}
        aria-describedby={isWrong ? PROBLEM_ID : undefined}
        onInput={(event) => onInput(event.currentTarget.value)}
      />
      <datalist id={NAMES_ID}>
        {names.map((each) => (
          <option key={each} value={each} />
        ))}
      </datalist>
    </label>
  );
}

function Result({ outcome }: { outcome: Outcome | null }) {
  return (
    <>
      <p role="status" class="clear-done">
        {outcome?.isDone && `✓ ${outcome.text}`}
      </p>
      {outcome?.isDone === false && (
        <p role="alert" id={PROBLEM_ID} class="problem">
          {outcome.text}
        </p>
      )}
    </>
  );
}

interface ConfirmProps {
  tag: string;
  names: readonly string[];
  isSending: boolean;
  onYes(tag: string): void;
  onNo(): void;
}

function Confirm({ tag, names, isSending, onYes, onNo }: ConfirmProps) {
  const yes = useRef<HTMLButtonElement>(null);
  useLayoutEffect(() => yes.current?.focus(), []);
  return (
    <div class="confirm" role="alertdialog" aria-label="Confirm" aria-describedby="clear-warning">
      <p id="clear-warning">{warningWords(tag, names)}</p>
      <button ref={yes} type="button" class="danger" disabled={isSending} onClick={() => onYes(tag)}>
        {isSending ? "Clearing…" : "Yes, clear it"}
      </button>
      <button type="button" onClick={onNo}>
        Cancel
      </button>
    </div>
  );
}

/** Names to suggest: the fleet's nodes, or the catalog's metrics, asked for when they are first wanted. */
function useNames(kind: ClearKind): readonly string[] {
  const metrics = useSignal<readonly string[]>([]);
  useEffect(() => {
    if (kind !== "metric" || metrics.peek().length > 0) return;
    fetchCatalog()
      .then((catalog) => {
        metrics.value = catalog.metrics.map((metric) => metric.name);
      })
      .catch(() => {
        // Suggestions are a help only; a name can be typed without.
      });
  }, [kind]);
  if (kind === "metric") return metrics.value;
  return kind === "node" ? [...fleet.keys()].sort() : [];
}
