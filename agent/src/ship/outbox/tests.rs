//! The outbox against a model that keeps every frame in a list, and what a stream reads from it.

use proptest::prelude::*;

use super::*;

const LIMIT_BYTES: usize = 4000;

/// What became of a frame, as the model sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    InFlight,
    Acked,
    Shed,
}

#[derive(Debug, Clone)]
enum Action {
    Append { samples: u32, bytes: usize, keyframe: bool },
    NewDictionary,
    Define,
    Ack { share: f64 },
    Read { credits: u32 },
    Reconnect,
    Rewind,
    ShedOldest,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0_u32..50, 1_usize..300, prop::bool::weighted(0.2))
            .prop_map(|(samples, bytes, keyframe)| Action::Append { samples, bytes, keyframe }),
        1 => Just(Action::NewDictionary),
        2 => Just(Action::Define),
        4 => (0.0..1.2).prop_map(|share| Action::Ack { share }),
        6 => (0_u32..20).prop_map(|credits| Action::Read { credits }),
        1 => Just(Action::Reconnect),
        1 => Just(Action::Rewind),
        1 => Just(Action::ShedOldest),
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

/// A collector that refuses whatever a real decoder would.
#[derive(Debug, Default)]
struct Receiver {
    version: u32,
    slots: u32,
    last_seq: Option<u64>,
}

impl Receiver {
    fn take(&mut self, message: &Outgoing) -> Option<u64> {
        match message {
            Outgoing::Define(define) => {
                assert!(define.dictionary_version >= self.version, "versions only grow");
                if define.dictionary_version > self.version {
                    *self = Self { version: define.dictionary_version, slots: 0, last_seq: None };
                }
                for series in &define.series {
                    assert_eq!(series.slot, self.slots, "slots are append-only");
                    self.slots += 1;
                }
                None
            }
            Outgoing::Frame(payload) => {
                let seq = u64::from_le_bytes(payload[..8].try_into().unwrap());
                let version = u32::from_le_bytes(payload[8..12].try_into().unwrap());
                let slots = u32::from_le_bytes(payload[12..16].try_into().unwrap());
                assert_eq!(version, self.version, "frame {seq} has its dictionary");
                assert!(slots <= self.slots, "frame {seq} has its definitions");
                let builds_on = self.last_seq.is_some_and(|last| seq <= last + 1);
                assert!(payload[16] == 1 || builds_on, "frame {seq} after {:?}", self.last_seq);
                self.last_seq = Some(self.last_seq.map_or(seq, |last| last.max(seq)));
                Some(seq)
            }
        }
    }
}

struct Model {
    outbox: Outbox,
    cursor: Cursor,
    receiver: Receiver,
    version: u32,
    slots: u32,
    fates: Vec<(u32, Fate)>,
}

impl Model {
    fn new() -> Self {
        let outbox = Outbox::new(LIMIT_BYTES);
        let cursor = outbox.cursor();
        let mut model = Self {
            outbox,
            cursor,
            receiver: Receiver::default(),
            version: 0,
            slots: 0,
            fates: Vec::new(),
        };
        model.new_dictionary();
        model
    }

    fn new_dictionary(&mut self) {
        (self.version, self.slots) = (self.version + 1, 0);
        self.outbox.define(v1::Define { dictionary_version: self.version, series: Vec::new() });
        self.outbox.want_keyframe();
    }

    fn samples(&self, fate: Fate) -> u64 {
        self.fates.iter().filter(|(_, f)| *f == fate).map(|(s, _)| u64::from(*s)).sum()
    }

    /// Frames that the outbox no longer holds were acknowledged, or else they are shed now.
    fn note_shed(&mut self) {
        let shed = self.outbox.totals().shed.iter().sum::<u64>();
        let mut oldest = self.fates.iter().position(|(_, f)| *f == Fate::InFlight).unwrap_or(0);
        while self.samples(Fate::Shed) < shed {
            let (samples, fate) = &mut self.fates[oldest];
            if *fate == Fate::InFlight && *samples > 0 {
                *fate = Fate::Shed;
            }
            oldest += 1;
        }
    }

    fn act(&mut self, action: &Action) {
        match action {
            Action::Append { samples, bytes, keyframe } => {
                let seq = self.fates.len() as u64 + 1;
                let keyframe = *keyframe || self.outbox.keyframe_wanted() || seq == 1;
                let payload = payload(seq, self.version, self.slots, keyframe, *bytes);
                self.fates.push((*samples, Fate::InFlight));
                self.outbox.append(NewFrame {
                    seq,
                    samples: *samples,
                    keyframe,
                    payload: &payload,
                });
            }
            Action::NewDictionary => self.new_dictionary(),
            Action::Define => {
                let series = vec![series(self.slots)];
                self.slots += 1;
                self.outbox.define(v1::Define { dictionary_version: self.version, series });
            }
            Action::Ack { share } => self.ack((self.fates.len() as f64 * share) as u64),
            Action::Read { credits } => self.read(*credits),
            Action::Reconnect => self.reconnect(),
            Action::Rewind => {
                if !self.outbox.rewind(&mut self.cursor) {
                    self.reconnect();
                }
            }
            Action::ShedOldest => {
                self.outbox.shed_oldest(Shed::Refused);
            }
        }
        self.note_shed();
    }

