//! The agent's own CPU and memory.
//!
//! CPU is the clock of all threads of this process, exact to the nanosecond, where /proc/self/schedstat has the main thread only. Memory is what is resident now
//! (/proc/self/statm); `ru_maxrss` would be the largest it ever was.

use std::time::{Duration, Instant};

use flyball_proto::series::{Kind, Scale};
use rustix::time::{ClockId, clock_gettime};

use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

const CPU_TIME: Metric = Metric {
    name: "flyball.agent.cpu.time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(6),
    attributes: &[],
    description: "CPU time of all threads of the agent.",
};
const CPU_UTILIZATION: Metric = Metric {
    name: "flyball.agent.cpu.utilization",
    unit: "1",
    kind: Kind::Gauge,
    scale: Scale::decimal(6),
    attributes: &[],
    description: "CPU time of the agent since the last tick as a share of one logical processor.",
};
const MEMORY: Metric = Metric {
    name: "flyball.agent.memory.usage",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &[],
    description: "Resident memory of the agent.",
};

/// Reads the agent's own CPU clock and /proc/self/statm.
#[derive(Debug)]
pub(super) struct Own {
    statm: Source,
    page_kib: i64,
    last: Option<(Instant, Duration)>,
    series: Option<[Handle; 3]>,
}

impl Own {
    pub(super) fn new(paths: &HostPaths) -> Self {
        Self {
            statm: Source::new(paths.proc.join("self/statm")),
            page_kib: rustix::param::page_size() as i64 / 1024,
            last: None,
            series: None,
        }
    }
}

impl Sampler for Own {
    fn name(&self) -> &'static str {
        "self"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[CPU_TIME, CPU_UTILIZATION, MEMORY]
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let pages = parse::fields(self.statm.read()?).nth(1).and_then(parse::integer);
        let Some(pages) = pages else {
            return Err(self.statm.garbled("no number of resident pages"));
        };
        let [time, utilization, memory] = *self.series.get_or_insert_with(|| {
            [CPU_TIME, CPU_UTILIZATION, MEMORY].map(|metric| readings.define(&metric, &[]))
        });
        let (now, cpu) = (Instant::now(), cpu_time());
        readings.set(time, cpu.as_micros() as i64);
        readings.set(memory, pages * self.page_kib);
        if let Some((last, last_cpu)) = self.last.replace((now, cpu)) {
            let (spent, elapsed) = (cpu.saturating_sub(last_cpu), now - last);
            readings.set_value(utilization, spent.as_secs_f64() / elapsed.as_secs_f64());
        }
        Ok(())
    }
}

/// CPU time of all threads of this process since it started.
pub fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_shows_as_cpu_time_and_memory_is_resident() {
        let mut own = Own::new(&HostPaths::default());
        let mut readings = Readings::default();
        own.sample(&mut readings).unwrap();
        let [time, utilization, memory] = own.series.unwrap();
        let raw = |readings: &Readings, handle| {
            readings.values().iter().find(|value| value.handle == handle).map(|value| value.raw)
        };
        let before = raw(&readings, time).unwrap();
        assert_eq!(raw(&readings, utilization), None);
        assert!((200..4 << 20).contains(&raw(&readings, memory).unwrap()));
        let enough = cpu_time() + Duration::from_millis(20);
        while cpu_time() < enough {}
        readings.clear();
        own.sample(&mut readings).unwrap();
        assert!(raw(&readings, time).unwrap() >= before + 20_000);
        assert!(raw(&readings, utilization).unwrap() > 0);
    }
}
