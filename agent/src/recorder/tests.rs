//! The recorder with samplers that do what a real one cannot be made to do: hang, panic, fail on demand.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use flyball_proto::frame::Decoder;
use flyball_proto::series::{Kind, Scale};

use super::*;
use crate::sense::{Handle, Metric, Readings, SampleError};
use crate::ship::outbox::{Outbox, OutboxSettings, Outgoing, Shed};
use crate::spool::disk::Disk;
use crate::spool::memory_disk::MemoryDisk;
use crate::spool::{Spool, SpoolSettings, Syncing};

const INTERVAL: Duration = Duration::from_secs(1);
/// Long enough for a thread on a busy machine, where a test does not want a deadline to be missed.
const PATIENCE: Duration = Duration::from_secs(30);
const START_MS: i64 = 1_700_000_000_000;
const LIMITS: Limits =
    Limits { cpu_share: 0.005, memory_bytes: 25_000_000, ceiling_bytes: 50_000_000 };

const VALUE: Metric = Metric {
    name: "value",
    unit: "1",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &["of"],
    description: "",
};

type Read = Box<dyn FnMut(&mut Readings) -> Result<(), SampleError> + Send>;

struct Fake {
    name: &'static str,
    isolation: Isolation,
    read: Read,
}

impl Sampler for Fake {
    fn name(&self) -> &'static str {
        self.name
    }

    fn metrics(&self) -> &'static [Metric] {
        &[VALUE]
    }

    fn isolation(&self) -> Isolation {
        self.isolation
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        (self.read)(readings)
    }
}

fn fake(
    name: &'static str,
    isolation: Isolation,
    read: impl FnMut(&mut Readings) -> Result<(), SampleError> + Send + 'static,
) -> Scheduled {
    let read = Box::new(read);
    Scheduled { sampler: Box::new(Fake { name, isolation, read }), period: INTERVAL }
}

/// Publishes how often it has been read, then does `then`.
fn counting(
    name: &'static str,
    isolation: Isolation,
    mut then: impl FnMut(i64) -> Result<(), SampleError> + Send + 'static,
) -> Scheduled {
    let (mut handle, mut reads) = (None, 0);
    fake(name, isolation, move |readings| {
        let handle: Handle =
            *handle.get_or_insert_with(|| readings.define(&VALUE, &[("of", name)]));
        reads += 1;
        readings.set(handle, reads);
        then(reads)
    })
}

fn parse_error() -> SampleError {
    SampleError::Parse { path: "/proc/x".to_owned(), reason: "a number" }
}

/// An outbox whose disk is in memory.
fn outbox() -> Outbox {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let limits = SpoolSettings { limit_bytes: 10_000_000, fsync: Duration::from_secs(5) };
    let (spool, recovery) = Spool::open_on(disk, &limits, Syncing::Inline).unwrap();
    let settings = OutboxSettings { epoch: [1; 16], interval_ms: 1_000, memory_bytes: 1_000_000 };
    Outbox::new(settings, spool, &recovery)
}

/// A recorder whose frames are decoded as a collector would.
struct Harness {
    recorder: Recorder,
    decoder: Decoder,
    ts_ms: i64,
}

impl Harness {
    fn new(samplers: Vec<Scheduled>) -> Self {
        let outbox = Arc::new(SharedOutbox::new(outbox()));
        outbox.lock().connect();
        let mut recorder = Recorder::new(samplers, INTERVAL, LIMITS, outbox).unwrap();
        recorder.deadline = PATIENCE;
        let decoder = Decoder::new(frame::Limits::default());
        Self { recorder, decoder, ts_ms: START_MS }
    }

    /// One interval later.
    fn tick(&mut self) -> BTreeMap<String, f64> {
        self.tick_after(INTERVAL)
    }

