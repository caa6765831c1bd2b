//! Steering of real Redis servers by the real agent: what comes into force, what is refused, and that what was before comes back, whatever is killed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

#[allow(dead_code, reason = "shared with the tests of the observer")]
mod collector;
#[path = "../caches/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the sampler")]
mod harness;
mod kill;
mod promises;
mod refusals;

use std::time::Instant;

use flyball_proto::steering::{PolicyResult, Revision};

use collector::{Agent, Collector, LEASE, canary, eventually, in_force, permanent, settings};
use harness::{Server, run};

const MB: u64 = 1024 * 1024;
const LIMIT: &str = "maxmemory";

/// A server with this limit, in megabytes, under LRU.
fn server(limit_mb: u64) -> Server {
    let limit = (limit_mb * MB).to_string();
    Server::start(&["--maxmemory", &limit, "--maxmemory-policy", "allkeys-lru"])
}

fn mb(count: u64) -> String {
    (count * MB).to_string()
}

/// Fills a server to its limit.
fn fill(server: &Server) {
    let mut connection = server.connect();
    let script = "for i = 1, 1000 do redis.call('SET', ARGV[1] .. i, string.rep('x', 1000)) end";
    for part in 0..40 {
        run(&mut connection, &["EVAL", script, "0", &format!("{part}:")]);
    }
}

/// A number that INFO says.
fn info(server: &Server, name: &str) -> u64 {
    let reply = run(&mut server.connect(), &["INFO", "everything"]);
    let text = String::from_utf8_lossy(reply.text().unwrap()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|value| value.parse().ok()).unwrap_or(0)
}

