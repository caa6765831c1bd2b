/** What a change is about, as a link to its page where there is one. */
import type { Member, Target } from "../api/steering";
import type { TimeRange } from "../lib/range";
import { pageHref } from "../state/route";
import { placeWords } from "./words";

/** Kinds of targets that have a page among the caches. */
const CACHES: readonly string[] = ["redis", "memcached"];

/** Whether the id is that of a group, which has no page. */
const isGroupId = (id: string): boolean => id.split(":")[1] === "*";

/** Where the page of a target is, over a range of time; null without one. */
export function targetHref(id: string, kind: string, range?: TimeRange): string | null {
  return CACHES.includes(kind) && !isGroupId(id) ? pageHref("caches", id, range) : null;
}

interface Props {
  target: Target;
  /** Those of a group. */
  members?: readonly Member[] | null | undefined;
}

export function TargetLink({ target, members = null }: Props) {
  const { id, kind, name, node } = target;
  const href = targetHref(id, kind);
  const place = node || placeWords(members ?? []);
  const what = name === "*" ? `${members?.length ?? "several"} caches` : name;
  return (
    <span class="target">
      {href ? <a href={href}>{name}</a> : what} {place && <small>on {place}</small>}
    </span>
  );
}

/** A target of which only the id is known, which begins with its kind. */
export function TargetOfId({ id }: { id: string }) {
  const [kind = ""] = id.split(":");
  const href = id.includes(":") ? targetHref(id, kind) : null;
  return href ? <a href={href}>{id}</a> : <span>{id}</span>;
}
