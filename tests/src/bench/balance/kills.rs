//! Collector, agents and balancers are killed, HAProxys reloaded, while weights are under standing control and requests go on: 16 HAProxys of four agents, and two Envoys that a fifth agent serves.
//!
//! No request may fail by our doing: what fails through a balancer while it is killed is its clients' loss and is told apart. Weights must be right everywhere soon after what was killed is there
//! again. That is when it answers; for an Envoy, which has no weights before it has asked for them, when its process was started.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::Instant;

use super::arm::{GENTLE, PER_AGENT};
use super::scene::{Scene, Stage};
use super::{Options, say, wait};
use crate::balance::{
    AgentOf, Algorithm, Backends, Cluster, EnvoyFleet, Flyball, GROUP, Load, Sample, Source,
    as_shares, is_right,
};
use crate::bench::table::{Bar, Table};
use crate::bench::temporary;
use crate::port;
use crate::wait::until;

/// Milliseconds until weights are right after the return.
const BACK_BAR: f64 = 2_000.0;
/// Time between a kill and the return.
const AWAY: Duration = Duration::from_secs(3);
/// Longest time that weights may take.
const PATIENCE: Duration = Duration::from_mins(1);
const ENVOYS: usize = 2;
/// The HAProxy and the Envoy that are killed. Of the Envoys it is the one by whose admin interface the agent knows of all.
const KILLED: usize = 0;

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Collector,
    Agent,
    Server,
    Reload,
    Haproxy,
    Envoy,
}

/// Everything, under control.
struct Ground {
    edge: Load,
    stage: Stage,
    flyball: Flyball,
    envoys: EnvoyFleet,
    addresses: Vec<String>,
    ideal: Vec<f64>,
}

/// Each victim `rounds` times, on one set of servers.
pub(super) async fn run(table: &mut Table, options: &Options) -> Result<()> {
    let (dir, scene) = (temporary()?, Scene::many());
    let mut ground = Ground::start(dir.path(), &scene).await?;
    ground.set_rate(scene.rate(options.load));
    wait("kills, warm", options.warm).await;
    for round in 0..options.rounds {
        for victim in Victim::ALL {
            let what =
                format!("kills: {}, round {} of {}", victim.name(), round + 1, options.rounds);
            let begun = Instant::now();
            let back_ms = ground.kill(victim).await?;
            wait(&what, AWAY).await;
            let failed = ground.failed(victim, begun);
            say(&format!("{what}: right after {back_ms:.0} ms, failed: {failed:?}"));
            let row = |figure: &str| format!("{}: {figure}", victim.name());
            table.add(&row("back -> weights right, ms"), back_ms, Some(Bar::AtMost(BACK_BAR)));
            let (others, own) = failed;
            let through =
                if own.is_some() { "requests failed through others" } else { "requests failed" };
            table.add(&row(through), others as f64, Some(Bar::Never));
            if let Some(own) = own {
                table.add(&row("requests failed through it"), own as f64, None);
            }
        }
    }
    ground.flyball.stack.stop().await
}

impl Victim {
    const ALL: [Self; 6] =
        [Self::Collector, Self::Agent, Self::Server, Self::Reload, Self::Haproxy, Self::Envoy];

    const fn name(self) -> &'static str {
        match self {
            Self::Collector => "collector killed",
            Self::Agent => "agent killed, HAProxy reloaded meanwhile",
            Self::Server => "agent that serves Envoys killed",
            Self::Reload => "HAProxy reloaded",
            Self::Haproxy => "HAProxy killed",
            Self::Envoy => "Envoy killed",
        }
    }
}

