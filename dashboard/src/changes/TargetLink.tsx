/** What a change is about, as a link to its page where there is one. */
import type { Target } from "../api/steering";
import type { TimeRange } from "../lib/range";
import { pageHref } from "../state/route";

/** Kinds of targets that have a page among the caches. */
const CACHES: readonly string[] = ["redis", "memcached"];

/** Where the page of a target is, over a range of time; null without one. */
export function targetHref(id: string, kind: string, range?: TimeRange): string | null {
  return CACHES.includes(kind) ? pageHref("caches", id, range) : null;
}

export function TargetLink({ target }: { target: Target }) {
  const { id, kind, name, node } = target;
  const href = targetHref(id, kind);
  return (
    <span class="target">
      {href ? <a href={href}>{name}</a> : name} {node && <small>on {node}</small>}
    </span>
  );
}

/** A target of which only the id is known, which begins with its kind. */
export function TargetOfId({ id }: { id: string }) {
  const [kind = ""] = id.split(":");
  const href = id.includes(":") ? targetHref(id, kind) : null;
  return href ? <a href={href}>{id}</a> : <span>{id}</span>;
}
