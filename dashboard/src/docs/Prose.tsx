/**
 * Text of the description: what stands between backticks is code, an empty line parts paragraphs, and single
 * line breaks are only how the source was wrapped.
 */
export function Prose({ text }: { text: string | undefined }) {
  const parts = unwrapped(text ?? "").split("`");
  return <>{parts.map((part, at) => (at % 2 === 1 ? <code key={`${at}${part}`}>{part}</code> : part))}</>;
}

/** `text` with wrapped lines joined; items of lists keep their lines. */
export function unwrapped(text: string): string {
  return text.replace(/(?<!\n)\n(?!\n|\s*[-*] )/g, " ");
}
