/** Why requests miss: one bar for all misses, and what each part means. */
import type { CacheInfo } from "../api/steering";
import { count, percent } from "../lib/format";
import { missRows, missSentence } from "./misses";

export function MissCard({ cache: { misses } }: { cache: CacheInfo }) {
  return (
    <figure class="panel" data-misses={misses ? "" : undefined}>
      <figcaption>
        <h3>Why requests miss</h3>
        <p class="curve-sentence">
          {misses ? missSentence(misses) : "Not known yet: the agent has to see some misses first."}
        </p>
        {misses?.sampled != null && <p>Taken from a sample of {count(misses.sampled)} misses.</p>}
      </figcaption>
      {misses && (
        <>
          <div class="miss-bar" aria-hidden="true">
            {missRows(misses).map(({ id, share, color }) => (
              <i key={id} style={{ flexGrow: String(share), background: `var(--series-${color})` }} />
            ))}
          </div>
          <dl class="miss-rows">
            {missRows(misses).map(({ id, name, meaning, color, share }) => (
              <div key={id} data-cause={id}>
                <dt>
                  <span class="swatch" style={{ background: `var(--series-${color})` }} />
                  {name}
                </dt>
                <dd class="num">{percent(share)}</dd>
                <dd class="miss-meaning">{meaning}</dd>
              </div>
            ))}
          </dl>
        </>
      )}
    </figure>
  );
}
