/** Values of settings and measurements in the units that the collector names, as people read them. */
import type { Change, Interval, Member, Prediction } from "../api/steering";
import { bytes, count, duration, points, seconds, share, significant } from "../lib/format";

/** A value in its unit. Units are those of the collector: `bytes`, `ratio`, `ms`, `s`, `1/s`; others stand as they are. */
export function human(value: number | string, unit: string): string {
  const number = typeof value === "number" ? value : Number(value);
  if (value === "" || !Number.isFinite(number)) return String(value);
  switch (unit) {
    case "bytes":
    case "By":
      return bytes(number);
    case "ratio":
      return share(number);
    case "ms":
      return number >= 10_000 ? duration(number) : seconds(number / 1000);
    case "s":
      return number >= 10 ? duration(number * 1000) : seconds(number);
    case "":
    case "1":
      return typeof value === "string" ? value : significant(number);
  }
  // `share of misses`
  if (unit.startsWith("share of ")) return `${share(number)} of ${unit.slice("share of ".length)}`;
  if (unit.endsWith("/s")) return `${count(number)}/s`;
  // `{key}` and the like only say what is counted.
  return unit.startsWith("{") ? count(number) : `${significant(number)} ${unit}`;
}

/** How much larger `after` is than `before`, with its sign. */
export function difference(before: number, after: number, unit: string): string {
  if (unit === "ratio") return points(after - before);
  const size = human(Math.abs(after - before), unit);
  return `${after < before ? "−" : "+"}${size}`;
}

const PARAMETERS: Readonly<Record<string, string>> = {
  maxmemory: "memory limit",
  "maxmemory-policy": "eviction policy",
  "maxmemory-samples": "keys compared at each eviction",
};

/** What a setting is, in words; its own name where there are none. */
export function parameterWords(parameter: string): string {
  return PARAMETERS[parameter] ?? parameter;
}

/** The value of a setting; zero can have a meaning of its own. */
export function settingText(parameter: string, value: string, unit: string): string {
  if (parameter !== "maxmemory") return human(value, unit);
  // An agent names no units: this one is always bytes.
  return value === "0" ? "no limit" : human(value, "bytes");
}

/** How much a numeric setting changes: `×2`, `−25 %`; nothing for words. */
export function changeSize({ from, to }: Change): string {
  const [before, after] = [Number(from), Number(to)];
  if (!(before > 0 && after > 0) || from === "" || to === "" || before === after) return "";
  const factor = after / before;
  if (factor >= 2) return `×${significant(Number(factor.toFixed(2)))}`;
  const size = Math.round(Math.abs(factor - 1) * 100);
  return `${factor < 1 ? "−" : "+"}${size} %`;
}

/** A change in one line: `memory limit 64 MiB → 128 MiB`. */
export function changeText(change: Change): string {
  const { parameter, from, to, unit } = change;
  const [before, after] = [settingText(parameter, from, unit), settingText(parameter, to, unit)];
  return `${parameterWords(parameter)} ${before} → ${after}`;
}

/** Whether all of several caches get the same from the same. */
export function areAlike(members: readonly Member[]): boolean {
  const [first, ...others] = members.map(({ change }) => JSON.stringify(change));
  return others.every((other) => other === first);
}

/** The changes in lines; where they differ among several caches those of the first, and how many more there are. */
export function changeLines(change: readonly Change[], members: readonly Member[]): string[] {
  const lines = change.map(changeText);
  if (!areAlike(members)) lines.push(`and ${members.length - 1} more like it`);
  return lines;
}

const METRICS: Readonly<Record<string, string>> = {
  "redis.hit_ratio": "hit ratio",
  "memcached.hit_ratio": "hit ratio",
  "redis.commands.processed": "commands",
  "redis.keys.expired": "expirations",
  "misses.capacity": "misses for want of room",
  "flyball.redis.key.largest": "largest key",
  "redis.memory.used": "memory used",
  "redis.memory.rss": "resident memory",
};

/** What a metric is, in words; its own name where there are none. */
export function metricWords(metric: string): string {
  return METRICS[metric] ?? metric;
}

/** Unit of a metric that comes without one. */
export function unitOfMetric(metric: string): string {
  if (/ratio$|utilization$|share$/.test(metric)) return "ratio";
  return /memory|bytes/.test(metric) ? "bytes" : "";
}

/** `90.5 to 92.1 %`: the unit once where both ends have the same. */
export function rangeText(low: number, high: number, unit: string): string {
  const [first, second] = [human(low, unit), human(high, unit)];
  if (first === second) return first;
  const [, number, name] = /^(\S+) (.+)$/.exec(first) ?? [];
  return name && second.endsWith(` ${name}`) ? `${number} to ${second}` : `${first} to ${second}`;
}

/** A value with its interval: `91.3 % (90.5 to 92.1 %)`. */
export function intervalText({ value, low, high }: Interval, unit: string): string {
  return `${human(value, unit)} (${rangeText(low, high, unit)})`;
}

/** What is promised, in a sentence. */
export function predictionSentence({
  metric,
  before,
  after,
  low,
  high,
  unit,
  confidence,
}: Prediction): string {
  if (low === high && human(before, unit) === human(after, unit))
    return `The ${metricWords(metric)} is ${human(before, unit)} now, and is to stay so: less counts as harm.`;
  const sure = `${Math.round(confidence * 100)} % sure`;
  return (
    `The ${metricWords(metric)} is ${human(before, unit)} now. With the change ` +
    `${rangeText(low, high, unit)} is expected (${sure}), most likely ${human(after, unit)}: ` +
    `${difference(before, after, unit)}.`
  );
}