    fn tick_after(&mut self, time: Duration) -> BTreeMap<String, f64> {
        self.ts_ms += time.as_millis() as i64;
        let jitter = Duration::from_micros(70);
        self.recorder.tick(&Tick { scheduled_ms: self.ts_ms, jitter, missed: 0, step: None });
        self.frame()
    }

    /// Values of the frames in the outbox that were not read yet, by `metric{attribute values}`.
    fn frame(&mut self) -> BTreeMap<String, f64> {
        let mut outbox = self.recorder.outbox.lock();
        let mut values = BTreeMap::new();
        while let Some(message) = outbox.next(u32::MAX) {
            match message {
                Outgoing::Define(define) => {
                    self.decoder.define(define).unwrap();
                }
                Outgoing::Frame(payload) => {
                    let frame = self.decoder.decode(&payload).unwrap();
                    assert!((0..2).contains(&(frame.ts_ms - self.ts_ms)), "a clock that went back");
                    for sample in frame.samples {
                        let series = frame.series(sample.slot).unwrap();
                        let of: Vec<_> =
                            series.attributes.iter().map(|(_, v)| v.as_str()).collect();
                        let name = format!("{}{{{}}}", series.metric, of.join(","));
                        values.insert(name, series.scale.value(sample.raw));
                    }
                }
            }
        }
        values
    }
}

fn get(values: &BTreeMap<String, f64>, name: &str) -> Option<f64> {
    values.get(name).copied()
}

#[test]
fn what_samplers_set_is_in_the_frame() {
    let ok = |_| Ok(());
    let mut harness = Harness::new(vec![
        counting("inline", Isolation::Inline, ok),
        counting("threaded", Isolation::Thread, ok),
    ]);
    for read in 1..=3 {
        let values = harness.tick();
        assert_eq!(get(&values, "value{inline}"), Some(f64::from(read)));
        assert_eq!(get(&values, "value{threaded}"), Some(f64::from(read)));
        assert_eq!(get(&values, "flyball.agent.sampling.jitter{}"), Some(0.000_07));
    }
}

#[test]
fn a_failed_read_publishes_nothing_and_is_counted_and_the_next_one_publishes_again() {
    let failing = |read| if read == 2 { Err(parse_error()) } else { Ok(()) };
    let mut harness = Harness::new(vec![
        counting("bad", Isolation::Inline, failing),
        counting("good", Isolation::Inline, |_| Ok(())),
    ]);
    assert_eq!(get(&harness.tick(), "value{bad}"), Some(1.0));
    let values = harness.tick();
    assert_eq!(get(&values, "value{bad}"), None);
    assert_eq!(get(&values, "value{good}"), Some(2.0));
    let values = harness.tick_after(INTERVAL * 10);
    assert_eq!(get(&values, "value{bad}"), Some(3.0));
    assert_eq!(get(&values, "flyball.agent.sampler.failures{error,bad}"), Some(1.0));
    assert_eq!(get(&values, "flyball.agent.sampler.failures{error,good}"), Some(0.0));
}

#[test]
fn a_panic_disables_its_sampler_only() {
    for isolation in [Isolation::Inline, Isolation::Thread] {
        let mut harness = Harness::new(vec![
            counting("bad", isolation, |read| {
                assert!(read < 2, "on purpose");
                Ok(())
            }),
            counting("good", Isolation::Inline, |_| Ok(())),
        ]);
        assert_eq!(get(&harness.tick(), "value{bad}"), Some(1.0));
        for read in 2..5 {
            let values = harness.tick();
            assert_eq!(get(&values, "value{bad}"), None, "{isolation:?}");
            assert_eq!(get(&values, "value{good}"), Some(f64::from(read)));
        }
        assert!(matches!(harness.recorder.entries[0].runner, Runner::Disabled));
        assert_eq!(harness.recorder.entries[0].errors, 1);
    }
}

