//! The samples of one node as they arrive: last values, rates of counters, and the CPU's recent past. Bounded by dropping series that no longer report.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::api::types::LiveSample;
use crate::rate::Rate;

/// Attributes of a series.
pub(super) type Attributes = BTreeMap<String, String>;

/// A series without a sample for this long is gone. The slowest sampler reports once a minute.
const GONE_MS: i64 = 150_000;
/// Frames that the CPU's past goes back: ten minutes at one a second.
pub(super) const HISTORY: usize = 600;
/// Most series that are kept. The metrics of the page are about 300 on a host with many disks; the rest would be a fault.
const MAX_SERIES: usize = 20_000;

/// Modes of the CPU in the order they are shown; `idle` is what is left.
pub(super) const MODES: [&str; 7] =
    ["user", "system", "iowait", "nice", "softirq", "interrupt", "steal"];

/// Live samples of one node.
#[derive(Debug, Default)]
pub(super) struct NodeSeries {
    newest_ms: i64,
    metrics: BTreeMap<String, BTreeMap<Attributes, Track>>,
    count: usize,
    cpu: VecDeque<Option<f64>>,
}

/// The last sample of one series.
#[derive(Debug, Default)]
pub(super) struct Track {
    ts_ms: i64,
    value: Option<f64>,
    rate: Rate,
}

/// One of the node's busiest processes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Process {
    /// Process id.
    pub pid: String,
    /// Name of its program.
    pub name: String,
    /// Share of one core.
    pub cpu: Option<f64>,
    /// Resident memory.
    pub memory_bytes: Option<f64>,
}

impl Track {
    /// Last value.
    pub(super) fn value(&self) -> Option<f64> {
        self.value
    }

    /// Growth per second, for counters.
    pub(super) fn per_second(&self) -> Option<f64> {
        self.rate.per_second()
    }
}

impl NodeSeries {
    /// Takes one frame.
    pub(super) fn apply(&mut self, ts_ms: i64, samples: Vec<LiveSample>) {
        self.newest_ms = self.newest_ms.max(ts_ms);
        let mut has_cpu = false;
        for sample in samples {
            has_cpu |= sample.metric == "system.cpu.utilization";
            let series = self.metrics.entry(sample.metric).or_default();
            let before = series.len();
            if self.count >= MAX_SERIES && !series.contains_key(&sample.attributes) {
                continue;
            }
            let track = series.entry(sample.attributes).or_default();
            track.rate.push(ts_ms, sample.value);
            (track.ts_ms, track.value) = (ts_ms, sample.value.filter(|v| v.is_finite()));
            self.count += series.len() - before;
        }
        self.forget();
        if has_cpu {
            self.remember(self.cpu_busy());
        }
    }

    /// Marks a gap: samples may be missing.
    pub(super) fn interrupt(&mut self) {
        if self.cpu.back().is_some_and(Option::is_some) {
            self.remember(None);
        }
    }

    /// The series of a metric.
    pub(super) fn series(&self, metric: &str) -> impl Iterator<Item = (&Attributes, &Track)> {
        self.metrics.get(metric).into_iter().flatten()
    }

    /// The series of a metric that has the attribute.
    pub(super) fn track(&self, metric: &str, attribute: (&str, &str)) -> Option<&Track> {
        let (key, value) = attribute;
        let has = |a: &Attributes| a.get(key).is_some_and(|v| v == value);
        self.series(metric).find(|(attributes, _)| has(attributes)).map(|(_, track)| track)
    }

    /// The value of a metric that has the attribute.
    pub(super) fn value(&self, metric: &str, attribute: (&str, &str)) -> Option<f64> {
        self.track(metric, attribute)?.value
    }

    /// The value of a metric without attributes.
    pub(super) fn single(&self, metric: &str) -> Option<f64> {
        self.series(metric).next()?.1.value
    }

    /// Values of an attribute among the series of a metric.
    pub(super) fn names(&self, metric: &str, key: &str) -> BTreeSet<&str> {
        self.series(metric).filter_map(|(a, _)| Some(a.get(key)?.as_str())).collect()
    }

    /// Sum of the rates of a metric's series for which `wanted` holds; `None` when none is known.
    pub(super) fn rate(
        &self,
        metric: &str,
        a: (&str, &str),
        b: Option<(&str, &str)>,
    ) -> Option<f64> {
        let has = |attributes: &Attributes, (k, v): (&str, &str)| {
            attributes.get(k).is_some_and(|x| x == v)
        };
        let wanted =
            |attributes: &Attributes| has(attributes, a) && b.is_none_or(|b| has(attributes, b));
        let mut rates = self
            .series(metric)
            .filter(|(attributes, _)| wanted(attributes))
            .filter_map(|(_, t)| t.per_second());
        rates.next().map(|first| first + rates.sum::<f64>())
    }

    /// Share of all processors that works: what is neither idle nor waiting for disks.
    pub(super) fn cpu_busy(&self) -> Option<f64> {
        let mode = |mode| self.value("system.cpu.utilization", ("cpu.mode", mode));
        Some((1.0 - mode("idle")? - mode("iowait").unwrap_or(0.0)).clamp(0.0, 1.0))
    }

    /// The past of [`Self::cpu_busy`], oldest first; `None` where samples may be missing.
    pub(super) fn cpu_history(&self) -> &VecDeque<Option<f64>> {
        &self.cpu
    }

