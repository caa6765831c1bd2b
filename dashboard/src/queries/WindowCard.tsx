/** The recent past in memory, which answers without any cache. */
import type { WindowShare } from "../api/performance";
import { count, duration } from "../lib/format";
import { Figure } from "../ui/Figure";
import { BytesMeter, Card } from "./parts";
import { TrafficChart } from "./TrafficChart";
import type { Step } from "./traffic";

const TITLE = "Recent samples in memory";

export function WindowCard({ window, steps }: { window: WindowShare; steps: readonly Step[] }) {
  const { span_ms: span, configured_ms: configured } = window;
  return (
    <Card
      id="window"
      title={TITLE}
      about="Every sample of the recent past: nothing to ask, and nothing out of date."
      data={{ answers: window.answers }}
    >
      <div class="layer-top">
        <p class="big">
          <b>{span > 0 ? duration(span) : "none"}</b>
          <span>
            {configured > 0 ? `held of ${duration(configured)} configured` : "held: it is switched off"}
          </span>
        </p>
        <BytesMeter used={window.bytes} most={window.max_bytes} />
      </div>
      <TrafficChart layer="window" title={TITLE} steps={steps} outcomes={["hits"]} />
      <dl class="facts">
        <Figure name="Answers from it" help="Questions that were answered from these samples alone">
          {count(window.answers)}
        </Figure>
        <Figure name="State">{spanWords(span, configured)}</Figure>
      </dl>
    </Card>
  );
}

/** Whether less than what is wished for is held, and why that may be. */
function spanWords(span: number, configured: number): string {
  if (configured <= 0) return "off";
  if (span >= configured) return "complete";
  return "filling since the start, or held back by its memory";
}
