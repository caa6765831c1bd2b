/** One suggestion: what to change, what it promises, what shows it, what can go wrong, and the decision. */
import { useEffect } from "preact/hooks";
import { fetchSuggestion } from "../api/changes";
import type { Suggestion } from "../api/steering";
import { TargetLink } from "../changes/TargetLink";
import { changeSize, parameterWords, settingText } from "../changes/values";
import { kindWords, STATUSES, wordsOf } from "../changes/words";
import { ago } from "../lib/format";
import { nowMs } from "../state/clock";
import { pageHref } from "../state/route";
import { usePoller } from "../state/usePoller";
import { OldFigures } from "../ui/OldFigures";
import { Pill } from "../ui/Pill";
import { Decide } from "./Decide";
import { EvidenceTable } from "./EvidenceTable";
import { PromisePanel, RiskPanel } from "./panels";
import { SizePanel } from "./SizePanel";

const POLL_MS = 15_000;

export function SuggestionPage({ id }: { id: string }) {
  const poller = usePoller(id, () => ({
    everyMs: POLL_MS,
    kinds: ["suggestion", "rollout"],
    ask: (signal) => fetchSuggestion(id, signal),
  }));
  const suggestion = poller.value.value;
  const title = suggestion?.title;
  useEffect(() => {
    if (title) document.title = `${title} · Flyball`;
  }, [title]);
  if (!suggestion)
    return poller.problem.value?.status === 404 ? (
      <Unknown id={id} />
    ) : (
      <>
        <OldFigures source={poller} />
        {!poller.problem.value && <p class="waiting">Waiting for the collector…</p>}
      </>
    );
  return (
    <div class="changes" data-suggestion={id} data-status={suggestion.status}>
      <Head suggestion={suggestion} />
      <OldFigures source={poller} />
      <Decide suggestion={suggestion} onDecided={poller.pollNow} />
      <div class="grid">
        <div class="stacked">
          <ChangePanel suggestion={suggestion} />
          <RiskPanel suggestion={suggestion} />
        </div>
        <div class="stacked">
          <PromisePanel suggestion={suggestion} />
          <SizePanel suggestion={suggestion} />
        </div>
        <EvidenceTable evidence={suggestion.evidence} />
      </div>
    </div>
  );
}

function Head({ suggestion }: { suggestion: Suggestion }) {
  const { title, kind, target, status, created_at_ms: created, proposed_by: proposed, inputs } = suggestion;
  const words = wordsOf(STATUSES, status);
  return (
    <header class="identity">
      <div class="identity-head">
        <h1>{title}</h1>
        <Pill tone={words.tone} help={words.meaning}>
          {words.name}
        </Pill>
      </div>
      <p class="muted">
        {kindWords(kind)} of <TargetLink target={target} />,{" "}
        {proposed ? `proposed by ${proposed}` : "suggested"} <Ago tsMs={created} />
        {proposed && inputs?.note && `: “${inputs.note}”`}
      </p>
    </header>
  );
}

/** Reads the ticking clock itself. */
function Ago({ tsMs }: { tsMs: number }) {
  return <>{ago(tsMs, nowMs.value)}</>;
}

function ChangePanel({ suggestion: { change } }: { suggestion: Suggestion }) {
  return (
    <figure class="panel">
      <figcaption>
        <h3>What changes</h3>
      </figcaption>
      <table class="list changes-table">
        <thead>
          <tr>
            <th scope="col">Setting</th>
            <th scope="col" class="num">
              Now
            </th>
            <th scope="col" class="num">
              Then
            </th>
            <th scope="col" class="num">
              <span class="sr">Difference</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {change.map((each) => (
            <tr key={each.parameter} data-parameter={each.parameter}>
              <th scope="row">
                {parameterWords(each.parameter)} <code>{each.parameter}</code>
              </th>
              <td class="num">{settingText(each.parameter, each.from, each.unit)}</td>
              <td class="num">
                <b>{settingText(each.parameter, each.to, each.unit)}</b>
              </td>
              <td class="num muted">{changeSize(each)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </figure>
  );
}

function Unknown({ id }: { id: string }) {
  return (
    <section class="empty">
      <h1>No suggestion “{id}”</h1>
      <p>It was never made, or is so old that it is forgotten.</p>
      <p>
        <a href={pageHref("suggestions")}>All suggestions</a>
      </p>
    </section>
  );
}
