/**
 * The page's knowledge: asked for every two seconds while the page is in view, the heavier table of queries less
 * often. What was counted in the last ten minutes outlives the page, so that a look at the fleet does not cost it.
 */
import { effect, signal } from "@preact/signals";
import { fetchCaches, fetchQueries, isAbandoned } from "../api/client";
import type { QueriesAnswer, QueryCacheStats } from "../api/performance";
import { backoffMs } from "../lib/backoff";
import { connection } from "../state/live";
import { readingOf, Traffic } from "./traffic";

const POLL_MS = 2000;
/** The table is asked for with every so manieth poll. */
const QUERIES_EVERY = 5;

const traffic = new Traffic();

/** Why figures are missing or old. */
export interface PollProblem {
  message: string;
  /** When the first of the polls in a row failed. */
  sinceMs: number;
}

export class QueriesController {
  readonly caches = signal<QueryCacheStats | null>(null);
  readonly queries = signal<QueriesAnswer | null>(null);
  readonly problem = signal<PollProblem | null>(null);
  /** Steps of the last ten minutes, the newest last. */
  readonly steps = signal(traffic.steps);
  /** When the caches last answered. */
  readonly updatedMs = signal(0);
  private timer: ReturnType<typeof setTimeout> | undefined;
  private abort: AbortController | null = null;
  private polls = 0;
  private failures = 0;
  private isDisposed = false;
  private readonly stopWatching: () => void;

  constructor() {
    document.addEventListener("visibilitychange", this.onVisibility);
    let phase = connection.peek().phase;
    this.stopWatching = effect(() => {
      const before = phase;
      phase = connection.value.phase;
      if (phase === "live" && before !== "live") this.pollNow();
    });
    this.pollNow();
  }

  dispose(): void {
    this.isDisposed = true;
    document.removeEventListener("visibilitychange", this.onVisibility);
    this.stopWatching();
    this.pause();
  }

  /** Asks for everything at once. */
  pollNow(): void {
    this.pause();
    this.polls = 0;
    if (!this.isDisposed && !document.hidden) void this.poll();
  }

  private readonly onVisibility = (): void => this.pollNow();

  private pause(): void {
    clearTimeout(this.timer);
    this.abort?.abort();
  }

  private async poll(): Promise<void> {
    const abort = new AbortController();
    this.abort = abort;
    const isWhole = this.polls % QUERIES_EVERY === 0;
    try {
      const [caches, queries] = await Promise.all([
        fetchCaches(abort.signal),
        isWhole ? fetchQueries(abort.signal) : null,
      ]);
      this.take(caches.query_cache, queries);
    } catch (error) {
      if (isAbandoned(error) || abort.signal.aborted) return;
      this.fail(error);
    }
    if (this.abort !== abort || this.isDisposed) return;
    const wait = this.failures > 0 ? Math.max(POLL_MS, backoffMs(this.failures, Math.random())) : POLL_MS;
    this.timer = setTimeout(() => void this.poll(), wait);
  }

  private take(caches: QueryCacheStats, queries: QueriesAnswer | null): void {
    this.polls += 1;
    this.failures = 0;
    this.problem.value = null;
    this.updatedMs.value = Date.now();
    traffic.push(readingOf(caches, this.updatedMs.peek()));
    this.steps.value = traffic.steps;
    this.caches.value = caches;
    if (queries) this.queries.value = queries;
  }

  private fail(error: unknown): void {
    // The next poll that works brings the table too.
    this.polls = 0;
    this.failures += 1;
    const message = error instanceof Error ? error.message : String(error);
    this.problem.value = { message, sinceMs: this.problem.peek()?.sinceMs ?? Date.now() };
  }
}
