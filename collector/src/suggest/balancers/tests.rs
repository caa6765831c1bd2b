//! Pools whose truth is known, and what is suggested for them.

mod drains;
mod limits;
mod repeats;
mod weights;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_model::record::Trial;
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    BackendGroup, BackendServer, BackendState, BalancerReport, BalancerState, Bounds, Capability,
    Target as Server, UtilizationSource, WeightMeaning,
};

use super::*;
use crate::balancers::settings::{BalanceSettings, Objective};
use crate::balancers::watch::{NoLoads, PoolWatch};
use crate::steer::watch::Balancer;
use crate::suggest::SuggestSettings;

const NOW_MS: i64 = 1_800_000_000_000;
const WINDOW_MS: i64 = 5_000;

/// A pool of backends with capacities that only it knows; its balancers share requests by their weights.
#[derive(Debug, Clone)]
struct Truth {
    balancers: usize,
    /// Requests per second at full use.
    capacities: Vec<f64>,
    /// In force at every balancer.
    weights: Vec<u32>,
    /// Requests per second of all.
    rate: f64,
    /// Share of the requests of each that fail.
    errors: Vec<f64>,
    algorithm: WeightMeaning,
    state: BalancerState,
    /// How old reports are at the windows' ends.
    age: Duration,
    /// Requests that each balancer may have under way at each backend.
    limit: Option<u32>,
    /// So many of the balancers, the first ones, are Envoys.
    envoys: usize,
    /// Requests that each Envoy may have under way at all backends.
    cluster_limit: u32,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            balancers: 4,
            capacities: vec![400.0, 400.0, 200.0],
            weights: vec![100, 100, 100],
            rate: 500.0,
            errors: vec![0.0; 3],
            algorithm: WeightMeaning::Exact,
            state: BalancerState::Up,
            age: Duration::ZERO,
            limit: None,
            envoys: 0,
            cluster_limit: 1_024,
        }
    }
}

impl Truth {
    /// What a balancer reports of a second.
    fn report(&self, balancer: usize, at_ms: i64) -> BalancerReport {
        let is_envoy = balancer < self.envoys;
        let sum: f64 = self.weights.iter().copied().map(f64::from).sum();
        let backends = self.capacities.iter().enumerate().map(|(at, capacity)| {
            let weight = self.weights[at];
            let address = format!("10.0.0.{at}:80");
            let name = if is_envoy { address.clone() } else { format!("app{at}") };
            let mut server = BackendServer::new(name, address, weight);
            let share = f64::from(weight) / sum;
            let rate = self.rate * share;
            let used = (rate / capacity).min(1.0);
            let own = rate / self.balancers as f64;
            server.requests = own.round() as u64;
            server.errors = (own * self.errors[at]).round() as u64;
            // Four workers; waits as in M/M/1.
            let latency_ms = 4_000.0 / capacity / (1.0 - used.min(0.95));
            server.latency_ms = Some(latency_ms);
            server.in_flight = Some(own * latency_ms / 1_000.0);
            server.utilization = Some((used, UtilizationSource::Orca));
            server.limit = self.limit.filter(|_| !is_envoy);
            server
        });
        let kind = if is_envoy { "envoy" } else { "haproxy" };
        let mut report = BalancerReport::new(Server::new(kind, "edge"), self.state, at_ms);
        report.window_ms = 1_000;
        report.groups.push(BackendGroup {
            name: "app".into(),
            limit: is_envoy.then_some(self.cluster_limit),
            algorithm: "roundrobin".into(),
            weights: self.algorithm,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: backends.collect(),
        });
        report
    }

    /// So many windows, the last of which ends at [`NOW_MS`].
    fn watched(&self, windows: i64) -> PoolWatch {
        let pools = PoolWatch::new(&BalanceSettings::default(), Objective::default());
        self.go_on(&pools, windows);
        pools
    }

    fn go_on(&self, pools: &PoolWatch, windows: i64) {
        let now = Instant::now() + Duration::from_hours(1);
        for window in 0..windows {
            let start_ms = NOW_MS - (windows - window) * WINDOW_MS;
            for second in 0..5 {
                let reports = (0..self.balancers).map(|at| {
                    let report = Arc::new(self.report(at, start_ms + second * 1_000));
                    Balancer {
                        node: NodeName::new(&format!("lb-{at}")).unwrap(),
                        whole: Some(Arc::clone(&report)),
                        report,
                        received: now.checked_sub(self.age).unwrap(),
                    }
                });
                pools.take(&reports.collect::<Vec<_>>());
            }
            pools.close(&NoLoads, start_ms, now);
        }
    }

    fn view(&self) -> PoolView {
        let pools = self.watched(12);
        view_of(&pools, true)
    }
}

/// The one pool, whose agents may set weights, states and limits.
fn view_of(pools: &PoolWatch, steers: bool) -> PoolView {
    let estimate = pools.latest("app").unwrap();
    let reach = estimate.pool.members.iter().map(|member| {
        let (limit, most) = match &*member.target.kind {
            "envoy" => ("max_requests:*", Bounds::Number(1, 1_000_000)),
            _ => ("maxconn:*", Bounds::Number(0, 100_000)),
        };
        let parameters = [
            ("weight:*".to_owned(), Bounds::Number(0, 256)),
            (
                "state:*".to_owned(),
                Bounds::OneOf(["ready", "drain", "maint"].map(Into::into).into()),
            ),
            (limit.to_owned(), most),
        ];
        let capability = Capability {
            target: member.target.clone(),
            parameters: if steers { parameters.into() } else { BTreeMap::new() },
            may_persist: false,
            reason: if steers { String::new() } else { "steer is not set".to_owned() },
            largest_growth: None,
        };
        let barred = capability.reason.clone();
        (member.id(), Reach { capability: Some(capability), barred })
    });
    let reach = reach.collect();
    let past = pools.pool_past(&estimate, 0);
    PoolView { estimate, past, reach, objective: Objective::default() }
}

fn settings() -> &'static SuggestSettings {
    static SETTINGS: std::sync::LazyLock<SuggestSettings> =
        std::sync::LazyLock::new(SuggestSettings::default);
    &SETTINGS
}

fn context(trials: &[Trial]) -> Context<'_> {
    Context { now_ms: NOW_MS + 1_000, settings: settings(), trials }
}

fn advice_of(view: &PoolView) -> Advice {
    advise(std::slice::from_ref(view), &context(&[]), &State::default())
}

/// Why nothing of a kind is suggested; fails when something is.
fn refused(view: &PoolView, kind: &str) -> String {
    let advice = advice_of(view);
    let found = advice.proposals.iter().find(|one| one.kind == kind);
    assert!(found.is_none(), "{found:?}");
    let skipped = advice.skipped.iter().find(|one| one.kind == kind);
    skipped.map_or_else(String::new, |one| one.reason.clone())
}

/// The one suggestion of a kind.
fn suggested(view: &PoolView, kind: &str) -> flyball_model::rollout::Proposal {
    let advice = advice_of(view);
    let found = advice.proposals.iter().find(|one| one.kind == kind);
    found.unwrap_or_else(|| panic!("{:?}", advice.skipped)).clone()
}
