//! The mean of a number that is looked at now and then.
//!
//! Each value counts for the time since the look before, so that a look that comes late has the weight of the time that it stands for.

use std::time::{Duration, Instant};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Mean {
    last: Option<Instant>,
    area: f64,
    time: Duration,
    sum: f64,
}

impl Mean {
    /// Takes note of a value that was so at `at`. The first one counts for no time.
    pub fn note(&mut self, value: f64, at: Instant) {
        if let Some(last) = self.last {
            let time = at.saturating_duration_since(last);
            self.area += value * time.as_secs_f64();
            self.time += time;
            self.sum += value;
        }
        self.last = Some(at);
    }

    /// The mean, and the sum of the values, since the last call; `None` when no time has passed.
    pub fn take(&mut self) -> Option<(f64, f64)> {
        let Self { last, area, time, sum } = *self;
        *self = Self { last, ..Self::default() };
        (!time.is_zero()).then(|| (area / time.as_secs_f64(), sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_the_time_since_the_look_before() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut mean = Mean::default();
        assert_eq!(mean.take(), None);
        mean.note(9.0, at(0));
        assert_eq!(mean.take(), None, "of no time yet");
        mean.note(2.0, at(100));
        mean.note(5.0, at(400));
        let (value, seen) = mean.take().unwrap();
        assert!((value - 4.25).abs() < 1e-9 && (seen - 7.0).abs() < 1e-9, "{value} {seen}");
        assert_eq!(mean.take(), None);
        mean.note(1.0, at(500));
        assert_eq!(mean.take(), Some((1.0, 1.0)), "since the last look, also after a call");
    }
}
