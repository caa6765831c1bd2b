//! The cache as its callers see it, in this process.

use std::sync::atomic::{AtomicBool, AtomicU32};
use std::time::Instant;

use proptest::prelude::*;
use tokio::sync::Notify;
use tokio::task::{JoinSet, yield_now};

use super::*;

/// A version of something that changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version(u32);

impl Value for Version {
    fn bytes(&self) -> usize {
        8
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failed {
    Outage,
    Refused,
}

impl Failure for Failed {
    fn keep_for(&self) -> Duration {
        Duration::from_secs(if *self == Self::Refused { 10 } else { 0 })
    }

    fn is_outage(&self) -> bool {
        *self == Self::Outage
    }
}

const LIFE: Life = Life { fresh_ms: 1_000, refreshing_ms: 500, on_error_ms: 4_000 };

/// A cache of one key with a clock that only the test moves.
struct World {
    cache: Cache<Version, Failed>,
    now: Arc<AtomicI64>,
    key: Key,
    tags: Arc<[Tag]>,
}

impl World {
    fn new() -> Self {
        let now = Arc::new(AtomicI64::new(1_000_000));
        let clock = Clock(Some(Arc::clone(&now)));
        let cache = Cache::new(1 << 20, Arc::default(), None, clock, 0);
        let tags = Arc::from([Tag::new("t"), Tag::new("u")]);
        Self { cache, now, key: Key::builder("k").build(), tags }
    }

    async fn read(&self, answer: Result<Version, Failed>) -> Result<Found<Version>, Failed> {
        let load = move || async move { loaded(answer) };
        self.cache.fetch(self.key, &self.tags, load).await
    }

    /// Reads, and lets something else end meanwhile. Tells as well whether it waited for another one's loading.
    async fn read_while(
        &self,
        answer: Result<Version, Failed>,
        end: impl Future<Output = ()>,
    ) -> (Result<Found<Version>, Failed>, bool) {
        let is_own = Arc::<AtomicBool>::default();
        let told = Arc::clone(&is_own);
        let load = move || async move {
            told.store(true, Relaxed);
            loaded(answer)
        };
        let (found, ()) = tokio::join!(self.cache.fetch(self.key, &self.tags, load), end);
        let is_loaded = found.as_ref().is_ok_and(|found| found.place == Place::Loaded);
        (found, is_loaded && !is_own.load(Relaxed))
    }

    fn pass(&self, ms: i64) {
        self.now.fetch_add(ms, Relaxed);
    }
}

fn loaded(answer: Result<Version, Failed>) -> Result<Loaded<Version>, Failed> {
    answer.map(|value| Loaded { value, life: LIFE, is_negative: false })
}

/// Lets what was begun behind the callers' backs end.
async fn settle() {
    for _ in 0..20 {
        yield_now().await;
    }
}

#[tokio::test]
async fn it_is_served_fresh_then_refreshed_then_only_on_errors_then_no_more() {
    let world = World::new();
    let place = async |answer| world.read(answer).await.map(|found| (found.value.0, found.place));
    let (one, two, outage) = (Ok(Version(1)), Ok(Version(2)), Err(Failed::Outage));
    assert_eq!(place(one).await, Ok((1, Place::Loaded)));
    assert_eq!(place(two).await, Ok((1, Place::Local)));
    assert!(world.cache.peek(world.key).is_some());
    world.pass(1_100);
    assert!(world.cache.peek(world.key).is_none(), "past being fresh");
    assert_eq!(place(two).await, Ok((1, Place::LocalStale)));
    settle().await;
    assert_eq!(place(outage).await, Ok((2, Place::Local)), "it was refreshed meanwhile");
    world.pass(1_700);
    assert_eq!(place(outage).await, Ok((2, Place::LocalOnError)));
    world.pass(3_400);
    assert_eq!(place(outage).await, Err(Failed::Outage), "past its life");
    assert_eq!(place(one).await, Ok((1, Place::Loaded)));
    let stats = world.cache.layer_stats();
    assert_eq!((stats.stale_served, stats.stale_on_error, stats.refreshes), (1, 1, 1));
    assert_eq!((stats.loads, stats.load_errors), (3, 2));
}

#[tokio::test]
async fn the_time_of_refreshing_passes_as_well() {
    let world = World::new();
    world.read(Ok(Version(1))).await.unwrap();
    world.pass(1_100);
    let found = world.read(Ok(Version(2))).await.unwrap();
    assert_eq!(found.place, Place::LocalStale);
    // It was fresh for 900 ms or more.
    assert!((300..=400).contains(&found.refreshing_ms), "{found:?}");
}

#[tokio::test]
async fn a_refusal_is_kept_and_an_outage_is_not() {
    let world = World::new();
    assert_eq!(world.read(Err(Failed::Outage)).await.unwrap_err(), Failed::Outage);
    assert_eq!(world.read(Err(Failed::Refused)).await.unwrap_err(), Failed::Refused);
    assert_eq!(world.read(Ok(Version(1))).await.unwrap_err(), Failed::Refused);
    world.pass(10_000);
    assert_eq!(world.read(Ok(Version(1))).await.unwrap().value, Version(1));
    assert_eq!(world.cache.layer_stats().negative_hits, 1);
}

#[tokio::test]
async fn a_thousand_callers_of_one_moment_load_once() {
    let (world, loads, go) = (World::new(), Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let mut callers = JoinSet::new();
    for _ in 0..1_000 {
        let (cache, key, tags) = (world.cache.clone(), world.key, Arc::clone(&world.tags));
        let (loads, go) = (Arc::clone(&loads), Arc::clone(&go));
        callers.spawn(async move {
            let load = move || async move {
                loads.fetch_add(1, Relaxed);
                go.notified().await;
                loaded(Ok(Version(7)))
            };
            cache.fetch(key, &tags, load).await.unwrap().value
        });
    }
    settle().await;
    go.notify_one();
    while let Some(value) = callers.join_next().await {
        assert_eq!(value.unwrap(), Version(7));
    }
    assert_eq!(loads.load(Relaxed), 1);
    assert_eq!(world.cache.layer_stats().coalesced, 999);
}

#[tokio::test]
async fn who_asks_after_an_invalidation_waits_for_nothing_that_began_before() {
    let (world, go) = (World::new(), Arc::new(Notify::new()));
    let (cache, key, tags) = (world.cache.clone(), world.key, Arc::clone(&world.tags));
    let gate = Arc::clone(&go);
    let slow = tokio::spawn(async move {
        let load = move || async move {
            gate.notified().await;
            loaded(Ok(Version(1)))
        };
        cache.fetch(key, &tags, load).await.unwrap().value
    });
    settle().await;
    world.cache.invalidate(&[Tag::new("u")]);
    let found = world.read(Ok(Version(2))).now_or_never().expect("it waits for nobody");
    assert_eq!(found.unwrap().value, Version(2));
    go.notify_one();
    assert_eq!(slow.await.unwrap(), Version(1), "who asked before gets it");
}

#[test]
fn what_redis_has_is_not_believed_before_an_invalidation_counts_here() {
    let redis = RedisSettings { url: "redis://127.0.0.1:1".to_owned(), ..Default::default() };
    let cache = Cache::<Version, Failed>::shared(1 << 20, &redis, b"secret", Duration::ZERO);
    let cache = cache.unwrap();
    std::thread::scope(|scope| {
        let held = cache.0.stamps.hold();
        scope.spawn(|| cache.invalidate(&[Tag::new("t")]));
        let deadline = Instant::now() + Duration::from_secs(10);
        while cache.shared_stats().unwrap().unsent == 0 {
            assert!(Instant::now() < deadline, "it counts here first");
            std::thread::yield_now();
        }
        drop(held);
    });
}

#[tokio::test]
async fn what_is_larger_than_the_whole_is_not_kept_and_others_make_room() {
    #[derive(Debug, Clone)]
    struct Large;
    impl Value for Large {
        fn bytes(&self) -> usize {
            400
        }
    }
    let cache: Cache<Large, Failed> = Cache::local(2_000);
    let tags: Arc<[Tag]> = Arc::from([]);
    for number in 0..50 {
        let key = Key::builder("k").number(number).build();
        let load = || async { Ok(Loaded { value: Large, life: LIFE, is_negative: false }) };
        cache.fetch(key, &tags, load).await.unwrap();
    }
    let stats = cache.layer_stats();
    assert!(stats.bytes <= 2_000 && stats.entries <= 3, "{stats:?}");
    assert!(stats.evictions >= 40, "{stats:?}");
}

/// What may happen.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pass(i64),
    /// The value changes, and the cache is told.
    Tell,
    /// The value changes, and nobody is told.
    Change,
    /// Loading fails from now on, or no more.
    Outage(bool),
    Read,
    /// Somebody begins to load and is slow.
    Begin,
    /// All who are slow end.
    End,
    /// What is held ends soon.
    AgeOut,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..1_500_i64).prop_map(Step::Pass),
        2 => Just(Step::Tell),
        2 => Just(Step::Change),
        1 => any::<bool>().prop_map(Step::Outage),
        6 => Just(Step::Read),
        2 => Just(Step::Begin),
        2 => Just(Step::End),
        1 => Just(Step::AgeOut),
    ];
    prop::collection::vec(step, 1..60)
}

