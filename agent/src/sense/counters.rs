//! Counters of one device: they restart together, and each value after a restart is flagged.
//!
//! A device that is taken away and made again (an interface, a disk) starts all its counters at zero; some of them may by then have passed their old value, so one
//! that went backwards speaks for all.

use super::{Handle, Readings};

/// `N` counters of one device.
#[derive(Debug)]
pub(super) struct Counters<const N: usize> {
    handles: [Handle; N],
    last: [Option<i64>; N],
    restarted: [bool; N],
}

impl<const N: usize> Counters<N> {
    /// `late`: the device came after the sampler's first read. It may have been here before, so its first values count as a restart.
    pub(super) fn new(handles: [Handle; N], late: bool) -> Self {
        Self { handles, last: [None; N], restarted: [late; N] }
    }

    /// Sets the values of this tick; `None` stays unknown.
    pub(super) fn set(&mut self, now: [Option<i64>; N], readings: &mut Readings) {
        if self.went_back(&now) {
            self.restart();
        }
        for (index, value) in now.into_iter().enumerate() {
            let Some(value) = value else { continue };
            if std::mem::take(&mut self.restarted[index]) {
                readings.set_after_reset(self.handles[index], value);
            } else {
                readings.set(self.handles[index], value);
            }
            self.last[index] = Some(value);
        }
    }

    /// True when one of them is less than it was.
    pub(super) fn went_back(&self, now: &[Option<i64>; N]) -> bool {
        now.iter().zip(&self.last).any(|(now, last)| now.is_some() && now < last)
    }

    /// Flags the next value of each as one after a restart.
    pub(super) fn restart(&mut self) {
        self.restarted = [true; N];
    }

    /// The values last set.
    pub(super) fn last(&self) -> &[Option<i64>; N] {
        &self.last
    }

    /// Ends the series.
    pub(super) fn retire(self, readings: &mut Readings) {
        self.handles.into_iter().for_each(|handle| readings.retire(handle));
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::series::{Kind, Scale};

    use super::*;
    use crate::sense::Metric;

    const METRIC: Metric = Metric {
        name: "a",
        unit: "1",
        kind: Kind::Counter,
        scale: Scale::UNIT,
        attributes: &["n"],
        description: "",
    };

    fn resets(counters: &mut Counters<2>, now: [Option<i64>; 2], r: &mut Readings) -> Vec<bool> {
        r.clear();
        counters.set(now, r);
        r.values().iter().map(|reading| reading.reset).collect()
    }

    #[test]
    fn one_that_goes_backwards_restarts_all() {
        let mut readings = Readings::default();
        let handles = ["0", "1"].map(|n| readings.define(&METRIC, &[("n", n)]));
        let mut counters = Counters::new(handles, false);
        assert_eq!(resets(&mut counters, [Some(5), Some(5)], &mut readings), [false, false]);
        assert_eq!(resets(&mut counters, [Some(5), Some(6)], &mut readings), [false, false]);
        assert_eq!(resets(&mut counters, [Some(4), Some(9)], &mut readings), [true, true]);
        assert_eq!(resets(&mut counters, [None, Some(9)], &mut readings), [false]);
        assert_eq!(resets(&mut counters, [Some(3), None], &mut readings), [true]);
        assert_eq!(resets(&mut counters, [Some(3), Some(9)], &mut readings), [false, true]);
    }

    #[test]
    fn a_late_device_starts_with_a_restart() {
        let mut readings = Readings::default();
        let handles = ["0", "1"].map(|n| readings.define(&METRIC, &[("n", n)]));
        let mut counters = Counters::new(handles, true);
        assert_eq!(resets(&mut counters, [Some(5), Some(5)], &mut readings), [true, true]);
        assert_eq!(resets(&mut counters, [Some(5), Some(5)], &mut readings), [false, false]);
    }
}
