//! What collectors share through Redis, and what they tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use flyball_collector::cache::{Place, Tag};
use tokio_util::sync::CancellationToken;

use crate::harness::{
    Collector, FRESH, Never, Number, Redis, UNHEARD, key, loaded, settings, tags, until,
};

fn truth(value: u64) -> Arc<AtomicU64> {
    Arc::new(AtomicU64::new(value))
}

#[tokio::test(flavor = "multi_thread")]
async fn one_loads_and_all_have_it_until_one_invalidates() {
    let redis = Redis::start(&[]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    let truth = truth(1);
    assert_eq!(a.read("k", &truth).await.place, Place::Loaded);
    until("the value to be written", async || a.stats().written == 1).await;
    let found = b.read("k", &truth).await;
    assert_eq!((found.value, found.place), (Number(1), Place::Shared));
    assert_eq!(b.read("k", &truth).await.place, Place::Local);

    truth.store(2, SeqCst);
    b.cache.invalidate(&[Tag::new("other")]);
    assert_eq!(a.read("k", &truth).await.value, Number(1), "another tag");
    b.cache.invalidate(&[Tag::new("t")]);
    assert_eq!(b.read("k", &truth).await.value, Number(2), "at once where it was invalidated");
    until("the other one to hear of it", async || a.read("k", &truth).await.value == Number(2))
        .await;
    assert!(a.loads.load(SeqCst) + b.loads.load(SeqCst) <= 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_whose_loading_began_before_an_invalidation_never_counts() {
    let redis = Redis::start(&[]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    let slow = a.begin("k", Number(1)).await;
    b.cache.invalidate(&[Tag::new("t")]);
    until("the other one to hear of it", async || a.stats().messages_heard >= 1).await;
    assert_eq!(slow.end().await, Number(1), "who asked before gets it");
    until("the value to be written", async || a.stats().written == 1).await;
    let truth = truth(2);
    assert_eq!(a.read("k", &truth).await.value, Number(2));
    assert_eq!(b.read("k", &truth).await.value, Number(2));
    assert!(b.stats().misses.invalidated >= 1 || a.stats().misses.invalidated >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_loads_the_other_waits_for_its_value() {
    let redis = Redis::start(&[]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    let truth = truth(7);
    let all = (0..20).map(|number| {
        let (a, b, truth) = (a.clone(), b.clone(), Arc::clone(&truth));
        async move {
            let name = number.to_string();
            let (left, right) = tokio::join!(a.read(&name, &truth), b.read(&name, &truth));
            assert_eq!((left.value, right.value), (Number(7), Number(7)));
        }
    });
    futures_util::future::join_all(all).await;
    assert!(a.stats().leases_taken + b.stats().leases_taken > 0);
    assert_eq!(a.loads.load(SeqCst) + b.loads.load(SeqCst), 20, "each key was loaded once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_or_foreign_value_is_refused_and_loaded_again() {
    let redis = Redis::start(&[]).await;
    let (a, b) = (Collector::start(redis.port).await, Collector::start(redis.port).await);
    let truth = truth(3);
    a.read("k", &truth).await;
    a.read("l", &truth).await;
    until("the values to be written", async || a.stats().written == 2).await;
    let names = redis.names("v").await;
    assert_eq!(names.len(), 2);
    redis.ask(&["SET", &names[0], "garbage", "KEEPTTL"]).await;
    redis.ask(&["COPY", &names[0], &names[1], "REPLACE"]).await;
    assert_eq!(b.read("k", &truth).await.place, Place::Loaded);
    assert_eq!(b.read("l", &truth).await.place, Place::Loaded);
    assert!(b.stats().refused >= 2);

    // Another secret: nothing of theirs is ours.
    let other = flyball_collector::cache::Cache::<Number, Never>::shared(
        1 << 20,
        &settings(redis.port),
        b"another secret!!",
        UNHEARD,
    );
    let other = Arc::new(other.unwrap());
    let running = Arc::clone(&other);
    tokio::spawn(async move { running.run(|_| {}, CancellationToken::default()).await });
    until("the connection", async || other.shared_stats().unwrap().connected).await;
    until("the values to be written again", async || b.stats().written == 2).await;
    let load = || async { Ok(loaded(Number(9), FRESH)) };
    assert_eq!(other.fetch(key("k"), &tags(), load).await.unwrap().value, Number(9));
    assert!(other.shared_stats().unwrap().refused >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn users_passwords_and_prefixes_are_respected() {
    let user = ["--user", "worker", "on", ">hunter2", "~mine:*", "&mine:*", "+@all"];
    let redis = Redis::start(&[&["--requirepass", "other"][..], &user].concat()).await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    let mine = flyball_collector::cache::RedisSettings {
        url: format!("redis://worker@127.0.0.1:{}", redis.port),
        password_file: Some(file),
        prefix: "mine".into(),
        ..settings(redis.port)
    };
    let collector = Collector::with(&mine);
    collector.until_heard().await;
    collector.read("k", &truth(1)).await;
    until("the value to be written", async || collector.stats().written == 1).await;
    assert_eq!(collector.stats().errors, 0);
    let theirs = flyball_collector::cache::RedisSettings { prefix: "theirs".into(), ..mine };
    let refused = Collector::with(&theirs);
    until("the connection", async || refused.stats().connected).await;
    assert_eq!(refused.read("k", &truth(2)).await.value, Number(2), "slower, not wrong");
    until("an error", async || refused.stats().errors > 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_with_certificates_on_both_sides() {
    let redis = Redis::start_tls().await;
    let file = |name: &str| Some(redis.dir().join(name));
    let tls = flyball_collector::cache::RedisSettings {
        url: format!("rediss://127.0.0.1:{}", redis.port),
        ca_file: file("ca.pem"),
        cert_file: file("client.pem"),
        key_file: file("client.key"),
        ..settings(redis.port)
    };
    let (a, b) = (Collector::with(&tls), Collector::with(&tls));
    a.until_heard().await;
    b.until_heard().await;
    let truth = truth(1);
    a.read("k", &truth).await;
    until("the value to be written", async || a.stats().written == 1).await;
    assert_eq!(b.read("k", &truth).await.place, Place::Shared);
    // Without a certificate that the server's is signed by nobody is believed.
    let unknown = flyball_collector::cache::RedisSettings { ca_file: None, ..tls };
    let refused = Collector::with(&unknown);
    assert_eq!(refused.read("k", &truth).await.place, Place::Loaded);
    assert!(!refused.stats().connected);
}
