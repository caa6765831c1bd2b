/** Where the node's samples are: produced = stored + waiting + given up, and how full the spool is. */
import type { ComponentChildren } from "preact";
import { reasonWords } from "../alerts/words";
import type { Accounting } from "../api/types";
import { ago, bytes, count, percent } from "../lib/format";
import { nowMs } from "../state/clock";
import { Meter } from "../ui/Meter";

/** Samples given up for any reason. */
export function shedTotal(account: Accounting): number {
  return Object.values(account.shed).reduce((sum, samples) => sum + samples, 0);
}

/** One sentence on whether every sample is accounted for. */
export function verdict(account: Accounting): { text: string; tone: "good" | "bad" | "warn" } {
  const shed = shedTotal(account);
  if (account.gap > 0) return { text: `${exact(account.gap)} unaccounted for`, tone: "bad" };
  if (account.gap < 0) return { text: `${exact(-account.gap)} counted twice`, tone: "bad" };
  if (shed > 0) return { text: `all accounted for, ${exact(shed)} given up`, tone: "warn" };
  return { text: "all accounted for", tone: "good" };
}

const exact = (samples: number): string => samples.toLocaleString("en");

export function Account({ account }: { account: Accounting | null | undefined }) {
  if (!account) return <p class="waiting">The agent has not reported to this collector yet.</p>;
  const { text, tone } = verdict(account);
  const shed = shedTotal(account);
  return (
    <div class="account" data-tone={tone} data-gap={account.gap}>
      <p class="account-verdict">
        <span class="pill" data-tone={tone}>
          {text}
        </span>
        <span class="last-word">
          since the spool was made · reported <Ago tsMs={account.reported_ms} />
        </span>
      </p>
      <div class="equation" role="group" aria-label="Produced equals stored plus waiting plus given up">
        <Term name="produced" help="Samples the agent has measured and encoded" value={account.produced} />
        <span class="sign">=</span>
        <Term name="stored" help="Acknowledged by a collector: on ClickHouse's disk" value={account.stored} />
        <span class="sign">+</span>
        <Term
          name="waiting"
          help="In the agent's spool until a collector acknowledges them"
          value={account.in_flight}
        />
        <span class="sign">+</span>
        <Term
          name="given up"
          help="Lost for good, by reason"
          value={shed}
          tone={shed > 0 ? "warn" : undefined}
        />
        {account.gap !== 0 && (
          <>
            <span class="sign">{account.gap > 0 ? "+" : "−"}</span>
            <Term name="unexplained" help="This should be zero" value={Math.abs(account.gap)} tone="bad" />
          </>
        )}
      </div>
      {shed > 0 && <Reasons shed={account.shed} />}
      <Spool account={account} />
    </div>
  );
}

interface TermProps {
  name: string;
  help: string;
  value: number;
  tone?: "bad" | "warn" | undefined;
}

function Term({ name, help, value, tone }: TermProps) {
  return (
    <span class="term" title={`${exact(value)}: ${help}`} data-tone={tone}>
      <b>{count(value)}</b>
      <small>{name}</small>
    </span>
  );
}

function Reasons({ shed }: { shed: Accounting["shed"] }) {
  return (
    <ul class="reasons">
      {Object.entries(shed)
        .filter(([, samples]) => samples > 0)
        .map(([reason, samples]) => (
          <li key={reason} title={reason}>
            <b>{exact(samples)}</b> {reasonWords(reason)}
          </li>
        ))}
    </ul>
  );
}

function Spool({ account }: { account: Accounting }) {
  const { spool_bytes: used, spool_limit_bytes: limit, clock_steps: steps } = account;
  const ratio = limit > 0 ? used / limit : null;
  const jumps = steps.forward + steps.backward;
  return (
    <dl class="facts">
      <Fact name="Spool">
        <span class="spool">
          <Meter ratio={ratio} warn={0.6} alarm={0.8} />
          {bytes(used)}
          {limit > 0 && ` of ${bytes(limit)} (${percent(used / limit)})`}
        </span>
      </Fact>
      <Fact name="Backlog">
        {account.backlog_segments > 0
          ? `${account.backlog_segments} ${account.backlog_segments === 1 ? "segment" : "segments"} to send`
          : "none"}
      </Fact>
      {account.oldest_unacked_ms !== null && account.in_flight > 0 && (
        <Fact name="Oldest waiting sample">
          <Ago tsMs={account.oldest_unacked_ms} />
        </Fact>
      )}
      <Fact name="Damaged segments">{String(account.corrupt_segments)}</Fact>
      <Fact name="Clock jumps">
        {jumps === 0 ? "none" : `${steps.forward} forward, ${steps.backward} backward`}
      </Fact>
      {account.unspooled > 0 && <Fact name="In memory only">{exact(account.unspooled)} samples</Fact>}
    </dl>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}

/** Reads the ticking clock itself. */
function Ago({ tsMs }: { tsMs: number }) {
  return <>{ago(tsMs, nowMs.value)}</>;
}
