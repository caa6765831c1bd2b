//! What the agent itself uses: CPU from the process clock (one system call), resident memory from /proc (one small read), once in a window.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use flyball_model::budget::Usage;
use rustix::time::{ClockId, clock_gettime};

/// Time over which usage is measured before it is held against the budget. One slow read is no reason to change anything.
const WINDOW: Duration = Duration::from_secs(10);

/// Time over which work is averaged that is done seldom and in one go.
const AMORTIZED: Duration = Duration::from_hours(1);

/// CPU time of threads whose work is averaged, in nanoseconds.
static SELDOM_NS: AtomicU64 = AtomicU64::new(0);

/// Measures the agent's own usage window by window.
#[derive(Debug)]
pub(super) struct Overhead {
    since: Instant,
    cpu: Duration,
    seldom: Duration,
    /// Average share of work that is done seldom.
    seldom_share: f64,
    started: bool,
}

/// Has the CPU time of this thread counted as work that is done seldom and in one go: samplers are not slowed for the minute in which it is done. `counted` is what was counted of it
/// before.
pub(crate) fn amortize(counted: &mut Duration) {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let now = Duration::new(time.tv_sec as u64, time.tv_nsec as u32);
    let more = now.saturating_sub(std::mem::replace(counted, now));
    SELDOM_NS.fetch_add(more.as_nanos() as u64, Ordering::Relaxed);
}

impl Overhead {
    /// Starts the first window.
    pub(super) fn start() -> Self {
        let (since, cpu, seldom) = (Instant::now(), process_cpu(), seldom());
        Self { since, cpu, seldom, seldom_share: 0.0, started: false }
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
        let now = seldom();
        let seldom = now.saturating_sub(std::mem::replace(&mut self.seldom, now));
        let besides = cpu.saturating_sub(self.cpu).saturating_sub(sampled).saturating_sub(seldom);
        let weight = (elapsed.as_secs_f64() / AMORTIZED.as_secs_f64()).min(1.0);
        let share = seldom.as_secs_f64() / elapsed.as_secs_f64();
        self.seldom_share += weight * (share - self.seldom_share);
        let cpu_share = besides.as_secs_f64() / elapsed.as_secs_f64() + average + self.seldom_share;
        (self.since, self.cpu) = (Instant::now(), cpu);
        let first = !std::mem::replace(&mut self.started, true);
        (!first).then(|| Usage { cpu_share, memory_bytes: resident_bytes() })
    }
}

fn seldom() -> Duration {
    Duration::from_nanos(SELDOM_NS.load(Ordering::Relaxed))
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
    fn what_is_done_seldom_is_averaged() {
        let mut overhead = Overhead::start();
        overhead.window(Duration::ZERO, 0.0);
        let (start, cpu, before) = (Instant::now(), process_cpu(), seldom());
        let mut counted = Duration::ZERO;
        while seldom() < before + Duration::from_millis(20) {
            amortize(&mut counted);
        }
        let elapsed = start.elapsed();
        let share = overhead.window(Duration::ZERO, 0.0).unwrap().cpu_share;
        let all = process_cpu().saturating_sub(cpu).as_secs_f64() / elapsed.as_secs_f64();
        assert!(share < all, "{share} of {all}");
        assert!(overhead.seldom_share > 0.0 && overhead.seldom_share < 0.01);
    }

    #[test]
    fn resident_memory_is_between_a_megabyte_and_a_gigabyte() {
        let bytes = resident_bytes().unwrap();
        assert!((1 << 20..1 << 30).contains(&bytes), "{bytes}");
    }
}
