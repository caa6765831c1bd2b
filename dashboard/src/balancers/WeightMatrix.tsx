/** Weights in force, a row for each balancer and a column for each backend, and what weights mean there. */
import type { Placement, Pool, PoolMember } from "../api/balancers";
import { percent, UNKNOWN } from "../lib/format";
import { nodeHref } from "../state/route";
import { algorithms, BACKEND_STATES, MEANINGS } from "./words";

export function WeightMatrix({ pool }: { pool: Pool }) {
  return (
    <figure class="panel weight-matrix">
      <figcaption>
        <h3>Weights in force</h3>
        <p>As each balancer was read back, with the share of its own requests that the backend got.</p>
      </figcaption>
      <div class="plain-scroll">
        <table class="list">
          <thead>
            <tr>
              <th scope="col">Balancer</th>
              {pool.backends.map(({ id }) => (
                <th key={id} scope="col" class="num">
                  {id}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {pool.members.map((member) => (
              <MemberRow key={member.id} member={member} pool={pool} />
            ))}
          </tbody>
        </table>
      </div>
    </figure>
  );
}

function MemberRow({ member, pool }: { member: PoolMember; pool: Pool }) {
  return (
    <tr data-member={member.id} data-missing={member.missing ?? undefined}>
      <th scope="row">
        {member.name} <a href={nodeHref(member.node)}>{member.node}</a>
        <small>
          {member.kind}, {member.algorithm}
        </small>
        {member.missing !== null && <p class="cache-reason">{member.missing}</p>}
      </th>
      {pool.backends.map(({ id, placements }) => (
        <Cell key={id} placement={placements.find(({ balancer }) => balancer === member.id)} />
      ))}
    </tr>
  );
}

function Cell({ placement }: { placement: Placement | undefined }) {
  if (!placement) return <td class="num muted">{UNKNOWN}</td>;
  const { state, weight, weight_wanted: wanted, share } = placement;
  const isReady = state === "ready";
  return (
    <td class="num" data-state={state} title={BACKEND_STATES[state].meaning}>
      <b>{weight}</b>
      {wanted !== null && wanted !== weight && <small data-tone="warn">wanted {wanted}</small>}
      <small>{isReady ? (share === null ? UNKNOWN : percent(share)) : BACKEND_STATES[state].name}</small>
    </td>
  );
}

/** How the balancers share requests, and what another weight would do there. */
export function Meanings({ pool }: { pool: Pool }) {
  return (
    <figure class="panel weight-meanings">
      <figcaption>
        <h3>What weights mean here</h3>
      </figcaption>
      <dl>
        {algorithms(pool).map(({ member, names }) => (
          <div key={`${member.algorithm} ${member.weights}`} data-weights={member.weights}>
            <dt>
              <b>{member.algorithm || "unknown"}</b> <small>{names.join(", ")}</small>
            </dt>
            <dd>
              {MEANINGS[member.weights].words}
              {member.weights_note && <small>{member.weights_note}</small>}
            </dd>
          </div>
        ))}
      </dl>
    </figure>
  );
}
