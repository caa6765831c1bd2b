/** Calls to the collector. Every failure is an ApiError that says what the collector said. */
import type { Source } from "../lib/lines";
import type { CacheAnswer, CatalogAnswer, QueriesAnswer } from "./performance";
import type { AlertsAnswer, MetricsAnswer, Problem, StatusAnswer } from "./types";

/** A call may take this long before it counts as failed. */
const DEADLINE_MS = 20_000;

export class ApiError extends Error {
  constructor(
    message: string,
    /** HTTP status; 0 when the collector could not be reached. */
    readonly status: number,
  ) {
    super(message);
    this.name = "ApiError";
  }
}

/** What a problem document says, in one line. */
export function problemText(problem: Problem, status: number): string {
  const errors = (problem.errors ?? []).map((error) => `${error.field ?? "?"}: ${error.reason ?? "refused"}`);
  const head = problem.detail ?? problem.title ?? `the collector answered ${status}`;
  // The collector's detail names the fields itself; what it left out follows.
  return [head, ...errors.filter((text) => !head.includes(text))].join("; ");
}

/** GET of JSON; `signal` abandons it. */
export function getJson<T>(address: string, signal?: AbortSignal): Promise<T> {
  return call(address, {}, signal);
}

/** POST of JSON. */
export function postJson<T>(address: string, body: unknown): Promise<T> {
  const headers = { "content-type": "application/json" };
  return call(address, { method: "POST", headers, body: JSON.stringify(body) });
}

async function call<T>(address: string, init: RequestInit, signal?: AbortSignal): Promise<T> {
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const either = signal ? AbortSignal.any([signal, deadline]) : deadline;
  let response: Response;
  try {
    const headers = { accept: "application/json", ...init.headers };
    response = await fetch(address, { ...init, signal: either, headers });
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new ApiError(
      deadline.aborted ? "the collector did not answer in time" : "the collector cannot be reached",
      0,
    );
  }
  if (!response.ok) {
    const problem = (await response.json().catch(() => ({}))) as Problem;
    throw new ApiError(problemText(problem, response.status), response.status);
  }
  return (await response.json()) as T;
}

/** Whether an error is only that a newer question made this one moot. */
export function isAbandoned(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}

export function fetchStatus(signal?: AbortSignal): Promise<StatusAnswer> {
  return getJson<StatusAnswer>("api/performance/status", signal);
}

export function fetchAlerts(signal?: AbortSignal): Promise<AlertsAnswer> {
  return getJson<AlertsAnswer>("api/performance/alerts", signal);
}

export function fetchCaches(signal?: AbortSignal): Promise<CacheAnswer> {
  return getJson<CacheAnswer>("api/performance/cache", signal);
}

export function fetchQueries(signal?: AbortSignal): Promise<QueriesAnswer> {
  return getJson<QueriesAnswer>("api/performance/queries", signal);
}

export function fetchCatalog(): Promise<CatalogAnswer> {
  return getJson<CatalogAnswer>("api/performance/catalog");
}

/** Clears kept answers by tag. */
export function clearCache(tag: string): Promise<{ tag: string }> {
  return postJson<{ tag: string }>("api/performance/cache/clear", { tag });
}

/** Address of the question a source stands for (every node when `node` is empty), over [fromMs, toMs). */
export function metricsAddress(
  source: Source,
  node: string,
  fromMs: number,
  toMs: number,
  stepMs: number,
): string {
  const query = new URLSearchParams({ metric: source.metric, agg: source.agg });
  if (node) query.set("node", node);
  for (const name of source.by) query.append("by", name);
  for (const [name, value] of Object.entries(source.filter ?? {})) query.append("filter", `${name}=${value}`);
  query.set("from", String(fromMs));
  query.set("to", String(toMs));
  query.set("step", `${stepMs / 1000}s`);
  return `api/performance/metrics?${query}`;
}

/** Asks for a source's history. A metric that this host never reported is an empty answer, not an error. */
export async function fetchMetrics(
  source: Source,
  node: string,
  fromMs: number,
  toMs: number,
  stepMs: number,
  signal?: AbortSignal,
): Promise<MetricsAnswer> {
  try {
    return await getJson<MetricsAnswer>(metricsAddress(source, node, fromMs, toMs, stepMs), signal);
  } catch (error) {
    if (!(error instanceof ApiError) || error.status !== 404) throw error;
    return { metric: source.metric, unit: "", step_ms: stepMs, tier: "raw", cache: "miss", series: [] };
  }
}