/// Calls of CONFIG SET so far.
fn sets(server: &Server) -> u64 {
    let reply = run(&mut server.connect(), &["INFO", "commandstats"]);
    let text = String::from_utf8_lossy(reply.text().unwrap()).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_config|set:calls="));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_comes_into_force_is_promoted_and_stays() {
    let (server, mut collector) = (server(64), Collector::start());
    let mut agent = Agent::started(&collector, &server, "");
    let hello = collector.hello().await;
    let capability = &hello.capabilities[0];
    assert_eq!((hello.node.as_str(), hello.revision), ("web-1", Revision(0)));
    assert_eq!(capability.parameters.len(), 6);
    assert!(!capability.may_persist);
    let wanted = [(LIMIT, &*mb(100)), ("maxmemory-policy", "allkeys-lfu")];
    collector.want(canary(1, &wanted, &[(LIMIT, &mb(64)), ("maxmemory-policy", "allkeys-lru")]));
    collector.outcome(1, PolicyResult::Applying).await;
    let applied = collector.outcome(1, PolicyResult::Applied).await;
    assert_eq!((applied.in_force[LIMIT].as_str(), applied.rollout_id.as_str()), (&*mb(100), "r-1"));
    assert_eq!(applied.in_force["maxmemory-policy"], "allkeys-lfu");
    assert_eq!(in_force(&server, LIMIT), mb(100));
    collector.want(permanent(2, &wanted));
    collector.outcome(2, PolicyResult::Applied).await;
    // Without a collector, and over a restart, it stays.
    let address = collector.end().await;
    agent.kill();
    agent.start();
    let began = Instant::now();
    eventually("the time of two leases", || began.elapsed() > LEASE * 2).await;
    assert_eq!(in_force(&server, LIMIT), mb(100));
    let mut collector = Collector::at(address);
    assert_eq!(collector.hello().await.revision, Revision(2));
    let told = collector.any_outcome().await;
    assert_eq!((told.revision, told.result), (Revision(2), PolicyResult::Applied));
    assert_eq!(sets(&server), 2, "each value was set once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canary_that_is_not_renewed_is_put_back_with_the_collector_gone() {
    let (server, mut collector) = (server(64), Collector::start());
    let _agent = Agent::started(&collector, &server, "");
    collector.want(canary(1, &[(LIMIT, &mb(128)), ("maxmemory-samples", "10")], &[]));
    collector.outcome(1, PolicyResult::Applied).await;
    // Renewed it lives on.
    let began = Instant::now();
    eventually("the time of three leases", || began.elapsed() > LEASE * 3).await;
    assert_eq!(in_force(&server, LIMIT), mb(128));
    let address = collector.end().await;
    eventually("what was before", || in_force(&server, LIMIT) == mb(64)).await;
    eventually("all of it", || in_force(&server, "maxmemory-samples") == "5").await;
    let mut collector = Collector::at(address);
    let reverted = collector.outcome(1, PolicyResult::Reverted).await;
    assert!(reverted.reason.contains("not renewed within its lease"), "{}", reverted.reason);
    assert_eq!(reverted.in_force[LIMIT], mb(64));
    let done = sets(&server);
    collector.want(canary(1, &[(LIMIT, &mb(128))], &[]));
    collector.want(canary(2, &[(LIMIT, &mb(100))], &[(LIMIT, &mb(64))]));
    collector.outcome(2, PolicyResult::Applied).await;
    assert_eq!(sets(&server), done + 1, "the first is not tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_shrink_of_a_full_server_goes_in_small_steps() {
    let (server, mut collector) = (server(32), Collector::start());
    let _agent = Agent::started(&collector, &server, "");
    fill(&server);
    let (keys, used) = (info(&server, "evicted_keys"), info(&server, "used_memory"));
    assert!(keys > 0 && used > 28 * MB, "{keys} evicted, {used} used");
    collector.want(canary(1, &[(LIMIT, &mb(17))], &[(LIMIT, &mb(32))]));
    collector.outcome(1, PolicyResult::Applied).await;
    let steps = sets(&server);
    assert!((12..=14).contains(&steps), "{steps} steps of a twentieth from 32 to 17");
    assert!(info(&server, "used_memory") < 18 * MB);
    assert_eq!(in_force(&server, LIMIT), mb(17));
    collector.want(permanent(2, &[(LIMIT, &mb(32))]));
    collector.outcome(2, PolicyResult::Applied).await;
    assert_eq!(sets(&server), steps + 1, "room is made at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_else_changes_is_told_with_both_values_and_left() {
    let (mut server, mut collector) = (server(64), Collector::start());
    let _agent = Agent::started(&collector, &server, "");
    collector.want(permanent(1, &[(LIMIT, &mb(100))]));
    collector.outcome(1, PolicyResult::Applied).await;
    run(&mut server.connect(), &["CONFIG", "SET", LIMIT, &mb(77)]);
    let drifted = collector.outcome(1, PolicyResult::Drifted).await;
    assert_eq!(drifted.expected, settings(&[(LIMIT, &mb(100))]));
    assert_eq!(drifted.in_force[LIMIT], mb(77));
    assert_eq!(drifted.reason, "somebody else has changed it");
    assert_eq!(in_force(&server, LIMIT), mb(77));
    // A new decision counts again.
    collector.want(permanent(2, &[(LIMIT, &mb(90))]));
    collector.outcome(2, PolicyResult::Applied).await;
    server.kill();
    server.restart();
    let drifted = collector.outcome(2, PolicyResult::Drifted).await;
    assert!(drifted.reason.contains("started again"), "{}", drifted.reason);
    assert_eq!(in_force(&server, LIMIT), mb(64), "its own configuration");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_canary_only_what_is_still_its_own_is_put_back() {
    let (server, mut collector) = (server(64), Collector::start());
    let _agent = Agent::started(&collector, &server, "");
    collector.want(canary(1, &[(LIMIT, &mb(100)), ("maxmemory-samples", "10")], &[]));
    collector.outcome(1, PolicyResult::Applied).await;
    run(&mut server.connect(), &["CONFIG", "SET", LIMIT, &mb(200)]);
    collector.outcome(1, PolicyResult::Drifted).await;
    let address = collector.end().await;
    eventually("its own", || in_force(&server, "maxmemory-samples") == "5").await;
    let mut collector = Collector::at(address);
    let reverted = collector.outcome(1, PolicyResult::Reverted).await;
    assert_eq!(reverted.expected, settings(&[(LIMIT, &mb(64))]));
    assert_eq!(in_force(&server, LIMIT), mb(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn promoted_settings_are_written_down_where_that_is_allowed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("maxmemory {}\n", mb(64))).unwrap();
    let server = Server::start_with_file(file.path());
    let mut collector = Collector::start();
    let agent = Agent::started(&collector, &server, "[steer]\nallow_rewrite = true");
    assert!(collector.hello().await.capabilities[0].may_persist);
    collector.want(canary(1, &[(LIMIT, &mb(100))], &[(LIMIT, &mb(64))]));
    collector.outcome(1, PolicyResult::Applied).await;
    assert!(!std::fs::read_to_string(file.path()).unwrap().contains(&mb(100)), "not before");
    let mut promoted = permanent(2, &[(LIMIT, &mb(100))]);
    promoted.targets[0].persist = true;
    collector.want(promoted.clone());
    assert_eq!(collector.outcome(2, PolicyResult::Applied).await.reason, "");
    let written = std::fs::read_to_string(file.path()).unwrap();
    assert!(written.contains("maxmemory 100mb") || written.contains(&mb(100)), "{written}");
    drop(agent);

    let strict = Agent::started(&collector, &server, "");
    promoted.revision = Revision(3);
    collector.want(promoted);
    let refused = loop {
        let outcome = collector.any_outcome().await;
        if outcome.revision == Revision(3) {
            break outcome;
        }
    };
    assert_eq!(refused.result, PolicyResult::Rejected);
    assert!(refused.reason.starts_with("persist: "), "{}", refused.reason);
    drop(strict);
}
