/** A chart with its title, its meaning in words, and its legend. */
import { effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { moment as momentText, unitName } from "../lib/format";
import { type AnyPanel, type HostFacts, NO_FACTS, type Row } from "../node/panel";
import { serverNow } from "../state/clock";
import { route } from "../state/route";
import { theme } from "../state/theme";
import type { History } from "./history";
import { HeatLegend, Legend } from "./Legend";
import { buildModel, type ChartModel } from "./model";
import { heatTexts, type Moment, rowText } from "./readout";
import { ChartView } from "./view";

interface Props {
  panel: AnyPanel;
  controller: History;
  facts?: HostFacts;
  onZoom(fromMs: number, toMs: number): void;
  onReset(): void;
  onToggle(panel: AnyPanel, rows: readonly Row[], row: Row, only: boolean): void;
}

/** Rows as the legend needs them; equal when only values changed. */
interface LegendState {
  key: string;
  rows: readonly Row[];
  shape: ChartModel["shape"];
  omitted: number;
  isLoading: boolean;
}

const EMPTY: LegendState = { key: "", rows: [], shape: "lines", omitted: 0, isLoading: true };

export function ChartPanel({ panel, controller, facts = NO_FACTS, onZoom, onReset, onToggle }: Props) {
  const figure = useRef<HTMLElement>(null);
  const host = useRef<HTMLDivElement>(null);
  const view = useRef<ChartView | null>(null);
  const when = useRef<HTMLSpanElement>(null);
  const outlets = useRef(new Map<string, HTMLElement>()).current;
  const legend = useSignal<LegendState>(EMPTY);
  const hidden = new Set(route.value.hidden);
  const latest = useRef({ facts, onZoom, onReset });
  latest.current = { facts, onZoom, onReset };

  useEffect(() => {
    if (!host.current) return;
    let model: ChartModel | null = null;
    let cursor: number | null = null;
    const write = () =>
      model && writeValues(model, panel, momentOf(cursor, controller), outlets, when.current);
    const chart = new ChartView(host.current, panel.unit, {
      onCursor(at) {
        cursor = at;
        write();
      },
      onZoom: (fromMs, toMs) => latest.current.onZoom(fromMs, toMs),
      onReset: () => latest.current.onReset(),
    });
    view.current = chart;
    const stopModel = effect(() => {
      controller.version.value;
      const off = new Set(route.value.hidden);
      model = buildModel(panel, controller, off, latest.current.facts);
      const next = legendOf(model);
      if (next.key !== legend.peek().key) legend.value = next;
      chart.update(model);
      if (figure.current) describe(figure.current, model);
      write();
    });
    const stopTheme = effect(() => {
      theme.value;
      chart.recolor();
    });
    // The legend's outlets exist only after its own rendering.
    const stopLegend = effect(() => {
      legend.value;
      requestAnimationFrame(write);
    });
    return () => {
      stopModel();
      stopTheme();
      stopLegend();
      chart.dispose();
    };
  }, [controller, panel]);

  const { rows, shape, omitted, isLoading } = legend.value;
  const isAbsent = !isLoading && rows.length === 0;
  return (
    <figure
      ref={figure}
      class="panel"
      id={`chart-${panel.id}`}
      data-chart={panel.id}
      data-absent={isAbsent || undefined}
    >
      <figcaption>
        <h3>
          {panel.title} <small>{unitName(panel.unit)}</small>
        </h3>
        <span class="moment" ref={when} />
        <p>{panel.about}</p>
      </figcaption>
      <div
        class="plot"
        ref={host}
        role="img"
        tabIndex={isAbsent ? -1 : 0}
        aria-label={`${panel.title}. ${panel.about} Arrow keys read single points.`}
        onKeyDown={(event) => view.current && onChartKey(event, view.current)}
        onBlur={() => view.current?.clearCursor()}
      />
      {isAbsent && (
        <p class="absent">{controller.isSilent ? "Nothing was reported in this range." : panel.absent}</p>
      )}
      {shape === "heat" ? (
        <HeatLegend outlets={outlets} />
      ) : (
        <Legend
          panel={panel}
          rows={rows}
          hidden={hidden}
          outlets={outlets}
          onToggle={(row, only) => onToggle(panel, rows, row, only)}
        />
      )}
      {omitted > 0 && <p class="omitted">{omitted} quieter ones are not drawn.</p>}
    </figure>
  );
}

/** Arrow keys move the crosshair. */
export function onChartKey(event: KeyboardEvent, chart: ChartView): void {
  const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (steps === undefined) return;
  event.preventDefault();
  chart.moveCursor(event.shiftKey ? steps * 10 : steps);
}

function momentOf(cursor: number | null, controller: History): Moment {
  if (cursor !== null) return { kind: "at", index: cursor };
  return { kind: controller.isLive ? "newest" : "mean" };
}

function legendOf(model: ChartModel): LegendState {
  const { rows, shape, omitted, isLoading } = model;
  const key = [shape, omitted, isLoading, ...rows.map((row) => `${row.id}/${row.color}`)].join("|");
  return { key, rows, shape, omitted, isLoading };
}

function writeValues(
  model: ChartModel,
  panel: AnyPanel,
  moment: Moment,
  outlets: ReadonlyMap<string, HTMLElement>,
  when: HTMLElement | null,
): void {
  if (when) {
    const x = moment.kind === "at" ? model.xs[moment.index] : undefined;
    setText(
      when,
      x !== undefined ? momentText(x * 1000, serverNow()) : moment.kind === "mean" ? "mean" : "now",
    );
  }
  if (model.shape === "heat") {
    for (const [id, text] of Object.entries(heatTexts(model, moment, panel.unit)))
      setText(outlets.get(id), text);
    return;
  }
  for (const row of model.rows) setText(outlets.get(row.id), rowText(row, moment, panel.unit));
}

/** What the canvas shows, in numbers, for programs that look at the page: its window and its newest point, in epoch ms. */
function describe(figure: HTMLElement, model: ChartModel): void {
  let at = model.xs.length - 1;
  const isKnown = (row: Row): boolean => row.values[at] != null || row.below?.[at] != null;
  while (at >= 0 && !model.rows.some(isKnown)) at -= 1;
  figure.dataset.from = String(Math.round(model.fromSeconds * 1000));
  figure.dataset.to = String(Math.round(model.toSeconds * 1000));
  figure.dataset.newest = at < 0 ? "" : String((model.xs[at] ?? 0) * 1000);
  figure.dataset.unknown = String(model.unknown.length);
}

function setText(element: HTMLElement | null | undefined, text: string): void {
  if (element && element.textContent !== text) element.textContent = text;
}
