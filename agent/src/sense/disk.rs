//! Traffic of block devices, from /proc/diskstats (fields: Documentation/admin-guide/iostats.rst).
//!
//! The times are 32-bit milliseconds in the kernel and wrap after 49.7 days of activity; a wrap is carried on, so only a real restart is flagged.

use std::path::PathBuf;

use flyball_proto::series::{Kind, Scale};

use super::config::DiskConfig;
use super::counters::Counters;
use super::devices::Devices;
use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

pub(super) const IO: Metric = Metric {
    name: "system.disk.io",
    unit: "By",
    kind: Kind::Counter,
    scale: Scale::binary(9),
    attributes: &["disk.io.direction", "system.device"],
    description: "Bytes read from and written to the device.",
};
const OPERATIONS: Metric = Metric {
    name: "system.disk.operations",
    unit: "{operation}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &["disk.io.direction", "system.device"],
    description: "Reads and writes that the device completed.",
};
const OPERATION_TIME: Metric = Metric {
    name: "system.disk.operation_time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(3),
    attributes: &["disk.io.direction", "system.device"],
    description: "Sum of the times that each read and write took, queueing included.",
};
const IO_TIME: Metric = Metric {
    name: "system.disk.io_time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(3),
    attributes: &["system.device"],
    description: "Time during which the device was busy.",
};

const MERGED: Metric = Metric {
    name: "system.disk.merged",
    unit: "{operation}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &["disk.io.direction", "system.device"],
    description: "Reads and writes that were merged with a neighbouring one before they reached the device.",
};
const QUEUE_TIME: Metric = Metric {
    name: "flyball.disk.queue_time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(3),
    attributes: &["system.device"],
    description: "Time weighted by the operations under way: its rate is the mean length of the queue.",
};
const PENDING: Metric = Metric {
    name: "flyball.disk.operations.pending",
    unit: "{operation}",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &["system.device"],
    description: "Operations that the device has been given and has not completed.",
};

const DISCARDED: Metric = Metric {
    name: "flyball.disk.discard.io",
    unit: "By",
    kind: Kind::Counter,
    scale: Scale::binary(9),
    attributes: &["system.device"],
    description: "Bytes that the device was told it need not keep (trim).",
};
const DISCARDS: Metric = Metric::counter(
    "flyball.disk.discard.operations",
    "{operation}",
    &["system.device"],
    "Discards that the device completed.",
);
const DISCARD_TIME: Metric =
    time("flyball.disk.discard.operation_time", "Sum of the times that each discard took.");
const FLUSHES: Metric = Metric::counter(
    "flyball.disk.flush.operations",
    "{operation}",
    &["system.device"],
    "Flushes of its cache that the device completed; synchronous writes cause them.",
);
const FLUSH_TIME: Metric =
    time("flyball.disk.flush.operation_time", "Sum of the times that each flush took.");

const fn time(name: &'static str, description: &'static str) -> Metric {
    let (kind, scale) = (Kind::Counter, Scale::decimal(3));
    Metric { name, unit: "s", kind, scale, attributes: &["system.device"], description }
}

/// Never real devices of their own: memory, files and drives without a medium.
const SKIPPED_PREFIXES: [&[u8]; 5] = [b"loop", b"ram", b"zram", b"fd", b"sr"];
/// Kept as 64-bit counters by all kernels in use: the first nine of [`Numbers::counters`].
const WIDE: usize = 9;
const COUNTERS: usize = 15;

/// Numbers of one line.
#[derive(Debug, PartialEq, Eq)]
struct Numbers {
    /// Sectors read, written, reads, writes, merged reads, writes, sectors discarded, discards, flushes; milliseconds of reads, of writes, busy, weighted, of discards, of
    /// flushes.
    counters: [Option<i64>; COUNTERS],
    pending: Option<i64>,
}

/// Reads /proc/diskstats.
#[derive(Debug)]
pub(super) struct Disk {
    diskstats: Source,
    selection: Selection,
    devices: Devices<Option<Device>>,
}

/// Which devices are published.
#[derive(Debug)]
struct Selection {
    block: PathBuf,
    stacked: bool,
}

#[derive(Debug)]
struct Device {
    counters: Counters<COUNTERS>,
    pending: Handle,
}

