//! The server at its present size, and what is predicted from it.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use flyball_agent::cache::hash::KeyHasher;
use flyball_agent::cache::monitor::{Burst, burst};
use flyball_agent::cache::parse::Lines;
use flyball_agent::cache::watch::{Plan, Watch};
use flyball_agent::redis::{Connection, Info, Instance, Number, RedisConfig};
use flyball_model::emulate::{Policy, Settings, Trials};
use flyball_model::reuse::{Answer, Curve, Priors, Sampling};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::record::{Change, Predicted, Prediction, Source};
use super::scenario::Scenario;
use crate::load::cache::{Tally, drive};
use crate::redis::Redis;

/// Of the processor time before anything is watched, and while only that is done.
const ALONE: Duration = Duration::from_secs(20);
/// How far emulated differences were off before, as long as nothing is known: of sizes, and of LFU.
const SIZE_SD: f64 = 0.003;
const LFU_SD: f64 = 0.006;
/// Keys that are sampled; those of the bench are all.
const MOST_KEYS: usize = 1 << 17;
const DRAWS_PER_SECOND: f64 = 500.0;
const FILLS_PER_SECOND: f64 = 100.0;

/// What is changed in the emulation, in its order.
const CHANGES: [Change; 3] = [Change::Half, Change::Twice, Change::Lfu];

/// Serves, watches, predicts.
pub(super) async fn predict(scenario: &Scenario) -> Result<Predicted> {
    let dir = crate::bench::temporary()?;
    let redis = start(dir.path(), scenario.bytes, Policy::AllkeysLru).await?;
    let port = crate::redis::port(&redis.url())?;
    let (times, tally) = (scenario.times, Arc::new(Tally::default()));
    let time = times.warm + ALONE + times.serve + Duration::from_secs(20);
    let load = scenario.load;
    let driving = tokio::spawn({
        let tally = Arc::clone(&tally);
        async move { drive(port, &load, time, &tally).await }
    });
    let cpu = async |time: Duration| -> Result<f64> {
        let (before, begun) = (redis.process.usage()?.cpu, Instant::now());
        sleep(time).await;
        let used = redis.process.usage()?.cpu.saturating_sub(before);
        Ok(used.as_secs_f64() / begun.elapsed().as_secs_f64())
    };
    sleep(times.warm.saturating_sub(ALONE)).await;
    let alone = cpu(ALONE).await?;
    let instance = instance(&redis, dir.path())?;
    let trials = Arc::new(Mutex::new(trials(&instance, scenario.bytes)?));
    let hasher = KeyHasher::new(load.seed);
    let watching = tokio::task::spawn_blocking({
        let (instance, trials) = (instance.clone(), Arc::clone(&trials));
        let lease = dir.path().join("events");
        move || watch(instance, hasher, lease, times.watch, &trials)
    });
    let watched = cpu(ALONE).await?;
    let reading = tokio::task::spawn_blocking({
        let (instance, trials) = (instance.clone(), Arc::clone(&trials));
        move || monitor(&instance, hasher, times.serve, &trials)
    });
    let monitored = cpu(ALONE).await?;
    sleep(times.serve.saturating_sub(ALONE + times.count)).await;
    let (from, counted) = (now_ms()?, tally.get());
    sleep(times.count.saturating_sub(Duration::from_secs(5))).await;
    let counted = tally.hit_ratio_since(counted);
    let watch = watching.await??;
    reading.await??;
    driving.abort();
    let present = watch.present().context("nothing was watched")?;
    let curve = watch.curve(&Priors::default())?;
    let mut predictions = sizes(&curve, scenario.bytes, present.hit_ratio);
    let trials = trials.lock();
    predictions.extend(emulated(&trials, from, counted));
    Ok(Predicted {
        scenario: String::new(),
        predictions,
        residual: trials.residual(from, counted),
        cpu: [alone, watched, monitored],
    })
}