/// The truth over time: when each version ended, and the oldest version that may still be served.
struct Truth {
    version: u32,
    ended_ms: Vec<i64>,
    told: u32,
    outage: bool,
}

impl Truth {
    /// Whether a version may be served to who asked then.
    fn judge(&self, version: u32, now_ms: i64) -> Result<(), TestCaseError> {
        prop_assert!(version >= self.told, "{version} after {} was told", self.told);
        if let Some(ended_ms) = self.ended_ms.get(version as usize) {
            let age_ms = now_ms - ended_ms;
            prop_assert!(age_ms <= LIFE.longest_ms(), "{version} ended {age_ms} ms ago");
            let is_late = age_ms > LIFE.fresh_ms + LIFE.refreshing_ms;
            prop_assert!(!is_late || self.outage, "{age_ms} ms and loading does not fail");
        }
        Ok(())
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    const AGE_MS: i64 = 700;
    let world = World::new();
    let truth = Arc::new(parking_lot::Mutex::new(Truth {
        version: 0,
        ended_ms: Vec::new(),
        told: 0,
        outage: false,
    }));
    let mut slow = JoinSet::new();
    let mut gates: Vec<Arc<Notify>> = Vec::new();
    // When the last slow loading began.
    let slow_ms = Arc::<AtomicI64>::default();
    let mut aged: Option<(u32, i64)> = None;
    for step in steps {
        let now_ms = world.now.load(Relaxed);
        match step {
            Step::Pass(ms) => world.pass(ms),
            Step::Tell | Step::Change => {
                let mut truth = truth.lock();
                truth.ended_ms.push(now_ms);
                truth.version += 1;
                if matches!(step, Step::Tell) {
                    truth.told = truth.version;
                    drop(truth);
                    world.cache.invalidate(&[Tag::new("u")]);
                }
            }
            Step::Outage(is_out) => truth.lock().outage = is_out,
            Step::AgeOut => {
                world.cache.age_out(AGE_MS);
                aged.get_or_insert((truth.lock().version, now_ms + AGE_MS));
            }
            Step::Begin => {
                let gate = Arc::new(Notify::new());
                gates.push(Arc::clone(&gate));
                let (cache, key, tags) = (world.cache.clone(), world.key, Arc::clone(&world.tags));
                let (truth, slow_ms) = (Arc::clone(&truth), Arc::clone(&slow_ms));
                slow.spawn(async move {
                    let load = move || async move {
                        slow_ms.store(now_ms, Relaxed);
                        let version = Version(truth.lock().version);
                        gate.notified().await;
                        loaded(Ok(version))
                    };
                    drop(cache.fetch(key, &tags, load).await);
                });
                settle().await;
            }
            Step::End => {
                gates.drain(..).for_each(|gate| gate.notify_one());
                settle().await;
            }
            Step::Read => {
                let began = truth.lock().version;
                let answer =
                    if truth.lock().outage { Err(Failed::Outage) } else { Ok(Version(began)) };
                // Those who are slow end once he has asked.
                let end = async {
                    settle().await;
                    gates.drain(..).for_each(|gate| gate.notify_one());
                };
                let (Ok(found), has_waited) = world.read_while(answer, end).await else {
                    prop_assert!(truth.lock().outage);
                    continue;
                };
                settle().await;
                // Who waits for another one's loading gets what was true when that began.
                let asked_ms = if has_waited { slow_ms.load(Relaxed) } else { now_ms };
                let aged_ms = aged.filter(|(version, _)| found.value.0 < *version);
                prop_assert!(aged_ms.is_none_or(|(_, at_ms)| now_ms < at_ms), "was to end before");
                truth.lock().judge(found.value.0, asked_ms)?;
            }
        }
    }
    for gate in gates {
        gate.notify_one();
    }
    while slow.join_next().await.is_some() {}
    Ok(())
}

proptest! {
    #[test]
    fn nothing_is_served_beyond_its_bound_whatever_happens_when(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(run(steps))?;
    }
}
