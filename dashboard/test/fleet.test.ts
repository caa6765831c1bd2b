import { describe, expect, it } from "vitest";
import type { NodeStatus } from "../src/api/types";
import { COLUMNS, type Column, matchesFilter, sorted } from "../src/fleet/columns";
import { sparkPath } from "../src/ui/Sparkline";

function nodeOf(node: string, cpu: number | null, up = true): NodeStatus {
  return {
    node,
    up,
    last_seen_ms: null,
    agent_version: "0.1.0",
    policy_revision: null,
    cpu_utilization: cpu,
    memory_utilization: null,
    load_1m: null,
    network_receive_bytes_per_second: null,
    network_transmit_bytes_per_second: null,
    disk_read_bytes_per_second: null,
    disk_write_bytes_per_second: null,
    series: null,
    samples_per_second: null,
    host: { os_description: "Debian GNU/Linux 12" },
  };
}

const column = (id: string): Column => COLUMNS.find((each) => each.id === id) as Column;
const NODES = [nodeOf("web-10", 0.5), nodeOf("web-2", null, false), nodeOf("db-1", 0), nodeOf("web-1", 0.5)];
const names = (id: string, direction: "asc" | "desc") =>
  sorted(NODES, (node) => node, column(id), direction).map(({ node }) => node);

describe("sorting", () => {
  it("puts numbers in names in their natural order", () => {
    expect(names("node", "asc")).toEqual(["db-1", "web-1", "web-2", "web-10"]);
    expect(names("node", "desc")).toEqual(["web-10", "web-2", "web-1", "db-1"]);
  });

  it("puts unknown last both ways, and never among zeros", () => {
    expect(names("cpu", "asc")).toEqual(["db-1", "web-1", "web-10", "web-2"]);
    expect(names("cpu", "desc")).toEqual(["web-1", "web-10", "db-1", "web-2"]);
  });
});

describe("filtering", () => {
  it("wants every word, in names and systems, whatever their case", () => {
    expect(matchesFilter(nodeOf("web-1", 0), "")).toBe(true);
    expect(matchesFilter(nodeOf("web-1", 0), "DEBIAN web")).toBe(true);
    expect(matchesFilter(nodeOf("web-1", 0), "debian db")).toBe(false);
  });

  it("picks by state", () => {
    expect(NODES.filter((node) => matchesFilter(node, "is:down")).map(({ node }) => node)).toEqual(["web-2"]);
    expect(matchesFilter(nodeOf("a", 0), "is:up")).toBe(true);
  });
});

describe("sparklines", () => {
  it("break where unknown and stand at the right edge", () => {
    expect(sparkPath([0, 1], 3, false)).toBe("M48.0 20.5L96.0 1.5");
    expect(sparkPath([0, null, 1], 3, false)).toBe("M0.0 20.5M96.0 1.5");
  });
});
