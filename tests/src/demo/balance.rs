//! Second act: 16 HAProxys and 8 Envoys before backends of different capacity, of which one slows down half way; round robin, `leastconn` and Flyball one after the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

use super::picture::{Curve, draw};
use super::story::Story;
use crate::balance::{
    AgentOf, Algorithm, Backends, Cluster, EnvoyFleet, Figures, Flyball, HaproxyFleet, History,
    Load, Server, Source, Spec,
};
use crate::port;

/// Two normal backends, one three times slower, one with half the workers.
const SPECS: [Spec; 4] = [Spec::new(4, 20), Spec::new(4, 20), Spec::new(4, 60), Spec::new(2, 20)];
/// The first one half way.
const SLOWED: Spec = Spec::new(4, 40);
const HAPROXYS: usize = 16;
const ENVOYS: usize = 8;
/// HAProxys of an agent; one more agent serves the Envoys.
const PER_AGENT: usize = 4;
/// Shares of the capacity: what is asked for, and what Flyball learns under.
const LOAD: f64 = 0.65;
const GENTLE: f64 = 0.4;
/// Before the backend slows down, and after it.
const HALF: Duration = Duration::from_secs(8);
/// Settings of the collector: windows of five seconds are windows of one.
const SETTINGS: &[(&str, &str)] = &[("FLYBALL_BALANCE_WINDOW_MS", "1000")];
/// Confirmations that are told.
const TOLD: usize = 8;

/// How requests are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    RoundRobin,
    LeastConn,
    Flyball,
}

/// Balancers, backends and clients.
struct Stage {
    load: Load,
    history: History,
    flyball: Option<Flyball>,
    _haproxys: HaproxyFleet,
    _envoys: EnvoyFleet,
    backends: Arc<Backends>,
    // Last: what uses it goes before.
    _dir: TempDir,
}

/// Plays it; the picture is written to `picture`.
pub(super) async fn play(story: &Story, picture: &Path) -> Result<()> {
    story.chapter("Load balancers that do not know each other")?;
    let rate = Backends::capacity(&SPECS) * LOAD;
    story.tell(&format!(
        "{HAPROXYS} HAProxys and {ENVOYS} Envoys share {rate:.0} requests a second among four backends: two of 200 a second, one of 67, one of 100. After {} s the first one becomes half as fast.",
        HALF.as_secs()
    ))?;
    let (mut curves, mut rows) = (Vec::new(), Vec::new());
    for way in [Way::RoundRobin, Way::LeastConn, Way::Flyball] {
        story.tell(&format!("{}.", way.name()))?;
        let stage = Stage::set(story, way).await?;
        let (curve, halves) = stage.run(way).await?;
        for (when, figures) in ["as it was", "slowed"].into_iter().zip(&halves) {
            story.tell(&format!("{}, {when}: {}", way.name(), words(figures)))?;
        }
        if let Some(flyball) = stage.flyball {
            pushes(story, &flyball).await?;
            flyball.stack.stop().await?;
        }
        curves.push(curve);
        rows.push((way, halves));
    }
    let mark = (HALF.as_secs_f64(), "a backend slows down");
    std::fs::write(picture, draw("p99 of a second, ms", &curves, mark))
        .with_context(|| format!("write {}", picture.display()))?;
    story.tell("p99 before and after a backend has slowed down, and the largest utilisation over the mean:")?;
    for (way, [before, after]) in &rows {
        story.tell(&format!(
            "  {:12} {:8.0} ms {:8.0} ms   {:.2}",
            way.name(),
            before.p99_ms,
            after.p99_ms,
            after.imbalance()
        ))?;
    }
    story.tell(&format!("Drawn in {}.", picture.display()))
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "Round robin",
            Self::LeastConn => "leastconn",
            Self::Flyball => "Flyball",
        }
    }
}

