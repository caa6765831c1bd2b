//! How many requests came each second, and how long ago.
//!
//! Keys of an age `a` are those of the requests that came `a` ago. So their number tells the share of requests that come later than that only beside the rate of that time, and not of
//! now: `S(a) = keys of age a / requests then`. Estimators take the rate of now. Where it is another one, what they say of misses is off by the quotient of both, which is put right here
//! if it is small, and nothing is said if it is not.

use std::collections::VecDeque;

use flyball_proto::steering::CachePrediction;

/// Looks that are kept.
const KEPT: usize = 4096;
/// What is around an age: from this part of it to this multiple.
const AROUND: (f64, f64) = (0.5, 1.5);
/// Quotients that can be put right.
const EVEN: std::ops::RangeInclusive<f64> = 0.7..=1.4;

/// Why there is no quotient that could be put right.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub(super) enum Uneven {
    /// Nobody knows how many requests there were then.
    #[error("how many requests there were {0:.0} s ago is not known")]
    Unknown(f64),
    /// They are too far apart.
    #[error(
        "{now:.0} requests a second now and {then:.0} when keys of {age_s:.0} s were used are too different"
    )]
    Different {
        /// Requests a second now.
        now: f64,
        /// Requests a second then.
        then: f64,
        /// How long ago that was.
        age_s: f64,
    },
}

/// Requests of the looks so far.
#[derive(Debug, Default)]
pub(super) struct Rates(VecDeque<(f64, f64)>);

impl Rates {
    /// So many requests in this time, up to now.
    pub(super) fn add(&mut self, seconds: f64, requests: f64) {
        if seconds > 0.0 && requests >= 0.0 && seconds.is_finite() && requests.is_finite() {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back((seconds, requests));
        }
    }

    /// Requests a second from `from_s` to `to_s` ago, as far as that is known.
    fn between(&self, from_s: f64, to_s: f64) -> Option<f64> {
        let (mut age, mut seconds, mut requests) = (0.0, 0.0, 0.0);
        for (time, count) in self.0.iter().rev() {
            let part = ((age + time).min(to_s) - age.max(from_s)).max(0.0);
            seconds += part;
            requests += count * part / time;
            age += time;
            if age >= to_s {
                break;
            }
        }
        (seconds > 0.0).then(|| requests / seconds)
    }

    /// How many times as often as keys of this age were used there are requests now, which is over the last `recent_s`.
    ///
    /// # Errors
    /// When that is not known, or is too far from one.
    pub(super) fn quotient(&self, age_s: f64, recent_s: f64) -> Result<f64, Uneven> {
        let now = self.between(0.0, recent_s.max(1.0));
        let then = self.between(AROUND.0 * age_s, AROUND.1 * age_s);
        let (Some(now), Some(then)) = (now, then) else {
            return Err(Uneven::Unknown(age_s));
        };
        let quotient = now / then;
        // What is no number is not even.
        if EVEN.contains(&quotient) {
            Ok(quotient)
        } else {
            Err(Uneven::Different { now, then, age_s })
        }
    }
}

/// Puts a prediction right whose misses are as many times too many. Half of what is put right is doubted.
pub(super) fn put_right(prediction: CachePrediction, quotient: f64) -> CachePrediction {
    let misses = 1.0 - prediction.value;
    let moved = misses * (1.0 - quotient);
    let doubt = moved.abs() / 2.0;
    let ratio = |value: f64| value.clamp(0.0, 1.0);
    CachePrediction {
        value: ratio(prediction.value + moved),
        low: ratio(prediction.low + moved - doubt),
        high: ratio(prediction.high + moved + doubt),
        ..prediction
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_time_is_that_of_its_looks() {
        let mut rates = Rates::default();
        assert!(rates.quotient(10.0, 5.0).is_err());
        // 100 a second for 60 s, then 80 for 20 s.
        (0..6).for_each(|_| rates.add(10.0, 1000.0));
        (0..2).for_each(|_| rates.add(10.0, 800.0));
        rates.add(0.0, 1.0);
        rates.add(f64::NAN, 1.0);
        let quotient = rates.quotient(50.0, 20.0).unwrap();
        assert!((quotient - 0.8).abs() < 1e-9, "{quotient}");
        assert!((rates.quotient(10.0, 20.0).unwrap() - 1.0).abs() < 1e-9);
        assert!((rates.between(15.0, 25.0).unwrap() - 90.0).abs() < 1e-9);
        rates.add(10.0, 200.0);
        assert!(matches!(rates.quotient(50.0, 10.0), Err(Uneven::Different { .. })));
        assert_eq!(rates.quotient(500.0, 10.0), Err(Uneven::Unknown(500.0)));
    }

    #[test]
    fn misses_that_are_too_many_are_put_right_and_doubted() {
        let before = CachePrediction {
            metric: String::new(),
            value: 0.8,
            low: 0.79,
            high: 0.81,
            settings: std::collections::BTreeMap::new(),
            samples: 1,
            method: String::new(),
        };
        let after = put_right(before.clone(), 0.9);
        assert!((after.value - 0.82).abs() < 1e-9);
        assert!((after.low - 0.8).abs() < 1e-9 && (after.high - 0.84).abs() < 1e-9);
        assert_eq!(put_right(before.clone(), 1.0), before);
    }
}
