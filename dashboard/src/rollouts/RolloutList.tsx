/** Rollouts in short: what, where it stands, what the judge said last. */
import type { Rollout } from "../api/steering";
import { TargetLink } from "../changes/TargetLink";
import {
  isJudged,
  isOver,
  JUDGEMENTS,
  kindWords,
  STATES,
  stageWords,
  verdictWords,
  wordsOf,
} from "../changes/words";
import { ago, duration } from "../lib/format";
import { nowMs } from "../state/clock";
import { pageHref } from "../state/route";
import { Pill } from "../ui/Pill";
import { beginOf } from "./notes";
import { lastVerdict, rolloutTitle } from "./timeline";

export function RolloutList({ rollouts }: { rollouts: readonly Rollout[] }) {
  return (
    <ul class="cards" aria-label="Rollouts">
      {rollouts.map((rollout) => (
        <Item key={rollout.id} rollout={rollout} />
      ))}
    </ul>
  );
}

function Item({ rollout }: { rollout: Rollout }) {
  const { id, kind, target, members, state, attempt } = rollout;
  return (
    <li class="card" data-rollout={id} data-state={state}>
      <div class="card-what">
        <p class="card-title">
          <a href={pageHref("rollouts", id)}>{rolloutTitle(rollout)}</a>
        </p>
        <p class="muted">
          {kind && `${kindWords(kind)} of `}
          {target && <TargetLink target={target} members={members} />}
          {attempt > 1 && ` attempt ${attempt}`}
        </p>
      </div>
      <p class="card-verdict">
        <LastWord rollout={rollout} />
      </p>
      <p class="card-state">
        <RolloutStatePill rollout={rollout} />
        <small>
          <Times rollout={rollout} />
        </small>
      </p>
    </li>
  );
}

export function RolloutStatePill({ rollout: { state, paused } }: { rollout: Rollout }) {
  const words = wordsOf(STATES, state);
  return (
    <>
      <Pill tone={words.tone} help={words.meaning}>
        {words.name}
      </Pill>
      {paused && !isOver(state) && <Pill tone="warn">paused</Pill>}
    </>
  );
}

/** Why it ended, else what the judge said last, else where it is. The judge's word only where it is the reason. */
function LastWord({ rollout }: { rollout: Rollout }) {
  const { reason, stage } = rollout;
  const verdict = lastVerdict(rollout);
  if (!verdict || (reason && !isJudged(reason))) return <>{reason || stageWords(stage)}</>;
  return (
    <>
      <Pill tone={wordsOf(JUDGEMENTS, verdict.result).tone}>{verdict.result}</Pill> {verdictWords(verdict)}
    </>
  );
}

/** Reads the ticking clock itself. */
function Times({ rollout }: { rollout: Rollout }) {
  const begin = beginOf(rollout);
  if (begin === null) return null;
  const { ended_at_ms: ended } = rollout;
  if (ended != null)
    return <>{`${ago(ended, nowMs.value)}, took ${duration(Math.max(1000, ended - begin))}`}</>;
  return <>{`began ${ago(begin, nowMs.value)}`}</>;
}
