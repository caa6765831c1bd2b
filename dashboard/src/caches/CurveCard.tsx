/** The measured hit ratio by size, with its band and its end. */
import { useMemo } from "preact/hooks";
import type { CacheInfo } from "../api/steering";
import { CurveChart } from "../chart/CurveChart";
import { ago } from "../lib/format";
import { nowMs } from "../state/clock";
import { curveShown, curveWords, pointWords } from "./curve";

export function CurveCard({ cache }: { cache: CacheInfo }) {
  const { curve, max_bytes: most } = cache;
  const words = curveWords(curve, most);
  const key = JSON.stringify([curve, most]);
  const shown = useMemo(() => curve && curveShown(curve, most), [key]);
  const hasCurve = shown !== null && shown.xs.length > 1;
  const read = (at: number): string => (curve && shown ? pointWords(curve, shown, at) : "");
  return (
    <figure class="panel curve" data-curve="cache" data-points={curve?.points.length ?? 0}>
      <figcaption>
        <h3>Another size</h3>
        <p class="curve-sentence">{words}</p>
        {hasCurve && curve && (
          <p>
            Hit ratio by memory limit, measured <Age tsMs={curve.measured_at_ms} />
            {curve.method && ` by ${curve.method}`}. The band holds the truth in nine cases of ten; hatched
            sizes could not be measured.
          </p>
        )}
      </figcaption>
      {hasCurve && shown && (
        <CurveChart label={`Hit ratio by memory limit. ${words}`} shown={shown} read={read} />
      )}
    </figure>
  );
}

/** Reads the ticking clock itself. */
function Age({ tsMs }: { tsMs: number }) {
  return <>{ago(tsMs, nowMs.value)}</>;
}
