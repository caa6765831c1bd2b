/** Suggestions that are open for a cache, and what was changed before. */
import { fetchSuggestions } from "../api/changes";
import type { Rollout } from "../api/steering";
import { RolloutList } from "../rollouts/RolloutList";
import { usePoller } from "../state/usePoller";
import { SuggestionList } from "../suggestions/SuggestionList";
import { OldFigures } from "../ui/OldFigures";

const POLL_MS = 15_000;

export function OpenSuggestions({ target }: { target: string }) {
  const poller = usePoller(target, () => ({
    everyMs: POLL_MS,
    kinds: ["suggestion"],
    ask: (signal) => fetchSuggestions({ status: "proposed", target }, signal),
  }));
  const items = poller.value.value?.items;
  return (
    <>
      <OldFigures source={poller} />
      {items && items.length > 0 && <SuggestionList suggestions={items} />}
      {items?.length === 0 && <p class="muted">Nothing is suggested for it at present.</p>}
    </>
  );
}

/** Its changes; `rollouts` is undefined while they are not known. */
export function CacheChanges({ rollouts }: { rollouts: readonly Rollout[] | undefined }) {
  if (!rollouts) return null;
  if (rollouts.length > 0) return <RolloutList rollouts={rollouts} />;
  return (
    <p class="muted">Nothing was changed yet. A suggestion that somebody confirms becomes a rollout here.</p>
  );
}
