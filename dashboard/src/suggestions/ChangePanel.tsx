/** What a suggestion changes: the settings of one cache, or of each of several. */
import type { Change, Member, Suggestion } from "../api/steering";
import { TargetLink } from "../changes/TargetLink";
import { changeSize, parameterWords, settingText } from "../changes/values";
import { placeWords } from "../changes/words";

export function ChangePanel({ suggestion }: { suggestion: Suggestion }) {
  const members = suggestion.members ?? [];
  const isGroup = members.length > 1;
  return (
    <figure class="panel" data-panel="changes">
      <figcaption>
        <h3>What changes</h3>
        {isGroup && (
          <p>
            {members.length} caches on {placeWords(members)}, in waves: one or a few first, compared with
            those that wait.
          </p>
        )}
      </figcaption>
      <div class={isGroup ? "members" : undefined}>
        <table class="list changes-table">
          <thead>
            <tr>
              <th scope="col">{isGroup ? "Cache" : "Setting"}</th>
              <th scope="col" class="num">
                Now
              </th>
              <th scope="col" class="num">
                Then
              </th>
              <th scope="col" class="num">
                <span class="sr">Difference</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {isGroup
              ? members.map((member) => <MemberRows key={member.target.id} member={member} />)
              : suggestion.change.map((change) => <Row key={change.parameter} change={change} />)}
          </tbody>
        </table>
      </div>
    </figure>
  );
}

function MemberRows({ member }: { member: Member }) {
  return (
    <>
      {member.change.map((change) => (
        <Row key={change.parameter} change={change} member={member} />
      ))}
    </>
  );
}

function Row({ change, member }: { change: Change; member?: Member }) {
  const { parameter, from, to, unit } = change;
  return (
    <tr data-parameter={parameter} data-member={member?.target.id}>
      <th scope="row">
        {member ? (
          <>
            <TargetLink target={member.target} /> <small class="muted">{parameterWords(parameter)}</small>
          </>
        ) : (
          <>
            {parameterWords(parameter)} <code>{parameter}</code>
          </>
        )}
      </th>
      <td class="num">{settingText(parameter, from, unit)}</td>
      <td class="num">
        <b>{settingText(parameter, to, unit)}</b>
      </td>
      <td class="num muted">{changeSize(change)}</td>
    </tr>
  );
}
