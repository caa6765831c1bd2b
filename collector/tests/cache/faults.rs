//! Every way in which Redis can fail: answers go on, are right or at most as old as stated, and all is as before when it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

use flyball_collector::cache::{Place, Tag};
use tokio_util::task::AbortOnDropHandle;

use crate::harness::{Collector, FRESH, LONG, Mode, Number, Redis, Way, until};

/// Reads new keys until the breaker is open; all of them are answered.
async fn until_open(collector: &Collector, truth: &Arc<AtomicU64>) {
    let mut number = 0;
    until("the breaker to open", async || {
        number += 1;
        let found = collector.read(&format!("down-{number}"), truth).await;
        assert_eq!(found.value.0, truth.load(SeqCst));
        collector.stats().breaker != "closed"
    })
    .await;
}

/// Reads new keys until values come from Redis again.
async fn until_shared(writer: &Collector, reader: &Collector, truth: &Arc<AtomicU64>) {
    let mut number = 0;
    until("values to be shared again", async || {
        number += 1;
        let (name, written) = (format!("up-{number}"), writer.stats().written);
        writer.read(&name, truth).await;
        if writer.stats().breaker == "closed" && writer.stats().connected {
            until("it to be written or not", async || {
                let stats = writer.stats();
                stats.written > written || stats.not_written + stats.skipped > 0
            })
            .await;
        }
        let is_shared = reader.read(&name, truth).await.place == Place::Shared;
        let breakers = [writer.stats().breaker, reader.stats().breaker];
        // Probes bring values too.
        is_shared && breakers == ["closed"; 2]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_started_again() {
    let mut redis = Redis::start(&[]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    let truth = Arc::new(AtomicU64::new(1));
    a.read_for(LONG, "k", &truth).await;
    redis.kill().await;
    until("the loss to be noticed", async || {
        a.read(&rand::random::<u64>().to_string(), &truth).await;
        !a.stats().connected && !a.stats().heard
    })
    .await;
    let skipped = a.stats().skipped;
    assert_eq!(a.read("while it is down", &truth).await.value, Number(1));
    assert!(a.stats().skipped > skipped, "nothing waits for a connection");
    // While Redis is away the other one changes what this one has.
    truth.store(2, SeqCst);
    b.cache.invalidate(&[Tag::new("t")]);
    let changed = Instant::now();
    until("the old value to be gone", async || a.read("k", &truth).await.value == Number(2)).await;
    let kept = changed.elapsed();
    assert!(kept < LONG / 6, "trusted for {kept:?} while nothing is heard");
    redis.restart().await;
    a.until_heard().await;
    b.until_heard().await;
    until("what waited to be sent", async || b.stats().unsent == 0).await;
    until_shared(&a, &b, &truth).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_and_slow_ones_are_left_alone() {
    let redis = Redis::start(&[]).await;
    let way = Way::to(&redis).await;
    let (a, b) = (Collector::hasty(way.address.port()).await, Collector::hasty(redis.port).await);
    let truth = Arc::new(AtomicU64::new(1));
    for is_paused in [true, false] {
        if is_paused {
            redis.pause(true);
        } else {
            way.set(Mode::Slow(Duration::from_millis(200)));
        }
        until_open(&a, &truth).await;
        assert!(a.stats().timeouts > 0, "{:?}", a.stats());
        let (timeouts, skipped) = (a.stats().timeouts, a.stats().skipped);
        for number in 0..20 {
            a.read(&format!("{is_paused} {number}"), &truth).await;
        }
        let stats = a.stats();
        assert!(stats.skipped - skipped >= 18 && stats.timeouts - timeouts <= 3, "{stats:?}");
        redis.pause(false);
        way.set(Mode::Pass);
        until_shared(&a, &b, &truth).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn something_else_on_its_port_is_never_believed() {
    let redis = Redis::start(&[]).await;
    let way = Way::to(&redis).await;
    let a = Collector::hasty(way.address.port()).await;
    let b = Collector::start(redis.port).await;
    let truth = Arc::new(AtomicU64::new(5));
    way.set(Mode::Garbage);
    for number in 0..50 {
        assert_eq!(a.read(&format!("g{number}"), &truth).await.value, Number(5));
    }
    assert!(a.stats().errors > 0, "{:?}", a.stats());
    way.set(Mode::Pass);
    a.until_heard().await;
    until_shared(&b, &a, &truth).await;
}

/// Publishes without end.
async fn talk(collector: Collector) {
    let mut pace = tokio::time::interval(Duration::from_millis(100));
    loop {
        pace.tick().await;
        collector.cache.publish(b"all is well".to_vec());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn emptied_and_full() {
    let redis = Redis::start(&["--maxmemory-policy", "noeviction"]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    let truth = Arc::new(AtomicU64::new(1));
    a.read("k", &truth).await;
    until("the value to be written", async || a.stats().written == 1).await;
    let gaps = a.stats().gaps;
    redis.ask(&["FLUSHALL"]).await;
    assert_eq!(b.read("k", &truth).await.place, Place::Loaded, "it is gone");
    until("the count that began anew to be noticed", async || a.stats().gaps > gaps).await;
    // What was held is not trusted: an invalidation may have gone with the count.
    assert_ne!(a.read("k", &truth).await.place, Place::Local);
    truth.store(2, SeqCst);
    assert_eq!(a.read_for(LONG, "held", &truth).await.value, Number(2));

    redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for number in 0..20 {
        assert_eq!(a.read(&format!("full-{number}"), &truth).await.value, Number(2));
    }
    until("a refused write", async || a.stats().not_written > 0).await;
    // It takes messages of other kinds: those say nothing about invalidations.
    let talking = AbortOnDropHandle::new(tokio::spawn(talk(a.clone())));
    truth.store(3, SeqCst);
    b.cache.invalidate(&[Tag::new("t")]);
    until("the silence to be noticed", async || a.read("held", &truth).await.value == Number(3))
        .await;
    assert!(b.stats().unsent > 0, "it took no invalidation");
    drop(talking);
    redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    a.until_heard().await;
    until_shared(&a, &b, &truth).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_loaded_unheard_ends_soon_however_late_it_comes() {
    let redis = Redis::start(&[]).await;
    let way = Way::to(&redis).await;
    let (a, b) = (Collector::hasty(way.address.port()).await, Collector::start(redis.port).await);
    way.set(Mode::Closed);
    until("the loss to be noticed", async || !a.stats().heard).await;
    let slow = a.begin("k", Number(1)).await;
    b.invalidate("t").await;
    way.set(Mode::Pass);
    a.until_heard().await;
    assert_eq!(slow.end().await, Number(1), "who asked before gets it");
    let truth = Arc::new(AtomicU64::new(2));
    until("the old value to be gone", async || a.read("k", &truth).await.value == Number(2)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_half_open_is_replaced() {
    let redis = Redis::start(&[]).await;
    let way = Way::to(&redis).await;
    let (a, b) = (Collector::hasty(way.address.port()).await, Collector::start(redis.port).await);
    way.freeze();
    let truth = Arc::new(AtomicU64::new(1));
    until_open(&a, &truth).await;
    until_shared(&b, &a, &truth).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stamp_that_was_evicted_revives_nothing() {
    let redis = Redis::start(&[]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    let truth = Arc::new(AtomicU64::new(1));
    a.read("k", &truth).await;
    a.read("l", &truth).await;
    until("the values to be written", async || a.stats().written == 2).await;
    truth.store(2, SeqCst);
    b.invalidate("t").await;
    redis.evict("t").await;
    let late = Collector::start(redis.port).await;
    assert_eq!(late.read("k", &truth).await.value, Number(2));
    until("the value to be written", async || late.stats().written == 1).await;
    // Now there are stamps again.
    assert_eq!(b.read("k", &truth).await.place, Place::Shared);
    assert_eq!(late.read("l", &truth).await.value, Number(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_count_that_begins_anew_is_above_what_was_begun_before() {
    let redis = Redis::start(&[]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    for _ in 0..20 {
        b.invalidate("other").await;
    }
    let slow = a.begin("k", Number(1)).await;
    redis.ask(&["FLUSHALL"]).await;
    b.invalidate("t").await;
    assert_eq!(slow.end().await, Number(1), "who asked before gets it");
    until("the value to be written", async || a.stats().written == 1).await;
    let truth = Arc::new(AtomicU64::new(2));
    let late = Collector::start(redis.port).await;
    assert_eq!(late.read("k", &truth).await.value, Number(2));
}

/// Whatever happens to Redis and whoever reads, writes and invalidates: nobody is served what ended longer ago than values live, or was invalidated where he reads.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_older_than_its_bound_whatever_redis_does() {
    let mut redis = Redis::start(&[]).await;
    let way = Way::to(&redis).await;
    let (a, b) = (Collector::hasty(way.address.port()).await, Collector::hasty(redis.port).await);
    let truth = Arc::new(AtomicU64::new(0));
    // When each version ended.
    let mut ended = Vec::new();
    let mut told = [0_u64; 2];
    // Time for values to end and for the breaker to try again.
    let mut pace = tokio::time::interval(Duration::from_millis(15));
    for round in 0..600_u64 {
        pace.tick().await;
        match round % 60 {
            10 => redis.pause(true),
            18 => redis.pause(false),
            22 => way.set(Mode::Slow(Duration::from_millis(150))),
            28 => way.set(Mode::Garbage),
            32 => way.set(Mode::Pass),
            35 => redis.evict("t").await,
            40 => {
                redis.ask(&["FLUSHALL"]).await;
            }
            45 => redis.kill().await,
            52 => redis.restart().await,
            _ => {}
        }
        let (who, number) = if round % 2 == 0 { (&a, 0) } else { (&b, 1) };
        if round % 7 == 3 {
            ended.push(Instant::now());
            let version = truth.fetch_add(1, SeqCst) + 1;
            who.cache.invalidate(&[Tag::new("t")]);
            told[number] = version;
        }
        let found = who.read("k", &truth).await.value.0;
        assert!(found >= told[number], "round {round}: {found} after {} was told", told[number]);
        if let Some(ended) = ended.get(usize::try_from(found).unwrap()) {
            // A second for a machine that is busy.
            let bound = FRESH + Duration::from_secs(1);
            assert!(
                ended.elapsed() < bound,
                "round {round}: {found} ended {:?} ago",
                ended.elapsed()
            );
        }
    }
    let stats = (a.stats(), b.stats());
    assert!(stats.0.timeouts > 0 && stats.0.gaps + stats.1.gaps > 0, "{stats:?}");
}
