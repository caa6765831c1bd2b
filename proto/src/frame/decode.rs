//! The collector's side of the codec.

use std::sync::Arc;

use crate::series::{Invalid, Series};
use crate::v1;

use super::dictionary::{check, series_bytes};
use super::error::{DecodeError, DefineError};
use super::header::{Header, unseal};
use super::pool::SeriesPool;
use super::presence::{Patterns, SlotSet};
use super::values::{Change, History};
use super::wire::{Reader, unzigzag};
use super::{Limits, Slot};

/// Decodes the frames of one stream.
///
/// A frame is read into scratch space as a whole; only when all of it is well-formed does the decoder take over its values. So after an
/// error the decoder is as it was, and either the frame that was missing or any later keyframe goes on from there.
///
/// Whoever decodes many streams gives all of them one [`SeriesPool`] and decodes in one [`Scratch`]: a stream then keeps some 10 bytes for each of its series.
#[derive(Debug, Clone)]
pub struct Decoder {
    limits: Limits,
    dictionary_version: u32,
    dictionary_bytes: usize,
    slots: usize,
    /// Series by slot; with a pool those of the last definitions only.
    series: Vec<Arc<Series>>,
    pool: Option<Arc<SeriesPool>>,
    /// Number of the last frame; 0 before the first.
    last_seq: u64,
    /// A frame of this dictionary version has been decoded.
    synced: bool,
    clock: Clock,
    patterns: Patterns,
    history: History,
    /// Empty for as long as frames are decoded in another one.
    scratch: Scratch,
}

/// Space that a frame is read into. Holds nothing from one frame to the next, so that one serves any number of decoders, one after the other.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    present: SlotSet,
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
    series: &'a [Arc<Series>],
}

/// Series that a message has defined.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Definitions<'a> {
    /// All slots before were dropped: a new version of the dictionary has begun.
    pub restarted: bool,
    first: usize,
    series: &'a [Arc<Series>],
}

/// Time of the last frame and the usual time between two.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    ts_ms: i64,
    step_ms: i64,
}

impl<'a> Decoded<'a> {
    /// The series of a sample of this frame; `None` from a decoder with a pool.
    pub fn series(&self, slot: Slot) -> Option<&'a Series> {
        self.series.get(slot.index()).map(Arc::as_ref)
    }
}

