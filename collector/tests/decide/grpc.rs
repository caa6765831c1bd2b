//! The same calls over gRPC: the same answers and the same refusals, for programs.

use flyball_proto::v1;
use flyball_proto::v1::performance_client::PerformanceClient;
use serde_json::{Value, json};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::harness::{Collector, until};
use crate::world::{Fleet, ID, MIB, ended, get, rollout, suggested};

async fn client(collector: &Collector) -> PerformanceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", collector.grpc)).unwrap();
    PerformanceClient::new(endpoint.connect().await.unwrap())
}

fn decision(id: &str, note: &str) -> v1::DecisionRequest {
    v1::DecisionRequest { id: id.to_owned(), note: note.to_owned() }
}

/// A limit for one cache, or for several.
fn wish(targets: &[&str], to: u64) -> v1::ProposeRequest {
    let change =
        v1::ProposedValue { parameter: "maxmemory".into(), from: None, to: to.to_string() };
    let (target, targets) = match targets {
        [one] => ((*one).to_owned(), Vec::new()),
        several => (String::new(), several.iter().map(|id| (*id).to_owned()).collect()),
    };
    let (change, note) = (vec![change], "a try".to_owned());
    v1::ProposeRequest { target, targets, change, note, ..Default::default() }
}

/// A target and its change as HTTP tells them.
fn of_one(target: Option<&v1::ChangeTarget>, change: &[v1::ParameterChange]) -> Value {
    let target = target.unwrap();
    let change = change.iter().map(|change| {
        let v1::ParameterChange { parameter, from, to, unit } = change;
        json!({"parameter": parameter, "from": from, "to": to, "unit": unit})
    });
    let v1::ChangeTarget { id, node, kind, name } = target;
    json!({
        "target": {"id": id, "node": node, "kind": kind, "name": name},
        "change": change.collect::<Vec<_>>(),
    })
}

/// Members and waves of a rollout as HTTP tells them.
fn group(of: &v1::Rollout) -> Value {
    let members = of.members.iter().map(|member| {
        let mut body = of_one(member.target.as_ref(), &member.change);
        body["state"] = json!(member.state);
        body["locked"] = json!(member.locked);
        body
    });
    let waves = of.waves.iter().map(|wave| {
        let v1::RolloutWave { targets, controls, state } = wave;
        json!({"targets": targets, "controls": controls, "state": state})
    });
    json!([members.collect::<Vec<_>>(), waves.collect::<Vec<_>>()])
}

