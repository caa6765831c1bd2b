/** Charts of disks. */
import type { Line, Values } from "../../lib/lines";
import { combine } from "../../lib/stack";
import { asShare, each, mirrored, type Panel } from "../panel";
import { DEVICE, DISK_DIRECTION } from "../sources";

const READ_WRITE = ["read", "write"] as const;

const DISK_BYTES: Panel = {
  id: "disk",
  title: "Disk throughput",
  unit: "bytes/s",
  about: "Bytes read (above) and written (below) a second by each disk, after the page cache.",
  shape: "mirror",
  directions: READ_WRITE,
  sources: ["diskBytes"],
  rows: (lines) => mirrored(lines("diskBytes"), DEVICE, DISK_DIRECTION, READ_WRITE),
  absent: "This host reports no disks.",
};

const DISK_OPS: Panel = {
  id: "diskops",
  title: "Disk operations",
  unit: "ops/s",
  about:
    "Completed reads (above) and writes (below) a second. Many operations with little throughput are small, scattered ones.",
  shape: "mirror",
  directions: READ_WRITE,
  sources: ["diskOps"],
  rows: (lines) => mirrored(lines("diskOps"), DEVICE, DISK_DIRECTION, READ_WRITE),
  absent: "This host reports no disks.",
};

const DISK_BUSY: Panel = {
  id: "diskbusy",
  title: "Disk busy",
  unit: "ratio",
  about:
    "Share of time with at least one operation in flight. A single spinning disk at 100 % is saturated; an SSD may still have room.",
  shape: "lines",
  sources: ["diskBusy"],
  rows: (lines) => each(lines("diskBusy").map(asShare), DEVICE),
  absent: "This host reports no disks.",
};

/** Mean time of one operation: time spent / operations done, unknown where nothing was done. */
function operationTime(times: readonly Line[], operations: readonly Line[]): Line[] {
  return times.flatMap((time) => {
    const same = operations.find(
      ({ attributes }) =>
        attributes[DEVICE] === time.attributes[DEVICE] &&
        attributes[DISK_DIRECTION] === time.attributes[DISK_DIRECTION],
    );
    if (!same) return [];
    // A quiet second has no operation to time: 0 says so better than a hole, which would mean "not measured".
    const values: Values = combine((spent, done) => (done > 0 ? spent / done : 0), time.values, same.values);
    return [{ attributes: time.attributes, values }];
  });
}

const DISK_TIME: Panel = {
  id: "disktime",
  title: "Disk time per operation",
  unit: "seconds",
  about:
    "Mean time a read (above) or write (below) took, queueing included; zero when there was none. The number that programs feel.",
  shape: "mirror",
  directions: READ_WRITE,
  sources: ["diskTime", "diskOps"],
  rows: (lines) =>
    mirrored(operationTime(lines("diskTime"), lines("diskOps")), DEVICE, DISK_DIRECTION, READ_WRITE),
  absent: "This host does not time its disks' operations.",
};

export const DISK_PANELS: readonly Panel[] = [DISK_BYTES, DISK_OPS, DISK_BUSY, DISK_TIME];
