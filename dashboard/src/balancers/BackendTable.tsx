/** The backends of a pool, a row each: what they get, what they could take, and how they do. */
import type { Pool, PoolBackend } from "../api/balancers";
import { format, percent, UNKNOWN } from "../lib/format";
import { Meter } from "../ui/Meter";
import { Pill } from "../ui/Pill";
import { BACKEND_STATES, milliseconds, range, SOURCES, surplus, wantedWeights } from "./words";

const HEADS: readonly [id: string, title: string, help: string][] = [
  ["backend", "Backend", "Address that requests go to"],
  ["state", "State", "Whether it is given requests"],
  ["weight", "Weight", "In force, as it was read back; from … to where balancers differ"],
  ["wanted", "Wanted", "What Flyball wants; empty where it wants nothing"],
  ["configured", "Configured", "What the balancers' own configuration says"],
  [
    "shares",
    "Traffic and capacity",
    "Bar: share of the pool's requests. Mark: share of its capacity, requests a second over utilisation",
  ],
  ["rate", "Requests", "Requests a second over all balancers"],
  ["latency", "Latency", "Mean, and the largest 99th percentile of a balancer"],
  ["errors", "Errors", "Failed requests: 5xx, no connection, timeout"],
  ["used", "In use", "Share of its capacity that is in use"],
];

const NUMBERS: readonly string[] = ["weight", "wanted", "configured", "rate", "latency", "errors"];

export function BackendTable({ pool }: { pool: Pool }) {
  return (
    <section
      class="scroll"
      aria-label="Backends"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
      tabIndex={0}
    >
      <table class="list backend-list">
        <thead>
          <tr>
            {HEADS.map(([id, title, help]) => (
              <th key={id} scope="col" class={NUMBERS.includes(id) ? `num s-${id}` : `s-${id}`} title={help}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {pool.backends.map((backend) => (
            <Row key={backend.id} backend={backend} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ backend }: { backend: PoolBackend }) {
  const errors = backend.error_ratio;
  return (
    <tr data-backend={backend.id} data-state={backend.state}>
      <td class="s-backend">
        <b>{backend.id}</b>
        <Names backend={backend} />
      </td>
      <td class="s-state">
        <State backend={backend} />
      </td>
      <Weights backend={backend} />
      <td data-label="Traffic / capacity" class="s-shares">
        <Shares backend={backend} />
      </td>
      <td data-label="Requests" class="num s-rate">
        {format(backend.requests_per_second, "ops/s")}
      </td>
      <td data-label="Latency" class="num s-latency">
        {milliseconds(backend.latency_ms)}
        {backend.latency_p99_ms !== null && <small>p99 {milliseconds(backend.latency_p99_ms)}</small>}
      </td>
      <td
        data-label="Errors"
        class="num s-errors"
        data-tone={errors !== null && errors >= 0.01 ? "bad" : undefined}
      >
        {format(errors, "share")}
      </td>
      <td data-label="In use" class="s-used">
        <Used backend={backend} />
      </td>
    </tr>
  );
}

/** What balancers call it, where that is not its address. */
function Names({ backend }: { backend: PoolBackend }) {
  const names = [...new Set(backend.placements.map(({ name }) => name))].filter(
    (name) => name !== backend.id,
  );
  return names.length > 0 ? <small>{names.join(", ")}</small> : null;
}

function State({ backend }: { backend: PoolBackend }) {
  const words = BACKEND_STATES[backend.state];
  const other = backend.placements.filter(({ state }) => state !== backend.state).length;
  return (
    <>
      <Pill tone={words.tone === "good" && other > 0 ? "warn" : words.tone} help={words.meaning}>
        {words.name}
      </Pill>
      {other > 0 && (
        <small>
          not on {other} of {backend.placements.length}
        </small>
      )}
    </>
  );
}

function Weights({ backend: { placements } }: { backend: PoolBackend }) {
  const inForce = range(placements.map(({ weight }) => weight));
  const configured = range(placements.map((each) => each.weight_configured));
  const wanted = range(placements.flatMap(({ weight_wanted: each }) => (each === null ? [] : [each])));
  return (
    <>
      <td data-label="Weight" class="num s-weight">
        <b>{inForce}</b>
      </td>
      <td data-label="Wanted" class="num s-wanted" data-tone={wantedWeights(placements) ? "warn" : undefined}>
        {wanted}
      </td>
      <td data-label="Configured" class="num s-configured">
        {configured}
      </td>
    </>
  );
}

/** What it gets as a bar, what it could take as a mark on it. */
function Shares({ backend }: { backend: PoolBackend }) {
  const { share, capacity_share: capacity } = backend;
  const over = surplus(share, capacity);
  const words = [
    share === null ? "no traffic" : `${percent(share)} of the traffic`,
    capacity === null ? "capacity not known" : `${percent(capacity)} of the capacity`,
  ];
  return (
    <div class="shares" data-over={over !== null && over > 0.05 ? "" : undefined}>
      <span class="share-bar" role="img" aria-label={words.join(", ")} title={words.join(", ")}>
        <i style={{ width: `${(share ?? 0) * 100}%` }} />
        {capacity !== null && <u style={{ left: `${capacity * 100}%` }} />}
      </span>
      <span class="num">
        {share === null ? UNKNOWN : percent(share)}
        <small> / {capacity === null ? UNKNOWN : percent(capacity)}</small>
      </span>
    </div>
  );
}

function Used({ backend: { utilization, utilization_source: source } }: { backend: PoolBackend }) {
  return (
    <div
      class="used"
      title={source ? SOURCES[source] : "Neither its own word, nor a limit, nor an agent on its host"}
    >
      <Meter ratio={utilization} warn={0.85} alarm={0.95} />
      <span class="num">
        {format(utilization, "share")}
        {source && <small> {source}</small>}
      </span>
    </div>
  );
}
