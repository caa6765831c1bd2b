/** How full each filesystem is, at the end of the range in view. */
import { bytes, percent } from "../lib/format";
import type { Line } from "../lib/lines";
import { lastKnown } from "../lib/stack";
import { Meter } from "../ui/Meter";
import type { NodeController } from "./controller";
import { natural } from "./panel";
import { DEVICE, FILESYSTEM, FILESYSTEM_STATE, MOUNT, SOURCES } from "./sources";

interface Filesystem {
  mount: string;
  device: string;
  type: string;
  usedBytes: number;
  /** Used and what users may still use; blocks reserved for root do not count. */
  usableBytes: number;
}

/** One filesystem from its lines by state; `null` while its use is unknown. */
function filesystemOf(lines: readonly Line[]): Filesystem | null {
  const state = (name: string): number | null => {
    const line = lines.find(({ attributes }) => attributes[FILESYSTEM_STATE] === name);
    return line ? lastKnown(line.values) : null;
  };
  const used = state("used");
  const free = state("free");
  const attributes = lines[0]?.attributes ?? {};
  if (used === null || free === null) return null;
  return {
    mount: attributes[MOUNT] ?? "?",
    device: attributes[DEVICE] ?? "",
    type: attributes[FILESYSTEM] ?? "",
    usedBytes: used,
    usableBytes: used + free,
  };
}

/** Filesystems of the table, in order of their mount points. */
export function filesystemsOf(lines: readonly Line[]): Filesystem[] {
  const groups = new Map<string, Line[]>();
  for (const line of lines) {
    const key = `${line.attributes[MOUNT]}\u0000${line.attributes[DEVICE]}`;
    groups.set(key, [...(groups.get(key) ?? []), line]);
  }
  return [...groups.values()]
    .flatMap((group) => filesystemOf(group) ?? [])
    .sort((a, b) => natural(a.mount, b.mount));
}

export function Filesystems({ controller }: { controller: NodeController }) {
  controller.version.value;
  const isLoaded = controller.table.isLoaded(SOURCES.filesystems);
  const filesystems = filesystemsOf(controller.table.linesOf(SOURCES.filesystems));
  if (filesystems.length === 0)
    return <p class="waiting">{isLoaded ? "No filesystem is reported in this range." : "Loading…"}</p>;
  return (
    <ul class="filesystems">
      {filesystems.map(({ mount, device, type, usedBytes, usableBytes }) => {
        const ratio = usableBytes > 0 ? usedBytes / usableBytes : null;
        return (
          <li key={`${mount} ${device}`}>
            <span class="fs-mount" title={mount}>
              {mount}
            </span>
            <small>
              {type} on {device}
            </small>
            <Meter ratio={ratio} warn={0.8} alarm={0.92} />
            <span class="num">{ratio === null ? "" : percent(ratio)}</span>
            <span class="fs-bytes">
              {bytes(usedBytes)} of {bytes(usableBytes)}
            </span>
          </li>
        );
      })}
    </ul>
  );
}
