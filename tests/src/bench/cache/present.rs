//! The server at its present size, and what is predicted from it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use flyball_agent::cache::hash::KeyHasher;
use flyball_agent::cache::monitor::{Burst, End, burst};
use flyball_agent::cache::parse::Lines;
use flyball_agent::cache::watch::{Plan, Watch};
use flyball_agent::redis::{Instance, RedisConfig};
use flyball_model::emulate::{self, Policy, Request, Settings, Trials};
use flyball_model::reuse::{Answer, Curve, Present, Priors, Sampling, curve};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::record::{Change, Predicted, Prediction, Source};
use super::scenario::Scenario;
use super::shown::{Shown, Told, write};
use crate::load::cache::{Tally, drive};
use crate::redis::Redis;

/// Of the processor time before anything is watched, and while only that is done.
const ALONE: Duration = Duration::from_secs(20);
/// Keys that are sampled; those of the bench are all.
const MOST_KEYS: usize = 1 << 17;
const DRAWS_PER_SECOND: f64 = 500.0;
/// Connections that may break during one watch.
const MOST_BREAKS: usize = 3;

/// What is changed in the emulation, in its order.
const CHANGES: [Change; 3] = [Change::Half, Change::Twice, Change::Lfu];

/// A server that is served to while it is looked at.
pub(super) struct Running {
    scenario: Scenario,
    shown: Option<Shown>,
    redis: Redis,
    instance: Instance,
    hasher: KeyHasher,
    tally: Arc<Tally>,
    driving: JoinHandle<Result<()>>,
    dir: tempfile::TempDir,
}

/// What was learned by watching, without any request.
pub(super) struct Watched {
    present: Present,
    sizes: HashMap<u64, u32>,
    now_ms: u64,
    predictions: Vec<Prediction>,
    cpu: [f64; 2],
}

impl Running {
    /// Starts the server and its clients. `shown` keeps what estimators are told.
    pub(super) async fn start(scenario: &Scenario, shown: Option<Shown>) -> Result<Self> {
        let dir = crate::bench::temporary()?;
        let redis = start(dir.path(), scenario.bytes, Policy::AllkeysLru).await?;
        let port = crate::redis::port(&redis.url())?;
        let (times, tally, load) = (scenario.times, Arc::new(Tally::default()), scenario.load);
        let time = times.warm + times.watch + times.serve + Duration::from_secs(20);
        let driving = tokio::spawn({
            let tally = Arc::clone(&tally);
            async move { drive(port, &load, time, &tally).await }
        });
        let (instance, hasher) = (instance(&redis, dir.path())?, KeyHasher::new(load.seed));
        Ok(Self { scenario: *scenario, shown, redis, instance, hasher, tally, driving, dir })
    }

    /// Watches for events and ages, and predicts other sizes.
    pub(super) async fn watch(&self) -> Result<Watched> {
        let times = self.scenario.times;
        sleep(times.warm.saturating_sub(ALONE)).await;
        let alone = self.cpu().await?;
        let watching = tokio::task::spawn_blocking({
            let (instance, lease) = (self.instance.clone(), self.dir.path().join("events"));
            let hasher = self.hasher;
            move || watch(instance, hasher, lease, times.watch, DRAWS_PER_SECOND)
        });
        let watched = self.cpu().await?;
        let (watch, sizes) = watching.await??;
        let now_ms = now_ms()?;
        let present = watch.present().context("nothing was watched")?;
        // Other scenarios' clients are on the same threads.
        let curve = tokio::task::block_in_place(|| {
            if let Some(shown) = &self.shown {
                shown.keep_watch(&watch)?;
            }
            anyhow::Ok(watch.curve(&Priors::default())?)
        })?;
        let predictions = sizes_of(&curve, self.scenario.bytes, present.hit_ratio);
        Ok(Watched { present, sizes, now_ms, predictions, cpu: [alone, watched] })
    }

    /// Emulates other sizes and LFU with the requests of the same server. This begins when all else is
    /// over, since `MONITOR` takes memory of its own.
    pub(super) async fn emulate(self, watched: Watched) -> Result<Predicted> {
        let times = self.scenario.times;
        let Watched { present, sizes, now_ms: ended_ms, mut predictions, cpu } = watched;
        let reading = tokio::task::spawn_blocking({
            let (instance, hasher, time) = (self.instance.clone(), self.hasher, times.serve);
            let (trials, shown) = (trials(&present, &sizes), self.shown.clone());
            move || monitor(&instance, hasher, time, trials, shown)
        });
        let monitored = self.cpu().await?;
        sleep(times.serve.saturating_sub(ALONE + times.count)).await;
        let (from_ms, before) = (now_ms()?, self.tally.get());
        sleep(times.count.saturating_sub(Duration::from_secs(5))).await;
        let counted = self.tally.hit_ratio_since(before);
        let trials = reading.await??;
        self.driving.abort();
        if let Some(shown) = &self.shown {
            shown.keep_told(&Told { present, ended_ms, sizes, from_ms, counted })?;
        }
        predictions.extend(emulated(&trials, from_ms, counted));
        Ok(Predicted {
            scenario: String::new(),
            predictions,
            residual: trials.residual(from_ms, counted),
            cpu: [cpu[0], cpu[1], monitored],
            pace: self.tally.pace(),
        })
    }

    /// The server's processor time over a while, as a share of a core.
    async fn cpu(&self) -> Result<f64> {
        let (before, begun) = (self.redis.process.usage()?.cpu, Instant::now());
        sleep(ALONE).await;
        let used = self.redis.process.usage()?.cpu.saturating_sub(before);
        Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64())
    }
}

