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

    /// True when a window is full.
    pub(super) fn is_due(&self) -> bool {
        self.since.elapsed() >= WINDOW
    }

    /// Usage as of the window that ends now, in which the samplers' reads took `sampled`; on average they take the share `average`. `None` for
    /// the first window: starting costs what running does not.
    pub(super) fn window(&mut self, sampled: Duration, average: f64) -> Option<Usage> {
        let elapsed = self.since.elapsed();
        let cpu = process_cpu();
        let besides = cpu.saturating_sub(self.cpu).saturating_sub(sampled);
        let cpu_share = besides.as_secs_f64() / elapsed.as_secs_f64() + average;
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
