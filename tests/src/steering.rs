//! Changes from outside: what people do by HTTP, a Redis under load, and what that says is in force.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::http::Api;
use crate::load::cache::{Kind, Load, Tally, drive};
use crate::redis::{self, Redis};
use crate::wait::{Ended, until};

/// One megabyte, as Redis counts.
pub const MIB: u64 = 1 << 20;
/// Longest time that a rollout may take here, on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_mins(3);
/// A load that fits into any of the caches here: every request is a hit, whatever the limit is.
pub const FITS: Load = Load { kind: Kind::Still, keys: 1_000, per_second: 500.0, seed: 1 };
/// A load that needs some 5 MB.
pub const NEEDS_ROOM: Load = Load { kind: Kind::Still, keys: 12_000, per_second: 2_000.0, seed: 2 };
/// Requests for each key by which a cache is filled before its load begins: of the rarest keys some
/// nine in ten are asked for, which is a request in a hundred.
const FILL_PER_KEY: u64 = 30;
/// Rate at which a cache is filled, if it can be had.
const FILL_PER_SECOND: f64 = 100_000.0;
/// Longest time that a load goes on.
const LOAD_TIME: Duration = Duration::from_hours(3);

/// Settings of a collector under which minutes are seconds.
///
/// In a minute and a half the margin of the judge is not seen in the noise of so few requests, which would
/// refuse each confirmation.
pub const QUICK: &[(&str, &str)] = &[
    ("FLYBALL_SUGGEST_CHECK_POWER", "false"),
    ("FLYBALL_SUGGEST_PERIOD_MS", "0"),
    ("FLYBALL_SUGGEST_WINDOW_MS", "15000"),
    ("FLYBALL_ROLLOUT_APPLY_MS", "60000"),
    ("FLYBALL_ROLLOUT_HOLD_MS", "100"),
    ("FLYBALL_ROLLOUT_VALIDATE_MIN_MS", "1000"),
    ("FLYBALL_ROLLOUT_VALIDATE_MAX_MS", "90000"),
    ("FLYBALL_ROLLOUT_RESTORE_MS", "120000"),
    ("FLYBALL_ROLLOUT_LEASE_MS", "5000"),
    ("FLYBALL_ROLLOUT_RECORD_MS", "5000"),
    ("FLYBALL_ROLLOUT_COOL_DOWN_MS", "1"),
    ("FLYBALL_JUDGE_WINDOW_MS", "1000"),
    ("FLYBALL_JUDGE_MIN_BEFORE", "16"),
    ("FLYBALL_JUDGE_MAX_BEFORE", "60"),
    ("FLYBALL_JUDGE_MIN_AFTER", "8"),
];

/// These settings with others in their place or besides.
pub fn quick_with(others: &[(&'static str, &'static str)]) -> Vec<(&'static str, &'static str)> {
    let kept = QUICK.iter().filter(|(key, _)| others.iter().all(|(other, _)| other != key));
    kept.chain(others).copied().collect()
}

/// A Redis under load that is warm: what it misses, it misses because it is too small. The load ends when
/// it is dropped.
#[derive(Debug)]
pub struct Cache {
    /// The server.
    pub redis: Redis,
    /// What clients have seen.
    pub tally: Arc<Tally>,
    load: JoinHandle<Result<()>>,
}

impl Cache {
    /// Starts a server with this limit and its files in a directory of its own under `dir`, and fills it.
    ///
    /// # Errors
    /// When it does not come up, or breaks while it is filled.
    pub async fn start(dir: &Path, name: &str, limit: u64, load: Load) -> Result<Self> {
        let dir = dir.join(name);
        std::fs::create_dir_all(&dir)?;
        let limit = limit.to_string();
        // A file of settings, so that they can be made permanent.
        let file = dir.join("redis.conf");
        let text = format!("maxmemory {limit}\nmaxmemory-policy allkeys-lru\n");
        std::fs::write(&file, text)?;
        let file = file.to_str().context("a path in UTF-8")?;
        let redis = Redis::start_with_file(&dir, file).await?;
        let (port, tally) = (redis::port(&redis.url())?, Arc::new(Tally::default()));
        let fill = Load { per_second: FILL_PER_SECOND, seed: load.seed ^ u64::MAX, ..load };
        let time = (load.keys * FILL_PER_KEY) as f64 / FILL_PER_SECOND;
        drive(port, &fill, Duration::from_secs_f64(time), &Tally::default()).await?;
        let counted = Arc::clone(&tally);
        let load = tokio::spawn(async move { drive(port, &load, LOAD_TIME, &counted).await });
        Ok(Self { redis, tally, load })
    }

