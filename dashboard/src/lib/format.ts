/**
 * Values as people read them: three significant digits, IEC prefixes for bytes, SI for the rest.
 * An unknown value is an en dash, so that it can never be taken for zero.
 */

/** What a number is; chosen by each chart and column. */
export type Unit =
  | "ratio"
  | "share"
  | "bytes"
  | "bytes/s"
  | "ops/s"
  | "packets/s"
  | "faults/s"
  | "seconds"
  | "count";

/** Shown wherever a value is not known. */
export const UNKNOWN = "–";

const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"] as const;
const SI = ["", "k", "M", "G", "T", "P"] as const;

/**
 * `value` with about three significant digits and no exponent. Zeros at the end stay, so that a live value
 * keeps its width; whole numbers have none.
 */
export function significant(value: number): string {
  const size = Math.abs(value);
  if (Number.isInteger(value) || size >= 99.95) return value.toFixed(0);
  if (size >= 9.995) return value.toFixed(1);
  if (size >= 0.01) return value.toFixed(2);
  return size < 0.0005 ? (value < 0 ? "-<0.001" : "<0.001") : value.toFixed(3);
}

function scaled(value: number, base: number, prefixes: readonly string[]): [string, string] {
  let power = 0;
  let rest = value;
  // 999.5 would be shown as 1000, so it already belongs to the next prefix.
  while (Math.abs(rest) >= Math.min(base, 999.5) && power < prefixes.length - 1) {
    rest /= base;
    power += 1;
  }
  return [significant(rest), prefixes[power] ?? ""];
}

/** Bytes with an IEC prefix: `1.5 GiB`. */
export function bytes(value: number): string {
  const [digits, prefix] = scaled(value, 1024, IEC);
  return `${digits} ${prefix}`;
}

/** A plain number with an SI prefix: `12.5k`. */
export function count(value: number): string {
  return scaled(value, 1000, SI).join("");
}

/** Seconds as µs, ms or s; the unit follows the size. */
export function seconds(value: number): string {
  const size = Math.abs(value);
  if (size === 0) return "0 s";
  if (size < 0.000_999_5) return `${significant(value * 1e6)} µs`;
  if (size < 0.9995) return `${significant(value * 1e3)} ms`;
  return `${significant(value)} s`;
}

/** A share of one as a percentage; one decimal below 10 %. */
export function percent(ratio: number): string {
  const value = ratio * 100;
  const size = Math.abs(value);
  if (size === 0) return "0 %";
  if (size < 0.05) return value < 0 ? "-<0.1 %" : "<0.1 %";
  return `${size < 9.95 ? value.toFixed(1) : value.toFixed(0)} %`;
}

/** A share of one whose tenths of a percent matter, as of a hit ratio: `84.1 %`. */
export function share(ratio: number): string {
  const text = (ratio * 100).toFixed(1);
  // What is not all must not be called so, nor nothing what is some.
  if (text === "100.0") return ratio < 1 ? ">99.9 %" : "100 %";
  if (text === "0.0" || text === "-0.0") return ratio > 0 ? "<0.1 %" : "0 %";
  return `${text} %`;
}

/** A difference of two shares, with its sign: `+7.2 points`. */
export function points(delta: number): string {
  const text = Math.abs(delta * 100).toFixed(1);
  if (text === "0.0") return "±0.0 points";
  return `${delta < 0 ? "−" : "+"}${text} points`;
}

/** `value` in `unit`, or the mark for unknown. */
export function format(value: number | null | undefined, unit: Unit): string {
  if (value === null || value === undefined || !Number.isFinite(value)) return UNKNOWN;
  switch (unit) {
    case "ratio":
      return percent(value);
    case "share":
      return share(value);
    case "bytes":
      return bytes(value);
    case "bytes/s":
      return `${bytes(value)}/s`;
    case "ops/s":
    case "packets/s":
    case "faults/s":
      return `${count(value)}/s`;
    case "seconds":
      return seconds(value);
    case "count":
      return count(value);
  }
}

/** A tick of an axis: as `format`, but without zeros that say nothing. */
export function formatTick(value: number, unit: Unit): string {
  const text = unit === "ratio" || unit === "share" ? `${significant(value * 100)} %` : format(value, unit);
  return text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}

/** The unit as it stands beside a chart's title. */
export function unitName(unit: Unit): string {
  return { ratio: "%", share: "%", seconds: "s", count: "", bytes: "bytes" }[unit as string] ?? unit;
}

/** A long duration in its two largest parts: `12 d 4 h`. */
export function duration(ms: number): string {
  const parts: [number, string][] = [
    [86_400_000, "d"],
    [3_600_000, "h"],
    [60_000, "min"],
    [1000, "s"],
  ];
  const first = parts.findIndex(([size]) => ms >= size);
  if (first < 0) return "0 s";
  const shown: string[] = [];
  let rest = ms;
  for (const [size, name] of parts.slice(first, first + 2)) {
    const whole = Math.floor(rest / size);
    if (whole > 0) shown.push(`${whole} ${name}`);
    rest -= whole * size;
  }
  return shown.join(" ");
}

/** Anything younger is called "now": it is only the distance between two frames. */
const NOW_MS = 5000;

/** How long ago `tsMs` was: `now`, `12 s ago`, `3 h 2 min ago`. */
export function ago(tsMs: number | null | undefined, nowMs: number): string {
  if (tsMs === null || tsMs === undefined) return "never";
  const age = nowMs - tsMs;
  return age < NOW_MS ? "now" : `${duration(age)} ago`;
}

const two = (n: number): string => String(n).padStart(2, "0");

/** Local time of day, with seconds. */
export function clock(tsMs: number): string {
  const at = new Date(tsMs);
  return `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
}

/** Local date and time, ISO order; the date is left out when it is that of `nowMs`. */
export function moment(tsMs: number, nowMs: number): string {
  const at = new Date(tsMs);
  const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
  return new Date(nowMs).toDateString() === at.toDateString() ? clock(tsMs) : `${day} ${clock(tsMs)}`;
}

/** A text in one line or in two that have room; null when it has no room in either. */
export function inLines(text: string, hasRoom: (line: string) => boolean): string[] | null {
  if (hasRoom(text)) return [text];
  const words = text.split(" ");
  for (let cut = words.length - 1; cut > 0; cut -= 1) {
    const lines = [words.slice(0, cut).join(" "), words.slice(cut).join(" ")];
    if (lines.every(hasRoom)) return lines;
  }
  return null;
}
