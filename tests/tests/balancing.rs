//! Load balancing on the whole path: the shipped collector and agents, real HAProxys before backends whose capacity changes, clients, and a person who decides.

use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use flyball_tests::balance::{
    AgentOf, Algorithm, Backends, Flyball, GROUP, HaproxyFleet, Load, Sample, Server, Spec,
    as_shares, is_right,
};
use flyball_tests::steering::PATIENCE;
use flyball_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// Two normal backends, one three times slower, one with half the workers: 1,133 requests a second.
/// Services take long beside the lateness of a timer on a busy machine: what is late by 4 ms of 10 can do a third less than is wanted of it.
const SPECS: [Spec; 4] =
    [Spec::new(16, 40), Spec::new(16, 40), Spec::new(16, 120), Spec::new(8, 40)];
/// The first one when it has lost half of its capacity.
const HALF: Spec = Spec::new(16, 80);
/// Under equal shares no backend is overloaded, and a window of a second has enough requests for each.
const RATE: f64 = 450.0;
const HAPROXYS: usize = 4;
const PER_AGENT: usize = 2;
const CONFIGURED: u32 = 100;
/// Windows of a second.
const SETTINGS: &[(&str, &str)] = &[("FLYBALL_BALANCE_WINDOW_MS", "1000")];

/// Everything that runs.
struct World {
    begun: Instant,
    load: Load,
    flyball: Flyball,
    fleet: HaproxyFleet,
    backends: Arc<Backends>,
    _dir: TempDir,
}

impl World {
    async fn begin(count: usize, algorithm: Algorithm, limit: fn(&Spec) -> u32) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let backends = Arc::new(Backends::start(&SPECS, true).await?);
        let servers: Vec<_> =
            (0..SPECS.len()).map(|number| server(&backends, number, limit)).collect();
        let fleet = HaproxyFleet::start(dir.path(), "lb", count, algorithm, &servers).await?;
        let load = Load::start(&fleet.addresses(), RATE, 1);
        let all: Vec<AgentOf> = fleet.0.iter().map(AgentOf::from).collect();
        let mut lists: Vec<_> = all.chunks(PER_AGENT).map(<[_]>::to_vec).collect();
        lists[0].extend(backends.0.iter().map(|one| AgentOf::Orca(one.address)));
        let flyball = Flyball::start(&lists, SETTINGS).await?;
        let begun = Instant::now();
        Ok(Self { begun, load, flyball, fleet, backends, _dir: dir })
    }

    /// Weights of an HAProxy in the order of the backends.
    async fn weights(&self, haproxy: usize) -> Result<Vec<u32>> {
        let weights = self.fleet.0[haproxy].weights().await?;
        let of = |number| weights.get(&format!("b{number}")).copied();
        (0..SPECS.len()).map(of).collect::<Option<_>>().context("a backend is missing")
    }

    /// Waits until all HAProxys share as this capacity says.
    async fn right(&self, specs: &[Spec]) -> Result<()> {
        let ideal = as_shares(&Backends::ideal(specs));
        let ideal = &ideal;
        until("right weights", PATIENCE, || async move {
            for haproxy in 0..self.fleet.0.len() {
                let weights = self.weights(haproxy).await?;
                ensure!(is_right(&as_shares(&weights), ideal), "lb{haproxy}: {weights:?}");
            }
            Ok(())
        })
        .await
        .with_context(|| self.flyball.stack.collector.process.log())
    }

    /// Weight of the first backend beside the largest one, at each HAProxy.
    async fn first(&self) -> Result<Vec<f64>> {
        let mut all = Vec::new();
        for haproxy in 0..self.fleet.0.len() {
            let weights = self.weights(haproxy).await?;
            let most = weights.iter().copied().max().context("weights")?;
            all.push(f64::from(weights[0]) / f64::from(most));
        }
        Ok(all)
    }

    /// Waits until that is so at all of them.
    async fn first_is(&self, what: &str, is_so: fn(f64) -> bool) -> Result<()> {
        until(what, PATIENCE, || async {
            let first = self.first().await?;
            ensure!(first.iter().all(|share| is_so(*share)), "{first:?}");
            Ok(())
        })
        .await
        .with_context(|| self.flyball.stack.collector.process.log())
    }

    /// Waits until so many more requests have been answered.
    async fn requests(&self, more: usize) -> Result<()> {
        let before = self.load.ended();
        until("requests", SOON, || async {
            ensure!(self.load.ended() >= before + more, "{} have ended", self.load.ended());
            Ok(())
        })
        .await
    }

    /// Waits until all have confirmed what was pushed last.
    async fn arrived(&self) -> Result<()> {
        until("a push to arrive", SOON, || async {
            let answer = self.flyball.stack.collector.api.json("/api/performance/control").await?;
            let last = &answer["control"][0]["last_pushes"][0]["balancers"];
            let mut all = last.as_array().context("a push")?.iter();
            ensure!(all.all(|one| one["confirmed_at_ms"].is_i64()), "{answer:#}");
            Ok(())
        })
        .await
    }

    /// Checks that no request has failed, and stops everything.
    async fn end(self) -> Result<()> {
        let samples = self.load.samples(self.begun, Instant::now());
        let bad: Vec<&Sample> = samples.iter().filter(|sample| !sample.is_good()).collect();
        ensure!(bad.is_empty(), "{} of {} failed: {:?}", bad.len(), samples.len(), bad[0]);
        self.flyball.stack.stop().await
    }
}

