//! Slow log, latencies and the cluster.

use std::collections::HashMap;

use super::super::counters::Counters;
use super::detail::{BOUNDS_US, Detail, Slow};
use super::metrics as m;
use super::series::define;
use crate::sense::{Handle, Metric, Readings};

/// Events of the latency monitor with series of their own; there are some twenty.
const MOST_EVENTS: usize = 64;
const CLUSTER: [&Metric; 6] = [
    &m::SLOTS_ASSIGNED,
    &m::SLOTS_OK,
    &m::SLOTS_PFAIL,
    &m::SLOTS_FAIL,
    &m::KNOWN_NODES,
    &m::NODE_COUNT,
];

/// Series that are there once there was something to say.
#[derive(Default)]
pub(super) struct Extra {
    slow: Option<SlowLog>,
    durations: Option<Counters<{ BOUNDS_US.len() }>>,
    events: HashMap<String, Handle>,
    cluster: Option<(Handle, [Handle; CLUSTER.len()])>,
}

struct SlowLog {
    entries: Handle,
    longest: Handle,
    count: i64,
    /// Number of the newest entry; `None`: there was none yet.
    last: Option<i64>,
}

impl Extra {
    /// The counters began again. The slow log is not among them.
    pub(super) fn restart(&mut self) {
        self.durations.iter_mut().for_each(Counters::restart);
    }

    /// The server is another one: its slow log is empty at first.
    pub(super) fn new_run(&mut self) {
        if let Some(slow) = &mut self.slow {
            slow.last = Some(-1);
        }
    }

    pub(super) fn set(&mut self, cache: &str, detail: &Detail, readings: &mut Readings) {
        if let Some(entries) = &detail.slow {
            let slow = self.slow.get_or_insert_with(|| SlowLog::define(cache, entries, readings));
            slow.set(entries, readings);
        }
        if let Some(durations) = detail.durations {
            let counters = self.durations.get_or_insert_with(|| {
                let handles = BOUNDS_US.map(|bound| {
                    let bound = bound.to_string();
                    define(cache, &m::DURATION, &[("flyball.bucket", &bound)], readings)
                });
                Counters::new(handles, false)
            });
            counters.set(durations.map(Some), readings);
        }
        for (event, latest_ms) in &detail.events {
            if !self.events.contains_key(event) && self.events.len() < MOST_EVENTS {
                let more = [("flyball.event", event.as_str())];
                let handle = define(cache, &m::LATENCY_EVENT, &more, readings);
                self.events.insert(event.clone(), handle);
            }
            if let Some(handle) = self.events.get(event) {
                readings.set(*handle, *latest_ms);
            }
        }
        if let Some((serves, numbers)) = detail.cluster {
            let (state, handles) = *self.cluster.get_or_insert_with(|| {
                let state = define(cache, &m::CLUSTER_STATE, &[], readings);
                (state, CLUSTER.map(|metric| define(cache, metric, &[], readings)))
            });
            readings.set(state, i64::from(serves));
            for (handle, number) in handles.iter().zip(numbers) {
                if let Some(number) = number {
                    readings.set(*handle, number);
                }
            }
        }
    }
}

impl SlowLog {
    /// What is in the log by now came before the agent.
    fn define(cache: &str, entries: &[Slow], readings: &mut Readings) -> Self {
        Self {
            entries: define(cache, &m::SLOWLOG, &[], readings),
            longest: define(cache, &m::SLOWLOG_LONGEST, &[], readings),
            count: 0,
            last: entries.first().map(|newest| newest.id),
        }
    }

    fn set(&mut self, entries: &[Slow], readings: &mut Readings) {
        let is_new = |entry: &&Slow| self.last.is_none_or(|last| entry.id > last);
        let longest = entries.iter().filter(is_new).map(|entry| entry.usec).max();
        readings.set(self.longest, longest.unwrap_or(0));
        if let Some(newest) = entries.first() {
            // A log that was emptied before goes on with its numbers; then only what is in it is counted.
            let more = self.last.map_or(entries.len() as i64, |last| newest.id - last);
            self.count += more.max(0);
            self.last = Some(newest.id);
        }
        readings.set(self.entries, self.count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_once_and_the_longest_new_one_is_told() {
        let mut readings = Readings::default();
        let slow = |id, usec| Slow { id, usec };
        let mut log = SlowLog::define("a", &[slow(41, 900)], &mut readings);
        let mut set = |entries: &[Slow]| {
            readings.clear();
            log.set(entries, &mut readings);
            let raw: Vec<_> = readings.values().iter().map(|value| value.raw).collect();
            (raw[0], raw[1])
        };
        assert_eq!(set(&[slow(41, 900)]), (0, 0));
        assert_eq!(set(&[slow(70, 5), slow(69, 8), slow(41, 900)]), (8, 29));
        assert_eq!(set(&[]), (0, 29));
        assert_eq!(set(&[slow(71, 3)]), (3, 30));
    }

    #[test]
    fn a_log_without_entries_counts_those_that_come() {
        let mut readings = Readings::default();
        let mut log = SlowLog::define("a", &[], &mut readings);
        log.set(&[Slow { id: 1_000, usec: 7 }], &mut readings);
        assert_eq!((log.count, log.last), (1, Some(1_000)));
    }
}
