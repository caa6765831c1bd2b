/** The life of a change, one moment under the other. */

import type { Prediction } from "../api/steering";
import { moment } from "../lib/format";
import { nowMs } from "../state/clock";
import type { Entry } from "./timeline";
import { VerdictView } from "./VerdictView";

interface Props {
  entries: readonly Entry[];
  /** What the change should bring. */
  promised: Prediction | null;
  /** Where the measurements of a time are shown; null: nowhere. */
  hrefOf(fromMs: number, toMs: number): string | null;
}

export function Timeline({ entries, promised, hrefOf }: Props) {
  return (
    <ol class="timeline">
      {entries.map(({ id, atMs, title, text, tone, verdict, judgedMs }) => (
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
            {verdict && (
              <VerdictView
                verdict={verdict}
                promised={promised}
                isNamed={id.includes("look")}
                href={judgedMs && hrefOf(judgedMs.fromMs, judgedMs.toMs)}
              />
            )}
          </div>
        </li>
      ))}
    </ol>
  );
}
