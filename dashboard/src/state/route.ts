/** The route as a signal, kept equal to the address. */
import { signal } from "@preact/signals";
import { DEFAULT_ROUTE, formatRoute, type Page, parseRoute, type Route } from "../lib/url";

export const route = signal<Route>(parseRoute(location.hash));

window.addEventListener("hashchange", () => {
  route.value = parseRoute(location.hash);
});

/**
 * Changes parts of the route. A step that the reader may want to take back (another node, another range) makes
 * an entry in the history; anything else replaces the present one.
 */
export function go(change: Partial<Route>, keep: "push" | "replace" = "push"): void {
  const next = { ...route.peek(), ...change };
  const fragment = formatRoute(next);
  if (fragment === formatRoute(route.peek())) return;
  if (keep === "push") history.pushState(null, "", fragment);
  else history.replaceState(null, "", fragment);
  route.value = next;
}

window.addEventListener("popstate", () => {
  route.value = parseRoute(location.hash);
});

/** Address of a node's page; the time range goes along. */
export function nodeHref(node: string): string {
  return formatRoute({ ...DEFAULT_ROUTE, page: "node", node, range: route.value.range });
}

/** Address of the fleet page. */
export function fleetHref(): string {
  return pageHref("fleet");
}

/** Address of a page, or of one thing that it tells of; the time range goes along unless there is another. */
export function pageHref(page: Exclude<Page, "node">, id = "", range = route.value.range): string {
  return formatRoute({ ...DEFAULT_ROUTE, page, id, range });
}

/** Goes to the page of one thing. */
export function open(page: Exclude<Page, "node" | "fleet" | "queries">, id: string): void {
  go({ ...DEFAULT_ROUTE, page, id, range: route.peek().range });
}
