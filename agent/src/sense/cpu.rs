//! Processor time by mode, and what else /proc/stat counts: processes created, context switches, interrupts, runnable and blocked threads.
//!
//! Time of guests is part of `user` and `nice` (proc_stat(5)), so it is not added again: the eight modes here are all of a processor's time.
//! The kernel warns that `iowait` may decrease, and the others can step back a little where ticks are split by sampled states. A step back of less than [`RESTART_SECONDS`] holds the
//! old value; a longer one is a processor that was taken off line and came back, and is flagged as a restart.

use flyball_proto::series::{Kind, Scale};

use super::counters::Counters;
use super::devices::Devices;
use super::source::Source;
use super::{Handle, HostPaths, Metric, Readings, SampleError, Sampler, parse};

/// As node_exporter has it: rounding steps back by a few ticks, a processor that comes back by all its time.
const RESTART_SECONDS: i64 = 3;
/// User-space clock ticks of every architecture that Rust runs Linux on.
const TICKS_PER_SECOND: i64 = 100;

const MODES: [&str; 8] =
    ["user", "nice", "system", "idle", "iowait", "interrupt", "softirq", "steal"];
/// Ticks by mode.
type Ticks = [i64; MODES.len()];

const TIME: Metric = Metric {
    name: "system.cpu.time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(2),
    attributes: &["cpu.logical_number", "cpu.mode"],
    description: "Seconds that each logical processor spent in each mode; time of guests is in user and nice.",
};
pub(super) const UTILIZATION: Metric = Metric {
    name: "system.cpu.utilization",
    unit: "1",
    kind: Kind::Gauge,
    scale: Scale::decimal(4),
    attributes: &["cpu.mode"],
    description: "Share of the time of all logical processors since the last tick that was spent in each mode; the shares sum to 1.",
};
pub(super) const COUNT: Metric = Metric {
    name: "system.cpu.logical.count",
    unit: "{cpu}",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Logical processors that are on line.",
};
const CREATED: Metric = Metric {
    name: "system.process.created",
    unit: "{process}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Processes and threads created since boot.",
};

const SWITCHES: Metric = Metric {
    name: "flyball.cpu.context_switches",
    unit: "{context_switch}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Context switches on all processors.",
};
const INTERRUPTS: Metric = Metric {
    name: "flyball.cpu.interrupts",
    unit: "{interrupt}",
    kind: Kind::Counter,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Interrupts that all processors served.",
};
const THREADS: Metric = Metric {
    name: "flyball.thread.count",
    unit: "{thread}",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &["flyball.thread.state"],
    description: "Threads by state: runnable (on a processor or waiting for one), blocked (waiting for a device).",
};

const SOFTIRQS: Metric = Metric::counter(
    "flyball.cpu.softirqs",
    "{interrupt}",
    &["flyball.softirq.type"],
    "Deferred work after interrupts that all processors did, by type: network (net_rx, net_tx), block devices, timers and so on.",
);
const GUEST_TIME: Metric = Metric {
    name: "flyball.cpu.guest_time",
    unit: "s",
    kind: Kind::Counter,
    scale: Scale::decimal(2),
    attributes: &["cpu.mode"],
    description: "Seconds that all processors spent in virtual machines of this host; they are part of user and nice.",
};
/// In the order of the kernel's numbers (include/linux/interrupt.h).
const SOFTIRQ_TYPES: [&str; 10] =
    ["hi", "timer", "net_tx", "net_rx", "block", "irq_poll", "tasklet", "sched", "hrtimer", "rcu"];

/// Reads /proc/stat.
#[derive(Debug)]
pub(super) struct Cpu {
    stat: Source,
    cores: Devices<Core>,
    total: Option<Ticks>,
    host: Option<HostSeries>,
}

#[derive(Debug)]
struct Core {
    counters: Counters<8>,
    held: Option<Ticks>,
}

