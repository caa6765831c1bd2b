/** What was pushed to a pool under control, what became of it, and what people said. */
import type { Control } from "../api/control";
import { moment, UNKNOWN } from "../lib/format";
import { serverNow } from "../state/clock";
import { pageHref } from "../state/route";
import { confirmedWords, type HistoryRow } from "./control";
import { milliseconds } from "./words";

const HEADS: readonly [id: string, title: string, help: string][] = [
  ["when", "When", "When it was decided"],
  ["what", "What", "Weights that were changed, with the reason"],
  ["confirmed", "In force at", "Balancers whose agents have read the weights back, of those that it went to"],
  ["took", "Took", "From the offer until the last of them had"],
  ["held", "Held back by", "Checks that made it smaller, or let nothing through"],
];

export function PushHistory({ control, rows }: { control: Control; rows: readonly HistoryRow[] }) {
  return (
    <figure class="panel push-history">
      <figcaption>
        <h3>What was pushed</h3>
        <a href={pageHref("audit", control.rollout_id)}>every decision about it</a>
      </figcaption>
      {rows.length === 0 ? (
        <p class="muted">Nothing yet.</p>
      ) : (
        <section
          class="push-scroll"
          aria-label="Pushes"
          // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
          tabIndex={0}
        >
          <table class="list push-list">
            <thead>
              <tr>
                {HEADS.map(([id, title, help]) => (
                  <th key={id} scope="col" class={`p-${id}`} title={help}>
                    {title}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => (
                <Row key={row.id} row={row} />
              ))}
            </tbody>
          </table>
        </section>
      )}
    </figure>
  );
}

function Row({ row }: { row: HistoryRow }) {
  const { kind, atMs, what, why, reached, confirmed, tookMs, held } = row;
  const isWhole = confirmed !== null && confirmed === reached;
  return (
    <tr data-push={row.id} data-kind={kind} data-confirmed={confirmed ?? undefined}>
      <td class="p-when">{atMs === null ? "now" : moment(atMs, serverNow())}</td>
      <td class="p-what">
        {what.map((line) => (
          <span key={line}>{line}</span>
        ))}
        {why && <small>{why}</small>}
      </td>
      <td
        data-label="In force at"
        class="p-confirmed"
        data-tone={kind === "push" && confirmed !== null && !isWhole ? "warn" : undefined}
        title={
          kind === "push" && confirmed === null
            ? "This collector has not seen it: it was pushed before its start, or more than twenty pushes ago"
            : undefined
        }
      >
        {confirmedWords(row)}
      </td>
      <td data-label="Took" class="p-took num">
        {kind === "push" ? (tookMs === null ? UNKNOWN : milliseconds(tookMs)) : ""}
      </td>
      <td data-label="Held back by" class="p-held">
        {held.map((line) => (
          <span key={line}>{line}</span>
        ))}
      </td>
    </tr>
  );
}
