//! `Steering.Watch` over real gRPC: what agents are sent and when, what is kept of what they tell.
#![allow(clippy::unwrap_used, unreachable_pub, reason = "all of this is a test")]

mod harness;

use std::time::{Duration, Instant};

use flyball_collector::steer::watch::AgentEvent;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, CacheReport, CacheState, PolicyResult, Revision,
};
use flyball_proto::v1;
use tonic::Code;

use harness::{DEADLINE, Server, eventually, hello, name, outcome, policy, target};

#[tokio::test]
async fn what_is_wanted_is_sent_at_once_and_whenever_it_changes() {
    let server = Server::start().await;
    server.want("n", policy(1, 100, None));
    let mut agent = server.agent("n").await;
    let first = agent.policy().await;
    assert_eq!((first.revision, first.journal.as_str()), (Revision(1), "j"));
    assert_eq!(first.targets, policy(1, 100, None).targets);
    assert!(first.renew.unwrap() >= Duration::from_secs(1));
    server.want("other", policy(2, 200, None));
    server.want("n", policy(1, 100, None));
    assert!(agent.is_silent().await, "nothing new is wanted of this one");
    server.want("n", policy(3, 300, None));
    assert_eq!(agent.policy().await.targets[0].settings["maxmemory"], "300");
    let mut nobody = server.agent("nobody").await;
    let none = nobody.policy().await;
    assert_eq!((none.revision, none.targets.len()), (Revision(0), 0));
}

#[tokio::test]
async fn canaries_are_renewed_three_times_in_a_lease() {
    let server = Server::start().await;
    let lease = Duration::from_millis(300);
    server.want("n", policy(1, 100, Some(lease)));
    let mut agent = server.agent("n").await;
    let began = Instant::now();
    for _ in 0..10 {
        let renewal = agent.policy().await;
        assert_eq!(renewal.renew, Some(lease / 3));
        assert_eq!(renewal.targets[0].canary.as_ref().unwrap().lease, lease);
    }
    // Nine periods have passed at least, whatever the machine does.
    assert!(began.elapsed() >= (lease * 3).saturating_sub(Duration::from_millis(20)));
    server.want("n", policy(2, 100, None));
    agent.revision(2).await;
    assert!(agent.is_silent().await, "without a canary there is nothing to renew");
}

#[tokio::test]
async fn canaries_end_when_it_is_not_known_what_is_wanted_now() {
    let server = Server::start().await;
    server.want("n", policy(1, 100, Some(Duration::from_millis(150))));
    let mut agent = server.agent("n").await;
    agent.policy().await;
    server.policies.set_current(false);
    eventually(|| server.steering.agents().get(&name("n")).is_some()).await;
    // One may have been on its way.
    if !agent.is_silent().await {
        assert!(agent.is_silent().await, "the collector has lost the thread");
    }
    server.policies.set_current(true);
    server.want("n", policy(2, 150, None));
    agent.revision(2).await;
}

#[tokio::test]
async fn outcomes_are_kept_told_and_acknowledged() {
    let server = Server::start().await;
    let mut events = server.steering.agents().subscribe();
    server.want("n", policy(1, 100, Some(Duration::from_millis(300))));
    let mut agent = server.agent("n").await;
    agent.policy().await;
    assert_eq!(events.recv().await.unwrap(), AgentEvent::Connected(name("n")));
    agent.tell(outcome(1, PolicyResult::Applying, 1)).await;
    agent.tell(outcome(1, PolicyResult::Applied, 2)).await;
    for result in [PolicyResult::Applying, PolicyResult::Applied] {
        let AgentEvent::Outcome(node, told) = events.recv().await.unwrap() else {
            panic!("another event");
        };
        assert_eq!((node, told.result), (name("n"), result));
    }
    let state = server.steering.agents().get(&name("n")).unwrap();
    assert_eq!(state.outcomes, [outcome(1, PolicyResult::Applied, 2)]);
    assert_eq!((state.in_force, state.is_connected), (Revision(1), true));
    while agent.policy().await.acked_sequence < 2 {}
    drop(agent);
    assert_eq!(events.recv().await.unwrap(), AgentEvent::Gone(name("n")));
    let state = server.steering.agents().get(&name("n")).unwrap();
    assert!(!state.is_connected && state.outcomes.len() == 1, "what was told is still known");
}

#[tokio::test]
async fn a_refused_revision_is_not_offered_again() {
    let server = Server::start().await;
    for (revision, result) in [(1, PolicyResult::Rejected), (2, PolicyResult::Reverted)] {
        server.want("n", policy(revision, 100, Some(Duration::from_millis(100))));
        let mut agent = server.agent("n").await;
        while agent.revision(revision).await.targets.is_empty() {}
        agent.tell(outcome(revision, result, 1)).await;
        while !agent.revision(revision).await.targets.is_empty() {}
        let mut again = server.agent("n").await;
        assert_eq!(again.revision(revision).await.targets, [], "not on a new stream either");
    }
    server.want("n", policy(3, 100, None));
    assert_eq!(server.agent("n").await.revision(3).await.targets.len(), 1);
}

