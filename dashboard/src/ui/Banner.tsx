/** Says that the collector is out of reach, since when, and that the page comes back by itself. */
import { type ReadonlySignal, useComputed } from "@preact/signals";
import { clock } from "../lib/format";
import { connection, retryNow } from "../state/live";

export function Banner({ now }: { now: ReadonlySignal<number> }) {
  const { phase, sinceMs, reason, retryAtMs } = connection.value;
  const wait = useComputed(() => {
    now.value;
    return Math.max(0, Math.ceil((connection.value.retryAtMs - Date.now()) / 1000));
  });
  if (phase !== "lost") return null;
  return (
    <div class="banner" role="alert" data-banner="lost">
      <strong>Collector unreachable</strong> since {clock(sinceMs)}: {reason}. What you see is from then.
      <span class="spacer" />
      <span class="banner-wait">{retryAtMs > 0 && wait.value > 0 ? `Next try in ${wait} s` : "Trying…"}</span>
      <button type="button" onClick={retryNow}>
        Try now
      </button>
    </div>
  );
}
