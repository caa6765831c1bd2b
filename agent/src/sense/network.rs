//! Traffic of network interfaces, from /proc/net/dev: of the agent's network namespace.

use std::path::PathBuf;

use flyball_proto::series::{Kind, Scale};

use super::config::NetworkConfig;
use super::counters::Counters;
use super::devices::Devices;
use super::source::Source;
use super::{HostPaths, Metric, Readings, SampleError, Sampler, parse};

pub(super) const IO: Metric =
    metric("system.network.io", "By", "Bytes that the interface received and sent.");
pub(super) const PACKETS: Metric =
    metric("system.network.packet.count", "{packet}", "Packets received and sent.");
pub(super) const ERRORS: Metric =
    metric("system.network.errors", "{error}", "Packets that were received or sent with an error.");
const DROPPED: Metric = metric(
    "system.network.packet.dropped",
    "{packet}",
    "Packets that were dropped though there was no error.",
);

const CAUSES: Metric = Metric::counter(
    "flyball.network.error_causes",
    "{error}",
    &["flyball.reason", "network.interface.name", "network.io.direction"],
    "Errors and losses by cause: a queue of the adapter that overflowed (overrun), a damaged packet (frame), a link that was lost (carrier), a collision.",
);
const MULTICAST: Metric = Metric::counter(
    "flyball.network.packet.multicast",
    "{packet}",
    &["network.interface.name"],
    "Multicast packets received.",
);

/// Columns of /proc/net/dev in the order of the handles: receive, then transmit, of [`IO`], [`PACKETS`], [`ERRORS`], [`DROPPED`]; [`CAUSES`]; [`MULTICAST`].
const COLUMNS: [usize; 14] = [0, 1, 2, 3, 8, 9, 10, 11, 4, 5, 12, 13, 14, 7];
type Numbers = [Option<i64>; COLUMNS.len()];

const fn metric(name: &'static str, unit: &'static str, description: &'static str) -> Metric {
    Metric {
        name,
        unit,
        kind: Kind::Counter,
        scale: Scale::UNIT,
        attributes: &["network.interface.name", "network.io.direction"],
        description,
    }
}

/// Reads /proc/net/dev.
#[derive(Debug)]
pub(super) struct Network {
    dev: Source,
    selection: Selection,
    interfaces: Devices<Option<Counters<{ COLUMNS.len() }>>>,
}

/// Which interfaces are published.
#[derive(Debug)]
pub(super) struct Selection {
    class: PathBuf,
    all: bool,
}

impl Network {
    pub(super) fn new(paths: &HostPaths, config: &NetworkConfig) -> Self {
        Self {
            dev: Source::new(paths.proc.join("net/dev")),
            selection: Selection::new(paths, config),
            interfaces: Devices::default(),
        }
    }
}

impl Sampler for Network {
    fn name(&self) -> &'static str {
        "network"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[IO, PACKETS, ERRORS, DROPPED, CAUSES, MULTICAST]
    }

    fn cost_rank(&self) -> u8 {
        35
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let mut complete = true;
        // Two lines of headings, told by their bars.
        for line in parse::lines(self.dev.read()?).skip_while(|line| line.contains(&b'|')) {
            let Some((name, numbers)) = numbers(line) else {
                complete = false;
                continue;
            };
            let define = |late| interface(&self.selection, name, late, readings);
            if let Some(Some(counters)) = self.interfaces.get(name, define) {
                counters.set(numbers, readings);
            }
        }
        self.interfaces.finish(complete, |counters| {
            if let Some(counters) = counters {
                counters.retire(readings);
            }
        });
        Ok(())
    }
}

impl Selection {
    pub(super) fn new(paths: &HostPaths, config: &NetworkConfig) -> Self {
        Self { class: paths.sys.join("class/net"), all: config.r#virtual }
    }

    /// True when the interface is to be published: see [`NetworkConfig`].
    pub(super) fn holds(&self, name: &str) -> bool {
        if self.all || name == "lo" {
            return true;
        }
        if self.is_physical(name) {
            // The accelerated half of a virtual machine's interface carries the traffic of its master, which is physical too.
            return !self.class.join(name).join("master/device").exists();
        }
        !self.has_physical() && !name.starts_with("veth")
    }

    fn is_physical(&self, name: &str) -> bool {
        !name.contains('/') && self.class.join(name).join("device").exists()
    }

    fn has_physical(&self) -> bool {
        let Ok(interfaces) = self.class.read_dir() else { return false };
        interfaces.flatten().any(|entry| entry.path().join("device").exists())
    }
}

fn interface(
    selection: &Selection,
    name: &[u8],
    late: bool,
    readings: &mut Readings,
) -> Option<Counters<{ COLUMNS.len() }>> {
    let label = parse::attribute(name).filter(|label| selection.holds(label))?;
    let mut define = |metric, direction| {
        let attributes = [("network.interface.name", &*label), ("network.io.direction", direction)];
        readings.define(metric, &attributes)
    };
    let [receive, transmit] =
        ["receive", "transmit"].map(|d| [&IO, &PACKETS, &ERRORS, &DROPPED].map(|m| define(m, d)));
    let mut cause = |reason, direction| {
        let attributes = [
            ("flyball.reason", reason),
            ("network.interface.name", &*label),
            ("network.io.direction", direction),
        ];
        readings.define(&CAUSES, &attributes)
    };
    let causes = [
        cause("overrun", "receive"),
        cause("frame", "receive"),
        cause("overrun", "transmit"),
        cause("collision", "transmit"),
        cause("carrier", "transmit"),
    ];
    let multicast = readings.define(&MULTICAST, &[("network.interface.name", &label)]);
    let ([r0, r1, r2, r3], [t0, t1, t2, t3], [c0, c1, c2, c3, c4]) = (receive, transmit, causes);
    let handles = [r0, r1, r2, r3, t0, t1, t2, t3, c0, c1, c2, c3, c4, multicast];
    Some(Counters::new(handles, late))
}

/// Name and numbers of a line. The name is all before the last colon: it may hold colons itself, numbers do not.
fn numbers(line: &[u8]) -> Option<(&[u8], Numbers)> {
    let colon = line.iter().rposition(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii_start();
    let values: [_; 16] = parse::numbers(parse::fields(&line[colon + 1..]))?;
    (!name.is_empty()).then(|| (name, COLUMNS.map(|column| values[column])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_colons_and_values_that_touch_them() {
        let line = b"eth0:1:1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16";
        let (name, numbers) = numbers(line).unwrap();
        assert_eq!(name, b"eth0:1");
        assert_eq!(numbers, [1, 2, 3, 4, 9, 10, 11, 12, 5, 6, 13, 14, 15, 8].map(Some));
        assert_eq!(super::numbers(b"eth0: 1 2 3"), None);
        assert_eq!(super::numbers(b"eth0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"), None);
    }
}