    /// Kills the server and starts it again, with this limit in force from the start.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart_with(&mut self, dir: &Path, limit: u64) -> Result<()> {
        let limit = limit.to_string();
        let options = ["--maxmemory", &limit, "--maxmemory-policy", "allkeys-lru"];
        self.redis.restart_with(dir, &options).await
    }

    /// What the server itself says.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn limit(&self) -> Result<u64> {
        let port = redis::port(&self.redis.url())?;
        redis::config(port, "maxmemory").await?.parse().context("a number")
    }

    /// Waits until this limit is in force.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn wait_limit(&self, limit: u64) -> Result<()> {
        until("the limit", PATIENCE, || async {
            let found = self.limit().await?;
            ensure!(found == limit, "{found} is in force and not {limit}");
            Ok(())
        })
        .await
    }

    /// What somebody else does at the server; gives its first line of answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn command(&self, words: &str) -> Result<String> {
        let port = redis::port(&self.redis.url())?;
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(format!("{words}\r\nQUIT\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.load.abort();
    }
}

/// Settings of an agent that may change these caches. `more` is put before them.
///
/// # Errors
/// When the file cannot be written.
pub fn agent_settings(dir: &Path, caches: &[(&str, &Cache)], more: &str) -> Result<String> {
    use std::fmt::Write as _;
    let mut text = format!("{more}\n[budget]\ncpu_percent = 100.0\n");
    for (name, cache) in caches {
        let url = cache.redis.url();
        writeln!(text, "[[redis]]\nname = '{name}'\nurl = '{url}'\nsteer = true")?;
    }
    let file = dir.join("agent.toml");
    std::fs::write(&file, text)?;
    Ok(file.to_str().context("a path in UTF-8")?.to_owned())
}

/// Proposes a limit for a cache. Status code and answer.
///
/// # Errors
/// When no answer comes.
pub async fn propose(api: &Api, target: &str, limit: u64) -> Result<(u16, Value)> {
    let change = json!([{ "parameter": "maxmemory", "to": limit.to_string() }]);
    let body = json!({ "target": target, "change": change, "note": "a test" });
    api.post("/api/performance/suggestions", &body).await
}

/// The same until it is taken, which it is as soon as the agent watches and there is some traffic.
/// Gives the suggestion's id.
///
/// # Errors
/// When it is not taken in time.
pub async fn proposed(api: &Api, target: &str, limit: u64) -> Result<String> {
    until("a proposal to be taken", PATIENCE, || async {
        let (status, answer) = propose(api, target, limit).await?;
        ensure!(status == 201, "{status} {answer}");
        text(&answer, "id")
    })
    .await
}

/// A person's word with a note. Status code and answer.
///
/// # Errors
/// When no answer comes.
pub async fn say(api: &Api, path: &str) -> Result<(u16, Value)> {
    api.post(&format!("/api/performance/{path}"), &json!({ "note": "a test" })).await
}

/// Confirms a suggestion as soon as there is enough of the past to judge it by. Gives the rollout's id.
///
/// # Errors
/// When it is refused for anything else.
pub async fn confirmed(api: &Api, suggestion: &str) -> Result<String> {
    until("a confirmation", PATIENCE, || async {
        let (status, answer) = say(api, &format!("suggestions/{suggestion}/confirm")).await?;
        if status != 202 && answer["state"] != "too_early" {
            return Err(Ended(format!("{status} {answer}")).into());
        }
        ensure!(status == 202, "{status} {answer}");
        text(&answer, "id")
    })
    .await
}

/// The rollout once it is so.
///
/// # Errors
/// When it is not in time.
pub async fn rollout(api: &Api, id: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
    rollout_within(api, id, PATIENCE, is_so).await
}

/// The rollout once it is so, within this time.
///
/// # Errors
/// When it is not in time.
pub async fn rollout_within(
    api: &Api,
    id: &str,
    patience: Duration,
    is_so: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let path = format!("/api/performance/rollouts/{id}");
    let (path, is_so) = (&path, &is_so);
    until("the rollout", patience, || async move {
        let rollout = api.json(path).await?;
        ensure!(is_so(&rollout), "{rollout:#}");
        Ok(rollout)
    })
    .await
}

/// The rollout when it has ended.
///
/// # Errors
/// When it does not end in time.
pub async fn ended(api: &Api, id: &str) -> Result<Value> {
    rollout(api, id, |rollout| rollout["ended_at_ms"].is_i64()).await
}

/// A text of an answer.
///
/// # Errors
/// When it is not there.
pub fn text(answer: &Value, field: &str) -> Result<String> {
    Ok(answer[field].as_str().with_context(|| format!("{field} in {answer}"))?.to_owned())
}
