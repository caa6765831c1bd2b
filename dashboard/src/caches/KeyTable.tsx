/** Keys that stand out, by the hash of their names. */
import type { KeyFinding } from "../api/steering";
import { format } from "../lib/format";

const KINDS = {
  hot: { name: "hot", meaning: "It gets a large share of the requests." },
  big: { name: "big", meaning: "It takes a large share of the memory." },
} as const;

export function KeyTable({ findings }: { findings: readonly KeyFinding[] }) {
  return (
    <figure class="panel" data-keys={findings.length}>
      <figcaption>
        <h3>Keys that stand out</h3>
        <p>
          {findings.length > 0
            ? "Names do not leave the host: each is shown by a hash with the agent's own salt, the same every time."
            : "None so far: no key gets or takes much more than the others."}
        </p>
      </figcaption>
      {findings.length > 0 && (
        <div class="plain-scroll">
          <table class="list">
            <thead>
              <tr>
                <th scope="col">Why</th>
                <th scope="col">Key</th>
                <th scope="col">Type</th>
                <th scope="col" class="num">
                  Size
                </th>
                <th scope="col" class="num">
                  Of all requests
                </th>
              </tr>
            </thead>
            <tbody>
              {findings.map((key) => (
                <tr key={`${key.kind} ${key.key_hash}`} data-kind={key.kind}>
                  <td title={KINDS[key.kind]?.meaning}>{KINDS[key.kind]?.name ?? key.kind}</td>
                  <td>
                    <code>{key.key_hash}</code>
                  </td>
                  <td>{key.type}</td>
                  <td class="num">{format(key.bytes || null, "bytes")}</td>
                  <td class="num">{format(key.share_of_requests || null, "ratio")}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </figure>
  );
}
