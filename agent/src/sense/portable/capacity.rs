//! Free space of file systems from sysinfo.

use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use sysinfo::{Disk, DiskRefreshKind, Disks};

use super::super::config::FilesystemConfig;
use super::super::devices::Devices;
use super::super::filesystem::{self, mounts};
use super::super::{Handle, Isolation, Metric, Readings, SampleError, Sampler, parse};
use super::failed;

/// Free space of mounts.
#[derive(Debug)]
pub(in super::super) struct Filesystem {
    config: FilesystemConfig,
    disks: Option<Disks>,
    file_systems: Devices<Option<Handle>>,
}

impl Filesystem {
    pub(in super::super) fn new(config: &FilesystemConfig) -> Self {
        Self { config: config.clone(), disks: None, file_systems: Devices::default() }
    }
}

impl Sampler for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[filesystem::USAGE]
    }

    fn isolation(&self) -> Isolation {
        Isolation::Thread
    }

    fn period(&self) -> Option<Duration> {
        Some(self.config.period())
    }

    fn cost_rank(&self) -> u8 {
        60
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        if self.disks.is_none() {
            self.disks = Some(Disks::new().map_err(failed)?);
        }
        let disks = self.disks.as_mut().expect("made above");
        disks.refresh_specifics(true, DiskRefreshKind::nothing().with_storage());
        // Of the mounts of one device, the one with the shortest path.
        let mut mounted: Vec<&Disk> = disks.iter().filter(|disk| disk.total_space() > 0).collect();
        mounted.sort_by_key(|disk| disk.mount_point().as_os_str().len());
        for disk in mounted {
            let number = disk.id().map(u64::to_le_bytes);
            let key = number.as_ref().map_or(disk.mount_point().as_os_str().as_bytes(), |n| n);
            let define = |_| define(disk, &self.config, readings);
            if let Some(Some(free)) = self.file_systems.get(key, define) {
                readings.set(*free, (disk.available_space() / 1024) as i64);
            }
        }
        self.file_systems.finish(true, |free| {
            if let Some(free) = free {
                readings.retire(free);
            }
        });
        Ok(())
    }
}

fn define(disk: &Disk, config: &FilesystemConfig, readings: &mut Readings) -> Option<Handle> {
    let mountpoint = parse::attribute(disk.mount_point().as_os_str().as_bytes())?;
    let kind = parse::attribute(disk.file_system().as_bytes())?;
    let device = parse::attribute(disk.name().as_bytes())?;
    let attributes = [
        ("system.device", &*device),
        ("system.filesystem.mountpoint", &*mountpoint),
        ("system.filesystem.state", "free"),
        ("system.filesystem.type", &*kind),
    ];
    mounts::is_wanted(&kind, &mountpoint, config)
        .then(|| readings.define(&filesystem::USAGE, &attributes))
}
