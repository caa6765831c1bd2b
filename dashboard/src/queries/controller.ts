/**
 * The page's knowledge: asked for every two seconds while the page is in view, the heavier table of queries less
 * often. What was counted in the last ten minutes outlives the page, so that a look at the fleet does not cost it.
 */
import { signal } from "@preact/signals";
import { fetchCaches, fetchQueries } from "../api/client";
import type { QueriesAnswer, QueryCacheStats } from "../api/performance";
import { Poller } from "../state/poller";
import { readingOf, Traffic } from "./traffic";

const POLL_MS = 2000;
/** The table is asked for with every so manieth poll. */
const QUERIES_EVERY = 5;

const traffic = new Traffic();

export class QueriesController {
  readonly caches = signal<QueryCacheStats | null>(null);
  readonly queries = signal<QueriesAnswer | null>(null);
  /** Steps of the last ten minutes, the newest last. */
  readonly steps = signal(traffic.steps);
  private readonly poller = new Poller({ everyMs: POLL_MS, ask: (signal, polls) => this.ask(signal, polls) });

  /** Why figures are missing or old. */
  readonly problem = this.poller.problem;
  /** When the caches last answered. */
  readonly updatedMs = this.poller.updatedMs;

  dispose(): void {
    this.poller.dispose();
  }

  /** Asks for everything at once. */
  pollNow(): void {
    this.poller.pollNow();
  }

  private async ask(abort: AbortSignal, polls: number): Promise<void> {
    const isWhole = polls % QUERIES_EVERY === 0;
    const [caches, queries] = await Promise.all([fetchCaches(abort), isWhole ? fetchQueries(abort) : null]);
    traffic.push(readingOf(caches.query_cache, Date.now()));
    this.steps.value = traffic.steps;
    this.caches.value = caches.query_cache;
    if (queries) this.queries.value = queries;
  }
}
