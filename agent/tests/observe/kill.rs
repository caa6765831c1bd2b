//! What outlives the agent: what it has learned, and what it has borrowed.

use flyball_proto::steering::CacheState;

use crate::collector::{Agent, Collector, eventually, in_force};
use crate::load::Load;
use crate::{MB, SETTING, server, settings};

#[tokio::test(flavor = "multi_thread")]
async fn what_was_learned_is_there_again_after_kill_9() {
    let (server, mut collector) = (server(), Collector::start());
    let load = Load::start(&server);
    load.warm().await;
    let mut agent = Agent::of(&collector, &settings(&server, "events", ""));
    agent.start();
    let report = collector
        .report("a curve of a window", |report| {
            report.curve.as_ref().is_some_and(|curve| curve.method.contains("clocks of evicted"))
        })
        .await;
    let curve = report.curve.unwrap();
    agent.kill();
    agent.start();
    collector.hello().await;
    let report = collector.report("its state", |report| report.state == CacheState::Up).await;
    let again = report.curve.expect("it is there at once");
    assert!(again.measured_at_ms >= curve.measured_at_ms && again.reach_bytes > 3 * MB);
    assert!(report.misses.is_some());
    // It is of a server with these settings: with others it means nothing.
    agent.stop();
    let mut client = server.connect();
    crate::harness::run(&mut client, &["CONFIG", "SET", "maxmemory-policy", "allkeys-random"]);
    agent.start();
    collector.hello().await;
    let report = collector.report("its state", |report| report.state == CacheState::Up).await;
    assert!(report.curve.is_none() && report.misses.is_none(), "{report:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_setting_that_was_borrowed_is_given_back_after_kill_9() {
    let (server, collector) = (server(), Collector::start());
    crate::harness::run(&mut server.connect(), &["CONFIG", "SET", SETTING, "Kx"]);
    let before = in_force(&server, SETTING);
    let _load = Load::start(&server);
    let mut agent = Agent::of(&collector, &settings(&server, "events", ""));
    // Once by the next agent, and once by one that is not to observe any more.
    for observe in ["ages", "off"] {
        agent.set(&settings(&server, "events", ""));
        agent.start();
        eventually("a window", || in_force(&server, SETTING).contains('m')).await;
        agent.kill();
        assert!(in_force(&server, SETTING).contains('m'), "nobody is there to give it back");
        agent.set(&settings(&server, observe, ""));
        agent.start();
        eventually("what was before", || in_force(&server, SETTING) == before).await;
        agent.stop();
    }
    // What somebody else has set meanwhile is left.
    agent.set(&settings(&server, "events", ""));
    agent.start();
    eventually("a window", || in_force(&server, SETTING).contains('m')).await;
    agent.kill();
    crate::harness::run(&mut server.connect(), &["CONFIG", "SET", SETTING, "AKE"]);
    agent.set(&settings(&server, "ages", ""));
    agent.start();
    let file = agent.dir.path().join("data/cache/sessions.events");
    eventually("the file to be gone", || !file.exists()).await;
    assert_eq!(in_force(&server, SETTING), "AKE");
}
