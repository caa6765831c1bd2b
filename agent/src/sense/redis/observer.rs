//! What the agent's observer of an instance has done.

use super::metrics as m;
use super::series::define;
use crate::redis::ObservedCounts;
use crate::sense::{Handle, Readings};

/// Its series.
pub(super) struct Observer {
    windows: Handle,
    events: Handle,
    watched: Handle,
    refusals: Handle,
    guard_trips: Handle,
    state: Handle,
}

impl Observer {
    pub(super) fn define(cache: &str, r: &mut Readings) -> Self {
        let mut one = |metric| define(cache, metric, &[], r);
        Self {
            windows: one(&m::WINDOWS),
            events: one(&m::HEARD),
            watched: one(&m::WATCHED),
            refusals: one(&m::OBSERVER_REFUSALS),
            guard_trips: one(&m::GUARD_TRIPS),
            state: one(&m::STATE_SIZE),
        }
    }

    pub(super) fn set(&self, counts: &ObservedCounts, readings: &mut Readings) {
        readings.set(self.windows, counts.windows as i64);
        readings.set(self.events, counts.events as i64);
        readings.set(self.watched, counts.watched_ms as i64);
        readings.set(self.refusals, counts.refusals as i64);
        readings.set(self.guard_trips, counts.guard_trips as i64);
        readings.set(self.state, counts.state_bytes as i64);
    }
}
