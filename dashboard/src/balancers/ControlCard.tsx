/** Standing control of a pool: whether weights follow the load, within what, what was pushed, and how to stop it. */
import { useSignal } from "@preact/signals";
import {
  type Control,
  type ControlledBalancer,
  type ControlOrder,
  controlAsker,
  orderControl,
} from "../api/control";
import { moment } from "../lib/format";
import { serverNow } from "../state/clock";
import { nodeHref, pageHref } from "../state/route";
import { usePoller } from "../state/usePoller";
import { Dialog } from "../ui/Dialog";
import { Figure } from "../ui/Figure";
import { OldFigures } from "../ui/OldFigures";
import { Pill } from "../ui/Pill";
import { HOLD_STATES, historyRows, ordersFor, paceWords, question, stateWord, weightRows } from "./control";
import { PushHistory } from "./PushHistory";

const POLL_MS = 3_000;

export function ControlSection({ pool }: { pool: string }) {
  const poller = usePoller(`control ${pool}`, () => ({
    everyMs: POLL_MS,
    kinds: ["balancer", "rollout", "policy"],
    ask: controlAsker(pool),
  }));
  const known = poller.value.value;
  return (
    <section class="section" id="section-control">
      <h2>Standing control</h2>
      <OldFigures source={poller} />
      {!known && !poller.problem.value && <p class="waiting">Waiting for the collector…</p>}
      {known &&
        (known.control ? (
          <>
            <ControlCard control={known.control} onDone={poller.pollNow} />
            <PushHistory control={known.control} rows={historyRows(known.control, known.decisions)} />
          </>
        ) : (
          <div class="panel muted" data-control="none">
            <p>
              Flyball does not follow the load here. That begins with a{" "}
              <a href={pageHref("suggestions")}>suggestion of weights</a> that somebody confirms, once it has
              proven right: from then on weights are pushed within what was confirmed, without asking again.
            </p>
          </div>
        ))}
    </section>
  );
}

function ControlCard({ control, onDone }: { control: Control; onDone(): void }) {
  const word = stateWord(control);
  const { shift, pushes } = paceWords(control);
  const standing = control.balancers.filter(({ state }) => state === "standing").length;
  return (
    <figure class="panel control" data-control={control.state}>
      <div class="control-head">
        <Pill tone={word.tone}>{word.name}</Pill>
        <p>{word.meaning}</p>
        <Orders control={control} onDone={onDone} />
      </div>
      <Stopped control={control} />
      <dl class="facts">
        <Figure name="Since">{moment(control.since_ms, serverNow())}</Figure>
        <Figure name="Confirmed with" help="The rollout whose promotion began it">
          <a href={pageHref("rollouts", control.rollout_id)}>{control.rollout_id}</a>
        </Figure>
        <Figure name="Pushes" help="Since it began">
          {control.pushes}
        </Figure>
        <Figure name="One push moves at most" help="As it was confirmed">
          {shift}
        </Figure>
        <Figure name="Pushes a minute at most" help="As it was confirmed">
          {pushes}
        </Figure>
        <Figure
          name="Balancers heard"
          help="Of those under control. Nothing is pushed without more than half of them"
          tone={standing > 0 && control.heard * 2 <= standing ? "bad" : undefined}
        >
          {control.heard} of {standing}
        </Figure>
      </dl>
      <div class="control-tables">
        <Weights control={control} />
        <Balancers all={control.balancers} />
      </div>
    </figure>
  );
}

/** Who stopped it, when and why. */
function Stopped({ control: { state, frozen } }: { control: Control }) {
  if (!frozen) return null;
  const what = state === "killed" ? "Kill switch used" : "Frozen";
  const reason = frozen.reason && (frozen.by_person ? `: “${frozen.reason}”` : `: ${frozen.reason}`);
  return (
    <p class="control-stopped" data-frozen-by={frozen.by_person ? "person" : "itself"}>
      {what} by <b>{frozen.by}</b> at {moment(frozen.at_ms, serverNow())}
      {reason}
    </p>
  );
}

function Orders({ control, onDone }: { control: Control; onDone(): void }) {
  const asked = useSignal<ControlOrder | null>(null);
  const order = asked.value;
  const words = order && question(control, order);
  return (
    <>
      <div class="decide">
        {ordersFor(control).map((each) => {
          const { button, isDangerous } = question(control, each);
          return (
            <button
              key={each}
              type="button"
              class={isDangerous ? "danger" : undefined}
              onClick={() => (asked.value = each)}
            >
              {button}
            </button>
          );
        })}
      </div>
      {order && words && (
        <Dialog
          title={words.title}
          action={words.action}
          isDangerous={words.isDangerous ?? false}
          onDo={async (note) => {
            await orderControl(control.pool, order, note);
            onDone();
          }}
          onClose={() => (asked.value = null)}
        >
          {words.about.map((text) => (
            <p key={text}>{text}</p>
          ))}
        </Dialog>
      )}
    </>
  );
}

function Weights({ control }: { control: Control }) {
  const isOver = control.state === "killed" || control.state === "let_go";
  return (
    <table class="list control-weights">
      <thead>
        <tr>
          <th scope="col">Weight</th>
          <th scope="col" class="num" title="Least and largest weight that may be pushed">
            Confirmed
          </th>
          <th scope="col" class="num" title="What is wanted of the balancers">
            {isOver ? "Last" : "Wanted"}
          </th>
          <th scope="col" class="num" title="From before control: what the kill switch wants back">
            Configured
          </th>
        </tr>
      </thead>
      <tbody>
        {weightRows(control).map(({ parameter, name, bounds, wanted, configured }) => (
          <tr key={parameter} data-weight={parameter}>
            <th scope="row" title={parameter}>
              {name}
            </th>
            <td class="num">{bounds}</td>
            <td class="num">
              <b>{wanted}</b>
            </td>
            <td class="num">{configured}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Balancers({ all }: { all: readonly ControlledBalancer[] }) {
  return (
    <table class="list control-balancers">
      <thead>
        <tr>
          <th scope="col">Balancer</th>
          <th scope="col">State</th>
        </tr>
      </thead>
      <tbody>
        {all.map(({ target, state, reason }) => {
          const word = HOLD_STATES[state];
          return (
            <tr key={target.id} data-controlled={target.id} data-hold={state}>
              <th scope="row">
                {target.name} <a href={nodeHref(target.node)}>{target.node}</a>
              </th>
              <td>
                <Pill tone={word.tone} help={word.meaning}>
                  {word.name}
                </Pill>
                {reason && <small>{reason}</small>}
              </td>
            </tr>
          );
        })}
      </tbody>
    </table>
  );
}
