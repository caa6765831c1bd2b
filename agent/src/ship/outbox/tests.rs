//! The outbox against a model that remembers every frame, and what the lanes read from it.

mod examples;

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
