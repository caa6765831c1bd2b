/** The waves of a rollout of several like caches: a row for each cache, with when it changed and when it was compared with. */
import type { Rollout, Target } from "../api/steering";
import { TargetLink } from "../changes/TargetLink";
import { MEMBER_STATES, wordsOf } from "../changes/words";
import { moment } from "../lib/format";
import { placeOn } from "../lib/scale";
import { nowMs } from "../state/clock";
import { Pill } from "../ui/Pill";
import { type Span, timeOf, type WaveRow, type WaveShown, wavesOf, wavesSentence } from "./waves";

interface Props {
  rollout: Rollout;
}

export function Waves({ rollout }: Props) {
  // What is over does not move with the time.
  const now = rollout.ended_at_ms ?? nowMs.value;
  const time = timeOf(rollout, now);
  return (
    <section class="section" id="section-waves">
      <h2>Waves</h2>
      <p class="muted">
        {wavesSentence(rollout)} The order is a hash, so nobody chooses the canary. <b class="key changed" />{" "}
        changed, <b class="key control" /> not changed yet and compared with.
      </p>
      <ol class="waves">
        {wavesOf(rollout, now).map((wave) => (
          <Wave key={wave.place} wave={wave} time={time} />
        ))}
      </ol>
    </section>
  );
}

interface WaveProps {
  wave: WaveShown;
  time: { fromMs: number; toMs: number };
}

function Wave({ wave: { place, name, state, beganMs, controls, rows }, time }: WaveProps) {
  return (
    <li data-wave={place} data-tone={state.tone}>
      <p class="wave-head">
        <b>{name}</b>{" "}
        <Pill tone={state.tone} help={state.meaning}>
          {state.name}
        </Pill>{" "}
        <span class="muted">
          {beganMs !== null && `began ${moment(beganMs, nowMs.peek())}, `}
          <Compared controls={controls} />
        </span>
      </p>
      {rows.map((row) => (
        <Row key={row.member.target.id} row={row} time={time} />
      ))}
    </li>
  );
}

function Compared({ controls }: { controls: readonly Target[] }) {
  if (controls.length === 0) return <>compared with what was promised: none is left as it was</>;
  return (
    <>
      compared with{" "}
      {controls.map((target, at) => (
        <span key={target.id}>
          {at > 0 && ", "}
          {target.name} on {target.node}
        </span>
      ))}
    </>
  );
}

function Row({ row: { member, spans }, time }: { row: WaveRow } & Pick<WaveProps, "time">) {
  const { target, state, locked } = member;
  const words = wordsOf(MEMBER_STATES, state);
  return (
    <div class="wave-row" data-member={target.id} data-state={state}>
      <span class="wave-name">
        <TargetLink target={target} />
      </span>
      <span class="wave-track">
        {spans.map((span) => (
          <Bar key={span.fromMs} span={span} time={time} />
        ))}
      </span>
      <span class="wave-state" title={words.meaning}>
        {words.name}
        {locked && <Pill tone="bad">locked</Pill>}
      </span>
    </div>
  );
}

const SPANS: Readonly<Record<Span["kind"], string>> = {
  changed: "changed",
  control: "not changed, compared with",
};

function Bar({ span: { kind, fromMs, toMs }, time }: { span: Span } & Pick<WaveProps, "time">) {
  const scale = { from: time.fromMs, to: time.toMs };
  const [left, right] = [placeOn(scale, fromMs), placeOn(scale, toMs)];
  const when = `${moment(fromMs, nowMs.peek())} to ${moment(toMs, nowMs.peek())}`;
  return (
    <i
      class="wave-bar"
      role="img"
      data-kind={kind}
      style={{ left: `${(left * 100).toFixed(2)}%`, width: `${((right - left) * 100).toFixed(2)}%` }}
      title={`${SPANS[kind]}, ${when}`}
      aria-label={`${SPANS[kind]}, ${when}`}
    />
  );
}
