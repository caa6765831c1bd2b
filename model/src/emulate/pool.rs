//! The best candidates for eviction that samples have brought so far, 16 at most.
//!
//! A candidate stays with the score that it had when it was sampled, also when its key has been
//! used or deleted since. That is what the server does, and why a key that has just been used may
//! be evicted.

const SIZE: usize = 16;

/// Candidates by growing score.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// Score and key.
    candidates: Vec<(u64, u64)>,
}

impl Pool {
    /// Puts a sampled key in its place. A full pool gives up its worst candidate for a better one.
    pub(super) fn offer(&mut self, score: u64, key: u64) {
        let place = self.candidates.partition_point(|(other, _)| *other < score);
        if self.candidates.len() < SIZE {
            self.candidates.insert(place, (score, key));
        } else if place > 0 {
            self.candidates[..place].rotate_left(1);
            self.candidates[place - 1] = (score, key);
        }
    }

    /// Takes the best candidate out.
    pub(super) fn take(&mut self) -> Option<u64> {
        self.candidates.pop().map(|(_, key)| key)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_best_sixteen_come_out_best_first(scores in prop::collection::vec(0_u64..1000, 0..60)) {
            let mut pool = Pool::default();
            for (key, score) in scores.iter().enumerate() {
                pool.offer(*score, key as u64);
            }
            let mut best = scores.clone();
            best.sort_unstable_by(|a, b| b.cmp(a));
            best.truncate(SIZE);
            let taken: Vec<_> = std::iter::from_fn(|| pool.take()).collect();
            let taken: Vec<_> = taken.into_iter().map(|key| scores[key as usize]).collect();
            prop_assert_eq!(taken, best);
        }
    }
}
