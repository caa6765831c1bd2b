//! Page faults, swap traffic and what the kernel does to make room, from /proc/vmstat.

use super::counters::Counters;
use super::source::Source;
use super::table::{self, Table, Wanted};
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler};
use vmstat::{COUNTERS, LIMITS, MAJOR, MINOR};

mod vmstat;

const NAMES: usize = COUNTERS.len() + LIMITS.len();

/// Reads /proc/vmstat.
#[derive(Debug)]
pub(super) struct Paging {
    vmstat: Source,
    table: Table<NAMES>,
    page_kib: i64,
    series: Option<Series>,
}

#[derive(Debug)]
struct Series {
    counters: Counters<{ COUNTERS.len() }>,
    limits: [Handle; LIMITS.len()],
}

impl Paging {
    pub(super) fn new(paths: &HostPaths) -> Self {
        let mut groups = COUNTERS.iter().chain(&LIMITS).map(Wanted::names);
        Self {
            vmstat: Source::new(paths.proc.join("vmstat")),
            table: Table::of(std::array::from_fn(|_| {
                groups.next().expect("as many as were counted")
            })),
            page_kib: rustix::param::page_size() as i64 / 1024,
            series: None,
        }
    }
}

impl Sampler for Paging {
    fn name(&self) -> &'static str {
        "paging"
    }

    fn metrics(&self) -> &'static [Metric] {
        vmstat::METRICS
    }

    fn cost_rank(&self) -> u8 {
        40
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let values = self.table.lines(self.vmstat.read()?);
        if values == [None; NAMES] {
            return Err(self.vmstat.garbled("no counter of pages that is known"));
        }
        let series = self.series.get_or_insert_with(|| Series {
            counters: Counters::new(table::define(&COUNTERS, readings), false),
            limits: table::define(&LIMITS, readings),
        });
        let mut now = [None; COUNTERS.len()];
        now.copy_from_slice(&values[..COUNTERS.len()]);
        // The file has all faults. Both are summed over processors one after the other, so minor ones may seem to step back by what happened between.
        let minor = now[MINOR].zip(now[MAJOR]).map(|(all, major)| all - major);
        let last = series.counters.last()[MINOR];
        now[MINOR] = minor.filter(|minor| *minor >= 0);
        now[MINOR] = now[MINOR].map(|now| last.map_or(now, |last| hold(last, now)));
        series.counters.set(now, readings);
        for (handle, pages) in series.limits.iter().zip(&values[COUNTERS.len()..]) {
            if let Some(kib) = pages.and_then(|pages| pages.checked_mul(self.page_kib)) {
                readings.set(*handle, kib);
            }
        }
        Ok(())
    }
}

/// Keeps `last` when `now` is less by no more than what one reading can be torn by.
fn hold(last: i64, now: i64) -> i64 {
    if (0..1000).contains(&(last - now)) { last } else { now }
}
