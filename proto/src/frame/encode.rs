//! The agent's side of the codec.

use crate::series::Series;
use crate::v1;

use super::dictionary::Dictionary;
use super::error::DefineError;
use super::header::{Header, seal};
use super::presence::{Patterns, SlotSet};
use super::values::{History, MOST_BYTES};
use super::wire::{put_varint, zigzag};
use super::{KEYFRAME_PERIOD, Limits, Slot};

/// Most bytes of a frame that do not depend on the number of samples or slots.
const FIXED_BYTES: usize = 64;

/// Part of a full dictionary that must be retired before a new version of it is worth its definitions.
const RESTART_PART: usize = 16;

/// Encodes ticks of samples into frames.
///
/// ```
/// use flyball_proto::frame::{Decoder, Encoder, Limits};
/// use flyball_proto::series::{Kind, Scale, Series};
///
/// let series = Series {
///     metric: "system.cpu.time".into(),
///     unit: "s".into(),
///     kind: Kind::Counter,
///     scale: Scale::decimal(2),
///     attributes: vec![("cpu.mode".into(), "user".into())],
/// };
/// let mut encoder = Encoder::new(Limits::default());
/// let mut decoder = Decoder::new(Limits::default());
/// let slot = encoder.define(series)?;
/// while let Some(define) = encoder.pending_define() {
///     decoder.define(define)?;
/// }
/// encoder.set(slot, 1234);
/// let mut payload = Vec::new();
/// let frame = encoder.encode(1_700_000_000_000, &mut payload);
/// assert!(frame.keyframe);
/// assert_eq!(decoder.decode(&payload)?.samples[0].raw, 1234);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Encoder {
    limits: Limits,
    dictionary: Dictionary,
    first_seq: u64,
    next_seq: u64,
    until_keyframe: u32,
    last_ts_ms: i64,
    step_ms: i64,
    raws: Vec<i64>,
    live: SlotSet,
    set: SlotSet,
    resets: SlotSet,
    present: SlotSet,
    changed: SlotSet,
    history: History,
    patterns: Patterns,
}

/// What [`Encoder::encode`] has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameInfo {
    /// Number of the frame; the first one is 1.
    pub seq: u64,
    /// Samples in it.
    pub samples: usize,
    /// It can be decoded without the frames before it.
    pub keyframe: bool,
    /// Samples of this tick that did not fit below the limit of bytes: encode again with the same timestamp.
    pub remaining: usize,
}

/// Where slots have gone in a new version of the dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Renumbering {
    slots: Vec<Option<Slot>>,
}

impl Renumbering {
    /// The new slot of an old one; `None` when it was retired.
    pub fn get(&self, old: Slot) -> Option<Slot> {
        self.slots.get(old.index()).copied().flatten()
    }
}

impl Encoder {
    /// An encoder with an empty dictionary of version 1. Its first frame is number 1 and a keyframe.
    pub fn new(limits: Limits) -> Self {
        Self::starting_at(limits, 1, 1)
    }

    /// An encoder whose frames take the place of others: with an empty dictionary of a given version, and a given number for its first frame.
    pub fn starting_at(limits: Limits, dictionary_version: u32, first_seq: u64) -> Self {
        Self {
            limits,
            dictionary: Dictionary::new(dictionary_version),
            first_seq,
            next_seq: first_seq,
            until_keyframe: 0,
            last_ts_ms: 0,
            step_ms: 0,
            raws: Vec::new(),
            live: SlotSet::default(),
            set: SlotSet::default(),
            resets: SlotSet::default(),
            present: SlotSet::default(),
            changed: SlotSet::default(),
            history: History::default(),
            patterns: Patterns::default(),
        }
    }

    /// Holds frames and definitions from now on to other limits, such as those of a [`v1::Welcome`].
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Series that these limits would not take, with their slots: those with a value that is too long, and the last ones of too many. To be retired, and the
    /// dictionary restarted, after limits were tightened.
    pub fn excess(&self) -> Vec<(Slot, Series)> {
        let is_long = |series: &Series| {
            series.attributes.iter().any(|(_, value)| value.len() > self.limits.attribute_bytes)
        };
        let live = |(index, _): &(usize, &Series)| self.live.contains(*index);
        let mut room = self.limits.slots;
        let over = |(_, series): &(usize, &Series)| {
            let is_over = is_long(series) || room == 0;
            room -= u32::from(!is_over);
            is_over
        };
        let excess = self.dictionary.series().enumerate().filter(live).filter(over);
        excess.map(|(index, series)| (Slot(index as u32), series.clone())).collect()
    }

    /// True when a new version of the dictionary has room for series that this one has none for.
    pub fn has_room_after_restart(&self) -> bool {
        self.dictionary.retired() * RESTART_PART > self.dictionary.len()
    }

    /// Defines a series in the next slot. Its definition is to be sent before the first frame with a sample of it.
    ///
    /// # Errors
    /// When the series breaks a rule or the dictionary is full. A full dictionary with retired slots has room again after [`Self::restart_dictionary`].
    pub fn define(&mut self, series: Series) -> Result<Slot, DefineError> {
        let float = series.scale.is_float();
        if most_samples(self.limits.frame_bytes, self.dictionary.len() + 1) == 0 {
            return Err(DefineError::Slots { limit: self.dictionary.len() as u32 });
        }
        let slot = self.dictionary.define(series, &self.limits)?;
        self.history.push(float);
        self.grow();
        self.live.insert(slot.index());
        Ok(slot)
    }