#[test]
fn a_hanging_sampler_delays_nobody_and_is_not_asked_again_until_it_has_returned() {
    let (release, gate): (Sender<()>, _) = std::sync::mpsc::channel();
    let (began, begun) = std::sync::mpsc::channel();
    let mut harness = Harness::new(vec![
        counting("hanging", Isolation::Thread, move |read| {
            began.send(read).unwrap();
            if read == 2 {
                gate.recv().unwrap();
            }
            Ok(())
        }),
        counting("good", Isolation::Inline, |_| Ok(())),
    ]);
    assert_eq!(get(&harness.tick(), "value{hanging}"), Some(1.0));
    harness.recorder.deadline = Duration::from_millis(20);
    for read in 2..=5 {
        let values = harness.tick();
        assert_eq!(get(&values, "value{hanging}"), None);
        assert_eq!(get(&values, "value{good}"), Some(f64::from(read)));
    }
    let reads = [begun.recv_timeout(PATIENCE).unwrap(), begun.recv_timeout(PATIENCE).unwrap()];
    assert_eq!(reads, [1, 2]);
    assert!(begun.try_recv().is_err(), "asked once while it hung");
    assert_eq!(harness.recorder.entries[0].timeouts, 4);
    release.send(()).unwrap();
    // Its late answer must not appear as a value of a later tick: the next one is of a new read.
    harness.recorder.deadline = PATIENCE;
    let patience = Instant::now() + PATIENCE;
    let next = loop {
        assert!(Instant::now() < patience, "it has not come back");
        if let Some(value) = get(&harness.tick(), "value{hanging}") {
            break value;
        }
        // A lane on which nothing is acknowledged is given up after a while.
        harness.recorder.outbox.lock().ack(u64::MAX, 0);
        std::thread::yield_now();
    };
    assert_eq!(next.to_string(), "3");
}

#[test]
fn an_answer_that_comes_while_another_is_awaited_is_still_too_late() {
    let mut harness = Harness::new(vec![counting("late", Isolation::Thread, |_| Ok(()))]);
    harness.tick();
    let entry = &mut harness.recorder.entries[0];
    let Runner::Threaded { state, .. } = &mut entry.runner else { panic!("it has a thread") };
    let Thread::Idle(mut readings) = std::mem::replace(state, Thread::Late) else {
        panic!("it has answered")
    };
    let handle = readings.define(&VALUE, &[("of", "new")]);
    readings.set(handle, 7);
    let answer = Answer { index: 0, readings, outcome: Ok(runner::Cost::default()) };
    assert!(!harness.recorder.take(answer, harness.ts_ms));
    let values = harness.tick();
    assert_eq!(get(&values, "value{new}"), None);
    assert_eq!(get(&values, "value{late}"), Some(2.0));
}

#[test]
fn what_the_host_does_not_have_is_asked_for_rarely_and_is_no_failure() {
    let mut harness = Harness::new(vec![counting("absent", Isolation::Inline, |read| {
        if read < 3 { Err(SampleError::Unsupported("no such file".to_owned())) } else { Ok(()) }
    })]);
    let mut next = || {
        let values = harness.tick();
        // A lane on which nothing is acknowledged is given up after a while.
        harness.recorder.outbox.lock().ack(u64::MAX, 0);
        get(&values, "value{absent}")
    };
    let values: Vec<_> = (0..130).filter_map(|_| next()).collect();
    assert_eq!(values.first(), Some(&3.0), "two refusals, 60 s after each");
    assert_eq!(values.len(), 130 - 2 * 60);
    assert_eq!(harness.recorder.entries[0].errors, 0);
}

#[test]
fn a_slow_sampler_is_read_at_multiples_of_its_period_and_at_once_when_the_clock_went_back() {
    let slow =
        Scheduled { period: INTERVAL * 5, ..counting("slow", Isolation::Inline, |_| Ok(())) };
    let mut harness = Harness::new(vec![slow]);
    let at: Vec<_> = (0..20).filter(|_| get(&harness.tick(), "value{slow}").is_some()).collect();
    assert_eq!(at, [0, 4, 9, 14, 19]);
    harness.ts_ms -= 3_600_000;
    assert!(get(&harness.tick(), "value{slow}").is_some());
}

