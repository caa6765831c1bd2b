//! Reads one Envoy's admin interface and tells what it found: each second a report, and four looks at the requests under way in between.
//!
//! `/clusters` costs Envoy's main thread, which serves no request, some microseconds for each endpoint. Looks become rarer where one takes long, so that they never
//! take more than a fiftieth of the time.

use std::sync::Arc;
use std::time::Duration;

use flyball_proto::steering::{Latency, MAX_BACKENDS, MAX_GROUPS};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tonic::transport::Uri;

use super::admin::{Cluster, ServerInfo, histograms};
use super::board::{Envoy, Known, KnownCluster, KnownHost};
use super::http::{Http, HttpError};
use super::report::report;
use super::window::Windows;
use crate::orca::Utilizations;
use crate::redis::State;
use crate::steer::outbox::Outbox;

/// Time between two reports.
const PERIOD: Duration = Duration::from_secs(1);
/// Time between two looks, at least.
const LOOK: Duration = Duration::from_millis(200);
/// A look that takes so long is followed by a pause of so many times that.
const REST: u32 = 50;
/// Longest time for an answer.
const DEADLINE: Duration = Duration::from_millis(900);
/// Larger than the clusters of an Envoy with some thousands of endpoints.
const MAX_ANSWER: usize = 8 << 20;
const CLUSTERS: &str = "/clusters?format=json";
const INFO: &str = "/server_info";
/// `^cluster\..*\.upstream_rq_time$`
const TIMES: &str = "/stats?format=json&usedonly&histogram_buckets=detailed&filter=%5Ecluster%5C..%2A%5C.upstream_rq_time%24";
/// How long a latency is told after it was measured: Envoy adds to its histograms all five seconds.
const LATENCY_AGE: Duration = Duration::from_secs(12);
/// Two starts this close are the same, in seconds: uptime is told in whole seconds.
const SAME_START_S: u64 = 2;

/// Watches until it is dropped.
pub(super) struct Watch {
    envoy: Envoy,
    http: Option<Http>,
    outbox: Arc<Outbox>,
    utilizations: Utilizations,
    windows: Windows,
    info: Option<(ServerInfo, u64)>,
    latencies: std::collections::HashMap<String, (Instant, Latency)>,
    last: Option<Instant>,
    said: Option<State>,
}

/// What one reading asks for.
struct Found {
    clusters: Vec<Cluster>,
    took: Duration,
}

impl Watch {
    pub(super) fn new(envoy: Envoy, outbox: Arc<Outbox>, utilizations: Utilizations) -> Self {
        let http = |place: Uri| Http::new(place, DEADLINE, MAX_ANSWER);
        Self {
            http: envoy.config().admin().map(http),
            envoy,
            outbox,
            utilizations,
            windows: Windows::default(),
            info: None,
            latencies: std::collections::HashMap::new(),
            last: None,
            said: None,
        }
    }

