//! Load balancing with the shipped collector and agent and a real HAProxy before backends of unlike capacity: where nothing is to be gained, nothing is suggested, and why is told.

use anyhow::{Context as _, Result, ensure};
use flyball_tests::balance::{
    AgentOf, Algorithm, Backends, Flyball, HaproxyFleet, Load, Sample, Server, Spec,
};
use flyball_tests::wait::{SOON, until};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::Instant;

/// Two normal backends, one three times slower, one with half the workers: 1,133 requests a second.
const SPECS: [Spec; 4] = [Spec::new(4, 10), Spec::new(4, 10), Spec::new(4, 30), Spec::new(2, 10)];
/// Under equal shares no backend is overloaded, and a window of a second has enough requests for each.
const RATE: f64 = 450.0;
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
    _backends: Backends,
    _dir: TempDir,
}

impl World {
    async fn begin(count: usize, algorithm: Algorithm) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let backends = Backends::start(&SPECS, true).await?;
        let servers: Vec<_> = (0..SPECS.len()).map(|number| server(&backends, number)).collect();
        let fleet = HaproxyFleet::start(dir.path(), "lb", count, algorithm, &servers).await?;
        let load = Load::start(&fleet.addresses(), RATE, 1);
        let all: Vec<AgentOf> = fleet.0.iter().map(AgentOf::from).collect();
        let mut lists: Vec<_> = all.chunks(PER_AGENT).map(<[_]>::to_vec).collect();
        lists[0].extend(backends.0.iter().map(|one| AgentOf::Orca(one.address)));
        let flyball = Flyball::start(&lists, SETTINGS).await?;
        let begun = Instant::now();
        Ok(Self { begun, load, flyball, fleet, _backends: backends, _dir: dir })
    }

    /// Weights of an HAProxy in the order of the backends.
    async fn weights(&self, haproxy: usize) -> Result<Vec<u32>> {
        let weights = self.fleet.0[haproxy].weights().await?;
        let of = |number| weights.get(&format!("b{number}")).copied();
        (0..SPECS.len()).map(of).collect::<Option<_>>().context("a backend is missing")
    }

    /// Checks that no request has failed, and stops everything.
    async fn end(self) -> Result<()> {
        let samples = self.load.samples(self.begun, Instant::now());
        let bad: Vec<&Sample> = samples.iter().filter(|sample| !sample.is_good()).collect();
        ensure!(bad.is_empty(), "{} of {} failed: {:?}", bad.len(), samples.len(), bad[0]);
        self.flyball.stack.stop().await
    }
}

fn server(backends: &Backends, number: usize) -> Server {
    Server {
        name: format!("b{number}"),
        address: backends.0[number].address,
        weight: CONFIGURED,
        limit: SPECS[number].workers as u32,
    }
}

#[tokio::test]
async fn one_balancer_under_leastconn_is_left_alone_and_told_why() -> Result<()> {
    let world = World::begin(1, Algorithm::LeastConn).await?;
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
