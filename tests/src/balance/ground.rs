//! Whether a measurement counts: the machine must have had time for it.
//!
//! Time of processors counts, and not the load average: the kernel looks each 5 s at who is runnable, and agents work on the second, so that it sees either all of
//! them or nobody for minutes. It said 12 while two processors were idle for 77 % of the time.

use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::time::Instant;

use super::watch::Figures;

/// Milliseconds by which 99 of 100 requests may be sent late.
const LATE_MS: f64 = 5.0;
/// Share of their time that processors may have been busy, other machines on the same ones included.
const BUSY: f64 = 0.8;

/// Why a run does not count.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Validity {
    /// In words; empty when it counts.
    pub reasons: Vec<String>,
}

impl Validity {
    /// Of a run whose generator was so late, on processors that were busy for this share of their time.
    pub fn of(figures: &Figures, busy: f64) -> Self {
        let mut reasons = Vec::new();
        if figures.late_p99_ms > LATE_MS {
            let late = figures.late_p99_ms;
            reasons.push(format!("requests were sent {late:.1} ms late (p99)"));
        }
        if busy > BUSY {
            reasons.push(format!("processors were busy for {:.0} % of the time", 100.0 * busy));
        }
        Self { reasons }
    }

    /// Whether it counts.
    pub fn counts(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// A moment from which a run is measured, with what processors had done until then.
#[derive(Debug, Clone, Copy)]
pub struct Begin {
    /// When it was.
    pub at: Instant,
    worked: Worked,
}

/// Time of all processors since they were started.
#[derive(Debug, Clone, Copy)]
struct Worked {
    busy: Duration,
    idle: Duration,
}

impl Begin {
    /// Begins now.
    ///
    /// # Errors
    /// When the kernel does not say what processors did.
    pub fn now() -> Result<Self> {
        Ok(Self { at: Instant::now(), worked: Worked::now()? })
    }

    /// Share of their time that processors were busy since then, 0 to 1.
    ///
    /// # Errors
    /// When the kernel does not say.
    pub fn busy(&self) -> Result<f64> {
        let now = Worked::now()?;
        let busy = now.busy.saturating_sub(self.worked.busy).as_secs_f64();
        let idle = now.idle.saturating_sub(self.worked.idle).as_secs_f64();
        Ok(busy / (busy + idle).max(f64::MIN_POSITIVE))
    }
}

impl Worked {
    fn now() -> Result<Self> {
        Self::of(&std::fs::read_to_string("/proc/stat")?)
    }

    /// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal, in ticks. What guests took is in the first two.
    fn of(text: &str) -> Result<Self> {
        let line = text.lines().next().and_then(|line| line.strip_prefix("cpu "));
        let words = line.context("/proc/stat begins with cpu")?.split_whitespace().take(8);
        let ticks = words.map(str::parse).collect::<Result<Vec<u64>, _>>()?;
        let [user, nice, system, idle, iowait, irq, softirq, steal] = ticks[..] else {
            anyhow::bail!("/proc/stat has {} numbers of processors, 8 are needed", ticks.len());
        };
        // How long a tick is does not matter for a share.
        let busy = Duration::from_millis(user + nice + system + irq + softirq + steal);
        Ok(Self { busy, idle: Duration::from_millis(idle + iowait) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_generator_or_a_busy_machine_voids_a_run() {
        let on_time = Figures { late_p99_ms: 4.9, ..Figures::default() };
        assert!(Validity::of(&on_time, 0.8).counts());
        assert!(!Validity::of(&on_time, 0.81).counts());
        let late = Figures { late_p99_ms: 5.1, ..Figures::default() };
        assert!(!Validity::of(&late, 0.0).counts());
    }

    #[test]
    fn what_processors_did_since_the_beginning_counts() {
        let worked = |text: &str| Worked::of(text).unwrap();
        let line = worked("cpu  10 1 2 800 100 3 4 80 7 7\ncpu0 1 1\n");
        assert_eq!(
            (line.busy, line.idle),
            (Duration::from_millis(100), Duration::from_millis(900))
        );
        assert!(Worked::of("cpu  1 2 3\n").is_err() && Worked::of("intr 1").is_err());
        let begin = Begin::now().unwrap();
        assert!((0.0..=1.0).contains(&begin.busy().unwrap()));
        let idle = Worked { busy: Duration::ZERO, idle: Duration::ZERO };
        let since_start = Begin { at: begin.at, worked: idle }.busy().unwrap();
        assert!(since_start > 0.0 && since_start < 1.0, "{since_start}");
    }
}
