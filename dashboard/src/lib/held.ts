/** Items in the order in which they stood; new ones come last, those gone leave. */
export function heldOrder<T>(order: readonly string[], items: readonly T[], idOf: (item: T) => string): T[] {
  const present = new Map(items.map((item) => [idOf(item), item]));
  const before = new Set(order);
  return [
    ...order.flatMap((id) => present.get(id) ?? []),
    ...items.filter((item) => !before.has(idOf(item))),
  ];
}
