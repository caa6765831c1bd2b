//! The collector that is asked, on a loaded directory, with its fleet reporting.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use flyball_proto::series::Kind;

use super::load::{LEFT, Loaded, rolled_up};
use super::{Size, say};
use crate::bench::table::Table;
use crate::engine;
use crate::load::measure::{Processes, Snapshot};
use crate::load::{Reporters, node_name, now_ms};
use crate::stack::{ANY_PORT, Collector};
use crate::wait::until;
use crate::workload::templates;

/// Longest time until rollups have followed the samples that were left to the run.
const ROLLED_UP: Duration = Duration::from_hours(1);
/// The metric of which one series is asked for again and again.
pub(super) const METRIC: &str = "host_load1";

/// Selections of one gauge of each node as parameters of a query, all but [`METRIC`]: one for each
/// question that must be new.
pub(super) fn gauges() -> Vec<String> {
    let templates = templates();
    let gauges = templates
        .iter()
        .map(|template| &template.series)
        .filter(|series| series.kind == Kind::Gauge && *series.metric != *METRIC);
    gauges
        .map(|series| {
            let attributes = series.attributes.iter();
            let filters: Vec<_> = attributes.map(|(k, v)| format!("&filter={k}={v}")).collect();
            format!("metric={}{}", series.metric, filters.concat())
        })
        .collect()
}

/// See the module.
pub(super) struct Subject {
    pub(super) collector: Collector,
    pub(super) loaded: Loaded,
    pub(super) size: Size,
    fleet: Reporters,
    processes: Processes,
}

/// What the servers have used since some time.
pub(super) struct Used {
    at: Instant,
    snapshot: Snapshot,
}

impl Subject {
    /// Starts the collector, sends what is missing up to now and the last hour again, and waits
    /// until the rollups have followed.
    pub(super) async fn start(loaded: Loaded, size: Size) -> Result<Self> {
        let collector = Collector::start_with(&loaded.dir, ANY_PORT, &[]).await?;
        let pid = collector.process.pid().context("the collector runs")?;
        let now = now_ms();
        let last_hour =
            (now - now.rem_euclid(600_000) - LEFT.as_millis() as i64).max(loaded.start_ms);
        let from_ms = last_hour.min(loaded.end_ms);
        say(&format!("sending the last {} minutes", (now - from_ms) / 60_000));
        let history = loaded.history(from_ms);
        let mut fleet = Reporters::connect(collector.grpc, loaded.agents, history).await?;
        fleet.catch_up(now, |_, _| {}).await?;
        // What came while the past was sent.
        fleet.catch_up(now_ms(), |_, _| {}).await?;
        fleet.go_live();
        let processes = Processes::of(pid)?;
        let subject = Self { collector, loaded, size, fleet, processes };
        subject.quiet().await?;
        Ok(subject)
    }

    /// Waits until nothing but the present is being rolled up.
    pub(super) async fn quiet(&self) -> Result<()> {
        say("waiting for the rollups");
        until("the rollups", ROLLED_UP, || rolled_up(&self.collector.api)).await
    }

    /// Disconnects the fleet, stops the collector, remembers how far the samples reach, and checks
    /// that every sample of the whole time was there to be asked for, once.
    pub(super) async fn stop(mut self) -> Result<()> {
        let told = self.fleet.finish().await?;
        self.loaded.end_ms = told.end_ms;
        self.loaded.save()?;
        self.collector.process.stop().await?;
        let Loaded { start_ms, end_ms, .. } = self.loaded;
        let sql = format!(
            "SELECT count() FROM flyball.performance_metrics FINAL
             WHERE ts >= fromUnixTimestamp64Milli({start_ms})
             AND ts < fromUnixTimestamp64Milli({end_ms})
             SETTINGS do_not_merge_across_partitions_select_final = 1, max_threads = 2"
        );
        let rows: i64 = engine::query(self.collector.data_dir(), &sql).await?.trim().parse()?;
        ensure!(rows == self.loaded.samples(), "{rows} samples of {}", self.loaded.samples());
        Ok(())
    }

