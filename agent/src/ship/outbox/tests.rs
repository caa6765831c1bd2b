//! The outbox against a model that remembers every frame, and what the lanes read from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::spool::memory_disk::{Faults, MemoryDisk, Operation};
use crate::spool::{SpoolSettings, Syncing};

const MEMORY_BYTES: usize = 8_000;
const SPOOL_BYTES: u64 = 150_000;
/// What the spool may be above its limit: the segment that is written, which cannot be shed.
const OPEN_BYTES: u64 = 40_000;

#[derive(Debug, Clone)]
enum Action {
    Append { samples: u32, bytes: usize, keyframe: bool },
    NewDictionary,
    Define,
    Connect,
    Disconnect,
    Read { credits: u32 },
    Ack { share: f64, rejected: u64 },
    Rewind,
    Distrust,
    Replay { share: f64 },
    GiveUp,
    Relieve,
    Disk { faults: Faults },
    Kill,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        16 => (0_u32..50, 1_usize..600, prop::bool::weighted(0.2))
            .prop_map(|(samples, bytes, keyframe)| Action::Append { samples, bytes, keyframe }),
        1 => Just(Action::NewDictionary),
        2 => Just(Action::Define),
        2 => Just(Action::Connect),
        1 => Just(Action::Disconnect),
        8 => (0_u32..20).prop_map(|credits| Action::Read { credits }),
        6 => (0.0..1.2, 0_u64..5).prop_map(|(share, rejected)| Action::Ack { share, rejected }),
        1 => Just(Action::Rewind),
        1 => Just(Action::Distrust),
        4 => (0.0..1.2).prop_map(|share| Action::Replay { share }),
        1 => Just(Action::GiveUp),
        1 => Just(Action::Relieve),
        2 => faults().prop_map(|faults| Action::Disk { faults }),
        1 => Just(Action::Kill),
    ]
}

fn faults() -> impl Strategy<Value = Faults> {
    prop_oneof![
        2 => Just(Faults::default()),
        1 => Just(Faults { capacity_bytes: Some(60_000), ..Faults::default() }),
        1 => Just(Faults { failing: &[Operation::Write], ..Faults::default() }),
        1 => Just(Faults { failing: &[Operation::Read], ..Faults::default() }),
        1 => Just(Faults { failing: &[Operation::Sync, Operation::Remove], ..Faults::default() }),
    ]
}

fn series(slot: u32) -> v1::SeriesDefinition {
    v1::SeriesDefinition { slot, metric: format!("m{slot}"), ..v1::SeriesDefinition::default() }
}

/// Frame `seq` as the tests encode it: its number, the version and size of its dictionary, whether it is a keyframe, padding.
fn payload(seq: u64, version: u32, slots: u32, keyframe: bool, bytes: usize) -> Vec<u8> {
    let mut payload = seq.to_le_bytes().to_vec();
    payload.extend(version.to_le_bytes());
    payload.extend(slots.to_le_bytes());
    payload.push(u8::from(keyframe));
    payload.resize(payload.len() + bytes, 0);
    payload
}

/// A collector's decoder, which panics at whatever a real one would refuse.
#[derive(Debug, Default)]
struct Receiver {
    version: u32,
    slots: u32,
    last_seq: Option<u64>,
}

impl Receiver {
    fn define(&mut self, define: &v1::Define) {
        assert!(define.dictionary_version >= self.version, "versions only grow");
        if define.dictionary_version > self.version {
            *self = Self { version: define.dictionary_version, slots: 0, last_seq: None };
        }
        for series in &define.series {
            assert_eq!(series.slot, self.slots, "slots are append-only");
            self.slots += 1;
        }
    }

    fn frame(&mut self, payload: &[u8]) -> u64 {
        let seq = u64::from_le_bytes(payload[..8].try_into().unwrap());
        let version = u32::from_le_bytes(payload[8..12].try_into().unwrap());
        let slots = u32::from_le_bytes(payload[12..16].try_into().unwrap());
        assert_eq!(version, self.version, "frame {seq} has its dictionary");
        assert!(slots <= self.slots, "frame {seq} has its definitions");
        let builds_on = self.last_seq.is_some_and(|last| seq <= last + 1);
        assert!(payload[16] == 1 || builds_on, "frame {seq} after {:?}", self.last_seq);
        self.last_seq = Some(self.last_seq.map_or(seq, |last| last.max(seq)));
        seq
    }

