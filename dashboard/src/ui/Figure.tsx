/** One figure with its name, in a list of figures. */
import type { ComponentChildren } from "preact";

interface FigureProps {
  name: string;
  help?: string;
  tone?: "good" | "warn" | "bad" | undefined;
  children: ComponentChildren;
}

export function Figure({ name, help, tone, children }: FigureProps) {
  return (
    <div title={help}>
      <dt>{name}</dt>
      <dd data-tone={tone}>{children}</dd>
    </div>
  );
}
