/** Charts of a cache over the range of the address, live like those of its node; changes stand as lines in all of them. */
import { useEffect } from "preact/hooks";
import type { CacheInfo, Rollout } from "../api/steering";
import { toggleRow, unzoom, zoom } from "../chart/actions";
import { ChartPanel } from "../chart/ChartPanel";
import { History } from "../chart/history";
import { useHistory } from "../chart/useHistory";
import { onPageKey } from "../node/keys";
import { RangeBar } from "../node/RangeBar";
import { marksOf } from "../rollouts/notes";
import { route } from "../state/route";
import { CACHE_PANELS, cacheSources } from "./panels";

interface Props {
  cache: CacheInfo;
  /** Its changes; undefined while they are not known. */
  rollouts: readonly Rollout[] | undefined;
}

export function CacheHistory({ cache: { node, name }, rollouts }: Props) {
  const history = useHistory(() =>
    new History({ node, range: route.peek().range, sources: cacheSources(name), presence: "up" }).begin(),
  );
  useEffect(() => {
    history.notes.value = { "": { marks: (rollouts ?? []).flatMap(marksOf) } };
  }, [rollouts]);
  useEffect(() => {
    document.addEventListener("keydown", onPageKey);
    return () => document.removeEventListener("keydown", onPageKey);
  }, []);
  return (
    <section class="section" id="section-history">
      <h2>How it went</h2>
      <RangeBar controller={history} />
      <div class="grid">
        {CACHE_PANELS.map((panel) => (
          <ChartPanel
            key={panel.id}
            panel={panel}
            controller={history}
            onZoom={zoom}
            onReset={unzoom}
            onToggle={toggleRow}
          />
        ))}
      </div>
    </section>
  );
}