impl Disk {
    pub(super) fn new(paths: &HostPaths, config: &DiskConfig) -> Self {
        Self {
            diskstats: Source::new(paths.proc.join("diskstats")),
            selection: Selection { block: paths.sys.join("block"), stacked: config.stacked },
            devices: Devices::default(),
        }
    }
}

impl Sampler for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[
            IO,
            OPERATIONS,
            MERGED,
            OPERATION_TIME,
            IO_TIME,
            QUEUE_TIME,
            PENDING,
            DISCARDED,
            DISCARDS,
            DISCARD_TIME,
            FLUSHES,
            FLUSH_TIME,
        ]
    }

    fn cost_rank(&self) -> u8 {
        30
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let mut complete = true;
        for line in parse::lines(self.diskstats.read()?) {
            let Some((name, numbers)) = numbers(line) else {
                complete = false;
                continue;
            };
            let define = |late| self.selection.device(name, late, readings);
            if let Some(Some(device)) = self.devices.get(name, define) {
                device.set(&numbers, readings);
            }
        }
        self.devices.finish(complete, |device| {
            if let Some(device) = device {
                readings.retire(device.pending);
                device.counters.retire(readings);
            }
        });
        Ok(())
    }
}

impl Selection {
    fn device(&self, name: &[u8], late: bool, readings: &mut Readings) -> Option<Device> {
        if SKIPPED_PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
            return None;
        }
        let label = parse::attribute(name)?;
        // In sysfs a slash of a device's name is an exclamation mark.
        let directory = self.block.join(label.replace('/', "!"));
        let part = if self.block.is_dir() { !directory.is_dir() } else { is_partition(name) };
        let made_of_others =
            || directory.join("slaves").read_dir().is_ok_and(|mut d| d.next().is_some());
        if part || (!self.stacked && made_of_others()) {
            return None;
        }
        let mut define = |metric, direction: Option<&str>| match direction {
            Some(direction) => readings
                .define(metric, &[("disk.io.direction", direction), ("system.device", &label)]),
            None => readings.define(metric, &[("system.device", &label)]),
        };
        let handles = [
            define(&IO, Some("read")),
            define(&IO, Some("write")),
            define(&OPERATIONS, Some("read")),
            define(&OPERATIONS, Some("write")),
            define(&MERGED, Some("read")),
            define(&MERGED, Some("write")),
            define(&DISCARDED, None),
            define(&DISCARDS, None),
            define(&FLUSHES, None),
            define(&OPERATION_TIME, Some("read")),
            define(&OPERATION_TIME, Some("write")),
            define(&IO_TIME, None),
            define(&QUEUE_TIME, None),
            define(&DISCARD_TIME, None),
            define(&FLUSH_TIME, None),
        ];
        let pending = define(&PENDING, None);
        Some(Device { counters: Counters::new(handles, late), pending })
    }
}

impl Device {
    fn set(&mut self, numbers: &Numbers, readings: &mut Readings) {
        let mut now = numbers.counters;
        let last = self.counters.last();
        let restarted = now[..WIDE].iter().zip(&last[..WIDE]).any(|(now, last)| now < last);
        if !restarted {
            for (now, last) in now[WIDE..].iter_mut().zip(&last[WIDE..]) {
                *now = now.map(|now| last.map_or(now, |last| carried_on(last, now)));
            }
        }
        self.counters.set(now, readings);
        if let Some(pending) = numbers.pending {
            readings.set(self.pending, pending);
        }
    }
}

/// The 32-bit `now` with as many wraps added as `last` has, or one more.
fn carried_on(last: i64, now: i64) -> i64 {
    const WRAP: i64 = 1 << 32;
    if !(0..WRAP).contains(&now) {
        return now;
    }
    let same_wraps = (last & !(WRAP - 1)) + now;
    match last - same_wraps {
        // Up to a second of stepping back: the kernel sums over processors while they count.
        back @ 1..=1000 => same_wraps + back,
        back if back > WRAP / 2 => same_wraps.saturating_add(WRAP),
        _ => same_wraps,
    }
}

