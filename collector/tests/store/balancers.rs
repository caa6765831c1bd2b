//! What agents report of load balancers is in `balancer_stats` once, also when it comes twice or the table was away.

use std::sync::Arc;
use std::time::Instant;

use flyball_collector::balancers::recall;
use flyball_collector::balancers::recorder::{RecorderMetrics, record};
use flyball_collector::balancers::settings::{BalanceSettings, Objective};
use flyball_collector::balancers::watch::{NoLoads, PoolWatch};
use flyball_collector::steer::watch::{Balancer, Balancers};
use flyball_collector::store::{BalancerRow, Store};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    BackendGroup, BackendServer, BalancerReport, BalancerState, Target, WeightMeaning,
};
use tokio_util::sync::CancellationToken;

use crate::{Opened, today_ms, until};

fn node() -> NodeName {
    NodeName::new("lb-1").unwrap()
}

/// A report of two servers, of which the second one has no latency: it got no requests.
fn report(at_ms: i64, requests: u64) -> BalancerReport {
    let mut report = BalancerReport::new(Target::new("haproxy", "edge"), BalancerState::Up, at_ms);
    report.window_ms = 1_000;
    let mut first = BackendServer::new("a", "10.0.0.1:80", 7);
    // The limit is lifted later on.
    first.limit = (requests != 50).then_some(40);
    (first.requests, first.errors, first.latency_ms) = (requests, 1, Some(20.0));
    report.groups.push(BackendGroup {
        name: "web".into(),
        limit: None,
        algorithm: "roundrobin".into(),
        weights: WeightMeaning::Exact,
        weights_note: String::new(),
        queue: 0,
        latency: None,
        backends: vec![first, BackendServer::new("b", "10.0.0.2:80", 3)],
    });
    report
}

async fn count(store: &Store) -> u64 {
    let sql = "SELECT count() FROM balancer_stats";
    store.client().query(sql).fetch_one().await.unwrap_or(0)
}

async fn rename(store: &Store, from: &str, to: &str) {
    let sql = format!("RENAME TABLE {from} TO {to}");
    store.client().query_raw(&sql).execute().await.unwrap();
}

#[tokio::test]
async fn rows_that_come_twice_count_once_and_windows_sum_up() {
    let opened = Opened::new().await;
    let (store, at_ms) = (opened.store(), today_ms());
    let rows: Vec<BalancerRow> = [(0, 100), (1_000, 300), (10_000, 50)]
        .iter()
        .flat_map(|(after, requests)| BalancerRow::of(&node(), &report(at_ms + after, *requests)))
        .collect();
    store.insert_balancer_stats(&rows, "one").await.unwrap();
    store.insert_balancer_stats(&rows, "another").await.unwrap();
    assert_eq!(count(store).await, 6);
    let range = (at_ms, at_ms + 60_000);
    let windows = store.balancer_windows("web", range, 10_000).await.unwrap();
    assert_eq!(windows.len(), 4);
    let first = &windows[0];
    assert_eq!((&*first.node, &*first.backend, first.window_ms), ("lb-1", "a", at_ms));
    assert_eq!((first.reports, first.covered_ms, first.requests, first.errors), (2, 2_000, 400, 2));
    assert_eq!((first.latency_sum_ms, first.latency_requests), (8_000.0, 400));
    assert_eq!((first.weight, &*first.state, first.utilization), (7, "ready", None));
    assert_eq!((first.limit, &*first.utilization_source), (Some(40), ""));
    assert_eq!((windows[2].requests, windows[2].limit), (50, None), "{:?}", windows[2]);
    let second = &windows[1];
    assert_eq!((&*second.backend, second.latency_sum_ms, second.latency_requests), ("b", 0.0, 0));
    assert!(store.balancer_windows("mail", range, 10_000).await.unwrap().is_empty());
    let weights = store.last_weights("web", at_ms).await.unwrap();
    let of = |i: usize| (&*weights[i].backend, weights[i].weight, weights[i].ts_ms - at_ms);
    assert_eq!((weights.len(), of(0), of(1)), (2, ("a", 7, 10_000), ("b", 3, 10_000)));
    opened.close().await;
}

