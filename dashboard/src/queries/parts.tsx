/** Pieces that the cards of all layers share. */
import type { ComponentChildren } from "preact";
import { bytes, count, format, percent } from "../lib/format";
import { Meter } from "../ui/Meter";
import type { OutcomeRow } from "./outcomes";
import { type Layer, recentRatio, type Step } from "./traffic";

interface CardProps {
  id: string;
  title: string;
  about: string;
  badge?: ComponentChildren;
  children: ComponentChildren;
  /** Figures for programs that look at the page. */
  data?: Record<string, string | number>;
}

export function Card({ id, title, about, badge, children, data = {} }: CardProps) {
  const attributes = Object.fromEntries(Object.entries(data).map(([name, value]) => [`data-${name}`, value]));
  return (
    <article class="panel layer" aria-labelledby={`layer-${id}`} data-layer={id} {...attributes}>
      <header class="layer-head">
        <h3 id={`layer-${id}`}>{title}</h3>
        {badge}
        <p>{about}</p>
      </header>
      {children}
    </article>
  );
}

/** The hit ratio since the start, and the one of the minutes in view. */
export function Ratio({
  ratio,
  steps,
  layer,
}: {
  ratio: number | null;
  steps: readonly Step[];
  layer: Layer;
}) {
  const recent = recentRatio(steps, layer);
  return (
    <p class="big">
      <b>{format(ratio, "ratio")}</b>
      <span>
        {ratio === null ? "hit ratio: nothing was asked yet" : "hit ratio since the start"}
        {recent !== null && <small>{percent(recent)} in the minutes below</small>}
      </span>
    </p>
  );
}

/** Bytes in use as a meter. A cache that is full is as it should be, so it never warns. */
export function BytesMeter({ used, most }: { used: number; most: number }) {
  const ratio = most > 0 ? used / most : null;
  const text = most > 0 ? `${bytes(used)} of ${bytes(most)} (${percent(used / most)})` : "switched off";
  return (
    <div
      class="bytes-meter"
      role="meter"
      aria-label="Bytes in use"
      aria-valuemin={0}
      aria-valuemax={most}
      aria-valuenow={used}
      aria-valuetext={text}
    >
      <Meter ratio={ratio} warn={2} alarm={2} />
      <span class="num">{text}</span>
    </div>
  );
}

/** Outcomes by reason; what is counted besides has no bar. */
export function Outcomes({ rows, title }: { rows: readonly OutcomeRow[]; title: string }) {
  return (
    <table class="outcomes" aria-label={`Outcomes of ${title}`}>
      <thead class="sr">
        <tr>
          <th scope="col">Outcome</th>
          <th scope="col">Share</th>
          <th scope="col">Count</th>
        </tr>
      </thead>
      <tbody>
        {rows.map(({ id, name, help, count: number, share, kind }) => (
          <tr key={id} data-outcome={id} data-kind={kind} data-zero={number === 0 || undefined}>
            <th scope="row" title={help}>
              {name}
            </th>
            <td class="share">
              {kind === "besides" ? (
                <small>of the missed</small>
              ) : (
                <>
                  <span class="bar" aria-hidden="true">
                    <i style={{ transform: `scaleX(${share ?? 0})` }} />
                  </span>
                  <span class="num">{format(share, "ratio")}</span>
                </>
              )}
            </td>
            <td class="num">{count(number)}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
