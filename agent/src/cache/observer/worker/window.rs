//! Windows in which events are heard, and what they tell.

use std::time::{Duration, Instant};

use flyball_proto::steering::MissAttribution;

use super::Worker;
use crate::cache::now_ms;
use crate::cache::observer::estimate;
use crate::cache::observer::look::{Look, Since};
use crate::cache::observer::schedule::{Heard, Next, Seen};
use crate::cache::watch::Looked;
use crate::redis::Shares;

/// How long events are heard before anything else is looked after.
const STEP: Duration = Duration::from_millis(100);
/// Whole blocks of a window: one fewer than are kept, since the last one is cut off.
const WINDOW_BLOCKS: u32 = 11;
/// Shortest block.
const LEAST_BLOCK: Duration = Duration::from_millis(500);

/// A window that is open.
#[derive(Debug)]
pub(super) struct Window {
    pub(super) until: Instant,
    /// Events that were accounted for.
    pub(super) heard: u64,
}

impl Worker {
    /// Opens a window where the schedule says so.
    pub(super) fn decide_window(&mut self, look: &Look, since: &Since, cpu: f64, draws: f64) {
        let per_second = |count: f64| count / since.seconds;
        let seen = Seen {
            cpu,
            keys: look.facts.keys as f64,
            events_per_second: per_second(since.misses + since.evicted + since.expired),
            evictions_per_second: per_second(since.evicted),
        };
        let length = match self.ledger.next(&self.limits, &seen, self.report_every) {
            Next::Watch(length) => length,
            Next::Rest(_, reason) => {
                self.resting = reason;
                return;
            }
        };
        self.events.watch.pace(draws, (length / WINDOW_BLOCKS).max(LEAST_BLOCK));
        match self.events.watch.start(true) {
            Ok(running) => {
                self.events.running = Some(running);
                let heard = self.events.watch.heard();
                self.window = Some(Window { until: Instant::now() + length, heard });
                self.instance.observed().window();
                let seconds = length.as_secs();
                tracing::debug!(cache = self.instance.name(), seconds, "hears keyspace events");
            }
            Err(error) => self.trouble(&error, false),
        }
    }

    /// Hears events where a window is open.
    pub(super) fn listen(&mut self) {
        let Some(window) = &self.window else { return };
        let now = Instant::now();
        if now >= window.until {
            self.close_window();
            self.learn();
            self.save();
            return;
        }
        let Some(running) = &mut self.events.running else { return };
        let until = window.until.min(self.look_due).min(now + STEP);
        let mut all: Vec<Looked> = Vec::new();
        let result = self.events.watch.step(running, until, &mut |look| all.push(look));
        for looked in all {
            self.findings.take(looked, now);
        }
        match result {
            Ok(()) => self.events.works(),
            Err(error) => self.trouble(&error, false),
        }
    }

    /// What a window has told.
    fn learn(&mut self) {
        match estimate::curve(&self.events.watch) {
            Ok(curve) => self.known.curve = Some(curve),
            Err(reason) => {
                tracing::debug!(cache = self.instance.name(), reason, "events told no curve");
            }
        }
        if let Some(misses) = estimate::misses(&self.events.watch) {
            self.known.misses = Some((misses, now_ms() as i64));
            self.attribute(&misses);
        }
    }

    /// Tells the sampler why keys are missed.
    pub(super) fn attribute(&self, misses: &MissAttribution) {
        let MissAttribution { capacity, expired, invalidated, cold, .. } = *misses;
        let shares = Shares { capacity, expired, invalidated, cold };
        self.instance.attribution().set(Some(shares));
    }

    /// Ends the window that is open, if one is.
    pub(super) fn close_window(&mut self) {
        let (Some(window), Some(running)) = (self.window.take(), self.events.running.take()) else {
            return;
        };
        let events = self.events.watch.heard() - window.heard;
        self.instance.observed().heard(events, Duration::ZERO);
        self.ledger.heard(&Heard { events: events as f64, ..Heard::default() });
        self.look_due = self.look_due.min(Instant::now() + self.report_every);
        if let Err(error) = self.events.watch.end(running) {
            // The file of the lease is there as long as that is so.
            tracing::debug!(cache = self.instance.name(), %error, "a window ended early");
        }
    }
}