    fn ack(&mut self, durable_seq: u64) {
        self.outbox.ack(durable_seq, 0);
        for (_, fate) in self.fates.iter_mut().take(durable_seq as usize) {
            if *fate == Fate::InFlight {
                *fate = Fate::Acked;
            }
        }
    }

    fn reconnect(&mut self) {
        self.cursor = self.outbox.cursor();
        self.receiver = Receiver::default();
    }

    fn read(&mut self, credits: u32) {
        let window = Window { credits, one_segment: false };
        let before = self.outbox.unacked(&self.cursor);
        let mut sent = 0;
        while let Some(message) = self.outbox.next(&mut self.cursor, window) {
            let seq = self.receiver.take(&message);
            sent += u64::from(seq.is_some_and(|seq| seq > self.outbox.acked_seq()));
        }
        let unacked = self.outbox.unacked(&self.cursor);
        assert_eq!(unacked, before + sent);
        assert!(unacked <= before.max(u64::from(credits)), "{unacked} with {credits} credits");
    }

    fn check(&self) {
        let totals = self.outbox.totals();
        assert_eq!(totals.produced, self.fates.iter().map(|(s, _)| u64::from(*s)).sum::<u64>());
        assert_eq!(totals.acked, self.samples(Fate::Acked));
        assert_eq!(totals.in_flight(), self.samples(Fate::InFlight));
        assert!(totals.bytes <= LIMIT_BYTES, "{} bytes", totals.bytes);
        assert!(totals.in_flight() == 0 || !self.outbox.is_drained());
    }

    /// Whatever happened before, a new stream gets every frame that is in flight.
    fn drain(&mut self) {
        self.reconnect();
        let window = Window { credits: u32::MAX, one_segment: false };
        let mut got = Vec::new();
        while let Some(message) = self.outbox.next(&mut self.cursor, window) {
            got.extend(self.receiver.take(&message));
        }
        assert!(got.windows(2).all(|pair| pair[0] < pair[1]), "in order: {got:?}");
        for (i, (samples, fate)) in self.fates.iter().enumerate() {
            let there = got.contains(&(i as u64 + 1));
            assert!(
                there || *fate != Fate::InFlight || *samples == 0,
                "frame {} is missing",
                i + 1
            );
        }
        self.ack(self.fates.len() as u64);
        assert!(self.outbox.is_drained());
        assert_eq!(self.outbox.totals().in_flight(), 0);
    }
}

proptest! {
    #[test]
    fn it_agrees_with_the_model(actions in prop::collection::vec(action(), 1..200)) {
        let mut model = Model::new();
        for action in &actions {
            model.act(action);
            model.check();
        }
        model.drain();
    }
}

fn filled(frames: &[(u64, bool)]) -> Outbox {
    let mut outbox = Outbox::new(1_000_000);
    outbox.define(v1::Define { dictionary_version: 1, series: vec![series(0)] });
    for (seq, keyframe) in frames {
        let payload = payload(*seq, 1, 1, *keyframe, 10);
        outbox.append(NewFrame { seq: *seq, samples: 10, keyframe: *keyframe, payload: &payload });
    }
    outbox
}

fn read(outbox: &Outbox, cursor: &mut Cursor, window: Window) -> Vec<u64> {
    let last_seq = (cursor.slots > 0).then(|| cursor.next_seq - 1);
    let mut receiver =
        Receiver { version: cursor.dictionary_version, slots: cursor.slots, last_seq };
    std::iter::from_fn(|| outbox.next(cursor, window)).filter_map(|m| receiver.take(&m)).collect()
}

const ALL: Window = Window { credits: u32::MAX, one_segment: false };
const TWO_SEGMENTS: [(u64, bool); 5] = [(1, true), (2, false), (3, true), (4, false), (5, false)];

#[test]
fn a_new_stream_starts_at_the_keyframe_before_the_first_frame_that_is_not_stored() {
    let mut outbox = filled(&TWO_SEGMENTS);
    assert!(outbox.ack(4, 0));
    assert_eq!(read(&outbox, &mut outbox.cursor(), ALL), [3, 4, 5]);
    assert_eq!(outbox.totals().in_flight(), 10);
}

