/** The page's one range of time: presets, live, custom ends, and what a point stands for. */
import { useSignal } from "@preact/signals";
import type { History } from "../chart/history";
import { duration, moment } from "../lib/format";
import { fixedRange, lengthOf, PRESETS, shiftRange, stepFor } from "../lib/range";
import { serverNow } from "../state/clock";
import { connection } from "../state/live";
import { go, route } from "../state/route";
import { goLive, KEY_HELP } from "./keys";

export function RangeBar({ controller }: { controller: History }) {
  const { range } = route.value;
  const isCustomOpen = useSignal(false);
  const isLive = range.kind === "live";
  const step = duration(stepFor(lengthOf(range)));
  const problem = controller.problem.value;
  const move = (share: number) => go({ range: shiftRange(range, share, serverNow()) });
  return (
    <div class="rangebar" role="toolbar" aria-label="Time range" title={KEY_HELP}>
      <div class="segments">
        {PRESETS.map(({ name, lengthMs }) => (
          <button
            key={name}
            type="button"
            aria-pressed={isLive && range.lengthMs === lengthMs}
            onClick={() => go({ range: { kind: "live", lengthMs } })}
          >
            {name}
          </button>
        ))}
        <button
          type="button"
          aria-pressed={!isLive}
          aria-expanded={isCustomOpen.value}
          onClick={() => {
            isCustomOpen.value = !isCustomOpen.value;
          }}
        >
          custom
        </button>
      </div>
      <div class="segments">
        <button type="button" aria-label="Earlier" onClick={() => move(-0.5)}>
          ←
        </button>
        <button type="button" aria-label="Later" disabled={isLive} onClick={() => move(0.5)}>
          →
        </button>
      </div>
      <button
        type="button"
        class="live"
        aria-pressed={isLive}
        onClick={goLive}
        data-phase={connection.value.phase}
      >
        {isLive ? "Live" : "Go live"}
      </button>
      <span class="range-text">
        {range.kind === "fixed" && (
          <b>
            {moment(range.fromMs, serverNow())} – {moment(range.toMs, serverNow())}
          </b>
        )}{" "}
        one point = {step}
      </span>
      {problem && (
        <span class="problem" role="alert">
          History failed: {problem.message}{" "}
          <button type="button" class="link" onClick={() => controller.reload()}>
            Try again
          </button>
        </span>
      )}
      {isCustomOpen.value && (
        <CustomRange
          key={JSON.stringify(range)}
          onDone={() => {
            isCustomOpen.value = false;
          }}
        />
      )}
    </div>
  );
}

/** `tsMs` as a datetime-local field wants it. */
function fieldText(tsMs: number): string {
  const local = new Date(tsMs - new Date(tsMs).getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19);
}

function CustomRange({ onDone }: { onDone(): void }) {
  const { range } = route.peek();
  const toMs = range.kind === "fixed" ? range.toMs : serverNow();
  const from = useSignal(fieldText(toMs - lengthOf(range)));
  const to = useSignal(fieldText(toMs));
  const fromMs = Date.parse(from.value);
  const untilMs = Date.parse(to.value);
  const isValid = Number.isFinite(fromMs) && Number.isFinite(untilMs) && fromMs < untilMs;
  const apply = (event: Event): void => {
    event.preventDefault();
    if (!isValid) return;
    go({ range: fixedRange(fromMs, untilMs) });
    onDone();
  };
  return (
    <form class="custom" onSubmit={apply}>
      <label>
        From{" "}
        <input
          type="datetime-local"
          step="1"
          value={from.value}
          onInput={(e) => (from.value = e.currentTarget.value)}
        />
      </label>
      <label>
        to{" "}
        <input
          type="datetime-local"
          step="1"
          value={to.value}
          onInput={(e) => (to.value = e.currentTarget.value)}
        />
      </label>
      <button type="submit" disabled={!isValid}>
        Show
      </button>
      {!isValid && <span class="problem">The end must be after the beginning.</span>}
    </form>
  );
}
