/** Estimates of other eviction policies. */
import type { CacheInfo } from "../api/steering";
import { Intervals } from "../ui/Intervals";
import { policyRows, policyWords } from "./policies";

export function PolicyCard({ cache }: { cache: CacheInfo }) {
  const policies = cache.policies ?? [];
  const present = cache.eviction_policy;
  const rows = policyRows(policies, present);
  const words = policyWords(policies, present);
  return (
    <figure class="panel" data-policies={rows.length}>
      <figcaption>
        <h3>Another policy</h3>
        <p class="curve-sentence">{words}</p>
        {rows.length > 0 && (
          <p>
            Hit ratio at the present size, less that of {present ?? "the present policy"} on the same
            requests.
          </p>
        )}
      </figcaption>
      {rows.length > 0 && (
        <Intervals
          rows={rows}
          reference={{ value: 0, label: `${present ?? "as it is"} now` }}
          label={words}
        />
      )}
    </figure>
  );
}
