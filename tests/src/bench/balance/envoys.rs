//! The comparison of [`super::Case::H16`] with Envoys: eight of them, each a balancer of its own with its own xDS server at an agent.
//!
//! Where HAProxy has `leastconn`, Envoy has `LEAST_REQUEST`: with equal weights the better of two drawn endpoints, with unequal ones a schedule by weight over requests under way.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;

use super::arm::{Arm, GENTLE, PER_AGENT};
use super::scene::{Run, Scene, Stage};
use super::{Options, say};
use crate::balance::{
    AgentOf, Backends, Cluster, EnvoyFleet, Flyball, HaproxyFleet, History, Load, Source,
};
use crate::bench::temporary;
use crate::port;

/// Backends and clients; no HAProxy is among them.
struct Ground {
    stage: Stage,
    flyball: Option<Flyball>,
    _envoys: Vec<EnvoyFleet>,
}

impl Arm {
    /// For people, of Envoys.
    pub(super) const fn name_of_envoy(self) -> &'static str {
        match self {
            Self::Roundrobin => "ROUND_ROBIN",
            Self::LeastConn => "LEAST_REQUEST",
            Self::Ideal => "ideal weights",
            Self::IdealRandom => "ideal weights, LEAST_REQUEST",
            Self::Flyball => "Flyball",
            Self::FlyballRandom => "Flyball, LEAST_REQUEST",
        }
    }

    const fn policy(self) -> &'static str {
        match self {
            Self::Roundrobin | Self::Ideal | Self::Flyball => "ROUND_ROBIN",
            Self::LeastConn | Self::IdealRandom | Self::FlyballRandom => "LEAST_REQUEST",
        }
    }
}

/// One run of one arm on servers of its own.
pub(super) async fn run(scene: &Scene, arm: Arm, options: &Options, what: &str) -> Result<Run> {
    let (dir, what) = (temporary()?, format!("{}: {what}", scene.name));
    let ground = Ground::start(dir.path(), scene, arm, options.load).await?;
    if let Some(flyball) = &ground.flyball {
        flyball.known(scene.balancers).await?;
        let suggestion = flyball.suggested("balancer.weights").await?;
        say(&format!("{what}: weights are suggested"));
        let rollout = flyball.promoted(&suggestion).await?;
        say(&format!("{what}: promoted, {}", rollout["id"]));
    }
    ground.stage.load.set_rate(scene.rate(options.load));
    super::wait(&format!("{what}, warm"), options.warm).await;
    let run = ground.stage.measure(&what, options.seconds).await?;
    if let Some(flyball) = ground.flyball {
        flyball.stack.stop().await?;
    }
    Ok(run)
}

impl Ground {
    async fn start(dir: &Path, scene: &Scene, arm: Arm, load: f64) -> Result<Self> {
        let backends = Arc::new(Backends::start(&scene.specs, true).await?);
        let is_ideal = matches!(arm, Arm::Ideal | Arm::IdealRandom);
        let equal = vec![100; scene.specs.len()];
        let weights = if is_ideal { Backends::ideal(&scene.specs) } else { equal };
        let endpoints = backends.0.iter().map(|one| one.address).zip(weights).collect();
        let cluster = Cluster { policy: arm.policy(), endpoints };
        let mut places = Vec::new();
        for _ in 0..scene.balancers {
            places.push((free()?, free()?));
        }
        let flyball =
            if arm.is_flyball() { Some(served(&backends, &cluster, &places).await?) } else { None };
        let mut envoys = Vec::new();
        for (number, (admin, xds)) in places.into_iter().enumerate() {
            let source =
                if flyball.is_some() { Source::Xds(xds) } else { Source::File(cluster.clone()) };
            let prefix = format!("edge{number}-");
            envoys.push(EnvoyFleet::start_with_admin(dir, &prefix, 1, &source, admin).await?);
        }
        let addresses: Vec<_> = envoys.iter().flat_map(EnvoyFleet::addresses).collect();
        let first = if arm.is_flyball() { GENTLE } else { load };
        let load = Load::start(&addresses, scene.rate(first), rand::random());
        let history = History::start(&backends);
        let stage = Stage { load, history, fleet: HaproxyFleet(Vec::new()), backends };
        Ok(Self { stage, flyball, _envoys: envoys })
    }
}

/// Flyball with agents that serve this cluster at these places: admin server and xDS server of each Envoy.
async fn served(
    backends: &Backends,
    cluster: &Cluster,
    places: &[(SocketAddr, SocketAddr)],
) -> Result<Flyball> {
    let of = |(number, (admin, xds)): (usize, &(SocketAddr, SocketAddr))| AgentOf::Envoy {
        name: format!("edge{number}"),
        admin: *admin,
        xds: *xds,
        cluster: cluster.clone(),
    };
    let all: Vec<_> = places.iter().enumerate().map(of).collect();
    let mut lists: Vec<_> = all.chunks(PER_AGENT).map(<[_]>::to_vec).collect();
    lists[0].extend(backends.0.iter().map(|one| AgentOf::Orca(one.address)));
    Flyball::start(&lists, &[]).await
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?)))
}
