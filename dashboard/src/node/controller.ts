/** What a node page knows: its charts' history, and the busiest processes. */
import type { SamplesEvent } from "../api/types";
import { History, type Window } from "../chart/history";
import type { TimeRange } from "../lib/range";
import { ProcessList } from "./processes";
import { SOURCES } from "./sources";

/** Metrics the node page draws or lists. */
export const NODE_METRICS = ["system.*", "process.*", "flyball.pressure.*", "flyball.agent.*"] as const;

export class NodeController extends History {
  readonly processes: ProcessList;

  constructor(node: string, range: TimeRange) {
    super({ node, range, sources: SOURCES, presence: "cpu" });
    this.processes = new ProcessList(node);
    this.begin();
  }

  protected override onLoad(fixed: Window | null): void {
    if (fixed) this.processes.loadRange(fixed.fromMs, fixed.toMs, this.abort.signal);
    else this.processes.goLive();
  }

  protected override onSample(event: SamplesEvent): void {
    this.processes.takeLive(event);
  }
}
