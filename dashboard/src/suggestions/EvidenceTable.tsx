/** What a suggestion rests on, and how anybody can measure it again. */
import type { Evidence } from "../api/steering";
import { human, metricWords } from "../changes/values";
import { duration } from "../lib/format";
import { queryHref } from "./words";

export function EvidenceTable({ evidence }: { evidence: readonly Evidence[] }) {
  return (
    <figure class="panel" data-panel="evidence">
      <figcaption>
        <h3>What shows it</h3>
      </figcaption>
      <div class="plain-scroll">
        <table class="list evidence">
          <thead>
            <tr>
              <th scope="col">Measured</th>
              <th scope="col" class="num">
                Value
              </th>
              <th scope="col" class="num">
                Over
              </th>
              <th scope="col" class="query">
                How to repeat it
              </th>
            </tr>
          </thead>
          <tbody>
            {evidence.map((each) => (
              <Row key={`${each.name} ${each.query}`} evidence={each} />
            ))}
          </tbody>
        </table>
      </div>
    </figure>
  );
}

function Row({ evidence: { name, value, unit, window_ms: window, query } }: { evidence: Evidence }) {
  const href = queryHref(query);
  return (
    <tr>
      <th scope="row">{metricWords(name)}</th>
      <td class="num">{human(value, unit)}</td>
      <td class="num">{window > 0 ? duration(window) : "a reading"}</td>
      <td class="query">
        {href ? (
          <a href={href}>
            <code>{query}</code>
          </a>
        ) : (
          <code>{query}</code>
        )}
      </td>
    </tr>
  );
}
