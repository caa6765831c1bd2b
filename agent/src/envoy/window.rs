//! What happened between two reports: differences of counters, the mean of requests under way, quantiles of a histogram. Pure.
//!
//! Envoy tells requests under way as they are at the moment, so their mean is that of several looks. The mean latency of one endpoint follows by Little's law,
//! `L = f / q`, where enough are under way for that; Envoy has a histogram for a whole cluster only.

use std::collections::HashMap;

use flyball_proto::steering::Latency;

use super::admin::{Bins, Cluster, Counts, Host};
use crate::balance::latency_by_little_ms;

/// Counters and looks since the last window.
#[derive(Debug, Default)]
pub(crate) struct Windows {
    hosts: HashMap<(String, String), Track>,
    bins: HashMap<String, Bins>,
}

#[derive(Debug, Default)]
struct Track {
    counts: Option<Counts>,
    active: u64,
    looks: u32,
}

/// One endpoint in one window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Window {
    /// What was added; none in the first window, and after a restart.
    pub(crate) counts: Option<Counts>,
    /// Mean number of requests under way.
    pub(crate) in_flight: Option<f64>,
    /// Mean latency by Little's law.
    pub(crate) latency_ms: Option<f64>,
}

impl Windows {
    /// Takes note of the requests under way.
    pub(crate) fn look(&mut self, clusters: &[Cluster]) {
        for cluster in clusters {
            for host in &cluster.hosts {
                let track = self.hosts.entry(key(cluster, host)).or_default();
                track.active += host.active;
                track.looks += 1;
            }
        }
    }

    /// Ends a window of so many seconds: one [`Window`] for each host of each cluster, in their order. What is gone is forgotten.
    pub(crate) fn end(&mut self, clusters: &[Cluster], seconds: f64) -> Vec<Vec<Window>> {
        let mut old = std::mem::take(&mut self.hosts);
        let mut one = |cluster: &Cluster, host: &Host| {
            let key = key(cluster, host);
            let track = old.remove(&key).unwrap_or_default();
            self.hosts.insert(key, Track { counts: Some(host.counts), ..Track::default() });
            let counts = track.counts.and_then(|before| host.counts.since(before));
            let in_flight = (track.looks > 0).then(|| track.active as f64 / f64::from(track.looks));
            let seen = in_flight.map(|mean| (mean, track.active as f64));
            let latency_ms = latency(counts, seen, seconds);
            Window { counts, in_flight, latency_ms }
        };
        let mut all = Vec::with_capacity(clusters.len());
        for cluster in clusters {
            all.push(cluster.hosts.iter().map(|host| one(cluster, host)).collect());
        }
        all
    }

    /// What was added to a histogram; none when nothing was. Envoy adds all five seconds (`stats_flush_interval`).
    pub(crate) fn latency(&mut self, name: &str, bins: &Bins) -> Option<Latency> {
        let before = self.bins.insert(name.to_owned(), bins.clone())?;
        let before: HashMap<u64, u64> =
            before.iter().map(|(low, _, count)| (low.to_bits(), *count)).collect();
        let added = bins.iter().map(|(low, width, count)| {
            let before = before.get(&low.to_bits()).copied().unwrap_or(0);
            Some((*low, *width, count.checked_sub(before)?))
        });
        of_bins(&added.collect::<Option<Bins>>()?)
    }

    /// Begins anew: Envoy was started again.
    pub(crate) fn restart(&mut self) {
        *self = Self::default();
    }
}

fn key(cluster: &Cluster, host: &Host) -> (String, String) {
    (cluster.name.clone(), host.name.clone())
}

fn latency(counts: Option<Counts>, in_flight: Option<(f64, f64)>, seconds: f64) -> Option<f64> {
    // What never got a connection was never under way.
    let counts = counts?;
    let answered = counts.success + counts.errors.saturating_sub(counts.connect_failures);
    latency_by_little_ms(in_flight?, answered, seconds)
}

/// The mean, each request in the middle of its bin (a tenth of its value wide at most), and the upper ends of the bins in which the quantiles are.
fn of_bins(bins: &Bins) -> Option<Latency> {
    let total: u64 = bins.iter().map(|(_, _, count)| count).sum();
    let at = |share: f64| {
        let rank = (total as f64 * share).ceil().max(1.0);
        let mut sum = 0;
        let bin = bins.iter().find(|(_, _, count)| {
            sum += count;
            sum as f64 >= rank
        });
        bin.map(|(low, width, _)| low + width)
    };
    if total == 0 {
        return None;
    }
    let middle = |(low, width, count): &(f64, f64, u64)| (low + width / 2.0) * *count as f64;
    let mean_ms = bins.iter().map(middle).sum::<f64>() / total as f64;
    Some(Latency { mean_ms, p50_ms: at(0.5)?, p99_ms: at(0.99)? })
}

#[cfg(test)]
mod tests {
    use flyball_proto::steering::BackendState;

    use super::*;

    fn cluster(success: u64, errors: u64, active: u64) -> Vec<Cluster> {
        let host = Host {
            name: "127.0.0.1:1".to_owned(),
            state: BackendState::Ready,
            weight: 1,
            locality: String::new(),
            counts: Counts { success, errors, connect_failures: errors, timeouts: 0 },
            active,
            pending: 0,
            connections: 0,
        };
        vec![Cluster { name: "web".to_owned(), hosts: vec![host], ..Cluster::default() }]
    }

    #[test]
    fn a_window_is_what_was_added_and_the_mean_of_the_looks() {
        let mut windows = Windows::default();
        windows.look(&cluster(10, 0, 4));
        assert_eq!(windows.end(&cluster(10, 0, 4), 1.0)[0][0].counts, None, "the first one");
        windows.look(&cluster(50, 1, 10));
        windows.look(&cluster(110, 2, 40));
        let window = windows.end(&cluster(110, 2, 4), 1.0)[0][0];
        let counts = window.counts.unwrap();
        assert_eq!((counts.success, counts.errors, window.in_flight), (100, 2, Some(25.0)));
        assert_eq!(window.latency_ms, Some(250.0), "25 under way at 100 a second");
        windows.look(&cluster(5, 0, 0));
        let window = windows.end(&cluster(5, 0, 0), 1.0)[0][0];
        assert_eq!((window.counts, window.latency_ms), (None, None), "it began anew");
        windows.look(&cluster(6, 0, 3));
        assert_eq!(windows.end(&cluster(6, 0, 3), 1.0)[0][0].latency_ms, None, "too few");
        windows.end(&[], 1.0);
        assert_eq!(windows.end(&cluster(9, 0, 0), 1.0)[0][0], Window::default(), "forgotten");
    }

    #[test]
    fn latency_is_that_of_what_was_added() {
        let mut windows = Windows::default();
        let bins = |first, second| vec![(1.0, 0.1, first), (40.0, 1.0, second)];
        assert_eq!(windows.latency("a", &bins(1_000, 0)), None);
        let latency = windows.latency("a", &bins(1_010, 90)).unwrap();
        assert_eq!((latency.p50_ms, latency.p99_ms), (41.0, 41.0));
        assert!((latency.mean_ms - (1.05 * 10.0 + 40.5 * 90.0) / 100.0).abs() < 1e-9);
        assert_eq!(windows.latency("a", &bins(1_010, 90)), None, "nothing was added");
        let latency = windows.latency("a", &bins(1_199, 91)).unwrap();
        assert_eq!((latency.p50_ms, latency.p99_ms), (1.1, 1.1));
        assert_eq!(windows.latency("a", &bins(3, 0)), None, "it began anew");
    }
}
