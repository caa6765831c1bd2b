//! First act: a cache that is too small for its load is found, grown, judged and kept; a harmful change is taken back.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::story::Story;
use crate::load::cache::{Kind, Load, Tally, drive};
use crate::redis::{Redis, info, port};
use crate::stack::Stack;
use crate::wait::{SOON, until};

/// Settings of the collector: what is minutes in production is seconds.
const COLLECTOR: &[(&str, &str)] = &[
    ("FLYBALL_SUGGEST_PERIOD_MS", "0"),
    ("FLYBALL_SUGGEST_WINDOW_MS", "15000"),
    ("FLYBALL_ROLLOUT_HOLD_MS", "3000"),
    ("FLYBALL_ROLLOUT_VALIDATE_MIN_MS", "12000"),
    ("FLYBALL_ROLLOUT_VALIDATE_MAX_MS", "60000"),
    ("FLYBALL_ROLLOUT_LEASE_MS", "10000"),
    ("FLYBALL_ROLLOUT_RECORD_MS", "5000"),
    ("FLYBALL_JUDGE_WINDOW_MS", "1000"),
    ("FLYBALL_JUDGE_MIN_BEFORE", "20"),
    ("FLYBALL_JUDGE_MAX_BEFORE", "60"),
    ("FLYBALL_JUDGE_MIN_AFTER", "8"),
];
/// Node and cache.
const NODE: &str = "demo";
const CACHE: &str = "sessions";
/// `maxmemory` at the beginning: the working set is twice as large.
const TOO_SMALL_MB: u64 = 4;
/// Reads a second, of keys that are some 250 bytes.
const LOAD: Load = Load { kind: Kind::Still, keys: 30_000, per_second: 8000.0, seed: 1 };
/// Longest time that anything here may take.
const PATIENCE: Duration = Duration::from_secs(90);

/// The servers, and the clients' own count of hits.
struct Stage {
    stack: Stack,
    redis_port: u16,
    tally: Arc<Tally>,
    clients: JoinHandle<Result<()>>,
    // Last: what uses it goes before.
    _redis: Redis,
}

/// Plays it.
pub(super) async fn play(story: &Story) -> Result<()> {
    story.chapter("A cache that is too small")?;
    let stage = Stage::set(story).await?;
    let grown = grow(story, &stage).await?;
    story.chapter("A change that does harm")?;
    harm(story, &stage, grown).await?;
    story.chapter("What is written down")?;
    stage.flyball(story, &["audit", "--verify"]).await?;
    stage.clear().await
}

/// The suggestion, its confirmation, and what became of it. Gives the new `maxmemory`.
async fn grow(story: &Story, stage: &Stage) -> Result<u64> {
    story.tell(
        "The agent watches: how old keys are, and how soon evicted ones are asked for again.",
    )?;
    let suggestion = stage.find(story, "cache.size").await?;
    let id = text(&suggestion, "/id")?;
    stage.flyball(story, &["caches"]).await?;
    stage.flyball(story, &["show", &id]).await?;
    let before = stage.tally.get();
    story.tell("A person confirms.")?;
    let rollout = stage.confirm(story, &id).await?;
    let (state, rollout) = stage.follow(story, &rollout).await?;
    ensure!(state == "promoted", "the growth was {state}: {rollout}");
    let new = stage.maxmemory().await?;
    ensure!(new > TOO_SMALL_MB << 20, "{new} bytes are in force");
    stage.compare(story, &suggestion, &rollout, before).await?;
    Ok(new)
}

/// Somebody insists on half the memory.
async fn harm(story: &Story, stage: &Stage, grown: u64) -> Result<()> {
    story.tell("Somebody wants half of the memory back, whatever the curve says.")?;
    let change = json!([{ "parameter": "maxmemory", "to": (grown / 2).to_string() }]);
    let body =
        json!({ "target": format!("redis:{NODE}:{CACHE}"), "change": change, "note": "demo" });
    let (status, made) =
        stage.stack.collector.api.post("/api/performance/suggestions", &body).await?;
    ensure!(status == 201, "{status} {made}");
    let rollout = stage.confirm(story, &text(&made, "/id")?).await?;
    let (state, rollout) = stage.follow(story, &rollout).await?;
    ensure!(state == "rolled_back", "the harm was {state}: {rollout}");
    let now = stage.maxmemory().await?;
    ensure!(now == grown, "{now} bytes are in force, {grown} were before");
    story.tell(&format!("Redis itself says: maxmemory {}, as before.", megabytes(now)))
}

