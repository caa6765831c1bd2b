/**
 * The values behind a node's charts: one table of lines over one common time axis.
 *
 * Time is cut into buckets of `stepMs`; bucket `i` holds what was measured in [i*step, (i+1)*step). History
 * (GET /api/performance/metrics) fills whole buckets; live samples fill the newest ones, each bucket the mean
 * of its samples weighted by the time they cover; docs/adr/004 says what a bucket means. The one bucket in which both met is joined by those weights.
 * `null` is unknown. Nothing here interpolates or smooths.
 */
import type { Aggregation, Attributes, MetricSeries } from "../api/types";
import { CounterRate } from "./rate";

export type Value = number | null;
export type Values = readonly Value[];

/** One question to the collector, and how live samples answer it too. */
export interface Source {
  metric: string;
  /** `avg` for gauges, `rate` for counters. */
  agg: Extract<Aggregation, "avg" | "rate">;
  /** Attributes that tell the lines apart; together with the node they name one stored series. */
  by: readonly string[];
  /** Only series with these attribute values. */
  filter?: Attributes;
}

/** One line: a value, or `null`, for each bucket of the table's window. */
export interface Line {
  readonly attributes: Attributes;
  readonly values: Values;
}

/** A live gauge sample is taken to cover no more than this. */
const MAX_COVER_MS = 5000;

class GrowingLine implements Line {
  values: Value[];
  readonly rate = new CounterRate();
  /** Shown until the history of a new range arrives. */
  provisional = false;
  private openBucket = Number.NEGATIVE_INFINITY;
  private openSum = 0;
  private openCoverMs = 0;
  private firstLiveMs = 0;
  private lastMs = 0;
  private joined = false;

  constructor(
    readonly attributes: Attributes,
    length: number,
  ) {
    this.values = new Array<Value>(length).fill(null);
  }

  /** Mean of the open bucket after one more observation; `null` when the sample is older than the open bucket. */
  observe(tsMs: number, bucket: number, value: number, coverMs: number): number | null {
    if (bucket < this.openBucket) return null;
    if (bucket > this.openBucket) {
      this.openBucket = bucket;
      this.openSum = 0;
      this.openCoverMs = 0;
    }
    if (this.firstLiveMs === 0) this.firstLiveMs = tsMs;
    this.openSum += value * coverMs;
    this.openCoverMs += coverMs;
    return this.openSum / this.openCoverMs;
  }

  /** Joins the stored part of the bucket in which live samples began; its new mean, or `null` if it is not that one. */
  join(bucket: number, stepMs: number, stored: number): number | null {
    if (this.joined || bucket !== this.openBucket || Math.floor(this.firstLiveMs / stepMs) !== bucket)
      return null;
    this.joined = true;
    const storedMs = this.firstLiveMs - bucket * stepMs;
    this.openSum += stored * storedMs;
    this.openCoverMs += storedMs;
    return this.openSum / this.openCoverMs;
  }

  /** Time that a gauge sample at `tsMs` covers. */
  cover(tsMs: number): number {
    const sinceLast = tsMs - this.lastMs;
    this.lastMs = tsMs;
    return Math.min(MAX_COVER_MS, Math.max(1, sinceLast));
  }
}

/** All lines of a page. `first` is the number of the oldest bucket. */
export class LineTable {
  private readonly lines = new Map<string, Map<string, GrowingLine>>();
  private readonly sourcesByMetric = new Map<string, Source[]>();
  private readonly loaded = new Set<string>();

  constructor(
    readonly sources: readonly Source[],
    readonly stepMs: number,
    public first: number,
    public length: number,
  ) {
    for (const source of sources) {
      this.lines.set(sourceKey(source), new Map());
      const same = this.sourcesByMetric.get(source.metric) ?? [];
      this.sourcesByMetric.set(source.metric, [...same, source]);
    }
  }

  /** A table for the window [fromMs, toMs], both ends included. */
  static over(sources: readonly Source[], stepMs: number, fromMs: number, toMs: number): LineTable {
    const first = Math.floor(fromMs / stepMs);
    return new LineTable(sources, stepMs, first, Math.floor(toMs / stepMs) - first + 1);
  }

  /** The start of the oldest bucket. */
  get fromMs(): number {
    return this.first * this.stepMs;
  }

  linesOf(source: Source): readonly Line[] {
    return [...(this.lines.get(sourceKey(source))?.values() ?? [])];
  }

  /** Whether the history of `source` has arrived. */
  isLoaded(source: Source): boolean {
    return this.loaded.has(sourceKey(source));
  }

