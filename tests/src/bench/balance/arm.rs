//! Ways to share requests.

use std::time::Duration;

use anyhow::Result;
use serde_json::Value;

use super::scene::{Run, Scene, Stage};
use super::{Options, say};
use crate::balance::{AgentOf, Algorithm, Backends, Flyball};
use crate::bench::temporary;

/// Load under which Flyball learns weights from equal ones: none is busy by more than two thirds under its equal share, where latency would scatter too much for the judge.
pub(super) const GENTLE: f64 = 0.3;
/// HAProxys of one agent.
pub(super) const PER_AGENT: usize = 4;

/// A way to share requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Arm {
    /// `roundrobin` with equal weights.
    Roundrobin,
    /// `leastconn` with equal weights: the peer.
    #[value(name = "leastconn")]
    LeastConn,
    /// `roundrobin` with weights in proportion to the capacity that only the bench knows: what can be had.
    Ideal,
    /// `random(2)` with such weights.
    IdealRandom,
    /// `roundrobin`, equal at first, with Flyball's weights: suggested, confirmed, promoted, under standing control.
    Flyball,
    /// The same on `random(2)`.
    FlyballRandom,
}

impl Arm {
    /// For people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roundrobin => "roundrobin",
            Self::LeastConn => "leastconn",
            Self::Ideal => "ideal weights",
            Self::IdealRandom => "ideal weights, random(2)",
            Self::Flyball => "Flyball",
            Self::FlyballRandom => "Flyball, random(2)",
        }
    }

    /// Whether it is ours.
    pub const fn is_flyball(self) -> bool {
        matches!(self, Self::Flyball | Self::FlyballRandom)
    }

    const fn algorithm(self) -> Algorithm {
        match self {
            Self::Roundrobin | Self::Ideal | Self::Flyball => Algorithm::RoundRobin,
            Self::LeastConn => Algorithm::LeastConn,
            Self::IdealRandom | Self::FlyballRandom => Algorithm::Random,
        }
    }
}

/// One run of one arm on servers of its own.
pub(super) async fn run(scene: &Scene, arm: Arm, options: &Options, what: &str) -> Result<Run> {
    let dir = temporary()?;
    let what = format!("{}: {what}", scene.name);
    let is_ideal = matches!(arm, Arm::Ideal | Arm::IdealRandom);
    let equal = vec![100; scene.specs.len()];
    let weights = if is_ideal { Backends::ideal(&scene.specs) } else { equal };
    let first = if arm.is_flyball() { GENTLE } else { options.load };
    let stage = scene.set(dir.path(), arm.algorithm(), &weights, first).await?;
    let flyball = if arm.is_flyball() { Some(steered(&stage, &what).await?) } else { None };
    stage.load.set_rate(scene.rate(options.load));
    super::wait(&format!("{what}, warm"), options.warm).await;
    let run = stage.measure(&what, options.seconds).await?;
    if let Some(flyball) = flyball {
        flyball.stack.stop().await?;
    }
    Ok(run)
}

/// Flyball in front of the stage, with weights that were suggested, confirmed and promoted.
pub(super) async fn steered(stage: &Stage, what: &str) -> Result<Flyball> {
    let flyball = watching(stage).await?;
    let suggestion = flyball.suggested("balancer.weights").await?;
    say(&format!("{what}: suggested, {}", reason(&suggestion)));
    let rollout = flyball.promoted(&suggestion).await?;
    say(&format!("{what}: promoted, {}", rollout["id"]));
    Ok(flyball)
}

/// Flyball that knows all HAProxys of the stage.
pub(super) async fn watching(stage: &Stage) -> Result<Flyball> {
    let all: Vec<AgentOf> = stage.fleet.0.iter().map(AgentOf::from).collect();
    let mut lists: Vec<_> = all.chunks(PER_AGENT).map(<[_]>::to_vec).collect();
    // Limits that many balancers have each say little of how busy a backend is: backends say it themselves.
    lists[0].extend(stage.backends.0.iter().map(|one| AgentOf::Orca(one.address)));
    let flyball = Flyball::start(&lists, &[]).await?;
    flyball.known(stage.fleet.0.len()).await?;
    Ok(flyball)
}

/// Why something is suggested, in its own words.
fn reason(suggestion: &Value) -> &str {
    let words = ["reason", "why", "title"].into_iter().find_map(|field| suggestion[field].as_str());
    words.unwrap_or("without a reason")
}

/// Time that law R of the collector looks at once, as the contract says.
pub(super) const WINDOW: Duration = Duration::from_secs(5);
