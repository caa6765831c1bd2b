//! kill -9 of the agent at any moment, and what it finds on its disk afterwards.

use std::time::{Duration, Instant};

use flyball_proto::steering::PolicyResult;
use rand::RngExt as _;

use crate::collector::{Agent, Collector, LEASE, canary, eventually, files, in_force};
use crate::harness::run;
use crate::{LIMIT, fill, mb, server, sets};

/// Kills, each of another process.
const ROUNDS: usize = 12;

#[tokio::test(flavor = "multi_thread")]
async fn whenever_the_agent_is_killed_in_a_canary_what_was_before_comes_back() {
    let (server, mut collector) = (server(32), Collector::start());
    fill(&server);
    // Some sixty steps each way, so that most kills are on the way.
    let mut agent = Agent::new(&collector, &server, "[steer]\nlargest_shrink = 0.01");
    let wanted = [(LIMIT, &*mb(18)), ("maxmemory-samples", "10")];
    let mut halfway = 0;
    for revision in 1..=ROUNDS as u64 {
        agent.start();
        let before = sets(&server);
        collector.want(canary(revision, &wanted, &[]));
        collector.outcome(revision, PolicyResult::Applying).await;
        let steps = before + rand::rng().random_range(0..70);
        eventually("the moment", || sets(&server) >= steps || in_force(&server, LIMIT) == mb(18))
            .await;
        // Killed once on the way there or in force, and half of the times once more on the way back.
        agent.kill();
        let limit = in_force(&server, LIMIT);
        halfway += usize::from(limit != mb(32) && limit != mb(18));
        let address = collector.end().await;
        agent.start();
        if revision % 2 == 0 {
            let set = sets(&server);
            eventually("the way back", || {
                sets(&server) > set || in_force(&server, LIMIT) == mb(32)
            })
            .await;
            agent.kill();
            agent.start();
        }
        eventually("the limit", || in_force(&server, LIMIT) == mb(32)).await;
        eventually("the samples", || in_force(&server, "maxmemory-samples") == "5").await;
        collector = Collector::at(address);
        collector.outcome(revision, PolicyResult::Reverted).await;
        agent.kill();
        fill(&server);
    }
    assert!(halfway > 0, "no kill was on the way");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lease_runs_on_while_the_agent_is_down() {
    let (server, mut collector) = (server(64), Collector::start());
    let mut agent = Agent::started(&collector, &server, "");
    collector.want(canary(1, &[(LIMIT, &mb(128))], &[]));
    collector.outcome(1, PolicyResult::Applied).await;
    agent.kill();
    let began = Instant::now();
    eventually("the lease", || began.elapsed() > LEASE).await;
    agent.start();
    // The collector is there and would renew: it is too late for that.
    let reverted = collector.outcome(1, PolicyResult::Reverted).await;
    assert_eq!(reverted.in_force[LIMIT], mb(64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_restart_ends_no_trial() {
    let (server, mut collector) = (server(64), Collector::start());
    let mut agent = Agent::started(&collector, &server, "");
    let mut policy = canary(1, &[(LIMIT, &mb(128))], &[]);
    policy.targets[0].canary.as_mut().unwrap().lease = Duration::from_secs(30);
    collector.want(policy);
    collector.outcome(1, PolicyResult::Applied).await;
    agent.kill();
    agent.start();
    let told = collector.any_outcome().await;
    assert_eq!(told.result, PolicyResult::Applied, "what stands is told again");
    assert_eq!((sets(&server), in_force(&server, LIMIT)), (1, mb(128)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_cannot_be_read_is_moved_aside_and_the_collector_knows_what_was_before() {
    let (server, mut collector) = (server(64), Collector::start());
    let mut agent = Agent::started(&collector, &server, "");
    collector.want(canary(1, &[(LIMIT, &mb(128))], &[(LIMIT, &mb(64))]));
    collector.outcome(1, PolicyResult::Applied).await;
    agent.kill();
    let good = std::fs::read(agent.record()).unwrap();
    std::fs::write(agent.record(), &good[..good.len() / 2]).unwrap();
    agent.start();
    collector.outcome(1, PolicyResult::Applied).await;
    let dir = agent.record().parent().unwrap().to_owned();
    let names = files(&dir);
    assert!(names.iter().any(|name| name == "redis.sessions.json.corrupt"), "{names:?}");
    assert_eq!(in_force(&server, LIMIT), mb(128));
    drop(collector);
    eventually("what was before", || in_force(&server, LIMIT) == mb(64)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_changed_that_could_not_be_undone() {
    let (server, mut collector) = (server(64), Collector::start());
    let mut agent = Agent::started(&collector, &server, "");
    collector.hello().await;
    // In the place of the file that the record is written to there is a directory: even root cannot write that.
    let new = agent.record().with_extension("json.new");
    std::fs::create_dir_all(&new).unwrap();
    collector.want(canary(1, &[(LIMIT, &mb(128))], &[]));
    let waiting = loop {
        let outcome = collector.outcome(1, PolicyResult::Applying).await;
        if !outcome.reason.is_empty() {
            break outcome;
        }
    };
    assert!(waiting.reason.contains("waiting for the agent's disk"), "{}", waiting.reason);
    assert_eq!((sets(&server), in_force(&server, LIMIT)), (0, mb(64)));
    std::fs::remove_dir(&new).unwrap();
    collector.outcome(1, PolicyResult::Applied).await;
    assert_eq!(in_force(&server, LIMIT), mb(128));
    agent.kill();
    run(&mut server.connect(), &["PING"]);
}
