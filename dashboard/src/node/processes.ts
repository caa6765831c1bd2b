/** The busiest processes: live from the last sample, or the mean over a range that stands still. */
import { signal } from "@preact/signals";
import { fetchMetrics } from "../api/client";
import type { Attributes, SamplesEvent } from "../api/types";
import type { Source } from "../lib/lines";
import { mean } from "../lib/stack";
import { EXECUTABLE, PID, PROCESS_CPU, PROCESS_MEMORY } from "./sources";

export interface Process {
  pid: string;
  name: string;
  value: number;
}

export interface TopProcesses {
  /** Share of one core, largest first. */
  byCpu: readonly Process[];
  /** Bytes, largest first. */
  byMemory: readonly Process[];
}

/** Rows shown in each table. */
const ROWS = 10;

export class ProcessList {
  /** `null` until something is known. */
  readonly top = signal<TopProcesses | null>(null);
  private isLive = true;

  constructor(private readonly node: string) {}

  goLive(): void {
    this.isLive = true;
  }

  takeLive(event: SamplesEvent): void {
    if (!this.isLive) return;
    const pick = (source: Source): Process[] =>
      event.samples
        .filter((sample) => sample.metric === source.metric && sample.value !== null)
        .map((sample) => processOf(sample.attributes ?? {}, sample.value ?? 0));
    const byCpu = pick(PROCESS_CPU);
    const byMemory = pick(PROCESS_MEMORY);
    // Slow samplers are not in every frame; their last word stands until the next.
    if (byCpu.length === 0 && byMemory.length === 0) return;
    this.top.value = {
      byCpu: byCpu.length > 0 ? largest(byCpu) : (this.top.value?.byCpu ?? []),
      byMemory: byMemory.length > 0 ? largest(byMemory) : (this.top.value?.byMemory ?? []),
    };
  }

  /** Means over [fromMs, toMs). A failure leaves what is shown; the page tells of failing questions elsewhere. */
  loadRange(fromMs: number, toMs: number, signal: AbortSignal): void {
    this.isLive = false;
    const stepMs = Math.max(1000, Math.ceil((toMs - fromMs) / 1000) * 1000);
    const ask = async (source: Source): Promise<Process[]> => {
      const answer = await fetchMetrics(source, this.node, fromMs, toMs, stepMs, signal);
      return largest(
        answer.series.flatMap(({ attributes, points }) => {
          const value = mean(points.map(([, point]) => point));
          return value === null ? [] : [processOf(attributes, value)];
        }),
      );
    };
    Promise.all([ask(PROCESS_CPU), ask(PROCESS_MEMORY)]).then(
      ([byCpu, byMemory]) => {
        if (!this.isLive) this.top.value = { byCpu, byMemory };
      },
      () => undefined,
    );
  }
}

function processOf(attributes: Attributes, value: number): Process {
  return { pid: attributes[PID] ?? "", name: attributes[EXECUTABLE] ?? "?", value };
}

function largest(processes: Process[]): Process[] {
  return processes.sort((a, b) => b.value - a.value || a.pid.localeCompare(b.pid)).slice(0, ROWS);
}
