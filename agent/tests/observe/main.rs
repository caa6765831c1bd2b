//! Observing real Redis servers by the real agent: what is reported, what is refused, and that what was borrowed is given back, whatever is killed.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

#[path = "../steer/collector.rs"]
#[allow(dead_code, reason = "shared with the tests of steering")]
mod collector;
#[path = "../caches/harness.rs"]
#[allow(dead_code, reason = "shared with the tests of the sampler")]
mod harness;
mod kill;
mod load;
mod rights;

use std::time::Duration;

use flyball_proto::steering::{CacheReport, CacheState, KeyFindingKind};

use collector::{Agent, Collector, canary, in_force};
use harness::Server;
use load::Load;

/// The setting that is borrowed.
const SETTING: &str = "notify-keyspace-events";
const MB: u64 = 1024 * 1024;
/// Reads of which a hit ratio is told to half a point, however long they take.
const READS: u64 = 10_000;

/// Windows of some seconds, as often as they come, whatever they cost.
const BUSY: &str = "[observe]\nreport = '1s'\nmax_cpu_share = 0.5\nmost_draws = 400\n\
    shortest_window = '4s'\nlongest_window = '8s'\nlongest_rest = '1m'\n";

/// Settings of an agent for `server` as `sessions`, with further lines of the table.
fn settings(server: &Server, observe: &str, more: &str) -> String {
    format!(
        "{BUSY}\n[[redis]]\nname = 'sessions'\nurl = 'redis://127.0.0.1:{}'\nobserve = '{observe}'\n{more}\n",
        server.port
    )
}

/// A server that is full soon.
fn server() -> Server {
    let limit = (3 * MB).to_string();
    Server::start(&["--maxmemory", &limit, "--maxmemory-policy", "allkeys-lru"])
}

