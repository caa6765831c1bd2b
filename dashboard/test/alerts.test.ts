import { describe, expect, it } from "vitest";
import { alertWords, reasonWords } from "../src/alerts/words";
import type { Accounting, Alert } from "../src/api/types";
import { matchesFilter } from "../src/fleet/columns";
import { shedTotal, verdict } from "../src/node/Account";
import { alerts, firing, resolved, takeAlert, withAlert, worstByNode } from "../src/state/alerts";

function alert(id: string, over: Partial<Alert> = {}): Alert {
  return {
    id,
    name: "samples.shed",
    severity: "critical",
    node: "web-1",
    state: "firing",
    since_ms: 1,
    updated_ms: 1,
    resolved_ms: null,
    text: "",
    ...over,
  };
}

function account(over: Partial<Accounting> = {}): Accounting {
  return {
    reported_ms: 1,
    produced: 100,
    stored: 90,
    in_flight: 10,
    shed: {},
    gap: 0,
    spool_bytes: 0,
    spool_limit_bytes: 0,
    backlog_segments: 0,
    corrupt_segments: 0,
    clock_steps: { forward: 0, backward: 0 },
    oldest_unacked_ms: null,
    unspooled: 0,
    ...over,
  };
}

const ids = (list: readonly Alert[]): string[] => list.map(({ id }) => id);

describe("alerts", () => {
  it("come the worst first, then the newest", () => {
    alerts.value = [
      alert("a", { severity: "warning", since_ms: 9 }),
      alert("b", { since_ms: 2 }),
      alert("c", { since_ms: 3 }),
      alert("d", { state: "resolved", resolved_ms: 5 }),
      alert("e", { state: "resolved", resolved_ms: 6 }),
    ];
    expect(ids(firing.value)).toEqual(["c", "b", "a"]);
    expect(ids(resolved.value)).toEqual(["e", "d"]);
  });

  it("are replaced by the newest word on them and never doubled", () => {
    alerts.value = [alert("a"), alert("b")];
    takeAlert(alert("a", { text: "more" }));
    expect(alerts.value.filter(({ id }) => id === "a").map(({ text }) => text)).toEqual(["more"]);
    takeAlert(alert("a", { state: "resolved", resolved_ms: 7 }));
    expect(ids(firing.value)).toEqual(["b"]);
    expect(ids(resolved.value)).toEqual(["a"]);
  });

  it("that are over are forgotten in time, those that fire are not", () => {
    let known: readonly Alert[] = [alert("firing")];
    for (let n = 0; n < 200; n += 1)
      known = withAlert(known, alert(`old-${n}`, { state: "resolved", resolved_ms: n }));
    expect(known.length).toBeLessThan(60);
    expect(ids(known)).toContain("firing");
    expect(ids(known)).toContain("old-199");
  });

  it("mark their node with the worst of them", () => {
    alerts.value = [
      alert("a", { severity: "warning" }),
      alert("b"),
      alert("c", { node: "db-1", severity: "warning" }),
      alert("d", { node: null }),
    ];
    expect([...worstByNode.value]).toEqual([
      ["web-1", "critical"],
      ["db-1", "warning"],
    ]);
    const status = { node: "web-1", up: true } as Parameters<typeof matchesFilter>[0];
    expect(matchesFilter(status, "is:alerting", true)).toBe(true);
    expect(matchesFilter(status, "is:alerting web", false)).toBe(false);
  });

  it("have words for people, and a name that is not known stays as it is", () => {
    expect(alertWords("samples.shed").title).toBe("Samples lost");
    expect(alertWords("new.kind").title).toBe("new.kind");
    expect(reasonWords("full")).toBe("the spool was full");
    expect(reasonWords("new")).toBe("new");
  });
});

describe("the account's verdict", () => {
  it("says what is wrong with the worst first", () => {
    expect(verdict(account())).toEqual({ text: "all accounted for", tone: "good" });
    const shed = { full: 1200, thinned: 34 };
    expect(shedTotal(account({ shed }))).toBe(1234);
    expect(verdict(account({ shed })).text).toBe("all accounted for, 1,234 given up");
    expect(verdict(account({ shed, gap: 5 }))).toEqual({ text: "5 unaccounted for", tone: "bad" });
    expect(verdict(account({ gap: -7 })).text).toBe("7 counted twice");
  });
});
