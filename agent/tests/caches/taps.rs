//! The taps of the cache observer on real servers.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use flyball_agent::cache::events::{Events, Lease, What};
use flyball_agent::cache::hash::KeyHasher;
use flyball_agent::cache::monitor::{Burst, End, burst};
use flyball_agent::cache::parse::{Lines, Told};
use flyball_agent::cache::probe::Prober;
use flyball_agent::cache::watch::{Plan, Watch};
use flyball_agent::redis::{Connection, Info, Number, RedisConfig, Reply};
use flyball_agent::sense::HostPaths;
use flyball_agent::steer::SteerConfig;
use flyball_agent::steer::actuator::Actuator as _;
use flyball_agent::steer::redis::RedisActuator;
use flyball_model::reuse::Cause;

use crate::harness::{Server, run};

const SETTING: &str = "notify-keyspace-events";

fn setting(connection: &mut Connection) -> String {
    let reply = run(connection, &["CONFIG", "GET", SETTING]);
    String::from_utf8(reply.parts()[1].text().unwrap().to_vec()).unwrap()
}

fn info(connection: &mut Connection) -> Info {
    let mut info = Info::default();
    info.read(run(connection, &["INFO"]).text().unwrap());
    info
}

/// Hits and misses that the server has counted.
fn lookups(connection: &mut Connection) -> (i64, i64) {
    let info = info(connection);
    (info.get(Number::Hits).unwrap(), info.get(Number::Misses).unwrap())
}

fn sorted(setting: &str) -> String {
    let mut letters: Vec<char> = setting.chars().collect();
    letters.sort_unstable();
    letters.into_iter().collect()
}

fn fill(connection: &mut Connection, keys: usize) {
    for key in 0..keys {
        run(connection, &["SET", &format!("key:{key}"), &"v".repeat(100)]);
    }
}

#[test]
fn the_setting_of_events_is_given_back() {
    let server = Server::start(&["--notify-keyspace-events", "Kx"]);
    let (mut client, file) = (server.connect(), server.dir.path().join("below/events"));
    let lease = Lease::take(&mut client, file.clone()).unwrap();
    assert_eq!(sorted(&setting(&mut client)), "EKegmx");
    lease.give_back(&mut client).unwrap();
    assert_eq!(sorted(&setting(&mut client)), "Kx");
    assert!(!file.exists());
    // An agent that ends without a word leaves it to the next one.
    drop(Lease::take(&mut client, file.clone()).unwrap());
    let lease = Lease::take(&mut client, file.clone()).unwrap();
    lease.give_back(&mut client).unwrap();
    assert_eq!(sorted(&setting(&mut client)), "Kx");
    // What somebody else has set meanwhile stays.
    let lease = Lease::take(&mut client, file.clone()).unwrap();
    run(&mut client, &["CONFIG", "SET", SETTING, "KEA"]);
    lease.give_back(&mut client).unwrap();
    assert_eq!(setting(&mut client), "AKE");
    // Where only one letter is missing only that is added.
    let lease = Lease::take(&mut client, file.clone()).unwrap();
    assert_eq!(sorted(&setting(&mut client)), "AEKm");
    lease.give_back(&mut client).unwrap();
    assert_eq!(setting(&mut client), "AKE");
}

#[test]
fn what_happens_to_keys_is_heard() {
    let server = Server::start(&["--maxmemory", "1200kb", "--maxmemory-policy", "allkeys-lru"]);
    let mut client = server.connect();
    let mut events = Events::subscribe(&server.instance("a"), &[0, 1]).unwrap();
    let _lease = Lease::take(&mut client, server.dir.path().join("events")).unwrap();
    let mut heard = |what: What| {
        let deadline = Instant::now() + Duration::from_mins(1);
        while Instant::now() < deadline {
            match events.next(Duration::from_millis(100)).unwrap() {
                Some(event) if event.what == what => return event,
                _ => {}
            }
        }
        panic!("{what:?} was not heard")
    };
    run(&mut client, &["GET", "none"]);
    let missed = heard(What::Missed);
    assert_eq!((&*missed.key, missed.database), (&b"none"[..], 0));
    run(&mut client, &["SET", "brief", "1", "PX", "1"]);
    assert_eq!(heard(What::Gone(Cause::Expired)).key, b"brief");
    run(&mut client, &["SET", "a", "1"]);
    run(&mut client, &["UNLINK", "a"]);
    assert_eq!(heard(What::Gone(Cause::Invalidated)).key, b"a");
    run(&mut client, &["SELECT", "1"]);
    fill(&mut client, 3000);
    let evicted = heard(What::Gone(Cause::Evicted));
    assert!(evicted.key.starts_with(b"key:") && evicted.database == 1);
}

