/** Alerts: asked for once and after every gap, then kept by live events. */
import { computed, signal } from "@preact/signals";
import { fetchAlerts } from "../api/client";
import type { Alert } from "../api/types";

/** Resolved alerts that are kept for readers who ask what there was. */
const RESOLVED_AT_MOST = 50;

export const alerts = signal<readonly Alert[]>([]);

/** Those that fire: the worst first, then the newest. */
export const firing = computed(() => alerts.value.filter(({ state }) => state === "firing").sort(byUrgency));

/** Those that are over, the newest first. */
export const resolved = computed(() =>
  alerts.value
    .filter(({ state }) => state === "resolved")
    .sort((a, b) => (b.resolved_ms ?? 0) - (a.resolved_ms ?? 0))
    .slice(0, RESOLVED_AT_MOST),
);

/** The worst severity that fires on each node. */
export const worstByNode = computed(() => {
  const worst = new Map<string, Alert["severity"]>();
  for (const { node, severity } of firing.value)
    if (node !== null && worst.get(node) !== "critical") worst.set(node, severity);
  return worst;
});

function byUrgency(a: Alert, b: Alert): number {
  if (a.severity !== b.severity) return a.severity === "critical" ? -1 : 1;
  return b.since_ms - a.since_ms;
}

/** One alert changed: the newest word on it counts. */
export function withAlert(known: readonly Alert[], changed: Alert): readonly Alert[] {
  const others = known.filter(({ id }) => id !== changed.id);
  const kept = others.filter(({ state }) => state === "firing");
  const over = others
    .filter(({ state }) => state === "resolved")
    .sort((a, b) => (b.resolved_ms ?? 0) - (a.resolved_ms ?? 0))
    .slice(0, RESOLVED_AT_MOST);
  return [changed, ...kept, ...over];
}

export function takeAlert(changed: Alert): void {
  alerts.value = withAlert(alerts.value, changed);
}

/** Asks for all of them. */
export function loadAlerts(): void {
  fetchAlerts()
    .then((answer) => {
      alerts.value = answer.alerts;
    })
    .catch(() => {
      // The live connection tells of the collector's state; the next gap asks again.
    });
}
