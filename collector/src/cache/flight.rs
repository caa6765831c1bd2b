//! One flight for each key: callers that ask for the same at once wait for one loading.
//!
//! The loading is a future that those who wait share. Whoever is there drives it; when all of them have gone it is dropped, and with it the query that it waits for.
//!
//! Who asks after an invalidation does not wait for a flight that began before: he begins the next one, and those who come later wait for his.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::key::Key;

type Loading<T> = Shared<BoxFuture<'static, T>>;

/// A flight that others may join.
#[derive(Debug)]
struct UnderWay<T: Clone> {
    number: u64,
    /// How many invalidations there had been when it began.
    began: u64,
    /// While somebody waits for it.
    loading: WeakShared<BoxFuture<'static, T>>,
}

/// Flights that are under way. At most as many as callers.
#[derive(Debug)]
pub(super) struct Flights<T: Clone>(Mutex<HashMap<Key, UnderWay<T>>>);

/// A seat on a flight.
pub(super) struct Seat<T: Clone> {
    flights: Arc<Flights<T>>,
    key: Key,
    number: u64,
    /// `None` only while this is dropped.
    loading: Option<Loading<T>>,
    /// Nobody had begun.
    pub(super) is_first: bool,
}

impl<T: Clone + Send + 'static> Flights<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::default())
    }

    /// Takes a seat on the flight of this key when what began then `is_valid`, or begins one; `now` is the number of invalidations.
    pub(super) fn board(
        self: &Arc<Self>,
        key: Key,
        now: u64,
        is_valid: impl FnOnce(u64) -> bool,
        begin: impl FnOnce() -> BoxFuture<'static, T>,
    ) -> Seat<T> {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let mut flights = self.0.lock();
        let under_way = flights.get(&key).filter(|flight| is_valid(flight.began));
        let under_way =
            under_way.and_then(|flight| Some((flight.number, flight.loading.upgrade()?)));
        let is_first = under_way.is_none();
        let (number, loading) = under_way.unwrap_or_else(|| {
            let (number, loading) = (NUMBERS.fetch_add(1, Relaxed), begin().shared());
            if let Some(weak) = loading.downgrade() {
                flights.insert(key, UnderWay { number, began: now, loading: weak });
            }
            (number, loading)
        });
        Seat { flights: Arc::clone(self), key, number, loading: Some(loading), is_first }
    }
}

impl<T: Clone> Seat<T> {
    /// Waits for the landing.
    pub(super) async fn landed(self) -> T {
        self.loading.clone().expect("a seat that is not dropped").await
    }
}

impl<T: Clone> Drop for Seat<T> {
    fn drop(&mut self) {
        let has_landed = self.loading.take().is_some_and(|loading| loading.peek().is_some());
        let mut flights = self.flights.0.lock();
        // Landed, or nobody is left: what comes next is another flight.
        if flights.get(&self.key).is_some_and(|flight| {
            flight.number == self.number && (has_landed || flight.loading.upgrade().is_none())
        }) {
            flights.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use tokio::sync::Notify;

    use super::*;

    fn key(text: &str) -> Key {
        Key::builder(text).build()
    }

    /// Everything is valid.
    fn all(_: u64) -> bool {
        true
    }

    #[tokio::test]
    async fn all_who_ask_at_once_wait_for_one() {
        let (flights, loads, go) =
            (Arc::new(Flights::new()), Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
        let seats: Vec<_> = (0..100)
            .map(|_| {
                flights.board(key("a"), 0, all, || {
                    let (loads, go) = (Arc::clone(&loads), Arc::clone(&go));
                    async move {
                        go.notified().await;
                        loads.fetch_add(1, Relaxed) + 1
                    }
                    .boxed()
                })
            })
            .collect();
        assert_eq!(seats.iter().filter(|seat| seat.is_first).count(), 1);
        go.notify_one();
        for seat in seats {
            assert_eq!(seat.landed().await, 1);
        }
        assert!(flights.0.lock().is_empty(), "nothing is left");
        let next = flights.board(key("a"), 0, all, || std::future::ready(7).boxed());
        assert_eq!((next.is_first, next.landed().await), (true, 7));
    }

    #[tokio::test]
    async fn what_began_too_early_is_joined_by_nobody_and_takes_no_other_with_it() {
        let flights = Arc::new(Flights::new());
        let fly = |now, value| {
            let since = move |began| began >= now;
            flights.board(key("a"), now, since, || std::future::ready(value).boxed())
        };
        let (early, late, next) = (fly(1, 'e'), fly(2, 'l'), fly(2, 'n'));
        assert_eq!([early.is_first, late.is_first, next.is_first], [true, true, false]);
        assert_eq!(early.landed().await, 'e');
        assert!(!fly(2, 'x').is_first, "the later one is under way");
        assert_eq!((late.landed().await, next.landed().await), ('l', 'l'));
        assert!(flights.0.lock().is_empty(), "nothing is left");
    }

    #[tokio::test]
    async fn when_all_have_gone_the_loading_is_dropped() {
        struct Told(Arc<AtomicU32>);
        impl Drop for Told {
            fn drop(&mut self) {
                self.0.fetch_add(1, Relaxed);
            }
        }
        let (flights, dropped) = (Arc::new(Flights::<u32>::new()), Arc::new(AtomicU32::new(0)));
        let told = Told(Arc::clone(&dropped));
        let first = flights.board(key("a"), 0, all, || {
            async move {
                let _told = told;
                std::future::pending().await
            }
            .boxed()
        });
        let second = flights.board(key("a"), 0, all, || unreachable!("it is under way"));
        drop(first);
        assert_eq!(dropped.load(Relaxed), 0);
        drop(second);
        assert_eq!(dropped.load(Relaxed), 1);
        assert!(flights.0.lock().is_empty());
    }
}
