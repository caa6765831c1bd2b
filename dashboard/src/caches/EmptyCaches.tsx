/** No cache yet: what to write where. */
import { fleet, fleetVersion } from "../state/fleet";
import { pageHref } from "../state/route";
import { Snippet } from "../ui/Snippet";

const SECTION = `[[redis]]
name = "sessions"
url = "redis://127.0.0.1:6379"`;

export function EmptyCaches() {
  fleetVersion.value;
  if (fleet.size === 0)
    return (
      <section class="empty">
        <h1>No cache is watched yet</h1>
        <p>
          Agents watch caches, and none has connected. <a href={pageHref("fleet")}>Start an agent</a> first.
        </p>
      </section>
    );
  return (
    <section class="empty">
      <h1>No cache is watched yet</h1>
      <p>
        No Redis is configured: add <code>[[redis]]</code> to the agent's file on the host that runs it, once
        for each instance, and start the agent again.
      </p>
      <Snippet text={SECTION} />
      <p class="muted">
        The same without a file, as an environment variable of the agent:{" "}
        <code>FLYBALL_REDIS='[&#123;name="sessions", url="redis://127.0.0.1:6379"&#125;]'</code>. The cache
        appears here within seconds. What it would do with another size is known after some minutes of
        traffic. With <code>steer = true</code> in the same section the agent may also carry out what you
        confirm.
      </p>
    </section>
  );
}
