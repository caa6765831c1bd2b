//! Second act: 16 HAProxys and 8 Envoys before backends of different capacity, of which one slows down half way; round robin, `leastconn` and Flyball one after the other.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use tokio::time::{Instant, sleep_until};

use super::outcome::{Outcome, table};
use super::picture::draw;
use super::story::Story;
use crate::balance::{
    AgentOf, Algorithm, Backend, Backends, Cluster, EnvoyFleet, Figures, Flyball, HaproxyFleet,
    History, Load, Server, Source, Spec,
};
use crate::port;
use crate::process::usage;
use crate::wait::until;

/// Two normal backends, one three times slower, one with half the workers.
const SPECS: [Spec; 4] = [Spec::new(4, 10), Spec::new(4, 10), Spec::new(4, 30), Spec::new(2, 10)];
/// The first one when it has slowed down.
const SLOWED: Spec = Spec::new(4, 20);
const HAPROXYS: usize = 16;
const ENVOYS: usize = 8;
/// HAProxys of an agent; one more agent serves the Envoys.
const PER_AGENT: usize = 4;
/// Shares of the capacity: what is asked for, and what Flyball learns under.
const LOAD: f64 = 0.65;
const GENTLE: f64 = 0.4;
/// Until the backend slows down; from then on while ways that can adapt do so; after that. In seconds.
const PHASES: [u64; 3] = [8, 5, 8];
/// Settings of the collector: windows of five seconds are windows of one.
const SETTINGS: &[(&str, &str)] = &[("FLYBALL_BALANCE_WINDOW_MS", "1000")];
/// Entries of the journal that are told.
const TOLD: usize = 6;
/// Longest time that is waited for the last answers.
const REST: Duration = Duration::from_secs(30);

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
    haproxys: HaproxyFleet,
    envoys: EnvoyFleet,
    backends: Arc<Backends>,
    // Last: what uses it goes before.
    _dir: TempDir,
}

/// Plays it; the picture is written to `picture`.
pub(super) async fn play(story: &Story, picture: &Path) -> Result<()> {
    story.chapter("Load balancers that do not know each other")?;
    let capacity: Vec<_> = SPECS.iter().map(|spec| format!("{:.0}", spec.capacity())).collect();
    story.tell(&format!(
        "{HAPROXYS} HAProxys and {ENVOYS} Envoys share {:.0} requests a second among four backends, which can serve {} a second. Nobody has told the balancers.",
        Backends::capacity(&SPECS) * LOAD,
        capacity.join(", ")
    ))?;
    story.tell(&format!(
        "After {} s the first backend becomes half as fast. The same three times: round robin, the fewest requests under way, Flyball.",
        PHASES[0]
    ))?;
    let mut outcomes = Vec::new();
    for way in [Way::RoundRobin, Way::LeastConn, Way::Flyball] {
        story.chapter(way.title())?;
        let stage = Stage::set(way).await?;
        if way == Way::RoundRobin {
            story.tell(&stage.memory()?)?;
        }
        if let Some(flyball) = &stage.flyball {
            stage.learn(story, flyball).await?;
        }
        let outcome = stage.run(story, way).await?;
        if let Some(flyball) = stage.flyball {
            pushes(story, &flyball).await?;
            flyball.stack.stop().await?;
        }
        outcomes.push(outcome);
    }
    end(story, &outcomes, picture)
}

/// What came of it, in the terminal and as a picture.
fn end(story: &Story, outcomes: &[Outcome], picture: &Path) -> Result<()> {
    story.chapter("What their clients have seen")?;
    let curves: Vec<_> = outcomes.iter().map(|outcome| outcome.curve.clone()).collect();
    let mark = (PHASES[0] as f64, "a backend slows down");
    std::fs::write(picture, draw("p99 of each second, ms", &curves, mark))
        .with_context(|| format!("write {}", picture.display()))?;
    for line in table(outcomes, &PHASES) {
        Story::show(&line)?;
    }
    story.tell(&format!("The curves of p99 are drawn in {}.", picture.display()))
}

impl Way {
    const fn name(self) -> &'static str {
        match self {
            Self::RoundRobin => "round robin",
            Self::LeastConn => "leastconn",
            Self::Flyball => "Flyball",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::RoundRobin => "Round robin: each backend in turn",
            Self::LeastConn => {
                "leastconn: each balancer takes the backend with the fewest of its own requests"
            }
            Self::Flyball => "Flyball: round robin with weights from what all balancers see",
        }
    }
}

