//! What is refused, and in which words.

use flyball_proto::steering::{AgentPolicy, PolicyOutcome, PolicyResult};

use crate::collector::{Agent, Collector};
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

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_refuses_rejects_the_policy_in_its_own_words() {
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
    let outcome = refused(&mut collector, canary(1, &lab.weighted(&[50, 100]))).await;
    let reason = &outcome.reason;
    assert!(reason.contains("envoy-1") && reason.contains("refused"), "{reason}");
    assert!(reason.len() < 600, "{} bytes", reason.len());
    assert_eq!(outcome.in_force[&lab.weight(0)], CONFIGURED.to_string());
    lab.weighs(&[CONFIGURED; 2]).await;
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
