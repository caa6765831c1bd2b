use std::future::Future;

use flyball_proto::frame::Slot;
use flyball_proto::series::{Kind, Scale};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn info(node: &str) -> NodeInfo {
    let host = HostStatus { cpus: Some(2), ..HostStatus::default() };
    NodeInfo { node: name(node), agent_version: "1.2.3".into(), interval: SECOND, host }
}

fn series(metric: &str, scale: Scale, attributes: &[(&str, &str)]) -> Arc<Series> {
    let attributes = attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    Arc::new(Series {
        metric: metric.into(),
        unit: "1".into(),
        kind: Kind::Gauge,
        scale,
        attributes,
    })
}

fn network(interface: &str, direction: &str) -> Arc<Series> {
    let attributes = [("network.interface.name", interface), ("network.io.direction", direction)];
    series("system.network.io", Scale::UNIT, &attributes)
}

fn disk(device: &str, direction: &str) -> Arc<Series> {
    let attributes = [("disk.io.direction", direction), ("system.device", device)];
    series("system.disk.io", Scale::UNIT, &attributes)
}

fn sample(slot: u32, raw: i64) -> Sample {
    Sample { slot: Slot(slot), raw, reset: false }
}

fn only(live: &Live) -> Arc<NodeStatus> {
    Arc::clone(&live.status(&[]).nodes[0])
}

/// A feed of `web-1` whose slots are `series` in order.
fn feed(live: &Live, series: impl IntoIterator<Item = Arc<Series>>) -> NodeFeed {
    let feed = live.connect(&info("web-1")).unwrap();
    for (slot, series) in series.into_iter().enumerate() {
        feed.define([(slot as u32, None, &series)].into_iter());
    }
    feed
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SECOND * 10, future).await.expect("within ten seconds")
}

fn assert_close(actual: Option<f64>, expected: f64) {
    let actual = actual.expect("a value");
    assert!((actual - expected).abs() < 1e-9, "{actual} is not {expected}");
}

#[test]
fn shares_and_load_come_from_their_series_and_the_rest_stays_unknown() {
    let live = Live::new(10);
    let share = |mode| series("system.cpu.utilization", Scale::decimal(4), &[("cpu.mode", mode)]);
    let used = [("system.memory.state", "used")];
    let feed = feed(
        &live,
        [
            share("idle"),
            share("iowait"),
            share("user"),
            series("system.memory.utilization", Scale::decimal(4), &used),
            series("system.cpu.load_average.1m", Scale::decimal(2), &[]),
        ],
    );
    assert!(!only(&live).up, "no frame yet");
    feed.update(
        1_000,
        &[sample(0, 7_000), sample(1, 500), sample(2, 2_500), sample(3, 4_200), sample(4, 125)],
    );
    let status = only(&live);
    assert!(status.up);
    assert_eq!(status.last_seen_ms, Some(1_000));
    assert_close(status.cpu_utilization, 0.25);
    assert_close(status.memory_utilization, 0.42);
    assert_close(status.load_1m, 1.25);
    assert_eq!(status.network_receive_bytes_per_second, None);
    assert_eq!((status.series, status.samples_per_second), (5, 5.0));
    assert_eq!(status.host.as_ref().unwrap().cpus, Some(2));
}

#[test]
fn rates_add_up_over_devices_without_counting_a_byte_twice() {
    let live = Live::new(10);
    let feed = feed(
        &live,
        [
            network("eth0", "receive"),
            network("eth1", "receive"),
            network("lo", "receive"),
            disk("sda", "write"),
            disk("sda1", "write"),
            disk("dm-0", "write"),
        ],
    );
    let frame = |n: i64| (0..6).map(|slot| sample(slot, n * 100)).collect::<Vec<_>>();
    feed.update(1_000, &frame(1));
    assert_eq!(only(&live).network_receive_bytes_per_second, None, "one value is no rate");
    feed.update(3_000, &frame(2));
    assert_close(only(&live).network_receive_bytes_per_second, 100.0);
    assert_close(only(&live).disk_write_bytes_per_second, 50.0);
    assert_eq!(only(&live).disk_read_bytes_per_second, None);
}

#[test]
fn a_reset_or_a_counter_that_fell_gives_no_rate() {
    let live = Live::new(10);
    let feed = feed(&live, [network("eth0", "receive")]);
    feed.update(1_000, &[sample(0, 1_000)]);
    feed.update(2_000, &[Sample { slot: Slot(0), raw: 5_000, reset: true }]);
    assert_eq!(only(&live).network_receive_bytes_per_second, None);
    feed.update(3_000, &[sample(0, 4_000)]);
    assert_eq!(only(&live).network_receive_bytes_per_second, None);
    feed.update(4_000, &[sample(0, 4_100)]);
    assert_close(only(&live).network_receive_bytes_per_second, 100.0);
}

