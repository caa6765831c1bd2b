/** One node of the fleet. */
import type { ComponentChildren } from "preact";
import { ago, format } from "../lib/format";
import { worstByNode } from "../state/alerts";
import { nowMs } from "../state/clock";
import { type FleetNode, TREND_POINTS, trendAt } from "../state/fleet";
import { nodeHref } from "../state/route";
import { Meter } from "../ui/Meter";
import { Sparkline } from "../ui/Sparkline";

interface Props {
  node: FleetNode;
  index: number;
  top: number;
}

export function NodeRow({ node, index, top }: Props) {
  const { status } = node;
  const rate = (value: number | null) => format(value, "bytes/s");
  return (
    <div
      class="row"
      role="row"
      aria-rowindex={index + 2}
      data-node={status.node}
      data-up={status.up}
      style={{ transform: `translateY(${top}px)` }}
    >
      <Cell id="node">
        <span class="dot" data-up={status.up} title={status.up ? "up" : "down"} />
        <a href={nodeHref(status.node)}>{status.node}</a>
        <span class="sr">{status.up ? "up" : "down"}</span>
        <Badge node={status.node} />
        <small>{status.host?.os_description ?? ""}</small>
      </Cell>
      <Cell id="cpu">
        <TrendLine node={node} />
        <span class="num">{format(status.cpu_utilization, "ratio")}</span>
      </Cell>
      <Cell id="memory">
        <Meter ratio={status.memory_utilization} />
        <span class="num">{format(status.memory_utilization, "ratio")}</span>
      </Cell>
      <Cell id="load">{status.load_1m === null ? format(null, "count") : status.load_1m.toFixed(2)}</Cell>
      <Cell id="rx">{rate(status.network_receive_bytes_per_second)}</Cell>
      <Cell id="tx">{rate(status.network_transmit_bytes_per_second)}</Cell>
      <Cell id="read">{rate(status.disk_read_bytes_per_second)}</Cell>
      <Cell id="write">{rate(status.disk_write_bytes_per_second)}</Cell>
      <Cell id="seen">
        <LastSeen tsMs={status.last_seen_ms} />
      </Cell>
    </div>
  );
}

function Cell({ id, children }: { id: string; children: ComponentChildren }) {
  return (
    <div class={`cell c-${id}`} role="cell">
      {children}
    </div>
  );
}

/** Says that something is wrong on the node; what, is in the list above and on its page. */
function Badge({ node }: { node: string }) {
  const severity = worstByNode.value.get(node);
  if (!severity) return null;
  const text = severity === "critical" ? "samples are being lost" : "something to look at";
  return (
    <span class="badge" data-severity={severity} title={`Alert: ${text}`}>
      !<span class="sr">alert: {text}</span>
    </span>
  );
}

/** The trend moves on by itself while the node is silent. */
function TrendLine({ node }: { node: FleetNode }) {
  const now = node.status.up ? nowMs.peek() : nowMs.value;
  return <Sparkline values={trendAt(node.trend, now)} capacity={TREND_POINTS} />;
}

/** Reads the ticking clock itself, so that the row around it need not be drawn each second. */
function LastSeen({ tsMs }: { tsMs: number | null }) {
  return <>{ago(tsMs, nowMs.value)}</>;
}
