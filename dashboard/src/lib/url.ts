/**
 * The page's state in the address, after `#`: `#/node/web-1?range=15m&hide=cpu:user`.
 *
 * It stands in the fragment so that a deep link works with any server and is never taken for a parameter of
 * the API. Unknown or broken parts fall back to defaults; what is at its default is left out.
 */
import { DEFAULT_RANGE, fixedRange, lengthName, parseLength, type TimeRange } from "./range";

export type SortDirection = "asc" | "desc";

/** Pages that tell of many things of one kind, or of one. */
const KINDS = ["caches", "balancers", "suggestions", "rollouts", "audit"] as const;

export type Page = "fleet" | "node" | "queries" | (typeof KINDS)[number];

export interface Route {
  page: Page;
  /** Name of the node; empty on every other page. */
  node: string;
  /** Of the one cache, pool, suggestion or rollout that the page is about, or whose decisions it lists; empty: of all. */
  id: string;
  range: TimeRange;
  /** Rows not drawn, as `chart:row`. */
  hidden: readonly string[];
  /** Fleet: text that a node's name or system must contain. */
  filter: string;
  /** Suggestions and rollouts: only those in this state; empty: the page's own choice. */
  status: string;
  /** Column of the page's table; one that it does not have means the table's own order. */
  sort: string;
  direction: SortDirection;
}

export const DEFAULT_ROUTE: Route = {
  page: "fleet",
  node: "",
  id: "",
  range: DEFAULT_RANGE,
  hidden: [],
  filter: "",
  status: "",
  sort: "node",
  direction: "asc",
};

/** Reads the fragment (with or without `#`). */
export function parseRoute(fragment: string): Route {
  const text = fragment.replace(/^#/, "");
  const mark = text.indexOf("?");
  const path = mark < 0 ? text : text.slice(0, mark);
  const query = new URLSearchParams(mark < 0 ? "" : text.slice(mark + 1));
  const [, page, name] = path.split("/");
  const node = page === "node" && name ? decode(name) : "";
  const kind = KINDS.find((each) => each === page);
  return {
    page: node ? "node" : page === "queries" ? "queries" : (kind ?? "fleet"),
    node,
    id: kind && name ? decode(name) : "",
    range: parseRange(query),
    hidden: [...new Set(query.getAll("hide").flatMap((part) => part.split(",")))].filter(Boolean).map(decode),
    filter: query.get("q") ?? "",
    status: query.get("status") ?? "",
    sort: query.get("sort") || DEFAULT_ROUTE.sort,
    direction: query.get("dir") === "desc" ? "desc" : "asc",
  };
}

/** Writes the fragment, with `#`. */
export function formatRoute(route: Route): string {
  const parts: string[] = [];
  if (route.range.kind === "fixed") parts.push(`from=${route.range.fromMs}`, `to=${route.range.toMs}`);
  else if (lengthName(route.range.lengthMs) !== lengthName(defaultLength)) {
    parts.push(`range=${lengthName(route.range.lengthMs)}`);
  }
  // Encoded twice where a name holds a comma, since the comma parts the list.
  if (route.hidden.length > 0) parts.push(`hide=${route.hidden.map(encodeHidden).join(",")}`);
  if (route.filter) parts.push(`q=${encodeURIComponent(route.filter)}`);
  if (route.status) parts.push(`status=${encodeURIComponent(route.status)}`);
  if (route.sort !== DEFAULT_ROUTE.sort) parts.push(`sort=${encodeURIComponent(route.sort)}`);
  if (route.direction !== DEFAULT_ROUTE.direction) parts.push(`dir=${route.direction}`);
  return `#${pathOf(route)}${parts.length > 0 ? `?${parts.join("&")}` : ""}`;
}

function pathOf({ page, node, id }: Route): string {
  if (page === "fleet") return "/";
  if (page === "node") return `/node/${encodeURIComponent(node)}`;
  // Ids have colons, which need no code in a fragment.
  return id ? `/${page}/${encodeURIComponent(id).replaceAll("%3A", ":")}` : `/${page}`;
}

const defaultLength = DEFAULT_RANGE.kind === "live" ? DEFAULT_RANGE.lengthMs : 0;

function encodeHidden(name: string): string {
  return encodeURIComponent(encodeURIComponent(name).replaceAll("%3A", ":")).replaceAll("%3A", ":");
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function parseRange(query: URLSearchParams): TimeRange {
  const from = wholeMs(query.get("from"));
  const to = wholeMs(query.get("to"));
  if (from !== null && to !== null && from !== to) return fixedRange(from, to);
  const length = parseLength(query.get("range") ?? "");
  return length === null ? DEFAULT_RANGE : { kind: "live", lengthMs: length };
}

function wholeMs(text: string | null): number | null {
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}
