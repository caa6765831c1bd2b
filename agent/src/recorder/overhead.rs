//! What the agent itself uses: CPU from the process clock (one system call), resident memory from /proc (one small read), once in a window.

use std::time::{Duration, Instant};

use flyball_model::budget::Usage;
use rustix::time::{ClockId, clock_gettime};

/// Time over which usage is measured before it is held against the budget. One slow read is no reason to change anything.
const WINDOW: Duration = Duration::from_secs(10);

/// Measures the agent's own usage window by window.
#[derive(Debug)]
pub(super) struct Overhead {
    since: Instant,
    cpu: Duration,
    started: bool,
}

impl Overhead {
    /// Starts the first window.
    pub(super) fn start() -> Self {
        Self { since: Instant::now(), cpu: process_cpu(), started: false }
    }

    /// Usage of the window that has just ended; `None` while it lasts. The first one is dropped: starting costs what running does not.
    pub(super) fn window(&mut self) -> Option<Usage> {
        let elapsed = self.since.elapsed();
        if elapsed < WINDOW {
            return None;
        }
        let cpu = process_cpu();
        let cpu_share = cpu.saturating_sub(self.cpu).as_secs_f64() / elapsed.as_secs_f64();
        (self.since, self.cpu) = (Instant::now(), cpu);
        let first = !std::mem::replace(&mut self.started, true);
        (!first).then(|| Usage { cpu_share, memory_bytes: resident_bytes() })
    }
}

fn process_cpu() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Resident memory; `None` where there is no /proc.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_between_a_megabyte_and_a_gigabyte() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 30).contains(&bytes), "{bytes}");
    }
}