#[derive(Debug)]
struct HostSeries {
    shares: [Handle; MODES.len()],
    count: Handle,
    /// Processes created, context switches, interrupts.
    counters: Counters<3>,
    /// Runnable, blocked.
    threads: [Handle; 2],
    softirqs: Counters<{ SOFTIRQ_TYPES.len() }>,
    /// Of user and nice priority.
    guests: Counters<2>,
}

/// What is not of one processor, in the order of the fields of [`HostSeries`].
#[derive(Debug, Default)]
struct Rest {
    counters: [Option<i64>; 3],
    threads: [Option<i64>; 2],
    softirqs: [Option<i64>; SOFTIRQ_TYPES.len()],
    guests: [Option<i64>; 2],
}

impl Cpu {
    pub(super) fn new(paths: &HostPaths) -> Self {
        let stat = Source::new(paths.proc.join("stat"));
        Self { stat, cores: Devices::default(), total: None, host: None }
    }
}

impl Sampler for Cpu {
    fn name(&self) -> &'static str {
        "cpu"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[TIME, UTILIZATION, COUNT, CREATED, SWITCHES, INTERRUPTS, SOFTIRQS, GUEST_TIME, THREADS]
    }

    fn cost_rank(&self) -> u8 {
        50
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let text = self.stat.read()?;
        let aggregate = parse::lines(text).next().and_then(|line| line.strip_prefix(b"cpu "));
        let Some(total) = aggregate.and_then(ticks) else {
            return Err(self.stat.garbled("the first line is not `cpu` with eight modes"));
        };
        let host = self.host.get_or_insert_with(|| HostSeries::define(readings));
        let (mut listing, mut rest) = (Listing::default(), Rest::default());
        rest.guests = guests(text);
        for line in parse::lines(text).skip(1) {
            if line.starts_with(b"cpu") {
                listing.core(line, &mut self.cores, readings);
            } else {
                rest.line(line);
            }
        }
        self.cores.finish(listing.complete, |core| core.counters.retire(readings));
        host.set(&rest, readings);
        if listing.complete {
            readings.set(host.count, listing.count);
        }
        if let Some(last) = &self.total {
            host.share(last, &total, readings);
        }
        self.total = Some(self.total.map_or(total, |last| held(&last, &total)));
        Ok(())
    }
}

/// The processors of one reading.
struct Listing {
    count: i64,
    complete: bool,
}

impl Default for Listing {
    fn default() -> Self {
        Self { count: 0, complete: true }
    }
}

impl Listing {
    fn core(&mut self, line: &[u8], cores: &mut Devices<Core>, readings: &mut Readings) {
        let (label, rest) =
            line.split_at(line.iter().position(|byte| *byte == b' ').unwrap_or(line.len()));
        let number = label.strip_prefix(b"cpu").filter(|number| parse::unsigned(number).is_some());
        self.count += 1;
        let (Some(number), Some(now)) = (number, ticks(rest)) else {
            self.complete = false;
            return;
        };
        if let Some(core) = cores.get(number, |late| Core::define(number, late, readings)) {
            core.set(&now, readings);
        }
    }
}

impl Rest {
    fn line(&mut self, line: &[u8]) {
        let mut fields = parse::fields(line);
        let value = match fields.next() {
            Some(b"softirq") => {
                // The first number is the sum of the others.
                for (value, field) in self.softirqs.iter_mut().zip(fields.skip(1)) {
                    *value = parse::integer(field);
                }
                return;
            }
            Some(b"processes") => &mut self.counters[0],
            Some(b"ctxt") => &mut self.counters[1],
            Some(b"intr") => &mut self.counters[2],
            Some(b"procs_running") => &mut self.threads[0],
            Some(b"procs_blocked") => &mut self.threads[1],
            _ => return,
        };
        *value = fields.next().and_then(parse::integer);
    }
}

impl Core {
    fn define(number: &[u8], late: bool, readings: &mut Readings) -> Self {
        let number = String::from_utf8_lossy(number);
        let handles = MODES.map(|mode| {
            readings.define(&TIME, &[("cpu.logical_number", &number), ("cpu.mode", mode)])
        });
        Self { counters: Counters::new(handles, late), held: None }
    }

