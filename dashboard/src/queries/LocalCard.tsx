/** A cache in the collector's process. */
import type { LayerStats } from "../api/performance";
import { count } from "../lib/format";
import { Figure } from "../ui/Figure";
import { outcomesOf } from "./outcomes";
import { BytesMeter, Card, Outcomes, Ratio } from "./parts";
import { TrafficChart } from "./TrafficChart";
import type { Step } from "./traffic";

interface Props {
  layer: "answers" | "l1";
  title: string;
  about: string;
  stats: LayerStats;
  steps: readonly Step[];
}

export function LocalCard({ layer, title, about, stats, steps }: Props) {
  const { hits, stale_served: stale, misses, invalidations } = stats;
  const missed = misses.absent + misses.expired + misses.invalidated;
  const data = { served: hits + stale, missed, invalidated: misses.invalidated };
  return (
    <Card id={layer} title={title} about={about} data={data}>
      <div class="layer-top">
        <Ratio ratio={stats.hit_ratio} steps={steps} layer={layer} />
        <BytesMeter used={stats.bytes} most={stats.max_bytes} />
      </div>
      <TrafficChart layer={layer} title={title} steps={steps} outcomes={["hits", "misses", "stale"]} />
      <div class="layer-figures">
        <Outcomes rows={outcomesOf(stats)} title={title} />
        <dl class="facts">
          <Figure name="Entries">{count(stats.entries)}</Figure>
          <Figure name="Evictions" help="Entries that made room for others">
            {count(stats.evictions)}
          </Figure>
          <Figure name="Loadings" help="Loadings that ended with a value">
            {count(stats.loads)}
          </Figure>
          <Figure name="Failed loadings" tone={stats.load_errors > 0 ? "warn" : undefined}>
            {count(stats.load_errors)}
          </Figure>
          <Figure name="Refreshes" help="Loadings behind a caller's back, before or after an entry's end">
            {count(stats.refreshes)}
          </Figure>
          <Figure name="Invalidations" help="By late samples, other collectors and operators">
            {count(invalidations)}
          </Figure>
        </dl>
      </div>
    </Card>
  );
}
