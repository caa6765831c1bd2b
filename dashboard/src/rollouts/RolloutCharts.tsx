/** The target of a rollout while it went on: what was measured, with what was expected and what the judge saw. */
import { useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Rollout, Target } from "../api/steering";
import { CACHE_MEMORY, cacheSources, EVICTIONS, HIT_RATIO } from "../caches/panels";
import { toggleRow } from "../chart/actions";
import { ChartPanel } from "../chart/ChartPanel";
import { History } from "../chart/history";
import { fixedRange, type TimeRange } from "../lib/range";
import type { AnyPanel } from "../node/panel";
import { nowMs, serverNow } from "../state/clock";
import { judgedNotes, marksOf, rangeOf } from "./notes";
import { seenBy } from "./waves";

/** The metric that the chart of hit ratios is of. */
const METRIC = "redis.hit_ratio";

const PANELS: readonly AnyPanel[] = [
  {
    ...HIT_RATIO,
    about:
      "Line: as measured. Teal band: what was promised. Grey band: what would have been without the change. Dots: what the judge saw, with its interval.",
  },
  CACHE_MEMORY,
  EVICTIONS,
];

export function RolloutCharts({ rollout, target }: { rollout: Rollout; target: Target }) {
  const zoomed = useSignal<TimeRange | null>(null);
  const range = zoomed.value ?? rangeOf(rollout, serverNow());
  const kept = useRef<History | null>(null);
  kept.current ??= new History({
    node: target.node,
    range,
    sources: cacheSources(target.name),
    presence: "up",
  }).begin();
  const history = kept.current;
  useEffect(() => () => history.dispose(), []);
  const key = JSON.stringify(range);
  const shown = useRef(key);
  useEffect(() => {
    if (shown.current === key) return;
    shown.current = key;
    history.setRange(range);
  }, [key]);
  // The band of a step under way grows with the time.
  const now = rollout.ended_at_ms ?? nowMs.value;
  useEffect(() => {
    history.notes.value = {
      "": { marks: marksOf(rollout) },
      [HIT_RATIO.id]: judgedNotes(seenBy(rollout, target.id), METRIC, now),
    };
  }, [rollout, now]);
  return (
    <div class="grid">
      {PANELS.map((panel) => (
        <ChartPanel
          key={panel.id}
          panel={panel}
          controller={history}
          onZoom={(fromMs, toMs) => (zoomed.value = fixedRange(fromMs, toMs))}
          onReset={() => (zoomed.value = null)}
          onToggle={toggleRow}
        />
      ))}
    </div>
  );
}
