//! What a seed stands for: how a world is set up, and what goes wrong in it when.

use std::fmt::{Display, Formatter};
use std::time::Duration;

use flyball_agent::spool::memory_disk::{Faults, Operation};
use flyball_collector::ingest::IngestSettings;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use crate::agent::{Death, Load, Setup};
use crate::net::Cut;
use crate::store::Weather;

/// 2026-03-01T00:00:00Z.
const MARCH_MS: i64 = 1_772_323_200_000;
const HOUR_MS: i64 = 3_600_000;

/// A world.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The wall clock at the beginning.
    pub(crate) wall_ms: i64,
    /// How long faults are injected and samples are produced.
    pub(crate) length: Duration,
    pub(crate) agents: Vec<Setup>,
    pub(crate) collectors: Vec<String>,
    pub(crate) ingest: IngestSettings,
    pub(crate) latency_ms: (u64, u64),
    /// Ordered by time.
    pub(crate) faults: Vec<(Duration, Fault)>,
}

/// Something that goes wrong. Agents and collectors are named by their index.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Fault {
    /// The connections of an agent end.
    Cut { agent: usize, cut: Cut },
    /// Nothing gets through between an agent and a collector for a time.
    Hold { agent: usize, collector: usize, time: Duration },
    /// Bytes take longer for a time.
    Slow { longest_ms: u64, time: Duration },
    /// A collector is killed and started again.
    KillCollector { collector: usize, cut: Cut, time: Duration },
    /// A collector is stopped in order and started again.
    StopCollector { collector: usize, patience: Duration, time: Duration },
    /// An agent dies and is started again.
    KillAgent { agent: usize, death: Death, cut: Cut, time: Duration },
    /// An agent's disk fails for a time.
    Disk { agent: usize, faults: Faults, time: Duration },
    /// An agent is stopped in order and started again.
    StopAgent { agent: usize, time: Duration },
    /// The database is killed and started again.
    KillDatabase { time: Duration },
    /// The database is stopped by a signal for a time.
    PauseDatabase { time: Duration },
    /// The database fails in part for a time.
    Weather { weather: Weather, time: Duration },
    /// Somebody sets the clock of an agent's host.
    StepClock { agent: usize, by_ms: i64 },
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl Plan {
    /// The world that `seed` stands for.
    pub(crate) fn new(seed: u64) -> Self {
        let rng = &mut StdRng::seed_from_u64(seed);
        let collectors: Vec<_> = (1..=rng.random_range(1..=2)).map(|i| format!("c{i}")).collect();
        let agents = (1..=rng.random_range(1..=4)).map(|i| setup(rng, i, &collectors)).collect();
        let length = Duration::from_secs(rng.random_range(60..=240));
        // Some worlds begin shortly before a full hour, where blocks of two hours meet.
        let before_hour_ms = if rng.random_bool(0.5) {
            rng.random_range(0..length.as_millis() as i64)
        } else {
            rng.random_range(0..HOUR_MS)
        };
        let mut plan = Self {
            seed,
            wall_ms: MARCH_MS - before_hour_ms,
            length,
            agents,
            collectors,
            ingest: ingest(rng),
            latency_ms: (0, rng.random_range(1..=20)),
            faults: Vec::new(),
        };
        plan.faults = plan.draw_faults(rng);
        plan
    }

    fn draw_faults(&self, rng: &mut StdRng) -> Vec<(Duration, Fault)> {
        let count = rng.random_range(0..=self.length.as_secs() / 6);
        // Half of the worlds have every kind of fault, the others a few: rare meetings need both.
        let kinds: Vec<u32> = (0..KINDS)
            .filter(|_| rng.random_bool(if seed_is_even(self.seed) { 1.0 } else { 0.3 }))
            .collect();
        if kinds.is_empty() {
            return Vec::new();
        }
        let mut faults: Vec<_> = (0..count)
            .map(|_| {
                let at = Duration::from_millis(rng.random_range(0..self.length.as_millis() as u64));
                let kind = kinds[rng.random_range(0..kinds.len())];
                (at, self.draw_fault(kind, rng))
            })
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        faults
    }

    fn draw_fault(&self, kind: u32, rng: &mut StdRng) -> Fault {
        let agent = rng.random_range(0..self.agents.len());
        let collector = rng.random_range(0..self.collectors.len());
        let cut = [Cut::Now, Cut::AfterDelivery, Cut::Silent][rng.random_range(0..3)];
        match kind {
            0 => Fault::Cut { agent, cut },
            1 => Fault::Hold { agent, collector, time: time(rng, 90_000) },
            2 => Fault::Slow { longest_ms: rng.random_range(10..3_000), time: time(rng, 20_000) },
            3 => Fault::KillCollector { collector, cut, time: time(rng, 30_000) },
            4 => Fault::StopCollector {
                collector,
                patience: time(rng, 6_000),
                time: time(rng, 30_000),
            },
            5 => Fault::KillAgent { agent, death: death(rng), cut, time: time(rng, 20_000) },
            6 => Fault::StopAgent { agent, time: time(rng, 20_000) },
            7 => Fault::KillDatabase { time: time(rng, 90_000) },
            8 => Fault::PauseDatabase { time: time(rng, 90_000) },
            9 => Fault::Disk { agent, faults: disk_faults(rng), time: time(rng, 90_000) },
            10 => Fault::StepClock { agent, by_ms: rng.random_range(-200_000..200_000) },
            _ => Fault::Weather { weather: weather(rng), time: time(rng, 40_000) },
        }
    }
}