impl Stage {
    async fn set(way: Way) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("flyball-demo-").tempdir()?;
        let backends = Arc::new(Backends::start(&SPECS, true).await?);
        let (algorithm, policy) = match way {
            Way::RoundRobin | Way::Flyball => (Algorithm::RoundRobin, "ROUND_ROBIN"),
            Way::LeastConn => (Algorithm::LeastConn, "LEAST_REQUEST"),
        };
        let server = |(number, (backend, spec)): (usize, (&Backend, &Spec))| Server {
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
        Ok(Self { load, history, flyball, haproxys, envoys, backends, _dir: dir })
    }

    /// What the balancers take of this machine.
    fn memory(&self) -> Result<String> {
        let of = |pids: Result<Vec<u32>>| {
            let bytes =
                pids?.into_iter().map(|pid| anyhow::Ok(usage(pid)?.rss_bytes)).sum::<Result<u64>>();
            anyhow::Ok(bytes? >> 20)
        };
        let haproxys = of(self.haproxys.0.iter().map(crate::balance::Haproxy::pid).collect())?;
        let envoys = of(self.envoys.0.iter().map(crate::balance::Envoy::pid).collect())?;
        Ok(format!("The HAProxys have {haproxys} MB of memory together, the Envoys {envoys} MB."))
    }

    /// From equal weights to weights that a person has confirmed.
    async fn learn(&self, story: &Story, flyball: &Flyball) -> Result<()> {
        let server = flyball.api().base();
        story.tell(&format!(
            "It begins with equal weights too, watches at {:.0} % of the capacity for now, and changes nothing by itself. Dashboard: {server}",
            GENTLE * 100.0
        ))?;
        flyball.known(HAPROXYS + 1).await?;
        story.tell(
            "All balancers are known. Some seconds of their traffic are needed for a suggestion.",
        )?;
        let suggestion = flyball.suggested("balancer.weights").await?;
        let id = suggestion["id"].as_str().context("an id")?.to_owned();
        story.flyball(server, &["show", &id]).await?;
        story.tell(
            "A person confirms. It is tried on one balancer, then on more, beside those that wait.",
        )?;
        flyball.promoted(&suggestion).await?;
        story.tell("Promoted: no harm was found. From here on weights follow the backends within what was confirmed.")?;
        self.load.set_rate(Backends::capacity(&SPECS) * LOAD);
        Ok(())
    }

    /// All phases: p99 of each second, and the figures of each phase. Requests that were due are waited for.
    async fn run(&self, story: &Story, way: Way) -> Result<Outcome> {
        let begun = Instant::now();
        let seconds = |number: u64| begun + Duration::from_secs(number);
        let (slows, adapted, end) = (PHASES[0], PHASES[0] + PHASES[1], PHASES.iter().sum::<u64>());
        sleep_until(seconds(slows)).await;
        self.backends.0[0].set(&SLOWED);
        story.tell("The first backend is half as fast from now on.")?;
        sleep_until(seconds(end)).await;
        self.load.set_rate(0.0);
        let last = until("the last answers", REST, || async {
            ensure!(self.load.under_way() == 0, "{} are open", self.load.under_way());
            Ok(())
        });
        // What is still open then is counted and told.
        let _ = last.await;
        let of = |from: u64, to: u64| {
            let (from, to) = (seconds(from), seconds(to));
            let counts = self.history.between(from, to).unwrap_or_default();
            Figures::of(&self.load.samples(from, to), &counts, 0)
        };
        let p99 = |number: u64| {
            let p99 = of(number, number + 1).p99_ms;
            p99.is_finite().then_some((number as f64 + 0.5, p99))
        };
        let phases = [of(0, slows), of(slows, adapted), of(adapted, end)];
        let open = self.load.under_way();
        let outcome = Outcome::new(way.name(), (0..end).filter_map(p99).collect(), phases, open);
        story.tell(&outcome.words())?;
        Ok(outcome)
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
    let number = answer["journal"]["sequence"].as_u64().unwrap_or(entries.len() as u64);
    story.tell(&format!("The journal has {number} entries; the newest of them:"))?;
    for entry in entries.iter().take(TOLD) {
        let of = |field: &str| entry[field].as_str().unwrap_or_default();
        Story::show(&format!("{}: {} {}", of("actor"), of("to_state"), of("reason")))?;
    }
    if answer["verified"]["intact"] == Value::Bool(true) {
        story.tell("Each is sealed by the one before; the chain is whole.")?;
    }
    Ok(())
}

/// Where the picture goes when nobody says.
pub(super) fn picture() -> PathBuf {
    std::env::temp_dir().join("flyball-demo-balance.svg")
}
