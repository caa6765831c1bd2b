/** The caches, a row each. */
import type { ComponentChildren } from "preact";
import type { CacheInfo, MissShares } from "../api/steering";
import { bytes, format, percent } from "../lib/format";
import { pageHref, route } from "../state/route";
import { HeadCell } from "../ui/HeadCell";
import { Meter } from "../ui/Meter";
import { Pill } from "../ui/Pill";
import { useHeldOrder } from "../ui/useHeldOrder";
import { CurveSpark } from "./CurveSpark";
import { CACHE_COLUMNS, CACHE_STATES, cacheOrder, fullness, sortCaches } from "./columns";
import { missRows } from "./misses";

export function CacheTable({ caches }: { caches: readonly CacheInfo[] }) {
  const { sort, direction, filter } = route.value;
  const [column, way] = cacheOrder(sort, direction);
  const { rows, hold } = useHeldOrder(
    caches,
    ({ id }) => id,
    `${column.id} ${way} ${filter}`,
    (all) => sortCaches(all, column, way),
  );
  return (
    <section
      class="scroll"
      aria-label="Caches"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
      tabIndex={0}
      {...hold}
    >
      <table class="list cache-list">
        <thead>
          <tr>
            {CACHE_COLUMNS.map((each) => (
              <HeadCell key={each.id} column={each} active={each === column ? way : null} />
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((cache) => (
            <Row key={cache.id} cache={cache} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

function Row({ cache }: { cache: CacheInfo }) {
  const rate = (value: number | null): string => format(value, "ops/s");
  return (
    <tr data-cache={cache.id} data-state={cache.state ?? undefined}>
      <td class="s-cache">
        <a href={pageHref("caches", cache.id)}>{cache.name}</a> <small>{cache.node}</small>
        {cache.reason && cache.state !== "up" && <p class="cache-reason">{cache.reason}</p>}
      </td>
      <td class="s-state">
        <CacheState cache={cache} />
      </td>
      <Num id="hit">{format(cache.hit_ratio, "share")}</Num>
      <Num id="rate">{rate(cache.requests_per_second)}</Num>
      <td class="s-memory">
        <CacheMemory cache={cache} />
      </td>
      <Num id="evicted">{rate(cache.evictions_per_second)}</Num>
      <Num id="expired">{rate(cache.expirations_per_second)}</Num>
      <Num id="keys">{format(cache.keys, "count")}</Num>
      <td class="s-misses">
        <MainCause misses={cache.misses} />
      </td>
      <td class="s-curve">
        <CurveSpark cache={cache} />
      </td>
      <td class="s-policy">{cache.eviction_policy ?? format(null, "count")}</td>
      <td class="s-version">
        {cache.kind} {cache.version} {cache.role && <small>{cache.role}</small>}
      </td>
    </tr>
  );
}

/** The most frequent cause of misses. */
function MainCause({ misses }: { misses: MissShares | null }) {
  if (!misses) return <>{format(null, "count")}</>;
  const largest = missRows(misses).reduce((most, row) => (row.share > most.share ? row : most));
  return (
    <span class="main-cause" title={largest.meaning}>
      <i class="swatch" style={{ background: `var(--series-${largest.color})` }} />
      {percent(largest.share)} {largest.name}
    </span>
  );
}

function Num({ id, children }: { id: string; children: ComponentChildren }) {
  return <td class={`num s-${id}`}>{children}</td>;
}

export function CacheState({ cache }: { cache: CacheInfo }) {
  const words = cache.state && CACHE_STATES[cache.state];
  if (!words) return <>{cache.state ?? format(null, "count")}</>;
  return (
    <Pill tone={words.tone} help={[words.meaning, cache.reason].filter(Boolean).join(" ")}>
      {words.name}
    </Pill>
  );
}

/** What a cache uses of its limit, in words: `61.0 MiB of 64 MiB`. */
export function memoryText({ used_bytes: used, max_bytes: most }: CacheInfo): string {
  const inUse = format(used, "bytes");
  if (most === null) return inUse;
  return most > 0 ? `${inUse} of ${bytes(most)}` : `${inUse}, no limit`;
}

/** Memory as a bar. A cache that is full is as it should be, so it never warns. */
export function CacheMemory({ cache }: { cache: CacheInfo }) {
  const text = memoryText(cache);
  return (
    <div
      class="bytes-meter"
      role="meter"
      aria-label="Memory in use"
      aria-valuemin={0}
      aria-valuemax={cache.max_bytes ?? undefined}
      aria-valuenow={cache.used_bytes ?? undefined}
      aria-valuetext={text}
    >
      {cache.max_bytes !== 0 && <Meter ratio={fullness(cache)} warn={2} alarm={2} />}
      <span class="num">{text}</span>
    </div>
  );
}