#[test]
fn probes_are_counted_as_the_server_counts_them_and_use_no_key() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    fill(&mut client, 300);
    run(&mut client, &["SET", "brief", "1", "EX", "1000"]);
    let instance = server.instance("a");
    let mut prober = Prober::open(&instance, false).unwrap();
    let idle =
        |client: &mut Connection| run(client, &["OBJECT", "IDLETIME", "key:7"]).integer().unwrap();
    crate::harness::until("a key to be a second old", || idle(&mut client) >= 1);
    let before = lookups(&mut client);
    let mut seen = HashSet::new();
    for _ in 0..60 {
        let looks = prober.draw(50, true).unwrap();
        assert!(looks.len() >= 50);
        assert!(looks.iter().all(|look| (100..400).contains(&look.bytes) || look.key == b"brief"));
        let brief = looks.iter().find(|look| look.key == b"brief");
        assert!(brief.is_none_or(|look| look.ttl_ms.is_some_and(|ms| ms <= 1_000_000)));
        seen.extend(looks.into_iter().map(|look| look.key));
    }
    assert!(seen.len() > 290, "all buckets are drawn: {}", seen.len());
    let gone = [b"gone".to_vec(), b"key:1".to_vec()];
    assert_eq!(prober.look(&gone, true, true).unwrap().len(), 1);
    let after = lookups(&mut client);
    let counted = prober.counted();
    let server_has = ((after.0 - before.0) as u64, (after.1 - before.1) as u64);
    assert_eq!(server_has, (counted.hits, counted.misses));
    assert_eq!(instance.probes().get(), (counted.hits, counted.misses));
    assert_eq!(counted.misses, 2);
    assert!(idle(&mut client) >= 1, "the age of a key is what it was");
    let now_ms = u64::MAX / 2;
    assert!(!prober.is_own_miss(b"other", 0));
    assert!(prober.is_own_miss(b"gone", 0) && !prober.is_own_miss(b"gone", 0), "told once");
    assert!(!prober.is_own_miss(b"gone", now_ms));
}

#[test]
fn with_lfu_there_are_sizes_and_no_ages() {
    let server = Server::start(&["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lfu"]);
    let mut client = server.connect();
    fill(&mut client, 50);
    let mut prober = Prober::open(&server.instance("a"), false).unwrap();
    let before = lookups(&mut client);
    let looks = prober.draw(50, false).unwrap();
    assert!(looks.len() >= 50 && looks.iter().all(|look| look.idle_s.is_none() && look.bytes > 0));
    let after = lookups(&mut client);
    let counted = prober.counted();
    let server_has = ((after.0 - before.0) as u64, (after.1 - before.1) as u64);
    assert_eq!(server_has, (counted.hits, counted.misses));
}

#[test]
fn who_may_not_scan_draws_random_keys() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    fill(&mut client, 50);
    run(&mut client, &["ACL", "SETUSER", "agent", "on", ">secret", "~*", "+@all", "-scan"]);
    let config = RedisConfig {
        username: Some("agent".to_owned()),
        password_file: Some(server.password("secret")),
        ..server.config("a")
    };
    let mut prober = Prober::open(&server.instance_of(config), false).unwrap();
    assert!(prober.draw(100, true).unwrap().len() >= 100);
    let empty = Server::start(&[]);
    let mut prober = Prober::open(&empty.instance("b"), false).unwrap();
    assert_eq!(prober.draw(100, true).unwrap(), []);
}

#[test]
fn what_is_made_permanent_has_none_of_the_letters_that_a_window_borrows() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "maxmemory 64mb\n").unwrap();
    let server = Server::start_with_file(file.path());
    let (mut client, instance) = (server.connect(), server.instance("a"));
    let written = || std::fs::read_to_string(file.path()).unwrap();
    let plan = Plan::new(server.dir.path().join("events"));
    let mut watch = Watch::new(instance.clone(), KeyHasher::new(1), plan, None);
    let mut actuator = RedisActuator::new(instance, &SteerConfig::default(), &HostPaths::default());
    let running = watch.start(true).unwrap();
    assert!(setting(&mut client).contains('m'));
    run(&mut client, &["CONFIG", "SET", "maxmemory-samples", "9"]);
    actuator.persist().unwrap();
    assert!(written().contains("maxmemory-samples 9"), "{}", written());
    let has_letters = |line: &str| line.starts_with(SETTING) && !line.ends_with("\"\"");
    assert!(!written().lines().any(has_letters), "{}", written());
    assert!(setting(&mut client).contains('m'), "the window goes on");
    watch.end(running).unwrap();
    assert_eq!(setting(&mut client), "");
    // What somebody else has set is written as it is, also within a window.
    let running = watch.start(true).unwrap();
    run(&mut client, &["CONFIG", "SET", "notify-keyspace-events", "Kx"]);
    actuator.persist().unwrap();
    assert_eq!(setting(&mut client), "xK");
    assert!(written().lines().any(has_letters), "{}", written());
    watch.end(running).unwrap();
    assert_eq!(setting(&mut client), "xK");
}

