/** What readers do to charts that share the address's range of time. */
import { DEFAULT_RANGE, fixedRange, MIN_LENGTH_MS } from "../lib/range";
import type { AnyPanel, Row } from "../node/panel";
import { go, route } from "../state/route";

/** Range before the first zoom, for the double click that takes all zooms back. */
let beforeZoom = DEFAULT_RANGE;

export function zoom(fromMs: number, toMs: number): void {
  const { range } = route.peek();
  if (range.kind === "live") beforeZoom = range;
  if (toMs - fromMs >= MIN_LENGTH_MS / 10) go({ range: fixedRange(fromMs, toMs) });
}

export function unzoom(): void {
  if (route.peek().range.kind === "fixed") go({ range: beforeZoom });
}

/** Hides or shows a row, or shows only it; asking for only what is already alone shows all again. */
export function toggleRow(panel: Pick<AnyPanel, "id">, rows: readonly Row[], row: Row, only: boolean): void {
  const { hidden } = route.peek();
  const name = (each: Row): string => `${panel.id}:${each.id}`;
  const others = rows.filter((each) => each !== row).map(name);
  const elsewhere = hidden.filter((each) => !rows.some((one) => name(one) === each));
  if (only) {
    const isAlone = others.every((each) => hidden.includes(each)) && !hidden.includes(name(row));
    go({ hidden: isAlone ? elsewhere : [...elsewhere, ...others] }, "replace");
    return;
  }
  const isHidden = hidden.includes(name(row));
  go({ hidden: isHidden ? hidden.filter((each) => each !== name(row)) : [...hidden, name(row)] }, "replace");
}
