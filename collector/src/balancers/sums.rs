//! Reports of one balancer over a window, summed to one report.
//!
//! Agents report each second what was counted since the report before; a window of the law is longer. Counts
//! add up, latency is weighted by requests, what is a gauge by the time of its report. The largest p99 stands for
//! all: no p99 of a whole can be had from those of its parts, and it is no more than that. Where a balancer measures a group's latency as a whole, that of the newest report stands.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_proto::steering::{BackendServer, BalancerReport, BalancerState, UtilizationSource};

/// Reports of one balancer since the last window's end.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    newest: Arc<BalancerReport>,
    /// The newest of a time when it was up: others have no groups.
    newest_up: Arc<BalancerReport>,
    /// The sum of the last window that had a report of the balancer while it was up.
    whole: Option<Arc<BalancerReport>>,
    window_ms: u32,
    backends: BTreeMap<(String, String), Sum>,
}

/// One backend.
#[derive(Debug, Clone, Default)]
struct Sum {
    requests: u64,
    errors: u64,
    connect_errors: u64,
    /// Of what has a latency, by requests.
    latency: Mean,
    p50: Mean,
    p99_ms: Option<f64>,
    in_flight: Mean,
    utilization: Mean,
    source: Option<UtilizationSource>,
}

/// A weighted mean.
#[derive(Debug, Clone, Copy, Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, value: Option<f64>, weight: f64) {
        if let Some(value) = value.filter(|value| value.is_finite()) {
            self.sum += value * weight;
            self.weight += weight;
        }
    }

    fn get(self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.sum / self.weight)
    }
}

impl Sums {
    /// From the first report.
    pub(super) fn new(report: &Arc<BalancerReport>) -> Self {
        let mut sums = Self {
            newest: Arc::clone(report),
            newest_up: Arc::clone(report),
            whole: None,
            window_ms: 0,
            backends: BTreeMap::new(),
        };
        sums.add(report);
        sums
    }

    /// Adds a report, unless it is the newest that is known already.
    pub(super) fn take(&mut self, report: &Arc<BalancerReport>) {
        if !Arc::ptr_eq(&self.newest, report) {
            self.newest = Arc::clone(report);
            if report.state == BalancerState::Up {
                self.newest_up = Arc::clone(report);
            }
            self.add(report);
        }
    }

    /// Ends the window: the newest report as far as it is not summed, and the sum.
    pub(super) fn close(&mut self) -> (Arc<BalancerReport>, Option<Arc<BalancerReport>>) {
        let is_measured = self.window_ms > 0;
        if is_measured {
            self.whole = Some(Arc::new(self.sum()));
        }
        self.window_ms = 0;
        self.backends.clear();
        let whole = self.whole.clone();
        let newest = match (&whole, self.newest.state) {
            (Some(whole), BalancerState::Up) if is_measured => Arc::clone(whole),
            (Some(whole), BalancerState::Up) => Arc::new(uncounted(whole)),
            _ => Arc::clone(&self.newest),
        };
        (newest, whole)
    }

    fn add(&mut self, report: &BalancerReport) {
        if report.state != BalancerState::Up || report.window_ms == 0 {
            return;
        }
        self.window_ms = self.window_ms.saturating_add(report.window_ms);
        for group in &report.groups {
            for server in &group.backends {
                let key = (group.name.clone(), server.name.clone());
                self.backends.entry(key).or_default().add(server, report.window_ms);
            }
        }
    }

    /// The newest report with the counts of the window.
    fn sum(&self) -> BalancerReport {
        let mut report = self.newest_up.as_ref().clone();
        report.window_ms = self.window_ms;
        for group in &mut report.groups {
            for server in &mut group.backends {
                let key = (group.name.clone(), server.name.clone());
                self.backends.get(&key).cloned().unwrap_or_default().put(server);
            }
        }
        report
    }
}

/// The same without counts: those were told before, and nothing came since.
fn uncounted(report: &BalancerReport) -> BalancerReport {
    let mut report = report.clone();
    report.window_ms = 0;
    for server in report.groups.iter_mut().flat_map(|group| &mut group.backends) {
        (server.requests, server.errors, server.connect_errors) = (0, 0, 0);
    }
    report
}

