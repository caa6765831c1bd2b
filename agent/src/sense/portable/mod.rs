//! The portable back end: what sysinfo can tell, under the same names, units and attributes as the files of /proc.
//!
//! It costs several times the CPU (docs/adr/002-host-sampler.md) and lacks: CPU time by mode and by processor, processes created, page faults and swap traffic, disk
//! operations and times, dropped packets, used and reserved space of file systems, cached and buffered memory, pressure, control groups. Of the CPU's utilization there is
//! only `idle`, which sysinfo counts together with waiting for I/O. Disks are the block devices that are mounted, partitions under their own names.

use super::SampleError;

pub(super) mod capacity;
pub(super) mod host;
pub(super) mod processes;
pub(super) mod traffic;

fn failed(error: sysinfo::Error) -> SampleError {
    SampleError::Read { path: "sysinfo".to_owned(), source: std::io::Error::other(error) }
}
