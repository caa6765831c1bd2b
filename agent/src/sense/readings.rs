//! What one sampler has read: definitions once, then integers by handle. Buffers are kept between ticks, so a steady sampler allocates nothing.

use flyball_proto::series::{Scale, Series};

use super::Metric;

/// A series of one sampler, as that sampler knows it; numbered from 0 in the order of definition, reused after [`Readings::retire`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(u32);

/// What happened to a series since the last [`Readings::clear`], in order.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The handle now stands for this series.
    Defined(Handle, Series),
    /// The handle's series has ended and will not come back under this handle.
    Retired(Handle),
}

/// One value of a tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// The series.
    pub handle: Handle,
    /// The value in the series' scale.
    pub raw: i64,
    /// The counter started again since the last reading.
    pub reset: bool,
}

/// Buffer between one sampler and the recorder.
#[derive(Debug, Default)]
pub struct Readings {
    scales: Vec<Scale>,
    free: Vec<Handle>,
    changes: Vec<Change>,
    values: Vec<Reading>,
}

impl Handle {
    /// Number of the handle.
    pub const fn index(self) -> usize {
        self.0 as usize
    }

    /// The handle with this number.
    pub(crate) const fn from_index(index: usize) -> Self {
        Self(index as u32)
    }
}

impl Readings {
    /// Defines a series. The caller keeps the handle; attributes may come in any order.
    pub fn define(&mut self, metric: &Metric, attributes: &[(&str, &str)]) -> Handle {
        let mut attributes: Vec<_> =
            attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        attributes.sort();
        let series = Series {
            metric: metric.name.to_owned(),
            unit: metric.unit.to_owned(),
            kind: metric.kind,
            scale: metric.scale,
            attributes,
        };
        let handle = self.free.pop().unwrap_or(Handle(self.scales.len() as u32));
        if handle.index() == self.scales.len() {
            self.scales.push(metric.scale);
        } else {
            self.scales[handle.index()] = metric.scale;
        }
        self.changes.push(Change::Defined(handle, series));
        handle
    }

    /// Ends a series, for example of a process or a disk that is gone. The handle may be given out again.
    pub fn retire(&mut self, handle: Handle) {
        self.changes.push(Change::Retired(handle));
        self.free.push(handle);
    }

    /// Sets the value of this tick as a raw integer in the series' scale.
    pub fn set(&mut self, handle: Handle, raw: i64) {
        self.values.push(Reading { handle, raw, reset: false });
    }

    /// Sets the value of this tick of a counter that started again since the last one.
    pub fn set_after_reset(&mut self, handle: Handle, raw: i64) {
        self.values.push(Reading { handle, raw, reset: true });
    }

    /// Sets the value of this tick from a number; one that is not finite or does not fit is left unknown.
    pub fn set_value(&mut self, handle: Handle, value: f64) {
        if let Some(raw) = self.scales[handle.index()].raw(value) {
            self.set(handle, raw);
        }
    }

    /// Definitions and ends since the last [`Readings::clear`].
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// Values of this tick.
    pub fn values(&self) -> &[Reading] {
        &self.values
    }

    /// Drops the values of a failed read; definitions stay.
    pub fn discard_values(&mut self) {
        self.values.clear();
    }

    /// Starts the next tick.
    pub fn clear(&mut self) {
        self.changes.clear();
        self.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::series::Kind;

    use super::*;

    const METRIC: Metric = Metric {
        name: "system.cpu.time",
        unit: "s",
        kind: Kind::Counter,
        scale: Scale::decimal(2),
        attributes: &["cpu.mode"],
        description: "",
    };

    #[test]
    fn a_retired_handle_is_given_out_again() {
        let mut readings = Readings::default();
        let first = readings.define(&METRIC, &[("cpu.mode", "user")]);
        readings.retire(first);
        assert_eq!(readings.define(&METRIC, &[("cpu.mode", "idle")]), first);
        assert_eq!(readings.changes().len(), 3);
    }

    #[test]
    fn a_value_that_is_not_a_number_stays_unknown() {
        let mut readings = Readings::default();
        let handle = readings.define(&METRIC, &[]);
        readings.set_value(handle, f64::NAN);
        assert!(readings.values().is_empty());
        readings.set_value(handle, 1.239);
        assert_eq!(readings.values()[0].raw, 124);
    }
}
