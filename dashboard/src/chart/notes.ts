/** What is drawn over a chart besides its lines: moments, what was expected, and what was seen. */
import type { Tone } from "../ui/Pill";

/** A vertical line with a word. */
export interface Mark {
  tsMs: number;
  label: string;
}

/** What was promised over a stretch of time, or what would have been without a change. */
export interface Expectation {
  kind: "promised" | "without";
  fromMs: number;
  toMs: number;
  value: number;
  low: number;
  high: number;
}

/** What was seen up to a moment, with its interval. */
export interface Observation {
  tsMs: number;
  value: number;
  low: number;
  high: number;
  tone: Tone;
}

export interface ChartNotes {
  marks?: readonly Mark[];
  expected?: readonly Expectation[];
  observed?: readonly Observation[];
}

/** The notes of one panel: those of all panels and its own. */
export function notesOf(all: Readonly<Record<string, ChartNotes>>, panel: string): ChartNotes {
  return { ...all[""], ...all[panel] };
}

/** Every value that the notes need room for. */
export function noteValues({ expected = [], observed = [] }: ChartNotes): number[] {
  return [...expected, ...observed].flatMap(({ low, value, high }) => [low, value, high]);
}
