/** Suggestions in short: what, what for, how risky, how long it stands. */
import type { Suggestion } from "../api/steering";
import { TargetLink } from "../changes/TargetLink";
import { changeLines, difference, metricWords, rangeText } from "../changes/values";
import { expiryWords, kindWords, RISKS, STATUSES, wordsOf } from "../changes/words";
import { ago } from "../lib/format";
import { nowMs } from "../state/clock";
import { pageHref } from "../state/route";
import { Pill } from "../ui/Pill";

export function SuggestionList({ suggestions }: { suggestions: readonly Suggestion[] }) {
  return (
    <ul class="cards" aria-label="Suggestions">
      {suggestions.map((suggestion) => (
        <Item key={suggestion.id} suggestion={suggestion} />
      ))}
    </ul>
  );
}

function Item({ suggestion }: { suggestion: Suggestion }) {
  const { id, title, kind, target, change, members, prediction, risk, status } = suggestion;
  const { metric, before, after, low, high, unit } = prediction;
  const words = wordsOf(STATUSES, status);
  return (
    <li class="card" data-suggestion={id} data-status={status}>
      <div class="card-what">
        <p class="card-title">
          <a href={pageHref("suggestions", id)}>{title}</a>
        </p>
        <p class="muted">
          {kindWords(kind)} of <TargetLink target={target} members={members} />
        </p>
      </div>
      <p class="card-change">
        {changeLines(change, members ?? []).map((line) => (
          <span key={line}>{line}</span>
        ))}
      </p>
      <p class="card-gain">
        <b>{difference(before, after, unit)}</b>
        <small>
          {metricWords(metric)}, {before === after ? "stays" : "to"} {rangeText(low, high, unit)}
        </small>
      </p>
      <p class="card-state">
        {status === "proposed" ? (
          <Pill tone={RISKS[risk.level] ?? "calm"} help={risk.reasons.join("; ")}>
            {risk.level} risk
          </Pill>
        ) : (
          <Pill tone={words.tone} help={words.meaning}>
            {words.name}
          </Pill>
        )}
        <small>
          <Times suggestion={suggestion} />
        </small>
      </p>
    </li>
  );
}

/** Reads the ticking clock itself. */
function Times({ suggestion }: { suggestion: Suggestion }) {
  const { status, created_at_ms: created, expires_at_ms: expires } = suggestion;
  if (status === "proposed") return <>{expiryWords(expires, nowMs.value)}</>;
  return <>made {ago(created, nowMs.value)}</>;
}
