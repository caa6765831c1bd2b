//! Statistics of each command. A command's series are there once it has been called.

use std::collections::HashMap;

use super::super::counters::Counters;
use super::metrics as m;
use super::series::define;
use crate::redis::{Command, Info};
use crate::sense::{Handle, Readings};

/// Commands with series of their own, the first ones that are seen: an application uses a few dozen.
const MOST: usize = 128;
const PERCENTILES: [&str; 3] = ["p50", "p99", "p99.9"];
const FAILURES: [&str; 2] = ["rejected", "failed"];

/// The series of all commands.
#[derive(Default)]
pub(super) struct Commands {
    all: HashMap<String, Of>,
    /// They have been read before: a command that is new now has been called since.
    were_read: bool,
}

struct Of {
    counts: Counters<2>,
    failures: [Option<Counters<1>>; FAILURES.len()],
    latency: Option<[Handle; PERCENTILES.len()]>,
}

impl Commands {
    /// The counters began again.
    pub(super) fn restart(&mut self) {
        for of in self.all.values_mut() {
            of.counts.restart();
            of.failures.iter_mut().flatten().for_each(Counters::restart);
        }
    }

    pub(super) fn set(&mut self, cache: &str, info: &Info, readings: &mut Readings) {
        for command in &info.commands {
            if !self.all.contains_key(&command.name) {
                if self.all.len() >= MOST {
                    continue;
                }
                let of = Of::define(cache, &command.name, self.were_read, readings);
                self.all.insert(command.name.clone(), of);
            }
            if let Some(of) = self.all.get_mut(&command.name) {
                of.set(cache, command, self.were_read, readings);
            }
        }
        for percentiles in &info.percentiles {
            let Some(of) = self.all.get_mut(&percentiles.name) else { continue };
            let handles = of.latency.get_or_insert_with(|| {
                PERCENTILES.map(|percentile| {
                    let more = [("cmd", &*percentiles.name), ("percentile", percentile)];
                    define(cache, &m::CMD_LATENCY, &more, readings)
                })
            });
            for (handle, nanos) in handles.iter().zip(percentiles.nanos) {
                if let Some(nanos) = nanos {
                    readings.set(*handle, nanos);
                }
            }
        }
        self.were_read |= !info.commands.is_empty();
    }
}

impl Of {
    fn define(cache: &str, name: &str, late: bool, readings: &mut Readings) -> Self {
        let handles = [&m::CMD_CALLS, &m::CMD_USEC]
            .map(|metric| define(cache, metric, &[("cmd", name)], readings));
        Self { counts: Counters::new(handles, late), failures: [None, None], latency: None }
    }

    fn set(&mut self, cache: &str, command: &Command, late: bool, readings: &mut Readings) {
        self.counts.set([Some(command.calls), Some(command.usec)], readings);
        let counts = [command.rejected, command.failed];
        for ((counters, reason), count) in self.failures.iter_mut().zip(FAILURES).zip(counts) {
            if counters.is_none() && count.unwrap_or(0) > 0 {
                let more = [("cmd", &*command.name), ("flyball.reason", reason)];
                let handle = define(cache, &m::CMD_FAILURES, &more, readings);
                *counters = Some(Counters::new([handle], late));
            }
            if let Some(counters) = counters {
                counters.set([count], readings);
            }
        }
    }
}