/// Name and numbers of a line: major, minor, name, then reads, merged, sectors, ms, writes, merged, sectors, ms, in flight, busy ms, weighted ms; since Linux 4.18 discards,
/// merged, sectors, ms; since 5.5 flushes, ms.
fn numbers(line: &[u8]) -> Option<(&[u8], Numbers)> {
    let mut fields = parse::fields(line);
    parse::unsigned(fields.next()?)?;
    parse::unsigned(fields.next()?)?;
    let name = fields.next()?;
    let columns: [_; 11] = parse::numbers(fields.by_ref())?;
    let mut later = [None; 6];
    for (column, field) in later.iter_mut().zip(fields) {
        *column = parse::integer(field);
    }
    let early = |column: usize| columns[column];
    let [reads, merged_reads, sectors_read, read_ms] = [0, 1, 2, 3].map(early);
    let [writes, merged_writes, sectors_written, write_ms] = [4, 5, 6, 7].map(early);
    let [pending, busy_ms, weighted_ms] = [8, 9, 10].map(early);
    let [discards, _merged, sectors_discarded, discard_ms, flushes, flush_ms] = later;
    let counters = [
        sectors_read,
        sectors_written,
        reads,
        writes,
        merged_reads,
        merged_writes,
        sectors_discarded,
        discards,
        flushes,
        read_ms,
        write_ms,
        busy_ms,
        weighted_ms,
        discard_ms,
        flush_ms,
    ];
    Some((name, Numbers { counters, pending }))
}

/// By name alone, where there is no sysfs: `sda1`, `nvme0n1p2`, `mmcblk0p1`.
fn is_partition(name: &[u8]) -> bool {
    let Some(end) = name.iter().rposition(|byte| !byte.is_ascii_digit()) else { return false };
    let stem = &name[..=end];
    if stem.len() == name.len() {
        return false;
    }
    let lettered = [&b"sd"[..], b"hd", b"vd", b"xvd"].iter().any(|prefix| name.starts_with(prefix));
    let numbered = [&b"nvme"[..], b"mmcblk"].iter().any(|prefix| name.starts_with(prefix));
    lettered || (numbered && stem.ends_with(b"p"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_wrap_at_32_bits_and_are_carried_on() {
        const WRAP: i64 = 1 << 32;
        assert_eq!(carried_on(10, 20), 20);
        assert_eq!(carried_on(WRAP - 5, 7), WRAP + 7);
        assert_eq!(carried_on(WRAP + 7, 9), WRAP + 9);
        assert_eq!(carried_on(3 * WRAP - 1, 0), 3 * WRAP);
        assert_eq!(carried_on(100, 99), 100);
        assert_eq!(carried_on(WRAP + 100, 99), WRAP + 100);
        assert_eq!(carried_on(500_000, 2), 2);
    }

    #[test]
    fn partitions_are_known_by_name_without_sysfs() {
        for part in [&b"sda1"[..], b"vda15", b"xvda1", b"nvme0n1p2", b"mmcblk0p1"] {
            assert!(is_partition(part), "{part:?}");
        }
        for whole in [&b"sda"[..], b"vdb", b"nvme0n1", b"mmcblk0", b"dm-0", b"md127", b"7"] {
            assert!(!is_partition(whole), "{whole:?}");
        }
    }

    #[test]
    fn a_line_with_a_huge_number_keeps_the_others() {
        let (name, numbers) =
            numbers(b"254 0 vda 1 0 18446744073709551615 4 5 0 7 8 9 10 11").unwrap();
        assert_eq!(name, b"vda");
        let wide = [None, Some(7), Some(1), Some(5), Some(0), Some(0), None, None, None];
        assert_eq!(numbers.counters[..WIDE], wide);
        let times = [Some(4), Some(8), Some(10), Some(11), None, None];
        assert_eq!(numbers.counters[WIDE..], times);
        assert_eq!(numbers.pending, Some(9));
        assert_eq!(super::numbers(b"254 0 vda 1 0 x 4 5 0 7 8 9 10 11"), None);
        assert_eq!(super::numbers(b"254 0 vda 1 0 3 4"), None);
        let (_, numbers) =
            super::numbers(b"254 0 vda 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17").unwrap();
        assert_eq!(numbers.counters[6..WIDE], [Some(14), Some(12), Some(16)]);
        assert_eq!(numbers.counters[13..], [Some(15), Some(17)]);
    }
}
