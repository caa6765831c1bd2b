//! Both back ends on this machine: the same series, and values that agree.
//!
//! The fast back end is read before and after the portable one, so that what changes meanwhile bounds what the portable one may say.

use std::collections::HashMap;
use std::time::Duration;

use flyball_proto::series::{Kind, Series};

use super::readings::Change;
use super::{Backend, Readings, Sampler, SenseConfig, cpu_time, samplers};

const MIB: f64 = 1024.0 * 1024.0;

/// A sampler, its buffer and the series that it has defined.
type Source = (Box<dyn Sampler>, Readings, HashMap<usize, Series>);

struct Reader {
    samplers: Vec<Source>,
}

impl Reader {
    fn new(backend: Backend) -> Self {
        let all = samplers(backend, &SenseConfig::default()).into_iter();
        // The agent's own CPU and memory change by being read.
        let all = all.filter(|sampler| sampler.name() != "self");
        let samplers = all.map(|sampler| (sampler, Readings::default(), HashMap::new())).collect();
        Self { samplers }
    }

    /// The last value of each series.
    fn read(&mut self) -> HashMap<Series, f64> {
        let mut values = HashMap::new();
        for (sampler, readings, series) in &mut self.samplers {
            readings.clear();
            if sampler.sample(readings).is_err() {
                continue;
            }
            for change in readings.changes() {
                match change {
                    Change::Defined(handle, defined) => {
                        series.insert(handle.index(), defined.clone())
                    }
                    Change::Retired(handle) => series.remove(&handle.index()),
                };
            }
            for reading in readings.values() {
                let series = &series[&reading.handle.index()];
                values.insert(series.clone(), series.scale.value(reading.raw));
            }
        }
        values
    }
}

/// How far apart values may be that were read one after the other on a machine that does other work as well.
fn tolerance(metric: &str) -> f64 {
    match metric {
        "system.cpu.load_average.1m" => 0.5,
        "system.cpu.load_average.5m" | "system.cpu.load_average.15m" => 0.1,
        "system.uptime" => 1.0,
        "system.memory.usage" | "system.memory.linux.available" => 256.0 * MIB,
        "system.memory.utilization" => 0.05,
        "system.filesystem.usage" => 512.0 * MIB,
        "system.process.count" => 30.0,
        "process.memory.usage" => 64.0 * MIB,
        _ => 0.0,
    }
}

/// Only the portable back end takes a mounted partition for a device.
fn is_partition(series: &Series) -> bool {
    series.metric == "system.disk.io"
        && !std::path::Path::new("/sys/block")
            .join(series.attribute("system.device").unwrap())
            .exists()
}

fn idle_and_waiting(values: &HashMap<Series, f64>) -> f64 {
    let is_idle = |series: &Series| {
        series.metric == "system.cpu.utilization"
            && matches!(series.attribute("cpu.mode"), Some("idle" | "iowait"))
    };
    values.iter().filter(|(series, _)| is_idle(series)).map(|(_, value)| value).sum()
}

/// Uses this much CPU time.
fn work(time: Duration) {
    let enough = cpu_time() + time;
    while cpu_time() < enough {}
}

#[test]
fn both_back_ends_agree_on_this_machine() {
    let (mut linux, mut portable) = (Reader::new(Backend::Linux), Reader::new(Backend::Portable));
    linux.read();
    portable.read();
    // Long enough for shares of time to mean something, and work that both must see.
    work(Duration::from_millis(300));
    let before = linux.read();
    let claimed = portable.read();
    work(Duration::from_millis(100));
    let after = linux.read();
    let mut compared = HashMap::new();
    for (series, value) in claimed.iter().filter(|(series, _)| !is_partition(series)) {
        let is_process = series.metric.starts_with("process.");
        let (Some(before), Some(after)) = (before.get(series), after.get(series)) else {
            assert!(is_process, "only the portable back end has {series:?}");
            continue;
        };
        *compared.entry(series.metric.as_str()).or_insert(0) += 1;
        // Shares of time of another stretch of time; the idle one is compared below.
        if series.metric.ends_with("cpu.utilization") {
            continue;
        }
        let slack = tolerance(&series.metric);
        let range = before.min(*after) - slack..=before.max(*after) + slack;
        assert!(range.contains(value), "{series:?}: {value} not in {range:?}");
        assert!(series.kind == Kind::Gauge || before <= after, "{series:?} went backwards");
    }
    let (idle, waiting) = (idle_and_waiting(&claimed), idle_and_waiting(&before));
    assert!((idle - waiting).abs() < 0.25, "idle: {idle} and {waiting}");
    for sampler in &portable.samplers {
        for metric in sampler.0.metrics().iter().filter(|metric| metric.name != "system.disk.io") {
            assert!(compared.contains_key(metric.name), "{} was not compared", metric.name);
        }
    }
}
