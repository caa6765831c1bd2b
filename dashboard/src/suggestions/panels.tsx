/** What a suggestion promises, and what can go wrong with it. */
import type { Suggestion } from "../api/steering";
import { difference, human, metricWords, predictionSentence, rangeText } from "../changes/values";
import { RISKS, trackWords } from "../changes/words";
import { Intervals } from "../ui/Intervals";
import { Pill } from "../ui/Pill";

/** The prediction on a line together with the present value, and how good such predictions were. */
export function PromisePanel({ suggestion }: { suggestion: Suggestion }) {
  const { prediction, track_record: track } = suggestion;
  const { metric, before, after, low, high, unit } = prediction;
  const sentence = predictionSentence(prediction);
  return (
    <figure class="panel" data-panel="promise">
      <figcaption>
        <h3>What it promises</h3>
        <span class="gain">{difference(before, after, unit)}</span>
        <p class="curve-sentence">{sentence}</p>
      </figcaption>
      <Intervals
        rows={[
          {
            id: "predicted",
            label: metricWords(metric),
            value: after,
            low,
            high,
            text: rangeText(low, high, unit),
            tone: "good",
          },
        ]}
        reference={{ value: before, label: `now ${human(before, unit)}` }}
        label={sentence}
      />
      <p class="track" data-tried={track.tried}>
        {trackWords(track, unit)}
      </p>
    </figure>
  );
}

export function RiskPanel({ suggestion: { risk, undo } }: { suggestion: Suggestion }) {
  return (
    <figure class="panel">
      <figcaption>
        <h3>What can go wrong</h3>
        <Pill tone={RISKS[risk.level] ?? "calm"}>{risk.level} risk</Pill>
      </figcaption>
      <ul class="reasons-list">
        {risk.reasons.map((reason) => (
          <li key={reason}>{reason}</li>
        ))}
      </ul>
      <p class="undo">
        <b>Undo</b> {undo}
      </p>
    </figure>
  );
}