/// What is predicted, and the emulation's residual, from what was kept.
pub(super) fn again(scenario: &Scenario, shown: &Shown) -> Result<(Vec<Prediction>, Option<f64>)> {
    let Told { present, ended_ms, sizes, from_ms, counted } = shown.told()?;
    let (ages, ghosts) = shown.watched(ended_ms)?;
    let curve = curve(&present, &ages, &ghosts, ended_ms, &Priors::default())?;
    let mut predictions = sizes_of(&curve, scenario.bytes, present.hit_ratio);
    let mut trials = trials(&present, &sizes);
    shown.requests(|request| trials.request(request))?;
    predictions.extend(emulated(&trials, from_ms, counted));
    Ok((predictions, trials.residual(from_ms, counted)))
}

/// A server of this size and policy.
pub(super) async fn start(dir: &Path, bytes: u64, policy: Policy) -> Result<Redis> {
    let bytes = bytes.to_string();
    let options = ["--maxmemory", &*bytes, "--maxmemory-policy", policy.as_str()];
    Redis::start_with(dir, &options).await
}

pub(super) fn instance(redis: &Redis, dir: &Path) -> Result<Instance> {
    let config =
        RedisConfig { name: "bench".to_owned(), url: redis.url(), ..RedisConfig::default() };
    Instance::new(config, dir).map_err(anyhow::Error::msg)
}

/// The present server and what it may be changed to.
fn trials(present: &Present, sizes: &HashMap<u64, u32>) -> Trials {
    let base_bytes = (present.startup_bytes + present.buffer_bytes) as u64;
    let bytes = present.maxmemory_bytes as u64;
    let settings = |policy, bytes| Settings { base_bytes, ..Settings::new(policy, bytes) };
    let lru = Policy::AllkeysLru;
    let others =
        [settings(lru, bytes / 2), settings(lru, 2 * bytes), settings(Policy::AllkeysLfu, bytes)];
    let mut trials = Trials::new(settings(lru, bytes), &others);
    for (hash, bytes) in sizes {
        trials.learn(*hash, *bytes);
    }
    trials
}

/// Watches, and keeps the sizes of the keys that were looked at. A connection that breaks on a busy
/// machine is opened again, as the agent does.
pub(super) fn watch(
    instance: Instance,
    hasher: KeyHasher,
    lease: PathBuf,
    time: Duration,
    draws_per_second: f64,
) -> Result<(Watch, HashMap<u64, u32>)> {
    let plan = Plan {
        draws_per_second,
        fills_per_second: draws_per_second / 2.0,
        // The last block is cut off where the watch ends.
        block: time / 11,
        sampling: Sampling { max_keys: MOST_KEYS, max_rate: 1.0 },
        ..Plan::new(lease)
    };
    let (mut watch, mut sizes) = (Watch::new(instance, hasher, plan, None), HashMap::new());
    let begun = Instant::now();
    let mut breaks = 0;
    while let Err(error) =
        watch.run(|| begun.elapsed() >= time, |hash, bytes| _ = sizes.insert(hash, bytes))
    {
        breaks += 1;
        if breaks > MOST_BREAKS {
            return Err(error.into());
        }
    }
    Ok((watch, sizes))
}

/// Feeds the emulation with every request.
fn monitor(
    instance: &Instance,
    hasher: KeyHasher,
    time: Duration,
    mut trials: Trials,
    shown: Option<Shown>,
) -> Result<Trials> {
    let mut lines = Lines::new(hasher);
    let mut file = shown.map(|shown| shown.requests_file()).transpose()?;
    let mut kept = Ok(());
    let mut take = |request: Request| {
        trials.request(&request);
        if let (Some(file), Ok(())) = (&mut file, &kept) {
            kept = write(file, &request);
        }
    };
    // The server is full: that is what is measured.
    let (begun, mut breaks) = (Instant::now(), 0);
    loop {
        let longest = time.saturating_sub(begun.elapsed());
        let bounds = Burst { longest, most_used: 2.0, ..Burst::default() };
        match burst(instance, &bounds, |line| _ = lines.read(line, &mut take)) {
            Ok(End::Time) => break,
            result if breaks == MOST_BREAKS => bail!("requests are not told: {result:?}"),
            _ => breaks += 1,
        }
    }
    kept.map(|()| trials)
}

fn sizes_of(curve: &Curve, bytes: u64, present: f64) -> Vec<Prediction> {
    let of = |(change, bytes)| {
        let (value, low, high) = match curve.at(bytes) {
            Answer::Estimate(point) => (Some(point.hit_ratio), point.low, point.high),
            Answer::Between(low, high) => (None, low, high),
        };
        Prediction { change, source: Source::Reuse, present, value, low, high }
    };
    [(Change::Half, bytes / 2), (Change::Twice, 2 * bytes)].map(of).to_vec()
}

/// Nothing when the emulated present server is not the one that runs.
fn emulated(trials: &Trials, from: u64, present: f64) -> Vec<Prediction> {
    let compared = trials.compare(from, present, &emulate::Priors::default()).unwrap_or_default();
    let of = |(compared, change): (&emulate::Compared, Change)| {
        let level = if change == Change::Lfu { 0.0 } else { present };
        Prediction {
            change,
            source: Source::Emulation,
            present,
            value: Some(level + compared.delta),
            low: level + compared.low,
            high: level + compared.high,
        }
    };
    compared.iter().zip(CHANGES).map(of).collect()
}

fn now_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}
