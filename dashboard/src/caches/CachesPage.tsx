/** Every cache of the fleet. */

import { fetchFleetCaches } from "../api/changes";
import type { CacheInfo } from "../api/steering";
import { hasStatus } from "../state/live";
import { openSuggestions } from "../state/open";
import { go, pageHref, route } from "../state/route";
import { usePoller } from "../state/usePoller";
import { OldFigures } from "../ui/OldFigures";
import { CachePage } from "./CachePage";
import { CacheTable } from "./CacheTable";
import { matchesCache } from "./columns";
import { EmptyCaches } from "./EmptyCaches";

const POLL_MS = 3000;

export function CachesPage() {
  const { id } = route.value;
  const poller = usePoller("caches", () => ({
    everyMs: POLL_MS,
    kinds: ["cache"],
    ask: (signal) => fetchFleetCaches(signal),
  }));
  const caches = poller.value.value?.caches;
  if (id) return <CachePage key={id} id={id} caches={caches} poller={poller} />;
  return (
    <div class="caches">
      <h1>Caches</h1>
      <OldFigures source={poller} />
      {caches ? (
        <Caches caches={caches} />
      ) : (
        !poller.problem.value && <p class="waiting">Waiting for the collector…</p>
      )}
    </div>
  );
}

function Caches({ caches }: { caches: readonly CacheInfo[] }) {
  const { filter } = route.value;
  if (caches.length === 0)
    return hasStatus.value ? <EmptyCaches /> : <p class="waiting">Waiting for the collector…</p>;
  const shown = caches.filter((cache) => matchesCache(cache, filter));
  return (
    <>
      <div class="fleet-head">
        <Totals caches={caches} />
        <span class="spacer" />
        <label class="search">
          <span class="sr">Filter caches</span>
          <input
            type="search"
            placeholder="Filter by name, node, state or policy"
            value={filter}
            onInput={(event) => go({ filter: event.currentTarget.value }, "replace")}
          />
        </label>
      </div>
      {shown.length === 0 ? (
        <p class="waiting">
          No cache matches “{filter}”.{" "}
          <button type="button" class="link" onClick={() => go({ filter: "" }, "replace")}>
            Show all {caches.length}
          </button>
        </p>
      ) : (
        <CacheTable caches={shown} />
      )}
    </>
  );
}

function Totals({ caches }: { caches: readonly CacheInfo[] }) {
  const away = caches.filter(({ state }) => state && state !== "up").length;
  const open = openSuggestions.value ?? 0;
  return (
    <dl class="totals">
      <div>
        <dd>{caches.length}</dd>
        <dt>{caches.length === 1 ? "cache" : "caches"}</dt>
      </div>
      <div>
        <dd data-tone={away > 0 ? "bad" : undefined}>{away}</dd>
        <dt>not up</dt>
      </div>
      {open > 0 && (
        <div>
          <dd data-tone="warn">{open}</dd>
          <dt>
            <a href={pageHref("suggestions")}>open {open === 1 ? "suggestion" : "suggestions"}</a>
          </dt>
        </div>
      )}
    </dl>
  );
}
