/** Text to copy into a file or a shell. */
import { useSignal } from "@preact/signals";

export function Snippet({ text }: { text: string }) {
  const copied = useSignal(false);
  const copy = (): void => {
    navigator.clipboard?.writeText(text).then(
      () => {
        copied.value = true;
      },
      () => undefined,
    );
  };
  return (
    <div class="command">
      <code>{text}</code>
      <button type="button" onClick={copy}>
        {copied.value ? "Copied" : "Copy"}
      </button>
    </div>
  );
}
