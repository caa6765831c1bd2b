/** Has the advisors look now, and tells what they passed over and why. */
import { signal, useSignal } from "@preact/signals";
import { optimize } from "../api/changes";
import type { OptimizeAnswer } from "../api/steering";
import { TargetOfId } from "../changes/TargetLink";
import { ago } from "../lib/format";
import { nowMs, serverNow } from "../state/clock";
import { foundWords, skippedTargets } from "./words";

/** What the last look at each target found, for as long as the page is open; "" is everything. */
const looks = signal<Readonly<Record<string, { atMs: number; answer: OptimizeAnswer }>>>({});

/** Of more targets the reasons are shown when somebody asks. */
const OPEN_AT_MOST = 3;

interface Props {
  /** Looks at this one only; null: at everything. */
  target: string | null;
  onLooked?(): void;
}

export function LookNow({ target, onLooked }: Props) {
  const isLooking = useSignal(false);
  const problem = useSignal("");
  const key = target ?? "";
  const last = looks.value[key];
  const look = async (): Promise<void> => {
    isLooking.value = true;
    problem.value = "";
    try {
      const answer = await optimize(target);
      looks.value = { ...looks.value, [key]: { atMs: serverNow(), answer } };
      onLooked?.();
    } catch (error) {
      problem.value = error instanceof Error ? error.message : String(error);
    }
    isLooking.value = false;
  };
  return (
    <div class="look">
      <p>
        <button type="button" disabled={isLooking.value} onClick={() => void look()}>
          {isLooking.value ? "Looking…" : "Look now"}
        </button>{" "}
        <span role="status" class="muted">
          {last ? <Found {...last} /> : "Advisors look by themselves every few minutes."}
        </span>
      </p>
      {problem.value && (
        <p class="problem" role="alert">
          Could not look: {problem.value}.
        </p>
      )}
      {last && last.answer.skipped.length > 0 && <SkippedList answer={last.answer} />}
    </div>
  );
}

/** Reads the ticking clock itself. */
function Found({ atMs, answer }: { atMs: number; answer: OptimizeAnswer }) {
  return (
    <>
      Looked {ago(atMs, nowMs.value)}: {foundWords(answer)}.
    </>
  );
}

function SkippedList({ answer: { skipped } }: { answer: OptimizeAnswer }) {
  const targets = skippedTargets(skipped);
  return (
    <details class="skipped" open={targets.length <= OPEN_AT_MOST}>
      <summary>What was passed over, and why</summary>
      <dl>
        {targets.map(({ target, reasons }) => (
          <div key={target}>
            <dt>
              <TargetOfId id={target} />
            </dt>
            {reasons.map(({ kinds, reason }) => (
              <dd key={reason}>
                {kinds && <small>{kinds}</small>}
                <span>{reason}</span>
              </dd>
            ))}
          </div>
        ))}
      </dl>
    </details>
  );
}
