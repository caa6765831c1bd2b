/** A curve by size that can be read by pointer and by keyboard. */
import { effect, useSignal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { theme } from "../state/theme";
import { CurvePlot, type CurveShown } from "./curvePlot";

interface Props {
  /** What it shows, in words. */
  label: string;
  shown: CurveShown;
  /** The point at this place, in words. */
  read(at: number): string;
}

export function CurveChart({ label, shown, read }: Props) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<CurvePlot | null>(null);
  const cursor = useSignal<number | null>(null);
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
  return (
    <>
      <div
        class="plot"
        ref={host}
        role="img"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: its points are read by arrow keys
        tabIndex={0}
        aria-label={`${label} Arrow keys read single sizes.`}
        onKeyDown={onKey}
        onBlur={() => plot.current?.clearCursor()}
      />
      <p class="curve-readout" aria-live="polite">
        {(cursor.value !== null && read(cursor.value)) || "\u00a0"}
      </p>
    </>
  );
}
