//! How many requests came each second, and how long ago.
//!
//! Keys of an age `a` are those of the requests that came `a` ago. So their number tells the share of
//! requests that come later than that only beside the rate of that time, and not of now: `S(a) = keys
//! of age a / requests then`. A change of the rate does not change what a server of some size hits:
//! as many requests come between two for the same key as did before, only faster.

use std::collections::VecDeque;

/// Times that are kept.
const KEPT: usize = 4096;

/// Requests of times that follow each other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(VecDeque<Served>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Served {
    until_ms: u64,
    seconds: f64,
    per_second: f64,
}

impl Rates {
    /// So many requests came in so many seconds up to then. What is not a number is left out; the
    /// oldest of 4096 times is forgotten.
    pub fn add(&mut self, until_ms: u64, seconds: f64, requests: f64) {
        let per_second = requests / seconds;
        if seconds > 0.0 && seconds.is_finite() && per_second >= 0.0 && per_second.is_finite() {
            if self.0.len() == KEPT {
                self.0.pop_front();
            }
            self.0.push_back(Served { until_ms, seconds, per_second });
        }
    }

    /// Requests a second from `from_s` to `to_s` before now, as far as that is known; `None` when
    /// nothing is known of that time. Since the last that is known there were as many.
    pub fn between(&self, now_ms: u64, from_s: f64, to_s: f64) -> Option<f64> {
        let (mut seconds, mut requests, mut end_s) = (0.0, 0.0, 0.0);
        for served in self.0.iter().rev() {
            let start_s = now_ms.saturating_sub(served.until_ms) as f64 / 1000.0 + served.seconds;
            let part = (start_s.min(to_s) - from_s.max(end_s)).max(0.0);
            seconds += part;
            requests += served.per_second * part;
            end_s = start_s;
            if end_s >= to_s {
                break;
            }
        }
        (seconds > 0.0).then(|| requests / seconds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_a_time_is_that_of_what_was_served_then() {
        let mut rates = Rates::default();
        assert_eq!(rates.between(90_000, 0.0, 10.0), None);
        // 100 a second for 60 s, then 80 for 20 s.
        (1..=6).for_each(|i| rates.add(i * 10_000, 10.0, 1000.0));
        (7..=8).for_each(|i| rates.add(i * 10_000, 10.0, 800.0));
        rates.add(80_000, 0.0, 1.0);
        rates.add(80_000, f64::NAN, 1.0);
        rates.add(80_000, 1.0, -1.0);
        let is = |from_s: f64, to_s: f64, rate: f64| {
            let said = rates.between(80_000, from_s, to_s).unwrap();
            assert!((said - rate).abs() < 1e-9, "{from_s} to {to_s}: {said}");
        };
        is(0.0, 20.0, 80.0);
        is(30.0, 50.0, 100.0);
        is(15.0, 25.0, 90.0);
        is(70.0, 500.0, 100.0);
        assert_eq!(rates.between(80_000, 80.0, 500.0), None);
        // A while later it is as long ago, and meanwhile there were as many as at last.
        assert!((rates.between(86_000, 21.0, 31.0).unwrap() - 90.0).abs() < 1e-9);
        assert!((rates.between(86_000, 0.0, 5.0).unwrap() - 80.0).abs() < 1e-9);
        (0..2 * KEPT as u64).for_each(|i| rates.add(90_000 + i, 0.001, 1.0));
        assert_eq!(rates.0.len(), KEPT);
    }
}