    /// Ends a series. Its slot is not used again in this version of the dictionary, and values set to it are ignored.
    pub fn retire(&mut self, slot: Slot) {
        if self.dictionary.retire(slot) {
            self.live.remove(slot.index());
        }
    }

    /// Definitions that are not on their way yet, in messages of bounded size: call it until it returns `None`, before [`Self::encode`].
    pub fn pending_define(&mut self) -> Option<v1::Define> {
        self.dictionary.take()
    }

    /// All definitions of the current version, retired slots included, for a receiver that knows none of them; at least one message.
    pub fn definitions(&self) -> impl Iterator<Item = v1::Define> {
        self.dictionary.messages()
    }

    /// Version of the dictionary; the first one is 1.
    pub fn dictionary_version(&self) -> u32 {
        self.dictionary.version()
    }

    /// True when more than 64 slots and more than a quarter of all are retired.
    pub fn needs_new_dictionary(&self) -> bool {
        self.dictionary.needs_restart()
    }

    /// Starts a new version of the dictionary without the retired slots. Values set in this tick are kept. The next frame is a keyframe.
    pub fn restart_dictionary(&mut self) -> Renumbering {
        let slots = self.dictionary.restart();
        let raws = std::mem::take(&mut self.raws);
        let set = std::mem::take(&mut self.set);
        let resets = std::mem::take(&mut self.resets);
        self.live = SlotSet::default();
        self.present = SlotSet::default();
        self.changed = SlotSet::default();
        self.patterns = Patterns::default();
        self.history = History::default();
        for series in self.dictionary.series() {
            self.history.push(series.scale.is_float());
        }
        self.grow();
        for (old, new) in slots.iter().enumerate() {
            let Some(new) = new.map(Slot::index) else { continue };
            self.raws[new] = raws[old];
            self.live.insert(new);
            if set.contains(old) {
                self.set.insert(new);
            }
            if resets.contains(old) {
                self.resets.insert(new);
            }
        }
        self.request_keyframe();
        Renumbering { slots }
    }

    /// Sets the value of a slot in this tick; the last value wins. Ignored for a slot that is retired.
    ///
    /// # Panics
    /// For a slot that was never defined in this version of the dictionary.
    #[inline]
    pub fn set(&mut self, slot: Slot, raw: i64) {
        self.raws[slot.index()] = raw;
        self.set.insert(slot.index());
    }

    /// Sets the value of a counter that has started again since its last value.
    ///
    /// # Panics
    /// For a slot that was never defined in this version of the dictionary.
    pub fn set_after_reset(&mut self, slot: Slot, raw: i64) {
        self.set(slot, raw);
        self.resets.insert(slot.index());
    }

    /// Number of the next frame.
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Makes the next frame a keyframe.
    pub fn request_keyframe(&mut self) {
        self.until_keyframe = 0;
    }

    /// Appends one frame with what was set since the last call. A tick with nothing set is a frame without samples.
    pub fn encode(&mut self, ts_ms: i64, out: &mut Vec<u8>) -> FrameInfo {
        let start = out.len();
        let keyframe = self.until_keyframe == 0;
        // A limit too small for anything must not stop the caller's loop over what remains.
        let most = most_samples(self.limits.frame_bytes, self.dictionary.len()).max(1);
        self.set.intersect(&self.live);
        self.set.split_lowest(most, &mut self.present);
        let resets = self.present.common(&self.resets) > 0;
        let header = Header {
            keyframe,
            resets,
            seq: self.next_seq,
            dictionary_version: self.dictionary.version(),
        };
        header.write(out);
        self.write_time(keyframe, ts_ms, out);
        if keyframe {
            self.history.forget();
            self.patterns.clear();
        }
        self.patterns.encode(&self.present, out);
        let resets = resets.then_some(&self.resets);
        let (present, changed) = (&self.present, &mut self.changed);
        self.history.encode(present, resets, keyframe, &self.raws, changed, out);
        self.resets.subtract(&self.present);
        seal(out, start);
        self.next_seq += 1;
        self.until_keyframe = if keyframe { KEYFRAME_PERIOD } else { self.until_keyframe } - 1;
        let samples = self.present.len();
        FrameInfo { seq: header.seq, samples, keyframe, remaining: self.set.len() }
    }

    /// A keyframe has the time and the usual step; other frames the deviation from the usual step.
    fn write_time(&mut self, keyframe: bool, ts_ms: i64, out: &mut Vec<u8>) {
        let step = ts_ms.wrapping_sub(self.last_ts_ms);
        if keyframe {
            self.step_ms = if self.next_seq == self.first_seq { 0 } else { step };
            put_varint(out, zigzag(ts_ms));
            put_varint(out, zigzag(self.step_ms));
        } else {
            put_varint(out, zigzag(step.wrapping_sub(self.step_ms)));
        }
        self.last_ts_ms = ts_ms;
    }

    /// Makes room for the slots of the dictionary.
    fn grow(&mut self) {
        let slots = self.dictionary.len();
        self.raws.resize(slots, 0);
        for set in
            [&mut self.live, &mut self.set, &mut self.resets, &mut self.present, &mut self.changed]
        {
            set.grow(slots);
        }
        self.patterns.grow(slots);
    }
}

/// Samples that fit into a frame whatever their values and whichever slots they are in.
const fn most_samples(frame_bytes: usize, slots: usize) -> usize {
    // Runs of presence take up to a byte for each slot and the bytes of long gaps; the two lists of slots two bits for each slot.
    let lists = slots + slots / 64 + slots / 2;
    frame_bytes.saturating_sub(FIXED_BYTES + lists) / MOST_BYTES
}
