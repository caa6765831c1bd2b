/** What a chart of the node page is: which lines it draws, in which shape, and what it means in words. */
import type { Unit } from "../lib/format";
import { bridgedAtOwnPace } from "../lib/gaps";
import type { Line, Values } from "../lib/lines";
import { mean } from "../lib/stack";
import type { SourceName } from "./sources";

/** One row of a legend: one line, or two when a direction is drawn downwards. */
export interface Row {
  id: string;
  label: string;
  /** Name of a colour in the style sheet, without `--series-`. */
  color: string;
  values: Values;
  /** Drawn below zero; shown as positive. */
  below?: Values;
  /** Lengths of strokes and spaces in pixels, for a line that is not drawn through. */
  dash?: number[];
}

/** What a chart may know of its host. */
export interface HostFacts {
  cpus: number | null;
  memoryBytes: number | null;
}

/** Of a host that nothing is known of. */
export const NO_FACTS: HostFacts = { cpus: null, memoryBytes: null };

export interface Panel<Name extends string = SourceName> {
  id: string;
  title: string;
  unit: Unit;
  /** One sentence: what is drawn, and what to make of it. */
  about: string;
  shape: "lines" | "stack" | "mirror" | "heat";
  sources: readonly Name[];
  rows(lines: (name: Name) => readonly Line[]): Row[];
  /** Names of the two directions of a mirror. */
  directions?: readonly [up: string, down: string];
  /** Fixed upper end of the axis. */
  top?(facts: HostFacts): number | null;
  /** A level worth comparing with. */
  reference?(facts: HostFacts): { value: number; label: string } | null;
  /** The axis holds what there is and need not begin at zero, so that small changes are seen. */
  isFitted?: boolean;
  /** Said instead of a chart when this host reports no such thing. */
  absent: string;
}

/** A chart of any page. */
export type AnyPanel = Panel<string>;

/** More rows than this are not drawn; the busiest stay. */
export const MAX_ROWS = 12;
const PALETTE_SIZE = 12;

/** Colour `n` of the palette for things without a colour of their own. */
export function paletteColor(n: number): string {
  return String((n % PALETTE_SIZE) + 1);
}

/**
 * A line of shares held within 0 and 1. A reading that comes some milliseconds after its tick can show more than a
 * second's worth in a second, which no share of time can be.
 */
export function asShare(line: Line): Line {
  const values = line.values.map((value) => (value === null ? null : Math.min(1, Math.max(0, value))));
  return { attributes: line.attributes, values };
}

/** A row for the only line of a source. */
export function single(lines: readonly Line[], id: string, label: string, color: string): Row[] {
  const line = lines[0];
  return line ? [{ id, label, color, values: bridgedAtOwnPace(line.values) }] : [];
}

/** Rows with fixed names, colours and order; lines with other names follow in alphabetic order. */
export function named(
  lines: readonly Line[],
  attribute: string,
  order: readonly (readonly [value: string, label: string, color: string])[],
): Row[] {
  const known = order.flatMap(([value, label, color]) => {
    const line = lines.find(({ attributes }) => attributes[attribute] === value);
    return line ? [{ id: value, label, color, values: bridgedAtOwnPace(line.values) }] : [];
  });
  const rest = lines.filter(({ attributes }) => !order.some(([value]) => value === attributes[attribute]));
  return [...known, ...each(rest, attribute)];
}

/** A row for each value of an attribute, in natural order. */
export function each(lines: readonly Line[], attribute: string): Row[] {
  return lines
    .map((line) => ({ id: line.attributes[attribute] ?? "?", line }))
    .sort((a, b) => natural(a.id, b.id))
    .map(({ id, line }, at) => ({
      id,
      label: id,
      color: paletteColor(at),
      values: bridgedAtOwnPace(line.values),
    }));
}

/** A row for each thing, with one direction drawn upwards and the other downwards. */
export function mirrored(
  lines: readonly Line[],
  thing: string,
  direction: string,
  [up, down]: readonly [string, string],
): Row[] {
  const names = [...new Set(lines.map(({ attributes }) => attributes[thing] ?? "?"))].sort(natural);
  const find = (name: string, way: string): Values | undefined =>
    lines.find(({ attributes }) => (attributes[thing] ?? "?") === name && attributes[direction] === way)
      ?.values;
  return names.flatMap((name, at) => {
    const above = find(name, up);
    const below = find(name, down);
    const values = above ?? below?.map(() => null);
    if (!values) return [];
    const row: Row = { id: name, label: name, color: paletteColor(at), values: bridgedAtOwnPace(values) };
    if (below) row.below = bridgedAtOwnPace(below);
    return [row];
  });
}

/** The busiest `MAX_ROWS`, in their given order. */
export function busiest(rows: readonly Row[]): Row[] {
  if (rows.length <= MAX_ROWS) return [...rows];
  const size = (row: Row): number => (mean(row.values) ?? 0) + (row.below ? (mean(row.below) ?? 0) : 0);
  const kept = new Set([...rows].sort((a, b) => size(b) - size(a)).slice(0, MAX_ROWS));
  return rows.filter((row) => kept.has(row));
}

const collator = new Intl.Collator("en", { numeric: true });

/** Order in which `sda2` comes before `sda10`. */
export function natural(a: string, b: string): number {
  return collator.compare(a, b);
}
