/** What another size would do for one layer: a sentence, and the curve that it comes from. */
import { useMemo } from "preact/hooks";
import type { LayerStats } from "../api/performance";
import { CurveChart } from "../chart/CurveChart";
import { bytes, percent } from "../lib/format";
import { curveLine, curveSentence, marksOf } from "./curve";

interface Props {
  id: string;
  title: string;
  layer: LayerStats;
}

export function CurvePanel({ id, title, layer }: Props) {
  const { curve, max_bytes: maxBytes } = layer;
  const sentence = curveSentence(curve, maxBytes);
  const hasCurve = curve.points.length > 0;
  return (
    <figure
      class="panel curve"
      data-curve={id}
      data-points={curve.points.length}
      data-best={curve.best_bytes}
    >
      <figcaption>
        <h3>{title}</h3>
        <p class="curve-sentence">{sentence}</p>
        {hasCurve && (
          <p>
            Predicted from a sample of the accesses, as if nothing ended before its time. A size holds what it
            had room for; more memory cannot serve what is asked only once.
          </p>
        )}
      </figcaption>
      {hasCurve && <Plot {...{ title, layer, sentence }} />}
    </figure>
  );
}

function Plot({ title, layer, sentence }: { title: string; layer: LayerStats; sentence: string }) {
  const { curve, max_bytes: maxBytes } = layer;
  const key = JSON.stringify([curve, maxBytes]);
  const shown = useMemo(
    () => ({
      ...curveLine(curve, maxBytes),
      yFrom: 0,
      yTo: 1,
      isStepped: true,
      marks: marksOf(curve, maxBytes),
    }),
    [key],
  );
  const read = (at: number): string => {
    const [x, ratio] = [shown.xs[at], shown.ratios[at]];
    return x !== undefined && ratio != null ? `${bytes(2 ** x)}: ${percent(ratio)}` : "";
  };
  return (
    <CurveChart label={`${title}: predicted hit ratio by size. ${sentence}`} shown={shown} read={read} />
  );
}
