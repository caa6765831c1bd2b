//! What a damaged spool explains.
//!
//! A byte that has changed makes the rest of its segment unreadable. How many samples that was the agent knows only as far as its account had seen them; those after
//! that are gone without being counted. They are then whole frames, one after the other, of one run of the agent: one such block for each damage.

use std::collections::{BTreeMap, BTreeSet};

use crate::journal::Journal;

/// True when `missing`, samples by number of the series and time, are at most `damages` blocks of whole frames.
pub(super) fn explains(journal: &Journal, missing: &[(u32, i64)], damages: u64) -> bool {
    let mut of_tick: BTreeMap<i64, u64> = BTreeMap::new();
    for (_, ts_ms) in missing {
        *of_tick.entry(*ts_ms).or_default() += 1;
    }
    let mut produced: BTreeMap<i64, u64> = BTreeMap::new();
    for frame in &journal.frames {
        *produced.entry(frame.ts_ms).or_default() += u64::from(frame.samples);
    }
    let are_whole = of_tick.iter().all(|(ts_ms, samples)| produced.get(ts_ms) == Some(samples));
    are_whole && blocks(journal, &of_tick.into_keys().collect()) <= damages
}

/// Runs of neighbouring frames that are all missing.
fn blocks(journal: &Journal, missing: &BTreeSet<i64>) -> u64 {
    let (mut count, mut inside) = (0, None);
    for frame in &journal.frames {
        if !missing.contains(&frame.ts_ms) {
            inside = None;
        } else if inside != Some(frame.run) {
            (count, inside) = (count + 1, Some(frame.run));
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::FrameNote;

    /// Two runs of three frames with two samples each.
    fn journal() -> Journal {
        let mut journal = Journal::default();
        for tick in 1..=6_i64 {
            let (run, seq) = (u32::from(tick > 3), tick as u64);
            journal.frames.push(FrameNote { run, seq, ts_ms: tick * 100, samples: 2 });
        }
        journal
    }

    fn ticks(ticks: &[i64]) -> Vec<(u32, i64)> {
        ticks.iter().flat_map(|tick| [(0, tick * 100), (1, tick * 100)]).collect()
    }

    #[test]
    fn one_damage_explains_one_block_of_one_run() {
        assert!(explains(&journal(), &ticks(&[2, 3]), 1));
        assert!(!explains(&journal(), &ticks(&[2, 3]), 0));
        assert!(!explains(&journal(), &ticks(&[1, 3]), 1));
        assert!(!explains(&journal(), &ticks(&[3, 4]), 1), "two runs are two segments");
        assert!(explains(&journal(), &ticks(&[3, 4]), 2));
    }

    #[test]
    fn a_part_of_a_frame_is_lost_by_no_damage() {
        let mut missing = ticks(&[2]);
        missing.pop();
        assert!(!explains(&journal(), &missing, 9));
    }
}
