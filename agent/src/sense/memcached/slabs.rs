//! Slab classes: memcached keeps items of like size together, and evicts within a class.

use std::collections::BTreeMap;

use super::link::pairs;
use super::metrics as m;
use crate::sense::counters::Counters;
use crate::sense::parse::integer;
use crate::sense::redis::define;
use crate::sense::{Handle, Metric, Readings};

/// A statistic of a class and what it is published as.
type Wanted = (&'static str, &'static Metric, &'static [(&'static str, &'static str)]);

const GAUGES: [Wanted; 7] = [
    ("chunk_size", &m::SLAB_CHUNK, &[]),
    ("total_pages", &m::SLAB_PAGES, &[]),
    ("used_chunks", &m::SLAB_CHUNKS, &[("flyball.state", "used")]),
    ("free_chunks", &m::SLAB_CHUNKS, &[("flyball.state", "free")]),
    ("number", &m::SLAB_ITEMS, &[]),
    ("age", &m::SLAB_AGE, &[]),
    ("evicted_time", &m::SLAB_EVICTED_AGE, &[]),
];
const COUNTERS: [Wanted; 4] = [
    ("get_hits", &m::SLAB_HITS, &[]),
    ("cmd_set", &m::SLAB_SETS, &[]),
    ("evicted", &m::SLAB_EVICTIONS, &[]),
    ("outofmemory", &m::SLAB_OUT_OF_MEMORY, &[]),
];

/// One class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slab {
    pub(super) class: u32,
    gauges: [Option<i64>; GAUGES.len()],
    counters: [Option<i64>; COUNTERS.len()],
}

impl Slab {
    /// From `stats slabs`: lines of `STAT 1:chunk_size 96`, and some that are of no class.
    pub(super) fn read_slabs(text: &[u8]) -> Vec<Self> {
        let mut slabs: Vec<Self> = Vec::new();
        for (name, value) in pairs(text) {
            let Some((class, name)) = of_class(name) else { continue };
            if slabs.last().is_none_or(|last| last.class != class) {
                slabs.push(Self {
                    class,
                    gauges: [None; GAUGES.len()],
                    counters: [None; COUNTERS.len()],
                });
            }
            if let Some(last) = slabs.last_mut() {
                last.set(name, integer(value));
            }
        }
        slabs
    }

    /// Adds `stats items`: lines of `STAT items:1:number 1`.
    pub(super) fn read_items(slabs: &mut [Self], text: &[u8]) {
        for (name, value) in pairs(text) {
            let Some((class, name)) = name.strip_prefix(b"items:").and_then(of_class) else {
                continue;
            };
            if let Some(slab) = slabs.iter_mut().find(|slab| slab.class == class) {
                slab.set(name, integer(value));
            }
        }
    }

    fn set(&mut self, name: &[u8], value: Option<i64>) {
        let is_it = |wanted: &Wanted| wanted.0.as_bytes() == name;
        if let Some(place) = GAUGES.iter().position(is_it) {
            self.gauges[place] = value;
        } else if let Some(place) = COUNTERS.iter().position(is_it) {
            self.counters[place] = value;
        }
    }
}

/// Number of the class and the rest of `1:chunk_size`.
fn of_class(name: &[u8]) -> Option<(u32, &[u8])> {
    let colon = memchr::memchr(b':', name)?;
    let class = integer(&name[..colon]).and_then(|class| u32::try_from(class).ok())?;
    Some((class, &name[colon + 1..]))
}

/// The series of all classes that have been used. There are 63 at most.
#[derive(Default)]
pub(super) struct Slabs(BTreeMap<u32, Of>);

struct Of {
    gauges: [Handle; GAUGES.len()],
    counters: Counters<{ COUNTERS.len() }>,
}

impl Slabs {
    /// The counters began again.
    pub(super) fn restart(&mut self) {
        self.0.values_mut().for_each(|of| of.counters.restart());
    }

    pub(super) fn set(&mut self, cache: &str, slabs: &[Slab], readings: &mut Readings) {
        for slab in slabs {
            let of =
                self.0.entry(slab.class).or_insert_with(|| Of::define(cache, slab.class, readings));
            for (handle, value) in of.gauges.iter().zip(slab.gauges) {
                if let Some(value) = value {
                    readings.set(*handle, value);
                }
            }
            of.counters.set(slab.counters, readings);
        }
    }
}

impl Of {
    fn define(cache: &str, class: u32, readings: &mut Readings) -> Self {
        let class = class.to_string();
        let mut all = |wanted: &Wanted| {
            let mut more = vec![("flyball.slab", class.as_str())];
            more.extend(wanted.2);
            define(cache, wanted.1, &more, readings)
        };
        let gauges = GAUGES.each_ref().map(&mut all);
        Self { gauges, counters: Counters::new(COUNTERS.each_ref().map(all), false) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_read_from_both_answers() {
        let slabs = b"STAT 1:chunk_size 96\r\nSTAT 1:used_chunks 3\r\nSTAT 1:get_hits 9\r\nSTAT 15:chunk_size 2320\r\n\
            STAT active_slabs 2\r\nSTAT total_malloced 2097152\r\n";
        let mut all = Slab::read_slabs(slabs);
        let items = b"STAT items:1:number 3\r\nSTAT items:15:evicted 7\r\nSTAT items:99:number 1\r\nSTAT x:1 2\r\n";
        Slab::read_items(&mut all, items);
        assert_eq!(all.iter().map(|slab| slab.class).collect::<Vec<_>>(), [1, 15]);
        assert_eq!(all[0].gauges, [Some(96), None, Some(3), None, Some(3), None, None]);
        assert_eq!(all[0].counters, [Some(9), None, None, None]);
        assert_eq!(all[1].counters, [None, None, Some(7), None]);
    }
}
