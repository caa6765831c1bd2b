/** A chart's legend: names, colours and values of its rows; each is a button that hides or shows its row. */
import { UNKNOWN } from "../lib/format";
import type { AnyPanel, Row } from "../node/panel";

interface Props {
  panel: AnyPanel;
  rows: readonly Row[];
  hidden: ReadonlySet<string>;
  /** Where values are written by whoever draws the chart, by row. */
  outlets: Map<string, HTMLElement>;
  onToggle(row: Row, only: boolean): void;
}

export function Legend({ panel, rows, hidden, outlets, onToggle }: Props) {
  const keep = (id: string) => (element: HTMLElement | null) => {
    if (element) outlets.set(id, element);
    else outlets.delete(id);
  };
  return (
    <ul
      class={`legend${panel.shape === "mirror" ? " legend-wide" : ""}`}
      aria-label={`Rows of ${panel.title}`}
    >
      {rows.map((row) => {
        const isShown = !hidden.has(`${panel.id}:${row.id}`);
        return (
          <li key={row.id}>
            <button
              type="button"
              class="legend-row"
              data-row={row.id}
              aria-pressed={isShown}
              title={`${row.label}: click hides or shows it, shift-click shows only it`}
              onClick={(event) => onToggle(row, event.shiftKey)}
            >
              <span class="swatch" style={{ background: `var(--series-${row.color})` }} />
              <span class="legend-name">{row.label}</span>
              <span class="legend-value" ref={keep(row.id)}>
                {UNKNOWN}
              </span>
            </button>
          </li>
        );
      })}
    </ul>
  );
}

/** Of a heat map: mean and busiest row, since there can be hundreds. */
export function HeatLegend({ outlets }: { outlets: Map<string, HTMLElement> }) {
  const keep = (id: string) => (element: HTMLElement | null) => {
    if (element) outlets.set(id, element);
    else outlets.delete(id);
  };
  return (
    <div class="legend heat-legend">
      <span>
        mean <b class="legend-value" ref={keep("mean")} />
      </span>
      <span>
        busiest <b class="legend-value" ref={keep("busiest")} />
      </span>
      <span class="heat-scale" aria-hidden="true">
        0 % <i /> 100 %
      </span>
    </div>
  );
}
