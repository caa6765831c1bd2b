//! Figures of a node's status that are computed from its series: shares, and rates of counters summed over devices.
//!
//! A rate is the difference of two values of one counter over the time between them. A flagged reset, a value that fell or a
//! first value gives no rate: unknown is not zero. Loopback is left out of the network, and everything that is not a whole physical or virtual disk
//! (partitions, device mapper, loop, RAM, RAID members' sums) out of the disks, so that no byte counts twice.

use flyball_proto::series::Series;

use super::node::Slot;
use super::status::NodeStatus;

/// Names of devices that stand on top of others or on memory.
const LAYERED_DISKS: [&str; 7] = ["dm-", "loop", "ram", "zram", "md", "sr", "fd"];

/// Direction of a transfer: received or read, sent or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    In,
    Out,
}

/// What a series is to the status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    CpuIdle,
    CpuIowait,
    MemoryUsed,
    Load1m,
    Network(Direction),
    Disk(Direction),
}

/// A slot with a role.
#[derive(Debug)]
struct Tracked {
    slot: u32,
    role: Role,
    /// Last raw value and its time, for rates.
    previous: Option<(i64, i64)>,
    rate: Option<f64>,
}

/// The slots that the status is computed from.
#[derive(Debug, Default)]
pub(super) struct Derived {
    tracked: Vec<Tracked>,
}

impl Role {
    /// The role of a series; `None` for most.
    pub(super) fn of(series: &Series) -> Option<Self> {
        match series.metric.as_str() {
            "system.cpu.utilization" => match series.attribute("cpu.mode")? {
                "idle" => Some(Self::CpuIdle),
                "iowait" => Some(Self::CpuIowait),
                _ => None,
            },
            "system.memory.utilization" => {
                (series.attribute("system.memory.state")? == "used").then_some(Self::MemoryUsed)
            }
            "system.cpu.load_average.1m" => Some(Self::Load1m),
            "system.network.io" => {
                let interface = series.attribute("network.interface.name")?;
                let direction = match series.attribute("network.io.direction")? {
                    "receive" => Direction::In,
                    "transmit" => Direction::Out,
                    _ => return None,
                };
                (!is_loopback(interface)).then_some(Self::Network(direction))
            }
            "system.disk.io" => {
                let device = series.attribute("system.device")?;
                let direction = match series.attribute("disk.io.direction")? {
                    "read" => Direction::In,
                    "write" => Direction::Out,
                    _ => return None,
                };
                is_whole_disk(device).then_some(Self::Disk(direction))
            }
            _ => None,
        }
    }

    const fn is_rate(self) -> bool {
        matches!(self, Self::Network(_) | Self::Disk(_))
    }
}

/// Metrics that the status is computed from.
pub(super) const METRICS: [&str; 5] = [
    "system.cpu.utilization",
    "system.memory.utilization",
    "system.cpu.load_average.1m",
    "system.network.io",
    "system.disk.io",
];

impl Derived {
    pub(super) fn clear(&mut self) {
        self.tracked.clear();
    }

    pub(super) fn define(&mut self, slot: u32, series: &Series) {
        if let Some(role) = Role::of(series) {
            self.tracked.push(Tracked { slot, role, previous: None, rate: None });
        }
    }

    /// Takes the values of the frame at `ts_ms` into the rates.
    pub(super) fn advance(&mut self, slots: &[Option<Slot>], ts_ms: i64) {
        for tracked in self.tracked.iter_mut().filter(|t| t.role.is_rate()) {
            let Some(slot) = slot(slots, tracked.slot).filter(|slot| slot.ts_ms() == ts_ms) else {
                continue;
            };
            // The tick's first frame had this series already.
            if tracked.previous.is_some_and(|(_, at_ms)| at_ms == ts_ms) {
                continue;
            }
            let seconds = |from_ms: i64| (ts_ms - from_ms) as f64 / 1_000.0;
            let scale = slot.series.scale;
            tracked.rate = tracked.previous.and_then(|(raw, from_ms)| {
                let delta = scale.value(slot.raw) - scale.value(raw);
                let usable = !slot.reset() && from_ms < ts_ms && delta >= 0.0;
                usable.then(|| delta / seconds(from_ms))
            });
            tracked.previous = Some((slot.raw, ts_ms));
        }
    }

