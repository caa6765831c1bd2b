//! One cache, one collector: what is suggested is carried out, judged, and stays or goes back.

use flyball_proto::steering::{CacheCounters, CacheState};
use serde_json::json;

use crate::harness::{ClickHouse, Collector, until};
use crate::proxy::Mode;
use crate::world::{
    Agent, ID, MIB, Manner, World, confirmed, ended, get, note, perverse, post, quick, rollout,
    suggested,
};

fn counters(run: &str, commands: u64, errors: u64) -> CacheCounters {
    CacheCounters {
        run_id: run.into(),
        commands,
        errors: Some(errors),
        out_of_memory: Some(0),
        rejected_connections: Some(0),
    }
}

async fn audit(collector: &Collector) -> serde_json::Value {
    let answer = get(collector, "/api/performance/audit?verify=true&limit=200").await.ok();
    assert_eq!(answer["verified"]["intact"], true, "{answer:#}");
    assert_eq!(answer["journal"]["state"], "whole");
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_brings_what_it_promised_is_promoted() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, quick).await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    assert_eq!(
        (&suggestion["kind"], &suggestion["status"]),
        (&json!("cache.size"), &json!("proposed"))
    );
    let to: u64 = suggestion["change"][0]["to"].as_str().unwrap().parse().unwrap();
    assert!(to > 64 * MIB);

    let id = confirmed(&collector, &suggestion).await;
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "promoted", "{done:#}");
    assert_eq!(world.limit(), to);
    let verdict = &done["steps"][0]["verdict"];
    assert_eq!(verdict["result"], "pass", "{verdict:#}");
    let (low, high) = (&suggestion["prediction"]["low"], &suggestion["prediction"]["high"]);
    let seen = verdict["observed"]["value"].as_f64().unwrap();
    assert!(low.as_f64().unwrap() <= seen && seen <= high.as_f64().unwrap(), "{seen}");

    // What is in force is known, and the same is not suggested again.
    let policy = until("in force", async || {
        let answer = get(&collector, "/api/performance/policies?node=web-1").await.ok();
        let policy = answer["policies"][0].clone();
        policy["reason"].is_null().then_some(policy)
    })
    .await;
    assert_eq!(policy["targets"][0]["wanted"]["maxmemory"], json!(to.to_string()));
    assert_eq!(policy["targets"][0]["canary"], false);
    let entries = audit(&collector).await;
    let states: Vec<_> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .filter(|entry| entry["subject"] == "rollout")
        .map(|entry| entry["to_state"].as_str().unwrap())
        .collect();
    assert!(states.starts_with(&["canary"]) && states.ends_with(&["promoted"]), "{states:?}");
    assert!(states.contains(&"validating"));
    let actors: Vec<_> = entries["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (entry["actor"].as_str().unwrap(), entry["actor_address"].as_str().unwrap()))
        .collect();
    assert!(actors.contains(&("operator", "127.0.0.1")) && actors.contains(&("judge", "")));
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_harms_is_rolled_back_and_the_target_rests() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, quick).await;
    let world = World::begin(&clickhouse, "web-1").await;
    *world.server.law.lock() = perverse;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    rollout(&collector, &id, |_| world.limit() > 64 * MIB).await;
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "rolled_back", "{done:#}");
    assert!(done["reason"].as_str().unwrap().contains("harm"), "{done:#}");
    assert_eq!(done["steps"][0]["verdict"]["result"], "harm");
    assert_eq!(world.limit(), 64 * MIB, "read back before it counts as rolled back");
    let look = json!({"target": ID});
    // Not before what was measured of the harm is out of the window.
    until("it to rest", async || {
        let again = post(&collector, "/api/performance/optimize", &look).await.ok();
        again["skipped"].to_string().contains("it rests for").then_some(())
    })
    .await;
    audit(&collector).await;
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_refuses_goes_back_and_is_not_suggested_again() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        quick(config);
        config.rollout.cool_down_ms = 1;
    })
    .await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Refusing).await;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "rolled_back", "{done:#}");
    assert_eq!(world.limit(), 64 * MIB);
    let look = json!({"target": ID});
    let again = until("no longer at rest", async || {
        let answer = post(&collector, "/api/performance/optimize", &look).await.ok();
        (!answer["skipped"].to_string().contains("it rests for")).then_some(answer)
    })
    .await;
    let reasons = again["skipped"].to_string();
    assert!(reasons.contains("its agent has refused these values before"), "{again:#}");
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_pauses_resumes_and_rolls_back_and_states_are_told() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        quick(config);
        config.rollout.hold_ms = 600_000;
    })
    .await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    let path = |order: &str| format!("/api/performance/rollouts/{id}/{order}");
    rollout(&collector, &id, |rollout| rollout["stage"] == "holding").await;
    let conflict = async |order: &str, state: &str| {
        let answer = note(&collector, &path(order)).await;
        assert_eq!((answer.status, &answer.body["state"]), (409, &json!(state)), "{order}");
    };
    conflict("resume", "going").await;
    assert_eq!(note(&collector, &path("pause")).await.ok()["paused"], true);
    conflict("pause", "paused").await;
    assert_eq!(note(&collector, &path("resume")).await.ok()["paused"], false);
    let back = note(&collector, &path("rollback")).await.ok();
    assert_eq!(back["stage"], "restoring");
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "rolled_back");
    assert!(done["reason"].as_str().unwrap().contains("operator wants the old values back"));
    assert_eq!(world.limit(), 64 * MIB);
    conflict("rollback", "rolled_back").await;
    let confirm =
        format!("/api/performance/suggestions/{}/confirm", suggestion["id"].as_str().unwrap());
    let again = note(&collector, &confirm).await;
    assert_eq!((again.status, &again.body["state"]), (409, &json!("confirmed")));
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_or_an_agent_that_is_gone_ends_it_at_once() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        quick(config);
        config.rollout.hold_ms = 600_000;
        config.rollout.cool_down_ms = 1;
        config.rollout.restore_ms = 6_000;
        config.rollout.silent_ms = 2_000;
    })
    .await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    rollout(&collector, &id, |rollout| rollout["stage"] == "holding").await;
    *world.server.state.lock() = CacheState::Unreachable;
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "rolled_back", "{done:#}");
    assert!(done["reason"].as_str().unwrap().contains("hard stop"), "{done:#}");

    *world.server.state.lock() = CacheState::Up;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    rollout(&collector, &id, |rollout| rollout["stage"] == "holding").await;
    agent.end().await;
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "failed", "nobody has shown the old values: {done:#}");
    assert!(done["reason"].as_str().unwrap().contains("was not heard"), "{done:#}");
    let unlock = format!("/api/performance/targets/{ID}/unlock");
    let look = json!({"target": ID});
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let locked = until("it is back", async || {
        let answer = post(&collector, "/api/performance/optimize", &look).await;
        let reasons = answer.body["skipped"].to_string();
        reasons.contains("locked").then_some(reasons)
    })
    .await;
    assert!(locked.contains("until a person unlocks it"), "{locked}");
    let alerts = get(&collector, "/api/performance/alerts").await.ok();
    assert_eq!(alerts["alerts"][0]["name"], "target.locked", "{alerts:#}");
    let free = note(&collector, &unlock).await.ok();
    assert_eq!(free["status"], "free");
    let again = note(&collector, &unlock).await;
    assert_eq!((again.status, &again.body["state"]), (409, &json!("free")));
    audit(&collector).await;
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_starts_anew_or_fails_its_clients_ends_it() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        quick(config);
        config.rollout.hold_ms = 600_000;
        config.rollout.cool_down_ms = 1;
    })
    .await;
    let world = World::begin(&clickhouse, "web-1").await;
    // As many errors as there always were are no reason.
    *world.server.counters.lock() = counters("a", 1_000_000, 100_000);
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    for (run, commands, errors, why) in
        [("a", 1_200_000, 200_000, "errors in"), ("b", 10, 0, "started anew")]
    {
        let suggestion = suggested(&collector).await;
        let id = confirmed(&collector, &suggestion).await;
        rollout(&collector, &id, |rollout| rollout["stage"] == "holding").await;
        let before = world.server.counters.lock().clone();
        let usual = before.errors.unwrap() + 1_000;
        *world.server.counters.lock() = counters("a", before.commands + 10_000, usual);
        // A pause shows that the rollout has lived through it.
        note(&collector, &format!("/api/performance/rollouts/{id}/pause")).await.ok();
        *world.server.counters.lock() = counters(run, commands, errors);
        let done = ended(&collector, &id).await;
        assert_eq!(done["state"], "rolled_back", "{done:#}");
        let reason = done["reason"].as_str().unwrap();
        assert!(reason.contains("hard stop") && reason.contains(why), "{reason}");
    }
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_judged_keeps_nothing_else_waiting() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        quick(config);
        config.rollout.validate_min_ms = 50_000;
        config.clickhouse.timeout_ms = 600_000;
    })
    .await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    // What the judge reads is never answered any more.
    clickhouse.proxy.set(Mode::Hold("argMax(resident_bytes"));
    rollout(&collector, &id, |rollout| rollout["stage"] == "judging").await;
    let pause = format!("/api/performance/rollouts/{id}/pause");
    until("a person's word", async || (note(&collector, &pause).await.status == 200).then_some(()))
        .await;
    *world.server.state.lock() = CacheState::Unreachable;
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "rolled_back", "{done:#}");
    assert!(done["reason"].as_str().unwrap().contains("hard stop"), "{done:#}");
    clickhouse.proxy.set(Mode::Pass);
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_goes_by_itself_only_where_it_was_promoted_often_enough() {
    let clickhouse = ClickHouse::start().await;
    let auto = |after: u32| {
        move |config: &mut flyball_collector::config::Config| {
            quick(config);
            config.suggest.auto_confirm = vec!["cache.size".into()];
            config.suggest.auto_confirm_after = after;
        }
    };
    let collector = Collector::start_with(&clickhouse, auto(1)).await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    assert_eq!(suggestion["status"], "proposed", "nothing was promoted yet");
    agent.end().await;
    collector.stopped().await;

    let collector = Collector::start_with(&clickhouse, auto(0)).await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let path = format!("/api/performance/suggestions/{}", suggestion["id"].as_str().unwrap());
    let found = until("it goes by itself", async || {
        post(&collector, "/api/performance/optimize", &json!({"target": ID})).await;
        let found = get(&collector, &path).await;
        (found.body["status"] == "confirmed").then_some(found.body)
    })
    .await;
    assert_eq!(found["decided"]["by"], "auto_confirm");
    let done = ended(&collector, found["rollout_id"].as_str().unwrap()).await;
    assert_eq!(done["state"], "promoted", "{done:#}");
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}