#[test]
fn a_value_that_is_no_longer_reported_becomes_unknown() {
    let live = Live::new(10);
    let feed = feed(
        &live,
        [
            series("system.cpu.load_average.1m", Scale::UNIT, &[]),
            series("system.uptime", Scale::UNIT, &[]),
        ],
    );
    feed.update(1_000, &[sample(0, 3), sample(1, 1)]);
    feed.update(61_000, &[sample(1, 61)]);
    assert_close(only(&live).load_1m, 3.0);
    feed.update(62_000, &[sample(1, 62)]);
    assert_eq!(only(&live).load_1m, None);
}

#[test]
fn a_clock_that_is_set_back_does_not_stop_the_values() {
    let live = Live::new(10);
    let feed = feed(&live, [network("eth0", "receive")]);
    for (ts_ms, raw) in [(9_000, 0), (10_000, 100), (5_000, 200)] {
        feed.update(ts_ms, &[sample(0, raw)]);
    }
    assert_eq!(only(&live).last_seen_ms, Some(5_000));
    assert_eq!(only(&live).network_receive_bytes_per_second, None, "no time has passed");
    feed.update(6_000, &[sample(0, 300)]);
    assert_close(only(&live).network_receive_bytes_per_second, 100.0);
    assert_close(Some(only(&live).samples_per_second), 1.0);
}

#[test]
fn a_tick_may_come_in_several_frames() {
    let live = Live::new(10);
    let feed = feed(&live, [network("eth0", "receive"), network("eth0", "transmit")]);
    for (ts_ms, raw) in [(1_000, 0), (2_000, 100), (3_000, 200)] {
        feed.update(ts_ms, &[sample(0, raw)]);
        feed.update(ts_ms, &[sample(1, raw * 2)]);
    }
    assert_close(only(&live).network_receive_bytes_per_second, 100.0);
    assert_close(only(&live).network_transmit_bytes_per_second, 200.0);
    assert_close(Some(only(&live).samples_per_second), 2.0);
}

#[test]
fn a_node_is_down_when_its_stream_ends_or_falls_silent() {
    let live = Live::new(10);
    let first = feed(&live, [series("system.uptime", Scale::UNIT, &[])]);
    first.update(1_000, &[sample(0, 1)]);
    live.sweep(Instant::now() + SECOND * 4);
    assert!(only(&live).up);
    live.sweep(Instant::now() + SECOND * 6);
    assert!(!only(&live).up, "silent for six intervals");
    first.update(2_000, &[sample(0, 2)]);
    assert!(only(&live).up);

    let second = feed(&live, []);
    drop(first);
    assert!(only(&live).up, "an older stream that ends does not matter");
    drop(second);
    assert_eq!((only(&live).up, only(&live).samples_per_second), (false, 0.0));
    assert_eq!(only(&live).last_seen_ms, Some(2_000));
}

#[test]
fn a_full_fleet_lets_go_of_nodes_that_are_not_connected() {
    let live = Live::new(2);
    live.seed([(name("old"), Some(1)), (name("older"), Some(0)), (name("new"), Some(2))]);
    let names =
        |live: &Live| live.status(&[]).nodes.iter().map(|n| n.node.clone()).collect::<Vec<_>>();
    assert_eq!(names(&live), ["new", "old"]);
    let _a = live.connect(&info("a")).unwrap();
    let _b = live.connect(&info("b")).unwrap();
    assert_eq!(names(&live), ["a", "b"]);
    assert_eq!(live.connect(&info("c")).unwrap_err(), FleetFull { max_nodes: 2 });
}