#[tokio::test]
async fn reports_wait_while_the_table_is_away_and_the_oldest_are_counted_when_there_is_no_room() {
    let opened = Opened::new().await;
    let (store, at_ms) = (opened.store().clone(), today_ms());
    rename(&store, "balancer_stats", "away").await;
    let (balancers, metrics) = (Balancers::new(10), RecorderMetrics::default());
    let ending = CancellationToken::new();
    let news = balancers.news();
    let task = tokio::spawn(record(store.clone(), news, metrics.clone(), ending.clone(), 6));
    balancers.set(&node(), report(at_ms, 1));
    until("the first block was tried", async || metrics.failures() > 0).await;
    for after in 1..=5 {
        balancers.set(&node(), report(at_ms + after, 1));
    }
    until("the oldest made room", async || metrics.full() == 4).await;
    rename(&store, "away", "balancer_stats").await;
    // The block that was on its way, and the six rows for which there was room.
    until("all that waited is there", async || count(&store).await == 8).await;
    let times = "SELECT groupUniqArray(toUnixTimestamp64Milli(ts)) FROM balancer_stats";
    let mut times: Vec<i64> = store.client().query(times).fetch_one().await.unwrap();
    times.sort_unstable();
    assert_eq!(times, [0, 3, 4, 5].map(|after| at_ms + after));
    balancers.set(&node(), report(at_ms + 9, 1));
    until("it goes on", async || count(&store).await == 10).await;
    ending.cancel();
    task.await.unwrap();
    opened.close().await;
}

/// A collector that knows one window of its own, which began at `start_ms`.
fn started(start_ms: i64) -> PoolWatch {
    let pools = PoolWatch::new(&BalanceSettings::default(), Objective::default());
    let (report, received) = (Arc::new(report(start_ms, 100)), Instant::now());
    let whole = Some(Arc::clone(&report));
    pools.take(&[Balancer { node: node(), report, whole, received }]);
    pools.close(&NoLoads, start_ms, received);
    pools
}

#[tokio::test]
async fn windows_of_the_judge_are_read_back_after_a_start() {
    let opened = Opened::new().await;
    let (store, at_ms) = (opened.store(), today_ms());
    // Two whole windows, and between them one of which nearly nothing was reported.
    let rows: Vec<BalancerRow> = [0, 1, 2, 3, 4, 6, 10, 11, 12, 13, 14]
        .iter()
        .flat_map(|second| BalancerRow::of(&node(), &report(at_ms + second * 1_000, 100)))
        .collect();
    store.insert_balancer_stats(&rows, "past").await.unwrap();
    let pools = started(at_ms + 20_000);
    let (id, parameter) = ("haproxy:lb-1:edge", "weight:web/a");
    let estimate = pools.pool_of(id, parameter).unwrap();
    assert_eq!(pools.member_past(id, parameter, 0).len(), 1);
    for _ in 0..2 {
        recall::read(&pools, store, &estimate).await.unwrap();
        let own = pools.member_past(id, parameter, 0);
        let starts: Vec<i64> = own.iter().map(|window| window.start_ms - at_ms).collect();
        assert_eq!(starts, [0, 10_000, 20_000], "each once");
        let first = &own[0];
        assert_eq!((first.requests, first.errors, first.latency_ms), (500, 5, Some(20.0)));
        assert_eq!(first.weights, [("a".to_owned(), 7), ("b".to_owned(), 3)].into());
        assert!(first.queues.is_empty());
        let pool = pools.pool_past(&estimate, at_ms + 1);
        assert_eq!(pool.len(), 2);
        assert!((pool[0].requests_per_second - 100.0).abs() < 1e-9, "{:?}", pool[0]);
        assert!((pool[0].shares["10.0.0.1:80"] - 1.0).abs() < 1e-9);
    }
    opened.close().await;
}