/// A server of this size and policy.
pub(super) async fn start(dir: &Path, bytes: u64, policy: Policy) -> Result<Redis> {
    let bytes = bytes.to_string();
    let options = ["--maxmemory", &*bytes, "--maxmemory-policy", policy.as_str()];
    Redis::start_with(dir, &options).await
}

fn instance(redis: &Redis, dir: &Path) -> Result<Instance> {
    let config =
        RedisConfig { name: "bench".to_owned(), url: redis.url(), ..RedisConfig::default() };
    Instance::new(config, dir).map_err(anyhow::Error::msg)
}

/// The present server and what it may be changed to.
fn trials(instance: &Instance, bytes: u64) -> Result<Trials> {
    let mut connection = Connection::open(instance)?;
    let reply = connection.call(&[b"INFO", b"memory"])?;
    let mut info = Info::default();
    info.read(reply.text().unwrap_or_default());
    let number = |number| info.get(number).unwrap_or(0) as u64;
    let base_bytes = number(Number::Startup) + number(Number::NormalClients);
    let settings = |policy, bytes| Settings { base_bytes, ..Settings::new(policy, bytes) };
    let lru = Policy::AllkeysLru;
    let others =
        [settings(lru, bytes / 2), settings(lru, 2 * bytes), settings(Policy::AllkeysLfu, bytes)];
    Ok(Trials::new(settings(lru, bytes), &others))
}

fn watch(
    instance: Instance,
    hasher: KeyHasher,
    lease: std::path::PathBuf,
    time: Duration,
    trials: &Mutex<Trials>,
) -> Result<Watch> {
    let plan = Plan {
        draws_per_second: DRAWS_PER_SECOND,
        fills_per_second: FILLS_PER_SECOND,
        block: time / 12,
        sampling: Sampling { max_keys: MOST_KEYS, max_rate: 1.0 },
        ..Plan::new(lease)
    };
    let mut watch = Watch::new(instance, hasher, plan, None);
    let begun = Instant::now();
    watch.run(|| begun.elapsed() >= time, |hash, bytes| trials.lock().learn(hash, bytes))?;
    Ok(watch)
}

/// Feeds the emulation with every request.
fn monitor(
    instance: &Instance,
    hasher: KeyHasher,
    time: Duration,
    trials: &Mutex<Trials>,
) -> Result<()> {
    let mut lines = Lines::new(hasher);
    // The server is full: that is what is measured.
    let bounds = Burst { longest: time, most_used: 2.0, ..Burst::default() };
    burst(instance, &bounds, |line| {
        lines.read(line, &mut |request| trials.lock().request(&request));
    })?;
    Ok(())
}

fn sizes(curve: &Curve, bytes: u64, present: f64) -> Vec<Prediction> {
    let of = |(change, bytes)| {
        let (value, low, high) = match curve.at(bytes) {
            Answer::Estimate(point) => (Some(point.hit_ratio), point.low, point.high),
            Answer::Between(low, high) => (None, low, high),
        };
        Prediction { change, source: Source::Reuse, present, value, low, high }
    };
    [(Change::Half, bytes / 2), (Change::Twice, 2 * bytes)].map(of).to_vec()
}

fn emulated(trials: &Trials, from: u64, present: f64) -> Vec<Prediction> {
    let sizes = trials.compare(from, SIZE_SD);
    let policies = trials.compare(from, LFU_SD);
    let of = |(i, change): (usize, Change)| {
        let compared = if change == Change::Lfu { policies.get(i) } else { sizes.get(i) }?;
        let level = if change == Change::Lfu { 0.0 } else { present };
        Some(Prediction {
            change,
            source: Source::Emulation,
            present,
            value: Some(level + compared.delta),
            low: level + compared.low,
            high: level + compared.high,
        })
    };
    CHANGES.into_iter().enumerate().filter_map(of).collect()
}

fn now_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}
