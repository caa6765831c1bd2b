//! What the collector, its engine and the generator use, from /proc.

use anyhow::{Context as _, Result};

use crate::process::children;

/// The processes of a run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Processes {
    collector: u32,
    engine: u32,
}

/// CPU seconds used so far and resident bytes now. CPU includes threads that have ended.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) cpu_s: f64,
    pub(crate) rss_bytes: f64,
}

/// All three at one instant.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Snapshot {
    pub(crate) collector: Used,
    pub(crate) engine: Used,
    pub(crate) generator: Used,
}

impl Processes {
    /// The collector of this process id and its embedded engine.
    pub(crate) fn of(collector: u32) -> Result<Self> {
        let engine =
            children(collector)?.first().copied().context("the collector has no engine")?;
        Ok(Self { collector, engine })
    }

    pub(crate) fn snapshot(self) -> Result<Snapshot> {
        Ok(Snapshot {
            collector: used(self.collector)?,
            engine: used(self.engine)?,
            generator: used(std::process::id())?,
        })
    }
}

fn used(pid: u32) -> Result<Used> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))
        .with_context(|| format!("process {pid} is gone"))?;
    let fields: Vec<_> = stat.rsplit_once(") ").context("stat has a name")?.1.split(' ').collect();
    let field = |index: usize| fields.get(index).and_then(|f| f.parse::<u64>().ok());
    let (utime, stime, rss) = (field(11), field(12), field(21));
    let ticks = utime.zip(stime).map(|(user, system)| user + system).context("stat has times")?;
    Ok(Used {
        cpu_s: ticks as f64 / rustix::param::clock_ticks_per_second() as f64,
        rss_bytes: rss.context("stat has rss")? as f64 * rustix::param::page_size() as f64,
    })
}

/// Growth for each second of a series of (seconds, value), by least squares; 0 for fewer than two points.
pub(super) fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |value: fn(&(f64, f64)) -> f64| points.iter().map(value).sum::<f64>() / count;
    let (mean_x, mean_y) = (mean(|p| p.0), mean(|p| p.1));
    let along: f64 = points.iter().map(|(x, y)| (x - mean_x) * (y - mean_y)).sum();
    let square: f64 = points.iter().map(|(x, _)| (x - mean_x).powi(2)).sum();
    if square > 0.0 { along / square } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_its_slope() {
        let line: Vec<_> = (0..10).map(|x| (f64::from(x), 3.0 * f64::from(x) + 1.0)).collect();
        assert!((slope(&line) - 3.0).abs() < 1e-9);
        assert_eq!(slope(&line[..1]).to_bits(), 0.0_f64.to_bits());
        assert_eq!(slope(&[]).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn a_process_that_works_uses_cpu_and_memory() {
        let before = used(std::process::id()).unwrap();
        let start = std::time::Instant::now();
        let mut sum = 0_u64;
        while start.elapsed().as_millis() < 100 {
            sum = std::hint::black_box(sum + 1);
        }
        let after = used(std::process::id()).unwrap();
        assert!(after.cpu_s > before.cpu_s && after.rss_bytes > 1e6, "{after:?}");
    }
}
