//! What is refused, and in which words.

use envoy_types::pb::envoy::config::core::v3::HealthStatus;
use envoy_types::pb::envoy::config::endpoint::v3 as eds;
use flyball_proto::steering::{AgentPolicy, PolicyOutcome, PolicyResult};
use flyball_xds::Kind;
use prost::Message as _;

use crate::client::{Got, StateClient};
use crate::collector::{Agent, Collector, eventually};
use crate::lab::{CONFIGURED, Lab, canary, permanent};

async fn refused(collector: &mut Collector, policy: AgentPolicy) -> PolicyOutcome {
    let revision = policy.revision;
    collector.want(policy);
    loop {
        let outcome = collector.any_outcome().await;
        if outcome.revision == revision && outcome.result == PolicyResult::Rejected {
            return outcome;
        }
        assert_ne!(outcome.result, PolicyResult::Applied, "{revision}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_must_not_be_is_refused_by_name() {
    let (mut lab, mut collector) = (Lab::new(3), Collector::start());
    let _agent = lab.start(&collector).await;
    let one = |parameter: &str, value: &str| vec![(parameter.to_owned(), value.to_owned())];
    let drains = vec![(lab.state(0), "drain".to_owned()), (lab.state(1), "drain".to_owned())];
    let all = [
        (one("weight:web/127.0.0.1:1", "5"), "weight:web/127.0.0.1:1"),
        (one("weight:other/127.0.0.1:1", "5"), "weight:other/127.0.0.1:1"),
        (one(&lab.weight(0), "0"), "0 is not from 1 to 65535"),
        (one(&lab.weight(0), "65536"), "65536 is not from 1 to 65535"),
        (one(&lab.state(0), "maint"), "\"maint\" is not one of drain, ready"),
        (one("max_requests:web", "0"), "0 is not from 1"),
        (one("max_requests:web", "100"), "from 1024 to 100 is a cut of more than half"),
        (one(&lab.weight(0), "2000"), "58 % of the requests of group web would move at once"),
        (one("http2:web", "1"), "http2:web"),
        (drains, "of the 3 endpoints of web: at most half of them"),
    ];
    for (index, (wanted, words)) in all.into_iter().enumerate() {
        let policy = permanent(index as u64 + 1, &wanted);
        let outcome = refused(&mut collector, policy).await;
        assert!(outcome.reason.contains(words), "{} instead of {words}", outcome.reason);
    }
    lab.weighs(&[CONFIGURED; 3]).await;
}

/// The next endpoints that a client is told of, and which of them are drained: that goes at once.
async fn drained(client: &mut StateClient) -> (Got, Vec<bool>) {
    let got = client.next().await;
    assert_eq!(got.kind, Kind::Endpoint);
    let web = eds::ClusterLoadAssignment::decode(got.bodies[0].value.as_slice()).unwrap();
    let endpoints = web.endpoints.iter().flat_map(|locality| &locality.lb_endpoints);
    let draining = HealthStatus::Draining as i32;
    (got, endpoints.map(|one| one.health_status == draining).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_refuses_a_change_rejects_that_one_and_never_the_way_back() {
    let (lab, mut collector) = (Lab::new(2), Collector::start());
    let mut agent = Agent::of(&collector, &lab.settings(""));
    agent.start();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], lab.xds));
    eventually("the server", || std::net::TcpStream::connect(address).is_ok()).await;
    let mut client = StateClient::connect(address).await;
    client.fetch(Kind::Cluster, &[]).await;
    client.fetch(Kind::Endpoint, &["web"]).await;
    collector.want(permanent(1, &[(lab.state(0), "drain".to_owned())]));
    let (got, of) = drained(&mut client).await;
    assert_eq!(of, [true, false]);
    client.nack(&got, &["web"], "", &"no ".repeat(1_000)).await;
    let rejected = collector.outcome(1, PolicyResult::Rejected).await;
    assert!(rejected.reason.contains("raw") && rejected.reason.contains("refused Endpoint: no no"));
    assert!(rejected.reason.len() < 600, "{} bytes", rejected.reason.len());
    assert_eq!(rejected.in_force[&lab.state(0)], "ready");
    // What was before is what the client has: it is told nothing. The next one is told, and taken.
    collector.want(canary(2, &[(lab.state(1), "drain".to_owned())]));
    let (got, of) = drained(&mut client).await;
    assert_eq!(of, [false, true]);
    client.ack(&got, &["web"]).await;
    assert_eq!(collector.outcome(2, PolicyResult::Applied).await.reason, "");
    let address = collector.end().await;
    let (got, of) = drained(&mut client).await;
    assert_eq!(of, [false, false], "the way back");
    client.nack(&got, &["web"], "", "not me").await;
    let mut collector = Collector::at(address);
    let reverted = loop {
        let outcome = collector.any_outcome().await;
        if outcome.result == PolicyResult::Reverted {
            break outcome;
        }
    };
    assert!(reverted.reason.contains("refused Endpoint: not me"), "{}", reverted.reason);
    assert_eq!(reverted.in_force[&lab.state(1)], "ready");
}

/// An Envoy that refuses all listeners, whatever else is wanted: its port is taken.
#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_that_is_older_bars_neither_a_policy_nor_the_way_back() {
    let (mut lab, mut collector) = (Lab::new(2), Collector::start());
    let mut agent = Agent::of(&collector, &lab.settings(""));
    // Envoy cannot listen where somebody else does, and refuses all listeners for that.
    let _taken = std::net::TcpListener::bind(("127.0.0.1", lab.listen)).unwrap();
    agent.start();
    lab.start_envoy();
    let refuses = |report: &flyball_proto::steering::BalancerReport| {
        report.missing.iter().any(|line| line.contains("refuses"))
    };
    collector.balancer("the refusal", refuses).await;
    lab.weighs(&[CONFIGURED; 2]).await;
    collector.want(canary(1, &lab.weighted(&[50, 100])));
    let applied = collector.outcome(1, PolicyResult::Applied).await;
    lab.weighs(&[50, 100]).await;
    // One that comes anew refuses the same again.
    lab.kill_envoy();
    lab.start_envoy();
    lab.weighs(&[50, 100]).await;
    let address = collector.end().await;
    lab.weighs(&[CONFIGURED; 2]).await;
    let mut collector = Collector::at(address);
    let reverted = collector.outcome(1, PolicyResult::Reverted).await;
    assert_eq!(reverted.in_force[&lab.weight(0)], CONFIGURED.to_string());
    for reason in [applied.reason, reverted.reason] {
        assert!(reason.contains("envoy-1") && reason.contains("refused Listener"), "{reason}");
        assert!(reason.len() < 600, "{} bytes", reason.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_leave_nothing_is_steered_but_all_is_served() {
    let (mut lab, mut collector) = (Lab::new(2), Collector::start());
    let settings = lab.settings("").replace("steer = true", "steer = false");
    let mut agent = Agent::of(&collector, &settings);
    agent.start();
    lab.start_envoy();
    lab.serving().await;
    let outcome = refused(&mut collector, permanent(1, &lab.weighted(&[1, 2]))).await;
    assert!(outcome.reason.contains("steer = true is not set"), "{}", outcome.reason);
    lab.weighs(&[CONFIGURED; 2]).await;
}
