//! Whether a measurement counts: the machine must have had time for it.

use anyhow::{Context as _, Result};

use super::watch::Figures;

/// Milliseconds by which 99 of 100 requests may be sent late.
const LATE_MS: f64 = 5.0;

/// Why a run does not count.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Validity {
    /// In words; empty when it counts.
    pub reasons: Vec<String>,
}

impl Validity {
    /// Of a run whose generator was so late, beside others who used this machine.
    pub fn of(figures: &Figures, load: f64, cores: usize) -> Self {
        let mut reasons = Vec::new();
        if figures.late_p99_ms > LATE_MS {
            let late = figures.late_p99_ms;
            reasons.push(format!("requests were sent {late:.1} ms late (p99)"));
        }
        if load > cores as f64 {
            reasons.push(format!("load average {load:.1} on {cores} cores"));
        }
        Self { reasons }
    }

    /// Whether it counts.
    pub fn counts(&self) -> bool {
        self.reasons.is_empty()
    }
}

/// Load average of the last minute and cores of this machine.
///
/// # Errors
/// When the kernel does not say.
pub fn host_load() -> Result<(f64, usize)> {
    let text = std::fs::read_to_string("/proc/loadavg")?;
    let load = text.split(' ').next().and_then(|first| first.parse().ok());
    let cores = std::thread::available_parallelism()?.get();
    Ok((load.context("/proc/loadavg begins with a number")?, cores))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_generator_or_a_busy_machine_voids_a_run() {
        let on_time = Figures { late_p99_ms: 4.9, ..Figures::default() };
        assert!(Validity::of(&on_time, 2.0, 2).counts());
        assert!(!Validity::of(&on_time, 2.1, 2).counts());
        let late = Figures { late_p99_ms: 5.1, ..Figures::default() };
        assert!(!Validity::of(&late, 0.0, 2).counts());
    }
}