/// Requests that one balancer gives to a backend at once: as many as that has workers.
fn limited(spec: &Spec) -> u32 {
    spec.workers as u32
}

/// Any number of them.
fn unlimited(_: &Spec) -> u32 {
    0
}

fn server(backends: &Backends, number: usize, limit: fn(&Spec) -> u32) -> Server {
    Server {
        name: format!("b{number}"),
        address: backends.0[number].address,
        weight: CONFIGURED,
        limit: limit(&SPECS[number]),
    }
}

#[tokio::test]
async fn weights_are_confirmed_follow_capacity_survive_a_reload_and_end_by_a_word() -> Result<()> {
    let mut world = World::begin(HAPROXYS, Algorithm::RoundRobin, limited).await?;
    let known = world.flyball.known(HAPROXYS).await?;
    let group = &known["balancers"][0]["groups"][0];
    ensure!(group["name"] == GROUP && group["weights"] == "exact", "{known:#}");
    ensure!(group["algorithm"] == "roundrobin", "{known:#}");

    let suggestion = world.flyball.suggested("balancer.weights").await?;
    ensure!(suggestion["target"]["id"] == format!("pool:{GROUP}"), "{suggestion:#}");
    for haproxy in 0..HAPROXYS {
        ensure!(world.weights(haproxy).await? == [CONFIGURED; 4], "nothing is changed before");
    }
    world.flyball.promoted(&suggestion).await?;
    world.right(&SPECS).await?;

    // Nobody is asked again while it stays within what was confirmed.
    world.backends.0[0].set(&HALF);
    let mut halved = SPECS;
    halved[0] = HALF;
    world.right(&halved).await?;

    // The new process begins with its configuration.
    world.fleet.0[0].reload().await?;
    world.right(&halved).await?;

    world.flyball.tell("freeze").await?;
    // One that was decided on just before may still be on its way.
    world.arrived().await?;
    let frozen = world.weights(0).await?;
    world.backends.0[0].set(&SPECS[0]);
    // Some five windows.
    world.requests(RATE as usize * 5).await?;
    ensure!(world.weights(0).await? == frozen, "{:?} and {frozen:?}", world.weights(0).await?);
    world.flyball.tell("unfreeze").await?;
    world.right(&SPECS).await?;

    world.flyball.tell("kill").await?;
    until("the configured weights", SOON, || async {
        for haproxy in 0..HAPROXYS {
            let weights = world.weights(haproxy).await?;
            ensure!(weights == [CONFIGURED; 4], "lb{haproxy}: {weights:?}");
        }
        Ok(())
    })
    .await?;
    world.requests(RATE as usize * 3).await?;
    ensure!(world.weights(1).await? == [CONFIGURED; 4], "and they stay");
    world.end().await
}

#[tokio::test]
async fn one_balancer_under_leastconn_is_left_alone_and_told_why() -> Result<()> {
    let world = World::begin(1, Algorithm::LeastConn, limited).await?;
    let known = world.flyball.known(1).await?;
    ensure!(known["balancers"][0]["groups"][0]["weights"] == "when_busy", "{known:#}");
    let reason = until("the reason", SOON, || async {
        let answer = world.flyball.api().posted("/api/performance/optimize", &json!({})).await?;
        let all = |field: &str| answer[field].as_array().cloned().unwrap_or_default();
        let is_weights = |one: &Value| one["kind"] == "balancer.weights";
        ensure!(!all("suggestions").iter().any(is_weights), "suggested: {answer:#}");
        let skipped = all("skipped").into_iter().find(is_weights).context("nothing is said")?;
        let reason = skipped["reason"].as_str().unwrap_or_default().to_owned();
        ensure!(reason.contains("least connections needs no controller"), "{reason}");
        Ok(reason)
    })
    .await?;
    ensure!(!reason.is_empty() && world.weights(0).await? == [CONFIGURED; 4], "{reason}");
    world.end().await
}

/// Nothing says that it is full: it has no limit, and by its own word it is idle.
#[tokio::test]
async fn a_backend_that_hangs_with_an_idle_processor_goes_to_the_floor_and_comes_back() -> Result<()>
{
    let world = World::begin(HAPROXYS, Algorithm::RoundRobin, unlimited).await?;
    world.flyball.known(HAPROXYS).await?;
    let suggestion = world.flyball.suggested("balancer.weights").await?;
    world.flyball.promoted(&suggestion).await?;
    world.right(&SPECS).await?;

    world.backends.0[0].hang(true);
    world.first_is("at the floor", |share| share <= 0.05).await?;
    // Some five windows, in which it is idle and next to nothing is asked of it.
    world.requests(RATE as usize * 5).await?;
    let first = world.first().await?;
    ensure!(first.iter().all(|share| *share <= 0.05), "{first:?}");
    world.backends.0[0].hang(false);
    world.first_is("on its way back", |share| share >= 0.2).await?;
    world.end().await
}