    fn take(&mut self, message: &Outgoing) -> Option<u64> {
        match message {
            Outgoing::Define(define) => {
                self.define(define);
                None
            }
            Outgoing::Frame(payload) => Some(self.frame(payload)),
        }
    }
}

/// A frame as the model remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fate {
    samples: u64,
    is_acked: bool,
}

struct Model {
    disk: MemoryDisk,
    outbox: Outbox,
    epoch: u8,
    receiver: Receiver,
    /// Numbers that the present stream of the live lane has received and that its Hello did not exclude.
    received: Vec<u64>,
    hello_seq: u64,
    version: u32,
    slots: u32,
    seq: u64,
    frames: BTreeMap<(u8, u64), Fate>,
    is_connected: bool,
    /// The disk has refused something: a kill may lose what it did not take.
    is_faulty: bool,
    rejected: u64,
}

fn open(disk: &MemoryDisk, epoch: u8) -> Outbox {
    let limits = SpoolSettings { limit_bytes: SPOOL_BYTES, fsync: Duration::from_secs(5) };
    let on: Arc<dyn crate::spool::disk::Disk> = Arc::new(disk.clone());
    let (spool, recovery) = Spool::open_on(on, &limits, Syncing::Inline).unwrap();
    let settings =
        OutboxSettings { epoch: [epoch; 16], interval_ms: 1_000, memory_bytes: MEMORY_BYTES };
    Outbox::new(settings, spool, &recovery)
}

