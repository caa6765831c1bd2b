//! Settings of the samplers.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Where the host's numbers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The files of /proc and /sys, read directly: everything, at the least cost.
    Linux,
    /// The sysinfo crate: fewer series, the same names and units, more CPU.
    Portable,
}

/// Roots of the file trees that the samplers read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostPaths {
    /// The proc file system, `/proc`.
    pub proc: PathBuf,
    /// The sys file system, `/sys`.
    pub sys: PathBuf,
    /// What the mount points of the mount table are relative to, `/`.
    pub root: PathBuf,
}

/// Settings of the samplers; the defaults suit a host that serves something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SenseConfig {
    /// Where the numbers come from.
    pub backend: Backend,
    /// Roots of the file trees.
    pub paths: HostPaths,
    /// Which block devices.
    pub disk: DiskConfig,
    /// Which mounts.
    pub filesystem: FilesystemConfig,
    /// Which interfaces.
    pub network: NetworkConfig,
    /// Which processes, how often.
    pub processes: ProcessesConfig,
}

/// Which block devices are published. Never: partitions, loop, ram, zram, floppies and optical drives.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DiskConfig {
    /// Also those made of others (LVM, device mapper, software RAID). Off, because their traffic is in the devices below them, and sums over devices would count it twice.
    pub stacked: bool,
}

/// Which mounts are published. Never: kernel file systems, overlays other than the root, read-only images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesystemConfig {
    /// Seconds between two reads.
    pub period_seconds: u32,
    /// Also tmpfs. Off, because what it holds is memory and counted there.
    pub tmpfs: bool,
    /// Also network and user-space file systems. Each is asked on a thread of its own, so that one whose server is gone delays no other.
    pub remote: bool,
}

/// Which interfaces are published: physical ones and loopback; where there is no physical one (a container), all but `veth*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NetworkConfig {
    /// Also virtual ones (bridges, bonds, tunnels, VLANs, veth). Off, because their traffic passes a physical one too, and sums over interfaces would count it twice.
    pub r#virtual: bool,
}

/// Which processes are published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessesConfig {
    /// How many of the largest by CPU, and again by memory; 0: none, and nothing is read but the number of processes by state.
    pub top: u16,
    /// Seconds between two reads.
    pub period_seconds: u32,
}

impl Default for HostPaths {
    fn default() -> Self {
        Self { proc: "/proc".into(), sys: "/sys".into(), root: "/".into() }
    }
}

impl Default for SenseConfig {
    fn default() -> Self {
        Self {
            backend: if cfg!(target_os = "linux") { Backend::Linux } else { Backend::Portable },
            paths: HostPaths::default(),
            disk: DiskConfig::default(),
            filesystem: FilesystemConfig::default(),
            network: NetworkConfig::default(),
            processes: ProcessesConfig::default(),
        }
    }
}

impl Default for FilesystemConfig {
    fn default() -> Self {
        Self { period_seconds: 10, tmpfs: false, remote: true }
    }
}

impl Default for ProcessesConfig {
    fn default() -> Self {
        Self { top: 10, period_seconds: 5 }
    }
}

impl FilesystemConfig {
    /// Time between two reads.
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.period_seconds.into())
    }
}

impl ProcessesConfig {
    /// Time between two reads.
    pub fn period(&self) -> Duration {
        Duration::from_secs(self.period_seconds.into())
    }
}
