/** One chart of a pool's history, with a legend whose rows can be hidden. */
import { effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { PoolHistory } from "../api/balancers";
import { toggleRow } from "../chart/actions";
import { onChartKey } from "../chart/ChartPanel";
import { ChartView } from "../chart/view";
import { format, moment, unitName } from "../lib/format";
import { serverNow } from "../state/clock";
import { route } from "../state/route";
import { theme } from "../state/theme";
import { modelOf, newest, type PoolPanel } from "./history";

interface Props {
  panel: PoolPanel;
  history: PoolHistory;
}

export function PoolChart({ panel, history }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<ChartView | null>(null);
  const cursor = useSignal<number | null>(null);
  const hidden = new Set(route.value.hidden);
  const model = modelOf(history, panel, hidden);
  useEffect(() => {
    if (!host.current) return;
    const chart = new ChartView(host.current, panel.unit, {
      onCursor(at) {
        cursor.value = at;
      },
      onZoom() {},
      onReset() {},
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
  }, [panel]);
  useEffect(() => view.current?.update(model));
  const at = cursor.value;
  const x = at === null ? undefined : model.xs[at];
  const last = model.xs.at(-1);
  return (
    <figure
      class="panel"
      data-chart={panel.id}
      data-newest={last === undefined ? "" : String(last * 1_000)}
      data-absent={last === undefined || undefined}
    >
      <figcaption>
        <h3>
          {panel.title} <small>{unitName(panel.unit)}</small>
        </h3>
        <span class="moment">{x === undefined ? "newest" : moment(x * 1_000, serverNow())}</span>
        <p>{panel.about}</p>
      </figcaption>
      <div
        class="plot"
        ref={host}
        role="img"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: its points are read by arrow keys
        tabIndex={0}
        aria-label={`${panel.title}. ${panel.about} Arrow keys read single points.`}
        onKeyDown={(event) => view.current && onChartKey(event, view.current)}
        onBlur={() => view.current?.clearCursor()}
      />
      {last === undefined && <p class="absent">Nothing was reported in this time.</p>}
      <ul class="legend" aria-label={`Rows of ${panel.title}`}>
        {model.rows.map((row) => (
          <li key={row.id}>
            <button
              type="button"
              class="legend-row"
              data-row={row.id}
              aria-pressed={!hidden.has(`${panel.id}:${row.id}`)}
              title={`${row.label}: click hides or shows it, shift-click shows only it`}
              onClick={(event) => toggleRow(panel, model.rows, row, event.shiftKey)}
            >
              <span class="swatch" style={{ background: `var(--series-${row.color})` }} />
              <span class="legend-name">{row.label}</span>
              <span class="legend-value">
                {format(at === null ? newest(row) : row.values[at], panel.unit)}
              </span>
            </button>
          </li>
        ))}
      </ul>
    </figure>
  );
}