#[tokio::test]
async fn what_an_agent_may_not_set_is_refused_here_with_its_reason() {
    let server = Server::start().await;
    let mut wanted = policy(1, 1_001, Some(Duration::from_mins(1)));
    let mut elsewhere = wanted.targets[0].clone();
    elsewhere.target.name = "b".to_owned();
    wanted.targets.push(elsewhere);
    server.want("n", wanted);
    let mut agent = server.agent("n").await;
    let offered = agent.policy().await;
    assert_eq!((offered.revision, offered.targets.len()), (Revision(1), 0));
    let state = server.steering.agents().get(&name("n")).unwrap();
    let reasons: Vec<_> = state.outcomes.iter().map(|outcome| outcome.reason.as_str()).collect();
    assert_eq!(reasons, ["maxmemory: 1001 is not from 1 to 1000", "redis/b: no such target"]);
    assert!(state.outcomes.iter().all(|outcome| outcome.result == PolicyResult::Rejected));
    assert_eq!(state.in_force, Revision(0));
}

#[tokio::test]
async fn a_policy_that_breaks_the_protocol_is_not_taken() {
    let server = Server::start().await;
    let mut wrong = policy(1, 100, None);
    wrong.targets[0].settings.clear();
    let refused = server.policies.set(&name("n"), wrong).unwrap_err();
    assert_eq!(refused.field, "targets[0].settings");
    let zero = AgentPolicy { revision: Revision(0), ..policy(1, 100, None) };
    assert_eq!(server.policies.set(&name("n"), zero).unwrap_err().field, "revision");
}

#[tokio::test]
async fn the_newest_stream_of_a_node_counts() {
    let server = Server::start().await;
    let mut older = server.agent("n").await;
    older.policy().await;
    let mut newer = server.agent("n").await;
    newer.policy().await;
    assert_eq!(older.end().await.code(), Code::Aborted);
    let state = server.steering.agents().get(&name("n")).unwrap();
    assert!(state.is_connected, "the end of the older one is not that of the agent");
    newer.tell(outcome(1, PolicyResult::Applied, 1)).await;
    let told = || server.steering.agents().get(&name("n")).unwrap().outcomes.len() == 1;
    eventually(told).await;
}

#[tokio::test]
async fn streams_that_break_the_rules_end() {
    let server = Server::start().await;
    let mut agent = server.dial().await;
    agent.tell(outcome(1, PolicyResult::Applied, 1)).await;
    let status = agent.end().await;
    assert_eq!(
        (status.code(), status.message().contains("not a hello")),
        (Code::InvalidArgument, true)
    );
    let mut agent = server.dial().await;
    let unnamed = v1::SteeringHello { epoch: vec![0; 16], ..v1::SteeringHello::default() };
    let kind = Some(v1::agent_steering::Kind::Hello(unnamed));
    agent.send_raw(v1::AgentSteering { kind }).await;
    assert!(agent.end().await.message().contains("hello.node"));
    let mut agent = server.agent("n").await;
    agent.send(AgentSteering::Hello(hello("n"))).await;
    assert!(agent.end().await.message().contains("a second hello"));
    let mut agent = server.agent("n").await;
    let broken = v1::CacheReport { kind: "redis".into(), ..v1::CacheReport::default() };
    let kind = Some(v1::agent_steering::Kind::Cache(broken));
    agent.send_raw(v1::AgentSteering { kind }).await;
    let status = agent.end().await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("cache."), "{status}");
}

#[tokio::test]
async fn there_is_room_for_so_many_agents() {
    let server = Server::with_room_for(2).await;
    let mut first = server.agent("a").await;
    first.policy().await;
    let mut second = server.agent("b").await;
    second.policy().await;
    let mut third = server.agent("c").await;
    assert_eq!(third.end().await.code(), Code::ResourceExhausted);
    drop(first);
    eventually(|| server.steering.agents().connected() == 1).await;
    server.agent("c").await.policy().await;
    assert!(server.steering.agents().get(&name("a")).is_none(), "who is gone made room");
}

#[tokio::test]
async fn the_last_report_of_each_cache_is_known() {
    let server = Server::start().await;
    let agent = server.agent("n").await;
    let mut changes = server.steering.caches().changes();
    for at in 1..=3 {
        let mut report = CacheReport::new(target(), CacheState::Up, at);
        report.version = "7.0.15".to_owned();
        agent.send(AgentSteering::Cache(Box::new(report))).await;
    }
    let all = async {
        loop {
            let known = server.steering.caches().get(&name("n"), &target());
            if known.is_some_and(|cache| cache.report.measured_at_ms == 3) {
                return;
            }
            changes.changed().await.unwrap();
        }
    };
    tokio::time::timeout(DEADLINE, all).await.unwrap();
    assert_eq!(server.steering.caches().all().len(), 1);
}

#[tokio::test]
async fn all_streams_end_when_the_collector_stops() {
    let server = Server::start().await;
    let mut agent = server.agent("n").await;
    agent.policy().await;
    let ending = server.shutdown.clone();
    let steering = tokio::spawn(server.steering.clone().run(ending.clone()));
    ending.cancel();
    assert_eq!(agent.end().await.code(), Code::Unavailable);
    tokio::time::timeout(DEADLINE, steering).await.expect("it waits for its streams").unwrap();
}

#[tokio::test]
async fn the_revision_in_force_is_shown_with_the_node() {
    let server = Server::start().await;
    server.live.seed([(name("n"), None)]);
    let shown = || server.live.status(&[name("n")]).nodes[0].policy_revision;
    let agent = server.dial().await;
    let mut said = hello("n");
    said.revision = Revision(5);
    agent.send(AgentSteering::Hello(said)).await;
    eventually(|| shown() == 5).await;
    server.want("n", policy(9, 200, None));
    agent.tell(outcome(9, PolicyResult::Applying, 1)).await;
    agent.tell(outcome(9, PolicyResult::Applied, 2)).await;
    eventually(|| shown() == 9).await;
}