impl Stage {
    /// Starts everything and waits until the cache is full.
    async fn set(story: &Story) -> Result<Self> {
        let mut stack = Stack::start_with(COLLECTOR).await?;
        let limit = format!("{TOO_SMALL_MB}mb");
        let options = ["--maxmemory", &limit, "--maxmemory-policy", "allkeys-lru"];
        let redis = Redis::start_with(stack.dir(), &options).await?;
        let redis_port = port(&redis.url())?;
        let tally = Arc::new(Tally::default());
        let counted = Arc::clone(&tally);
        let clients = tokio::spawn(async move {
            drive(redis_port, &LOAD, Duration::from_mins(10), &counted).await
        });
        let (rate, keys) = (LOAD.per_second, LOAD.keys);
        story.tell(&format!(
            "A Redis of {TOO_SMALL_MB} MB. Clients read {rate:.0} keys a second of {keys} and write what they miss."
        ))?;
        until("the cache to be full", SOON, || async {
            let evicted = info(redis_port, "evicted_keys").await?;
            ensure!(evicted > 0, "nothing is evicted");
            Ok(())
        })
        .await?;
        let settings = settings(stack.dir(), &redis.url())?;
        stack.start_agent(NODE, &["--config", &settings])?;
        stack.wait_up(NODE).await.with_context(|| stack.agents[0].log())?;
        let base = stack.collector.api.base().to_owned();
        story.tell(&format!(
            "It is full. An agent and a collector with ClickHouse run. Dashboard: {base}"
        ))?;
        Ok(Self { stack, redis_port, tally, clients, _redis: redis })
    }

    /// Stops everything.
    async fn clear(self) -> Result<()> {
        self.clients.abort();
        self.stack.stop().await
    }

    async fn flyball(&self, story: &Story, arguments: &[&str]) -> Result<()> {
        story.flyball(self.stack.collector.api.base(), arguments).await
    }

    /// The same; gives what it says when it fails.
    async fn try_flyball(&self, story: &Story, arguments: &[&str]) -> Result<Option<String>> {
        story.try_flyball(self.stack.collector.api.base(), arguments).await
    }

    /// Asks for suggestions until there is one of this kind, and tells why there is none yet.
    async fn find(&self, story: &Story, kind: &str) -> Result<Value> {
        let api = &self.stack.collector.api;
        let (begun, mut told) = (Instant::now(), String::new());
        let mut ask = tokio::time::interval(Duration::from_secs(1));
        loop {
            ask.tick().await;
            let (status, answer) = api.post("/api/performance/optimize", &json!({})).await?;
            ensure!(status == 200, "{status} {answer}\n{}", self.stack.collector.process.log());
            let all = answer["suggestions"].as_array().context("suggestions")?;
            if let Some(found) = all.iter().find(|suggestion| suggestion["kind"] == kind) {
                return Ok(found.clone());
            }
            let why = reason(&answer, kind);
            let gist = why.replace(|c: char| c.is_ascii_digit(), "");
            if gist != told {
                story.tell(&format!("No suggestion yet: {why}"))?;
                told = gist;
            }
            ensure!(begun.elapsed() < PATIENCE, "no suggestion within {PATIENCE:?}: {answer}");
        }
    }

    /// Confirms it as a person would, when there is enough of the past to judge by. Gives the rollout's id.
    async fn confirm(&self, story: &Story, suggestion: &str) -> Result<String> {
        let (begun, mut told) = (Instant::now(), false);
        let mut ask = tokio::time::interval(Duration::from_secs(1));
        loop {
            ask.tick().await;
            let arguments = ["confirm", suggestion, "--note", "demo"];
            let Some(refusal) = self.try_flyball(story, &arguments).await? else { break };
            ensure!(refusal.contains("to judge a change"), "{refusal}");
            if !std::mem::replace(&mut told, true) {
                story.tell(&format!("Not yet: {}", refusal.trim()))?;
            }
            ensure!(begun.elapsed() < PATIENCE, "{refusal}");
        }
        let path = format!("/api/performance/suggestions/{suggestion}");
        text(&self.stack.collector.api.json(&path).await?, "/rollout_id")
    }

