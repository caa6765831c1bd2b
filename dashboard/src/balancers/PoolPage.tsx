/** Everything about one pool: its backends over all load balancers, its weights, and how it went. */
import { useEffect } from "preact/hooks";
import { fetchPool, type Pool } from "../api/balancers";
import { format } from "../lib/format";
import { lengthOf } from "../lib/range";
import { pageHref, route } from "../state/route";
import { usePoller } from "../state/usePoller";
import { Figure } from "../ui/Figure";
import { OldFigures } from "../ui/OldFigures";
import { BackendTable } from "./BackendTable";
import { ControlSection } from "./ControlCard";
import { POOL_PANELS } from "./history";
import { PoolChart } from "./PoolChart";
import { Meanings, WeightMatrix } from "./WeightMatrix";
import { countsOf } from "./words";

const POLL_MS = 3_000;
const MINUTE_MS = 60_000;
/** Reach of the charts, minutes. */
const MOST_MINUTES = 1_440;

export function PoolPage({ name }: { name: string }) {
  const minutes = Math.min(MOST_MINUTES, Math.max(1, Math.round(lengthOf(route.value.range) / MINUTE_MS)));
  const poller = usePoller(`${name} ${minutes}`, () => ({
    everyMs: POLL_MS,
    kinds: ["balancer"],
    ask: (signal) => fetchPool(name, minutes, signal),
  }));
  useEffect(() => {
    document.title = `${name} · Flyball`;
  }, [name]);
  const answer = poller.value.value;
  const problem = poller.problem.value;
  if (!answer && problem?.status === 404) return <UnknownPool name={name} />;
  if (!answer)
    return (
      <>
        <OldFigures source={poller} />
        {!problem && <p class="waiting">Waiting for the collector…</p>}
      </>
    );
  const { pool, history } = answer;
  return (
    <div class="pool" data-pool={pool.name}>
      <Head pool={pool} />
      <OldFigures source={poller} />
      <Missing pool={pool} />
      <section class="section" id="section-backends">
        <h2>Backends</h2>
        <BackendTable pool={pool} />
      </section>
      <ControlSection pool={pool.name} />
      <section class="section" id="section-weights">
        <h2>Weights</h2>
        <div class="grid">
          <WeightMatrix pool={pool} />
          <Meanings pool={pool} />
        </div>
      </section>
      <section class="section" id="section-history">
        <h2>How it went</h2>
        <div class="grid">
          {POOL_PANELS.map((panel) => (
            <PoolChart key={panel.id} panel={panel} history={history} />
          ))}
        </div>
      </section>
    </div>
  );
}

function Head({ pool }: { pool: Pool }) {
  const { counting } = countsOf(pool);
  const queue = pool.backends.reduce((sum, each) => sum + each.queue, 0);
  return (
    <header class="identity">
      <div class="identity-head">
        <h1>{pool.name}</h1>
        <span class="last-word">
          <a href={pageHref("balancers")}>all balancers</a>
        </span>
      </div>
      <dl class="facts">
        <Figure name="Balancers" tone={counting.length < pool.members.length ? "bad" : undefined}>
          {counting.length < pool.members.length
            ? `${counting.length} of ${pool.members.length}`
            : pool.members.length}
        </Figure>
        <Figure name="Backends">{pool.backends.length}</Figure>
        <Figure name="Requests" help="Requests a second over all balancers">
          {format(pool.requests_per_second, "ops/s")}
        </Figure>
        <Figure name="Errors" tone={(pool.error_ratio ?? 0) >= 0.01 ? "bad" : undefined}>
          {format(pool.error_ratio, "share")}
        </Figure>
        <Figure name="Waiting" help="Requests that wait for a backend">
          {format(queue, "count")}
        </Figure>
        <Figure name="Window" help="Time that counts are taken over">
          {format(pool.window_ms / 1_000, "seconds")}
        </Figure>
      </dl>
    </header>
  );
}

/** Balancers that the figures leave out. */
function Missing({ pool }: { pool: Pool }) {
  const { missing } = countsOf(pool);
  if (missing.length === 0) return null;
  return (
    <p class="problem" role="status" data-missing={missing.length}>
      {missing.length === 1 ? "One balancer is" : `${missing.length} balancers are`} left out of these
      figures: {missing.map(({ name, node, missing: reason }) => `${name} on ${node} (${reason})`).join(", ")}
      .
    </p>
  );
}

function UnknownPool({ name }: { name: string }) {
  return (
    <section class="empty">
      <h1>No pool “{name}”</h1>
      <p>No load balancer that is connected here has a group of this name.</p>
      <p>
        <a href={pageHref("balancers")}>All balancers</a>
      </p>
    </section>
  );
}
