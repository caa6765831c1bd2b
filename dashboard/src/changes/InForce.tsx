/** What is wanted of a target, what is in force there, and why they differ where they do. */
import { fetchPolicy } from "../api/changes";
import type { NodePolicy, Target, TargetPolicy } from "../api/steering";
import { pageHref } from "../state/route";
import { usePoller } from "../state/usePoller";
import { OldFigures } from "../ui/OldFigures";
import { Pill, type Tone } from "../ui/Pill";
import { outcomeWords, settingRows } from "./inForce";
import { parameterWords, settingText } from "./values";

const POLL_MS = 15_000;

export function InForce({ target }: { target: Pick<Target, "node" | "kind" | "name"> }) {
  const { node, kind, name } = target;
  const poller = usePoller(node, () => ({
    everyMs: POLL_MS,
    kinds: ["policy", "rollout"],
    ask: (signal) => fetchPolicy(node, signal),
  }));
  const policy = poller.value.value;
  const found = policy?.targets.find((each) => each.kind === kind && each.name === name);
  return (
    <figure class="panel in-force" data-in-force={found?.result ?? undefined}>
      <figcaption>
        <h3>What is in force</h3>
        {policy && <Agent policy={policy} />}
      </figcaption>
      <OldFigures source={poller} />
      {!policy && !poller.problem.value && (
        <p class="muted">
          {poller.updatedMs.value > 0 ? "Its agent does not watch for changes here." : "Waiting…"}
        </p>
      )}
      {policy && (found ? <Settings found={found} /> : <p class="muted">Nothing may be set there.</p>)}
    </figure>
  );
}

function Agent({ policy: { connected } }: { policy: NodePolicy }) {
  return connected ? (
    <Pill tone="good" help="Its agent follows what is wanted.">
      agent watches
    </Pill>
  ) : (
    <Pill tone="bad" help="Changes on trial are put back by its agent.">
      agent away
    </Pill>
  );
}

const RESULTS: Readonly<Record<string, Tone>> = { applied: "good", applying: "warn" };

function Settings({ found }: { found: TargetPolicy }) {
  const rows = settingRows(found);
  return (
    <>
      {rows.length > 0 && (
        <table class="list changes-table">
          <thead>
            <tr>
              <th scope="col">Setting</th>
              <th scope="col" class="num">
                In force
              </th>
              <th scope="col" class="num">
                Wanted
              </th>
            </tr>
          </thead>
          <tbody>
            {rows.map(({ parameter, inForce, wanted }) => (
              <tr key={parameter}>
                <th scope="row">
                  {parameterWords(parameter)} <code>{parameter}</code>
                </th>
                <td class="num">{inForce === null ? "–" : settingText(parameter, inForce, "")}</td>
                <td class="num">{wanted === null ? "as it is" : settingText(parameter, wanted, "")}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <p class="muted">
        {found.result && <Pill tone={RESULTS[found.result] ?? "bad"}>{found.result}</Pill>}{" "}
        {outcomeWords(found)}{" "}
        {found.rollout_id && <a href={pageHref("rollouts", found.rollout_id)}>By this rollout</a>}
      </p>
    </>
  );
}
