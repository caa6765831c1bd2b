//! Turns of queries at the store: some run at once, some wait, and more are refused at once.
//!
//! Two questions decide. Is the queue a burst or does it stand? A page of the dashboard asks twenty questions at once, and all may wait. A queue that was never
//! empty for [`STANDING`] only adds to every answer's time (CoDel, RFC 8289; Facebook's "Fail at Scale" does the same for servers): from then on there is a
//! limit of those that run and wait together. How large? It follows the time of an answer, compared with the time that the store took while there was no queue (the
//! gradient of Netflix's concurrency-limits and of Envoy; additive both ways, because queries differ): below [`NEAR`] times it the limit grows, above
//! [`FAR`] it shrinks. The comparison is made only while the queue stands, so that one slow query alone shrinks nothing. Refusing takes no time and no timer.
//!
//! Properties, each a test: never more than the bounds are inside; a burst of that size is never refused; a queue that stands is cut down to the limit; slow answers
//! shrink the limit and not below half of those that may run, quick ones let it grow; without refusals for [`STANDING`] everything is as before.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Time after which a queue that was never empty stands.
pub const STANDING: Duration = Duration::from_millis(500);
/// Answers that take less than this many times what they took without a queue let the limit grow.
pub const NEAR: f64 = 1.2;
/// Answers that take more than this many times what they took without a queue shrink the limit.
pub const FAR: f64 = 1.5;
/// Time between two changes of the limit: some answers must show what the last one did.
const SETTLE: Duration = Duration::from_millis(50);
/// Weight of a new answer in the mean of those without a queue, and of those with one.
const USUAL_WEIGHT: f64 = 1.0 / 64.0;
const RECENT_WEIGHT: f64 = 1.0 / 8.0;

/// Whose turn it is.
#[derive(Debug)]
pub struct Turns {
    running: Semaphore,
    crowd: Mutex<Crowd>,
    metrics: TurnsMetrics,
}

/// The right to run; the next one gets it when it is dropped.
#[derive(Debug)]
pub struct Turn<'a> {
    permit: Option<SemaphorePermit<'a>>,
    turns: &'a Turns,
    came: Instant,
    began: Option<Instant>,
}

/// There are too many; come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crowded;

#[derive(Debug, Default)]
struct TurnsMetrics {
    inside: Gauge,
    limit: Gauge,
    refused: Counter,
}

/// Who runs and waits, without saying who is who.
#[derive(Debug, Clone)]
struct Crowd {
    running: usize,
    waiting: usize,
    inside: usize,
    /// Since when somebody has always been waiting.
    queue_since: Option<Instant>,
    /// While the queue stands.
    standing: Option<Standing>,
    /// Seconds of an answer while nobody waited.
    usual_s: Option<f64>,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    /// Most that may run and wait.
    limit: usize,
    changed_at: Instant,
    refused_at: Instant,
    recent_s: Option<f64>,
}

// === impl Turns ===

impl Turns {
    /// `running` at once, and `waiting` more in a burst.
    pub fn new(running: usize, waiting: usize) -> Self {
        let turns = Self {
            running: Semaphore::new(running),
            crowd: Mutex::new(Crowd::new(running, waiting)),
            metrics: TurnsMetrics::default(),
        };
        turns.metrics.limit.set((running + waiting) as i64);
        turns
    }