impl Ground {
    /// Starts it with equal weights, and has weights suggested, confirmed and promoted.
    async fn start(dir: &Path, scene: &Scene) -> Result<Self> {
        let equal = vec![100; scene.specs.len()];
        let stage = scene.set(dir, Algorithm::RoundRobin, &equal, GENTLE).await?;
        let free = || anyhow::Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?)));
        let (admin, xds) = (free()?, free()?);
        let endpoints: Vec<_> = stage.backends.0.iter().map(|one| (one.address, 100)).collect();
        let addresses = endpoints.iter().map(|(address, _)| address.to_string()).collect();
        let cluster = Cluster { policy: "ROUND_ROBIN", endpoints };

        let all: Vec<AgentOf> = stage.fleet.0.iter().map(AgentOf::from).collect();
        let mut lists: Vec<_> = all.chunks(PER_AGENT).map(<[_]>::to_vec).collect();
        lists[0].extend(stage.backends.0.iter().map(|one| AgentOf::Orca(one.address)));
        lists.push(vec![AgentOf::Envoy { name: "edge".into(), admin, xds, cluster }]);
        let flyball = Flyball::start(&lists, &[]).await?;
        let source = Source::Xds(xds);
        let envoys = EnvoyFleet::start_with_admin(dir, "envoy", ENVOYS, &source, admin).await?;
        let edge = Load::start(&envoys.addresses(), 0.0, rand::random());
        let ideal = as_shares(&Backends::ideal(&scene.specs));
        let ground = Self { edge, stage, flyball, envoys, addresses, ideal };
        ground.set_rate(scene.rate(GENTLE));

        ground.flyball.known(scene.balancers + 1).await?;
        let suggestion = ground.flyball.suggested("balancer.weights").await?;
        say("kills: weights are suggested");
        let rollout = ground.flyball.promoted(&suggestion).await?;
        say(&format!("kills: promoted, {}", rollout["id"]));
        Ok(ground)
    }

    /// Requests a second over all balancers, each as many.
    fn set_rate(&self, per_second: f64) {
        let (haproxys, envoys) = (self.stage.fleet.0.len() as f64, self.envoys.0.len() as f64);
        self.stage.load.set_rate(per_second * haproxys / (haproxys + envoys));
        self.edge.set_rate(per_second * envoys / (haproxys + envoys));
    }

    /// Kills it and brings it back; milliseconds from then until all weights are right.
    async fn kill(&mut self, victim: Victim) -> Result<f64> {
        match victim {
            Victim::Collector => {
                self.flyball.kill_collector().await?;
                wait("the collector is away", AWAY).await;
                self.flyball.start_collector().await?;
            }
            Victim::Agent => {
                self.flyball.kill_agent(0).await?;
                // Meanwhile an HAProxy begins anew with its configured weights, which the agent finds when it is there again.
                self.stage.fleet.0[KILLED].reload().await?;
                wait("an agent is away", AWAY).await;
                self.flyball.start_agent(0)?;
            }
            Victim::Server => {
                let last = self.flyball.stack.agents.len() - 1;
                self.flyball.kill_agent(last).await?;
                wait("the agent of the Envoys is away", AWAY).await;
                self.flyball.start_agent(last)?;
            }
            Victim::Reload => self.stage.fleet.0[KILLED].reload().await?,
            Victim::Haproxy => self.stage.fleet.0[KILLED].restart().await?,
            Victim::Envoy => {
                let envoy = &mut self.envoys.0[KILLED];
                envoy.kill().await?;
                wait("an Envoy is away", AWAY).await;
                envoy.start_again()?;
            }
        }
        let back = Instant::now();
        self.right().await?;
        Ok(back.elapsed().as_secs_f64() * 1e3)
    }

    /// Waits until the weights of all balancers are right.
    async fn right(&self) -> Result<()> {
        let ensure_right = |name: &str, weights: &[u32]| {
            ensure!(is_right(&as_shares(weights), &self.ideal), "{name} {GROUP}: {weights:?}");
            Ok(())
        };
        let ensure_right = &ensure_right;
        until("right weights", PATIENCE, || async move {
            for one in &self.stage.fleet.0 {
                let weights = one.weights().await?;
                let of = |number: usize| weights.get(&format!("b{number}")).copied().unwrap_or(0);
                ensure_right(&one.name, &(0..self.ideal.len()).map(of).collect::<Vec<_>>())?;
            }
            for one in &self.envoys.0 {
                let weights = one.weights().await?;
                let of = |address: &String| weights.get(address).copied().unwrap_or(0);
                ensure_right(&one.name, &self.addresses.iter().map(of).collect::<Vec<_>>())?;
            }
            Ok(())
        })
        .await
    }

    /// Requests that have failed since then: through all but the balancer that was killed, and through that.
    fn failed(&self, victim: Victim, begun: Instant) -> (usize, Option<usize>) {
        let now = Instant::now();
        let haproxys = self.stage.load.samples(begun, now);
        let envoys = self.edge.samples(begun, now);
        let failed = |samples: &[Sample], is_counted: &dyn Fn(usize) -> bool| {
            let of = |one: &&Sample| !one.is_good() && is_counted(usize::from(one.balancer));
            samples.iter().filter(of).count()
        };
        let (all, own) = (|_: usize| true, |number: usize| number == KILLED);
        let others = |number: usize| number != KILLED;
        match victim {
            Victim::Haproxy => {
                (failed(&haproxys, &others) + failed(&envoys, &all), Some(failed(&haproxys, &own)))
            }
            Victim::Envoy => {
                (failed(&haproxys, &all) + failed(&envoys, &others), Some(failed(&envoys, &own)))
            }
            _ => (failed(&haproxys, &all) + failed(&envoys, &all), None),
        }
    }
}