#[test]
fn frames_that_only_carry_state_take_no_credit() {
    let mut outbox = filled(&TWO_SEGMENTS);
    outbox.ack(4, 0);
    let mut cursor = outbox.cursor();
    assert_eq!(read(&outbox, &mut cursor, Window { credits: 0, ..ALL }), [3, 4]);
    assert_eq!(read(&outbox, &mut cursor, Window { credits: 1, ..ALL }), [5]);
}

#[test]
fn one_segment_at_a_time_waits_for_its_acknowledgement() {
    let mut outbox = filled(&TWO_SEGMENTS);
    let mut cursor = outbox.cursor();
    let one = Window { one_segment: true, ..ALL };
    assert_eq!(read(&outbox, &mut cursor, one), [1, 2]);
    outbox.ack(1, 0);
    assert_eq!(read(&outbox, &mut cursor, one), [0_u64; 0]);
    outbox.ack(2, 0);
    assert_eq!(outbox.unacked(&cursor), 0);
    assert_eq!(read(&outbox, &mut cursor, one), [3, 4, 5]);
}

#[test]
fn rejected_samples_are_not_counted_as_stored() {
    let mut outbox = filled(&TWO_SEGMENTS);
    outbox.ack(2, 7);
    outbox.ack(2, 7);
    let totals = outbox.totals();
    assert_eq!(
        (totals.acked, totals.shed[Shed::Rejected as usize], totals.in_flight()),
        (13, 7, 30)
    );
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_not_believed() {
    let mut outbox = filled(&TWO_SEGMENTS);
    outbox.ack(u64::MAX, 0);
    assert_eq!(outbox.acked_seq(), 5);
    assert!(!outbox.ack(3, 0));
    assert_eq!(outbox.acked_seq(), 5);
}

#[test]
fn what_follows_a_shed_open_segment_waits_for_a_keyframe() {
    let mut outbox = filled(&TWO_SEGMENTS);
    assert_eq!(outbox.shed_all(Shed::Memory), 50);
    assert!(outbox.keyframe_wanted());
    let lost = payload(6, 1, 1, false, 10);
    outbox.append(NewFrame { seq: 6, samples: 3, keyframe: false, payload: &lost });
    let found = payload(7, 1, 1, true, 10);
    outbox.append(NewFrame { seq: 7, samples: 4, keyframe: true, payload: &found });
    assert!(!outbox.keyframe_wanted());
    assert_eq!(read(&outbox, &mut outbox.cursor(), ALL), [7]);
    assert_eq!(outbox.totals().in_flight(), 4);
    assert_eq!(outbox.totals().shed.iter().sum::<u64>(), 53);
}

#[test]
fn an_open_segment_stays_for_the_frames_that_build_upon_it() {
    let mut outbox = filled(&TWO_SEGMENTS);
    let mut cursor = outbox.cursor();
    read(&outbox, &mut cursor, ALL);
    outbox.ack(5, 0);
    let sixth = payload(6, 1, 1, false, 10);
    outbox.append(NewFrame { seq: 6, samples: 10, keyframe: false, payload: &sixth });
    assert_eq!(outbox.totals().in_flight(), 10);
    assert_eq!(read(&outbox, &mut cursor, ALL), [6], "where the stream was");
    assert_eq!(read(&outbox, &mut outbox.cursor(), ALL), [3, 4, 5, 6], "from its keyframe");
}

#[test]
fn a_stream_cannot_go_back_to_an_older_dictionary() {
    let mut outbox = filled(&TWO_SEGMENTS);
    outbox.define(v1::Define { dictionary_version: 2, series: Vec::new() });
    let payload = payload(6, 2, 0, true, 10);
    outbox.append(NewFrame { seq: 6, samples: 1, keyframe: true, payload: &payload });
    let mut cursor = outbox.cursor();
    read(&outbox, &mut cursor, ALL);
    assert!(!outbox.rewind(&mut cursor));
    outbox.ack(5, 0);
    assert!(outbox.rewind(&mut cursor));
    assert_eq!(read(&outbox, &mut cursor, ALL), [6]);
}

#[test]
fn definitions_are_sent_in_parts_of_bounded_size() {
    let mut outbox = Outbox::new(100_000_000);
    let large = |slot| v1::SeriesDefinition { metric: "x".repeat(100_000), ..series(slot) };
    let definitions = (0..20).map(large).collect();
    outbox.define(v1::Define { dictionary_version: 1, series: definitions });
    let payload = payload(1, 1, 20, true, 10);
    outbox.append(NewFrame { seq: 1, samples: 1, keyframe: true, payload: &payload });
    let mut cursor = outbox.cursor();
    let messages: Vec<_> = std::iter::from_fn(|| outbox.next(&mut cursor, ALL)).collect();
    assert_eq!(messages.len(), 5, "20 definitions of 100 kB, then the frame");
    let mut receiver = Receiver::default();
    assert_eq!(messages.iter().filter_map(|m| receiver.take(m)).collect::<Vec<_>>(), [1]);
}
