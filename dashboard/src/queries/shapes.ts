/** The columns of the table of query shapes, and its order. */
import type { QueryShape } from "../api/performance";
import { ago, bytes, count, seconds } from "../lib/format";
import type { SortDirection } from "../lib/url";
import { natural } from "../node/panel";

export interface ShapeColumn {
  id: string;
  title: string;
  /** Longer name for readers who ask. */
  help: string;
  /** What rows are ordered by. */
  key(shape: QueryShape): number | string;
  text(shape: QueryShape, nowMs: number): string;
  /** The direction a first click sorts in. */
  first: SortDirection;
}

function number(
  id: string,
  title: string,
  help: string,
  key: (shape: QueryShape) => number,
  text: (value: number) => string,
): ShapeColumn {
  return { id, title, help, key, text: (shape) => text(key(shape)), first: "desc" };
}

function name(id: string, title: string, help: string, key: (shape: QueryShape) => string): ShapeColumn {
  return { id, title, help, key, text: key, first: "asc" };
}

const ms = (value: number): string => seconds(value / 1000);
export const meanMs = ({ count, total_ms }: QueryShape): number => (count > 0 ? total_ms / count : 0);
const tierNames = ({ tiers }: QueryShape): string => tiers.join(" + ");

export const SHAPE_COLUMNS: readonly ShapeColumn[] = [
  name("shape", "Shape", "Aggregation, metric, grouping and step", (s) => s.shape),
  name("tiers", "Tables", "Rollups that were read, and raw samples", tierNames),
  number("count", "Count", "Queries since the collector's start", (s) => s.count, count),
  number("slow", "Slow", "Of these the slow ones", (s) => s.slow, count),
  number("failed", "Failed", "Of these the failed ones", (s) => s.failed, count),
  number("total", "Total", "Time of all, with the transfer", (s) => s.total_ms, ms),
  number("mean", "Mean", "Time of one, on average", meanMs, ms),
  number("max", "Slowest", "Time of the slowest", (s) => s.max_ms, ms),
  number("rows", "Rows", "Rows that the slowest read", (s) => s.rows, count),
  number("bytes", "Bytes", "Bytes that the slowest read, uncompressed", (s) => s.bytes, bytes),
  number("series", "Series", "Series that the slowest read", (s) => s.series, count),
  {
    id: "last",
    title: "Last",
    help: "When the last one ended",
    key: (s) => s.last_at_ms,
    text: (s, nowMs) => ago(s.last_at_ms, nowMs),
    first: "desc",
  },
];

/** The table's own order: what took most time in all comes first. */
const OWN_COLUMN = "total";

/** Column and direction that an address means. */
export function orderOf(sort: string, direction: SortDirection): [ShapeColumn, SortDirection] {
  const found = SHAPE_COLUMNS.find(({ id }) => id === sort);
  if (found) return [found, direction];
  const own = SHAPE_COLUMNS.find(({ id }) => id === OWN_COLUMN) as ShapeColumn;
  return [own, own.first];
}

/** Names a shape: the same in every answer. */
export const shapeKey = (shape: QueryShape): string => `${shape.shape} ${tierNames(shape)}`;

/** Shapes in the order of a column; names decide ties. */
export function sortShapes(
  shapes: readonly QueryShape[],
  column: ShapeColumn,
  direction: SortDirection,
): QueryShape[] {
  const sign = direction === "asc" ? 1 : -1;
  return [...shapes].sort((a, b) => {
    const [first, second] = [column.key(a), column.key(b)];
    const order =
      typeof first === "string" || typeof second === "string"
        ? natural(String(first), String(second))
        : first - second;
    return sign * order || natural(shapeKey(a), shapeKey(b));
  });
}
