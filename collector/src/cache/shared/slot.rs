//! The connection to Redis, while there is one.
//!
//! Whoever finds it broken says which one he means: an error that comes late, on one that was replaced since, does not end the new one.

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Which of the connections that there were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(u64);

/// See the module.
#[derive(Debug)]
pub(super) struct Slot<T> {
    held: Mutex<Held<T>>,
    /// The one that was there broke.
    broken: Notify,
}

#[derive(Debug)]
struct Held<T> {
    number: u64,
    connection: Option<T>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        let held = Held { number: 0, connection: None };
        Self { held: Mutex::new(held), broken: Notify::new() }
    }
}

impl<T: Clone> Slot<T> {
    /// The connection and its number.
    pub(super) fn get(&self) -> Option<(Number, T)> {
        let held = self.held.lock();
        held.connection.clone().map(|connection| (Number(held.number), connection))
    }

    /// True when there is one.
    pub(super) fn is_full(&self) -> bool {
        self.held.lock().connection.is_some()
    }

    /// A new one is there.
    pub(super) fn put(&self, connection: T) {
        let mut held = self.held.lock();
        held.number += 1;
        held.connection = Some(connection);
    }

    /// This one is of no use any more.
    pub(super) fn broke(&self, number: Number) {
        let mut held = self.held.lock();
        if held.number == number.0 && held.connection.take().is_some() {
            self.broken.notify_one();
        }
    }

    /// Waits until the one that is there breaks. Only one may wait.
    pub(super) async fn until_broken(&self) {
        self.broken.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn each_one_breaks_once_and_an_old_one_does_not_break_the_new_one() {
        let slot = Slot::default();
        assert!(slot.get().is_none() && !slot.is_full());
        slot.put("first");
        let (first, connection) = slot.get().unwrap();
        assert_eq!(connection, "first");
        assert!(slot.until_broken().now_or_never().is_none());
        slot.broke(first);
        assert!(!slot.is_full() && slot.until_broken().now_or_never().is_some());
        slot.broke(first);
        slot.put("second");
        slot.broke(first);
        assert!(slot.until_broken().now_or_never().is_none(), "it is told once");
        assert_eq!(slot.get().unwrap().1, "second");
    }
}
