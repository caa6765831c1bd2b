/** What another size would do for one layer: a sentence, and the curve that it comes from. */
import { effect, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { LayerStats } from "../api/performance";
import { bytes, percent } from "../lib/format";
import { theme } from "../state/theme";
import { curveLine, curveSentence, marksOf } from "./curve";
import { CurvePlot } from "./curvePlot";

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
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<CurvePlot | null>(null);
  const cursor = useSignal<number | null>(null);
  const key = JSON.stringify([curve, maxBytes]);
  const shown = useMemo(() => ({ line: curveLine(curve, maxBytes), marks: marksOf(curve, maxBytes) }), [key]);
  useEffect(() => {
    if (!host.current) return;
    const made = new CurvePlot(host.current, (at) => {
      cursor.value = at;
    });
    plot.current = made;
    const stopTheme = effect(() => {
      theme.value;
      made.recolor();
    });
    return () => {
      stopTheme();
      made.dispose();
    };
  }, []);
  useEffect(() => plot.current?.update(shown), [shown]);
  const onKey = (event: KeyboardEvent): void => {
    const steps = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (steps === undefined) return;
    event.preventDefault();
    plot.current?.moveCursor(steps);
  };
  const { xs, ratios } = shown.line;
  const [x, ratio] = cursor.value === null ? [] : [xs[cursor.value], ratios[cursor.value]];
  return (
    <>
      <div
        class="plot"
        ref={host}
        role="img"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: its points are read by arrow keys
        tabIndex={0}
        aria-label={`${title}: predicted hit ratio by size. ${sentence} Arrow keys read single sizes.`}
        onKeyDown={onKey}
        onBlur={() => plot.current?.clearCursor()}
      />
      <p class="curve-readout" aria-live="polite">
        {x !== undefined && ratio != null ? `${bytes(2 ** x)}: ${percent(ratio)}` : "\u00a0"}
      </p>
    </>
  );
}