impl Model {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let mut model = Self {
            outbox: open(&disk, 1),
            disk,
            epoch: 1,
            receiver: Receiver::default(),
            received: Vec::new(),
            hello_seq: 0,
            version: 0,
            slots: 0,
            seq: 0,
            frames: BTreeMap::new(),
            is_connected: false,
            is_faulty: false,
            rejected: 0,
        };
        model.new_dictionary();
        model
    }

    fn new_dictionary(&mut self) {
        (self.version, self.slots) = (self.version + 1, 0);
        self.outbox.define(v1::Define { dictionary_version: self.version, series: Vec::new() });
        assert!(self.outbox.keyframe_wanted());
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Append { samples, bytes, keyframe } => self.append(*samples, *bytes, *keyframe),
            Action::NewDictionary => self.new_dictionary(),
            Action::Define => {
                let series = vec![series(self.slots)];
                self.slots += 1;
                self.outbox.define(v1::Define { dictionary_version: self.version, series });
            }
            Action::Connect => self.connect(),
            Action::Disconnect => {
                self.outbox.disconnect();
                self.is_connected = false;
                self.received.clear();
            }
            Action::Read { credits } if self.is_connected => self.read(*credits),
            Action::Read { .. } => {}
            Action::Ack { share, rejected } => {
                let seq = (self.seq as f64 * share) as u64;
                self.ack(seq, *rejected);
            }
            Action::Rewind => {
                if self.outbox.rewind() {
                    self.received.clear();
                } else {
                    self.connect();
                }
            }
            Action::Distrust => self.outbox.distrust_live(),
            Action::Replay { share } => self.replay(*share),
            Action::GiveUp => {
                if let Some(backlog) = self.outbox.backlog() {
                    let (_, samples) = self.outbox.unacked_of(backlog.unit).unwrap();
                    assert_eq!(self.outbox.give_up(backlog.unit, Shed::Refused), samples);
                }
            }
            Action::Relieve => {
                self.outbox.relieve();
                assert_eq!(self.outbox.totals().unspooled, 0);
            }
            Action::Disk { faults } => {
                self.is_faulty |= *faults != Faults::default();
                self.disk.set_faults(*faults);
            }
            Action::Kill => self.kill(),
        }
    }

    fn append(&mut self, samples: u32, bytes: usize, keyframe: bool) {
        self.seq += 1;
        let seq = self.seq;
        let keyframe = keyframe || self.outbox.keyframe_wanted() || seq == 1;
        let payload = payload(seq, self.version, self.slots, keyframe, bytes);
        let fate = Fate { samples: u64::from(samples), is_acked: false };
        self.frames.insert((self.epoch, seq), fate);
        let ts_ms = 1_700_000_000_000 + seq as i64 * 1_000;
        self.outbox.append(&NewFrame { seq, ts_ms, samples, keyframe, payload: &payload });
    }

    fn connect(&mut self) {
        self.hello_seq = self.outbox.hello_seq();
        self.outbox.connect();
        self.is_connected = true;
        self.receiver = Receiver::default();
        self.received.clear();
    }

    fn read(&mut self, credits: u32) {
        let before = self.received.len();
        while let Some(message) = self.outbox.next(credits) {
            if let Some(seq) = self.receiver.take(&message)
                && seq > self.hello_seq
            {
                self.received.push(seq);
            }
        }
        let unacked = self.outbox.live.in_transit();
        assert!(unacked <= before.max(credits as usize), "{unacked} with {credits} credits");
    }

    fn ack(&mut self, seq: u64, rejected: u64) {
        let before = self.outbox.totals();
        self.outbox.ack(seq, rejected);
        let after = self.outbox.totals();
        self.rejected += after.shed[Shed::Rejected as usize] - before.shed[Shed::Rejected as usize];
        for received in self.received.extract_if(.., |received| *received <= seq) {
            self.frames.get_mut(&(self.epoch, received)).unwrap().is_acked = true;
        }
    }

    /// A collector takes a segment of the backlog and acknowledges the first part of it.
    fn replay(&mut self, share: f64) {
        let Some(backlog) = self.outbox.backlog() else { return };
        let mut receiver = Receiver::default();
        backlog.definitions.iter().for_each(|define| receiver.define(define));
        let count = backlog.frames.len() as f64;
        let durable = backlog.frames.iter().take((count * share) as usize);
        let mut durable_seq = backlog.acked_seq;
        for frame in durable {
            durable_seq = durable_seq.max(receiver.frame(&frame.payload));
            if frame.seq > backlog.acked_seq {
                self.frames.get_mut(&(backlog.epoch[0], frame.seq)).unwrap().is_acked = true;
            }
        }
        self.outbox.ack_backlog(&backlog, durable_seq, 0);
        assert!(!self.outbox.ack_backlog(&backlog, durable_seq, 0), "once is enough");
    }

    /// The process is killed, and another one begins.
    fn kill(&mut self) {
        self.disk.set_faults(Faults::default());
        let before = self.outbox.totals();
        self.disk.kill();
        self.epoch += 1;
        self.outbox = open(&self.disk, self.epoch);
        let after = self.outbox.totals();
        if !self.is_faulty {
            assert_eq!(
                (after.produced, after.acked, after.in_flight, after.shed),
                (before.produced, before.acked, before.in_flight, before.shed),
                "kill -9 loses nothing"
            );
        }
        (self.seq, self.version) = (0, 0);
        self.new_dictionary();
        self.connect();
    }

    fn check(&self) {
        let totals = self.outbox.totals();
        let settled = totals.acked + totals.shed_in_all();
        assert_eq!(totals.produced, settled + totals.in_flight, "{totals:?}");
        assert!(totals.bytes <= MEMORY_BYTES, "{} bytes", totals.bytes);
        assert!(totals.spool_bytes <= SPOOL_BYTES + OPEN_BYTES, "{} bytes", totals.spool_bytes);
        let produced: u64 = self.frames.values().map(|frame| frame.samples).sum();
        if !self.is_faulty {
            let acked = self.frames.values().filter(|f| f.is_acked).map(|f| f.samples).sum::<u64>();
            assert_eq!(totals.produced, produced);
            assert_eq!(totals.acked, acked - self.rejected);
        }
        let report = self.outbox.report();
        assert_eq!(report.in_flight, totals.in_flight);
        assert_eq!(report.oldest_unacked_ms != 0, totals.frames > 0);
    }

    /// Whatever happened before, the lanes bring every frame that is in flight.
    fn drain(&mut self) {
        self.disk.set_faults(Faults::default());
        let in_flight = self.outbox.totals().in_flight;
        let mut arrived = 0;
        self.outbox.seal();
        self.connect();
        self.read(u32::MAX);
        let mut acked: Vec<_> = self.received.iter().map(|seq| (self.epoch, *seq)).collect();
        self.ack(self.seq, 0);
        while let Some(backlog) = self.outbox.backlog() {
            let last_seq = backlog.frames.last().unwrap().seq;
            let sent = backlog.frames.iter().filter(|frame| frame.seq > backlog.acked_seq);
            acked.extend(sent.map(|frame| (backlog.epoch[0], frame.seq)));
            self.outbox.ack_backlog(&backlog, last_seq, 0);
        }
        acked.sort_unstable();
        acked.dedup();
        arrived += acked.iter().map(|frame| self.frames[frame].samples).sum::<u64>();
        let totals = self.outbox.totals();
        assert_eq!((totals.in_flight, totals.frames, totals.unspooled), (0, 0, 0));
        assert!(self.outbox.is_drained());
        assert_eq!(arrived, in_flight, "every frame in flight arrives, and nothing else");
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_model(actions in prop::collection::vec(action(), 1..150)) {
        let mut model = Model::new();
        for action in &actions {
            model.act(action);
            model.check();
        }
        model.drain();
    }
}

