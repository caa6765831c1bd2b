//! Times to live by prefix: what a key was given is not told by what it has left.
//!
//! A prefix is a key up to its last colon. Times are seen when keys have just been filled. Where all
//! keys of a prefix are given about the same, that is what any of them was given.

use std::collections::HashMap;

/// Prefixes at most; later ones are not known.
const MOST: usize = 1024;
/// Times that must have been seen of a prefix.
const LEAST: f64 = 5.0;
/// Largest standard deviation, as a share of the mean, of times that are about the same.
const SAME: f64 = 0.2;

/// Times that keys were given, by the hash of their prefix.
#[derive(Debug, Clone, Default)]
pub(super) struct Given(HashMap<u64, Times>);

/// Count, mean and sum of squared distances (Welford 1962).
#[derive(Debug, Clone, Copy, Default)]
struct Times {
    count: f64,
    mean_ms: f64,
    squares: f64,
}

/// The part of a key that tells what kind it is.
pub(super) fn of(key: &[u8]) -> &[u8] {
    let end = memchr::memrchr(b':', key).unwrap_or(0);
    &key[..end]
}

impl Given {
    /// A key of this prefix was given so long.
    pub(super) fn learn(&mut self, prefix: u64, ttl_ms: u64) {
        if self.0.len() >= MOST && !self.0.contains_key(&prefix) {
            return;
        }
        let times = self.0.entry(prefix).or_default();
        let away = ttl_ms as f64 - times.mean_ms;
        times.count += 1.0;
        times.mean_ms += away / times.count;
        times.squares += away * (ttl_ms as f64 - times.mean_ms);
    }

    /// What keys of this prefix are given; `None` when it is not known or not always the same.
    pub(super) fn get(&self, prefix: u64) -> Option<u64> {
        let times = self.0.get(&prefix).filter(|times| times.count >= LEAST)?;
        let sd_ms = (times.squares / times.count).sqrt();
        (sd_ms <= SAME * times.mean_ms).then_some(times.mean_ms.round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_the_last_colon() {
        for (key, prefix) in [("user:1:name", "user:1"), ("plain", ""), (":x", ""), ("", "")] {
            assert_eq!(of(key.as_bytes()), prefix.as_bytes());
        }
    }

    #[test]
    fn what_is_always_about_the_same_is_known() {
        let mut given = Given::default();
        for i in 0..20 {
            given.learn(1, 60_000 + 500 * (i % 5));
            given.learn(2, if i % 2 == 0 { 10_000 } else { 600_000 });
        }
        given.learn(3, 1000);
        assert_eq!(given.get(1), Some(61_000));
        assert_eq!((given.get(2), given.get(3), given.get(4)), (None, None, None));
        (0..5000).for_each(|prefix| given.learn(prefix, 1));
        assert_eq!(given.0.len(), MOST);
    }
}