const KINDS: u32 = 14;

fn seed_is_even(seed: u64) -> bool {
    seed.is_multiple_of(2)
}

/// A time that is often short and at most `longest_ms`.
fn time(rng: &mut StdRng, longest_ms: u64) -> Duration {
    let power: f64 = rng.random();
    Duration::from_millis((longest_ms as f64).powf(power) as u64)
}

fn death(rng: &mut StdRng) -> Death {
    if rng.random_bool(0.5) { Death::Killed } else { Death::PowerCut }
}

fn disk_faults(rng: &mut StdRng) -> Faults {
    let mut faults = Faults::default();
    match rng.random_range(0..6) {
        0 => faults.calls_left = Some(rng.random_range(0..200)),
        1 => faults.capacity_bytes = Some(rng.random_range(0..50_000)),
        2 => faults.failing = &[Operation::Write],
        3 => faults.failing = &[Operation::Sync],
        4 => faults.failing = &[Operation::Read],
        _ => faults.failing = &[Operation::Write, Operation::Sync, Operation::Remove],
    }
    faults
}

fn setup(rng: &mut StdRng, number: usize, collectors: &[String]) -> Setup {
    let memory_bytes = [64 << 10, 2 << 20][rng.random_range(0..2)];
    Setup {
        name: format!("a{number}"),
        interval: Duration::from_millis([100, 1_000, 1_000, 5_000][rng.random_range(0..4)]),
        memory_bytes,
        spool_bytes: [64 << 10, 10 << 20, 10 << 20][rng.random_range(0..3)],
        load: Load {
            series: rng.random_range(1..40),
            churn: [0.0, 0.02, 0.5][rng.random_range(0..3)],
            holes: [0.0, 0.3][rng.random_range(0..2)],
        },
        collectors: collectors.to_vec(),
    }
}

/// Small bounds are met more often; the smallest ones still let four agents through.
fn ingest(rng: &mut StdRng) -> IngestSettings {
    IngestSettings {
        period_ms: rng.random_range(50..=1_000),
        batch_rows: [50, 1_000, 250_000][rng.random_range(0..3)],
        max_rows_in_flight: [4_000, 20_000, 1_000_000][rng.random_range(0..3)],
        credits: [32, 64][rng.random_range(0..2)],
        ..IngestSettings::default()
    }
}

fn weather(rng: &mut StdRng) -> Weather {
    let mut weather = Weather::default();
    match rng.random_range(0..5) {
        0 => weather.refused = rng.random_range(0.1..1.0),
        1 => weather.too_many_parts = rng.random_range(0.1..1.0),
        2 => weather.answer_lost = rng.random_range(0.1..1.0),
        3 => weather.takes_ms = (10, rng.random_range(1_000..40_000)),
        _ => weather.refused_for_good = rng.random_range(0.0..0.3),
    }
    weather
}
