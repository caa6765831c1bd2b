/**
 * What a page with charts of one node knows: the line table for the range in view, filled from history and kept by
 * live samples.
 *
 * A range is loaded by one question for each source. Samples that arrive meanwhile go into the same table. As
 * stored samples become visible only some time after they were taken, the newest part is asked for once more
 * shortly after; the same question fills the hole that a lost connection left.
 */
import { signal } from "@preact/signals";
import { ApiError, fetchMetrics, isAbandoned } from "../api/client";
import type { SamplesEvent } from "../api/types";
import { LineTable, type Source } from "../lib/lines";
import { endsOf, lengthOf, stepFor, type TimeRange } from "../lib/range";
import { serverNow } from "../state/clock";
import { listen } from "../state/live";
import type { ChartNotes } from "./notes";

/** Live samples arrive within this time; until then the newest bucket is not missed. */
const ARRIVAL_MS = 2500;
/** Stored samples are visible to questions after this time. */
const SETTLE_MS = 4000;
/** The part asked for again after loading. */
const SETTLE_WINDOW_MS = 30_000;
/** After this time without an answer to that, its holes are taken for what they seem. */
const SETTLE_PATIENCE_MS = 12_000;

/** A history that failed is asked for again after this time. */
const RETRY_MS = 10_000;

/** The window that charts draw. */
export interface Window {
  fromMs: number;
  toMs: number;
}

export interface HistorySetup {
  node: string;
  range: TimeRange;
  /** Questions by name, in the order in which the page shows them, so that what is on top arrives first. */
  sources: Readonly<Record<string, Source>>;
  /** Name of the source that always has a line while there is anything at all. */
  presence: string;
}

export class History {
  /** Moves when anything drawn changed. */
  readonly version = signal(0);
  readonly problem = signal<ApiError | null>(null);
  /** Drawn over the charts, by panel; those under "" over all. */
  readonly notes = signal<Readonly<Record<string, ChartNotes>>>({});
  readonly node: string;
  readonly sources: Readonly<Record<string, Source>>;
  table: LineTable;
  window: Window;

  /** From here on holes may only be samples that are not visible to questions yet. */
  unsettledFromMs = Number.POSITIVE_INFINITY;

  protected abort = new AbortController();
  private range: TimeRange;
  private readonly presence: string;
  private lastSampleMs = 0;
  private settle: ReturnType<typeof setTimeout> | undefined;
  private retry: ReturnType<typeof setTimeout> | undefined;
  private lostFromMs = 0;
  private frame = 0;
  private stopListening: () => void = () => undefined;
  private pulse: ReturnType<typeof setInterval> | undefined;

  constructor({ node, range, sources, presence }: HistorySetup) {
    this.node = node;
    this.range = range;
    this.sources = sources;
    this.presence = presence;
    this.window = endsOf(range, serverNow());
    this.table = this.tableOver(this.window);
  }

  /** Asks for what is in view, and follows it from here on. */
  begin(): this {
    this.load();
    this.stopListening = listen({
      onSamples: (event) => this.onSamples(event),
      onGap: () => this.onGap(),
    });
    // The window moves on when nothing arrives, so that silence is seen to grow.
    this.pulse = setInterval(() => this.follow(), 1000);
    return this;
  }

  dispose(): void {
    this.abort.abort();
    clearTimeout(this.settle);
    clearTimeout(this.retry);
    clearInterval(this.pulse);
    cancelAnimationFrame(this.frame);
    this.stopListening();
  }

  get isLive(): boolean {
    return this.range.kind === "live";
  }

  /** Shows another range, at first with what is known of it already. */
  setRange(range: TimeRange): void {
    this.range = range;
    this.window = endsOf(range, this.edge());
    const before = this.table;
    this.table = this.tableOver(this.window);
    this.table.seedFrom(before);
    this.load();
    this.changed();
  }

  /** Whether nothing at all was reported in the range in view; `null` while that is not known. */
  get isSilent(): boolean | null {
    const source = this.sources[this.presence];
    return source && this.table.isLoaded(source) ? this.table.linesOf(source).length === 0 : null;
  }