#[test]
fn a_watch_sees_what_clients_do_without_its_own_doing() {
    let server = Server::start(&["--maxmemory", "1500kb", "--maxmemory-policy", "allkeys-lru"]);
    let mut client = server.connect();
    fill(&mut client, 3000);
    let plan = Plan {
        draws_per_second: 2000.0,
        fills_per_second: 500.0,
        block: Duration::from_millis(500),
        ..Plan::new(server.dir.path().join("events"))
    };
    let mut watch = Watch::new(server.instance("a"), KeyHasher::new(1), plan, None);
    let (stop, over) = std::sync::mpsc::channel::<()>();
    let watching = std::thread::spawn(move || {
        let mut looked = 0;
        watch.run(|| over.try_recv().is_ok(), |_, _| looked += 1).unwrap();
        (watch, looked)
    });
    crate::harness::until("events to be on", || setting(&mut client).contains('m'));
    let (mut hits, mut reads) = (0, 0);
    let begun = Instant::now();
    let lasts = |seconds: f64| begun.elapsed() < Duration::from_secs_f64(seconds);
    // More than once over all keys, within the six seconds of which blocks are kept.
    while lasts(3.0) || (reads < 6_500 && lasts(5.5)) {
        // Most keys come back, some when they have been evicted.
        let key = format!("key:{}", (reads * 7919) % 5000);
        reads += 1;
        if run(&mut client, &["GET", &key]) == Reply::Nil {
            run(&mut client, &["SET", &key, &"v".repeat(100)]);
        } else {
            hits += 1;
        }
    }
    stop.send(()).unwrap();
    let (watch, looked) = watching.join().unwrap();
    assert_eq!(setting(&mut client), "", "the setting is given back");
    let present = watch.present().unwrap();
    let counted: f64 = watch.blocks().map(|block| block.hits + block.misses).sum();
    assert!(watch.blocks().count() >= 5);
    // Some requests came before the first block and none after the last.
    assert!(counted <= f64::from(reads) && counted > f64::from(reads) * 0.9, "{counted} {reads}");
    let ratio = f64::from(hits) / f64::from(reads);
    assert!((present.hit_ratio - ratio).abs() < 0.02, "{} {ratio}", present.hit_ratio);
    assert!(present.evictions_per_second > 0.0 && present.keys > 500.0, "{present:?}");
    assert!(watch.ages.observed() > 1000.0 && looked > 1000);
    let misses = watch.misses().unwrap();
    assert!(misses.misses > 100 && misses.capacity > 0.2, "{misses:?}");
}

#[test]
fn a_burst_hears_every_request_and_is_short() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let hasher = KeyHasher::new(5);
    let instance = server.instance("a");
    let longest = Duration::from_secs(2);
    let bounds = Burst { longest, ..Burst::default() };
    let reading = std::thread::spawn(move || {
        let (mut lines, mut requests) = (Lines::new(hasher), Vec::new());
        let begun = Instant::now();
        let mut known = 0;
        let end = burst(&instance, &bounds, |line| {
            let told = lines.read(line, &mut |request| requests.push(request));
            known += u32::from(told == Told::Known);
        });
        (end.unwrap(), requests, known, begun.elapsed())
    });
    crate::harness::until("MONITOR to run", || {
        let list = run(&mut client, &["CLIENT", "LIST"]);
        String::from_utf8_lossy(list.text().unwrap()).contains("cmd=monitor")
    });
    for key in 0..100 {
        run(&mut client, &["SET", &format!("key:{key}"), "a \"quoted\"\nvalue"]);
    }
    let (end, requests, known, time) = reading.join().unwrap();
    assert_eq!((end, known), (End::Time, 100));
    let all: HashSet<_> = requests.iter().map(|request| request.key_hash).collect();
    assert_eq!(all, (0..100).map(|key| hasher.of(0, format!("key:{key}").as_bytes())).collect());
    assert!(time >= longest);
}

#[test]
fn no_burst_on_a_server_that_is_nearly_full() {
    let server = Server::start(&["--maxmemory", "1200kb", "--maxmemory-policy", "allkeys-lru"]);
    let mut client = server.connect();
    fill(&mut client, 3000);
    let mut lines = 0;
    let end = burst(&server.instance("a"), &Burst::default(), |_| lines += 1).unwrap();
    assert_eq!((end, lines), (End::Full, 0));
}

#[test]
fn a_burst_ends_when_the_server_has_to_hold_lines_back() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let bounds = Burst {
        longest: Duration::from_mins(1),
        most_pending_bytes: 200_000,
        receive_bytes: 4096,
        ..Burst::default()
    };
    let instance = server.instance("a");
    let (go_on, wait) = std::sync::mpsc::channel::<()>();
    // A reader that is stuck at its first line.
    let reading =
        std::thread::spawn(move || burst(&instance, &bounds, move |_| _ = wait.recv()).unwrap());
    let value = "v".repeat(100_000);
    crate::harness::until("the burst to end", || {
        run(&mut client, &["SET", "key", &value]);
        let list = run(&mut client, &["CLIENT", "LIST"]);
        let list = String::from_utf8_lossy(list.text().unwrap()).into_owned();
        let pending = list.lines().filter(|line| line.contains("cmd=monitor"));
        let pending =
            pending.filter_map(|line| line.split("omem=").nth(1)?.split(' ').next()?.parse().ok());
        // It may have been enough before the first line had come in whole.
        pending.max().unwrap_or(0) > 10_000_000 || reading.is_finished()
    });
    drop(go_on);
    assert_eq!(reading.join().unwrap(), End::Pending);
}
