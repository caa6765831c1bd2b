/** The life of a change, one moment under the other. */
import { moment } from "../lib/format";
import { nowMs } from "../state/clock";
import type { Entry } from "./timeline";
import { VerdictView } from "./VerdictView";

export function Timeline({ entries }: { entries: readonly Entry[] }) {
  return (
    <ol class="timeline">
      {entries.map(({ id, atMs, title, text, tone, verdict }) => (
        <li key={id} data-entry={id} data-tone={tone} aria-current={atMs === null ? "step" : undefined}>
          <p class="timeline-time">
            {atMs === null ? (
              "now"
            ) : (
              <time dateTime={new Date(atMs).toISOString()}>{moment(atMs, nowMs.peek())}</time>
            )}
          </p>
          <div>
            <h3>{title}</h3>
            {text && <p>{text}</p>}
            {verdict && <VerdictView verdict={verdict} />}
          </div>
        </li>
      ))}
    </ol>
  );
}
