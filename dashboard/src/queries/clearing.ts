/** What an operator may clear, as a tag and in words. */

export type ClearKind = "all" | "metric" | "node";

export const KINDS: readonly { kind: ClearKind; name: string }[] = [
  { kind: "all", name: "Everything" },
  { kind: "metric", name: "One metric" },
  { kind: "node", name: "One node" },
];

/** The tag; `null` while the name is missing. */
export function tagOf(kind: ClearKind, name: string): string | null {
  if (kind === "all") return "all";
  const trimmed = name.trim();
  return trimmed ? `${kind}:${trimmed}` : null;
}

/** What a tag names, in the middle of a sentence. */
function tagWords(tag: string, is: "is" | "was"): string {
  const [kind, name] = [tag.slice(0, tag.indexOf(":")), tag.slice(tag.indexOf(":") + 1)];
  if (tag === "all") return `everything that ${is} kept`;
  if (kind === "node") return `what ${is} kept of the node “${name}”, and of the fleet as a whole`;
  return `what ${is} kept of the metric “${name}”`;
}

/** What to weigh before it is done. */
export function warningWords(tag: string, known: readonly string[]): string {
  const name = tag.slice(tag.indexOf(":") + 1);
  const isUnknown = tag !== "all" && known.length > 0 && !known.includes(name);
  const unknown = isUnknown ? ` No ${tag.slice(0, tag.indexOf(":"))} of this name is known.` : "";
  return `Clear ${tagWords(tag, "is")}? The next such questions go to ClickHouse, here and at collectors that share Redis with this one.${unknown}`;
}

/** What was done. */
export function doneWords(tag: string): string {
  return `Cleared ${tagWords(tag, "was")}.`;
}
