/** Keys of the node page: 1-5 ranges, + and - zoom, [ and ] move in time, l or Escape back to live. */
import { DEFAULT_RANGE, lengthOf, PRESETS, scaleRange, shiftRange } from "../lib/range";
import { serverNow } from "../state/clock";
import { go, route } from "../state/route";

export const KEY_HELP = "Keys: 1–5 range, + − zoom, [ ] move, L live; in a chart ← → read points";

export function onPageKey(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const target = event.target as HTMLElement;
  if (target.closest("input, select, textarea, dialog")) return;
  const { range } = route.peek();
  const preset = PRESETS[Number(event.key) - 1];
  if (preset) go({ range: { kind: "live", lengthMs: preset.lengthMs } });
  else if (event.key === "+" || event.key === "=") go({ range: scaleRange(range, 0.5) });
  else if (event.key === "-") go({ range: scaleRange(range, 2) });
  else if (event.key === "[") go({ range: shiftRange(range, -0.5, serverNow()) });
  else if (event.key === "]") go({ range: shiftRange(range, 0.5, serverNow()) });
  else if (event.key === "l" || event.key === "Escape") goLive();
}

/** Follows the present again, with the nearest length that is offered by name. */
export function goLive(): void {
  const { range } = route.peek();
  if (range.kind === "live") return;
  const length = lengthOf(range);
  const fitting = PRESETS.find((preset) => preset.lengthMs >= length) ?? PRESETS.at(-1);
  go({ range: fitting ? { kind: "live", lengthMs: fitting.lengthMs } : DEFAULT_RANGE });
}
