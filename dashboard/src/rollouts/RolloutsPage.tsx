/** Changes on their way, and those that came to an end. */
import { useSignal } from "@preact/signals";
import { fetchPages, fetchRollouts } from "../api/changes";
import type { Rollout } from "../api/steering";
import { isOver } from "../changes/words";
import { pageHref, route } from "../state/route";
import { usePoller } from "../state/usePoller";
import { OldFigures } from "../ui/OldFigures";
import { RolloutList } from "./RolloutList";
import { RolloutPage } from "./RolloutPage";

const POLL_MS = 10_000;

export function RolloutsPage() {
  const { id } = route.value;
  return id ? <RolloutPage key={id} id={id} /> : <All />;
}

function All() {
  const pages = useSignal(1);
  const poller = usePoller(String(pages.value), () => ({
    everyMs: POLL_MS,
    kinds: ["rollout"],
    ask: (signal) => fetchPages((cursor) => fetchRollouts({ cursor }, signal), pages.peek()),
  }));
  const listed = poller.value.value;
  return (
    <div class="changes">
      <h1>Rollouts</h1>
      <p class="lead muted">
        Confirmed changes on their way. Each goes into force in steps, is compared with what was expected, and
        stays or is taken back by itself.
      </p>
      <OldFigures source={poller} />
      {!listed && !poller.problem.value && <p class="waiting">Waiting for the collector…</p>}
      {listed && <Found rollouts={listed.items} />}
      {listed && listed.next !== null && (
        <p class="table-foot">
          <button type="button" class="link" onClick={() => (pages.value += 1)}>
            Show older ones
          </button>
        </p>
      )}
    </div>
  );
}

function Found({ rollouts }: { rollouts: readonly Rollout[] }) {
  if (rollouts.length === 0)
    return (
      <div class="waiting">
        <p>Nothing was rolled out yet.</p>
        <p>
          A rollout begins when somebody confirms a <a href={pageHref("suggestions")}>suggestion</a>.
        </p>
      </div>
    );
  const running = rollouts.filter(({ state }) => !isOver(state));
  const over = rollouts.filter(({ state }) => isOver(state));
  return (
    <>
      <section class="section">
        <h2>On their way</h2>
        {running.length > 0 ? <RolloutList rollouts={running} /> : <p class="muted">None at present.</p>}
      </section>
      {over.length > 0 && (
        <section class="section">
          <h2>Over</h2>
          <RolloutList rollouts={over} />
        </section>
      )}
    </>
  );
}