    /// Writes the figures into `status`. Values older than `oldest_ms` are unknown.
    pub(super) fn apply(&self, slots: &[Option<Slot>], oldest_ms: i64, status: &mut NodeStatus) {
        let (mut idle, mut iowait) = (None, None);
        let mut sums = [None; 4];
        (status.memory_utilization, status.load_1m) = (None, None);
        for tracked in &self.tracked {
            let Some(slot) = slot(slots, tracked.slot).filter(|s| s.ts_ms() >= oldest_ms) else {
                continue;
            };
            let value = || Some(slot.value()).filter(|value| value.is_finite());
            match tracked.role {
                Role::CpuIdle => idle = value(),
                Role::CpuIowait => iowait = value(),
                Role::MemoryUsed => status.memory_utilization = value(),
                Role::Load1m => status.load_1m = value(),
                Role::Network(direction) => add(&mut sums[direction as usize], tracked.rate),
                Role::Disk(direction) => add(&mut sums[2 + direction as usize], tracked.rate),
            }
        }
        status.cpu_utilization =
            idle.map(|idle| (1.0 - idle - iowait.unwrap_or(0.0)).clamp(0.0, 1.0));
        [
            status.network_receive_bytes_per_second,
            status.network_transmit_bytes_per_second,
            status.disk_read_bytes_per_second,
            status.disk_write_bytes_per_second,
        ] = sums;
    }
}

fn slot(slots: &[Option<Slot>], number: u32) -> Option<&Slot> {
    slots.get(number as usize)?.as_ref()
}

fn add(sum: &mut Option<f64>, rate: Option<f64>) {
    if let Some(rate) = rate {
        *sum = Some(sum.unwrap_or(0.0) + rate);
    }
}

fn is_loopback(interface: &str) -> bool {
    interface == "lo" || interface.strip_prefix("lo").is_some_and(is_number)
}

/// True for `sda`, `vda`, `nvme0n1`, `mmcblk0`, `disk0`; false for partitions of them and for what is layered on disks.
fn is_whole_disk(device: &str) -> bool {
    let name = device.rsplit('/').next().unwrap_or(device);
    if LAYERED_DISKS.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(is_number)) {
        return false;
    }
    let Some(stem) = strip_number(name) else {
        return true;
    };
    // A trailing number is a partition's after `p` that follows a number (nvme0n1p1) and after disks that are named by letters (sda1).
    if let Some(disk) = stem.strip_suffix('p') {
        return strip_number(disk).is_none();
    }
    let lettered = ["sd", "vd", "xvd", "hd"];
    !lettered.iter().any(|prefix| stem.len() > prefix.len() && stem.starts_with(prefix))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

/// The text before the digits at the end; `None` when there are none.
fn strip_number(text: &str) -> Option<&str> {
    let stem = text.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem.len() < text.len()).then_some(stem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_disks_count() {
        for disk in ["sda", "vdb", "nvme0n1", "mmcblk0", "xvda", "nvme12n3", "disk0", "/dev/sdb"] {
            assert!(is_whole_disk(disk), "{disk}");
        }
        for part in [
            "sda1",
            "vdb12",
            "nvme0n1p1",
            "mmcblk0p2",
            "xvda3",
            "dm-0",
            "loop3",
            "ram0",
            "zram0",
            "md0",
            "md127",
            "sr0",
            "/dev/sdb1",
        ] {
            assert!(!is_whole_disk(part), "{part}");
        }
    }

    #[test]
    fn loopback_is_told_from_interfaces_that_begin_like_it() {
        assert!(is_loopback("lo") && is_loopback("lo0"));
        assert!(!is_loopback("lora") && !is_loopback("eth0"));
    }
}
