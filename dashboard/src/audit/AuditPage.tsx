/** Who decided what, when, from where and why; and whether the log of it is whole. */
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type Decisions, fetchAudit } from "../api/changes";
import type { AuditEntry, JournalState } from "../api/steering";
import { STATES, STATUSES, wordsOf } from "../changes/words";
import { moment } from "../lib/format";
import { nowMs } from "../state/clock";
import { pageHref, route } from "../state/route";
import { usePoller } from "../state/usePoller";
import { OldFigures } from "../ui/OldFigures";
import { Pill, type Tone } from "../ui/Pill";
import { Verify } from "./Verify";
import { actorWords, journalWords, subjectPage } from "./words";

const POLL_MS = 15_000;

/** The first `pages` pages as one; how the log is, is that of the first. */
async function ask(subject: string, pages: number, signal: AbortSignal): Promise<Decisions> {
  const first = await fetchAudit({ subject, cursor: null }, signal);
  const { items, journal } = first;
  let { next } = first;
  for (let page = 1; page < pages && next !== null; page += 1) {
    const more: Decisions = await fetchAudit({ subject, cursor: next }, signal);
    items.push(...more.items);
    next = more.next;
  }
  return { items, next, journal };
}

export function AuditPage() {
  const subject = route.value.id;
  return <Log key={subject} subject={subject} />;
}

function Log({ subject }: { subject: string }) {
  const pages = useSignal(1);
  const poller = usePoller(String(pages.value), () => ({
    everyMs: POLL_MS,
    kinds: ["suggestion", "rollout"],
    ask: (signal) => ask(subject, pages.peek(), signal),
  }));
  useEffect(() => {
    document.title = "Audit · Flyball";
  }, []);
  const known = poller.value.value;
  return (
    <div class="changes" data-audit={subject}>
      <h1>Audit</h1>
      <p class="lead muted">
        Every decision ever made, the newest first: who, when, from where and why. Each row carries the hash
        of the one before, so that none can be changed or taken out unseen.
      </p>
      {subject && (
        <p>
          Only what is about <code>{subject}</code>. <a href={pageHref("audit")}>Show all</a>
        </p>
      )}
      {known && <Journal journal={known.journal} />}
      <Verify />
      <OldFigures source={poller} />
      {!known && !poller.problem.value && <p class="waiting">Waiting for the collector…</p>}
      {known && <Entries entries={known.items} />}
      {known && known.next !== null && (
        <p class="table-foot">
          <button type="button" class="link" onClick={() => (pages.value += 1)}>
            Show older ones
          </button>
        </p>
      )}
    </div>
  );
}

function Journal({ journal }: { journal: JournalState }) {
  const words = journalWords(journal);
  if (!words) return null;
  return (
    <p class="problem" role="alert">
      {words}
    </p>
  );
}

function Entries({ entries }: { entries: readonly AuditEntry[] }) {
  if (entries.length === 0) return <p class="waiting">Nothing was decided so far.</p>;
  return (
    <section
      class="scroll"
      aria-label="Decisions"
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a box that scrolls must be reachable by keyboard
      tabIndex={0}
    >
      <table class="list audit-list">
        <thead>
          <tr>
            <th scope="col" class="num">
              No.
            </th>
            <th scope="col">When</th>
            <th scope="col">Who</th>
            <th scope="col">About</th>
            <th scope="col">State</th>
            <th scope="col">Why</th>
          </tr>
        </thead>
        <tbody>
          {entries.map((entry) => (
            <Row key={entry.sequence} entry={entry} />
          ))}
        </tbody>
      </table>
    </section>
  );
}

const TONES: Readonly<Record<string, Tone>> = { locked: "bad", cooling: "warn", free: "good" };

function Row({ entry }: { entry: AuditEntry }) {
  const {
    sequence,
    at_ms: atMs,
    subject,
    subject_id: id,
    from_state: from,
    to_state: to,
    reason,
    hash,
  } = entry;
  const page = subjectPage(subject);
  const words = wordsOf({ ...STATUSES, ...STATES }, to);
  return (
    <tr data-sequence={sequence}>
      <td class="num" title={`hash ${hash}`}>
        {sequence}
      </td>
      <td class="a-when">
        <time dateTime={new Date(atMs).toISOString()}>{moment(atMs, nowMs.peek())}</time>
      </td>
      <td>{actorWords(entry)}</td>
      <td class="a-about">
        {page ? <a href={pageHref(page, id)}>{id}</a> : id}
        {entry.target && subject !== "target" && <small>{entry.target.name}</small>}
      </td>
      <td class="a-state">
        {from && from !== to && <span class="muted">{from.replaceAll("_", " ")} → </span>}
        <Pill tone={TONES[to] ?? words.tone} help={words.meaning}>
          {words.name}
        </Pill>
      </td>
      <td class="a-why">{reason}</td>
    </tr>
  );
}