impl<'a> Definitions<'a> {
    /// The new series with their slots, in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &'a Arc<Series>)> + use<'a> {
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
            slots: 0,
            series: Vec::new(),
            pool: None,
            last_seq: 0,
            synced: false,
            clock: Clock::default(),
            patterns: Patterns::default(),
            history: History::default(),
            scratch: Scratch::default(),
        }
    }

    /// A decoder that shares its definitions with the other decoders of `pool`, and is to decode in a [`Scratch`] that it shares too.
    pub fn pooled(limits: Limits, pool: Arc<SeriesPool>) -> Self {
        Self { pool: Some(pool), ..Self::new(limits) }
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
            if restarted { (0, 0) } else { (self.slots, self.dictionary_bytes) };
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
            added.push(match &self.pool {
                Some(pool) => pool.share(series),
                None => Arc::new(series),
            });
        }
        if restarted {
            self.restart(got);
        }
        self.dictionary_bytes = bytes;
        self.history.reserve(added.len());
        for series in &added {
            self.history.push(series.scale.is_float());
        }
        self.slots = first + added.len();
        if self.pool.is_some() {
            self.series = added;
            return Ok(Definitions { restarted, first, series: &self.series });
        }
        self.series.append(&mut added);
        // A decoder with space of its own allocates nothing for frames, not even for the first one.
        self.scratch.grow(self.slots);
        self.patterns.grow(self.slots);
        Ok(Definitions { restarted, first, series: &self.series[first..] })
    }

    /// Slots defined in the current version of the dictionary.
    pub fn slots(&self) -> usize {
        self.slots
    }

    /// The series of a slot. A decoder with a pool knows those of the last definitions only, and not by slot: `None`.
    pub fn series(&self, slot: Slot) -> Option<&Series> {
        self.by_slot().get(slot.index()).map(Arc::as_ref)
    }

    fn by_slot(&self) -> &[Arc<Series>] {
        if self.pool.is_some() { &[] } else { &self.series }
    }

    /// Decodes one frame.
    ///
    /// # Errors
    /// When the frame does not follow the last one or is not well-formed; [`DecodeError::remedy`] says what to do. The decoder is as it was before.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Decoded<'_>, DecodeError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let result = self.read(&mut scratch, payload);
        self.scratch = scratch;
        let header = result?;
        Ok(self.decoded(header, &self.scratch))
    }

    /// Decodes one frame in scratch space that other decoders use too.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_in<'a>(
        &'a mut self,
        scratch: &'a mut Scratch,
        payload: &[u8],
    ) -> Result<Decoded<'a>, DecodeError> {
        let header = self.read(scratch, payload)?;
        Ok(self.decoded(header, scratch))
    }

    /// Reads a frame and takes its values over. Gives its header and the number of frames missing before it.
    fn read(
        &mut self,
        scratch: &mut Scratch,
        payload: &[u8],
    ) -> Result<(Header, u64), DecodeError> {
        if payload.len() > self.limits.frame_bytes {
            let (bytes, limit) = (payload.len(), self.limits.frame_bytes);
            return Err(DecodeError::TooLarge { bytes, limit });
        }
        let mut reader = Reader::new(unseal(payload)?);
        let header = Header::read(&mut reader)?;
        self.check_order(&header)?;
        let keyframe = header.keyframe;
        let clock = self.read_time(&mut reader, keyframe)?;
        let slots = self.slots;
        scratch.grow(slots);
        let Scratch { present, changed, resets, changes, .. } = scratch;
        let choice = self.patterns.decode(&mut reader, keyframe, slots, present)?;
        let resets = header.resets.then_some(resets);
        self.history.decode(reader.rest(), present, resets, keyframe, changed, changes)?;
        let skipped = if self.last_seq == 0 { 0 } else { header.seq - self.last_seq - 1 };
        if keyframe {
            self.patterns.clear();
        }
        self.patterns.commit(choice, present);
        self.history.commit(present, keyframe, changed, changes);
        scratch.collect_samples(self.history.lasts(), header.resets);
        self.clock = clock;
        self.last_seq = header.seq;
        self.synced = true;
        Ok((header, skipped))
    }

    fn decoded<'a>(
        &'a self,
        (header, skipped): (Header, u64),
        scratch: &'a Scratch,
    ) -> Decoded<'a> {
        Decoded {
            seq: header.seq,
            ts_ms: self.clock.ts_ms,
            keyframe: header.keyframe,
            skipped,
            samples: &scratch.samples,
            series: self.by_slot(),
        }
    }

    /// Forgets everything but the number of the last frame.
    fn restart(&mut self, version: u32) {
        self.dictionary_version = version;
        self.series.clear();
        self.slots = 0;
        self.history = History::default();
        self.patterns = Patterns::default();
        self.synced = false;
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
}

impl Scratch {
    /// Empties it and makes room for exactly the slots below `slots`, however many the decoder before had.
    fn grow(&mut self, slots: usize) {
        for set in [&mut self.present, &mut self.changed, &mut self.resets] {
            set.resize(slots);
        }
        self.changes.clear();
        self.changes.reserve(slots);
        self.samples.clear();
        self.samples.reserve(slots);
    }

    /// Lists the present slots with their values, which have been taken over.
    fn collect_samples(&mut self, lasts: &[i64], resets: bool) {
        let sample =
            |slot: usize| Sample { slot: Slot(slot as u32), raw: lasts[slot], reset: false };
        self.samples.extend(self.present.iter().map(sample));
        if resets {
            for sample in &mut self.samples {
                sample.reset = self.resets.contains(sample.slot.index());
            }
        }
    }
}
