/** The page's one live connection, and who hears its events. */
import { signal } from "@preact/signals";
import { fetchStatus } from "../api/client";
import { type ConnectionState, LiveStream } from "../api/events";
import type { LiveEvent, SamplesEvent } from "../api/types";
import { loadAlerts, takeAlert } from "./alerts";
import { announce, announceAll } from "./changes";
import { learnOffset } from "./clock";
import { seedTrends, takeStatus } from "./fleet";

export const connection = signal<ConnectionState>({
  phase: "connecting",
  sinceMs: Date.now(),
  reason: "",
  retryAtMs: 0,
});

/** Whether a whole status has ever arrived: before that, nothing is known, not even that there are no nodes. */
export const hasStatus = signal(false);

type SamplesListener = { onSamples(event: SamplesEvent): void; onGap(): void };
const listeners = new Set<SamplesListener>();

/** Hears one node's samples; returns how to stop. */
export function listen(listener: SamplesListener): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

let expectWhole = true;
/** The node whose samples are wanted, empty for the fleet alone, and which of them. */
let wanted = "";
let wantedMetrics: readonly string[] = [];
/** The collector does not know it yet. */
let isMissing = false;

const stream = new LiveStream({
  onEvent,
  onState(state) {
    if (state.phase !== "live") expectWhole = true;
    connection.value = state;
  },
  onGap: announceGap,
  onNoSuchNode() {
    isMissing = true;
  },
});

function onEvent(event: LiveEvent): void {
  switch (event.type) {
    case "status":
      learnOffset(event.ts_ms);
      takeStatus(event.nodes, event.totals, expectWhole && event.nodes.length >= event.totals.nodes);
      if (expectWhole) loadAlerts();
      expectWhole = false;
      if (isMissing && event.nodes.some(({ node }) => node === wanted)) follow(wanted, wantedMetrics);
      if (!hasStatus.value) {
        hasStatus.value = true;
        seedTrends().catch(() => {
          // Trends then begin with live values only.
        });
      }
      break;
    case "samples":
      learnOffset(event.ts_ms);
      for (const listener of listeners) listener.onSamples(event);
      break;
    case "alert":
      takeAlert(event);
      break;
    case "suggestion":
    case "rollout":
    case "policy":
    case "cache":
    case "balancer":
      announce(event.type);
      break;
    case "resync":
      announceGap();
      break;
  }
}

function announceGap(): void {
  for (const listener of listeners) listener.onGap();
  announceAll();
  loadAlerts();
  fetchStatus()
    .then((answer) => takeStatus(answer.nodes, answer.totals, true))
    .catch(() => {
      // The live connection tells of the collector's state; its next event brings the rest.
    });
}

/** Follows a node's samples besides the fleet; a node that is not known yet is followed once it appears. */
export function follow(node: string, metrics: readonly string[] = []): void {
  wanted = node;
  wantedMetrics = metrics;
  isMissing = false;
  stream.follow(node, metrics);
}

export function retryNow(): void {
  stream.retryNow();
}
