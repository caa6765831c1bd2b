//! What another time to live would do, from the clocks of keys that have expired.
//!
//! A key that is not refreshed when it is read lives for its time `T`, then waits for a time `w` until
//! somebody asks for it, is missed and filled anew: one miss for each `T + w`. With another time `T'`
//! it is one for each `T' + w`, if `w` is that of a memoryless stream of requests. (A miss that a longer
//! time saves is only put off: counting all requests within the additional time as saved is three
//! times too much where keys are asked for several times in their lives.) So of the keys that expire
//! and are asked for after `w`, a share `(T' - T) / (T' + w)` of the misses is saved, and each is there
//! for `w (T' - T) / (T' + w)` longer. Keys that nobody asks for again are there longer for nothing.
//!
//! Of these a shorter time loses the ones that are asked for in the time that is cut off; how many that
//! is, ages of keys near their end tell.

use super::ghosts::Block;
use super::{Cause, Ghosts};

/// So many expired keys must have been asked for again.
const LEAST_EVENTS: f64 = 50.0;
/// Where clocks of expired keys are.
const EXPIRED_TAIL: usize = 2;

/// What changes with another time to live.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Effect {
    /// Hits a second more, or less.
    pub hits_per_second: f64,
    /// Keys more, or less.
    pub keys: f64,
}

/// The effect of letting all keys that expire live for `other_ms` instead of `given_ms`. `asked_late`
/// is the share of the keys near their end that somebody has asked for in the time that a shorter life
/// cuts off. `None` when too little was seen.
pub fn lifetime(
    ghosts: &Ghosts,
    now_ms: u64,
    given_ms: f64,
    other_ms: f64,
    asked_late: f64,
) -> Option<Effect> {
    let mut sum = Block::default();
    ghosts.blocks(now_ms).iter().for_each(|block| sum.merge(block));
    let tail = &sum.tails[EXPIRED_TAIL];
    let per_second = sum.gone[Cause::Expired.index()] as f64 / (sum.span_ms as f64 / 1000.0);
    let more_s = (other_ms - given_ms) / 1000.0;
    let is_sound = given_ms > 0.0 && other_ms > 0.0 && per_second > 0.0 && per_second.is_finite();
    if !is_sound || tail.events() < LEAST_EVENTS {
        return None;
    }
    let (mut before, mut start_ms) = (0.0, 0.0);
    let (mut saved, mut waits_s, mut asked) = (0.0, 0.0, 0.0);
    for step in tail.survival(0.0) {
        let (share, wait_ms) = (step.gained - before, f64::midpoint(start_ms, step.age_ms));
        saved += share * (other_ms - given_ms) / (other_ms + wait_ms);
        waits_s += share * wait_ms * more_s / (other_ms + wait_ms);
        asked += share;
        (before, start_ms) = (step.gained, step.age_ms);
    }
    let unasked = (1.0 - asked).max(0.0);
    let late = if more_s < 0.0 { asked_late.clamp(0.0, 1.0) } else { 0.0 };
    Some(Effect {
        hits_per_second: per_second * (saved - unasked * late),
        keys: per_second * (waits_s + unasked * more_s * (1.0 - late)),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Sampling;
    use super::*;
    use crate::mix::next_unit;

    const GIVEN_S: f64 = 30.0;

    /// Keys that are asked for at so many a second each, without refreshing their time.
    fn watched(rates: &[f64], seconds: f64) -> (Ghosts, u64) {
        let mut events = Vec::new();
        let mut random = 7;
        for (key, rate) in rates.iter().enumerate() {
            let mut wait = || -(1.0 - next_unit(&mut random)).ln() / rate;
            let mut at = wait();
            while at < seconds {
                events.push(((at * 1000.0) as u64, key as u64, false));
                events.push((((at + GIVEN_S) * 1000.0) as u64, key as u64, true));
                at += GIVEN_S + wait();
            }
        }
        let (mut ghosts, start, end) =
            (Ghosts::new(Sampling { max_keys: 1 << 16, max_rate: 1.0 }), 1_000_000, seconds * 1e3);
        events.sort_unstable();
        ghosts.open(start);
        for (at_ms, key, is_gone) in events.into_iter().filter(|event| (event.0 as f64) < end) {
            if is_gone {
                ghosts.gone(key, Cause::Expired, start + at_ms);
            } else {
                ghosts.missed(key, start + at_ms);
            }
        }
        (ghosts, start + end as u64)
    }

    /// Misses a second, and keys that are there.
    fn exact(rates: &[f64], ttl_s: f64) -> (f64, f64) {
        let each = rates.iter().map(|rate| 1.0 / (ttl_s + 1.0 / rate));
        let misses: f64 = each.sum();
        (misses, misses * ttl_s)
    }

    #[test]
    fn a_longer_and_a_shorter_life_are_those_of_the_law() {
        // From several times in a life to once in ten.
        let rates: Vec<f64> = (0..4000).map(|i| 0.3 * 0.9985_f64.powi(i)).collect();
        let (ghosts, now_ms) = watched(&rates, 2000.0);
        let (misses, keys) = exact(&rates, GIVEN_S);
        for factor in [0.5, 2.0, 3.0] {
            let other = GIVEN_S * factor;
            let effect = lifetime(&ghosts, now_ms, GIVEN_S * 1e3, other * 1e3, 0.0).unwrap();
            let (other_misses, other_keys) = exact(&rates, other);
            let (saved, more) = (misses - other_misses, other_keys - keys);
            let is = |a: f64, b: f64| (a / b - 1.0).abs() < 0.25;
            assert!(is(effect.hits_per_second, saved), "{factor}: {effect:?}, is {saved}");
            assert!(is(effect.keys, more), "{factor}: {effect:?}, is {more}");
        }
        let same = lifetime(&ghosts, now_ms, GIVEN_S * 1e3, GIVEN_S * 1e3, 1.0).unwrap();
        assert!(same.hits_per_second.abs() < 1e-9 && same.keys.abs() < 1e-9);
    }

    #[test]
    fn what_nobody_asks_for_again_only_takes_room() {
        let (ghosts, now_ms) = watched(&vec![0.02; 200], 200.0);
        assert_eq!(lifetime(&ghosts, now_ms, 0.0, 1.0, 0.0), None);
        assert_eq!(lifetime(&ghosts, now_ms, f64::NAN, 1.0, 0.0), None);
        let few = watched(&[0.02; 5], 200.0);
        assert_eq!(lifetime(&few.0, few.1, 3e4, 6e4, 0.0), None);
        let none = lifetime(&ghosts, now_ms, 3e4, 1.5e4, 0.0).unwrap();
        let some = lifetime(&ghosts, now_ms, 3e4, 1.5e4, 1.0).unwrap();
        assert!(some.hits_per_second < none.hits_per_second && some.keys > none.keys);
    }
}
