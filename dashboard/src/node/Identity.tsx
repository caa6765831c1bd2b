/** Who the host is, and whether it reports. */
import type { ComponentChildren } from "preact";
import type { Accounting, NodeStatus } from "../api/types";
import { ago, bytes, duration } from "../lib/format";
import { nowMs } from "../state/clock";
import { connection } from "../state/live";
import { verdict } from "./Account";

export function Identity({ node, status }: { node: string; status: NodeStatus | undefined }) {
  const host = status?.host;
  return (
    <section class="identity" aria-label="Host">
      <div class="identity-head">
        <h1>{node}</h1>
        {status && <State status={status} />}
        {status && <LastWord status={status} />}
      </div>
      <dl class="facts">
        <Fact name="System">{host?.os_description ?? host?.os_type}</Fact>
        <Fact name="Kernel">{host?.kernel && `${host.kernel}${host.arch ? ` · ${host.arch}` : ""}`}</Fact>
        <Fact name="CPU">{host?.cpus != null && `${host.cpus} × ${host.cpu_model ?? "CPU"}`}</Fact>
        <Fact name="Address">{host?.addresses?.length ? addresses(host.addresses) : null}</Fact>
        <Fact name="Memory">{host?.memory_bytes != null && bytes(host.memory_bytes)}</Fact>
        <Fact name="Up for">{host?.boot_time_ms != null && <Uptime bootMs={host.boot_time_ms} />}</Fact>
        <Fact name="Agent">{status?.agent_version}</Fact>
        <Fact name="Policy">{status?.policy_revision ? `revision ${status.policy_revision}` : null}</Fact>
        <Fact name="Series">{status?.series != null && String(status.series)}</Fact>
        <Fact name="Samples">{status?.accounting && <Samples account={status.accounting} />}</Fact>
      </dl>
    </section>
  );
}

/** The first address, and how many more there are. */
function addresses([first, ...more]: readonly string[]) {
  return (
    <span title={[first, ...more].join(", ")}>
      {more.length > 0 ? `${first} and ${more.length} more` : first}
    </span>
  );
}

/** Nobody knows how a host is while the collector is out of reach. */
function State({ status }: { status: NodeStatus }) {
  if (connection.value.phase === "lost") return <span class="pill pill-unknown">unknown</span>;
  return (
    <span class="pill" data-up={status.up}>
      {status.up ? "up" : "down"}
    </span>
  );
}

/** Left out when the host did not tell. */
function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  if (children === null || children === undefined || children === false || children === "") return null;
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Whether every sample is accounted for; leads to the whole account. */
function Samples({ account }: { account: Accounting }) {
  const { text, tone } = verdict(account);
  return (
    <button type="button" class="link" data-tone={tone} onClick={showAccount}>
      {text}
    </button>
  );
}

/** The address names what is looked at, so the way down is not a part of it. */
function showAccount(): void {
  document.getElementById("section-account")?.scrollIntoView({ behavior: "smooth" });
}

function LastWord({ status }: { status: NodeStatus }) {
  const text = ago(status.last_seen_ms, nowMs.value);
  return (
    <span class="last-word">{status.up ? `last frame ${text}` : `not reporting, last frame ${text}`}</span>
  );
}

function Uptime({ bootMs }: { bootMs: number }) {
  return <>{duration(Math.max(0, nowMs.value - bootMs))}</>;
}