    pub(super) async fn run(mut self) {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let known = self.reading().await;
            self.say(&known);
            let known = self.envoy.set_known(known);
            let served = self.envoy.served();
            let report =
                report(&self.envoy, &known, served.as_deref(), &self.utilizations, wall_ms());
            self.outbox.balancer(report);
            if known.state == Some(State::Up) {
                self.looks(Instant::now() + PERIOD.mul_f64(0.8), &known).await;
            }
        }
    }

    /// Looks at the requests under way until `end`.
    async fn looks(&mut self, end: Instant, known: &Known) {
        let took = Duration::from_secs_f64(known.response_s.unwrap_or(0.0));
        let pause = LOOK.max(took * REST);
        let mut next = Instant::now() + pause;
        while next < end {
            sleep_until(next).await;
            let Ok(found) = self.clusters().await else { return };
            self.windows.look(&found.clusters);
            next = Instant::now() + LOOK.max(found.took * REST);
        }
    }

    async fn reading(&mut self) -> Known {
        let at = Some(std::time::Instant::now());
        let mut known = Known { at, ..Known::default() };
        if self.http.is_none() {
            // It is known by what it is served alone.
            return known;
        }
        match self.ask(&mut known).await {
            Ok(()) => known.state = Some(State::Up),
            Err((state, reason)) => {
                self.last = None;
                self.windows.restart();
                known = Known { at, state: Some(state), reason, ..Known::default() };
            }
        }
        known
    }

    async fn ask(&mut self, known: &mut Known) -> Result<(), (State, String)> {
        if self.http.as_ref().is_none_or(Http::is_closed) || self.info.is_none() {
            self.identify().await?;
        }
        let found = self.clusters().await?;
        let now = Instant::now();
        let elapsed = self.last.replace(now).map(|last| now.duration_since(last));
        self.windows.look(&found.clusters);
        self.latencies(&found.clusters, now).await?;
        let seconds = elapsed.unwrap_or_default().as_secs_f64();
        let windows = self.windows.end(&found.clusters, seconds);
        if let Some((info, started_s)) = &self.info {
            known.version.clone_from(&info.version);
            known.process = format!("{}-{started_s}", info.version);
            known.workers = info.workers;
        }
        known.response_s = Some(found.took.as_secs_f64());
        known.window_ms = elapsed.map_or(0, |elapsed| elapsed.as_millis() as u32);
        let (mut groups, mut hosts) = (0, 0);
        for (cluster, windows) in found.clusters.into_iter().zip(windows) {
            groups += 1;
            let mut all = cluster.hosts.into_iter().zip(windows);
            let room = MAX_BACKENDS.saturating_sub(hosts);
            if groups > MAX_GROUPS || room == 0 {
                known.left_out.0 += 1;
                known.left_out.1 += all.count();
                continue;
            }
            let taken: Vec<KnownHost> = all.by_ref().take(room).map(KnownHost::of).collect();
            hosts += taken.len();
            known.left_out.1 += all.count();
            known.clusters.push(KnownCluster {
                latency: self.latencies.get(&cluster.name).map(|(_, latency)| *latency),
                name: cluster.name,
                max_requests: cluster.max_requests,
                hosts: taken,
            });
        }
        Ok(())
    }

    /// Finds out which process it is: on each new connection, because a new process closes the old one.
    async fn identify(&mut self) -> Result<(), (State, String)> {
        let answer = self.get(INFO).await?;
        let info = ServerInfo::read(&answer).map_err(|error| (State::Denied, error.to_string()))?;
        let started_s = (wall_ms() / 1_000).max(0) as u64;
        let started_s = started_s.saturating_sub(info.uptime_s);
        let is_same = self.info.as_ref().is_some_and(|(old, at)| {
            old.version == info.version && at.abs_diff(started_s) <= SAME_START_S
        });
        if !is_same {
            self.windows.restart();
            self.latencies.clear();
            self.last = None;
            self.info = Some((info, started_s));
        }
        Ok(())
    }

    async fn clusters(&mut self) -> Result<Found, (State, String)> {
        let begin = Instant::now();
        let answer = self.get(CLUSTERS).await?;
        let took = begin.elapsed();
        let clusters = Cluster::read_all(&answer);
        let clusters = clusters.map_err(|error| (State::Denied, error.to_string()))?;
        Ok(Found { clusters, took })
    }

    async fn latencies(
        &mut self,
        clusters: &[Cluster],
        now: Instant,
    ) -> Result<(), (State, String)> {
        let answer = self.get(TIMES).await?;
        let all = histograms(&answer).map_err(|error| (State::Denied, error.to_string()))?;
        for cluster in clusters {
            let name = format!("cluster.{}.upstream_rq_time", cluster.stats_name);
            let latency = all.get(&name).and_then(|bins| self.windows.latency(&name, bins));
            if let Some(latency) = latency {
                self.latencies.insert(cluster.name.clone(), (now, latency));
            }
        }
        self.latencies.retain(|_, (at, _)| now.duration_since(*at) < LATENCY_AGE);
        Ok(())
    }

    async fn get(&mut self, path: &str) -> Result<bytes::Bytes, (State, String)> {
        let http = self.http.as_mut().expect("nothing is asked without an address");
        let answer = http.get(path).await;
        answer
            .map(|answer| answer.body)
            .map_err(|error: HttpError| (error.state(), error.to_string()))
    }

    fn say(&mut self, known: &Known) {
        if known.state.is_none() || self.said == known.state {
            return;
        }
        self.said = known.state;
        let (balancer, reason) = (self.envoy.name(), &known.reason);
        match known.state {
            Some(State::Up) => tracing::info!(balancer, version = known.version, "envoy answers"),
            Some(state) => {
                tracing::warn!(balancer, state = state.as_str(), reason, "envoy does not answer");
            }
            None => {}
        }
    }
}

impl KnownHost {
    fn of((host, window): (super::admin::Host, super::window::Window)) -> Self {
        Self {
            name: host.name,
            state: host.state,
            weight: host.weight,
            locality: host.locality,
            counts: host.counts,
            pending: host.pending,
            connections: host.connections,
            window,
        }
    }
}

fn wall_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}
