//! Who holds the lease on loading a key, and for how long: until he is done or has gone, and never longer because of others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use flyball_collector::cache::Place;

use crate::harness::{Collector, LONG, Number, Redis, UNSHARED, key, until};

/// The lease that is held, which from now on does not end by itself.
async fn kept(redis: &Redis) -> String {
    let names = redis.names("l").await;
    assert_eq!(names.len(), 1, "{names:?}");
    assert_eq!(redis.ask(&["PERSIST", &names[0]]).await, ":1\r\n");
    names[0].clone()
}

async fn until_given_back(redis: &Redis) {
    until("the lease to be given back", async || redis.names("l").await.is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_away_gives_it_back() {
    let redis = Redis::start(&[]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    let slow = a.begin("k", Number(1)).await;
    kept(&redis).await;
    slow.leave().await;
    until_given_back(&redis).await;
    let truth = Arc::new(AtomicU64::new(2));
    assert_eq!(b.read("k", &truth).await.place, Place::Loaded);
    assert_eq!(b.stats().leases_taken, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_nothing_to_share_gives_it_back() {
    let redis = Redis::start(&[]).await;
    let a = Collector::start(redis.port).await;
    let slow = a.begin("k", UNSHARED).await;
    kept(&redis).await;
    assert_eq!(slow.end().await, UNSHARED);
    until_given_back(&redis).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waited_in_vain_leaves_it_to_its_holder() {
    let redis = Redis::start(&[]).await;
    let a = Collector::start(redis.port).await;
    let truth = Arc::new(AtomicU64::new(1));
    a.read("any", &truth).await;
    until("a value", async || !redis.names("v").await.is_empty()).await;
    let value = redis.names("v").await.remove(0);
    let lease = format!("{}:l:{}", value.split(":v:").next().unwrap(), key("k"));
    redis.ask(&["SET", &lease, "somebody"]).await;
    assert_eq!(a.read("k", &truth).await.place, Place::Loaded);
    assert_eq!((a.stats().leases_taken, a.stats().leases_waited), (1, 0));
    until("the value to be written", async || a.stats().written == 2).await;
    assert_eq!(redis.names("l").await, [lease]);
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_lease_holds_up_no_collector() {
    let redis = Redis::start(&[]).await;
    let a = Collector::start(redis.port).await;
    let truth = Arc::new(AtomicU64::new(2));
    let before = a.begin("k", Number(1)).await;
    let lease = kept(&redis).await;
    a.invalidate("t").await;
    let after = a.begin("k", Number(2)).await;
    assert_eq!(a.stats().leases_taken, 0);
    assert_eq!(kept(&redis).await, lease);
    // The lease is that of the later one.
    assert_eq!(before.end().await, Number(1));
    until("the value to be written", async || a.stats().written == 1).await;
    assert_eq!(redis.names("l").await, [lease]);
    assert_eq!(after.end().await, Number(2));
    until_given_back(&redis).await;
    assert_eq!(a.read_for(LONG, "k", &truth).await.value, Number(2));
    assert_eq!(a.loads.load(SeqCst), 0, "it is kept");
}
