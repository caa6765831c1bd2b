//! A circuit breaker: stops calling what fails, tries it again carefully.
//!
//! Closed, all calls go through. [`Settings::failures_in_a_row`] or a share of bad calls (failed,
//! or slower than `slow`) above `bad_share` among the last `window` calls opens it. Open, no call
//! goes through until a jittered, growing time has passed ([`Backoff`]). Then it is half open: up
//! to `probes` calls at a time try. `successes_to_close` good ones in a row close it, one bad one
//! opens it again. (Nygard, "Release It!"; the window is that of resilience4j.) A share alone sees
//! a dead server only after a full window of timeouts, failures in a row alone never see one that
//! fails every second call.
//!
//! Each permitted call has a [`Ticket`] and hands it back with its result. A ticket is of the
//! state's present life, its generation; results of an earlier one change nothing. So a slow
//! success from before the opening closes nothing, and a slow failure from before the closing opens
//! nothing. A probe that is never handed back counts as bad after `probe_timeout`, else a lost
//! ticket would keep the breaker half open for ever.
//!
//! The open time starts at its floor again only after a full window of calls while closed: what
//! closes and at once opens again must wait longer each time.
//!
//! Properties, each a test over random sequences of events:
//! - (a) open, nothing goes through before `retry_at`, which is at least half the floor and at most
//!   the cap away;
//! - (b) never are more probes out than allowed, and calls that are no probes go through only while
//!   it is closed;
//! - (c) results of an earlier generation change nothing but their counter;
//! - (d) it closes after exactly `successes_to_close` good probes without a bad one between;
//! - (e) it opens after exactly `failures_in_a_row`, or when bad calls are above the share of the
//!   last `window` calls and there were `min_calls`;
//! - (f) it never stays half open or open for ever: with calls that succeed, it closes;
//! - (g) open times grow while it flaps, and are at the floor again after a full good window.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::mix::next_unit;

/// When a breaker opens, for how long, and what closes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Failures in a row that open it; at least 1. A slow success ends a row.
    pub failures_in_a_row: u32,
    /// Last calls that the share is taken of; 1 to 65,536. A byte of memory each.
    pub window: usize,
    /// Calls in the window below which the share means nothing; from 1 to `window`.
    pub min_calls: usize,
    /// Share of bad calls above which it opens; 0 to 1, and 1 is never exceeded.
    pub bad_share: f64,
    /// A success that took longer is bad.
    pub slow: Duration,
    /// Probes that may be out at the same time while it is half open; at least 1.
    pub probes: u32,
    /// Good probes in a row that close it; at least 1.
    pub successes_to_close: u32,
    /// A probe without a result for this time is bad; above zero.
    pub probe_timeout: Duration,
    /// Ceiling of the first open time; above zero.
    pub open_floor: Duration,
    /// Ceiling of the longest open time; at least the floor, at most a day.
    pub open_cap: Duration,
}

/// The setting that is out of its limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{setting} of a circuit breaker must be {limits}")]
pub struct InvalidSettings {
    /// Its name.
    pub setting: &'static str,
    /// What it must be.
    pub limits: &'static str,
}

/// What stands for one permitted call. Hand it back with the call's result.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "hand it back with the result of the call"]
pub struct Ticket {
    generation: u64,
}

/// Whether a call may be made.
#[derive(Debug, PartialEq, Eq)]
#[must_use]
pub enum Permit {
    /// Yes, all calls may.
    Yes(Ticket),
    /// Yes, to find out whether calls may.
    Probe(Ticket),
    /// No.
    No {
        /// When to ask again, unless a probe's result changes the state before.
        retry_at: Instant,
    },
}

/// What the breaker does with calls. A closed one is the good case, as with a fuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// All calls go through.
    Closed,
    /// No call goes through before this time; the first that asks afterwards finds it half open.
    Open {
        /// When the first probe may go.
        until: Instant,
    },
    /// Probes go through.
    HalfOpen {
        /// Probes without a result.
        out: u32,
        /// Good probes so far.
        successes: u32,
    },
}

/// What happened since the start. Never falls.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times that it opened, from closed or half open.
    pub opened: u64,
    /// Times that it became half open.
    pub half_opened: u64,
    /// Times that it closed.
    pub closed: u64,
    /// Calls that were not permitted.
    pub refused: u64,
    /// Results of an earlier generation, which were ignored.
    pub stale: u64,
}

/// Decides which calls to one server may be made. See the module.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    state: State,
    /// Rises with every change of the state's kind.
    generation: u64,
    /// When a probe went out last.
    probed_at: Option<Instant>,
    failures_in_a_row: u32,
    /// Whether each of the last calls was bad, oldest first, and how many were.
    window: VecDeque<bool>,
    bad: usize,
    backoff: Backoff,
    random: u64,
    counters: Counters,
}

impl Default for Settings {
    /// For calls to a server in the same network that should answer within 100 ms.
    fn default() -> Self {
        Self {
            failures_in_a_row: 5,
            window: 100,
            min_calls: 20,
            bad_share: 0.5,
            slow: Duration::from_secs(1),
            probes: 1,
            successes_to_close: 3,
            probe_timeout: Duration::from_secs(5),
            open_floor: Duration::from_millis(500),
            open_cap: Duration::from_secs(30),
        }
    }
}

