//! From a sampler's handles to the slots of the dictionary.
//!
//! A series that the dictionary does not take, because it is full or a collector's limits are tight, is left out: its values are not sent. It is remembered and
//! defined again when there is room.

use std::collections::HashMap;

use flyball_proto::frame::{Encoder, Renumbering, Slot};
use flyball_proto::series::Series;

use crate::sense::readings::Change;
use crate::sense::{Handle, Readings};

/// Series that are remembered while they are left out; those beyond come back with the next start of the agent only.
const MAX_LEFT_OUT: usize = 65_536;

/// Slots by handle. A series that was left out has none.
#[derive(Debug, Default)]
pub(super) struct Slots {
    slots: Vec<Option<Slot>>,
    left_out: Vec<(Handle, Series)>,
}

impl Slots {
    /// Takes over definitions and values, and empties the buffer.
    pub(super) fn publish(&mut self, readings: &mut Readings, encoder: &mut Encoder) {
        self.define(readings, encoder);
        for reading in readings.values() {
            match self.slots.get(reading.handle.index()) {
                Some(Some(slot)) if reading.reset => encoder.set_after_reset(*slot, reading.raw),
                Some(Some(slot)) => encoder.set(*slot, reading.raw),
                _ => {}
            }
        }
        readings.clear();
    }

    /// Moves into a new version of the dictionary.
    pub(super) fn renumber(&mut self, renumbering: &Renumbering) {
        for slot in &mut self.slots {
            *slot = slot.and_then(|old| renumbering.get(old));
        }
    }

    /// Ends all series.
    pub(super) fn retire_all(&mut self, encoder: &mut Encoder) {
        self.left_out.clear();
        for slot in self.slots.drain(..).flatten() {
            encoder.retire(slot);
        }
    }

    /// Leaves these series out from now on.
    pub(super) fn leave_out(&mut self, excess: &HashMap<Slot, Series>, encoder: &mut Encoder) {
        for (index, place) in self.slots.iter_mut().enumerate() {
            let Some((slot, series)) = place.and_then(|slot| excess.get_key_value(&slot)) else {
                continue;
            };
            encoder.retire(*slot);
            *place = None;
            if self.left_out.len() < MAX_LEFT_OUT {
                self.left_out.push((Handle::from_index(index), series.clone()));
            }
        }
    }

    /// Defines what was left out, as far as there is room now.
    pub(super) fn take_in(&mut self, encoder: &mut Encoder) {
        let slots = &mut self.slots;
        self.left_out.retain(|(handle, series)| match encoder.define(series.clone()) {
            Ok(slot) => {
                slots[handle.index()] = Some(slot);
                false
            }
            Err(_) => true,
        });
    }

    /// Series that are left out.
    pub(super) fn left_out(&self) -> usize {
        self.left_out.len()
    }

    fn define(&mut self, readings: &Readings, encoder: &mut Encoder) {
        for change in readings.changes() {
            match change {
                Change::Defined(handle, series) => self.define_one(*handle, series, encoder),
                Change::Retired(handle) => {
                    self.left_out.retain(|(left_out, _)| left_out != handle);
                    if let Some(slot) = self.slots.get_mut(handle.index()).and_then(Option::take) {
                        encoder.retire(slot);
                    }
                }
            }
        }
    }

    fn define_one(&mut self, handle: Handle, series: &Series, encoder: &mut Encoder) {
        if handle.index() >= self.slots.len() {
            self.slots.resize(handle.index() + 1, None);
        }
        self.slots[handle.index()] = match encoder.define(series.clone()) {
            Ok(slot) => Some(slot),
            Err(error) => {
                if self.left_out.is_empty() {
                    tracing::warn!(metric = series.metric, %error, "series left out until there is room");
                }
                if self.left_out.len() < MAX_LEFT_OUT {
                    self.left_out.push((handle, series.clone()));
                }
                None
            }
        };
    }
}
