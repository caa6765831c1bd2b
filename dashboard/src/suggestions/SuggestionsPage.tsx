/** What would do the fleet good: suggestions by status, and a look for more. */
import { useSignal } from "@preact/signals";
import { fetchPages, fetchSuggestions } from "../api/changes";
import type { Listed, Suggestion, SuggestionStatus } from "../api/steering";
import { STATUSES } from "../changes/words";
import type { Poller } from "../state/poller";
import { go, pageHref, route } from "../state/route";
import { usePoller } from "../state/usePoller";
import { OldFigures } from "../ui/OldFigures";
import { Tabs } from "../ui/Tabs";
import { LookNow } from "./LookNow";
import { SuggestionList } from "./SuggestionList";
import { SuggestionPage } from "./SuggestionPage";

const POLL_MS = 15_000;

const TABS = Object.entries(STATUSES).map(([id, { name }]) => ({ id, name }));

export function SuggestionsPage() {
  const { id } = route.value;
  return id ? <SuggestionPage key={id} id={id} /> : <All />;
}

/** The status that an address means; those that wait unless it says otherwise. */
function statusOf(text: string): SuggestionStatus {
  return text in STATUSES ? (text as SuggestionStatus) : "proposed";
}

function All() {
  const status = statusOf(route.value.status);
  const pages = useSignal(1);
  const poller = usePoller(`${status} ${pages.value}`, () => ({
    everyMs: POLL_MS,
    kinds: ["suggestion"],
    ask: (signal) => fetchPages((cursor) => fetchSuggestions({ status, cursor }, signal), pages.peek()),
  }));
  return (
    <div class="changes">
      <h1>Suggestions</h1>
      <p class="lead muted">
        What would do the fleet good, with the evidence and a promise. Nothing happens until somebody confirms
        one; then the promise is checked against what comes of it.
      </p>
      <LookNow target={null} onLooked={poller.pollNow} />
      <Tabs
        label="Status"
        tabs={TABS}
        active={status}
        onPick={(picked) => {
          pages.value = 1;
          go({ status: picked === "proposed" ? "" : picked }, "replace");
        }}
      />
      <OldFigures source={poller} />
      <Found poller={poller} status={status} onMore={() => (pages.value += 1)} />
    </div>
  );
}

interface FoundProps {
  poller: Poller<Listed<Suggestion>>;
  status: SuggestionStatus;
  onMore(): void;
}

function Found({ poller, status, onMore }: FoundProps) {
  const listed = poller.value.value;
  if (!listed) return poller.problem.value ? null : <p class="waiting">Waiting for the collector…</p>;
  if (listed.items.length === 0) return <Nothing status={status} />;
  return (
    <>
      <SuggestionList suggestions={listed.items} />
      {listed.next !== null && (
        <p class="table-foot">
          <button type="button" class="link" onClick={onMore}>
            Show older ones
          </button>
        </p>
      )}
    </>
  );
}

function Nothing({ status }: { status: SuggestionStatus }) {
  if (status !== "proposed") return <p class="waiting">No suggestion was {STATUSES[status].name} so far.</p>;
  return (
    <div class="waiting">
      <p>Nothing is suggested at present.</p>
      <p>
        “Look now” says of each target why: often its curve is not measured yet, which takes some minutes of
        traffic, or its agent may not change it. <a href={pageHref("caches")}>See the caches</a> that are
        watched.
      </p>
    </div>
  );
}
