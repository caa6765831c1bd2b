//! The encoder's dictionary: series in slots, append-only within a version; tombstones; what was defined and not yet sent.

use crate::series::{Invalid, Series};
use crate::v1;

use super::error::DefineError;
use super::{Limits, Slot};

/// So many retired slots are never a reason for a new version: each costs a few dozen bytes of memory and nothing on the wire, where a new version
/// sends every definition again.
const RETIRED_FREE: usize = 2_048;
/// A message holds about so many bytes of names and attributes at most: a receiver keeps for each stream a buffer as large as the largest message.
const MESSAGE_BYTES: usize = 1_024;

/// Series by slot.
#[derive(Debug)]
pub(super) struct Dictionary {
    version: u32,
    entries: Vec<Entry>,
    bytes: usize,
    retired: usize,
    /// Slots below this have been taken for sending.
    taken: usize,
    /// The version itself has been taken for sending.
    announced: bool,
}

#[derive(Debug)]
struct Entry {
    series: Series,
    retired: bool,
}

/// Bytes that a series counts in a dictionary.
pub(super) fn series_bytes(series: &Series) -> usize {
    let attributes: usize = series.attributes.iter().map(|(k, v)| k.len() + v.len()).sum();
    series.metric.len() + series.unit.len() + attributes
}

/// Checks a series that would be the next after `slots` slots of `bytes` bytes.
pub(super) fn check(
    series: &Series,
    slots: usize,
    bytes: usize,
    limits: &Limits,
) -> Result<(), DefineError> {
    if slots >= limits.slots as usize {
        return Err(DefineError::Slots { limit: limits.slots });
    }
    if bytes + series_bytes(series) > limits.dictionary_bytes {
        return Err(DefineError::Bytes { limit: limits.dictionary_bytes });
    }
    let mut attributes = series.attributes.iter();
    match attributes.find(|(_, value)| value.len() > limits.attribute_bytes) {
        None => Ok(()),
        Some((key, _)) => {
            let reason = format!("longer than {} bytes", limits.attribute_bytes);
            Err(Invalid::new(format!("attributes.{key}"), reason).into())
        }
    }
}

impl Dictionary {
    pub(super) const fn new(version: u32) -> Self {
        Self { version, entries: Vec::new(), bytes: 0, retired: 0, taken: 0, announced: false }
    }

    pub(super) const fn version(&self) -> u32 {
        self.version
    }

    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn retired(&self) -> usize {
        self.retired
    }

    pub(super) fn series(&self) -> impl Iterator<Item = &Series> {
        self.entries.iter().map(|entry| &entry.series)
    }

    pub(super) fn define(&mut self, series: Series, limits: &Limits) -> Result<Slot, DefineError> {
        series.check()?;
        check(&series, self.entries.len(), self.bytes, limits)?;
        self.bytes += series_bytes(&series);
        self.entries.push(Entry { series, retired: false });
        Ok(Slot(self.entries.len() as u32 - 1))
    }

    /// False when it was retired already or never defined.
    pub(super) fn retire(&mut self, slot: Slot) -> bool {
        match self.entries.get_mut(slot.index()) {
            Some(entry) if !entry.retired => {
                entry.retired = true;
                self.retired += 1;
                true
            }
            _ => false,
        }
    }

    pub(super) const fn needs_restart(&self) -> bool {
        self.retired > RETIRED_FREE && self.retired * 4 > self.entries.len()
    }

    /// Drops retired slots and numbers the others from 0, in their order, in a new version. Returns the new slots by old slot.
    pub(super) fn restart(&mut self) -> Vec<Option<Slot>> {
        let mut next = 0;
        let mut renumber = |entry: &Entry| {
            let slot = (!entry.retired).then_some(Slot(next));
            next += u32::from(slot.is_some());
            slot
        };
        let slots = self.entries.iter().map(&mut renumber).collect();
        self.entries.retain(|entry| !entry.retired);
        self.bytes = self.entries.iter().map(|entry| series_bytes(&entry.series)).sum();
        self.version += 1;
        self.retired = 0;
        self.taken = 0;
        self.announced = false;
        slots
    }

    /// The next message of definitions that have not been taken.
    pub(super) fn take(&mut self) -> Option<v1::Define> {
        if self.announced && self.taken == self.entries.len() {
            return None;
        }
        let message = self.message(self.taken);
        self.taken += message.series.len();
        self.announced = true;
        Some(message)
    }

    /// All definitions of this version, in messages of bounded size; one message when there is none.
    pub(super) fn messages(&self) -> impl Iterator<Item = v1::Define> {
        let mut next = Some(0);
        std::iter::from_fn(move || {
            let first = next?;
            let message = self.message(first);
            let end = first + message.series.len();
            next = (end < self.entries.len()).then_some(end);
            Some(message)
        })
    }

    fn message(&self, first: usize) -> v1::Define {
        let mut room = MESSAGE_BYTES;
        let fits = |(slot, entry): &(usize, &Entry)| {
            let bytes = series_bytes(&entry.series);
            // One that is larger than a message goes alone.
            let fits = bytes <= room || *slot == first;
            room = room.saturating_sub(bytes);
            fits
        };
        let entries = self.entries.iter().enumerate().skip(first).take_while(fits);
        v1::Define {
            dictionary_version: self.version,
            series: entries.map(|(slot, entry)| entry.series.to_definition(slot as u32)).collect(),
        }
    }
}
