/** All nodes at a glance. */
import { useEffect, useRef } from "preact/hooks";
import { AlertList } from "../alerts/AlertList";
import { count } from "../lib/format";
import { firing, resolved, worstByNode } from "../state/alerts";
import { fleet, fleetVersion, totals } from "../state/fleet";
import { hasStatus } from "../state/live";
import { go, route } from "../state/route";
import { COLUMNS, matchesFilter } from "./columns";
import { EmptyFleet } from "./EmptyFleet";
import { NodeTable } from "./NodeTable";

export function FleetPage() {
  fleetVersion.value;
  const { filter, sort, direction } = route.value;
  const search = useRef<HTMLInputElement>(null);
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.key !== "/" || event.target instanceof HTMLInputElement) return;
      event.preventDefault();
      search.current?.focus();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);

  if (!hasStatus.value) return <p class="waiting">Waiting for the collector…</p>;
  if (fleet.size === 0) return <EmptyFleet />;
  const nodes = [...fleet.values()].filter((node) =>
    matchesFilter(node.status, filter, worstByNode.value.has(node.status.node)),
  );
  const column = COLUMNS.find(({ id }) => id === sort) ?? COLUMNS[0];
  return (
    <section class="fleet" aria-label="Fleet">
      <div class="fleet-head">
        <Totals />
        <span class="spacer" />
        <label class="search">
          <span class="sr">Filter nodes</span>
          <input
            ref={search}
            type="search"
            placeholder="Filter by name or system   /"
            value={filter}
            onInput={(event) => go({ filter: event.currentTarget.value }, "replace")}
          />
        </label>
      </div>
      <AlertList firing={firing.value} resolved={resolved.value} />
      {nodes.length === 0 ? (
        <p class="waiting">
          No node matches “{filter}”.{" "}
          <button type="button" class="link" onClick={() => go({ filter: "" }, "replace")}>
            Show all {fleet.size}
          </button>
        </p>
      ) : (
        column && <NodeTable nodes={nodes} column={column} direction={direction} filter={filter} />
      )}
    </section>
  );
}

function Totals() {
  const sums = totals.value;
  if (!sums) return null;
  const down = sums.nodes - sums.nodes_up;
  const alerting = firing.value.length;
  const isCritical = firing.value.some(({ severity }) => severity === "critical");
  return (
    <dl class="totals">
      <Total name={sums.nodes === 1 ? "node" : "nodes"} value={String(sums.nodes)} />
      <Total
        name="up"
        value={String(sums.nodes_up)}
        tone={sums.nodes_up > 0 ? "good" : undefined}
        onPick="is:up"
      />
      <Total name="down" value={String(down)} tone={down > 0 ? "bad" : undefined} onPick="is:down" />
      {alerting > 0 && (
        <Total
          name={alerting === 1 ? "alert" : "alerts"}
          value={String(alerting)}
          tone={isCritical ? "bad" : "warn"}
          onPick="is:alerting"
        />
      )}
      {sums.series !== null && <Total name="series" value={count(sums.series)} />}
      {sums.samples_per_second !== null && (
        <Total name="samples a second" value={count(sums.samples_per_second)} />
      )}
    </dl>
  );
}

interface TotalProps {
  name: string;
  value: string;
  tone?: "good" | "warn" | "bad" | undefined;
  /** Filter that a click sets or takes away. */
  onPick?: string;
}

function Total({ name, value, tone, onPick }: TotalProps) {
  const isPicked = onPick !== undefined && route.value.filter === onPick;
  const body = (
    <>
      <dd data-tone={tone}>{value}</dd>
      <dt>{name}</dt>
    </>
  );
  if (!onPick) return <div>{body}</div>;
  return (
    <div>
      <button
        type="button"
        class="total-pick"
        aria-pressed={isPicked}
        onClick={() => go({ filter: isPicked ? "" : onPick }, "replace")}
      >
        {body}
      </button>
    </div>
  );
}
