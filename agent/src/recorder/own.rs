//! What the agent says of its own sampling and shipping. Few series, most of them constant, so they cost next to nothing on the wire; those by sampler are
//! published with the slow samplers' rhythm only.

use std::time::Duration;

use flyball_proto::frame::Encoder;
use flyball_proto::series::{Kind, Scale};

use super::entry::Entry;
use super::runner::Runner;
use super::slots::Slots;
use crate::schedule::Tick;
use crate::sense::{Handle, Metric, Readings};
use crate::ship::outbox::{Shed, Totals};

/// Time between two publications of the series by sampler, in milliseconds.
const DETAIL_PERIOD_MS: i64 = 10_000;
/// Microseconds.
const MICROS: Scale = Scale::decimal(6);

const fn counter(
    name: &'static str,
    unit: &'static str,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric { name, unit, kind: Kind::Counter, scale: Scale::UNIT, attributes, description }
}

const fn gauge(
    name: &'static str,
    unit: &'static str,
    scale: Scale,
    attributes: &'static [&'static str],
    description: &'static str,
) -> Metric {
    Metric { name, unit, kind: Kind::Gauge, scale, attributes, description }
}

const JITTER: Metric = gauge(
    "flyball.agent.sampling.jitter",
    "s",
    MICROS,
    &[],
    "How long after its scheduled time a tick began.",
);
const MISSED: Metric = counter(
    "flyball.agent.ticks.missed",
    "{tick}",
    &[],
    "Ticks that could not begin within half an interval and were left out.",
);
const STEPS: Metric = counter(
    "flyball.agent.clock.steps",
    "{step}",
    &["flyball.direction"],
    "Steps of the wall clock by more than half an interval, forward and backward, since the data directory was made.",
);
const PRODUCED: Metric = counter(
    "flyball.agent.samples.produced",
    "{sample}",
    &[],
    "Samples encoded into frames since the data directory was made: acked + in flight + shed.",
);
const ACKED: Metric =
    counter("flyball.agent.samples.acked", "{sample}", &[], "Samples that a collector has stored.");
const SHED: Metric = counter(
    "flyball.agent.samples.shed",
    "{sample}",
    &["flyball.reason"],
    "Samples given up, by reason: full (spool), memory (ceiling), refused (with their segment), rejected (one by one), thinned (detail), lost (by the disk).",
);
const IN_FLIGHT: Metric = gauge(
    "flyball.agent.samples.in_flight",
    "{sample}",
    Scale::UNIT,
    &[],
    "Samples that are neither stored nor shed.",
);
const OUTBOX: Metric =
    gauge("flyball.agent.outbox.usage", "By", Scale::KIBI, &[], "Memory that frames take.");
const SPOOL: Metric = gauge(
    "flyball.agent.spool.usage",
    "By",
    Scale::KIBI,
    &[],
    "Room that the spool takes on disk.",
);
const LEFT_OUT: Metric = gauge(
    "flyball.agent.series.left_out",
    "{series}",
    Scale::UNIT,
    &[],
    "Series that are not sent because the dictionary or the collector's limits have no room for them.",
);
const DURATION: Metric = gauge(
    "flyball.agent.sampler.duration",
    "s",
    MICROS,
    &["flyball.sampler"],
    "Mean time of a sampler's read.",
);
const FAILURES: Metric = counter(
    "flyball.agent.sampler.failures",
    "{failure}",
    &["flyball.sampler", "flyball.reason"],
    "Reads that published nothing, by reason: error, timeout.",
);
const PERIOD: Metric = gauge(
    "flyball.agent.sampler.period",
    "s",
    Scale::decimal(3),
    &["flyball.sampler"],
    "Time between two reads, after slowing by the budget.",
);

/// Everything that the recorder publishes by itself.
pub const METRICS: &[Metric] = &[
    JITTER, MISSED, STEPS, PRODUCED, ACKED, SHED, IN_FLIGHT, OUTBOX, SPOOL, LEFT_OUT, DURATION,
    FAILURES, PERIOD,
];

/// The recorder's own series.
pub(super) struct Own {
    readings: Readings,
    pub(super) slots: Slots,
    jitter: Handle,
    missed: Handle,
    steps: [Handle; 2],
    produced: Handle,
    acked: Handle,
    shed: [Handle; Shed::ALL.len()],
    in_flight: Handle,
    outbox: Handle,
    spool: Handle,
    left_out: Handle,
    samplers: Vec<OfSampler>,
    detail_due_ms: i64,
    ticks_missed: u64,
}

