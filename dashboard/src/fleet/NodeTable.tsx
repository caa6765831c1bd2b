/**
 * The fleet's rows. Only rows in view exist in the document, so a thousand nodes scroll as lightly as ten.
 * While the pointer is over the table or a row has the focus the order stands still, so that nothing moves
 * from under a click.
 */
import { useEffect, useRef, useState } from "preact/hooks";
import type { FleetNode } from "../state/fleet";
import { go } from "../state/route";
import { COLUMNS, type Column, sorted } from "./columns";
import { NodeRow } from "./NodeRow";

const ROW_PX = 40;
/** Rows kept beyond either edge of the window. */
const SPARE_ROWS = 6;

interface Props {
  nodes: readonly FleetNode[];
  column: Column;
  direction: "asc" | "desc";
  filter: string;
}

export function NodeTable({ nodes, column, direction, filter }: Props) {
  const body = useRef<HTMLDivElement>(null);
  const isHeld = useRef(false);
  const order = useRef<{ key: string; rows: FleetNode[] }>({ key: "", rows: [] });
  const [from, to] = useWindow(body, nodes.length);

  const key = `${column.id} ${direction} ${filter}`;
  const canHold = isHeld.current && order.current.key === key;
  const rows = canHold
    ? held(order.current.rows, nodes)
    : sorted(nodes, (node) => node.status, column, direction);
  order.current = { key, rows };

  return (
    <div class="table" role="table" aria-label="Nodes" aria-rowcount={rows.length + 1}>
      <div class="row head" role="row">
        {COLUMNS.map((each) => (
          <HeadCell key={each.id} column={each} active={each.id === column.id ? direction : null} />
        ))}
      </div>
      <div
        ref={body}
        class="rows"
        role="rowgroup"
        style={{ height: `${rows.length * ROW_PX}px` }}
        onPointerEnter={() => {
          isHeld.current = true;
        }}
        onPointerLeave={() => {
          isHeld.current = false;
        }}
        onFocusCapture={() => {
          isHeld.current = true;
        }}
        onBlurCapture={() => {
          isHeld.current = false;
        }}
        onKeyDown={moveFocus}
      >
        {rows.slice(from, to).map((node, at) => (
          <NodeRow key={node.status.node} node={node} index={from + at} top={(from + at) * ROW_PX} />
        ))}
      </div>
    </div>
  );
}

function HeadCell({ column, active }: { column: Column; active: "asc" | "desc" | null }) {
  const next = active === null ? column.first : active === "asc" ? "desc" : "asc";
  const state = active === null ? "none" : active === "asc" ? "ascending" : "descending";
  return (
    <div class={`cell c-${column.id}`} role="columnheader" aria-sort={state}>
      <button
        type="button"
        title={column.help}
        onClick={() => go({ sort: column.id, direction: next }, "replace")}
      >
        {column.title}
        {active && (
          <span class="arrow" aria-hidden="true">
            {active === "asc" ? "↑" : "↓"}
          </span>
        )}
      </button>
    </div>
  );
}

/** The rows in the order in which they stood; nodes that are new come last, those gone leave. */
function held(rows: readonly FleetNode[], nodes: readonly FleetNode[]): FleetNode[] {
  const present = new Map(nodes.map((node) => [node.status.node, node]));
  const stayed = rows.flatMap(({ status }) => present.get(status.node) ?? []);
  const before = new Set(rows.map(({ status }) => status.node));
  return [...stayed, ...nodes.filter(({ status }) => !before.has(status.node))];
}

/** The part of `count` rows that the window shows. */
function useWindow(body: { readonly current: HTMLElement | null }, count: number): [number, number] {
  const [range, setRange] = useState<[number, number]>([0, 40]);
  useEffect(() => {
    const measure = (): void => {
      const top = body.current?.getBoundingClientRect().top ?? 0;
      const first = Math.max(0, Math.floor(-top / ROW_PX) - SPARE_ROWS);
      const last = Math.ceil((window.innerHeight - top) / ROW_PX) + SPARE_ROWS;
      setRange((before) => (before[0] === first && before[1] === last ? before : [first, last]));
    };
    measure();
    window.addEventListener("scroll", measure, { passive: true });
    window.addEventListener("resize", measure);
    return () => {
      window.removeEventListener("scroll", measure);
      window.removeEventListener("resize", measure);
    };
  }, [body, count]);
  return [range[0], Math.min(count, range[1])];
}

/** Up and down move between rows. */
function moveFocus(event: KeyboardEvent): void {
  const way = { ArrowDown: "nextElementSibling", ArrowUp: "previousElementSibling" }[event.key] as
    | "nextElementSibling"
    | "previousElementSibling"
    | undefined;
  if (!way || !(event.target instanceof Element)) return;
  const next = event.target.closest(".row")?.[way]?.querySelector("a");
  if (!next) return;
  event.preventDefault();
  next.focus();
}
