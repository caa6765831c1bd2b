/** Has the whole chain checked when somebody asks. */
import { useSignal } from "@preact/signals";
import { verifyAudit } from "../api/changes";
import type { Verified } from "../api/steering";
import { Pill } from "../ui/Pill";
import { verifiedWords } from "./words";

export function Verify() {
  const isChecking = useSignal(false);
  const problem = useSignal("");
  const found = useSignal<Verified | null>(null);
  const check = async (): Promise<void> => {
    isChecking.value = true;
    problem.value = "";
    try {
      found.value = await verifyAudit();
    } catch (error) {
      problem.value = error instanceof Error ? error.message : String(error);
    }
    isChecking.value = false;
  };
  const verified = found.value;
  return (
    <div class="look verify">
      <p>
        <button type="button" disabled={isChecking.value} onClick={() => void check()}>
          {isChecking.value ? "Checking…" : "Check the chain"}
        </button>{" "}
        <span role="status" class="muted" data-intact={verified?.intact}>
          {verified ? (
            <>
              <Pill tone={verified.intact ? "good" : "bad"}>{verified.intact ? "whole" : "broken"}</Pill>{" "}
              {verifiedWords(verified)}
            </>
          ) : (
            "Reads every row and computes every hash anew."
          )}
        </span>
      </p>
      {verified && verified.rows > 0 && (
        <p class="muted hash">
          Hash of row {verified.last}: <code>{verified.hash}</code>. Kept elsewhere, it shows later whether
          the chain was made anew.
        </p>
      )}
      {problem.value && (
        <p class="problem" role="alert">
          Could not check: {problem.value}.
        </p>
      )}
    </div>
  );
}
