//! Turns of queries at the store: some run at once, some wait, and more are refused at once.
//!
//! Two questions decide. Is the queue a burst or does it stand? A page of the dashboard asks twenty questions at once, and all may wait. A queue that was never
//! empty for [`STANDING`] only adds to every answer's time (CoDel, RFC 8289; Facebook's "Fail at Scale" does the same for servers): from then on there is a
//! limit of those that run and wait together. How large? It follows the time of an answer, compared with the time that the store took while there was no queue (the
//! gradient of Netflix's concurrency-limits and of Envoy; additive both ways, because queries differ): below [`NEAR`] times it the limit grows, above
//! [`FAR`] it shrinks. The comparison is made only while the queue stands, so that one slow query alone shrinks nothing. Refusing takes no time and no timer.
//!
//! Who is next? Who came first, until the queue is [`AGEING`] old; from then on who came last (the adaptive LIFO of "Fail at Scale"). In a burst both are the same to the last one. In
//! an overload those at the front have waited long already and would make all others wait as long: while others are refused, who has waited longer than an answer takes is passed over, and
//! waits until nobody is refused any more, or for [`PATIENCE`].
//! Those that waited before the queue stood do not count against the limit: they were let in as a burst, and a burst is served.
//!
//! Properties, each a test: never more than the bounds run and wait; a burst of that size is never refused and served in its order; a queue that stands is cut down to the limit; in an
//! overload who is let in after the queue has aged waits little, from its beginning; slow answers shrink the limit and not below half of those that may run, quick ones let it grow;
//! without refusals for [`STANDING`] everything is as before.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

/// Time after which a queue that was never empty stands.
pub const STANDING: Duration = Duration::from_secs(2);
/// Time after which of a queue that was never empty the last one is next.
pub const AGEING: Duration = Duration::from_millis(100);
/// Longest time that somebody waits for a turn.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Answers that take less than this many times what they took without a queue let the limit grow.
pub const NEAR: f64 = 1.2;
/// Answers that take more than this many times what they took without a queue shrink the limit.
pub const FAR: f64 = 1.5;
/// Time between two changes of the limit: some answers must show what the last one did.
const SETTLE: Duration = Duration::from_millis(50);
/// Weight of a new answer in the mean of those without a queue, and of those with one.
const USUAL_WEIGHT: f64 = 1.0 / 64.0;
const RECENT_WEIGHT: f64 = 1.0 / 8.0;

/// Whose turn it is. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    crowd: Mutex<Crowd<oneshot::Sender<Turn>>>,
    metrics: TurnsMetrics,
}

/// The right to run; the next one gets it when it is dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Turns,
    came: Instant,
    began: Instant,
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

/// A place in the queue, left when it is dropped.
struct Place<'a> {
    turns: &'a Turns,
    number: u64,
}

/// Who runs and waits.
#[derive(Debug)]
struct Crowd<T> {
    most_running: usize,
    most_waiting: usize,
    running: usize,
    /// In the order in which they came.
    waiting: Vec<Waiting<T>>,
    /// How many ever came to wait.
    came: u64,
    /// Since when somebody has always been waiting.
    queue_since: Option<Instant>,
    /// When the last one was refused.
    refused_at: Option<Instant>,
    /// While the queue stands.
    standing: Option<Standing>,
    /// Seconds of an answer while nobody waited.
    usual_s: Option<f64>,
}

/// One who waits.
#[derive(Debug)]
struct Waiting<T> {
    number: u64,
    came: Instant,
    ticket: T,
}

/// What becomes of one who comes.
#[derive(Debug, PartialEq, Eq)]
enum Arrival {
    Runs,
    /// With its number in the queue.
    Waits(u64),
    Refused,
}

#[derive(Debug, Clone, Copy)]
struct Standing {
    since: Instant,
    /// Most that may run and wait.
    limit: usize,
    changed_at: Instant,
    recent_s: Option<f64>,
}

// === impl Turns ===

impl Turns {
    /// `running` at once, and `waiting` more in a burst.
    pub fn new(running: usize, waiting: usize) -> Self {
        let metrics = TurnsMetrics::default();
        metrics.limit.set((running + waiting) as i64);
        Self(Arc::new(Inner { crowd: Mutex::new(Crowd::new(running, waiting)), metrics }))
    }

    /// Adds its metrics to the registry, whose prefix is `flyball`.
    pub fn register(&self, registry: &mut Registry) {
        let metrics = &self.0.metrics;
        let (inside, limit) = (metrics.inside.clone(), metrics.limit.clone());
        registry.register("query_turns", "Queries that run or wait for their turn", inside);
        registry.register("query_turns_limit", "Most queries that may run and wait now", limit);
        let refused = metrics.refused.clone();
        registry.register("query_turns_refused", "Queries that were refused a turn", refused);
    }

    /// Waits for a turn.
    ///
    /// # Errors
    /// When there are too many: at once, or after [`PATIENCE`] when there were not when it came.
    pub async fn enter(&self) -> Result<Turn, Crowded> {
        let came = Instant::now();
        let (ticket, turn) = oneshot::channel();
        let refused = || {
            self.0.metrics.refused.inc();
            Crowded
        };
        match self.change(|crowd| crowd.arrive(came, ticket)) {
            Arrival::Runs => Ok(Turn { turns: self.clone(), came, began: came }),
            Arrival::Refused => Err(refused()),
            Arrival::Waits(number) => {
                let _place = Place { turns: self, number };
                let turn = tokio::time::timeout(PATIENCE, turn).await.map_err(|_| refused())?;
                turn.map_err(|_| Crowded)
            }
        }
    }

