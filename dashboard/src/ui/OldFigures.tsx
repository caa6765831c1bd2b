/** Says why figures are missing, or from when they are. */
import { clock } from "../lib/format";
import { connection } from "../state/live";
import type { Poller } from "../state/poller";

/** What is shown comes from `source`. */
export function OldFigures({
  source,
}: {
  source: Pick<Poller<unknown>, "problem" | "updatedMs" | "pollNow">;
}) {
  const problem = source.problem.value;
  const updatedMs = source.updatedMs.value;
  // The banner already says so of everything that is shown.
  const isTold = updatedMs > 0 && connection.value.phase === "lost";
  if (!problem || isTold) return null;
  return (
    <p class="problem old-figures" role="alert">
      {updatedMs > 0 ? `These figures are from ${clock(updatedMs)}: ` : "There are no figures: "}
      {problem.message}.{" "}
      <button type="button" class="link" onClick={() => source.pollNow()}>
        Try again
      </button>
    </p>
  );
}
