/** The columns of the fleet's table: what each shows and how it sorts. */
import type { NodeStatus } from "../api/types";
import { natural } from "../node/panel";

export interface Column {
  id: string;
  title: string;
  /** Longer name for readers who ask. */
  help: string;
  /** What rows are ordered by; `null` always comes last. */
  key(status: NodeStatus): number | string | null;
  /** The direction a first click sorts in. */
  first: "asc" | "desc";
  isNumber: boolean;
}

function number(id: string, title: string, help: string, key: (status: NodeStatus) => number | null): Column {
  return { id, title, help, key, first: "desc", isNumber: true };
}

export const COLUMNS: readonly Column[] = [
  { id: "node", title: "Node", help: "Name of the node", key: (s) => s.node, first: "asc", isNumber: false },
  number("cpu", "CPU", "Share of all CPUs in use, and its last two minutes", (s) => s.cpu_utilization),
  number("memory", "Memory", "Share of physical memory in use", (s) => s.memory_utilization),
  number("load", "Load", "Load average over one minute", (s) => s.load_1m),
  number(
    "rx",
    "Net in",
    "Bytes received a second, all interfaces",
    (s) => s.network_receive_bytes_per_second,
  ),
  number("tx", "Net out", "Bytes sent a second, all interfaces", (s) => s.network_transmit_bytes_per_second),
  number("read", "Disk read", "Bytes read a second, all disks", (s) => s.disk_read_bytes_per_second),
  number("write", "Disk write", "Bytes written a second, all disks", (s) => s.disk_write_bytes_per_second),
  number("seen", "Last seen", "When the last frame arrived", (s) => s.last_seen_ms),
];

/** Nodes whose name or system holds every word of `filter`; `is:up`, `is:down` and `is:alerting` pick by state. */
export function matchesFilter(status: NodeStatus, filter: string, isAlerting = false): boolean {
  const host = status.host;
  const text = [
    status.node,
    host?.name,
    host?.os_description,
    host?.kernel,
    host?.arch,
    host?.cpu_model,
    status.agent_version,
  ]
    .filter(Boolean)
    .join(" ")
    .toLowerCase();
  return filter
    .toLowerCase()
    .split(/\s+/)
    .every((word) => {
      if (word === "is:up") return status.up;
      if (word === "is:down") return !status.up;
      if (word === "is:alerting") return isAlerting;
      return text.includes(word);
    });
}

/** `nodes` in the order of a column; unknown values last in either direction, names decide ties. */
export function sorted<T>(
  nodes: readonly T[],
  of: (node: T) => NodeStatus,
  column: Column,
  direction: "asc" | "desc",
): T[] {
  const sign = direction === "asc" ? 1 : -1;
  return nodes
    .map((node) => ({ node, name: of(node).node, key: column.key(of(node)) }))
    .sort((a, b) => {
      if (a.key === null || b.key === null) {
        return (a.key === null ? 1 : 0) - (b.key === null ? 1 : 0) || natural(a.name, b.name);
      }
      const order =
        typeof a.key === "string" || typeof b.key === "string"
          ? natural(String(a.key), String(b.key))
          : a.key - b.key;
      return sign * order || natural(a.name, b.name);
    })
    .map(({ node }) => node);
}
