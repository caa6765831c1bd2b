/** What is wrong now, in plain words, and what was a moment ago. */
import { useSignal } from "@preact/signals";
import type { Alert } from "../api/types";
import { ago, duration } from "../lib/format";
import { nowMs } from "../state/clock";
import { nodeHref } from "../state/route";
import { alertWords } from "./words";

/** Alerts shown before somebody asks for all. */
const SHOWN = 4;

interface Props {
  firing: readonly Alert[];
  resolved: readonly Alert[];
  /** The page is about one node, which need not be named again. */
  ofNode?: boolean;
}

export function AlertList({ firing, resolved, ofNode = false }: Props) {
  const isOpen = useSignal(false);
  const showsResolved = useSignal(false);
  if (firing.length === 0 && resolved.length === 0) return null;
  const shown = isOpen.value ? firing : firing.slice(0, SHOWN);
  const more = firing.length - shown.length;
  return (
    <section class="alerts" aria-label="Alerts" data-firing={firing.length}>
      <ul>
        {shown.map((alert) => (
          <Item key={alert.id} alert={alert} ofNode={ofNode} />
        ))}
        {showsResolved.value &&
          resolved.map((alert) => <Item key={alert.id} alert={alert} ofNode={ofNode} />)}
      </ul>
      <div class="alerts-foot">
        {(more > 0 || isOpen.value) && (
          <Toggle on={isOpen} text={isOpen.value ? "Show fewer" : `Show ${more} more`} />
        )}
        {resolved.length > 0 && (
          <Toggle
            on={showsResolved}
            text={showsResolved.value ? "Hide what is over" : `${resolved.length} over lately`}
          />
        )}
      </div>
    </section>
  );
}

function Toggle({ on, text }: { on: { value: boolean }; text: string }) {
  return (
    <button
      type="button"
      class="link"
      onClick={() => {
        on.value = !on.value;
      }}
    >
      {text}
    </button>
  );
}

function Item({ alert, ofNode }: { alert: Alert; ofNode: boolean }) {
  const { title, meaning } = alertWords(alert.name);
  return (
    <li class="alert" data-severity={alert.severity} data-state={alert.state} data-name={alert.name}>
      <span class="alert-mark" aria-hidden="true" />
      <div>
        <p class="alert-head">
          <strong title={meaning}>{title}</strong>
          {alert.node !== null && !ofNode && <a href={nodeHref(alert.node)}>{alert.node}</a>}
          <span class="alert-time">
            <Time alert={alert} />
          </span>
        </p>
        <p class="alert-text">{alert.text}</p>
        {alert.state === "firing" && meaning && <p class="alert-meaning">{meaning}</p>}
      </div>
    </li>
  );
}

/** Reads the ticking clock itself. */
function Time({ alert }: { alert: Alert }) {
  const { since_ms: since, resolved_ms: resolved } = alert;
  if (resolved === null) return <>{`for ${duration(Math.max(1000, nowMs.value - since))}`}</>;
  return <>{`over ${ago(resolved, nowMs.value)}, lasted ${duration(resolved - since)}`}</>;
}
