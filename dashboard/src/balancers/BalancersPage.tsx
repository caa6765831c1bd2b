/** Every load balancer of the fleet, and the pools that they make. */
import { type BalancerInfo, type BalancersAnswer, fetchBalancers, type Pool } from "../api/balancers";
import { type Control, fetchControl } from "../api/control";
import { format, UNKNOWN } from "../lib/format";
import { nodeHref, pageHref, route } from "../state/route";
import { usePoller } from "../state/usePoller";
import { Meter } from "../ui/Meter";
import { OldFigures } from "../ui/OldFigures";
import { Pill } from "../ui/Pill";
import { Snippet } from "../ui/Snippet";
import { BackendTable } from "./BackendTable";
import { stateWord } from "./control";
import { PoolPage } from "./PoolPage";
import { BALANCER_STATES, countsOf, MEANINGS, sortBalancers } from "./words";

const POLL_MS = 3_000;
/** Backends of so many are shown without being asked for. */
const OPEN_BACKENDS = 40;

interface Known extends BalancersAnswer {
  /** Those that have ended come last. */
  controls: readonly Control[];
}

async function ask(signal: AbortSignal): Promise<Known> {
  const [answer, controls] = await Promise.all([fetchBalancers(signal), fetchControl(signal)]);
  return { ...answer, controls };
}

export function BalancersPage() {
  const { id } = route.value;
  return id ? <PoolPage key={id} name={id} /> : <All />;
}

function All() {
  const poller = usePoller("balancers", () => ({
    everyMs: POLL_MS,
    kinds: ["balancer"],
    ask,
  }));
  const answer = poller.value.value;
  return (
    <div class="balancers">
      <h1>Balancers</h1>
      <OldFigures source={poller} />
      {answer ? (
        <Tables answer={answer} />
      ) : (
        !poller.problem.value && <p class="waiting">Waiting for the collector…</p>
      )}
    </div>
  );
}

function Tables({ answer: { balancers, pools, controls } }: { answer: Known }) {
  if (balancers.length === 0) return <EmptyBalancers />;
  const isFew = pools.reduce((sum, { backends }) => sum + backends.length, 0) <= OPEN_BACKENDS;
  return (
    <>
      <section class="section">
        <h2>Pools</h2>
        <div class="scroll">
          <table class="list pool-list">
            <thead>
              <tr>
                <th scope="col">Pool</th>
                <th scope="col">Balancers</th>
                <th scope="col">Backends</th>
                <th scope="col" class="num">
                  Requests
                </th>
                <th scope="col" class="num">
                  Errors
                </th>
                <th scope="col">Most in use</th>
                <th scope="col" title="Whether Flyball lets weights follow the load">
                  Control
                </th>
              </tr>
            </thead>
            <tbody>
              {pools.map((pool) => (
                <PoolRow
                  key={pool.id}
                  pool={pool}
                  control={controls.find((each) => each.pool === pool.name)}
                />
              ))}
            </tbody>
          </table>
        </div>
      </section>
      <section class="section">
        <h2>Backends</h2>
        {pools.map((pool) => (
          <details key={pool.id} class="pool-backends" open={isFew}>
            <summary>
              <a href={pageHref("balancers", pool.name)}>{pool.name}</a>
            </summary>
            <BackendTable pool={pool} />
          </details>
        ))}
      </section>
      <section class="section">
        <h2>Load balancers</h2>
        <div class="scroll">
          <table class="list balancer-list">
            <thead>
              <tr>
                <th scope="col">Balancer</th>
                <th scope="col">State</th>
                <th scope="col">Group</th>
                <th scope="col">Algorithm</th>
                <th scope="col">Weights</th>
                <th scope="col">Ready</th>
                <th scope="col" class="num">
                  Requests
                </th>
              </tr>
            </thead>
            <tbody>{sortBalancers(balancers).flatMap((balancer) => rows(balancer, pools))}</tbody>
          </table>
        </div>
      </section>
    </>
  );
}