  /** Fills buckets from an answer; what live samples already filled stays. */
  addHistory(source: Source, answer: readonly MetricSeries[]): void {
    const key = sourceKey(source);
    const lines = this.lines.get(key);
    if (!lines) return;
    this.loaded.add(key);
    for (const [name, line] of lines) if (line.provisional) lines.delete(name);
    for (const series of answer) {
      const line = this.line(source, series.attributes);
      for (const [tsMs, value] of series.points) {
        if (value === null || !Number.isFinite(value)) continue;
        const bucket = Math.floor(tsMs / this.stepMs);
        const at = bucket - this.first;
        if (at < 0 || at >= this.length) continue;
        if (line.values[at] === null) line.values[at] = value;
        else line.values[at] = line.join(bucket, this.stepMs, value) ?? line.values[at] ?? null;
      }
    }
  }

  /** Takes one live sample; the window must already reach its time (see `slideTo`). */
  addSample(metric: string, attributes: Attributes, tsMs: number, value: number): void {
    for (const source of this.sourcesByMetric.get(metric) ?? []) {
      if (!matches(source, attributes)) continue;
      const line = this.line(source, attributes);
      let observed = value;
      let coverMs: number;
      if (source.agg === "rate") {
        const rate = line.rate.push(tsMs, value);
        if (rate === null) continue;
        observed = rate.rate;
        coverMs = rate.coverMs;
      } else coverMs = line.cover(tsMs);
      // A rise belongs to the time before its sample, so on the edge of two buckets to the one that ends there.
      const bucket = Math.floor((source.agg === "rate" ? tsMs - 1 : tsMs) / this.stepMs);
      const at = bucket - this.first;
      if (at < 0 || at >= this.length) continue;
      const mean = line.observe(tsMs, bucket, observed, coverMs);
      if (mean !== null) line.values[at] = mean;
    }
  }

  /** Moves the window so that it ends with the bucket of `toMs`; never backwards. */
  slideTo(toMs: number): boolean {
    const by = Math.floor(toMs / this.stepMs) - (this.first + this.length - 1);
    if (by <= 0) return false;
    for (const lines of this.lines.values()) {
      for (const [name, line] of lines) {
        line.values = moved(line.values, by);
        // A device or a core that is gone leaves when its last value does.
        if (line.values.every((value) => value === null)) lines.delete(name);
      }
    }
    this.first += by;
    return true;
  }

  /** Shows what `other` knows in this window until history arrives, so that a new range does not begin empty. */
  seedFrom(other: LineTable): void {
    for (const source of this.sources) {
      for (const old of other.linesOf(source)) {
        const line = this.line(source, old.attributes);
        line.provisional = true;
        for (let at = 0; at < this.length; at += 1) {
          line.values[at] = other.meanBetween(old, (this.first + at) * this.stepMs, this.stepMs);
        }
      }
    }
  }

  private meanBetween(line: Line, fromMs: number, lengthMs: number): Value {
    const begin = Math.floor(fromMs / this.stepMs);
    const end = Math.max(begin, Math.ceil((fromMs + lengthMs) / this.stepMs) - 1);
    let sum = 0;
    let known = 0;
    for (let bucket = begin; bucket <= end; bucket += 1) {
      const value = line.values[bucket - this.first];
      if (value === null || value === undefined) continue;
      sum += value;
      known += 1;
    }
    return known > 0 ? sum / known : null;
  }

  private line(source: Source, attributes: Attributes): GrowingLine {
    const lines = this.lines.get(sourceKey(source));
    const name = lineKey(source, attributes);
    let line = lines?.get(name);
    if (!line) {
      line = new GrowingLine(attributes, this.length);
      lines?.set(name, line);
    }
    return line;
  }
}

function moved(values: readonly Value[], by: number): Value[] {
  const length = values.length;
  const kept = by < length ? values.slice(by) : [];
  while (kept.length < length) kept.push(null);
  return kept;
}

/** Names a source; equal questions share their answer. */
export function sourceKey(source: Source): string {
  const filter = Object.entries(source.filter ?? {}).map(([name, value]) => `${name}=${value}`);
  return [source.metric, source.agg, source.by.join(","), filter.join(",")].join("|");
}

function lineKey(source: Source, attributes: Attributes): string {
  return source.by.map((name) => attributes[name] ?? "").join("\u0000");
}

function matches(source: Source, attributes: Attributes): boolean {
  return Object.entries(source.filter ?? {}).every(([name, value]) => attributes[name] === value);
}