impl Sum {
    fn add(&mut self, server: &BackendServer, window_ms: u32) {
        let (requests, time) = (server.requests as f64, f64::from(window_ms));
        self.requests = self.requests.saturating_add(server.requests);
        self.errors = self.errors.saturating_add(server.errors);
        self.connect_errors = self.connect_errors.saturating_add(server.connect_errors);
        self.latency.add(server.latency_ms, requests);
        self.p50.add(server.latency_p50_ms, requests);
        self.p99_ms = self.p99_ms.into_iter().chain(server.latency_p99_ms).reduce(f64::max);
        self.in_flight.add(server.in_flight, time);
        if let Some((share, source)) = server.utilization {
            self.utilization.add(Some(share), time);
            self.source = Some(source);
        }
    }

    fn put(self, server: &mut BackendServer) {
        server.requests = self.requests;
        server.errors = self.errors;
        server.connect_errors = self.connect_errors;
        server.latency_ms = self.latency.get();
        server.latency_p50_ms = self.p50.get();
        server.latency_p99_ms = self.p99_ms;
        server.in_flight = self.in_flight.get();
        server.utilization = self.utilization.get().zip(self.source);
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::steering::{BackendGroup, Target, WeightMeaning};

    use super::*;

    fn report(at_ms: i64, requests: u64, latency_ms: f64) -> Arc<BalancerReport> {
        let mut server = BackendServer::new("a", "10.0.0.1:80", 100);
        (server.requests, server.errors) = (requests, 1);
        (server.latency_ms, server.in_flight) = (Some(latency_ms), Some(latency_ms / 10.0));
        server.latency_p99_ms = Some(latency_ms * 4.0);
        server.utilization = Some((latency_ms / 100.0, UtilizationSource::Limit));
        let mut report =
            BalancerReport::new(Target::new("haproxy", "edge"), BalancerState::Up, at_ms);
        report.window_ms = 1_000;
        report.groups.push(BackendGroup {
            name: "app".into(),
            limit: None,
            algorithm: "roundrobin".into(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: vec![server],
        });
        Arc::new(report)
    }

    #[test]
    fn counts_add_up_and_latency_is_weighted_by_requests() {
        let mut sums = Sums::new(&report(1, 100, 10.0));
        let second = report(2, 300, 30.0);
        sums.take(&second);
        sums.take(&second);
        let (newest, whole) = sums.close();
        let whole = whole.unwrap();
        assert!(Arc::ptr_eq(&newest, &whole));
        let server = &whole.groups[0].backends[0];
        assert_eq!((whole.window_ms, server.requests, server.errors), (2_000, 400, 2));
        assert_eq!(server.latency_ms, Some(25.0));
        assert_eq!((server.latency_p99_ms, server.in_flight), (Some(120.0), Some(2.0)));
        assert_eq!(server.utilization, Some((0.2, UtilizationSource::Limit)));
        let (_, again) = sums.close();
        assert!(Arc::ptr_eq(&again.unwrap(), &whole), "nothing has come since");
    }

    #[test]
    fn while_nothing_comes_nothing_is_counted_again() {
        let mut sums = Sums::new(&report(1, 100, 10.0));
        sums.close();
        // The first report after a start has no window: gauges, and nothing counted.
        let mut gauges = report(2, 50, 10.0).as_ref().clone();
        gauges.window_ms = 0;
        sums.take(&Arc::new(gauges));
        let (newest, whole) = sums.close();
        let server = &newest.groups[0].backends[0];
        assert_eq!((newest.window_ms, server.requests, server.errors), (0, 0, 0), "told before");
        assert_eq!(server.weight, 100);
        assert_eq!(whole.unwrap().groups[0].backends[0].requests, 100, "the last that was");
    }

    #[test]
    fn what_was_counted_before_it_went_down_counts_with_the_groups_of_then() {
        let mut sums = Sums::new(&report(1, 100, 10.0));
        sums.close();
        sums.take(&report(2, 300, 10.0));
        let gone =
            BalancerReport::new(Target::new("haproxy", "edge"), BalancerState::Unreachable, 3);
        sums.take(&Arc::new(gone));
        let (newest, whole) = sums.close();
        assert_eq!(newest.state, BalancerState::Unreachable);
        let whole = whole.unwrap();
        assert_eq!((whole.measured_at_ms, whole.groups[0].backends[0].requests), (2, 300));
    }

    #[test]
    fn one_that_is_not_up_keeps_its_last_sum() {
        let mut sums = Sums::new(&report(1, 100, 10.0));
        sums.close();
        let gone =
            BalancerReport::new(Target::new("haproxy", "edge"), BalancerState::Unreachable, 2);
        sums.take(&Arc::new(gone));
        let (newest, whole) = sums.close();
        assert_eq!(newest.state, BalancerState::Unreachable);
        assert_eq!(whole.unwrap().groups[0].backends[0].requests, 100);
    }
}
