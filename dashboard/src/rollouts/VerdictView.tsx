/** What the judge said: the word, the reason, and what was seen against what was promised and what would have been. */
import type { Prediction, Verdict } from "../api/steering";
import { intervalText, metricWords, rangeText, unitOfMetric } from "../changes/values";
import { agreementWords, JUDGEMENTS, verdictWords, wordsOf } from "../changes/words";
import { count } from "../lib/format";
import { type IntervalRow, Intervals } from "../ui/Intervals";
import { Pill } from "../ui/Pill";
import { sentence } from "./timeline";

interface Props {
  verdict: Verdict;
  /** What the change should bring. */
  promised?: Prediction | null | undefined;
  /** Its word stands above already. */
  isNamed?: boolean;
  /** Where the measurements are that it is of. */
  href?: string | null;
}

export function VerdictView({ verdict, promised = null, isNamed = false, href = null }: Props) {
  const words = wordsOf(JUDGEMENTS, verdict.result);
  return (
    <div class="verdict" data-verdict={verdict.result}>
      <p title={verdict.reason}>
        {!isNamed && (
          <Pill tone={words.tone} help={words.meaning}>
            {words.name}
          </Pill>
        )}{" "}
        {sentence(verdictWords(verdict) || words.meaning)}
      </p>
      <Comparison verdict={verdict} promised={promised} />
      {href && (
        <p>
          <a href={href}>What was measured meanwhile</a>
        </p>
      )}
    </div>
  );
}

function Comparison({ verdict, promised }: { verdict: Verdict; promised: Prediction | null }) {
  const { metric, expected, observed, samples } = verdict;
  const unit = unitOfMetric(metric);
  const rows: IntervalRow[] = [];
  if (expected)
    rows.push({
      id: "expected",
      label: "without the change",
      ...expected,
      text: rangeText(expected.low, expected.high, unit),
    });
  if (promised?.metric === metric)
    rows.push({
      id: "promised",
      label: "promised",
      value: promised.after,
      low: promised.low,
      high: promised.high,
      text: rangeText(promised.low, promised.high, unit),
    });
  if (observed)
    rows.push({
      id: "observed",
      label: "seen",
      ...observed,
      text: rangeText(observed.low, observed.high, unit),
      tone: wordsOf(JUDGEMENTS, verdict.result).tone,
    });
  if (rows.length === 0) return null;
  const words = rows.map(({ label, ...interval }) => `${label} ${intervalText(interval, unit)}`).join(", ");
  return (
    <>
      <Intervals rows={rows} label={`${metricWords(metric)}: ${words}`} />
      <p class="muted">
        {[metricWords(metric), agreementWords(verdict, promised), `${count(samples)} requests`]
          .filter(Boolean)
          .join(", ")}
      </p>
    </>
  );
}