#[test]
fn a_new_dictionary_keeps_every_value_with_its_series() {
    let mut round = 0;
    let mut handles: Vec<Handle> = Vec::new();
    let churn = fake("churn", Isolation::Inline, move |readings| {
        round += 1;
        handles.drain(..).for_each(|handle| readings.retire(handle));
        for i in 0..500 {
            let name = format!("{round}-{i}");
            let handle = readings.define(&VALUE, &[("of", &name)]);
            readings.set(handle, round * 1000 + i);
            handles.push(handle);
        }
        Ok(())
    });
    let mut harness = Harness::new(vec![churn, counting("good", Isolation::Inline, |_| Ok(()))]);
    for round in 1..=20 {
        let values = harness.tick();
        for i in 0..500 {
            let value = get(&values, &format!("value{{{round}-{i}}}"));
            assert_eq!(value, Some(f64::from(round * 1000 + i)));
        }
        assert_eq!(get(&values, "value{good}"), Some(f64::from(round)));
        assert_eq!(values.keys().filter(|k| k.starts_with("value{")).count(), 501);
        assert!(get(&values, "flyball.agent.samples.produced{}").is_some());
    }
    assert!(harness.recorder.encoder.dictionary_version() > 2);
}

#[test]
fn the_account_of_samples_balances() {
    let mut harness = Harness::new(vec![counting("good", Isolation::Inline, |_| Ok(()))]);
    for round in 0..30_u64 {
        let values = harness.tick();
        let value = |name: &str| get(&values, &format!("flyball.agent.samples.{name}")).unwrap();
        let shed: f64 = ["full", "memory", "refused", "rejected", "thinned", "lost"]
            .iter()
            .map(|r| value(&format!("shed{{{r}}}")))
            .sum();
        let balance = value("produced{}") - value("acked{}") - value("in_flight{}") - shed;
        assert!(balance.abs() < 0.5, "{balance}");
        assert_eq!(value("acked{}") > 0.0, round > 3);
        let mut outbox = harness.recorder.outbox.lock();
        if round >= 3 {
            outbox.ack(round - 2, round % 2);
        }
        if round == 20 {
            outbox.distrust_live();
            outbox.disconnect();
            // The lane has nothing, and is taken up again with the next frame.
            assert_eq!(outbox.next(u32::MAX), None);
        }
        if round == 24 {
            let oldest = outbox.backlog().unwrap();
            assert!(outbox.give_up(oldest.unit, Shed::Refused) > 0);
        }
    }
}

#[test]
fn a_wanted_keyframe_is_made() {
    let mut harness = Harness::new(vec![counting("good", Isolation::Inline, |_| Ok(()))]);
    harness.tick();
    harness.tick();
    harness.recorder.outbox.lock().want_keyframe();
    harness.tick();
    let outbox = harness.recorder.outbox.lock();
    assert!(!outbox.keyframe_wanted());
    drop(outbox);
    harness.recorder.outbox.lock().ack(2, 0);
    harness.recorder.outbox.lock().connect();
    harness.decoder = Decoder::new(frame::Limits::default());
    assert_eq!(get(&harness.frame(), "value{good}"), Some(3.0), "the first segment is freed");
}

