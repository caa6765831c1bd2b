/** What the judge said: the word, the reason, and what was expected against what was seen. */
import type { Verdict } from "../api/steering";
import { intervalText, metricWords, rangeText, unitOfMetric } from "../changes/values";
import { agreementWords, JUDGEMENTS, wordsOf } from "../changes/words";
import { count } from "../lib/format";
import { type IntervalRow, Intervals } from "../ui/Intervals";
import { Pill } from "../ui/Pill";

interface Props {
  verdict: Verdict;
  /** Where the measurements are that it is of. */
  href?: string | null;
}

export function VerdictView({ verdict, href = null }: Props) {
  const words = wordsOf(JUDGEMENTS, verdict.result);
  return (
    <div class="verdict" data-verdict={verdict.result}>
      <p>
        <Pill tone={words.tone} help={words.meaning}>
          {words.name}
        </Pill>{" "}
        {verdict.reason || words.meaning}
      </p>
      <Comparison verdict={verdict} />
      {href && (
        <p>
          <a href={href}>What was measured meanwhile</a>
        </p>
      )}
    </div>
  );
}

function Comparison({ verdict }: { verdict: Verdict }) {
  const { metric, expected, observed, samples } = verdict;
  const unit = unitOfMetric(metric);
  const rows: IntervalRow[] = [];
  if (expected)
    rows.push({
      id: "expected",
      label: "expected",
      ...expected,
      text: rangeText(expected.low, expected.high, unit),
    });
  if (observed)
    rows.push({
      id: "observed",
      label: "observed",
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
        {[metricWords(metric), agreementWords(verdict), `${count(samples)} samples`]
          .filter(Boolean)
          .join(", ")}
      </p>
    </>
  );
}
