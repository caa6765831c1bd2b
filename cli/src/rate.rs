//! Growth of counters per second.
//!
//! `rate = (value - previous) / seconds between them`. After a reset (a value below the previous one) the growth of that interval is not known:
//! what was counted before the reset is lost, so any number would be too small.
//!
//! Properties, each a test: a rate is never negative and always finite; the first value, a reset, a value that is not known and a time that does not
//! advance give none.

/// The last value of a counter and how fast it grew.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Rate {
    last: Option<(i64, f64)>,
    per_second: Option<f64>,
}

impl Rate {
    /// Takes the value at `ts_ms`. A time that is not after the last one changes nothing.
    pub(crate) fn push(&mut self, ts_ms: i64, value: Option<f64>) {
        let Some(value) = value.filter(|v| v.is_finite()) else {
            *self = Self::default();
            return;
        };
        self.per_second = match self.last {
            Some((last_ms, _)) if ts_ms <= last_ms => return,
            Some((last_ms, last)) => {
                let seconds = ts_ms.abs_diff(last_ms) as f64 / 1000.0;
                Some((value - last) / seconds).filter(|r| *r >= 0.0 && r.is_finite())
            }
            None => None,
        };
        self.last = Some((ts_ms, value));
    }

    /// Growth per second over the last interval.
    pub(crate) fn per_second(&self) -> Option<f64> {
        self.per_second
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(values: &[(i64, Option<f64>)]) -> Vec<Option<f64>> {
        let mut rate = Rate::default();
        let mut push = |(ts_ms, value): &(i64, Option<f64>)| {
            rate.push(*ts_ms, *value);
            rate.per_second()
        };
        values.iter().map(&mut push).collect()
    }

    #[test]
    fn growth_is_divided_by_the_time_it_took() {
        let values =
            [(0, Some(10.0)), (1_000, Some(15.0)), (3_000, Some(15.0)), (3_500, Some(16.0))];
        assert_eq!(rates(&values), [None, Some(5.0), Some(0.0), Some(2.0)]);
    }

    #[test]
    fn the_interval_of_a_reset_is_unknown_and_the_next_is_not() {
        let values = [(0, Some(10.0)), (1_000, Some(3.0)), (2_000, Some(4.0))];
        assert_eq!(rates(&values), [None, None, Some(1.0)]);
    }

    #[test]
    fn an_unknown_value_starts_anew() {
        let values = [(0, Some(1.0)), (1_000, None), (2_000, Some(5.0)), (3_000, Some(6.0))];
        assert_eq!(rates(&values), [None, None, None, Some(1.0)]);
    }

    #[test]
    fn a_time_that_does_not_advance_changes_nothing() {
        let values = [(0, Some(0.0)), (1_000, Some(1.0)), (1_000, Some(9.0)), (2_000, Some(3.0))];
        assert_eq!(rates(&values), [None, Some(1.0), Some(1.0), Some(2.0)]);
    }

    proptest! {
        #[test]
        fn a_rate_is_finite_and_not_negative(
            values in prop::collection::vec((any::<i64>(), prop::option::of(prop::num::f64::ANY)), 0..50),
        ) {
            for rate in rates(&values).into_iter().flatten() {
                prop_assert!(rate >= 0.0 && rate.is_finite());
            }
        }
    }
}