#[test]
fn over_budget_the_dearest_sampler_is_read_less_often_and_over_the_ceiling_memory_is_given_back() {
    let spin = |_| {
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(2) {}
        Ok(())
    };
    let mut harness = Harness::new(vec![
        counting("cheap", Isolation::Inline, |_| Ok(())),
        counting("dear", Isolation::Inline, spin),
    ]);
    harness.tick();
    harness.recorder.govern(&Usage { cpu_share: 0.02, memory_bytes: Some(10_000_000) });
    let values = harness.tick_after(INTERVAL * 10);
    assert_eq!(get(&values, "flyball.agent.sampler.period{cheap}"), Some(1.0));
    assert_eq!(get(&values, "flyball.agent.sampler.period{dear}"), Some(2.0));
    assert!(get(&values, "flyball.agent.sampler.duration{dear}").unwrap() >= 0.002);
    let reads = (0..10).filter(|_| harness.tick().contains_key("value{dear}")).count();
    assert_eq!(reads, 5);

    harness.recorder.govern(&Usage { cpu_share: 0.0, memory_bytes: Some(60_000_000) });
    assert_eq!(harness.recorder.outbox.lock().totals().bytes, 0);
    assert!(harness.frame().is_empty());
    let values = harness.tick_after(INTERVAL * 10);
    assert_eq!(get(&values, "flyball.agent.sampler.period{cheap}"), Some(64.0));
    assert_eq!(get(&values, "flyball.agent.samples.shed{memory}"), Some(0.0), "all is on disk");
}

#[test]
fn a_collector_with_tighter_limits_gets_fewer_series_and_another_one_all_again() {
    let many = |name: &'static str, count: i64| {
        let mut handles: Vec<Handle> = Vec::new();
        fake(name, Isolation::Inline, move |readings| {
            if handles.is_empty() {
                let define = |i: i64| readings.define(&VALUE, &[("of", &format!("{name}-{i}"))]);
                handles = (0..count).map(define).collect();
            }
            (1..).zip(&handles).for_each(|(raw, handle)| readings.set(*handle, raw));
            Ok(())
        })
    };
    let mut harness = Harness::new(vec![many("a", 20), many("b", 20)]);
    let values = |harness: &mut Harness| {
        let values = harness.tick_after(INTERVAL * 10);
        let of = values.iter().filter(|(name, _)| name.starts_with("value{"));
        assert!(of.clone().all(|(name, value)| {
            let number: f64 =
                name.trim_end_matches('}').rsplit('-').next().unwrap().parse().unwrap();
            (value - number - 1.0).abs() < 0.1
        }));
        let left_out = get(&values, "flyball.agent.series.left_out{}");
        (of.count(), values.len(), left_out)
    };
    let (all, in_all, left_out) = values(&mut harness);
    assert_eq!((all, left_out), (40, Some(0.0)));
    let limit = in_all as u32 - 15;
    let limits = v1::Limits { slots: limit, ..v1::Limits::default() };
    harness.recorder.outbox.lock().limit(limits);
    let (_, sent, left_out) = values(&mut harness);
    assert_eq!((sent as u32, left_out), (limit, Some(15.0)));
    harness.recorder.outbox.lock().limit(v1::Limits::default());
    assert_eq!(values(&mut harness), (40, in_all, Some(0.0)));
}

#[test]
fn a_series_without_room_comes_when_others_have_ended() {
    let mut round = 0;
    let mut handles: Vec<Handle> = Vec::new();
    let churn = fake("churn", Isolation::Inline, move |readings| {
        round += 1;
        match round {
            1 => {
                let define = |i: i64| readings.define(&VALUE, &[("of", &format!("first-{i}"))]);
                handles = (0..30).map(define).collect();
            }
            2 => handles.push(readings.define(&VALUE, &[("of", "late")])),
            3 => handles.drain(..20).for_each(|handle| readings.retire(handle)),
            _ => {}
        }
        for handle in &handles {
            readings.set(*handle, round);
        }
        Ok(())
    });
    let mut harness = Harness::new(vec![churn]);
    let slots = harness.tick().len() as u32;
    harness.recorder.encoder.set_limits(frame::Limits { slots, ..frame::Limits::default() });
    assert_eq!(get(&harness.tick(), "value{late}"), None);
    harness.tick();
    assert_eq!(get(&harness.tick(), "value{late}"), Some(4.0));
}
