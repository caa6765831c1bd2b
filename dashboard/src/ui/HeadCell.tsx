/** Head of a table's column that sorts by it; order and direction stand in the address. */
import type { SortDirection } from "../lib/url";
import { go } from "../state/route";

/** What a head needs to know of its column. */
export interface HeadColumn {
  id: string;
  title: string;
  /** Longer name for readers who ask. */
  help: string;
  /** The direction a first click sorts in. */
  first: SortDirection;
}

interface Props {
  column: HeadColumn;
  /** How the table is sorted by it; null: by another. */
  active: SortDirection | null;
}

export function HeadCell({ column: { id, title, help, first }, active }: Props) {
  const next = active === null ? first : active === "asc" ? "desc" : "asc";
  const state = active === null ? "none" : active === "asc" ? "ascending" : "descending";
  return (
    <th scope="col" class={`s-${id}`} aria-sort={state}>
      <button type="button" title={help} onClick={() => go({ sort: id, direction: next }, "replace")}>
        {title}
        {active && (
          <span class="arrow" aria-hidden="true">
            {active === "asc" ? "↑" : "↓"}
          </span>
        )}
      </button>
    </th>
  );
}
