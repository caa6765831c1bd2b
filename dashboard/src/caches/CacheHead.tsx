/** Who a cache is, and how it does now. */
import type { CacheInfo } from "../api/steering";
import { ago, format } from "../lib/format";
import { nowMs } from "../state/clock";
import { nodeHref } from "../state/route";
import { Figure } from "../ui/Figure";
import { CacheMemory, CacheState } from "./CacheTable";
import { CACHE_STATES } from "./columns";

export function CacheHead({ cache }: { cache: CacheInfo }) {
  return (
    <header class="identity">
      <div class="identity-head">
        <h1>{cache.name}</h1>
        <CacheState cache={cache} />
        <span class="last-word">
          on <a href={nodeHref(cache.node)}>{cache.node}</a>
        </span>
      </div>
      <Trouble cache={cache} />
      <div class="cache-now">
        <p class="big">
          <b>{format(cache.hit_ratio, "share")}</b>
          <span>hit ratio</span>
        </p>
        <CacheMemory cache={cache} />
        <dl class="facts">
          <Figure name="Lookups" help="Lookups of keys a second">
            {format(cache.requests_per_second, "ops/s")}
          </Figure>
          <Figure name="Evicted" help="Keys a second that made room for others">
            {format(cache.evictions_per_second, "ops/s")}
          </Figure>
          <Figure name="Expired" help="Keys a second whose time was over">
            {format(cache.expirations_per_second, "ops/s")}
          </Figure>
          <Figure name="Keys">{format(cache.keys, "count")}</Figure>
          <Figure name="Evicts by">{cache.eviction_policy ?? format(null, "count")}</Figure>
          <Figure name="Server">
            {cache.kind} {cache.version}
          </Figure>
          {cache.role && <Figure name="Role">{cache.role}</Figure>}
          {cache.measured_at_ms != null && (
            <Figure name="Measured">
              <Ago tsMs={cache.measured_at_ms} />
            </Figure>
          )}
        </dl>
      </div>
    </header>
  );
}

/** Reads the ticking clock itself. */
function Ago({ tsMs }: { tsMs: number }) {
  return <>{ago(tsMs, nowMs.value)}</>;
}

/** Why it is not up, and what that means for what is shown. */
function Trouble({ cache }: { cache: CacheInfo }) {
  const { state, reason } = cache;
  if (!state || state === "up") return null;
  return (
    <p class="problem" role="status">
      {CACHE_STATES[state]?.meaning ?? state} {reason && `Its agent says: ${reason}.`} What is shown is what
      was last known.
    </p>
  );
}