    fn set(&mut self, now: &Ticks, readings: &mut Readings) {
        let now = self.held.map_or(*now, |last| held(&last, now));
        self.held = Some(now);
        self.counters.set(now.map(Some), readings);
    }
}

impl HostSeries {
    fn define(readings: &mut Readings) -> Self {
        Self {
            shares: MODES.map(|mode| readings.define(&UTILIZATION, &[("cpu.mode", mode)])),
            count: readings.define(&COUNT, &[]),
            counters: Counters::new(
                [CREATED, SWITCHES, INTERRUPTS].map(|metric| readings.define(&metric, &[])),
                false,
            ),
            threads: ["runnable", "blocked"]
                .map(|state| readings.define(&THREADS, &[("flyball.thread.state", state)])),
            softirqs: Counters::new(
                SOFTIRQ_TYPES
                    .map(|kind| readings.define(&SOFTIRQS, &[("flyball.softirq.type", kind)])),
                false,
            ),
            guests: Counters::new(
                ["user", "nice"].map(|mode| readings.define(&GUEST_TIME, &[("cpu.mode", mode)])),
                false,
            ),
        }
    }

    fn set(&mut self, rest: &Rest, readings: &mut Readings) {
        self.counters.set(rest.counters, readings);
        self.softirqs.set(rest.softirqs, readings);
        self.guests.set(rest.guests, readings);
        for (handle, count) in self.threads.iter().zip(rest.threads) {
            if let Some(count) = count {
                readings.set(*handle, count);
            }
        }
    }

    /// Sets the shares of the time between two readings; unknown when no time passed or some of it is missing.
    fn share(&self, last: &Ticks, now: &Ticks, readings: &mut Readings) {
        let now = held(last, now);
        let spent: Ticks = std::array::from_fn(|mode| now[mode] - last[mode]);
        let all: i64 = spent.iter().sum();
        if all == 0 || spent.iter().any(|spent| *spent < 0) {
            return;
        }
        for (handle, spent) in self.shares.iter().zip(spent) {
            readings.set_value(*handle, spent as f64 / all as f64);
        }
    }
}

/// Time of guests at user and at nice priority: the ninth and tenth number of the first line.
fn guests(text: &[u8]) -> [Option<i64>; 2] {
    let mut fields = parse::lines(text).next().into_iter().flat_map(parse::fields).skip(9);
    [fields.next(), fields.next()].map(|field| field.and_then(parse::integer))
}

/// The first eight numbers of a line. Their sum fits, so that shares can be taken.
fn ticks(numbers: &[u8]) -> Option<Ticks> {
    let mut ticks = Ticks::default();
    let mut fields = parse::fields(numbers);
    for value in &mut ticks {
        *value = parse::integer(fields.next()?)?;
    }
    ticks.iter().try_fold(0_i64, |sum, value| sum.checked_add(*value)).map(|_| ticks)
}

/// `now`, but with small steps back held at the last value.
fn held(last: &Ticks, now: &Ticks) -> Ticks {
    std::array::from_fn(|mode| {
        let back = last[mode] - now[mode];
        if (1..RESTART_SECONDS * TICKS_PER_SECOND).contains(&back) { last[mode] } else { now[mode] }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_steps_back_are_held_and_large_ones_pass() {
        let last = [1000; 8];
        let mut now = [1001; 8];
        now[4] = 900;
        now[3] = 500;
        let held = held(&last, &now);
        assert_eq!(held[4], 1000);
        assert_eq!(held[3], 500);
        assert_eq!(held[0], 1001);
    }

    #[test]
    fn a_line_needs_eight_numbers_whose_sum_fits() {
        assert_eq!(ticks(b" 1 2 3 4 5 6 7 8 9 10"), Some([1, 2, 3, 4, 5, 6, 7, 8]));
        assert_eq!(ticks(b" 1 2 3 4 5 6 7"), None);
        assert_eq!(ticks(b" 1 2 3 4 5 6 7 x"), None);
        assert_eq!(ticks(b" 9223372036854775807 1 0 0 0 0 0 0"), None);
    }
}
