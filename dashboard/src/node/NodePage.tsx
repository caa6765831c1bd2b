/** Everything about one node over one range of time. */
import { useEffect } from "preact/hooks";
import { AlertList } from "../alerts/AlertList";
import type { Alert } from "../api/types";
import { toggleRow, unzoom, zoom } from "../chart/actions";
import { ChartPanel } from "../chart/ChartPanel";
import { useHistory } from "../chart/useHistory";
import { firing, resolved } from "../state/alerts";
import { fleet, fleetVersion } from "../state/fleet";
import { follow, hasStatus } from "../state/live";
import { fleetHref, route } from "../state/route";
import { Account } from "./Account";
import { NODE_METRICS, NodeController } from "./controller";
import { Filesystems } from "./Filesystems";
import { Identity } from "./Identity";
import { onPageKey } from "./keys";
import { ProcessTables } from "./ProcessTables";
import type { HostFacts, Panel } from "./panel";
import { AGENT_PANELS } from "./panels/agent";
import { CPU_PANELS } from "./panels/cpu";
import { DISK_PANELS } from "./panels/disks";
import { MEMORY_PANELS } from "./panels/memory";
import { NETWORK_PANELS } from "./panels/network";
import { PROCESS_PANELS } from "./panels/processes";
import { RangeBar } from "./RangeBar";

export function NodePage({ node }: { node: string }) {
  const controller = useController(node);
  useEffect(() => follow(node, NODE_METRICS), [node]);
  fleetVersion.value;
  const status = fleet.get(node)?.status;
  const facts: HostFacts = {
    cpus: status?.host?.cpus ?? null,
    memoryBytes: status?.host?.memory_bytes ?? null,
  };
  useEffect(() => {
    document.addEventListener("keydown", onPageKey);
    return () => document.removeEventListener("keydown", onPageKey);
  }, []);
  if (hasStatus.value && !status) return <UnknownNode node={node} />;

  const ofNode = (alerts: readonly Alert[]) => alerts.filter((alert) => alert.node === node);
  const show = (id: string, title: string, panels: readonly Panel[]) => (
    <Charts id={id} title={title} panels={panels} controller={controller} facts={facts} />
  );
  return (
    <div class="node" data-up={status?.up}>
      <Identity node={node} status={status} />
      <AlertList firing={ofNode(firing.value)} resolved={ofNode(resolved.value)} ofNode />
      <RangeBar controller={controller} />
      {show("cpu", "CPU", CPU_PANELS)}
      {show("memory", "Memory", MEMORY_PANELS)}
      {show("disks", "Disks", DISK_PANELS)}
      {show("network", "Network", NETWORK_PANELS)}
      <section class="section" id="section-filesystems">
        <h2>Filesystems</h2>
        <Filesystems controller={controller} />
      </section>
      <section class="section" id="section-top">
        <h2>Processes</h2>
        <ProcessTables controller={controller} memoryBytes={facts.memoryBytes}>
          {PROCESS_PANELS.map((panel) => (
            <Chart key={panel.id} panel={panel} controller={controller} facts={facts} />
          ))}
        </ProcessTables>
      </section>
      <section class="section" id="section-account">
        <h2>Where its samples are</h2>
        <Account account={status?.accounting} />
      </section>
      {show("agent", "The agent itself", AGENT_PANELS)}
    </div>
  );
}

function useController(node: string): NodeController {
  return useHistory(() => new NodeController(node, route.peek().range));
}

interface ChartsProps {
  id: string;
  title: string;
  panels: readonly Panel[];
  controller: NodeController;
  facts: HostFacts;
}

function Charts({ id, title, panels, controller, facts }: ChartsProps) {
  return (
    <section class="section" id={`section-${id}`}>
      <h2>{title}</h2>
      <div class="grid">
        {panels.map((panel) => (
          <Chart key={panel.id} panel={panel} controller={controller} facts={facts} />
        ))}
      </div>
    </section>
  );
}

function Chart(props: { panel: Panel; controller: NodeController; facts: HostFacts }) {
  return <ChartPanel {...props} onZoom={zoom} onReset={unzoom} onToggle={toggleRow} />;
}

function UnknownNode({ node }: { node: string }) {
  return (
    <section class="empty">
      <h1>No node named “{node}”</h1>
      <p>No agent of this name has reported to this collector.</p>
      <p>
        <a href={fleetHref()}>All nodes</a>
      </p>
    </section>
  );
}