/// The code, and the first field that is wrong.
fn refusal(status: &Status) -> (Code, String) {
    let details = status.get_details_bad_request();
    let field = details.and_then(|details| Some(details.field_violations.first()?.field.clone()));
    (status.code(), field.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_carries_a_change_through_its_life() {
    let fleet = Fleet::begin(&["web-1"], |config| config.rollout.hold_ms = 5_000).await;
    let collector = &fleet.collector;
    let over_http = suggested(collector).await;
    let id = over_http["id"].as_str().unwrap().to_owned();
    let mut client = client(collector).await;

    let caches = client.caches(v1::CachesRequest {}).await.unwrap().into_inner().caches;
    let report = caches[0].report.clone().unwrap();
    assert_eq!((caches[0].id.as_str(), caches.len()), (ID, 1));
    assert_eq!(report.facts.unwrap().max_bytes, 64 * MIB);
    assert!(report.curve.unwrap().points.len() > 2 && caches[0].received_at_ms > 0);

    let look = v1::OptimizeRequest { target: ID.into(), ..v1::OptimizeRequest::default() };
    let found = client.optimize(look.clone()).await.unwrap().into_inner();
    assert!(found.suggestions.is_empty(), "it waits already");
    assert!(found.skipped.iter().any(|skipped| skipped.reason.contains(&id)), "{found:?}");
    let ask = v1::ChangesRequest { status: "proposed".into(), limit: 1, ..Default::default() };
    let list = client.suggestions(ask).await.unwrap().into_inner();
    assert_eq!((list.suggestions.len(), list.next_cursor.as_str()), (1, ""));
    assert_eq!((list.suggestions[0].id.as_str(), list.suggestions[0].inputs.as_str()), (&*id, ""));
    let one = client.get_suggestion(v1::IdRequest { id: id.clone() }).await.unwrap().into_inner();
    let prediction = one.prediction.unwrap();
    assert_eq!(json!(prediction.after), over_http["prediction"]["after"]);
    assert_eq!((one.risk_level.as_str(), one.evidence.is_empty()), ("low", false));
    assert!(one.inputs.contains("\"curve\""), "{}", one.inputs);

    let begun = client.confirm(decision(&id, "by a program")).await.unwrap().into_inner();
    assert_eq!((begun.state.as_str(), begun.suggestion_id.as_str()), ("canary", &*id));
    let again = client.confirm(decision(&id, "")).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    assert!(again.message().contains("is confirmed"), "{again}");
    assert!(client.pause(decision(&begun.id, "wait")).await.unwrap().into_inner().paused);
    let twice = client.pause(decision(&begun.id, "")).await.unwrap_err();
    assert_eq!(twice.code(), Code::FailedPrecondition);
    assert!(!client.resume(decision(&begun.id, "")).await.unwrap().into_inner().paused);

    let over_http = ended(collector, &begun.id).await;
    assert_eq!(over_http["state"], "promoted", "{over_http:#}");
    let known = client.get_rollout(v1::IdRequest { id: begun.id.clone() }).await;
    let known = known.unwrap().into_inner();
    assert_eq!((known.state.as_str(), known.ended_at_ms.is_some()), ("promoted", true));
    let said = known.steps[0].verdicts.last().unwrap();
    assert_eq!(
        json!(said.observed.unwrap().value),
        over_http["steps"][0]["verdict"]["observed"]["value"]
    );
    let ask = v1::ChangesRequest { target: ID.into(), ..Default::default() };
    assert_eq!(client.rollouts(ask).await.unwrap().into_inner().rollouts, [known]);
    let over = client.rollback(decision(&begun.id, "")).await.unwrap_err();
    assert_eq!(over.code(), Code::FailedPrecondition);

    let ask = v1::AuditRequest { verify: true, limit: 2, ..Default::default() };
    let audit = client.audit(ask).await.unwrap().into_inner();
    assert!(audit.verified.unwrap().intact && audit.journal == "whole");
    assert_eq!(audit.entries.len(), 2);
    assert_eq!(audit.entries[0].prev_hash, audit.entries[1].hash);
    let ask = v1::AuditRequest { subject: id.clone(), ..Default::default() };
    let about = client.audit(ask).await.unwrap().into_inner().entries;
    let decided = about.iter().find(|entry| entry.to_state == "confirmed").unwrap();
    assert_eq!((decided.actor.as_str(), decided.actor_address.as_str()), ("operator", "127.0.0.1"));
    assert_eq!(decided.reason, "by a program");
    drop(client);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_proposes_a_change() {
    let fleet = Fleet::begin(&["web-1"], |_| ()).await;
    let collector = &fleet.collector;
    let mut client = client(collector).await;
    let wish = |to| wish(&[ID], to);
    until("the agent to watch", async || {
        let refused = client.clone().propose(wish(1)).await.unwrap_err();
        (refusal(&refused) == (Code::InvalidArgument, "change[0].to".to_owned())).then_some(())
    })
    .await;
    let mut stale = wish(32 * MIB);
    stale.change[0].from = Some("1".into());
    let odd = v1::ProposedPrediction { after: 0.5, low: Some(0.6), ..Default::default() };
    let long = "x".repeat(1_025);
    for (request, expected) in [
        (v1::ProposeRequest::default(), (Code::InvalidArgument, "target")),
        (v1::ProposeRequest { change: vec![], ..wish(5) }, (Code::InvalidArgument, "change")),
        (v1::ProposeRequest { note: long.clone(), ..wish(5) }, (Code::InvalidArgument, "note")),
        (v1::ProposeRequest { title: long, ..wish(5) }, (Code::InvalidArgument, "title")),
        (
            v1::ProposeRequest { prediction: Some(odd), ..wish(32 * MIB) },
            (Code::InvalidArgument, "prediction"),
        ),
        (
            v1::ProposeRequest { kind: "x".into(), ..wish(32 * MIB) },
            (Code::InvalidArgument, "kind"),
        ),
        (v1::ProposeRequest { target: "redis:x:y".into(), ..wish(5) }, (Code::NotFound, "target")),
        (stale, (Code::FailedPrecondition, "")),
    ] {
        let answer = client.propose(request).await.unwrap_err();
        assert_eq!(refusal(&answer), (expected.0, expected.1.to_owned()), "{answer}");
    }
    let prediction =
        Some(v1::ProposedPrediction { after: 0.6, low: Some(0.5), ..Default::default() });
    let request = v1::ProposeRequest { prediction, title: "Less".into(), ..wish(32 * MIB) };
    let made = client.propose(request).await.unwrap().into_inner();
    let expected = made.prediction.unwrap();
    assert_eq!((made.title.as_str(), made.proposed_by.as_str()), ("Less", "operator"));
    assert_eq!((made.change[0].to.as_str(), made.change[0].unit.as_str()), ("33554432", "bytes"));
    assert_eq!((expected.after, expected.low, expected.high), (0.6, 0.5, 0.6));
    assert!(made.inputs.contains("\"note\":\"a try\""), "{}", made.inputs);
    let known = get(collector, &format!("/api/performance/suggestions/{}", made.id)).await.ok();
    assert_eq!((&known["status"], &known["title"]), (&json!("proposed"), &json!("Less")));
    let again = client.propose(wish(48 * MIB)).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    drop(client);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_refused_as_over_http() {
    let fleet = Fleet::begin(&[], |_| ()).await;
    let collector = &fleet.collector;
    let mut client = client(collector).await;
    // Nothing is answered before the journal was read.
    until("the journal", async || {
        let answer = get(collector, "/api/performance/suggestions").await;
        (answer.status == 200).then_some(())
    })
    .await;
    let long = "x".repeat(1_025);
    for (answer, expected) in [
        (client.confirm(decision("s-none", "")).await.unwrap_err(), (Code::NotFound, "")),
        (client.confirm(decision("", "")).await.unwrap_err(), (Code::InvalidArgument, "id")),
        (
            client.pause(decision("r-none", &long)).await.unwrap_err(),
            (Code::InvalidArgument, "note"),
        ),
        (client.unlock(decision("redis:x:y", "")).await.unwrap_err(), (Code::NotFound, "")),
    ] {
        assert_eq!(refusal(&answer), (expected.0, expected.1.to_owned()), "{answer}");
    }
    let wrong = v1::ChangesRequest { status: "x".into(), limit: 201, ..Default::default() };
    let answer = client.suggestions(wrong.clone()).await.unwrap_err();
    assert_eq!(refusal(&answer), (Code::InvalidArgument, "limit".to_owned()));
    assert_eq!(client.rollouts(wrong).await.unwrap_err().code(), Code::InvalidArgument);
    let wrong = v1::AuditRequest { cursor: "x".into(), ..Default::default() };
    let answer = client.audit(wrong).await.unwrap_err();
    assert_eq!(refusal(&answer), (Code::InvalidArgument, "cursor".to_owned()));
    let wrong = v1::OptimizeRequest { scope: "x".into(), ..Default::default() };
    let answer = client.optimize(wrong).await.unwrap_err();
    assert_eq!(refusal(&answer), (Code::InvalidArgument, "scope".to_owned()));
    let none = v1::IdRequest { id: "s-none".into() };
    let answer = client.get_suggestion(none.clone()).await.unwrap_err();
    assert_eq!(refusal(&answer), (Code::NotFound, "id".to_owned()));
    assert_eq!(client.get_rollout(none).await.unwrap_err().code(), Code::NotFound);
    drop(client);
    fleet.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_over_grpc_what_it_is_over_http() {
    let fleet = Fleet::begin(&["web-1", "web-2"], |config| config.rollout.hold_ms = 5_000).await;
    let collector = &fleet.collector;
    let mut client = client(collector).await;
    let both = ["redis:web-1:sessions", "redis:web-2:sessions"];
    let named = |targets: &[&str]| v1::ProposeRequest {
        targets: targets.iter().map(|id| (*id).to_owned()).collect(),
        ..wish(&both, 96 * MIB)
    };
    for (request, code, field) in [
        (named(&both[..1]), Code::InvalidArgument, "targets"),
        (named(&[both[0], both[0]]), Code::InvalidArgument, "targets"),
        (
            v1::ProposeRequest { target: both[0].into(), ..named(&both) },
            Code::InvalidArgument,
            "targets",
        ),
        (named(&[both[0], "redis:x:y"]), Code::NotFound, "target"),
        (wish(&both, 1), Code::InvalidArgument, "change[0].to"),
    ] {
        until("the agents to watch", async || {
            let refused = client.clone().propose(request.clone()).await.unwrap_err();
            (refusal(&refused) == (code, field.to_owned())).then_some(())
        })
        .await;
    }
    let made = until("a suggestion for both", async || {
        client.clone().propose(wish(&both, 96 * MIB)).await.ok()
    })
    .await
    .into_inner();
    let target = made.target.clone().unwrap();
    assert_eq!((target.id.as_str(), target.node.as_str()), ("redis:*:sessions", ""));
    let over_http = get(collector, &format!("/api/performance/suggestions/{}", made.id)).await.ok();
    let members = made.members.iter().map(|of| of_one(of.target.as_ref(), &of.change));
    assert_eq!(json!(members.collect::<Vec<_>>()), over_http["members"]);
    assert_eq!(
        (made.members.len(), &over_http["members"][1]["change"][0]["to"]),
        (2, &json!((96 * MIB).to_string()))
    );

    let begun = client.confirm(decision(&made.id, "")).await.unwrap().into_inner();
    assert_eq!((begun.members.len(), begun.waves.len()), (2, 2));
    // Nothing moves while the canary is held: both are asked about the same moment.
    let held = rollout(collector, &begun.id, |rollout| rollout["stage"] == "holding").await;
    let ask = v1::IdRequest { id: begun.id.clone() };
    let known = client.get_rollout(ask.clone()).await.unwrap().into_inner();
    assert_eq!(group(&known), json!([held["members"], held["waves"]]));
    let states: Vec<_> = known.waves.iter().map(|wave| wave.state.as_str()).collect();
    assert_eq!(states, ["holding", "waiting"]);
    assert_eq!(known.waves[0].controls, known.waves[1].targets);
    client.rollback(decision(&begun.id, "enough")).await.unwrap();
    let over_http = ended(collector, &begun.id).await;
    let known = client.get_rollout(ask).await.unwrap().into_inner();
    assert_eq!(group(&known), json!([over_http["members"], over_http["waves"]]));
    let mut states: Vec<_> = known.members.iter().map(|of| of.state.as_str()).collect();
    states.sort_unstable();
    assert_eq!(states, ["restored", "untouched"]);
    drop(client);
    fleet.end().await;
}
