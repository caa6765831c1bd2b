//! What a server refuses.

use flyball_proto::steering::CacheState;

use crate::collector::{Agent, Collector};
use crate::harness::run;
use crate::load::{self, Load};
use crate::{lacks, server, settings};

/// A table for a user with these rights.
fn user(server: &crate::harness::Server, rights: &[&str]) -> String {
    let mut words = vec!["ACL", "SETUSER", "agent", "reset", "on", ">secret"];
    words.extend(rights);
    run(&mut server.connect(), &words);
    format!("username = 'agent'\npassword_file = '{}'", server.password("secret").display())
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_refused_says_so_and_asks_seldom() {
    let (server, mut collector) = (server(), Collector::start());
    let table = user(&server, &["~*", "+ping"]);
    let mut agent = Agent::of(&collector, &settings(&server, "events", &table));
    agent.start();
    let report = collector.report("that it is denied", |r| r.state == CacheState::Denied).await;
    assert!(report.reason.contains("NOPERM"), "{}", report.reason);
    // As soon as it may, it does.
    user(&server, &["~*", "&*", "+@all"]);
    collector.report("that it is up", |report| report.state == CacheState::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_asked_is_missing_with_its_reason() {
    let (server, mut collector) = (server(), Collector::start());
    let _load = Load::start(&server);
    let rights = ["~*", "&*", "+info", "+client|setname", "+config|get"];
    let table = user(&server, &rights);
    let mut agent = Agent::of(&collector, &settings(&server, "events", &table));
    agent.start();
    let mut reports = 0;
    let report = collector
        .report("what is refused", |report| {
            reports += 1;
            lacks(report, "curve", "NOPERM") && lacks(report, "misses", "NOPERM") && reports > 5
        })
        .await;
    assert_eq!(report.state, CacheState::Up);
    assert_eq!(report.settings["maxmemory-policy"], "allkeys-lru");
    // One attempt and not one for each report.
    let stats = load::info(&server, "commandstats");
    for command in ["subscribe", "randomkey", "scan"] {
        let line = stats.lines().find(|line| line.starts_with(&format!("cmdstat_{command}:")));
        let rejected = line.and_then(|line| line.split("rejected_calls=").nth(1)).unwrap_or("0");
        let rejected: u64 = rejected.split(',').next().unwrap().trim().parse().unwrap();
        assert!(rejected <= 100, "{command} was refused {rejected} times");
    }
}
