/**
 * Asks once more before something is done, with room for a note. The browser's own modal dialog: it holds the focus,
 * Escape closes it, and the focus goes back to where it was.
 */
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useRef } from "preact/hooks";

interface Props {
  title: string;
  /** What the button that does it says. */
  action: string;
  isDangerous?: boolean;
  children: ComponentChildren;
  /** Does it; what it throws is shown and the dialog stays. */
  onDo(note: string): Promise<void>;
  onClose(): void;
}

/** Longest note. */
const NOTE_CHARACTERS = 500;

export function Dialog({ title, action, isDangerous = false, children, onDo, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const note = useSignal("");
  const isBusy = useSignal(false);
  const problem = useSignal("");
  useLayoutEffect(() => {
    const shown = dialog.current;
    shown?.showModal();
    return () => shown?.close();
  }, []);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    if (isBusy.value) return;
    isBusy.value = true;
    problem.value = "";
    try {
      await onDo(note.value.trim());
      onClose();
    } catch (error) {
      problem.value = error instanceof Error ? error.message : String(error);
    }
    isBusy.value = false;
  };
  return (
    <dialog ref={dialog} aria-labelledby="dialog-title" onCancel={onClose}>
      <form onSubmit={(event) => void submit(event)}>
        <h2 id="dialog-title">{title}</h2>
        {children}
        <label class="note">
          Note <small>for the record, if you like</small>
          <input
            name="note"
            autocomplete="off"
            maxLength={NOTE_CHARACTERS}
            value={note.value}
            onInput={(event) => {
              note.value = event.currentTarget.value;
            }}
          />
        </label>
        {problem.value && (
          <p class="problem" role="alert">
            {problem.value}
          </p>
        )}
        <div class="dialog-actions">
          <button type="button" onClick={onClose}>
            Cancel
          </button>
          <button type="submit" class={isDangerous ? "danger" : "primary"} disabled={isBusy.value}>
            {isBusy.value ? "Sending…" : action}
          </button>
        </div>
      </form>
    </dialog>
  );
}
