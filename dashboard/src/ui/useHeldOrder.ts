/**
 * The order of a table's rows. While the pointer is over it or something in it has the focus the order stands still,
 * so that nothing moves from under a click.
 */
import { useRef } from "preact/hooks";
import { heldOrder } from "../lib/held";

/** Handlers for the element that holds the rows. */
interface Hold {
  onPointerEnter(): void;
  onPointerLeave(): void;
  onFocusCapture(): void;
  onBlurCapture(): void;
}

/** Rows as `sort` has them, or as they stood; another `key` sorts anew in any case. */
export function useHeldOrder<T>(
  items: readonly T[],
  idOf: (item: T) => string,
  key: string,
  sort: (items: readonly T[]) => T[],
): { rows: T[]; hold: Hold } {
  const isHeld = useRef(false);
  const order = useRef<{ key: string; ids: string[] }>({ key: "", ids: [] });
  const canHold = isHeld.current && order.current.key === key;
  const rows = canHold ? heldOrder(order.current.ids, items, idOf) : sort(items);
  order.current = { key, ids: rows.map(idOf) };
  const set = (held: boolean) => () => {
    isHeld.current = held;
  };
  const [on, off] = [set(true), set(false)];
  return { rows, hold: { onPointerEnter: on, onPointerLeave: off, onFocusCapture: on, onBlurCapture: off } };
}
