/** The curve that a change of size rests on, with the size now and then. */
import { useMemo } from "preact/hooks";
import type { Suggestion } from "../api/steering";
import { curveShown, pointWords } from "../caches/curve";
import { CurveChart } from "../chart/CurveChart";
import { ago, bytes } from "../lib/format";
import { nowMs } from "../state/clock";
import { curveOf } from "./inputs";

export function SizePanel({ suggestion }: { suggestion: Suggestion }) {
  const { change } = suggestion;
  const curve = curveOf(suggestion);
  const size = change.find(({ parameter }) => parameter === "maxmemory");
  const key = JSON.stringify([curve, size]);
  const shown = useMemo(
    () => curve && curveShown(curve, Number(size?.from) || null, Number(size?.to) || null),
    [key],
  );
  if (!curve || !shown || !size || shown.xs.length < 2) return null;
  const words = `${bytes(Number(size.from))} now, ${bytes(Number(size.to))} then`;
  return (
    <figure class="panel curve" data-curve="suggestion" data-points={curve.points.length}>
      <figcaption>
        <h3>Where it stands on the curve</h3>
        <p>
          Hit ratio by memory limit, measured <Age tsMs={curve.measured_at_ms} />. The band holds the truth in
          nine cases of ten; hatched sizes could not be measured.
        </p>
      </figcaption>
      <CurveChart
        label={`Hit ratio by memory limit: ${words}.`}
        shown={shown}
        read={(at) => pointWords(curve, shown, at)}
      />
    </figure>
  );
}

/** Reads the ticking clock itself. */
function Age({ tsMs }: { tsMs: number }) {
  return <>{ago(tsMs, nowMs.value)}</>;
}
