/** One rollout: where it stands, what was expected and what came, and everything that happened. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { fetchRollout, fetchSuggestion } from "../api/changes";
import { ApiError } from "../api/client";
import type { Prediction, Rollout, Suggestion, Target } from "../api/steering";
import { CACHE_METRICS } from "../caches/panels";
import { InForce } from "../changes/InForce";
import { TargetLink, targetHref } from "../changes/TargetLink";
import { changeLines, predictionSentence } from "../changes/values";
import { isOver, kindWords } from "../changes/words";
import { follow } from "../state/live";
import { pageHref } from "../state/route";
import { usePoller } from "../state/usePoller";
import { OldFigures } from "../ui/OldFigures";
import { Controls } from "./Controls";
import { aroundRange } from "./notes";
import { RolloutCharts } from "./RolloutCharts";
import { RolloutStatePill } from "./RolloutList";
import { Timeline } from "./Timeline";
import { lastVerdict, rolloutTitle, timelineOf } from "./timeline";
import { VerdictView } from "./VerdictView";
import { Waves } from "./Waves";
import { isGroup, shownOf } from "./waves";

const POLL_MS = 5000;

interface Known {
  rollout: Rollout;
  /** Null when it is so old that it is forgotten. */
  suggestion: Suggestion | null;
}

async function ask(id: string, signal: AbortSignal): Promise<Known> {
  const rollout = await fetchRollout(id, signal);
  const suggestion = await fetchSuggestion(rollout.suggestion_id, signal).catch((error: unknown) => {
    if (error instanceof ApiError && error.status === 404) return null;
    throw error;
  });
  return { rollout, suggestion };
}

export function RolloutPage({ id }: { id: string }) {
  const poller = usePoller(id, () => ({
    everyMs: POLL_MS,
    kinds: ["rollout", "policy"],
    ask: (signal) => ask(id, signal),
  }));
  const known = poller.value.value;
  const picked = useSignal<string | null>(null);
  const shown = known && shownOf(known.rollout, targetOf(known), picked.value);
  const node = shown?.node ?? "";
  useEffect(() => follow(node, CACHE_METRICS), [node]);
  if (!known)
    return poller.problem.value?.status === 404 ? (
      <Unknown id={id} />
    ) : (
      <>
        <OldFigures source={poller} />
        {!poller.problem.value && <p class="waiting">Waiting for the collector…</p>}
      </>
    );
  return (
    <div class="changes" data-rollout={id} data-state={known.rollout.state}>
      <Head {...known} />
      <OldFigures source={poller} />
      <Controls rollout={withTarget(known)} onDone={poller.pollNow} />
      {isGroup(known.rollout) && <Waves rollout={known.rollout} />}
      <Course {...known} shown={shown} onPick={(id) => (picked.value = id)} />
    </div>
  );
}

const targetOf = (known: Known | null) => known?.rollout.target ?? known?.suggestion?.target ?? null;

/** The rollout with the target that its suggestion names. */
function withTarget({ rollout, suggestion }: Known): Rollout {
  return { ...rollout, target: rollout.target ?? suggestion?.target ?? null };
}

function Head({ rollout, suggestion }: Known) {
  const title = rollout.title ?? suggestion?.title ?? rolloutTitle(rollout);
  const target = targetOf({ rollout, suggestion });
  const kind = rollout.kind ?? suggestion?.kind;
  const change = rollout.change ?? suggestion?.change ?? [];
  useEffect(() => {
    document.title = `${title} · Flyball`;
  }, [title]);
  return (
    <header class="identity">
      <div class="identity-head">
        <h1>{title}</h1>
        <RolloutStatePill rollout={rollout} />
      </div>
      <p class="muted">
        {kind && `${kindWords(kind)} of `}
        {target && <TargetLink target={target} members={rollout.members} />}, attempt {rollout.attempt}:{" "}
        {changeLines(change, rollout.members ?? []).join("; ")} ·{" "}
        <a href={pageHref("suggestions", rollout.suggestion_id)}>Why it was suggested</a> ·{" "}
        <a href={pageHref("audit", rollout.id)}>Every decision about it</a>
      </p>
    </header>
  );
}

interface CourseProps extends Known {
  /** What the charts are of. */
  shown: Target | null;
  onPick(id: string): void;
}

function Course({ rollout, suggestion, shown: target, onPick }: CourseProps) {
  const verdict = lastVerdict(rollout);
  const promised = rollout.prediction ?? suggestion?.prediction ?? null;
  return (
    <>
      <section class="section" id="section-verdict">
        <h2>Promised and seen</h2>
        <div class="grid">
          <div class="panel verdict-panel">
            {verdict ? (
              <VerdictView verdict={verdict} promised={promised} />
            ) : (
              <NotJudged rollout={rollout} promised={promised} />
            )}
          </div>
          {target?.node && <InForce key={target.id} target={target} />}
        </div>
        {target && isGroup(rollout) && <Picker rollout={rollout} shown={target} onPick={onPick} />}
        {target?.node && target.kind === "redis" && (
          <RolloutCharts key={target.id} rollout={rollout} target={target} />
        )}
      </section>
      <section class="section" id="section-timeline">
        <h2>What happened</h2>
        <Timeline
          entries={timelineOf(rollout, suggestion)}
          promised={promised}
          hrefOf={(fromMs, toMs) => target && targetHref(target.id, target.kind, aroundRange(fromMs, toMs))}
        />
      </section>
    </>
  );
}

/** Which of several caches the charts are of. */
function Picker({
  rollout,
  shown,
  onPick,
}: { rollout: Rollout; shown: Target } & Pick<CourseProps, "onPick">) {
  return (
    <label class="picker muted">
      Measured at{" "}
      <select value={shown.id} onChange={(event) => onPick(event.currentTarget.value)}>
        {rollout.members?.map(({ target }) => (
          <option key={target.id} value={target.id}>
            {target.name} on {target.node}
          </option>
        ))}
      </select>
    </label>
  );
}

/** What is promised, and why nobody has looked yet. */
function NotJudged({ rollout, promised }: { rollout: Rollout; promised: Prediction | null }) {
  const why = isOver(rollout.state)
    ? "It ended before the judge had looked."
    : "The judge has not looked yet: first the change has to be in force, and then some time of it to be seen.";
  return (
    <>
      <p class="muted">{why}</p>
      {promised && <p>{predictionSentence(promised)}</p>}
    </>
  );
}

function Unknown({ id }: { id: string }) {
  return (
    <section class="empty">
      <h1>No rollout “{id}”</h1>
      <p>There never was one, or it is so old that it is forgotten.</p>
      <p>
        <a href={pageHref("rollouts")}>All rollouts</a>
      </p>
    </section>
  );
}