fn lacks(report: &CacheReport, part: &str, why: &str) -> bool {
    report.missing.iter().any(|line| line.starts_with(part) && line.contains(why))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cache_is_reported_with_a_curve_that_rises_through_the_present() {
    let (server, mut collector) = (server(), Collector::start());
    let load = Load::start(&server);
    load.warm().await;
    let mut agent = Agent::of(&collector, &settings(&server, "events", ""));
    agent.start();
    let first = collector.report("its state", |report| report.state == CacheState::Up).await;
    assert_eq!((first.role.as_str(), first.version.is_empty()), ("primary", false));
    assert_eq!(first.settings["maxmemory"], (3 * MB).to_string());
    assert_eq!(first.settings["maxmemory-samples"], "5");
    let facts = first.facts.unwrap();
    assert!(facts.max_bytes == 3 * MB && facts.used_bytes > 0, "{facts:?}");
    assert!(facts.host_memory_bytes > facts.host_available_bytes, "{facts:?}");
    assert!(lacks(&first, "curve", "") && lacks(&first, "policies", "monitor"), "{first:?}");
    let report = collector
        .report("a curve beyond the present size", |report| {
            report.curve.as_ref().is_some_and(|curve| curve.method.contains("clocks of evicted"))
        })
        .await;
    let curve = report.curve.unwrap();
    assert!(curve.points.windows(2).all(|w| w[0].hit_ratio <= w[1].hit_ratio), "{curve:?}");
    let here = curve.points.iter().find(|point| point.bytes == 3 * MB).unwrap();
    let is = load.hit_ratio();
    assert!((here.hit_ratio - is).abs() < 0.03, "{} is {is}", here.hit_ratio);
    let most = curve.points.last().unwrap();
    assert!(most.hit_ratio > here.hit_ratio + 0.005, "{curve:?}");
    assert_eq!(curve.reach_bytes, most.bytes);
    let facts = report.facts.unwrap();
    assert!(facts.evictions_per_second.is_some() && facts.rss_bytes.is_some(), "{facts:?}");
    // What the agent looks up itself is not among the hits: the load has but a few thousand a second.
    let ratio = facts.hit_ratio().unwrap();
    assert!((ratio - is).abs() < 0.05, "{ratio} {is}");
    let misses = report.misses.unwrap();
    assert!(misses.capacity > 0.02 && misses.sampled > 50, "{misses:?}");
    let evicted = misses.capacity + misses.cold;
    assert!(evicted > 0.95, "nothing expires here: {misses:?}");
    agent.stop();
    assert_eq!(in_force(&server, SETTING), "", "the setting is given back at the end");
}

#[tokio::test(flavor = "multi_thread")]
async fn ages_touch_no_setting() {
    let (server, mut collector) = (server(), Collector::start());
    let load = Load::start(&server);
    load.warm().await;
    let mut agent = Agent::of(&collector, &settings(&server, "ages", ""));
    agent.start();
    let report = collector
        .report("a curve", |report| {
            report.curve.as_ref().is_some_and(|curve| curve.method.contains("ages of"))
        })
        .await;
    assert!(lacks(&report, "misses", "observe = \"ages\""), "{:?}", report.missing);
    let curve = report.curve.unwrap();
    assert_eq!(curve.reach_bytes, 3 * MB, "of larger sizes nothing is known");
    assert_eq!(in_force(&server, SETTING), "");
    let stats = load::info(&server, "commandstats");
    assert!(!stats.contains("config|set") && !stats.contains("subscribe"), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn where_requests_may_be_read_other_policies_are_estimated_and_hot_keys_found() {
    let limit = (6 * MB).to_string();
    // Counts of use that do not fade need no minutes to settle.
    let options = ["--maxmemory", &limit, "--maxmemory-policy", "allkeys-lru"];
    let server = Server::start(&[&options[..], &["--lfu-decay-time", "0"]].concat());
    let (load, mut collector) = (Load::large(&server), Collector::start());
    load.warm().await;
    let settings = settings(&server, "ages", "monitor = 'always'");
    let mut agent = Agent::of(&collector, &settings.replace("'8s'", "'5m'"));
    agent.start();
    let report = collector
        .report("other policies", |report| !report.policies.is_empty() && !report.keys.is_empty())
        .await;
    let names: Vec<_> = report.policies.iter().map(|estimate| &*estimate.policy).collect();
    assert_eq!(names, ["allkeys-lfu", "allkeys-random"]);
    for estimate in &report.policies {
        assert!(estimate.delta_low < estimate.delta_high, "{estimate:?}");
        assert!((estimate.hit_ratio - load.hit_ratio()).abs() < 0.2, "{estimate:?}");
    }
    // By the law of the load the first key gets a sixteenth of all requests.
    let hot = &report.keys[0];
    assert!(hot.kind == KeyFindingKind::Hot && hot.key_hash.len() == 16, "{hot:?}");
    assert!((0.03..0.12).contains(&hot.share_of_requests), "{hot:?}");
    assert!(!load::info(&server, "commandstats").contains("notify"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_is_not_read_where_that_is_guarded() {
    let (server, mut collector) = (server(), Collector::start());
    let load = Load::start(&server);
    load.warm().await;
    let mut agent = Agent::of(&collector, &settings(&server, "ages", "monitor = 'guarded'"));
    agent.start();
    let report =
        collector.report("why not", |report| lacks(report, "hot keys", "nearly full")).await;
    assert!(report.policies.is_empty() && lacks(&report, "policies", "guarded"), "{report:?}");
    let stats = load::info(&server, "commandstats");
    assert!(!stats.contains("cmdstat_monitor"), "{stats}");
}

#[tokio::test(flavor = "multi_thread")]
async fn how_keys_expire_and_which_are_large_is_found() {
    let (server, mut collector) = (Server::start(&["--maxmemory", "100mb"]), Collector::start());
    let mut client = server.connect();
    for i in 0..400 {
        let key = format!("session:{i}");
        harness::run(&mut client, &["SET", &key, "v", "EX", "1000"]);
        harness::run(&mut client, &["SET", &format!("other:{i}"), "v"]);
    }
    harness::run(&mut client, &["SET", "large", &"x".repeat(2 << 20)]);
    // What may be spent is a share of what the server does.
    let _load = Load::pings(&server);
    let mut agent = Agent::of(&collector, &settings(&server, "ages", ""));
    agent.start();
    let report = collector
        .report("findings", |report| {
            report.ttl.is_some() && report.keys.iter().any(|key| key.kind == KeyFindingKind::Big)
        })
        .await;
    let ttl = report.ttl.unwrap();
    assert!((ttl.keys_without_ttl - 0.5).abs() < 0.01, "{ttl:?}");
    assert!(ttl.volatile_bytes < 0.5, "the large one does not expire: {ttl:?}");
    let big = &report.keys[0];
    assert_eq!((&*big.data_type, big.bytes >= 2 << 20), ("string", true));
    assert!(big.key_hash.bytes().all(|byte| byte.is_ascii_hexdigit()), "{big:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_disappears_is_told_of_and_found_again() {
    let (mut server, mut collector) = (server(), Collector::start());
    let mut agent = Agent::of(&collector, &settings(&server, "events", ""));
    agent.start();
    collector.report("its state", |report| report.state == CacheState::Up).await;
    server.kill();
    let away = collector.report("that it is gone", |r| r.state == CacheState::Unreachable).await;
    assert!(!away.reason.is_empty() && away.facts.is_none() && away.curve.is_none(), "{away:?}");
    server.restart();
    collector.report("that it is back", |report| report.state == CacheState::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_growth_is_on_trial_it_is_told_what_the_old_size_would_do_now() {
    let (server, mut collector) = (server(), Collector::start());
    let load = Load::start(&server);
    load.warm().await;
    let mut agent = Agent::of(&collector, &settings(&server, "ages", "steer = true"));
    agent.start();
    collector
        .report("its curve", |report| report.state == CacheState::Up && report.curve.is_some())
        .await;
    let before = load.next_hit_ratio(READS).await;
    let (old, new) = ((3 * MB).to_string(), (6 * MB).to_string());
    let mut policy = canary(1, &[("maxmemory", &new)], &[("maxmemory", &old)]);
    policy.targets[0].canary.as_mut().unwrap().lease = Duration::from_hours(1);
    collector.want(policy);
    let waits = collector.report("that it waits", |report| lacks(report, "now", "")).await;
    assert!(waits.now.is_none());
    let report = collector.report("the old size now", |report| report.now.is_some()).await;
    let now = report.now.unwrap();
    assert_eq!((now.metric.as_str(), &now.settings["maxmemory"]), ("redis.hit_ratio", &old));
    assert!(now.low <= now.value && now.value <= now.high);
    assert!((now.value - before).abs() < 0.05, "{now:?}, was {before}");
    let grown = load.next_hit_ratio(READS).await;
    assert!(grown > before + 0.02, "it has grown: {grown} {before}");
}
