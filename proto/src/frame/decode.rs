//! The collector's side of the codec.

use crate::series::{Invalid, Series};
use crate::v1;

use super::dictionary::{check, series_bytes};
use super::error::{DecodeError, DefineError};
use super::header::{Header, unseal};
use super::presence::{Patterns, SlotSet};
use super::values::{Change, History};
use super::wire::{Reader, unzigzag};
use super::{Limits, Slot};

/// Decodes the frames of one stream.
///
/// A frame is read into scratch space as a whole; only when all of it is well-formed does the decoder take over its values. So after an
/// error the decoder is as it was, and either the frame that was missing or any later keyframe goes on from there.
#[derive(Debug, Clone)]
pub struct Decoder {
    limits: Limits,
    dictionary_version: u32,
    dictionary_bytes: usize,
    series: Vec<Series>,
    /// Number of the last frame; 0 before the first.
    last_seq: u64,
    /// A frame of this dictionary version has been decoded.
    synced: bool,
    clock: Clock,
    patterns: Patterns,
    present: SlotSet,
    history: History,
    changed: SlotSet,
    resets: SlotSet,
    changes: Vec<Change>,
    samples: Vec<Sample>,
}

/// One value of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The series.
    pub slot: Slot,
    /// The value in the series' scale.
    pub raw: i64,
    /// The counter started again since its last sample.
    pub reset: bool,
}

/// A decoded frame.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Decoded<'a> {
    /// Number of the frame.
    pub seq: u64,
    /// Time of the tick, milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// It did not need the frames before it.
    pub keyframe: bool,
    /// Frames that are missing between the last decoded one and this keyframe; 0 for the first frame of a decoder.
    pub skipped: u64,
    /// The samples, in ascending order of their slots.
    pub samples: &'a [Sample],
    /// Series by slot.
    series: &'a [Series],
}

/// Series that a message has defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Definitions<'a> {
    /// All slots before were dropped: a new version of the dictionary has begun.
    pub restarted: bool,
    first: usize,
    series: &'a [Series],
}

/// Time of the last frame and the usual time between two.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    ts_ms: i64,
    step_ms: i64,
}

impl<'a> Decoded<'a> {
    /// The series of a sample of this frame.
    pub fn series(&self, slot: Slot) -> Option<&'a Series> {
        self.series.get(slot.index())
    }
}

impl<'a> Definitions<'a> {
    /// The new series with their slots, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &'a Series)> + use<'a> {
        (self.first as u32..).map(Slot).zip(self.series)
    }
}

