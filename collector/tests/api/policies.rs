//! `GET /api/performance/policies`: what is wanted and what is in force, and why they differ.

use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, Bounds, Capability, PolicyOutcome, PolicyResult, Revision,
    Settings, SteeringHello, Target, TargetPolicy,
};
use flyball_proto::v1;
use flyball_proto::v1::performance_client::PerformanceClient;
use flyball_proto::v1::steering_client::SteeringClient;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::harness::Server;
use crate::openapi::check;

const PATH: &str = "/api/performance/policies";

fn settings(limit: &str) -> Settings {
    [("maxmemory".to_owned(), limit.to_owned())].into()
}

fn policy(revision: u64, limit: &str) -> AgentPolicy {
    let target = TargetPolicy {
        target: Target::new("redis", "sessions"),
        settings: settings(limit),
        rollout_id: "r-1".to_owned(),
        canary: None,
        persist: false,
    };
    let (revision, targets) = (Revision(revision), vec![target]);
    AgentPolicy { revision, targets, ..AgentPolicy::default() }
}

fn hello(node: &str) -> SteeringHello {
    let capability = |name: &str, reason: &str| Capability {
        target: Target::new("redis", name),
        parameters: [("maxmemory".to_owned(), Bounds::Number(1, 1_000))].into(),
        may_persist: false,
        reason: reason.to_owned(),
        largest_growth: None,
    };
    let barred = Capability { parameters: [].into(), ..capability("queue", "steer is off") };
    SteeringHello {
        node: NodeName::new(node).unwrap(),
        agent_version: "0.1.0".to_owned(),
        epoch: [1; 16],
        revision: Revision(0),
        journal: String::new(),
        capabilities: vec![capability("sessions", ""), barred],
    }
}

async fn channel(server: &Server) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", server.grpc)).unwrap();
    endpoint.connect().await.unwrap()
}

async fn watch(
    server: &Server,
    node: &str,
) -> (mpsc::Sender<v1::AgentSteering>, Streaming<v1::AgentPolicy>) {
    let mut client = SteeringClient::new(channel(server).await);
    let (requests, stream) = mpsc::channel(4);
    requests.send(AgentSteering::Hello(hello(node)).into()).await.unwrap();
    let mut policies = client.watch(ReceiverStream::new(stream)).await.unwrap().into_inner();
    policies.message().await.unwrap();
    (requests, policies)
}

/// The answer about one node, once its newest outcome has this result.
async fn settled(server: &Server, result: &str) -> Value {
    loop {
        let answer = server.get(&format!("{PATH}?node=web-1")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let node = answer.json()["policies"][0].clone();
        if node["targets"].as_array().unwrap().iter().any(|target| target["result"] == result) {
            return node;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_and_what_is_in_force() {
    let server = Server::start().await;
    assert_eq!(server.get(PATH).await.json(), json!({"policies": []}));
    let node = NodeName::new("web-1").unwrap();
    server.policies.set(&node, policy(7, "500")).unwrap();
    let answer = server.get(PATH).await.json();
    assert_eq!(
        answer["policies"][0],
        json!({
            "node": "web-1", "connected": false, "since_ms": null,
            "wanted_revision": 7, "in_force_revision": 0,
            "reason": "its agent does not watch here",
            "targets": [{
                "kind": "redis", "name": "sessions", "rollout_id": "r-1", "canary": false,
                "wanted": {"maxmemory": "500"}, "result": null, "revision": null,
                "in_force": {}, "expected": {}, "reason": null, "barred": null,
            }],
        })
    );

    let (requests, _policies) = watch(&server, "web-1").await;
    let node = &server.get(PATH).await.json()["policies"][0];
    assert_eq!(
        (&node["connected"], &node["reason"]),
        (&json!(true), &json!("redis/sessions: not told yet"))
    );
    assert_eq!(node["targets"][0]["barred"], "steer is off");
    let tell = async |result, reason: &str| {
        let outcome = PolicyOutcome {
            revision: Revision(7),
            target: Target::new("redis", "sessions"),
            result,
            reason: reason.to_owned(),
            in_force: settings("400"),
            expected: settings("500"),
            rollout_id: "r-1".to_owned(),
            sequence: 1,
        };
        requests.send(AgentSteering::Outcome(outcome).into()).await.unwrap();
    };
    tell(PolicyResult::Applied, "").await;
    let node = settled(&server, "applied").await;
    assert_eq!((&node["in_force_revision"], &node["reason"]), (&json!(7), &Value::Null));
    tell(PolicyResult::Drifted, "somebody else has changed it").await;
    let node = settled(&server, "drifted").await;
    assert_eq!(node["reason"], "redis/sessions: drifted: somebody else has changed it");
    assert_eq!(node["in_force_revision"], 7, "it was in force as a whole");
    let target = &node["targets"][1];
    assert_eq!(
        (&target["in_force"], &target["expected"]),
        (&json!({"maxmemory": "400"}), &json!({"maxmemory": "500"}))
    );

    let document = server.get("/openapi.json").await.json();
    check(&document, "get", PATH, "200", &server.get(PATH).await.json());
    let mut client = PerformanceClient::new(channel(&server).await);
    let asked = v1::PoliciesRequest { nodes: vec!["web-1".to_owned()] };
    let told = client.policies(asked).await.unwrap().into_inner().policies;
    assert_eq!((told.len(), told[0].in_force_revision), (1, 7));
    assert_eq!(told[0].targets[1].result, "drifted");
    drop((requests, client));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_not_known_is_named() {
    let server = Server::start().await;
    let unknown = server.get(&format!("{PATH}?node=nope")).await;
    assert_eq!((unknown.status, unknown.problem_fields()), (404, vec!["node".to_owned()]));
    let wrong = server.get(&format!("{PATH}?node=%01&nodes=x")).await;
    assert_eq!((wrong.status, wrong.problem_fields().len()), (400, 2));
    server.stop().await;
}
