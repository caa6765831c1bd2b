//! From a sampler's handles to the slots of the dictionary.

use flyball_proto::frame::{Encoder, Renumbering, Slot};

use crate::sense::Readings;
use crate::sense::readings::Change;

/// Slots by handle. A series that the dictionary had no room for has none, and its values are left out.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<Option<Slot>>);

impl Slots {
    /// Takes over definitions and values, and empties the buffer.
    pub(super) fn publish(&mut self, readings: &mut Readings, encoder: &mut Encoder) {
        self.define(readings, encoder);
        for reading in readings.values() {
            match self.0.get(reading.handle.index()) {
                Some(Some(slot)) if reading.reset => encoder.set_after_reset(*slot, reading.raw),
                Some(Some(slot)) => encoder.set(*slot, reading.raw),
                _ => {}
            }
        }
        readings.clear();
    }

    /// Moves into a new version of the dictionary.
    pub(super) fn renumber(&mut self, renumbering: &Renumbering) {
        for slot in &mut self.0 {
            *slot = slot.and_then(|old| renumbering.get(old));
        }
    }

    /// Ends all series.
    pub(super) fn retire_all(&mut self, encoder: &mut Encoder) {
        for slot in self.0.drain(..).flatten() {
            encoder.retire(slot);
        }
    }

    fn define(&mut self, readings: &Readings, encoder: &mut Encoder) {
        for change in readings.changes() {
            match change {
                Change::Defined(handle, series) => {
                    let slot = encoder.define(series.clone());
                    if let Err(error) = &slot {
                        tracing::warn!(metric = series.metric, %error, "series left out");
                    }
                    if handle.index() >= self.0.len() {
                        self.0.resize(handle.index() + 1, None);
                    }
                    self.0[handle.index()] = slot.ok();
                }
                Change::Retired(handle) => {
                    if let Some(slot) = self.0.get_mut(handle.index()).and_then(Option::take) {
                        encoder.retire(slot);
                    }
                }
            }
        }
    }
}