  /** Asks for everything in view again. */
  reload(): void {
    this.load();
  }

  /** A range is asked for; `fixed` is null when it is a live one. */
  protected onLoad(_fixed: Window | null): void {}

  /** A live sample came. */
  protected onSample(_event: SamplesEvent): void {}

  private tableOver(window: Window): LineTable {
    return LineTable.over(
      Object.values(this.sources),
      stepFor(lengthOf(this.range)),
      window.fromMs,
      window.toMs,
    );
  }

  private load(): void {
    clearTimeout(this.retry);
    // What the range before was still waiting for may lie outside of this one.
    clearTimeout(this.settle);
    this.unsettledFromMs = Number.POSITIVE_INFINITY;
    this.abort.abort();
    this.abort = new AbortController();
    this.problem.value = null;
    void this.ask(this.table.fromMs);
    this.onLoad(this.range.kind === "fixed" ? this.range : null);
    if (this.isLive) this.settleLater(serverNow() - SETTLE_WINDOW_MS);
  }

  private ask(fromMs: number): Promise<unknown> {
    const { table, abort } = this;
    const { stepMs } = table;
    const end = this.isLive ? serverNow() : this.window.toMs;
    const from = Math.max(table.first, Math.floor(fromMs / stepMs)) * stepMs;
    const to = (Math.floor(end / stepMs) + 1) * stepMs;
    const questions = Object.values(this.sources).map((source) =>
      fetchMetrics(source, this.node, from, to, stepMs, abort.signal)
        .then((answer) => {
          if (this.table !== table) return;
          table.addHistory(source, answer.series);
          this.changed();
        })
        .catch((error: unknown) => {
          if (isAbandoned(error) || this.table !== table) return;
          this.failed(error instanceof ApiError ? error : new ApiError(String(error), 0));
        }),
    );
    return Promise.all(questions);
  }

  private failed(problem: ApiError): void {
    this.problem.value = problem;
    clearTimeout(this.retry);
    this.retry = setTimeout(() => this.load(), RETRY_MS);
  }

  private settleLater(fromMs: number): void {
    clearTimeout(this.settle);
    this.unsettledFromMs = fromMs;
    this.settle = setTimeout(() => {
      this.settle = setTimeout(() => this.settled(), SETTLE_PATIENCE_MS);
      void this.ask(fromMs).then(() => this.settled());
    }, SETTLE_MS);
  }

  private settled(): void {
    clearTimeout(this.settle);
    this.unsettledFromMs = Number.POSITIVE_INFINITY;
    this.changed();
  }

  private onSamples(event: SamplesEvent): void {
    if (event.node !== this.node) return;
    this.lastSampleMs = Math.max(this.lastSampleMs, event.ts_ms);
    this.onSample(event);
    if (!this.isLive) return;
    this.slide();
    for (const { metric, attributes, value } of event.samples) {
      if (value !== null) this.table.addSample(metric, attributes ?? {}, event.ts_ms, value);
    }
    this.changed();
  }

  /** Events were lost: what was sent since the last one is fetched instead. */
  private onGap(): void {
    if (!this.isLive) return;
    this.lostFromMs = this.lastSampleMs || this.table.fromMs;
    if (this.problem.value) this.load();
    else {
      void this.ask(this.lostFromMs);
      this.settleLater(this.lostFromMs);
    }
  }

  /** The newest time worth showing: the newest sample, or the present when that is overdue. */
  private edge(): number {
    return Math.max(this.lastSampleMs, serverNow() - ARRIVAL_MS);
  }

  private slide(): void {
    this.window = endsOf(this.range, this.edge());
    this.table.slideTo(this.window.toMs);
  }

  private follow(): void {
    if (!this.isLive || document.hidden) return;
    this.slide();
    this.changed();
  }

  private changed(): void {
    if (this.frame) return;
    this.frame = requestAnimationFrame(() => {
      this.frame = 0;
      this.version.value += 1;
    });
  }
}
