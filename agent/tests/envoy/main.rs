//! A real Envoy, read and served by the real agent: what is measured, what comes into force, what is refused, and that no client falls back, whatever is killed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

#[path = "../../../xds/tests/protocol/client.rs"]
#[allow(dead_code, reason = "shared with the tests of the xDS server")]
mod client;
#[path = "../steer/collector.rs"]
#[allow(dead_code, reason = "shared with the tests of other targets")]
mod collector;
mod grpc;
#[path = "../caches/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the sampler")]
mod harness;
mod kill;
mod lab;
mod refusals;
mod reports;
mod utilization;

/// What the client that is shared asks for.
mod support {
    /// The longest that a response may take.
    pub(crate) const PATIENCE: std::time::Duration = std::time::Duration::from_mins(1);
}

use flyball_proto::steering::{BackendState, BalancerReport, PolicyResult, Revision};

use collector::{Collector, eventually};
use lab::{CONFIGURED, Lab, canary, permanent};

#[tokio::test(flavor = "multi_thread")]
async fn weights_come_into_force_are_followed_and_outlive_envoy_and_agent() {
    let (mut lab, mut collector) = (Lab::new(3), Collector::start());
    let mut agent = lab.start(&collector).await;
    let hello = collector.hello().await;
    let capability = &hello.capabilities[0];
    assert_eq!(
        (hello.revision, capability.target.to_string().as_str()),
        (Revision(0), "envoy/edge")
    );
    assert!(capability.bounds(&lab.weight(0)).is_some() && !capability.may_persist);
    lab.weighs(&[CONFIGURED; 3]).await;
    let wanted = lab.weighted(&[200, 100, 20]);
    collector.want(permanent(1, &wanted));
    let applied = collector.outcome(1, PolicyResult::Applied).await;
    assert_eq!((applied.reason.as_str(), &*applied.in_force[&lab.weight(2)]), ("", "20"));
    lab.weighs(&[200, 100, 20]).await;
    let shares = lab.drive(640);
    for (share, wanted) in shares.iter().zip([400, 200, 40]) {
        assert!(share.abs_diff(wanted) <= 10, "{shares:?}");
    }
    // A new Envoy is told the same, and so it is by a new agent without a collector.
    lab.kill_envoy();
    lab.start_envoy();
    lab.weighs(&[200, 100, 20]).await;
    drop(collector);
    agent.kill();
    agent.start();
    lab.kill_envoy();
    lab.start_envoy();
    lab.weighs(&[200, 100, 20]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_lease_puts_weights_back() {
    let (mut lab, mut collector) = (Lab::new(3), Collector::start());
    let _agent = lab.start(&collector).await;
    collector.want(canary(1, &lab.weighted(&[256, 128, 64])));
    collector.outcome(1, PolicyResult::Applied).await;
    lab.weighs(&[256, 128, 64]).await;
    let address = collector.end().await;
    lab.weighs(&[CONFIGURED; 3]).await;
    let mut collector = Collector::at(address);
    let reverted = collector.outcome(1, PolicyResult::Reverted).await;
    assert!(reverted.reason.contains("not renewed within its lease"), "{}", reverted.reason);
    assert_eq!(reverted.in_force[&lab.weight(0)], CONFIGURED.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_is_asked_weights_wait_for_nobody() {
    let (mut lab, mut collector) = (Lab::new(3), Collector::start());
    let _agent = lab.start(&collector).await;
    let all = async {
        for revision in 1..=10 {
            collector.want(permanent(revision, &lab.weighted(&[100, 100 + revision, 100])));
            collector.outcome(revision, PolicyResult::Applied).await;
        }
    };
    // With the longest wait between each two it would be half as long again.
    tokio::time::timeout(collector::DEADLINE, all).await.expect("no such waits");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_comes_at_once_and_goes_again() {
    let (mut lab, mut collector) = (Lab::new(3), Collector::start());
    let _agent = lab.start(&collector).await;
    let drain = [(lab.state(1), "drain".to_owned())];
    collector.want(permanent(1, &drain));
    collector.outcome(1, PolicyResult::Applied).await;
    let shares = lab.drive(100);
    assert_eq!((shares[1], shares[0] + shares[2]), (0, 100), "{shares:?}");
    let state =
        |report: &BalancerReport| Some(report.backend("web", &lab.backends[1].name())?.1.state);
    collector.balancer("a drain", |report| state(report) == Some(BackendState::Drain)).await;
    collector.want(permanent(2, &[(lab.state(1), "ready".to_owned())]));
    collector.outcome(2, PolicyResult::Applied).await;
    eventually("its share", || lab.drive(30)[1] == 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_come_into_force_and_nobody_connected_is_said() {
    let (mut lab, mut collector) = (Lab::new(2), Collector::start());
    let mut agent = collector::Agent::of(&collector, &lab.settings(""));
    agent.start();
    let wanted = [("max_requests:web".to_owned(), "700".to_owned())];
    collector.want(permanent(1, &wanted));
    let applied = collector.outcome(1, PolicyResult::Applied).await;
    assert!(applied.reason.contains("no client is connected"), "{}", applied.reason);
    lab.start_envoy();
    lab.serving().await;
    let clusters = lab::get(lab.admin, "/clusters").unwrap();
    assert!(clusters.contains("web::default_priority::max_requests::700"), "{clusters}");
    // A tenth of two endpoints is none.
    let wanted = [("consecutive_5xx:web", "3"), ("max_ejection_percent:web", "50")];
    let wanted = wanted.map(|(parameter, value)| (parameter.to_owned(), value.to_owned()));
    collector.want(permanent(2, &wanted));
    assert_eq!(collector.outcome(2, PolicyResult::Applied).await.reason, "");
    *lab.backends[0].mood.lock() = lab::Mood::Failing;
    eventually("the ejection", || {
        lab.drive(4);
        lab::get(lab.admin, "/clusters").unwrap().contains("/failed_outlier_check")
    })
    .await;
}
