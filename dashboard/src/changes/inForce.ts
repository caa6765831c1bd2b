/** Settings that are wanted and in force, side by side. Pure. */
import type { TargetPolicy } from "../api/steering";

export interface SettingRow {
  parameter: string;
  /** Null: not read back. */
  inForce: string | null;
  /** Null: left as it is. */
  wanted: string | null;
}

/** By name. */
export function settingRows({ wanted, in_force: inForce }: TargetPolicy): SettingRow[] {
  const names = [...new Set([...Object.keys(wanted ?? {}), ...Object.keys(inForce)])].sort();
  return names.map((parameter) => ({
    parameter,
    inForce: inForce[parameter] ?? null,
    wanted: wanted?.[parameter] ?? null,
  }));
}

/** What became of what is wanted, in words. */
export function outcomeWords({ barred, wanted, result, canary, reason }: TargetPolicy): string {
  if (barred) return `Nothing may be set there: ${barred}.`;
  if (!wanted) return "Nothing is wanted of it: it is as its own configuration says.";
  if (!result) return "Its agent has not told yet.";
  const trial = canary
    ? "On trial: its agent puts it back by itself unless the collector renews it."
    : "For good.";
  return reason ? `${reason}. ${trial}` : trial;
}
