//! Which processes are worth a series: the largest, but without series that come and go with every reading.
//!
//! Properties, each tested:
//! 1. The `top` largest that are not zero are chosen.
//! 2. All that are chosen are among the `2 * top` largest and not zero.
//! 3. One that is shown stays while it is among the `2 * top` largest and not zero.
//! 4. Choosing again with the choice as what is shown changes nothing.

use std::cmp::Reverse;

/// A process in a ranking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    /// What it is ranked by.
    pub(super) score: i64,
    /// Its row; of two with the same score the lower one ranks higher.
    pub(super) row: u32,
    /// It has been chosen before.
    pub(super) shown: bool,
}

/// Leaves in `candidates` those that are chosen, highest rank first.
pub(super) fn choose(candidates: &mut Vec<Candidate>, top: usize) {
    let order = |candidate: &Candidate| (Reverse(candidate.score), candidate.row);
    candidates.retain(|candidate| candidate.score > 0);
    let pool = 2 * top;
    if candidates.len() > pool {
        candidates.select_nth_unstable_by_key(pool, order);
        candidates.truncate(pool);
    }
    candidates.sort_unstable_by_key(order);
    let mut rank = 0;
    candidates.retain(|candidate| {
        rank += 1;
        rank <= top || candidate.shown
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        proptest::collection::vec((0..20_i64, any::<bool>()), 0..60).prop_map(|scores| {
            let candidate = |(row, (score, shown))| Candidate { score, row: row as u32, shown };
            scores.into_iter().enumerate().map(candidate).collect()
        })
    }

    proptest! {
        #[test]
        fn the_properties_hold(all in candidates(), top in 0..12_usize) {
            let mut ranked = all.clone();
            ranked.sort_by_key(|candidate| (Reverse(candidate.score), candidate.row));
            ranked.retain(|candidate| candidate.score > 0);
            let mut chosen = all.clone();
            choose(&mut chosen, top);
            for (rank, candidate) in ranked.iter().enumerate() {
                let expected = rank < top || (rank < 2 * top && candidate.shown);
                prop_assert_eq!(chosen.contains(candidate), expected);
            }
            let mut again = all;
            for candidate in &mut again {
                candidate.shown = chosen.iter().any(|kept| kept.row == candidate.row);
            }
            choose(&mut again, top);
            let rows = |chosen: &[Candidate]| chosen.iter().map(|c| c.row).collect::<Vec<_>>();
            prop_assert_eq!(rows(&again), rows(&chosen));
        }
    }
}
