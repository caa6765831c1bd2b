/** A state in one word, with a colour that says whether it is well. */
import type { ComponentChildren } from "preact";

export type Tone = "good" | "warn" | "bad" | "calm";

interface Props {
  tone: Tone;
  /** Longer words for readers who ask. */
  help?: string | undefined;
  children: ComponentChildren;
}

export function Pill({ tone, help, children }: Props) {
  return (
    <span class="pill" data-tone={tone} title={help}>
      {children}
    </span>
  );
}