function PoolRow({ pool, control }: { pool: Pool; control: Control | undefined }) {
  const { counting } = countsOf(pool);
  const ready = pool.backends.filter(({ state }) => state === "ready").length;
  const used = pool.backends.filter(({ utilization }) => utilization !== null);
  const most = used.reduce<(typeof used)[number] | null>(
    (top, each) => (top && (top.utilization ?? 0) >= (each.utilization ?? 0) ? top : each),
    null,
  );
  const isWhole = counting.length === pool.members.length;
  return (
    <tr data-pool={pool.name}>
      <td>
        <a href={pageHref("balancers", pool.name)}>{pool.name}</a>
      </td>
      <td data-tone={isWhole ? undefined : "bad"}>
        {isWhole ? counting.length : `${counting.length} of ${pool.members.length}`}
      </td>
      <td>{ready === pool.backends.length ? ready : `${ready} of ${pool.backends.length} ready`}</td>
      <td class="num">{format(pool.requests_per_second, "ops/s")}</td>
      <td class="num" data-tone={(pool.error_ratio ?? 0) >= 0.01 ? "bad" : undefined}>
        {format(pool.error_ratio, "share")}
      </td>
      <td class="s-used">
        {most ? (
          <div class="used">
            <Meter ratio={most.utilization} warn={0.85} alarm={0.95} />
            <span class="num">
              {format(most.utilization, "share")} <small>{most.id}</small>
            </span>
          </div>
        ) : (
          UNKNOWN
        )}
      </td>
      <td class="s-control">
        <ControlPill control={control} />
      </td>
    </tr>
  );
}

function ControlPill({ control }: { control: Control | undefined }) {
  if (!control) return <span class="muted">none</span>;
  const { name, tone, meaning } = stateWord(control);
  return (
    <Pill tone={tone} help={meaning}>
      {name}
    </Pill>
  );
}

/** A row for each group; one without a group when it has none. */
function rows(balancer: BalancerInfo, pools: readonly Pool[]) {
  const { id, name, node, state, reason, kind, version } = balancer;
  const words = BALANCER_STATES[state];
  const head = (
    <>
      <td>
        <b>{name}</b> <a href={nodeHref(node)}>{node}</a>{" "}
        <small>
          {kind} {version}
        </small>
        {reason && state !== "up" && <p class="cache-reason">{reason}</p>}
      </td>
      <td>
        <Pill tone={words.tone} help={[words.meaning, reason].filter(Boolean).join(" ")}>
          {words.name}
        </Pill>
      </td>
    </>
  );
  if (balancer.groups.length === 0)
    return [
      <tr key={id} data-balancer={id} data-state={state}>
        {head}
        <td colSpan={5} class="muted">
          {UNKNOWN}
        </td>
      </tr>,
    ];
  return balancer.groups.map((group) => {
    const ready = group.backends.filter((each) => each.state === "ready").length;
    const pool = pools.find((each) => each.group === group.name && each.members.some((one) => one.id === id));
    const meaning = MEANINGS[group.weights];
    return (
      <tr key={`${id} ${group.name}`} data-balancer={id} data-state={state}>
        {head}
        <td>{pool ? <a href={pageHref("balancers", pool.name)}>{group.name}</a> : group.name}</td>
        <td>{group.algorithm}</td>
        <td title={meaning.words}>{meaning.name}</td>
        <td data-tone={ready < group.backends.length ? "warn" : undefined}>
          {ready} of {group.backends.length}
        </td>
        <td class="num">
          {format(
            group.backends.reduce((sum, each) => sum + each.requests_per_second, 0),
            "ops/s",
          )}
        </td>
      </tr>
    );
  });
}

const SECTION = `[[haproxy]]
name = "edge"
socket = "/run/haproxy/admin.sock"`;

function EmptyBalancers() {
  return (
    <section class="empty">
      <h1>No load balancer is watched yet</h1>
      <p>
        Agents watch load balancers: add <code>[[haproxy]]</code> or <code>[[envoy]]</code> to the agent's
        file on the host that runs one, and start the agent again.
      </p>
      <Snippet text={SECTION} />
      <p class="muted">
        It appears here within seconds. With <code>steer = true</code> in the same section the agent may also
        set weights that you confirm.
      </p>
    </section>
  );
}