    /// The processes of the newest frame that told about any: others have ended or are no longer among the busiest.
    pub(super) fn processes(&self) -> Vec<Process> {
        let mut found: BTreeMap<&str, Process> = BTreeMap::new();
        for metric in ["process.cpu.utilization", "process.memory.usage"] {
            let newest = self.series(metric).map(|(_, track)| track.ts_ms).max();
            for (attributes, track) in self.series(metric).filter(|(_, t)| Some(t.ts_ms) == newest)
            {
                let Some(pid) = attributes.get("process.pid") else { continue };
                let process = found.entry(pid).or_insert_with(|| Process {
                    pid: pid.clone(),
                    name: attributes.get("process.executable.name").cloned().unwrap_or_default(),
                    cpu: None,
                    memory_bytes: None,
                });
                if metric == "process.cpu.utilization" {
                    process.cpu = track.value;
                } else {
                    process.memory_bytes = track.value;
                }
            }
        }
        found.into_values().collect()
    }

    fn remember(&mut self, cpu: Option<f64>) {
        if self.cpu.len() == HISTORY {
            self.cpu.pop_front();
        }
        self.cpu.push_back(cpu);
    }

    fn forget(&mut self) {
        let oldest_ms = self.newest_ms.saturating_sub(GONE_MS);
        for series in self.metrics.values_mut() {
            series.retain(|_, track| track.ts_ms >= oldest_ms);
        }
        self.metrics.retain(|_, series| !series.is_empty());
        self.count = self.metrics.values().map(BTreeMap::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(metric: &str, attributes: &[(&str, &str)], value: f64) -> LiveSample {
        LiveSample {
            metric: metric.into(),
            attributes: attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
            value: Some(value),
        }
    }

    fn cpu(mode: &str, value: f64) -> LiveSample {
        sample("system.cpu.utilization", &[("cpu.mode", mode)], value)
    }

    fn process(metric: &str, pid: &str, value: f64) -> LiveSample {
        sample(metric, &[("process.pid", pid), ("process.executable.name", "x")], value)
    }

    #[test]
    fn waiting_for_disks_is_not_work() {
        let mut node = NodeSeries::default();
        assert_eq!(node.cpu_busy(), None);
        node.apply(1_000, vec![cpu("idle", 0.5), cpu("iowait", 0.25), cpu("user", 0.25)]);
        assert_eq!(node.cpu_busy(), Some(0.25));
        assert_eq!(node.cpu_history(), &[Some(0.25)]);
    }

    #[test]
    fn rates_add_up_over_series_and_unknown_is_not_zero() {
        let io = |device: &str, direction: &str, value| {
            let attributes = [("system.device", device), ("disk.io.direction", direction)];
            sample("system.disk.io", &attributes, value)
        };
        let mut node = NodeSeries::default();
        node.apply(0, vec![io("a", "read", 0.0), io("b", "read", 0.0)]);
        let rate =
            |node: &NodeSeries, b| node.rate("system.disk.io", ("disk.io.direction", "read"), b);
        assert_eq!(rate(&node, None), None);
        node.apply(2_000, vec![io("a", "read", 10.0), io("b", "read", 30.0)]);
        assert_eq!(rate(&node, None), Some(20.0));
        assert_eq!(rate(&node, Some(("system.device", "a"))), Some(5.0));
        assert_eq!(rate(&node, Some(("system.device", "c"))), None);
        assert_eq!(node.names("system.disk.io", "system.device"), ["a", "b"].into());
    }

    #[test]
    fn processes_that_ended_are_gone_with_the_next_frame() {
        let mut node = NodeSeries::default();
        let cpu = |pid, value| process("process.cpu.utilization", pid, value);
        node.apply(
            0,
            vec![cpu("1", 0.5), cpu("2", 0.1), process("process.memory.usage", "1", 5.0)],
        );
        let first = node.processes();
        assert_eq!((first.len(), first[0].cpu, first[0].memory_bytes), (2, Some(0.5), Some(5.0)));
        node.apply(1_000, vec![cpu("2", 0.2), process("process.memory.usage", "2", 6.0)]);
        let second = node.processes();
        assert_eq!((second.len(), second[0].pid.as_str()), (1, "2"));
        node.apply(1_500, vec![sample("system.uptime", &[], 1.0)]);
        assert_eq!(node.processes(), second);
    }

    #[test]
    fn series_without_samples_are_dropped() {
        let mut node = NodeSeries::default();
        node.apply(0, vec![sample("old", &[], 1.0)]);
        node.apply(GONE_MS, vec![sample("new", &[], 1.0)]);
        assert_eq!(node.single("old"), Some(1.0));
        node.apply(GONE_MS + 1, vec![sample("new", &[], 2.0)]);
        assert_eq!((node.single("old"), node.single("new"), node.count), (None, Some(2.0), 1));
    }

    #[test]
    fn the_past_is_bounded_and_has_gaps() {
        let mut node = NodeSeries::default();
        node.interrupt();
        assert!(node.cpu_history().is_empty());
        for i in 0..HISTORY as i64 + 5 {
            node.apply(i * 1_000, vec![cpu("idle", 1.0)]);
        }
        node.interrupt();
        node.interrupt();
        let history = node.cpu_history();
        assert_eq!(
            (history.len(), history[HISTORY - 1], history[HISTORY - 2]),
            (HISTORY, None, Some(0.0))
        );
    }

    #[test]
    fn too_many_series_are_not_kept() {
        let many = |value| {
            let name = |i: usize| sample("m", &[("i", &i.to_string())], value);
            (0..MAX_SERIES + 10).map(name).collect::<Vec<_>>()
        };
        let mut node = NodeSeries::default();
        node.apply(0, many(1.0));
        node.apply(1_000, many(2.0));
        assert_eq!((node.count, node.value("m", ("i", "0"))), (MAX_SERIES, Some(2.0)));
    }
}
