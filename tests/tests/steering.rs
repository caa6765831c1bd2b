//! Steering on the whole path: the shipped collector and agent, a real Redis under load, and a person who decides.

use anyhow::{Context as _, Result, ensure};
use flyball_tests::engine;
use flyball_tests::redis::Redis;
use flyball_tests::stack::{Collector, Stack};
use flyball_tests::steering::{
    Cache, FITS, MIB, NEEDS_ROOM, QUICK, agent_settings, confirmed, ended, propose, proposed,
    quick_with, rollout, say, text,
};
use flyball_tests::wait::{SOON, until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The target of all these tests.
const ID: &str = "redis:cache-1:sessions";

/// A collector, an agent and a cache that it may change.
async fn begin(
    settings: &[(&str, &str)],
    cache: (u64, flyball_tests::load::cache::Load),
    agent: &str,
) -> Result<(Stack, Cache)> {
    let mut stack = Stack::start_with(settings).await?;
    let cache = Cache::start(stack.dir(), "sessions", cache.0, cache.1).await?;
    let file = agent_settings(stack.dir(), &[("sessions", &cache)], agent)?;
    stack.start_agent("cache-1", &["--config", &file])?;
    Ok((stack, cache))
}

/// Refused in this state.
fn conflict((status, answer): (u16, Value), state: &str) -> Result<()> {
    ensure!(status == 409 && answer["state"] == state, "{status} {answer}");
    Ok(())
}

/// What the journal says of a subject, the oldest first: who, what it is since, and why.
async fn journal(stack: &Stack, subject: &str) -> Result<Vec<(String, String, String)>> {
    let path = format!("/api/performance/audit?verify=true&limit=200&subject={subject}");
    let answer = stack.collector.api.json(&path).await?;
    ensure!(answer["verified"]["intact"] == true, "{answer}");
    let entries = answer["entries"].as_array().context("entries")?;
    let entry = |entry: &Value| {
        Ok((text(entry, "actor")?, text(entry, "to_state")?, text(entry, "reason")?))
    };
    entries.iter().rev().map(entry).collect()
}

#[tokio::test]
async fn a_change_is_promoted_made_permanent_and_then_left_to_people() -> Result<()> {
    let settings = quick_with(&[("FLYBALL_ROLLOUT_PERSIST", "true")]);
    let agent = "[steer]\nallow_rewrite = true";
    let (stack, cache) = begin(&settings, (4 * MIB, FITS), agent).await?;
    let api = &stack.collector.api;
    let suggestion = proposed(api, ID, 8 * MIB).await?;
    conflict(propose(api, ID, 6 * MIB).await?, "open")?;
    let id = confirmed(api, &suggestion).await?;
    conflict(say(api, &format!("suggestions/{suggestion}/confirm")).await?, "confirmed")?;
    let done = ended(api, &id).await?;
    ensure!(done["state"] == "promoted", "{done:#}");
    ensure!(done["steps"][0]["verdict"]["result"] == "pass", "{done:#}");
    ensure!(cache.limit().await? == 8 * MIB, "it is in force");
    let file = std::fs::read_to_string(stack.dir().join("sessions/redis.conf"))?;
    ensure!(file.contains("maxmemory 8mb") || file.contains("maxmemory 8388608"), "{file}");
    let mut states: Vec<_> = journal(&stack, &id).await?.into_iter().map(|entry| entry.1).collect();
    states.retain(|state| ["canary", "validating", "promoted"].contains(&state.as_str()));
    states.dedup();
    ensure!(states == ["canary", "validating", "promoted"], "{states:?}");

    // Somebody sets another value: it is told, and not fought.
    cache.command(&format!("CONFIG SET maxmemory {}", 6 * MIB)).await?;
    until("the drift to be told", SOON, || async {
        let told = journal(&stack, ID).await?;
        ensure!(
            told.iter().any(|(who, _, why)| who == "agent" && why.contains("lets go")),
            "{told:?}"
        );
        let answer = api.json("/api/performance/policies?node=cache-1").await?;
        ensure!(
            answer["policies"][0]["targets"][0]["wanted"].is_null()
                || answer["policies"][0]["targets"][0]["wanted"] == json!({}),
            "{answer}"
        );
        Ok(())
    })
    .await?;
    ensure!(cache.limit().await? == 6 * MIB, "the person's value stays");

    let other = proposed(api, ID, 5 * MIB).await?;
    let (status, rejected) = say(api, &format!("suggestions/{other}/reject")).await?;
    ensure!(status == 200 && rejected["decided"]["note"] == "a test", "{rejected}");
    conflict(say(api, &format!("suggestions/{other}/confirm")).await?, "rejected")?;
    let (status, answer) = say(api, "suggestions/s-foreign/confirm").await?;
    ensure!(status == 404, "{status} {answer}");
    stack.stop().await
}

#[tokio::test]
async fn a_server_or_an_agent_that_refuses_leaves_it_as_it_was_and_three_times_lock_it()
-> Result<()> {
    let settings = quick_with(&[
        ("FLYBALL_ROLLOUT_COOL_DOWN_MS", "15000"),
        ("FLYBALL_ROLLOUT_COOL_DOWN_FACTOR", "1"),
    ]);
    let agent = "[steer]\nlargest_growth = 1.5";
    let (stack, cache) = begin(&settings, (4 * MIB, FITS), agent).await?;
    let api = &stack.collector.api;
    // Beyond what the agent offers to set: nothing is proposed at all.
    until("the agent's bounds", SOON, || async {
        let (status, answer) = propose(api, ID, u64::MAX / 2).await?;
        ensure!(status == 400 && answer["errors"][0]["field"] == "change[0].to", "{answer}");
        Ok(())
    })
    .await?;
    // Refused by the server, in its own words, with values that were not refused before.
    cache.command("ACL SETUSER default -config|set").await?;
    for limit in [5 * MIB, 5 * MIB + 4096, 5 * MIB + 8192] {
        let suggestion = proposed(api, ID, limit).await?;
        if limit > 5 * MIB {
            conflict(say(api, &format!("suggestions/{suggestion}/confirm")).await?, "cooling")?;
        }
        let confirm = format!("suggestions/{suggestion}/confirm");
        let id = until("its rest to end", SOON * 2, || async {
            let (status, answer) = say(api, &confirm).await?;
            ensure!(status == 202, "{status} {answer}");
            text(&answer, "id")
        })
        .await?;
        let done = ended(api, &id).await?;
        ensure!(done["state"] == "rolled_back", "{done:#}");
        ensure!(text(&done, "reason")?.contains("config|set"), "Redis's own words: {done:#}");
        ensure!(cache.limit().await? == 4 * MIB, "as it was");
    }
    // Within its bounds, and more than it takes at once: two steps.
    let last = proposed(api, ID, 8 * MIB).await?;
    conflict(say(api, &format!("suggestions/{last}/confirm")).await?, "locked")?;
    let alerts = api.json("/api/performance/alerts").await?;
    ensure!(alerts.to_string().contains("target.locked"), "{alerts}");

    let (status, free) = say(api, &format!("targets/{ID}/unlock")).await?;
    ensure!(status == 200 && free["status"] == "free", "{free}");
    cache.command("ACL SETUSER default +config|set").await?;
    let done = ended(api, &confirmed(api, &last).await?).await?;
    ensure!(done["state"] == "promoted", "{done:#}");
    ensure!(cache.limit().await? == 8 * MIB, "it is in force");
    // To be made permanent was not asked for.
    let file = std::fs::read_to_string(stack.dir().join("sessions/redis.conf"))?;
    ensure!(file.contains(&format!("maxmemory {}", 4 * MIB)), "{file}");
    stack.stop().await
}

#[tokio::test]
async fn a_harmful_change_is_paused_resumed_seen_and_taken_back() -> Result<()> {
    let (stack, cache) = begin(QUICK, (8 * MIB, NEEDS_ROOM), "").await?;
    let api = &stack.collector.api;
    let id = confirmed(api, &proposed(api, ID, 4 * MIB).await?).await?;
    rollout(api, &id, |rollout| rollout["steps"].as_array().is_some_and(|s| s.len() > 2)).await?;
    let order = |order: &str| format!("rollouts/{id}/{order}");
    let (status, paused) = say(api, &order("pause")).await?;
    ensure!(status == 200 && paused["paused"] == true, "{paused}");
    conflict(say(api, &order("pause")).await?, "paused")?;
    let (_, resumed) = say(api, &order("resume")).await?;
    ensure!(resumed["paused"] == false, "{resumed}");
    let done = ended(api, &id).await?;
    ensure!(done["state"] == "rolled_back", "{done:#}");
    ensure!(text(&done, "reason")?.contains("harm"), "{done:#}");
    ensure!(cache.limit().await? == 8 * MIB, "the old value is in force");
    conflict(say(api, &order("rollback")).await?, "rolled_back")?;

    // And a person takes one back that does none.
    let id = confirmed(api, &proposed(api, ID, 12 * MIB).await?).await?;
    cache.wait_limit(12 * MIB).await?;
    let (status, back) = say(api, &format!("rollouts/{id}/rollback")).await?;
    ensure!(status == 200 && back["stage"] == "restoring", "{back}");
    let done = ended(api, &id).await?;
    ensure!(done["state"] == "rolled_back", "{done:#}");
    ensure!(cache.limit().await? == 8 * MIB, "the old value is in force");
    stack.stop().await
}

#[tokio::test]
async fn without_its_collector_a_trial_ends_and_a_changed_row_is_found() -> Result<()> {
    let settings =
        quick_with(&[("FLYBALL_ROLLOUT_HOLD_MS", "600000"), ("FLYBALL_ROLLOUT_LEASE_MS", "3000")]);
    let (mut stack, cache) = begin(&settings, (4 * MIB, FITS), "").await?;
    let id = confirmed(&stack.collector.api, &proposed(&stack.collector.api, ID, 8 * MIB).await?)
        .await?;
    cache.wait_limit(8 * MIB).await?;
    stack.collector.process.signal(Signal::KILL)?;
    stack.collector.process.wait(SOON).await?;
    cache.wait_limit(4 * MIB).await?;
    let (dir, grpc) = (stack.dir().to_owned(), stack.collector.grpc);
    stack.collector = Collector::start_with(&dir, grpc, &settings).await?;
    let done = ended(&stack.collector.api, &id).await?;
    ensure!(done["state"] == "rolled_back", "{done:#}");
    ensure!(text(&done, "reason")?.contains("went back"), "{done:#}");
    ensure!(journal(&stack, &id).await?.len() > 3, "the journal is whole");

    // Somebody changes a row behind everybody's back.
    stack.collector.process.stop().await?;
    let forge = "ALTER TABLE flyball.optimization_logs UPDATE reason = 'forged' WHERE sequence = 2 \
        SETTINGS mutations_sync = 2";
    engine::run(stack.collector.data_dir(), forge).await?;
    stack.collector = Collector::start_with(&dir, grpc, &settings).await?;
    let audit = until("it to be found", SOON, || async {
        let audit = stack.collector.api.json("/api/performance/audit?verify=true").await?;
        ensure!(audit["journal"]["state"] == "broken", "{audit}");
        Ok(audit)
    })
    .await?;
    ensure!(audit["verified"]["intact"] == false && audit["verified"]["broken_at"] == 2, "{audit}");
    let (status, answer) = propose(&stack.collector.api, ID, 8 * MIB).await?;
    ensure!([404, 503].contains(&status), "{status} {answer}");
    ensure!(cache.limit().await? == 4 * MIB, "nothing is decided any more");
    stack.agents[0].stop().await?;
    stack.collector.process.stop().await
}

#[tokio::test]
async fn a_server_that_starts_anew_or_refuses_writes_ends_a_trial_at_once() -> Result<()> {
    let settings = quick_with(&[("FLYBALL_ROLLOUT_HOLD_MS", "600000")]);
    let agent = "[observe]\nreport = '1s'";
    let (stack, mut cache) = begin(&settings, (4 * MIB, FITS), agent).await?;
    let api = &stack.collector.api;
    // Full, and what does not fit is refused instead of evicted.
    let change = json!([{ "parameter": "maxmemory-policy", "to": "noeviction" }]);
    let wish = json!({ "target": ID, "change": change, "note": "a test" });
    let suggestion = until("a proposal to be taken", SOON, || async {
        let (status, answer) = api.post("/api/performance/suggestions", &wish).await?;
        ensure!(status == 201, "{status} {answer}");
        text(&answer, "id")
    })
    .await?;
    let id = confirmed(api, &suggestion).await?;
    rollout(api, &id, |rollout| rollout["stage"] == "holding").await?;
    let value = "x".repeat(50_000);
    for i in 0..100 {
        cache.command(&format!("SET fill:{i} {value}")).await?;
    }
    let refused = cache.command(&format!("SET fill:100 {value}")).await?;
    ensure!(refused.contains("OOM"), "{refused}");
    let done = ended(api, &id).await?;
    ensure!(done["state"] == "rolled_back", "{done:#}");
    let reason = text(&done, "reason")?;
    ensure!(reason.contains("hard stop") && reason.contains("memory ran out"), "{reason}");

    // Killed, and there again with the new value in force: nothing but its run tells it.
    let id = confirmed(api, &proposed(api, ID, 8 * MIB).await?).await?;
    rollout(api, &id, |rollout| rollout["stage"] == "holding").await?;
    cache.restart_with(stack.dir(), 8 * MIB).await?;
    let done = ended(api, &id).await?;
    ensure!(done["state"] == "rolled_back", "{done:#}");
    let reason = text(&done, "reason")?;
    ensure!(reason.contains("hard stop") && reason.contains("started anew"), "{reason}");
    cache.wait_limit(4 * MIB).await?;
    stack.stop().await
}

#[tokio::test]
async fn an_agent_says_what_it_may_set_and_what_not() -> Result<()> {
    let mut stack = Stack::start().await?;
    let redis = Redis::start(stack.dir()).await?;
    let settings = format!(
        "[[redis]]\nname = 'sessions'\nurl = '{0}'\nsteer = true\n[[redis]]\nname = 'queue'\nurl = '{0}'\n",
        redis.url()
    );
    let file = stack.dir().join("agent.toml");
    std::fs::write(&file, settings)?;
    let file = file.to_str().context("a path in UTF-8")?.to_owned();
    stack.start_agent("cache-1", &["--config", &file])?;
    until("the agent to watch", SOON, || async {
        let answer = stack.collector.api.json("/api/performance/policies?node=cache-1").await?;
        let node = &answer["policies"][0];
        ensure!(node["connected"] == true, "{answer}");
        ensure!(node["wanted_revision"] == 0 && node["reason"].is_null(), "{answer}");
        let targets: Vec<_> = node["targets"].as_array().context("targets")?.iter().collect();
        let names: Vec<_> = targets.iter().map(|target| target["name"].as_str()).collect();
        ensure!(names == [Some("queue"), Some("sessions")], "{answer}");
        ensure!(targets[1]["barred"].is_null(), "{answer}");
        let barred = targets[0]["barred"].as_str().unwrap_or_default();
        ensure!(barred.contains("steer = true is not set"), "{answer}");
        Ok(())
    })
    .await?;
    stack.stop().await
}
