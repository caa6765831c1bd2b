//! The workers of a backend and the requests that wait for one, in the order they came.
//!
//! Busy time is the sum over workers, capacity time is the number of workers times the time that has passed; both stay right when workers come and go meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Workers that are shared by the connections of one backend.
#[derive(Debug)]
pub(super) struct Workers(Mutex<State>);

/// One worker at work; it is free again when this is dropped.
#[derive(Debug)]
pub(super) struct Busy(Option<Arc<Workers>>);

#[derive(Debug)]
struct State {
    workers: usize,
    busy: usize,
    waiting: VecDeque<oneshot::Sender<Busy>>,
    at: Instant,
    busy_time: Duration,
    capacity_time: Duration,
}

impl Workers {
    pub(super) fn new(workers: usize) -> Arc<Self> {
        let (busy_time, capacity_time) = (Duration::ZERO, Duration::ZERO);
        let (waiting, at) = (VecDeque::new(), Instant::now());
        Arc::new(Self(Mutex::new(State {
            workers,
            busy: 0,
            waiting,
            at,
            busy_time,
            capacity_time,
        })))
    }

    /// Waits for a worker.
    pub(super) async fn take(self: &Arc<Self>) -> Busy {
        let (sender, turn) = oneshot::channel();
        {
            let mut state = self.0.lock();
            state.account(Instant::now());
            state.waiting.push_back(sender);
            state.start(self);
        }
        turn.await.expect("who waits is kept until it is its turn")
    }

    /// Changes their number. Those at work end what they do.
    pub(super) fn set(self: &Arc<Self>, workers: usize) {
        let mut state = self.0.lock();
        state.account(Instant::now());
        state.workers = workers;
        state.start(self);
    }

    /// Time that workers were busy and time that they could have been, so far.
    pub(super) fn times(&self) -> (Duration, Duration) {
        let mut state = self.0.lock();
        state.account(Instant::now());
        (state.busy_time, state.capacity_time)
    }

    /// Requests that are served or wait.
    pub(super) fn in_flight(&self) -> usize {
        let state = self.0.lock();
        state.busy + state.waiting.len()
    }
}

impl State {
    fn account(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at);
        self.busy_time += passed * self.busy as u32;
        self.capacity_time += passed * self.workers as u32;
        self.at = now;
    }

    /// Gives free workers to those who wait; who has gone away meanwhile gets none.
    fn start(&mut self, workers: &Arc<Workers>) {
        while self.busy < self.workers {
            let Some(next) = self.waiting.pop_front() else { return };
            match next.send(Busy(Some(Arc::clone(workers)))) {
                Ok(()) => self.busy += 1,
                // It was never at work.
                Err(mut busy) => busy.0 = None,
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let Some(workers) = self.0.take() else { return };
        let mut state = workers.0.lock();
        state.account(Instant::now());
        state.busy -= 1;
        state.start(&workers);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_is_next_and_who_has_gone_takes_no_worker() {
        let workers = Workers::new(1);
        let first = workers.take().await;
        let gone = tokio::spawn({
            let workers = Arc::clone(&workers);
            async move { drop(workers.take().await) }
        });
        tokio::task::yield_now().await;
        assert_eq!(workers.in_flight(), 2, "one waits");
        gone.abort();
        assert!(gone.await.is_err());
        drop(first);
        assert_eq!(workers.in_flight(), 0);
        let first = workers.take().await;
        let next = tokio::spawn({
            let workers = Arc::clone(&workers);
            async move { workers.take().await }
        });
        tokio::task::yield_now().await;
        workers.set(2);
        let next = next.await.unwrap();
        workers.set(1);
        drop(first);
        assert_eq!(workers.in_flight(), 1, "the second one is at work, and nobody waits");
        drop(next);
    }

    #[test]
    fn times_are_those_of_busy_workers_and_of_all() {
        let workers = Workers::new(2);
        let mut state = workers.0.lock();
        let begun = state.at;
        state.busy = 1;
        state.account(begun + Duration::from_millis(30));
        state.workers = 1;
        state.account(begun + Duration::from_millis(40));
        assert_eq!(state.busy_time, Duration::from_millis(40));
        assert_eq!(state.capacity_time, Duration::from_millis(70));
    }
}