    /// Adds its metrics to the registry, whose prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let metrics = &self.metrics;
        let (inside, limit) = (metrics.inside.clone(), metrics.limit.clone());
        registry.register("query_turns", "Queries that run or wait for their turn", inside);
        registry.register("query_turns_limit", "Most queries that may run and wait now", limit);
        let refused = metrics.refused.clone();
        registry.register("query_turns_refused", "Queries that were refused a turn", refused);
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// At once, when there are too many.
    pub async fn enter(&self) -> Result<Turn<'_>, Crowded> {
        let came = Instant::now();
        self.change(|crowd| crowd.arrive(came)).inspect_err(|_| {
            self.metrics.refused.inc();
        })?;
        let mut turn = Turn { permit: None, turns: self, came, began: None };
        turn.permit = Some(self.running.acquire().await.map_err(|_| Crowded)?);
        turn.began = Some(Instant::now());
        Ok(turn)
    }

    fn change<T>(&self, change: impl FnOnce(&mut Crowd) -> T) -> T {
        let mut crowd = self.crowd.lock();
        let result = change(&mut crowd);
        self.metrics.inside.set(crowd.inside as i64);
        self.metrics.limit.set(crowd.limit() as i64);
        result
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        let times = self.began.map(|began| (now - self.came, now - began));
        self.turns.change(|crowd| crowd.leave(now, times));
    }
}

// === impl Crowd ===

impl Crowd {
    const fn new(running: usize, waiting: usize) -> Self {
        Self { running, waiting, inside: 0, queue_since: None, standing: None, usual_s: None }
    }

    fn limit(&self) -> usize {
        self.standing.map_or(self.running + self.waiting, |standing| standing.limit)
    }

    fn arrive(&mut self, now: Instant) -> Result<(), Crowded> {
        if self.inside >= self.running {
            let since = *self.queue_since.get_or_insert(now);
            if self.standing.is_none() && now.duration_since(since) >= STANDING {
                self.standing = Some(Standing::begin(self.first_limit(), now));
            }
        }
        if self.standing.is_some_and(|standing| standing.is_over(now)) {
            (self.standing, self.queue_since) = (None, None);
        }
        if self.inside >= self.limit() {
            if let Some(standing) = &mut self.standing {
                standing.refused_at = now;
            }
            return Err(Crowded);
        }
        self.inside += 1;
        Ok(())
    }

    /// One has left; with the time since it came and since its turn began, when it had one.
    fn leave(&mut self, now: Instant, times: Option<(Duration, Duration)>) {
        self.inside = self.inside.saturating_sub(1);
        if self.inside <= self.running {
            self.queue_since = None;
        }
        let Some((total, turn)) = times else { return };
        let bounds = ((self.running / 2).max(1), self.running + self.waiting.min(self.running));
        match &mut self.standing {
            Some(standing) => standing.learn(now, total.as_secs_f64(), self.usual_s, bounds),
            None => mean(&mut self.usual_s, turn.as_secs_f64(), USUAL_WEIGHT),
        }
    }

    /// One that waits for two that run.
    fn first_limit(&self) -> usize {
        self.running + self.waiting.min(self.running.div_ceil(2))
    }
}

// === impl Standing ===

impl Standing {
    const fn begin(limit: usize, now: Instant) -> Self {
        Self { limit, changed_at: now, refused_at: now, recent_s: None }
    }

    fn is_over(&self, now: Instant) -> bool {
        now.duration_since(self.refused_at) >= STANDING
    }

    fn learn(&mut self, now: Instant, s: f64, usual_s: Option<f64>, (least, most): (usize, usize)) {
        mean(&mut self.recent_s, s, RECENT_WEIGHT);
        let (Some(recent_s), Some(usual_s)) = (self.recent_s, usual_s) else { return };
        let settled = now.duration_since(self.changed_at).as_secs_f64();
        if settled < recent_s.max(SETTLE.as_secs_f64()) {
            return;
        }
        let limit = if recent_s > usual_s * FAR {
            self.limit.saturating_sub(1).max(least)
        } else if recent_s < usual_s * NEAR {
            (self.limit + 1).min(most)
        } else {
            self.limit
        };
        (self.limit, self.changed_at) = (limit, now);
    }
}

fn mean(mean: &mut Option<f64>, value: f64, weight: f64) {
    *mean = Some(mean.map_or(value, |mean| mean + weight * (value - mean)));
}

#[cfg(test)]
mod tests;
