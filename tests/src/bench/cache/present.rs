//! The server at its present size, and what is predicted from it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use flyball_agent::cache::hash::KeyHasher;
use flyball_agent::cache::monitor::{Burst, burst};
use flyball_agent::cache::parse::Lines;
use flyball_agent::cache::watch::{Plan, Watch};
use flyball_agent::redis::{Instance, RedisConfig};
use flyball_model::emulate::{self, Policy, Settings, Trials};
use flyball_model::reuse::{Answer, Curve, Present, Priors, Sampling};
use parking_lot::Mutex;
use tokio::time::sleep;

use super::record::{Change, Predicted, Prediction, Source};
use super::scenario::Scenario;
use crate::load::cache::{Tally, drive};
use crate::redis::Redis;

/// Of the processor time before anything is watched, and while only that is done.
const ALONE: Duration = Duration::from_secs(20);
/// Keys that are sampled; those of the bench are all.
const MOST_KEYS: usize = 1 << 17;
const DRAWS_PER_SECOND: f64 = 500.0;

/// What is changed in the emulation, in its order.
const CHANGES: [Change; 3] = [Change::Half, Change::Twice, Change::Lfu];

/// Serves, watches, predicts.
pub(super) async fn predict(scenario: &Scenario) -> Result<Predicted> {
    let dir = crate::bench::temporary()?;
    let redis = start(dir.path(), scenario.bytes, Policy::AllkeysLru).await?;
    let port = crate::redis::port(&redis.url())?;
    let (times, tally) = (scenario.times, Arc::new(Tally::default()));
    let time = times.warm + times.watch + times.serve + Duration::from_secs(20);
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
    let hasher = KeyHasher::new(load.seed);
    let watching = tokio::task::spawn_blocking({
        let (instance, lease) = (instance.clone(), dir.path().join("events"));
        move || watch(instance, hasher, lease, times.watch, DRAWS_PER_SECOND)
    });
    let watched = cpu(ALONE).await?;
    let (watch, sizes_of_keys) = watching.await??;
    let present = watch.present().context("nothing was watched")?;
    // The emulation begins when all else is over: MONITOR takes memory of its own.
    let trials = Arc::new(Mutex::new(trials(&present)));
    for (hash, bytes) in sizes_of_keys {
        trials.lock().learn(hash, bytes);
    }
    let reading = tokio::task::spawn_blocking({
        let (instance, trials) = (instance.clone(), Arc::clone(&trials));
        move || monitor(&instance, hasher, times.serve, &trials)
    });
    let monitored = cpu(ALONE).await?;
    sleep(times.serve.saturating_sub(ALONE + times.count)).await;
    let (from, counted) = (now_ms()?, tally.get());
    sleep(times.count.saturating_sub(Duration::from_secs(5))).await;
    let counted = tally.hit_ratio_since(counted);
    reading.await??;
    driving.abort();
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

pub(super) fn instance(redis: &Redis, dir: &Path) -> Result<Instance> {
    let config =
        RedisConfig { name: "bench".to_owned(), url: redis.url(), ..RedisConfig::default() };
    Instance::new(config, dir).map_err(anyhow::Error::msg)
}

/// The present server and what it may be changed to.
fn trials(present: &Present) -> Trials {
    let base_bytes = (present.startup_bytes + present.buffer_bytes) as u64;
    let bytes = present.maxmemory_bytes as u64;
    let settings = |policy, bytes| Settings { base_bytes, ..Settings::new(policy, bytes) };
    let lru = Policy::AllkeysLru;
    let others =
        [settings(lru, bytes / 2), settings(lru, 2 * bytes), settings(Policy::AllkeysLfu, bytes)];
    Trials::new(settings(lru, bytes), &others)
}

/// Watches, and keeps the sizes of the keys that were looked at.
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
        block: time / 12,
        sampling: Sampling { max_keys: MOST_KEYS, max_rate: 1.0 },
        ..Plan::new(lease)
    };
    let (mut watch, mut sizes) = (Watch::new(instance, hasher, plan, None), HashMap::new());
    let begun = Instant::now();
    watch.run(|| begun.elapsed() >= time, |hash, bytes| _ = sizes.insert(hash, bytes))?;
    Ok((watch, sizes))
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