    fn change<R>(&self, change: impl FnOnce(&mut Crowd<oneshot::Sender<Turn>>) -> R) -> R {
        let mut crowd = self.0.crowd.lock();
        let result = change(&mut crowd);
        self.0.metrics.inside.set((crowd.running + crowd.waiting.len()) as i64);
        self.0.metrics.limit.set(crowd.limit() as i64);
        result
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut next = self.turns.change(|crowd| {
            crowd.leave(self.came, now, now - self.began);
            crowd.next(now)
        });
        while let Some(Waiting { came, ticket, .. }) = next {
            // One who has just gone has let its turn fall, and that has passed it on.
            let _ = ticket.send(Turn { turns: self.turns.clone(), came, began: now });
            next = self.turns.change(|crowd| crowd.next(now));
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.turns.change(|crowd| crowd.give_up(self.number));
    }
}

// === impl Crowd ===

impl<T> Crowd<T> {
    const fn new(most_running: usize, most_waiting: usize) -> Self {
        Self {
            most_running,
            most_waiting,
            running: 0,
            waiting: Vec::new(),
            came: 0,
            queue_since: None,
            refused_at: None,
            standing: None,
            usual_s: None,
        }
    }

    fn limit(&self) -> usize {
        self.standing.map_or(self.most_running + self.most_waiting, |standing| standing.limit)
    }

    fn arrive(&mut self, now: Instant, ticket: T) -> Arrival {
        if self.running >= self.most_running {
            let since = *self.queue_since.get_or_insert(now);
            if self.standing.is_none() && now.duration_since(since) >= STANDING {
                self.standing = Some(Standing::begin(self.first_limit(), now));
            }
        }
        let is_over = |standing: Standing| {
            let since = self.refused_at.map_or(standing.since, |at| at.max(standing.since));
            now.duration_since(since) >= STANDING
        };
        if self.standing.is_some_and(is_over) {
            (self.standing, self.queue_since) = (None, None);
        }
        if self.running + self.counted() >= self.limit() {
            self.refused_at = Some(now);
            return Arrival::Refused;
        }
        if self.running < self.most_running {
            self.running += 1;
            return Arrival::Runs;
        }
        self.came += 1;
        self.waiting.push(Waiting { number: self.came, came: now, ticket });
        Arrival::Waits(self.came)
    }

    /// Those who wait and count against the limit.
    fn counted(&self) -> usize {
        let Some(standing) = self.standing else { return self.waiting.len() };
        self.waiting.iter().rev().take_while(|one| one.came >= standing.since).count()
    }

    /// One who ran has left; it had come at `came` and its turn took `turn`.
    fn leave(&mut self, came: Instant, now: Instant, turn: Duration) {
        self.running = self.running.saturating_sub(1);
        let most = self.most_running + self.most_waiting.min(self.most_running);
        let bounds = ((self.most_running / 2).max(1), most);
        match &mut self.standing {
            Some(standing) if came < standing.since => {}
            Some(standing) => {
                let total = now.duration_since(came);
                standing.learn(now, total.as_secs_f64(), self.usual_s, bounds);
            }
            None if self.waiting.is_empty() => {
                mean(&mut self.usual_s, turn.as_secs_f64(), USUAL_WEIGHT);
            }
            None => {}
        }
    }

    /// Who runs next; `None` when nobody waits or may run.
    fn next(&mut self, now: Instant) -> Option<Waiting<T>> {
        let may_run = self.running < self.most_running.min(self.limit());
        let is_aged = self.queue_since.is_some_and(|since| now.duration_since(since) >= AGEING);
        let is_pressed = self.refused_at.is_some_and(|at| now.duration_since(at) < STANDING);
        let next = match self.waiting.last().map(|last| last.came) {
            None => None,
            Some(_) if !may_run => None,
            Some(_) if !is_aged => Some(self.waiting.remove(0)),
            // Somebody has to run, or nobody would notice that there is room again.
            Some(came) if is_pressed && self.running > 0 => {
                let longest = self.usual_s.map_or(AGEING, Duration::from_secs_f64);
                if now.duration_since(came) <= longest { self.waiting.pop() } else { None }
            }
            Some(_) => self.waiting.pop(),
        };
        self.running += usize::from(next.is_some());
        self.notice_end();
        next
    }

    /// One does not want to wait any longer.
    fn give_up(&mut self, number: u64) {
        self.waiting.retain(|one| one.number != number);
        self.notice_end();
    }

    fn notice_end(&mut self) {
        if self.waiting.is_empty() {
            self.queue_since = None;
        }
    }

    /// One that waits for two that run.
    fn first_limit(&self) -> usize {
        self.most_running + self.most_waiting.min(self.most_running.div_ceil(2))
    }
}

// === impl Standing ===

impl Standing {
    const fn begin(limit: usize, now: Instant) -> Self {
        Self { since: now, limit, changed_at: now, recent_s: None }
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
