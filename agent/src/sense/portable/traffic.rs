//! Traffic of mounted block devices and of network interfaces from sysinfo.

use std::os::unix::ffi::OsStrExt;

use sysinfo::{DiskRefreshKind, Disks, Networks};

use super::super::config::NetworkConfig;
use super::super::counters::Counters;
use super::super::devices::Devices;
use super::super::network::{self, Selection};
use super::super::{HostPaths, Isolation, Metric, Readings, SampleError, Sampler, disk, parse};
use super::failed;

/// Bytes of mounted block devices.
#[derive(Debug, Default)]
pub(in super::super) struct Disk {
    disks: Option<Disks>,
    devices: Devices<Option<Counters<2>>>,
}

/// Bytes, packets and errors of interfaces.
#[derive(Debug)]
pub(in super::super) struct Network {
    networks: Option<Networks>,
    selection: Selection,
    interfaces: Devices<Option<Counters<6>>>,
}

impl Sampler for Disk {
    fn name(&self) -> &'static str {
        "disk"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[disk::IO]
    }

    /// sysinfo asks each mount for its device, which may hang.
    fn isolation(&self) -> Isolation {
        Isolation::Thread
    }

    fn cost_rank(&self) -> u8 {
        70
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        if self.disks.is_none() {
            self.disks = Some(Disks::new().map_err(failed)?);
        }
        let disks = self.disks.as_mut().expect("made above");
        disks.refresh_specifics(true, DiskRefreshKind::nothing().with_io_usage());
        for mounted in disks.iter() {
            let Some(name) = mounted.name().as_bytes().strip_prefix(b"/dev/") else { continue };
            let sectors = |bytes: u64| i64::try_from(bytes / 512).ok();
            let usage = mounted.usage();
            let define = |late| device(name, late, readings);
            // A device that is mounted twice is listed twice.
            if let Some(Some(counters)) = self.devices.get(name, define) {
                let bytes = [usage.total_read_bytes, usage.total_written_bytes];
                counters.set(bytes.map(sectors), readings);
            }
        }
        self.devices.finish(true, |counters| retire(counters, readings));
        Ok(())
    }
}

impl Network {
    pub(in super::super) fn new(paths: &HostPaths, config: &NetworkConfig) -> Self {
        let selection = Selection::new(paths, config);
        Self { networks: None, selection, interfaces: Devices::default() }
    }
}

impl Sampler for Network {
    fn name(&self) -> &'static str {
        "network"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[network::IO, network::PACKETS, network::ERRORS]
    }

    fn cost_rank(&self) -> u8 {
        80
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        if self.networks.is_none() {
            self.networks = Some(Networks::new().map_err(failed)?);
        }
        let networks = self.networks.as_mut().expect("made above");
        networks.refresh(true);
        for (name, data) in networks.iter() {
            let numbers = [
                data.total_received(),
                data.total_packets_received(),
                data.total_errors_on_received(),
                data.total_transmitted(),
                data.total_packets_transmitted(),
                data.total_errors_on_transmitted(),
            ];
            let define = |late| interface(&self.selection, name.as_bytes(), late, readings);
            if let Some(Some(counters)) = self.interfaces.get(name.as_bytes(), define) {
                counters.set(numbers.map(|number| i64::try_from(number).ok()), readings);
            }
        }
        self.interfaces.finish(true, |counters| retire(counters, readings));
        Ok(())
    }
}

fn device(name: &[u8], late: bool, readings: &mut Readings) -> Option<Counters<2>> {
    let label = parse::attribute(name)?;
    let direction = |direction| {
        readings.define(&disk::IO, &[("disk.io.direction", direction), ("system.device", &*label)])
    };
    Some(Counters::new(["read", "write"].map(direction), late))
}

fn interface(
    selection: &Selection,
    name: &[u8],
    late: bool,
    readings: &mut Readings,
) -> Option<Counters<6>> {
    let label = parse::attribute(name).filter(|label| selection.holds(label))?;
    let mut define = |metric, direction| {
        let attributes = [("network.interface.name", &*label), ("network.io.direction", direction)];
        readings.define(metric, &attributes)
    };
    let handles = [
        define(&network::IO, "receive"),
        define(&network::PACKETS, "receive"),
        define(&network::ERRORS, "receive"),
        define(&network::IO, "transmit"),
        define(&network::PACKETS, "transmit"),
        define(&network::ERRORS, "transmit"),
    ];
    Some(Counters::new(handles, late))
}

fn retire<const N: usize>(counters: Option<Counters<N>>, readings: &mut Readings) {
    if let Some(counters) = counters {
        counters.retire(readings);
    }
}