#[tokio::test]
async fn the_first_event_holds_all_nodes_and_later_ones_those_that_changed() {
    let live = Live::new(10);
    let stop = CancellationToken::new();
    live.seed([(name("quiet"), Some(7))]);
    let mut events = live.subscribe(EventFilter::default(), None);
    let EventBody::Status(first) = soon(events.next()).await.unwrap().body else {
        panic!("not a status")
    };
    assert_eq!((first.nodes.len(), first.totals.nodes_up), (1, 0));

    let feed = feed(&live, [series("system.uptime", Scale::UNIT, &[])]);
    feed.update(1_000, &[sample(0, 1)]);
    let teller = tokio::spawn({
        let (live, stop) = (live.clone(), stop.clone());
        async move { live.run(stop).await }
    });
    let event = soon(events.next()).await.unwrap();
    let json = serde_json::to_value(&event.body).unwrap();
    assert_eq!(json["type"], "status");
    assert_eq!(json["nodes"][0]["node"], "web-1");
    assert_eq!(json["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(json["totals"]["nodes"], 2);

    stop.cancel();
    assert!(soon(events.next()).await.is_none());
    soon(teller).await.unwrap();
}

#[tokio::test]
async fn samples_of_the_wanted_node_and_metrics_only() {
    let live = Live::new(10);
    let filter = EventFilter {
        node: Some(name("web-1")),
        metrics: vec![MetricPattern::parse("system.cpu.*")],
    };
    let mut events = live.subscribe(filter, None);
    soon(events.next()).await.unwrap();
    let other = live.connect(&info("web-2")).unwrap();
    other.define([(0, None, &series("system.cpu.load_average.1m", Scale::UNIT, &[]))].into_iter());
    other.update(1_000, &[sample(0, 9)]);
    let feed = feed(
        &live,
        [
            series("system.cpu.time", Scale::decimal(2), &[("cpu.mode", "user")]),
            series("system.uptime", Scale::UNIT, &[]),
        ],
    );
    feed.update(1_000, &[sample(0, 125), sample(1, 1)]);
    let event = soon(events.next()).await.unwrap();
    let expected = serde_json::json!({
        "type": "samples", "node": "web-1", "ts_ms": 1_000,
        "samples": [{"metric": "system.cpu.time", "attributes": {"cpu.mode": "user"}, "value": 1.25}],
    });
    assert_eq!(serde_json::to_value(&event.body).unwrap(), expected);
}

#[tokio::test]
async fn a_reader_comes_back_to_where_it_was_or_is_told_that_it_missed_something() {
    let live = Live::new(10);
    let filter = EventFilter { node: Some(name("web-1")), metrics: Vec::new() };
    let feed = feed(&live, [series("system.uptime", Scale::UNIT, &[])]);
    let mut events = live.subscribe(filter.clone(), None);
    soon(events.next()).await.unwrap();
    feed.update(1, &[sample(0, 1)]);
    let seen = soon(events.next()).await.unwrap().id;
    drop(events);

    feed.update(2, &[sample(0, 2)]);
    let mut events = live.subscribe(filter.clone(), Some(seen));
    let next = soon(events.next()).await.unwrap();
    assert!(matches!(&next.body, EventBody::Samples(s) if s.ts_ms() == 2), "{next:?}");

    for ts_ms in 3..3_000 {
        feed.update(ts_ms, &[sample(0, ts_ms)]);
    }
    assert!(matches!(soon(events.next()).await.unwrap().body, EventBody::Resync));
    assert!(matches!(soon(events.next()).await.unwrap().body, EventBody::Status(_)));
    let mut from_another_life = live.subscribe(filter, Some(u64::MAX));
    assert!(matches!(soon(from_another_life.next()).await.unwrap().body, EventBody::Resync));
}

#[test]
fn a_node_that_is_heard_of_elsewhere_is_up_until_it_falls_silent_there_too() {
    let live = Live::new(10);
    let name = name("far");
    live.seed([(name.clone(), Some(1_000))]);
    let patience = Duration::from_secs(30);
    let up = || live.status(std::slice::from_ref(&name)).nodes[0].up;
    live.heard(&name, 1_000, patience);
    assert!(!up(), "nothing new");
    live.heard(&name, 2_000, patience);
    assert!(up());
    assert_eq!(live.absent(), std::slice::from_ref(&name));
    live.sweep(Instant::now() + Duration::from_secs(29));
    assert!(up());
    live.sweep(Instant::now() + Duration::from_secs(31));
    assert!(!up());
}

#[test]
fn a_stream_that_is_silent_or_older_than_what_others_have_answers_nothing_from_memory() {
    let live = Live::new(10);
    let node = name("web-1");
    let series = series("system.uptime", Scale::UNIT, &[]);
    let feed = live.connect(&info("web-1")).unwrap();
    feed.define([(0, Some(SeriesId::from(7)), &series)].into_iter());
    let answers = |from_ms: i64| live.recent("web-1", &[7], (from_ms, i64::MAX)).is_some();
    for second in 1..=4 {
        feed.update(second * 1_000, &[sample(0, 1)]);
    }
    assert!(answers(1_000) && !answers(0));
    live.sweep(Instant::now() + SECOND * 6);
    assert!(!answers(1_000), "its other end may feed somebody else by now");
    feed.update(5_000, &[sample(0, 1)]);
    assert!(answers(1_000), "it does not");
    let patience = SECOND * 30;
    live.heard(&node, 4_000, patience);
    assert!(answers(1_000), "of what came here too");
    live.heard(&node, 6_000, patience);
    assert!(!answers(6_000) && answers(6_001), "somebody else has a sample");
    let told = |ts_ms| NodeStatus {
        node: "web-1".into(),
        last_seen_ms: Some(ts_ms),
        ..NodeStatus::default()
    };
    live.told(told(5_000), patience);
    assert!(answers(6_001));
    live.told(told(7_000), patience);
    assert!(!answers(7_000) && answers(7_001));
}
