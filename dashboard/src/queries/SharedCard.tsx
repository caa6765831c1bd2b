/** The cache in Redis, or how to have one. */
import type { BreakerState, SharedStats } from "../api/performance";
import { count } from "../lib/format";
import { Figure } from "../ui/Figure";
import { sharedOutcomesOf } from "./outcomes";
import { Card, Outcomes, Ratio } from "./parts";
import { TrafficChart } from "./TrafficChart";
import type { Step } from "./traffic";

const TITLE = "Parts of answers in Redis";
const ABOUT = "Shared by all collectors that have the same Redis.";

const BREAKER: Record<BreakerState, { tone: "good" | "warn" | "bad"; text: string }> = {
  closed: { tone: "good", text: "breaker closed: requests go to Redis" },
  half_open: { tone: "warn", text: "breaker half open: some requests try Redis" },
  open: { tone: "bad", text: "breaker open: requests skip Redis" },
};

export function SharedCard({ stats, steps }: { stats: SharedStats | null; steps: readonly Step[] }) {
  if (!stats)
    return (
      <Card id="l2" title={TITLE} about={ABOUT}>
        <p class="off">
          Switched off: start the collector with <code>--redis redis://HOST:PORT</code> to share parts of
          answers between collectors and keep them over a restart.
        </p>
      </Card>
    );
  const breaker = BREAKER[stats.breaker] ?? { tone: "warn", text: `breaker ${stats.breaker}` };
  const badge = (
    <span class="pill" data-tone={breaker.tone} data-breaker={stats.breaker}>
      {breaker.text}
    </span>
  );
  return (
    <Card id="l2" title={TITLE} about={ABOUT} badge={badge} data={{ hits: stats.hits }}>
      <div class="layer-top">
        <Ratio ratio={stats.hit_ratio} steps={steps} layer="l2" />
        <LinkFacts stats={stats} />
      </div>
      <TrafficChart layer="l2" title={TITLE} steps={steps} outcomes={["hits", "misses"]} />
      <div class="layer-figures">
        <Outcomes rows={sharedOutcomesOf(stats)} title={TITLE} />
        <SharedFacts stats={stats} />
      </div>
    </Card>
  );
}

function LinkFacts({ stats }: { stats: SharedStats }) {
  return (
    <dl class="facts link-facts">
      <Figure name="Connection" tone={stats.connected ? "good" : "bad"}>
        {stats.connected ? "connected" : "not connected"}
      </Figure>
      <Figure
        name="Other collectors"
        tone={stats.heard ? "good" : "warn"}
        help="Whether their invalidations are heard"
      >
        {stats.heard ? "heard" : "not heard: values are trusted for less long"}
      </Figure>
    </dl>
  );
}

function SharedFacts({ stats }: { stats: SharedStats }) {
  const bad = (value: number, tone: "warn" | "bad" = "warn") => (value > 0 ? tone : undefined);
  return (
    <dl class="facts">
      <Figure
        name="Refused"
        tone={bad(stats.refused, "bad")}
        help="Values that are none of ours, or were tampered with; they were not used"
      >
        {count(stats.refused)} foreign or tampered
      </Figure>
      <Figure name="Errors" tone={bad(stats.errors)} help="Requests that failed">
        {count(stats.errors)}
      </Figure>
      <Figure name="Timeouts" tone={bad(stats.timeouts)} help="Requests that took too long">
        {count(stats.timeouts)}
      </Figure>
      <Figure name="Skipped" tone={bad(stats.skipped)} help="Requests that were not sent to Redis">
        {count(stats.skipped)}
      </Figure>
      <Figure name="Breaker opened" tone={bad(stats.breaker_opened)}>
        {count(stats.breaker_opened)} {stats.breaker_opened === 1 ? "time" : "times"}
      </Figure>
      <Figure name="Written" help="Values written; the others were too large, or it failed">
        {count(stats.written)}
        {stats.not_written > 0 && `, ${count(stats.not_written)} not`}
      </Figure>
      <Figure
        name="Leases"
        help="Loadings that another collector was doing, and those whose value came in time"
      >
        {count(stats.leases_taken)}, {count(stats.leases_waited)} in time
      </Figure>
      <Figure name="Messages" help="About invalidations">
        {count(stats.messages_sent)} sent, {count(stats.messages_heard)} heard
        {stats.unsent > 0 && `, ${count(stats.unsent)} waiting`}
      </Figure>
      <Figure name="Gaps" tone={bad(stats.gaps)} help="Times that messages may have been missed">
        {count(stats.gaps)}
      </Figure>
    </dl>
  );
}
