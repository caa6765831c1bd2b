//! Several like caches in one suggestion: a canary first, compared with those that have not changed.

use std::cmp::Ordering;

use serde_json::{Value, json};

use crate::harness::until;
use crate::world::{Fleet, MIB, confirmed, ended, get, perverse, post, rollout};

const NODES: [&str; 3] = ["web-1", "web-2", "web-3"];

fn ids(all: &Value) -> Vec<&str> {
    all.as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect()
}

fn state(of: &Value) -> &str {
    of["state"].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn like_caches_change_in_waves_and_are_compared_with_those_that_have_not() {
    let fleet = Fleet::begin(&NODES, |_| ()).await;
    let (collector, all) = (&fleet.collector, &fleet.caches);
    let look = |dry: bool| json!({"scope": "cache", "dry_run": dry});
    until("all three to be seen", async || {
        let tried = post(collector, "/api/performance/optimize", &look(true)).await.ok();
        (tried["suggestions"][0]["members"].as_array()?.len() == 3).then_some(())
    })
    .await;
    let found = post(collector, "/api/performance/optimize", &look(false)).await.ok();
    let suggestion = &found["suggestions"][0];
    assert_eq!(found["suggestions"].as_array().unwrap().len(), 1, "{found:#}");
    assert_eq!(suggestion["target"]["id"], "redis:*:sessions");
    assert!(suggestion["title"].as_str().unwrap().ends_with("on 3 nodes"), "{suggestion:#}");
    let of_one = "/api/performance/suggestions?target=redis:web-2:sessions";
    let of_one = get(collector, of_one).await.ok();
    assert_eq!(of_one["suggestions"][0]["id"], suggestion["id"]);

    let id = confirmed(collector, suggestion).await;
    for wave in 1..=3 {
        let judging = rollout(collector, &id, |rollout| {
            rollout["stage"] == "judging" && rollout["steps"].as_array().unwrap().len() == wave
                || rollout["ended_at_ms"].is_i64()
        })
        .await;
        let grown = all.iter().filter(|(world, _)| world.limit() > 64 * MIB).count();
        assert_eq!(grown, wave, "{judging:#}");
        let states: Vec<_> = judging["waves"].as_array().unwrap().iter().map(state).collect();
        let expected = (1..=3).map(|place: usize| match place.cmp(&wave) {
            Ordering::Less => "passed",
            Ordering::Equal => "judging",
            Ordering::Greater => "waiting",
        });
        assert_eq!(states, expected.collect::<Vec<_>>(), "{judging:#}");
    }
    let done = ended(collector, &id).await;
    assert_eq!(done["state"], "promoted", "{done:#}");
    assert!(all.iter().all(|(world, _)| world.limit() > 64 * MIB));
    let waves = done["waves"].as_array().unwrap();
    let mut changed: Vec<&str> = Vec::new();
    for (place, wave) in waves.iter().enumerate() {
        let (targets, controls) = (ids(&wave["targets"]), ids(&wave["controls"]));
        assert_eq!(state(wave), "promoted");
        assert_eq!((targets.len(), controls.len()), (1, usize::from(place < 2)), "{wave:#}");
        changed.extend(&targets);
        assert!(controls.iter().all(|control| !changed.contains(control)), "{waves:#?}");
    }
    changed.sort_unstable();
    assert_eq!(changed, NODES.map(|node| format!("redis:{node}:sessions")));
    let audit = get(collector, "/api/performance/audit?inputs=true&limit=200").await.ok();
    let control = format!("{}", waves[0]["controls"][0]);
    let judged = audit["entries"].as_array().unwrap().iter().rev().find(|entry| {
        entry["rollout_id"] == json!(id) && entry["verdict"].as_str().is_some_and(|v| v != "none")
    });
    assert!(judged.unwrap()["inputs"].to_string().contains(&control), "{judged:#?}");
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn harm_at_the_canary_spares_the_others_and_a_person_may_name_several() {
    let fleet = Fleet::begin(&NODES[..2], |_| ()).await;
    let (collector, all) = (&fleet.collector, &fleet.caches);
    for (world, _) in all {
        *world.server.law.lock() = perverse;
    }
    let wish = |targets: &[&str], to: u64| {
        let change = json!([{"parameter": "maxmemory", "to": to.to_string()}]);
        json!({"targets": targets, "change": change})
    };
    let both = ["redis:web-1:sessions", "redis:web-2:sessions"];
    let path = "/api/performance/suggestions";
    for (body, status, field) in [
        (wish(&both[..1], 128 * MIB), 400, "targets"),
        (wish(&[both[0], both[0]], 128 * MIB), 400, "targets"),
        (wish(&[both[0], "redis:x:y"], 128 * MIB), 404, "target"),
        (wish(&both, 1), 400, "change[0].to"),
    ] {
        let answer = until("the agents to watch", async || {
            let answer = post(collector, path, &body).await;
            (answer.status == status).then_some(answer)
        })
        .await;
        assert_eq!(answer.body["errors"][0]["field"], field, "{body} {:#}", answer.body);
    }
    let made = until("a suggestion for both", async || {
        let answer = post(collector, path, &wish(&both, 128 * MIB)).await;
        (answer.status == 201).then_some(answer.body)
    })
    .await;
    assert_eq!(
        (made["members"].as_array().unwrap().len(), &made["kind"]),
        (2, &json!("cache.size"))
    );
    let id = confirmed(collector, &made).await;
    let done = ended(collector, &id).await;
    assert_eq!(done["state"], "rolled_back", "{done:#}");
    assert!(done["reason"].as_str().unwrap().contains("harm"), "{done:#}");
    assert_eq!(done["steps"].as_array().unwrap().len(), 1, "no other wave: {done:#}");
    let waves: Vec<_> = done["waves"].as_array().unwrap().iter().map(state).collect();
    assert_eq!(waves, ["restored", "untouched"], "{done:#}");
    let touched: Vec<bool> = all.iter().map(|(world, _)| world.was_changed()).collect();
    assert_eq!(touched.iter().filter(|touched| **touched).count(), 1, "{touched:?}");
    assert!(all.iter().all(|(world, _)| world.limit() == 64 * MIB));
    fleet.end().await;
}