impl Settings {
    fn check(&self) -> Result<(), InvalidSettings> {
        const DAY: Duration = Duration::from_hours(24);
        let limits = [
            ("failures_in_a_row", "at least 1", self.failures_in_a_row >= 1),
            ("window", "from 1 to 65536", (1..=65_536).contains(&self.window)),
            ("min_calls", "from 1 to window", (1..=self.window).contains(&self.min_calls)),
            ("bad_share", "from 0 to 1", (0.0..=1.0).contains(&self.bad_share)),
            ("probes", "at least 1", self.probes >= 1),
            ("successes_to_close", "at least 1", self.successes_to_close >= 1),
            (
                "probe_timeout",
                "above zero and at most a day",
                !self.probe_timeout.is_zero() && self.probe_timeout <= DAY,
            ),
            ("open_floor", "above zero", !self.open_floor.is_zero()),
            (
                "open_cap",
                "from open_floor to a day",
                (self.open_floor..=DAY).contains(&self.open_cap),
            ),
        ];
        match limits.into_iter().find(|(_, _, holds)| !holds) {
            Some((setting, limits, _)) => Err(InvalidSettings { setting, limits }),
            None => Ok(()),
        }
    }
}

impl Breaker {
    /// A closed breaker. `seed` makes its open times differ from those of other breakers.
    ///
    /// # Errors
    /// Names the first setting that is out of its limits.
    pub fn new(settings: Settings, seed: u64) -> Result<Self, InvalidSettings> {
        settings.check()?;
        let backoff = Backoff::new(settings.open_floor, settings.open_cap)
            .map_err(|_| InvalidSettings { setting: "open_cap", limits: "at least open_floor" })?;
        Ok(Self {
            settings,
            state: State::Closed,
            generation: 0,
            probed_at: None,
            failures_in_a_row: 0,
            window: VecDeque::with_capacity(settings.window),
            bad: 0,
            backoff,
            random: seed,
            counters: Counters::default(),
        })
    }

    /// Whether a call may be made now.
    pub fn permit(&mut self, now: Instant) -> Permit {
        let (out, successes) = match self.state {
            State::Closed => return Permit::Yes(self.ticket()),
            State::Open { until } if now < until => return self.refuse(until),
            State::Open { .. } => {
                self.half_open();
                (0, 0)
            }
            State::HalfOpen { out, successes } => (out, successes),
        };
        if out < self.settings.probes {
            self.state = State::HalfOpen { out: out + 1, successes };
            self.probed_at = Some(now);
            return Permit::Probe(self.ticket());
        }
        let given_up_at = later(self.probed_at.unwrap_or(now), self.settings.probe_timeout);
        if now < given_up_at {
            return self.refuse(given_up_at);
        }
        let until = self.open(now);
        self.refuse(until)
    }

    /// The call succeeded and took this long.
    pub fn succeeded(&mut self, ticket: Ticket, now: Instant, took: Duration) {
        if self.is_present(ticket) {
            let slow = took > self.settings.slow;
            self.failures_in_a_row = 0;
            self.count(now, slow);
        }
    }

    /// The call failed: no answer, or one that says that the server cannot.
    pub fn failed(&mut self, ticket: Ticket, now: Instant) {
        if self.is_present(ticket) {
            self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
            self.count(now, true);
        }
    }

    /// The call was given up by the caller, so it says nothing about the server.
    pub fn abandoned(&mut self, ticket: Ticket) {
        if self.is_present(ticket)
            && let State::HalfOpen { out, .. } = &mut self.state
        {
            *out = out.saturating_sub(1);
        }
    }

    /// What it does with calls at present.
    pub fn state(&self) -> State {
        self.state
    }

    /// What happened since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn ticket(&self) -> Ticket {
        Ticket { generation: self.generation }
    }

    fn is_present(&mut self, Ticket { generation }: Ticket) -> bool {
        let present = generation == self.generation;
        self.counters.stale += u64::from(!present);
        present
    }

    fn refuse(&mut self, retry_at: Instant) -> Permit {
        self.counters.refused += 1;
        Permit::No { retry_at }
    }

    fn count(&mut self, now: Instant, bad: bool) {
        match self.state {
            State::Closed => self.count_call(now, bad),
            State::HalfOpen { .. } if bad => {
                self.open(now);
            }
            State::HalfOpen { out, successes } => {
                let successes = successes + 1;
                self.state = State::HalfOpen { out: out.saturating_sub(1), successes };
                if successes >= self.settings.successes_to_close {
                    self.close();
                }
            }
            State::Open { .. } => {}
        }
    }

    fn count_call(&mut self, now: Instant, bad: bool) {
        if self.window.len() == self.settings.window {
            self.bad -= usize::from(self.window.pop_front() == Some(true));
        }
        self.window.push_back(bad);
        self.bad += usize::from(bad);
        let calls = self.window.len();
        let too_many = calls >= self.settings.min_calls
            && self.bad as f64 > self.settings.bad_share * calls as f64;
        if too_many || self.failures_in_a_row >= self.settings.failures_in_a_row {
            self.open(now);
        } else if calls == self.settings.window {
            self.backoff.reset();
        }
    }

    /// Returns until when.
    fn open(&mut self, now: Instant) -> Instant {
        let random = next_unit(&mut self.random);
        let until = later(now, self.backoff.next_delay(random));
        self.enter(State::Open { until });
        self.counters.opened += 1;
        until
    }

    fn half_open(&mut self) {
        self.enter(State::HalfOpen { out: 0, successes: 0 });
        self.counters.half_opened += 1;
    }

    fn close(&mut self) {
        self.enter(State::Closed);
        self.counters.closed += 1;
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
        self.failures_in_a_row = 0;
        self.window.clear();
        self.bad = 0;
    }
}

/// A clock at its end stands still.
fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}

#[cfg(test)]
mod tests;