/// The series of one sampler.
struct OfSampler {
    duration: Handle,
    period: Handle,
    errors: Handle,
    /// Only where a deadline can be missed.
    timeouts: Option<Handle>,
}

impl OfSampler {
    fn new(entry: &Entry, readings: &mut Readings) -> Self {
        let name = ("flyball.sampler", entry.name);
        let threaded = matches!(entry.runner, Runner::Threaded { .. });
        Self {
            duration: readings.define(&DURATION, &[name]),
            period: readings.define(&PERIOD, &[name]),
            errors: readings.define(&FAILURES, &[name, ("flyball.reason", "error")]),
            timeouts: threaded
                .then(|| readings.define(&FAILURES, &[name, ("flyball.reason", "timeout")])),
        }
    }

    fn set(&self, entry: &mut Entry, readings: &mut Readings) {
        let seconds = |time: Duration| time.as_secs_f64();
        if let Some(mean) = entry.take_mean_duration() {
            readings.set_value(self.duration, seconds(mean));
        }
        readings.set_value(self.period, seconds(entry.period()));
        readings.set(self.errors, entry.errors as i64);
        if let Some(timeouts) = self.timeouts {
            readings.set(timeouts, entry.timeouts as i64);
        }
    }
}

impl Own {
    /// Defines the series, before all others: where room is short, the account of it is not what is left out.
    pub(super) fn new(entries: &[Entry], encoder: &mut Encoder) -> Self {
        let mut r = Readings::default();
        let mut own = Self {
            jitter: r.define(&JITTER, &[]),
            missed: r.define(&MISSED, &[]),
            steps: ["forward", "backward"]
                .map(|direction| r.define(&STEPS, &[("flyball.direction", direction)])),
            produced: r.define(&PRODUCED, &[]),
            acked: r.define(&ACKED, &[]),
            shed: Shed::ALL.map(|reason| r.define(&SHED, &[("flyball.reason", reason.as_str())])),
            in_flight: r.define(&IN_FLIGHT, &[]),
            outbox: r.define(&OUTBOX, &[]),
            spool: r.define(&SPOOL, &[]),
            left_out: r.define(&LEFT_OUT, &[]),
            samplers: entries.iter().map(|entry| OfSampler::new(entry, &mut r)).collect(),
            readings: r,
            slots: Slots::default(),
            detail_due_ms: i64::MIN,
            ticks_missed: 0,
        };
        own.slots.publish(&mut own.readings, encoder);
        own
    }

    /// A tick that has no timestamp: nothing is read in it.
    pub(super) fn missed(&mut self, tick: &Tick) {
        self.ticks_missed += tick.missed + 1;
    }

    /// Sets the values of a tick. `totals` are those before this tick's frame, `steps` those of the clock forward and backward.
    pub(super) fn tick(
        &mut self,
        tick: &Tick,
        totals: &Totals,
        steps: (u64, u64),
        entries: &mut [Entry],
        encoder: &mut Encoder,
    ) {
        self.ticks_missed += tick.missed;
        let r = &mut self.readings;
        r.set(self.jitter, tick.jitter.as_micros() as i64);
        r.set(self.missed, self.ticks_missed as i64);
        r.set(self.steps[0], steps.0 as i64);
        r.set(self.steps[1], steps.1 as i64);
        r.set(self.produced, totals.produced as i64);
        r.set(self.acked, totals.acked as i64);
        for (handle, samples) in self.shed.iter().zip(totals.shed) {
            r.set(*handle, samples as i64);
        }
        r.set(self.in_flight, totals.in_flight as i64);
        if tick.scheduled_ms >= self.detail_due_ms || tick.step.is_some() {
            self.detail_due_ms =
                (tick.scheduled_ms.div_euclid(DETAIL_PERIOD_MS) + 1) * DETAIL_PERIOD_MS;
            r.set_value(self.outbox, totals.bytes as f64);
            r.set_value(self.spool, totals.spool_bytes as f64);
            let left_out: usize = entries.iter().map(|entry| entry.slots.left_out()).sum();
            r.set(self.left_out, (left_out + self.slots.left_out()) as i64);
            for (of, entry) in self.samplers.iter().zip(entries) {
                of.set(entry, r);
            }
        }
        self.slots.publish(r, encoder);
    }
}
