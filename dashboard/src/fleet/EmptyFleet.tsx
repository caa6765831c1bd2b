/** No node yet: how to start one. */
import { Snippet } from "../ui/Snippet";

/** Where agents connect unless the collector was told otherwise. */
const GRPC_PORT = 7400;

export function EmptyFleet() {
  const host = location.hostname || "127.0.0.1";
  const command = `flyball-agent --collector http://${host}:${GRPC_PORT} --node "$(hostname)"`;
  return (
    <section class="empty">
      <h1>No agent has connected yet</h1>
      <p>The collector is up and listening. Start an agent on the host you want to see:</p>
      <Snippet text={command} />
      <p class="muted">
        Agents connect to port {GRPC_PORT} unless the collector was started with another <code>--grpc</code>,
        as its log line <code>listening</code> tells. The node appears here by itself within a second.
      </p>
    </section>
  );
}