impl Stage {
    async fn set(story: &Story, way: Way) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("flyball-demo-").tempdir()?;
        let backends = Arc::new(Backends::start(&SPECS, true).await?);
        let (algorithm, policy) = match way {
            Way::RoundRobin | Way::Flyball => (Algorithm::RoundRobin, "ROUND_ROBIN"),
            Way::LeastConn => (Algorithm::LeastConn, "LEAST_REQUEST"),
        };
        let server =
            |(number, (backend, spec)): (usize, (&crate::balance::Backend, &Spec))| Server {
                name: format!("b{number}"),
                address: backend.address,
                weight: 100,
                limit: spec.workers as u32,
            };
        let servers: Vec<_> = backends.0.iter().zip(&SPECS).enumerate().map(server).collect();
        let haproxys = HaproxyFleet::start(dir.path(), "lb", HAPROXYS, algorithm, &servers).await?;
        let endpoints = backends.0.iter().map(|one| (one.address, 100)).collect();
        let cluster = Cluster { policy, endpoints };
        let admin = free()?;
        let (flyball, source) = if way == Way::Flyball {
            let xds = free()?;
            (Some(start(&haproxys, &backends, cluster, (admin, xds)).await?), Source::Xds(xds))
        } else {
            (None, Source::File(cluster))
        };
        let path = dir.path();
        let envoys = EnvoyFleet::start_with_admin(path, "envoy", ENVOYS, &source, admin).await?;
        let mut all = haproxys.addresses();
        all.extend(envoys.addresses());
        let first = if way == Way::Flyball { GENTLE } else { LOAD };
        let load = Load::start(&all, Backends::capacity(&SPECS) * first, 1);
        let history = History::start(&backends);
        if let Some(flyball) = &flyball {
            story.tell(&format!(
                "It begins with equal weights as well, at {:.0} % of the capacity, and watches. Dashboard: {}",
                GENTLE * 100.0,
                flyball.api().base()
            ))?;
            flyball.known(HAPROXYS + 1).await?;
            let suggestion = flyball.suggested("balancer.weights").await?;
            let id = suggestion["id"].as_str().context("an id")?.to_owned();
            story.flyball(flyball.api().base(), &["show", &id]).await?;
            story.tell("A person confirms.")?;
            flyball.promoted(&suggestion).await?;
            story.tell("Tried on some, compared with the others, promoted. The load grows to that of the others.")?;
            load.set_rate(Backends::capacity(&SPECS) * LOAD);
        }
        Ok(Self {
            load,
            history,
            flyball,
            _haproxys: haproxys,
            _envoys: envoys,
            backends,
            _dir: dir,
        })
    }

    /// Both halves: p99 of each second, and the figures of each half.
    async fn run(&self, way: Way) -> Result<(Curve, [Figures; 2])> {
        let begun = Instant::now();
        sleep_until(begun + HALF).await;
        self.backends.0[0].set(&SLOWED);
        sleep_until(begun + HALF * 2).await;
        let (half, end) = (begun + HALF, begun + HALF * 2);
        let of = |from: Instant, to: Instant| {
            let counts = self.history.between(from, to).unwrap_or_default();
            Figures::of(&self.load.samples(from, to), &counts, self.load.under_way())
        };
        let second = |number: u32| {
            let from = begun + Duration::from_secs(1) * number;
            let p99 = of(from, from + Duration::from_secs(1)).p99_ms;
            p99.is_finite().then_some((f64::from(number) + 0.5, p99))
        };
        let points = (0..2 * HALF.as_secs() as u32).filter_map(second).collect();
        let curve = Curve { name: way.name().to_owned(), points };
        Ok((curve, [of(begun, half), of(half, end)]))
    }
}

async fn start(
    haproxys: &HaproxyFleet,
    backends: &Backends,
    cluster: Cluster,
    (admin, xds): (SocketAddr, SocketAddr),
) -> Result<Flyball> {
    let all: Vec<AgentOf> = haproxys.0.iter().map(AgentOf::from).collect();
    let mut lists: Vec<_> = all.chunks(PER_AGENT).map(<[_]>::to_vec).collect();
    // What one of the Envoys says of itself stands for all.
    let mut edge = vec![AgentOf::Envoy { name: "edge".into(), admin, xds, cluster }];
    edge.extend(backends.0.iter().map(|one| AgentOf::Orca(one.address)));
    lists.push(edge);
    Flyball::start(&lists, SETTINGS).await
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?)))
}

/// What was pushed, by whom and why.
async fn pushes(story: &Story, flyball: &Flyball) -> Result<()> {
    let answer = flyball.api().json("/api/performance/audit?verify=true&limit=200").await?;
    let entries = answer["entries"].as_array().context("entries")?;
    story.tell(&format!(
        "The journal has {} entries, the newest of them:",
        answer["journal"]["sequence"].as_u64().unwrap_or(entries.len() as u64)
    ))?;
    for entry in entries.iter().take(TOLD) {
        let of = |field: &str| entry[field].as_str().unwrap_or_default();
        story.tell(&format!("  {}: {} {}", of("actor"), of("to_state"), of("reason")))?;
    }
    if answer["verified"]["intact"] == Value::Bool(true) {
        story.tell("Each is sealed by the one before; the chain is whole.")?;
    }
    Ok(())
}

fn words(figures: &Figures) -> String {
    format!(
        "p50 {:.0} ms, p99 {:.0} ms, largest utilisation / mean {:.2}, {} of {} failed, {} without an answer yet",
        figures.p50_ms,
        figures.p99_ms,
        figures.imbalance(),
        figures.failed,
        figures.requests,
        figures.open
    )
}

/// Where the picture goes when nobody says.
pub(super) fn picture() -> PathBuf {
    std::env::temp_dir().join("flyball-demo-balance.svg")
}