    /// Tells how a rollout goes on until it is over. Gives its last state.
    async fn follow(&self, story: &Story, id: &str) -> Result<(String, Value)> {
        let path = format!("/api/performance/rollouts/{id}");
        let (begun, mut told) = (Instant::now(), String::new());
        let mut events = self.stack.collector.api.events("").await?;
        loop {
            let rollout = self.stack.collector.api.json(&path).await?;
            let now = words(&rollout);
            let gist = now.replace(|c: char| c.is_ascii_digit(), "");
            if gist != told {
                story.tell(&now)?;
                told = gist;
            }
            if rollout["stage"] == "over" {
                return Ok((text(&rollout, "/state")?, rollout));
            }
            if begun.elapsed() > PATIENCE {
                bail!("{id} is not over after {PATIENCE:?}: {rollout}");
            }
            tokio::time::timeout(PATIENCE, events.next()).await??;
        }
    }

    /// What was promised beside what came.
    async fn compare(
        &self,
        story: &Story,
        suggestion: &Value,
        rollout: &Value,
        before: (u64, u64),
    ) -> Result<()> {
        let of = |from: &Value, path: &str| from.pointer(path).and_then(Value::as_f64);
        let promised =
            |name: &str| of(suggestion, &format!("/prediction/{name}")).unwrap_or(f64::NAN);
        let mut steps = rollout["steps"].as_array().into_iter().flatten().rev();
        let observed = steps.find_map(|step| of(step, "/verdict/observed/value"));
        let since = self.tally.get();
        tokio::time::sleep(Duration::from_secs(3)).await;
        let clients = self.tally.hit_ratio_since(since);
        let all = self.tally.hit_ratio_since(before);
        story.tell(&format!(
            "Hit ratio: {:.1} % before, {:.1} % predicted ({:.1} to {:.1}), {:.1} % observed by the judge, {:.1} % counted by the clients now ({:.1} % since it was confirmed).",
            promised("before") * 100.0,
            promised("after") * 100.0,
            promised("low") * 100.0,
            promised("high") * 100.0,
            observed.unwrap_or(f64::NAN) * 100.0,
            clients * 100.0,
            all * 100.0,
        ))
    }

    /// What Redis itself says.
    async fn maxmemory(&self) -> Result<u64> {
        crate::redis::config(self.redis_port, "maxmemory").await?.parse().context("a number")
    }
}

/// The agent's settings: it may watch this Redis closely and change it.
fn settings(dir: &Path, url: &str) -> Result<String> {
    let text = format!(
        "[budget]\ncpu_percent = 10.0\nmemory_mb = 100\nceiling_mb = 200\n[observe]\nreport = '1s'\nmax_cpu_share = 0.5\nmost_draws = 200\n\
         [[redis]]\nname = '{CACHE}'\nurl = '{url}'\nsteer = true\nobserve = 'events'\n"
    );
    let file = dir.join("agent.toml");
    std::fs::write(&file, text)?;
    Ok(file.to_str().context("a path in UTF-8")?.to_owned())
}

/// Why there is no suggestion of a kind.
fn reason(answer: &Value, kind: &str) -> String {
    let skipped = answer["skipped"].as_array().into_iter().flatten();
    let of_kind = skipped.filter(|skipped| skipped["kind"] == kind);
    let reasons: Vec<_> = of_kind.filter_map(|skipped| skipped["reason"].as_str()).collect();
    if reasons.is_empty() { "the cache is not known yet".to_owned() } else { reasons.join("; ") }
}

/// A rollout in one line.
fn words(rollout: &Value) -> String {
    let state = rollout["state"].as_str().unwrap_or_default();
    let stage = rollout["stage"].as_str().unwrap_or_default();
    let verdict = rollout.pointer("/steps").and_then(Value::as_array).and_then(|steps| {
        steps.iter().rev().find_map(|step| step.pointer("/verdict/reason").and_then(Value::as_str))
    });
    let reason = rollout["reason"].as_str().filter(|reason| !reason.is_empty());
    let why = reason.or(verdict).map(|why| format!(": {why}")).unwrap_or_default();
    let where_ = if stage == "over" { String::new() } else { format!(", {stage}") };
    format!("{state}{where_}{why}")
}

fn text(from: &Value, path: &str) -> Result<String> {
    let found = from.pointer(path).and_then(Value::as_str);
    Ok(found.with_context(|| format!("{path} in {from}"))?.to_owned())
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}
