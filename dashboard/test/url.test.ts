import { describe, expect, it } from "vitest";
import { fixedRange } from "../src/lib/range";
import { DEFAULT_ROUTE, formatRoute, parseRoute, type Route } from "../src/lib/url";

const ROUTES: Route[] = [
  DEFAULT_ROUTE,
  { ...DEFAULT_ROUTE, filter: "web & db #1", sort: "cpu", direction: "desc" },
  { ...DEFAULT_ROUTE, page: "node", node: "web-1" },
  { ...DEFAULT_ROUTE, page: "caches", filter: "lru" },
  { ...DEFAULT_ROUTE, page: "caches", id: "redis:web-1:odd/name" },
  { ...DEFAULT_ROUTE, page: "suggestions", status: "expired" },
  { ...DEFAULT_ROUTE, page: "suggestions", id: "s-1a2b" },
  { ...DEFAULT_ROUTE, page: "rollouts", id: "r-1a2b" },
  { ...DEFAULT_ROUTE, page: "queries", sort: "count", direction: "desc" },
  { ...DEFAULT_ROUTE, page: "node", node: "odd/name ?&#%ü", range: { kind: "live", lengthMs: 900_000 } },
  { ...DEFAULT_ROUTE, page: "node", node: "a", range: fixedRange(1_700_000_000_000, 1_700_000_060_000) },
  { ...DEFAULT_ROUTE, page: "node", node: "a", hidden: ["cpu:user", "disk:dm-0, odd", "net:a:b"] },
];

describe("route", () => {
  it("reads back what it wrote", () => {
    for (const route of ROUTES) expect(parseRoute(formatRoute(route))).toEqual(route);
  });

  it("leaves out what is at its default", () => {
    expect(formatRoute(DEFAULT_ROUTE)).toBe("#/");
    expect(formatRoute({ ...DEFAULT_ROUTE, page: "node", node: "web-1" })).toBe("#/node/web-1");
    expect(formatRoute({ ...DEFAULT_ROUTE, page: "caches", id: "redis:web-1:main" })).toBe(
      "#/caches/redis:web-1:main",
    );
    expect(formatRoute({ ...DEFAULT_ROUTE, page: "node", node: "w", hidden: ["cpu:user"] })).toBe(
      "#/node/w?hide=cpu:user",
    );
  });

  it("falls back to defaults on what it cannot read", () => {
    for (const text of ["", "#", "#/nowhere", "#/node/", "#/querie", "#/?range=banana&dir=up&from=1&to=x"]) {
      expect(parseRoute(text)).toEqual(DEFAULT_ROUTE);
    }
    expect(parseRoute("#/node/%E0%A4%A")).toMatchObject({ page: "node", node: "%E0%A4%A" });
  });
});
