/** One suggestion: what to change, what it promises, what shows it, what can go wrong, and the decision. */
import { useEffect } from "preact/hooks";
import { fetchSuggestion } from "../api/changes";
import type { Suggestion } from "../api/steering";
import { TargetLink } from "../changes/TargetLink";
import { kindWords, STATUSES, wordsOf } from "../changes/words";
import { ago } from "../lib/format";
import { nowMs } from "../state/clock";
import { pageHref } from "../state/route";
import { usePoller } from "../state/usePoller";
import { OldFigures } from "../ui/OldFigures";
import { Pill } from "../ui/Pill";
import { ChangePanel } from "./ChangePanel";
import { Decide } from "./Decide";
import { EvidenceTable } from "./EvidenceTable";
import { noteOf } from "./inputs";
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
  const { title, kind, target, members, status, created_at_ms: created, proposed_by: proposed } = suggestion;
  const note = noteOf(suggestion);
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
        {kindWords(kind)} of <TargetLink target={target} members={members} />,{" "}
        {proposed ? `proposed by ${proposed}` : "suggested"} <Ago tsMs={created} />
        {proposed && note && `: “${note}”`}
      </p>
    </header>
  );
}

/** Reads the ticking clock itself. */
function Ago({ tsMs }: { tsMs: number }) {
  return <>{ago(tsMs, nowMs.value)}</>;
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
