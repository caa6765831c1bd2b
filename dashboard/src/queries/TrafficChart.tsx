/** Hits, misses and stale answers of one layer a second, over the last ten minutes. */
import { effect, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { onChartKey } from "../chart/ChartPanel";
import { rowText } from "../chart/readout";
import { ChartView } from "../chart/view";
import { clock } from "../lib/format";
import { theme } from "../state/theme";
import type { Layer, Outcome, Step } from "./traffic";
import { trafficModel } from "./trafficModel";

interface Props {
  layer: Layer;
  title: string;
  steps: readonly Step[];
  outcomes: readonly Outcome[];
}

export function TrafficChart({ layer, title, steps, outcomes }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<ChartView | null>(null);
  const cursor = useSignal<number | null>(null);
  const model = useMemo(
    () => trafficModel(layer, outcomes, steps, steps.at(-1)?.tsMs ?? Date.now()),
    [layer, steps],
  );
  useEffect(() => {
    if (!host.current) return;
    const chart = new ChartView(host.current, "ops/s", {
      onCursor(at) {
        cursor.value = at;
      },
      onZoom: () => undefined,
      onReset: () => undefined,
    });
    view.current = chart;
    const stopTheme = effect(() => {
      theme.value;
      chart.recolor();
    });
    return () => {
      stopTheme();
      chart.dispose();
    };
  }, []);
  useEffect(() => view.current?.update(model), [model]);

  const at = cursor.value;
  const moment = at === null ? ({ kind: "newest" } as const) : ({ kind: "at", index: at } as const);
  const x = at === null ? undefined : model.xs[at];
  const texts = model.rows.map((row) => ({ row, text: rowText(row, moment, "ops/s") }));
  const words = texts.map(({ row, text }) => `${row.label} ${text}`).join(", ");
  return (
    <figure class="traffic" data-chart={`traffic-${layer}`} data-points={model.xs.length}>
      <div
        class="plot"
        ref={host}
        role="img"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: its points are read by arrow keys
        tabIndex={0}
        aria-label={`${title}: accesses a second over the last ten minutes, now ${words}. Arrow keys read single points.`}
        onKeyDown={(event) => view.current && onChartKey(event, view.current)}
        onBlur={() => view.current?.clearCursor()}
      />
      <figcaption class="traffic-legend">
        {texts.map(({ row, text }) => (
          <span key={row.id}>
            <i data-outcome={row.id} style={{ borderColor: `var(--series-${row.color})` }} />
            {row.label} <b class="legend-value">{text}</b>
          </span>
        ))}
        <span class="moment">{x === undefined ? "now" : clock(x * 1000)}</span>
      </figcaption>
    </figure>
  );
}