/// Frames of ten samples; those named begin a segment.
fn filled(frames: u64, begins: &[u64]) -> Model {
    let mut model = Model::new();
    model.act(&Action::Define);
    for seq in 1..=frames {
        if begins.contains(&seq) {
            model.outbox.want_keyframe();
        }
        model.append(10, 10, false);
    }
    model
}

fn read(model: &mut Model, credits: u32) -> Vec<u64> {
    let messages = std::iter::from_fn(|| model.outbox.next(credits));
    let messages: Vec<_> = messages.collect();
    messages.iter().filter_map(|message| model.receiver.take(message)).collect()
}

#[test]
fn a_new_stream_goes_on_from_the_keyframe_before_the_first_frame_that_is_not_stored() {
    let mut model = filled(5, &[1, 3]);
    model.connect();
    assert_eq!(read(&mut model, u32::MAX), [1, 2, 3, 4, 5]);
    assert!(model.outbox.ack(4, 0));
    model.connect();
    assert_eq!(model.hello_seq, 4);
    assert_eq!(read(&mut model, u32::MAX), [3, 4, 5]);
    assert_eq!(model.outbox.totals().in_flight, 10);
    assert!(model.outbox.backlog().is_none(), "all is the live lane's");
}

#[test]
fn frames_that_only_carry_state_take_no_credit() {
    let mut model = filled(5, &[1, 3]);
    model.connect();
    read(&mut model, u32::MAX);
    model.outbox.ack(4, 0);
    model.connect();
    assert_eq!(read(&mut model, 0), [3, 4]);
    assert_eq!(read(&mut model, 1), [5]);
}

#[test]
fn more_than_a_short_break_is_backlog_and_the_live_lane_goes_on_with_the_present() {
    let many = live::MAX_UNACKED as u64 + 1;
    let mut model = Model::new();
    for _ in 0..many {
        model.append(1, 0, false);
    }
    let totals = model.outbox.totals();
    assert_eq!((totals.bytes, totals.in_flight), (0, many), "nothing of it is in memory");
    model.connect();
    assert_eq!(model.hello_seq, many);
    assert!(model.outbox.keyframe_wanted());
    model.append(1, 0, false);
    assert_eq!(read(&mut model, u32::MAX), [many + 1]);
    let backlog = model.outbox.backlog().unwrap();
    assert_eq!((backlog.frames.len() as u64, backlog.acked_seq), (many, 0));
    assert!(model.outbox.ack_backlog(&backlog, many, 0));
    assert_eq!(model.outbox.totals().in_flight, 1);
}

