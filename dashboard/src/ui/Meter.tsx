/** A share of one as a short bar; unknown is hatched, zero is an empty bar. */

interface Props {
  ratio: number | null;
  /** From these shares on the bar warns. */
  warn?: number;
  alarm?: number;
}

export function Meter({ ratio, warn = 0.75, alarm = 0.9 }: Props) {
  if (ratio === null) return <span class="meter unknown" />;
  const level = ratio >= alarm ? "alarm" : ratio >= warn ? "warn" : "calm";
  return (
    <span class="meter" data-level={level}>
      <i style={{ transform: `scaleX(${Math.min(1, Math.max(0, ratio))})` }} />
    </span>
  );
}