    /// That the collector runs and no agent has ended.
    pub(super) fn check(&mut self) -> Result<()> {
        self.collector.process.check_running()?;
        self.fleet.check()
    }

    /// `http://host:port`
    pub(super) fn base(&self) -> &str {
        self.collector.api.base()
    }

    /// Name of node number `index`, around the fleet.
    pub(super) fn node(&self, index: u64) -> String {
        node_name(index % self.loaded.agents)
    }

    /// Start of a range of this length before `to_ms`, as far as there are samples.
    pub(super) fn before(&self, to_ms: i64, range: Duration) -> i64 {
        (to_ms - range.as_millis() as i64).max(self.loaded.start_ms)
    }

    /// Begins to measure what the servers use.
    pub(super) fn used(&self) -> Result<Used> {
        Ok(Used { at: Instant::now(), snapshot: self.processes.snapshot()? })
    }

    /// Resident memory of the collector now, in MiB.
    pub(super) fn rss_mib(&self) -> Result<f64> {
        Ok(self.processes.snapshot()?.collector.rss_bytes / f64::from(1 << 20))
    }

    /// Adds what the servers used since `before` to the table.
    pub(super) fn push_used(&self, table: &mut Table, what: &str, before: &Used) -> Result<()> {
        let (now, seconds) = (self.processes.snapshot()?, before.at.elapsed().as_secs_f64());
        let first = before.snapshot;
        let mut add = |name: &str, value| table.add(&format!("{what}: {name}"), value, None);
        add("collector, cores", (now.collector.cpu_s - first.collector.cpu_s) / seconds);
        add("engine, cores", (now.engine.cpu_s - first.engine.cpu_s) / seconds);
        let mib = f64::from(1 << 20);
        add("collector RSS, MiB", now.collector.rss_bytes / mib);
        add("engine RSS, MiB", now.engine.rss_bytes / mib);
        Ok(())
    }

    /// CPU microseconds that the collector and its engine used for each of `requests` since
    /// `before`.
    pub(super) fn us_a_request(&self, before: &Used, requests: f64) -> Result<f64> {
        let (now, first) = (self.processes.snapshot()?, before.snapshot);
        let cpu_s =
            now.collector.cpu_s + now.engine.cpu_s - first.collector.cpu_s - first.engine.cpu_s;
        Ok(cpu_s * 1e6 / requests.max(1.0))
    }

    /// The value of a counter of the collector's own, over all its labels; `None` when it has no
    /// such metric.
    pub(super) async fn metric(&self, name: &str) -> Result<Option<f64>> {
        let (_, text) = self.collector.api.get("/metrics").await?;
        Ok(metric_sum(&text, name))
    }
}

/// Sum of the values of one metric over its labels; `None` when the text has no such metric.
fn metric_sum(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value =
            rest.strip_prefix(' ').or_else(|| rest.strip_prefix('{')?.split("} ").nth(1))?;
        value.split(' ').next()?.parse::<f64>().ok()
    });
    values.fold(None, |sum, value| Some(sum.unwrap_or(0.0) + value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_is_summed_over_its_labels_and_only_it() {
        let text = "# HELP a_total x\na_total{kind=\"x\"} 2\na_total{kind=\"y\"} 3\n\
                    a_totals 7\nb_total 4\n# EOF\n";
        let sum = |name| metric_sum(text, name);
        assert_eq!((sum("a_total"), sum("b_total"), sum("c_total")), (Some(5.0), Some(4.0), None));
    }

    #[test]
    fn there_are_enough_gauges_for_forty_new_questions() {
        let gauges: std::collections::BTreeSet<_> = gauges().into_iter().collect();
        assert_eq!(gauges.len(), 56);
        assert!(gauges.contains("metric=host_load5"));
        assert!(gauges.contains("metric=host_filesystem_files&filter=mountpoint=/boot"));
    }
}
