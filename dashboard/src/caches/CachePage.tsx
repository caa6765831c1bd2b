/** Everything about one cache: how it does, what would do better, why it misses, and what was changed. */
import { useEffect } from "preact/hooks";
import { fetchRollouts } from "../api/changes";
import type { CacheInfo, FleetCachesAnswer } from "../api/steering";
import { InForce } from "../changes/InForce";
import { follow } from "../state/live";
import type { Poller } from "../state/poller";
import { pageHref } from "../state/route";
import { usePoller } from "../state/usePoller";
import { LookNow } from "../suggestions/LookNow";
import { OldFigures } from "../ui/OldFigures";
import { CacheChanges, OpenSuggestions } from "./CacheChanges";
import { CacheHead } from "./CacheHead";
import { CacheHistory } from "./CacheHistory";
import { CurveCard } from "./CurveCard";
import { KeyTable } from "./KeyTable";
import { MissCard } from "./MissCard";
import { PolicyCard } from "./PolicyCard";
import { CACHE_METRICS } from "./panels";

const POLL_MS = 15_000;

interface Props {
  id: string;
  caches: readonly CacheInfo[] | undefined;
  poller: Poller<FleetCachesAnswer>;
}

export function CachePage({ id, caches, poller }: Props) {
  const cache = caches?.find((each) => each.id === id);
  const node = cache?.node ?? "";
  const changes = usePoller(id, () => ({
    everyMs: POLL_MS,
    kinds: ["rollout"],
    ask: (signal) => fetchRollouts({ target: id }, signal),
  }));
  useEffect(() => follow(node, CACHE_METRICS), [node]);
  useEffect(() => {
    document.title = `${cache?.name ?? id} · Flyball`;
  }, [cache?.name]);
  if (caches && !cache) return <UnknownCache id={id} />;
  if (!cache)
    return (
      <>
        <OldFigures source={poller} />
        {!poller.problem.value && <p class="waiting">Waiting for the collector…</p>}
      </>
    );
  return (
    <div class="cache" data-cache={id}>
      <CacheHead cache={cache} />
      <OldFigures source={poller} />
      <section class="section" id="section-open">
        <h2>What would make it better</h2>
        <OpenSuggestions target={id} />
        <LookNow target={id} />
      </section>
      <section class="section" id="section-size">
        <h2>What another setting would do</h2>
        <div class="grid">
          <CurveCard cache={cache} />
          <PolicyCard cache={cache} />
          <InForce target={cache} />
          <Missing missing={cache.missing ?? []} />
        </div>
      </section>
      <section class="section" id="section-misses">
        <h2>What it is asked</h2>
        <div class="grid">
          <MissCard cache={cache} />
          <KeyTable findings={cache.key_findings ?? []} />
        </div>
      </section>
      <CacheHistory cache={cache} rollouts={changes.value.value?.items} />
      <section class="section" id="section-changes">
        <h2>What was changed</h2>
        <OldFigures source={changes} />
        <CacheChanges rollouts={changes.value.value?.items} />
      </section>
    </div>
  );
}

/** What its agent could not tell, and why. */
function Missing({ missing }: { missing: readonly string[] }) {
  if (missing.length === 0) return null;
  return (
    <figure class="panel" data-missing={missing.length}>
      <figcaption>
        <h3>What is not known</h3>
      </figcaption>
      <ul class="reasons-list">
        {missing.map((line) => (
          <li key={line}>{line}</li>
        ))}
      </ul>
    </figure>
  );
}

function UnknownCache({ id }: { id: string }) {
  return (
    <section class="empty">
      <h1>No cache “{id}”</h1>
      <p>No agent reports a cache of this id. Its section may have been taken out of the agent's file.</p>
      <p>
        <a href={pageHref("caches")}>All caches</a>
      </p>
    </section>
  );
}
