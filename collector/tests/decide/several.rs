//! Several collectors on one journal, restarts, and a journal that is away or broken.

use flyball_collector::config::Config;
use flyball_proto::steering::Revision;
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::{ClickHouse, Collector, until};
use crate::proxy::Mode;
use crate::world::{
    Agent, MIB, Manner, World, confirmed, ended, get, note, post, quick, rollout, suggested,
};

#[tokio::test(flavor = "multi_thread")]
async fn of_two_collectors_any_may_drive_and_every_transition_happens_once() {
    let clickhouse = ClickHouse::start().await;
    // The other one does not hear the agent, and is not to take it for silent before it is done.
    let patient = |config: &mut Config| {
        quick(config);
        config.rollout.silent_ms = 120_000;
    };
    let one = Collector::start_with(&clickhouse, patient).await;
    let two = Collector::start_with(&clickhouse, patient).await;
    let world = World::begin(&clickhouse, "web-1").await;
    // The agent watches at one, the person asks the other.
    let agent = Agent::begin(one.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&one).await;
    let id = suggestion["id"].as_str().unwrap();
    let path = format!("/api/performance/suggestions/{id}");
    until("the other one knows it", async || (get(&two, &path).await.status == 200).then_some(()))
        .await;
    let confirm = format!("{path}/confirm");
    let (a, b) = tokio::join!(note(&one, &confirm), note(&two, &confirm));
    let mut answers = [a.status, b.status];
    answers.sort_unstable();
    assert_eq!(answers, [202, 409], "{a:?} {b:?}");
    let rollout = id.replacen("s-", "r-", 1);
    let done = ended(&two, &rollout).await;
    assert_eq!(done["state"], "promoted", "{done:#}");
    let same = ended(&one, &rollout).await;
    assert_eq!(same, done);
    let audit = get(&two, "/api/performance/audit?verify=true&limit=200").await.ok();
    assert_eq!(audit["verified"]["intact"], true, "{audit:#}");
    let entries = audit["entries"].as_array().unwrap();
    for state in ["confirmed", "promoted"] {
        let count = entries
            .iter()
            .filter(|entry| entry["to_state"] == state && entry["from_state"] != state);
        assert_eq!(count.count(), 1, "{state}");
    }
    agent.end().await;
    world.end().await;
    one.stopped().await;
    two.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_at_any_stage_goes_on() {
    let clickhouse = ClickHouse::start().await;
    let world = World::begin(&clickhouse, "web-1").await;
    let mut collector = Collector::start_with(&clickhouse, quick).await;
    let mut agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    for stage in ["holding", "judging"] {
        rollout(&collector, &id, |rollout| {
            rollout["stage"] == stage || rollout["ended_at_ms"].is_i64()
        })
        .await;
        agent.end().await;
        collector.stopped().await;
        collector = Collector::start_with(&clickhouse, quick).await;
        agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    }
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "promoted", "{done:#}");
    assert!(world.limit() > 64 * MIB);
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_journal_is_away_nothing_is_decided_and_then_it_goes_on() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        quick(config);
        config.rollout.hold_ms = 3_000;
    })
    .await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    rollout(&collector, &id, |rollout| rollout["stage"] == "holding").await;
    clickhouse.proxy.set(Mode::Cut);
    let path = format!("/api/performance/rollouts/{id}/pause");
    let refused = until("it is noticed", async || {
        let answer = note(&collector, &path).await;
        (answer.status == 503).then_some(answer)
    })
    .await;
    assert!(refused.body["type"].as_str().unwrap().ends_with(":journal"), "{refused:?}");
    // What was read is still shown.
    assert_eq!(get(&collector, &format!("/api/performance/rollouts/{id}")).await.status, 200);
    clickhouse.proxy.set(Mode::Pass);
    let done = ended(&collector, &id).await;
    assert_eq!(done["state"], "promoted", "{done:#}");
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_has_seen_more_than_there_is_shows_that_decisions_are_gone() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, quick).await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    agent.end().await;
    let first = clickhouse.open.store.decisions(1, 1).await.unwrap().remove(0);
    let journal = format!("{:016x}", u64::from_be_bytes(*first.hash.first_chunk().unwrap()));
    let confirm =
        format!("/api/performance/suggestions/{}/confirm", suggestion["id"].as_str().unwrap());
    for (seen, state) in [((Revision(100), journal.clone()), "ahead"), ((Revision(1), journal), "")]
    {
        let agent = Agent::having_seen(collector.grpc, &world, Manner::Willing, seen.clone()).await;
        until("what it has seen to be known", async || {
            let known = get(&collector, "/api/performance/policies?node=web-1").await.body;
            let policy = &known["policies"][0];
            let is_known = policy["connected"] == true && policy["in_force_revision"] == seen.0.0;
            is_known.then_some(())
        })
        .await;
        let answer = until("an answer with the agent there", async || {
            let answer = note(&collector, &confirm).await;
            (answer.body["state"] != "absent").then_some(answer)
        })
        .await;
        if state.is_empty() {
            assert_eq!(answer.status, 202, "{answer:?}");
        } else {
            assert_eq!((answer.status, &answer.body["state"]), (409, &json!(state)), "{answer:?}");
            assert!(answer.body["detail"].as_str().unwrap().contains("ends at 1"), "{answer:?}");
        }
        agent.end().await;
    }
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_journal_is_shown_and_ends_deciding() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, quick).await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let forged = clickhouse.open.store.decisions(1, 1).await.unwrap().remove(0);
    let mut forged = flyball_model::journal::Row { reason: "forged".into(), ..forged };
    forged.hash = forged.digest();
    clickhouse.open.store.insert_decision(&forged, "forged").await.unwrap();
    let audit = until("it is noticed", async || {
        let answer = get(&collector, "/api/performance/audit?verify=true").await.ok();
        (answer["journal"]["state"] == "broken").then_some(answer)
    })
    .await;
    assert!(
        audit["journal"]["reason"].as_str().unwrap().contains("two different rows"),
        "{audit:#}"
    );
    assert_eq!(audit["verified"]["intact"], false);
    let confirm =
        format!("/api/performance/suggestions/{}/confirm", suggestion["id"].as_str().unwrap());
    let refused = note(&collector, &confirm).await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert_eq!(post(&collector, "/api/performance/optimize", &json!({})).await.status, 503);
    let detail = until("readiness to tell", async || {
        let (status, text) = collector.get("/readyz").await;
        let ready: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(status, 200, "samples are taken in as before: {ready:#}");
        let checks = ready["checks"].as_array().unwrap();
        let check = checks.iter().find(|check| check["name"] == "journal").unwrap();
        (check["status"] == "degraded").then(|| check["detail"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(detail.contains("broken at decision 1"), "{detail}");
    let alerts = get(&collector, "/api/performance/alerts").await.ok();
    assert_eq!(alerts["alerts"][0]["name"], "journal.broken", "{alerts:#}");
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_tell_what_changes() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, quick).await;
    let world = World::begin(&clickhouse, "web-1").await;
    let lines = collector.lines("/api/performance/events").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let id = confirmed(&collector, &suggestion).await;
    let mut seen: Vec<String> = Vec::new();
    let mut lines = Box::pin(lines);
    while !seen.iter().any(|line| line.contains("\"state\":\"promoted\"")) {
        let line = lines.next().await.unwrap();
        seen.extend(line.strip_prefix("data: ").map(str::to_owned));
    }
    let events: Vec<Value> = seen.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |kind: &str| events.iter().filter(|event| event["type"] == kind).collect::<Vec<_>>();
    assert_eq!(of("suggestion")[0]["id"], suggestion["id"]);
    assert!(of("suggestion").iter().any(|event| event["status"] == "confirmed"));
    assert!(of("rollout").iter().all(|event| event["id"] == json!(id)));
    assert!(of("policy").iter().any(|event| event["result"] == "applied"));
    assert!(of("policy").iter().any(|event| event["wanted_revision"].is_u64()));
    assert!(of("cache").iter().all(|event| event["id"] == crate::world::ID));
    assert!(!of("cache").is_empty());
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}