#[test]
fn rejected_samples_are_not_counted_as_stored() {
    let mut model = filled(5, &[1, 3]);
    model.connect();
    read(&mut model, u32::MAX);
    model.outbox.ack(2, 7);
    model.outbox.ack(2, 7);
    let totals = model.outbox.totals();
    assert_eq!((totals.acked, totals.shed[Shed::Rejected as usize], totals.in_flight), (13, 7, 30));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_not_believed() {
    let mut model = filled(5, &[1, 3]);
    model.connect();
    assert_eq!(read(&mut model, 2), [1, 2]);
    assert!(model.outbox.ack(u64::MAX, 0));
    assert_eq!((model.outbox.acked_seq(), model.outbox.totals().in_flight), (2, 30));
    assert!(!model.outbox.ack(5, 0));
}

#[test]
fn what_is_under_way_when_the_lane_is_given_up_may_still_be_acknowledged() {
    let mut model = filled(2, &[1]);
    model.connect();
    read(&mut model, u32::MAX);
    for _ in 0..live::MAX_UNACKED {
        model.append(1, 0, false);
    }
    model.outbox.want_keyframe();
    model.append(1, 0, true);
    assert!(model.outbox.backlog().is_none(), "its first frames are under way");
    assert!(model.outbox.ack(2, 0));
    assert_eq!(model.outbox.totals().acked, 20);
    let backlog = model.outbox.backlog().unwrap();
    assert_eq!(backlog.acked_seq, 2, "the rest of it is backlog");
}

#[test]
fn memory_is_given_back_without_losing_what_is_on_disk() {
    let mut model = filled(5, &[1, 3]);
    assert_eq!(model.outbox.relieve(), 0);
    assert_eq!(model.outbox.totals().bytes, 0);
    model.drain();
    assert_eq!(model.outbox.totals().acked, 50);
}

#[test]
fn frames_that_the_disk_does_not_take_are_kept_in_memory_and_arrive() {
    let mut model = filled(3, &[1]);
    model.disk.set_faults(Faults { failing: &[Operation::Write], ..Faults::default() });
    for _ in 0..6 {
        model.append(10, 10, false);
    }
    let totals = model.outbox.totals();
    assert_eq!((totals.in_flight, totals.unspooled), (90, 60));
    model.outbox.distrust_live();
    model.drain();
    assert_eq!(model.outbox.totals().acked, 90);
}

#[test]
fn a_disk_that_works_again_is_used_again() {
    let mut model = filled(3, &[1]);
    model.disk.set_faults(Faults { failing: &[Operation::Write], ..Faults::default() });
    model.append(10, 10, false);
    model.disk.set_faults(Faults::default());
    for _ in 0..5 {
        model.append(10, 10, false);
    }
    assert_eq!(model.outbox.disk, Disk::Works);
    let unspooled = model.outbox.totals().unspooled;
    assert!((10..=30).contains(&unspooled), "{unspooled} until it was tried again");
    model.connect();
    read(&mut model, u32::MAX);
    model.outbox.ack(9, 0);
    assert_eq!((model.outbox.totals().acked, model.outbox.totals().unspooled), (90, 0));
}

#[test]
fn on_a_full_disk_the_oldest_segments_make_room() {
    let mut model = Model::new();
    model.disk.set_faults(Faults { capacity_bytes: Some(60_000), ..Faults::default() });
    for seq in 0..100 {
        if seq % 5 == 0 {
            model.outbox.want_keyframe();
        }
        model.append(10, 1_000, false);
    }
    let totals = model.outbox.totals();
    assert!(totals.shed[Shed::Full as usize] > 0, "{totals:?}");
    assert_eq!(totals.unspooled, 0, "{totals:?}");
    let newest = model.outbox.spool.segments().next_back().unwrap();
    assert_eq!(newest.last_seq, 100);
    model.check();
}

#[test]
fn a_stream_cannot_go_back_to_an_older_dictionary() {
    let mut model = filled(5, &[1, 3]);
    model.new_dictionary();
    model.append(1, 10, true);
    model.connect();
    read(&mut model, u32::MAX);
    assert!(!model.outbox.rewind());
    model.outbox.ack(5, 0);
    assert!(model.outbox.rewind());
    assert_eq!(read(&mut model, u32::MAX), [6]);
}

#[test]
fn the_segments_of_an_earlier_process_are_backlog() {
    let mut model = filled(5, &[1, 3]);
    model.kill();
    model.append(10, 10, true);
    assert_eq!(model.outbox.totals().in_flight, 60);
    assert_eq!(read(&mut model, u32::MAX), [1]);
    for expected in [vec![1, 2], vec![3, 4, 5]] {
        let backlog = model.outbox.backlog().unwrap();
        let seqs: Vec<_> = backlog.frames.iter().map(|frame| frame.seq).collect();
        assert_eq!((backlog.epoch, seqs), ([1; 16], expected.clone()));
        model.outbox.ack_backlog(&backlog, *expected.last().unwrap(), 0);
    }
    assert!(model.outbox.backlog().is_none());
}

#[test]
fn a_segment_that_cannot_be_understood_is_counted_and_the_next_one_is_sent() {
    let mut model = filled(5, &[1, 3]);
    model.outbox.distrust_live();
    model.outbox.seal();
    let name = model.disk.names().into_iter().find(|name| name.starts_with("segment")).unwrap();
    let mut bytes = model.disk.content(&name).unwrap();
    bytes[100..].fill(0x55);
    model.disk.put(&name, &bytes);
    let backlog = model.outbox.backlog().unwrap();
    assert_eq!(backlog.frames[0].seq, 3);
    let totals = model.outbox.totals();
    assert_eq!((totals.shed[Shed::Lost as usize], totals.in_flight), (20, 30));
    assert_eq!(model.outbox.report().corrupt_segments, 1);
}

#[test]
fn definitions_are_sent_in_parts_of_bounded_size() {
    let mut model = Model::new();
    let large = |slot| v1::SeriesDefinition { metric: "x".repeat(100_000), ..series(slot) };
    let series = (0..20).map(large).collect();
    model.outbox.define(v1::Define { dictionary_version: 1, series });
    model.slots = 20;
    model.append(1, 10, true);
    model.connect();
    let messages: Vec<_> = std::iter::from_fn(|| model.outbox.next(9)).collect();
    assert_eq!(messages.len(), 21, "20 definitions of 100 kB, each alone, then the frame");
    let seqs: Vec<_> = messages.iter().filter_map(|m| model.receiver.take(m)).collect();
    assert_eq!(seqs, [1]);
}

#[test]
fn frames_in_memory_keep_the_segment_that_they_continue() {
    let mut model = filled(1, &[1]);
    model.connect();
    model.read(1);
    model.ack(1, 0);
    model.disk.set_faults(Faults { failing: &[Operation::Write], ..Faults::default() });
    model.append(10, 10, false);
    model.outbox.distrust_live();
    model.drain();
    assert_eq!(model.outbox.totals().acked, 20);
}

#[test]
fn a_time_that_comes_again_is_told_apart_also_after_a_kill() {
    let start_ms = 1_700_000_000_000;
    let mut model = Model::new();
    let mut given = Vec::new();
    let mut tick = |model: &mut Model, second: i64, step| {
        let stamp_ms = model.outbox.stamp(start_ms + second * 1_000, step).unwrap();
        model.seq += 1;
        let frame = payload(model.seq, model.version, model.slots, model.seq == 1, 10);
        let keyframe = model.seq == 1;
        let seq = model.seq;
        let frame = NewFrame { seq, ts_ms: stamp_ms, samples: 1, keyframe, payload: &frame };
        model.outbox.append(&frame);
        given.push(stamp_ms - start_ms);
    };
    (1..=5).for_each(|second| tick(&mut model, second, None));
    tick(&mut model, 3, Some(Step::Backward));
    tick(&mut model, 4, None);
    model.kill();
    // The clock of the next process is behind as well.
    tick(&mut model, 4, None);
    tick(&mut model, 6, None);
    tick(&mut model, 60, Some(Step::Forward));
    assert_eq!(given, [1_000, 2_000, 3_000, 4_000, 5_000, 3_001, 4_001, 4_002, 6_000, 60_000]);
    let report = model.outbox.report();
    assert_eq!((report.clock_steps_forward, report.clock_steps_backward), (1, 2));
}