impl Decoder {
    /// A decoder with no dictionary.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            dictionary_version: 0,
            dictionary_bytes: 0,
            series: Vec::new(),
            last_seq: 0,
            synced: false,
            clock: Clock::default(),
            patterns: Patterns::default(),
            present: SlotSet::default(),
            samples: Vec::new(),
            history: History::default(),
            changed: SlotSet::default(),
            resets: SlotSet::default(),
            changes: Vec::new(),
        }
    }

    /// Takes over definitions. A higher version than the current one drops all slots first, and its first frame must be a keyframe.
    ///
    /// # Errors
    /// When anything of the message breaks a rule; then nothing of it is taken over.
    pub fn define(&mut self, define: v1::Define) -> Result<Definitions<'_>, DefineError> {
        let (have, got) = (self.dictionary_version, define.dictionary_version);
        if got < have.max(1) {
            return Err(DefineError::Version { have, got });
        }
        let restarted = got > have;
        let (first, mut bytes) =
            if restarted { (0, 0) } else { (self.series.len(), self.dictionary_bytes) };
        if define.series.len() > self.limits.slots as usize - first.min(self.limits.slots as usize)
        {
            return Err(DefineError::Slots { limit: self.limits.slots });
        }
        let mut added = Vec::with_capacity(define.series.len());
        for (index, definition) in define.series.into_iter().enumerate() {
            let (expected, got) = ((first + index) as u32, definition.slot);
            if got != expected {
                return Err(DefineError::Slot { index, expected, got });
            }
            let named = |invalid: Invalid| {
                Invalid::new(format!("series[{index}].{}", invalid.field), invalid.reason)
            };
            let series = Series::try_from(definition).map_err(named)?;
            check(&series, first + index, bytes, &self.limits).map_err(|error| match error {
                DefineError::Series(invalid) => named(invalid).into(),
                other => other,
            })?;
            bytes += series_bytes(&series);
            added.push(series);
        }
        if restarted {
            self.restart(got);
        }
        self.dictionary_bytes = bytes;
        for series in &added {
            self.history.push(series.scale.is_float());
        }
        self.series.append(&mut added);
        self.grow();
        Ok(Definitions { restarted, first, series: &self.series[first..] })
    }

    /// Slots defined in the current version of the dictionary.
    pub fn slots(&self) -> usize {
        self.series.len()
    }

    /// The series of a slot.
    pub fn series(&self, slot: Slot) -> Option<&Series> {
        self.series.get(slot.index())
    }

    /// Decodes one frame.
    ///
    /// # Errors
    /// When the frame does not follow the last one or is not well-formed; [`DecodeError::remedy`] says what to do. The decoder is as it was before.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Decoded<'_>, DecodeError> {
        if payload.len() > self.limits.frame_bytes {
            let (bytes, limit) = (payload.len(), self.limits.frame_bytes);
            return Err(DecodeError::TooLarge { bytes, limit });
        }
        let mut reader = Reader::new(unseal(payload)?);
        let header = Header::read(&mut reader)?;
        self.check_order(&header)?;
        let clock = self.read_time(&mut reader, header.keyframe)?;
        let slots = self.series.len();
        let choice =
            self.patterns.decode(&mut reader, header.keyframe, slots, &mut self.present)?;
        let resets = header.resets.then_some(&mut self.resets);
        let (present, changed, changes) = (&self.present, &mut self.changed, &mut self.changes);
        let keyframe = header.keyframe;
        self.history.decode(reader.rest(), present, resets, keyframe, changed, changes)?;
        let skipped = if self.last_seq == 0 { 0 } else { header.seq - self.last_seq - 1 };
        if keyframe {
            self.patterns.clear();
        }
        self.patterns.commit(choice, &self.present);
        self.history.commit(&self.present, keyframe, &self.changed, &self.changes);
        self.collect_samples(header.resets);
        self.clock = clock;
        self.last_seq = header.seq;
        self.synced = true;
        Ok(Decoded {
            seq: header.seq,
            ts_ms: clock.ts_ms,
            keyframe: header.keyframe,
            skipped,
            samples: &self.samples,
            series: &self.series,
        })
    }

    /// Forgets everything but the number of the last frame.
    fn restart(&mut self, version: u32) {
        self.dictionary_version = version;
        self.series.clear();
        self.history = History::default();
        self.patterns = Patterns::default();
        self.present = SlotSet::default();
        self.changed = SlotSet::default();
        self.resets = SlotSet::default();
        self.synced = false;
    }

    fn grow(&mut self) {
        let slots = self.series.len();
        for set in [&mut self.present, &mut self.changed, &mut self.resets] {
            set.grow(slots);
        }
        self.changes.clear();
        self.changes.reserve(slots);
        self.patterns.grow(slots);
        self.samples.clear();
        self.samples.reserve(slots);
    }

    fn check_order(&self, header: &Header) -> Result<(), DecodeError> {
        let (seq, last, got) = (header.seq, self.last_seq, header.dictionary_version);
        if seq <= last {
            Err(DecodeError::Repeat { seq, last })
        } else if got != self.dictionary_version {
            Err(DecodeError::Dictionary { have: self.dictionary_version, got })
        } else if header.keyframe {
            Ok(())
        } else if last == 0 {
            Err(DecodeError::NoKeyframe { seq })
        } else if seq > last + 1 {
            Err(DecodeError::Gap { seq, expected: last + 1 })
        } else if self.synced {
            Ok(())
        } else {
            Err(DecodeError::NoKeyframe { seq })
        }
    }

    fn read_time(&self, reader: &mut Reader<'_>, keyframe: bool) -> Result<Clock, DecodeError> {
        let first = unzigzag(reader.varint()?);
        Ok(if keyframe {
            Clock { ts_ms: first, step_ms: unzigzag(reader.varint()?) }
        } else {
            let Clock { ts_ms, step_ms } = self.clock;
            Clock { ts_ms: ts_ms.wrapping_add(step_ms).wrapping_add(first), step_ms }
        })
    }

    /// Lists the present slots with their values, which have been taken over.
    fn collect_samples(&mut self, resets: bool) {
        let lasts = self.history.lasts();
        let sample =
            |slot: usize| Sample { slot: Slot(slot as u32), raw: lasts[slot], reset: false };
        self.samples.clear();
        self.samples.extend(self.present.iter().map(sample));
        if resets {
            for sample in &mut self.samples {
                sample.reset = self.resets.contains(sample.slot.index());
            }
        }
    }
}
