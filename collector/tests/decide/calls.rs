//! The calls: what they refuse, pages, dry runs, and that they fit their description.

use serde_json::{Value, json};

use crate::harness::{ClickHouse, Collector};
use crate::world::{Agent, ID, MIB, Manner, World, get, note, post, quick, suggested};

const API: &str = "/api/performance";

/// Checks an answer against the description.
async fn fits(collector: &Collector, method: &str, path: &str, status: &str, answer: &Value) {
    let document = get(collector, "/openapi.json").await.ok();
    let content = &document["paths"][path][method]["responses"][status]["content"];
    let (_, media) = content.as_object().unwrap().iter().next().unwrap();
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "allOf": [media["schema"]],
        "components": document["components"],
    });
    let validator = jsonschema::validator_for(&schema).unwrap();
    let errors: Vec<_> =
        validator.iter_errors(answer).map(|e| format!("{e} at {}", e.instance_path())).collect();
    assert!(errors.is_empty(), "{method} {path}: {errors:?}\n{answer:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_fit_their_description() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, quick).await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    // A dry run writes nothing down.
    let dry = json!({"scope": "all", "dry_run": true});
    let tried = crate::harness::until("a try", async || {
        let answer = post(&collector, &format!("{API}/optimize"), &dry).await.ok();
        (!answer["suggestions"].as_array().unwrap().is_empty()).then_some(answer)
    })
    .await;
    fits(&collector, "post", &format!("{API}/optimize"), "200", &tried).await;
    let list = get(&collector, &format!("{API}/suggestions")).await.ok();
    assert_eq!(list, json!({"suggestions": [], "next_cursor": null}));
    let suggestion = suggested(&collector).await;
    assert_eq!(suggestion["id"], tried["suggestions"][0]["id"], "the same inputs, the same id");
    let id = suggestion["id"].as_str().unwrap();

    let one = get(&collector, &format!("{API}/suggestions/{id}")).await.ok();
    assert!(one["inputs"]["view"]["facts"].is_object(), "{one:#}");
    fits(&collector, "get", &format!("{API}/suggestions/{{id}}"), "200", &one).await;
    let list =
        get(&collector, &format!("{API}/suggestions?status=proposed&kind=cache.size&target={ID}"))
            .await
            .ok();
    assert_eq!(list["suggestions"].as_array().unwrap().len(), 1);
    fits(&collector, "get", &format!("{API}/suggestions"), "200", &list).await;
    let caches = get(&collector, &format!("{API}/cache")).await.ok();
    let cache = &caches["caches"][0];
    assert_eq!((&cache["id"], &cache["state"]), (&json!(ID), &json!("up")));
    assert!(cache["curve"]["points"].as_array().unwrap().len() > 2);
    assert_eq!(cache["eviction_policy"], "allkeys-lru");
    fits(&collector, "get", &format!("{API}/cache"), "200", &caches).await;

    let rejected = note(&collector, &format!("{API}/suggestions/{id}/reject")).await.ok();
    assert_eq!(
        (&rejected["status"], &rejected["decided"]["note"]),
        (&json!("rejected"), &json!("a test"))
    );
    fits(&collector, "post", &format!("{API}/suggestions/{{id}}/reject"), "200", &rejected).await;
    let again = note(&collector, &format!("{API}/suggestions/{id}/reject")).await;
    assert_eq!((again.status, &again.body["state"]), (409, &json!("rejected")));
    let look = post(&collector, &format!("{API}/optimize"), &json!({})).await.ok();
    assert!(look["skipped"].to_string().contains("a person has rejected"), "{look:#}");

    let audit = get(&collector, &format!("{API}/audit?verify=true&inputs=true&limit=1")).await.ok();
    fits(&collector, "get", &format!("{API}/audit"), "200", &audit).await;
    assert_eq!(audit["entries"][0]["to_state"], "rejected");
    let next = audit["next_cursor"].as_str().unwrap();
    let first = get(&collector, &format!("{API}/audit?cursor={next}&subject={id}")).await.ok();
    assert_eq!(
        (&first["entries"][0]["sequence"], &first["next_cursor"]),
        (&json!(1), &Value::Null)
    );
    assert_eq!(audit["entries"][0]["prev_hash"], first["entries"][0]["hash"]);
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, quick).await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let id = suggestion["id"].as_str().unwrap();
    let none = post(&collector, &format!("{API}/optimize"), &json!({"scope": "host"})).await.ok();
    assert!(none["skipped"][0]["reason"].as_str().unwrap().contains("no advisor for host"));
    for (path, body, status, field) in [
        ("optimize", json!({"scope": "x"}), 400, "scope"),
        ("optimize", json!({"target": "redis:x:y"}), 404, "target"),
        ("optimize", json!({"zap": 1}), 400, "zap"),
        ("suggestions/s-none/confirm", json!({"note": ""}), 404, ""),
        ("suggestions/s-none/reject", json!({}), 404, ""),
        ("suggestions/s-none/reject", json!({"note": 1}), 400, "note"),
        ("rollouts/r-none/pause", json!({}), 404, ""),
        ("targets/none/unlock", json!({}), 404, ""),
    ] {
        let answer = post(&collector, &format!("{API}/{path}"), &body).await;
        assert_eq!(answer.status, status, "{path} {body} {:#}", answer.body);
        let found = answer.body["errors"][0]["field"].as_str().unwrap_or_default();
        assert_eq!(found, field, "{path} {body}");
    }
    for (path, status) in [
        ("suggestions?status=x", 400),
        ("suggestions?limit=0", 400),
        ("suggestions?zap=1", 400),
        ("suggestions/none", 404),
        ("rollouts?status=x", 400),
        ("rollouts?cursor=x", 400),
        ("rollouts/none", 404),
        ("audit?verify=x", 400),
        ("audit?cursor=x", 400),
    ] {
        assert_eq!(get(&collector, &format!("{API}/{path}")).await.status, status, "{path}");
    }
    // A page of a stranger that leads here under its own name.
    let url = format!("http://{}{API}/suggestions/{id}/confirm", collector.http);
    let foreign =
        reqwest::Client::new().post(url).json(&json!({})).header("origin", "http://evil.example");
    assert_eq!(foreign.send().await.unwrap().status().as_u16(), 403);
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_proposes_within_bounds_and_is_named_in_the_journal() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, quick).await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let path = format!("{API}/suggestions");
    let wish = |to: &str| json!({"target": ID, "change": [{"parameter": "maxmemory", "to": to}]});
    crate::harness::until("the agent to watch", async || {
        let answer = post(&collector, &path, &wish("1")).await;
        (answer.status == 400).then_some(())
    })
    .await;
    let half = (32 * MIB).to_string();
    let mut stale = wish(&half);
    stale["change"][0]["from"] = json!("1");
    let mut odd = wish(&half);
    odd["prediction"] = json!({"low": "x"});
    for (body, status, field) in [
        (wish("1"), 400, "change[0].to"),
        (
            json!({"target": ID, "change": [{"parameter": "save", "to": ""}]}),
            400,
            "change[0].parameter",
        ),
        (json!({"target": ID, "change": [{"to": 1, "zap": 2}]}), 400, "change[0].zap"),
        (json!({"change": []}), 400, "target"),
        (
            json!({"target": "redis:x:y", "change": [{"parameter": "maxmemory", "to": 5}]}),
            404,
            "target",
        ),
        (odd, 400, "prediction.low"),
        (stale, 409, ""),
    ] {
        let answer = post(&collector, &path, &body).await;
        assert_eq!(answer.status, status, "{body} {:#}", answer.body);
        let found = answer.body["errors"][0]["field"].as_str().unwrap_or_default();
        assert_eq!(found, field, "{body}");
    }
    let mut body = wish(&half);
    body["note"] = json!("what happens?");
    let made = post(&collector, &path, &body).await;
    assert_eq!(made.status, 201, "{:#}", made.body);
    fits(&collector, "post", &path, "201", &made.body).await;
    assert_eq!(
        (&made.body["status"], &made.body["proposed_by"]),
        (&json!("proposed"), &json!("operator"))
    );
    let again = post(&collector, &path, &wish(&(48 * MIB).to_string())).await;
    assert_eq!((again.status, &again.body["state"]), (409, &json!("open")), "{:#}", again.body);
    let audit = get(&collector, &format!("{API}/audit?verify=true")).await.ok();
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["actor"], &entry["actor_address"], &entry["reason"]),
        (&json!("operator"), &json!("127.0.0.1"), &json!("what happens?"))
    );
    assert_eq!(audit["verified"]["intact"], true);
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_harm_noise_would_hide_is_not_begun() {
    let clickhouse = ClickHouse::start().await;
    let collector = Collector::start_with(&clickhouse, |config| {
        quick(config);
        // Less than half of what the cache's hit ratio does by itself from one window to the next.
        config.judge.margin = 0.0005;
    })
    .await;
    let world = World::begin(&clickhouse, "web-1").await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let suggestion = suggested(&collector).await;
    let path = format!("{API}/suggestions/{}/confirm", suggestion["id"].as_str().unwrap());
    let answer = note(&collector, &path).await;
    assert_eq!((answer.status, &answer.body["state"]), (409, &json!("too_noisy")));
    let words = answer.body["detail"].as_str().unwrap();
    for part in ["redis.hit_ratio", "smallest harm", "a pass"] {
        assert!(words.contains(part), "{words}");
    }
    let found = get(&collector, &format!("{API}/suggestions")).await.ok();
    assert_eq!(found["suggestions"][0]["status"], "proposed", "it may be confirmed later");
    agent.end().await;
    collector.stopped().await;

    let collector = Collector::start_with(&clickhouse, |config| {
        quick(config);
        config.judge.margin = 0.0005;
        config.suggest.check_power = false;
    })
    .await;
    let agent = Agent::begin(collector.grpc, &world, Manner::Willing).await;
    let begun = crate::harness::until("the agent to watch", async || {
        let answer = note(&collector, &path).await;
        (answer.body["state"] != "absent").then_some(answer)
    });
    assert_eq!(begun.await.status, 202, "who does not care goes on");
    agent.end().await;
    world.end().await;
    collector.stopped().await;
    clickhouse.stop().await;
}
