//! Which tables a query reads for which part of its time: the coarsest tier that gives the answer of the samples, finer ones and at last the samples beyond where it is complete.
//!
//! Properties, each a test below:
//! - the sources cover the time that is read once, in order, and every tier begins and ends with a bucket of its own;
//! - a tier is used only when the step is a multiple of its buckets and only before the time up to which it is complete;
//! - percentiles of all samples of a group read samples only.

use super::Fold;
use super::answer::Tier;
use crate::rollup::{Progress, RollupTier};

/// A table and the part of the time that is read from it, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Source {
    /// Rollups, or the samples.
    pub rollup: Option<RollupTier>,
    /// First millisecond.
    pub from_ms: i64,
    /// End, not included.
    pub to_ms: i64,
}

/// The sources of a query that reads `[read_ms.0, read_ms.1)`.
pub fn pick(fold: Fold, step_ms: i64, read_ms: (i64, i64), progress: Progress) -> Vec<Source> {
    let (mut from_ms, to_ms) = read_ms;
    let mut sources = Vec::new();
    if !fold.needs_samples() {
        for tier in RollupTier::COARSEST_FIRST {
            let width_ms = tier.width_ms();
            if step_ms % width_ms != 0 {
                continue;
            }
            let complete_ms = match tier {
                RollupTier::Hour => progress.hours_until_ms,
                RollupTier::Minute | RollupTier::TenSeconds => progress.fine_until_ms,
            };
            let start_ms = from_ms - from_ms % width_ms;
            let end_ms = complete_ms.min(to_ms + (width_ms - to_ms % width_ms) % width_ms);
            if start_ms < end_ms {
                sources.push(Source { rollup: Some(tier), from_ms: start_ms, to_ms: end_ms });
                from_ms = end_ms;
            }
        }
    }
    if from_ms < to_ms {
        sources.push(Source { rollup: None, from_ms, to_ms });
    }
    sources
}

/// The tier that is told to the caller.
pub fn tier(sources: &[Source]) -> Tier {
    sources.first().and_then(|source| source.rollup).map_or(Tier::Raw, Tier::from)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::query::{Agg, Buckets};
    use crate::rollup::SPAN_MS;
    use crate::store::HOUR_MS;

    fn progress(fine_until_ms: i64, hours_until_ms: i64) -> Progress {
        Progress { fine_until_ms, hours_until_ms, ..Progress::default() }
    }

    fn widths(sources: &[Source]) -> Vec<i64> {
        sources.iter().map(|s| s.rollup.map_or(1, RollupTier::width_ms)).collect()
    }

    #[test]
    fn the_coarsest_tier_comes_first_and_the_samples_last() {
        let progress = progress(30 * SPAN_MS, 4 * HOUR_MS);
        let read = (HOUR_MS, 10 * HOUR_MS);
        let sources = pick(Agg::Avg.into(), HOUR_MS, read, progress);
        assert_eq!(widths(&sources), [HOUR_MS, 60_000, 1]);
        assert_eq!((sources[0].from_ms, sources[0].to_ms), (HOUR_MS, 4 * HOUR_MS));
        assert_eq!((sources[1].to_ms, sources[2].to_ms), (5 * HOUR_MS, 10 * HOUR_MS));
        assert_eq!(tier(&sources), Tier::Hour);
        assert_eq!(widths(&pick(Agg::Avg.into(), 90_000, read, progress)), [10_000, 1]);
        assert_eq!(widths(&pick(Agg::Avg.into(), 15_000, read, progress)), [1]);
        assert_eq!(widths(&pick(Agg::Percentile(99).into(), HOUR_MS, read, progress)), [1]);
        assert_eq!(widths(&pick(Agg::Avg.into(), HOUR_MS, (0, HOUR_MS), progress)), [HOUR_MS]);
        assert_eq!(widths(&pick(Agg::Avg.into(), HOUR_MS, read, Progress::default())), [1]);
    }

    proptest! {
        #[test]
        fn sources_cover_the_time_once_and_begin_and_end_with_a_bucket(
            from in 0..100 * HOUR_MS,
            span in 1..50 * HOUR_MS,
            step in prop_oneof![1..100_000_i64, (1..20_000_i64).prop_map(|n| n * 10_000), (1..50_i64).prop_map(|n| n * HOUR_MS)],
            spans in 0..900_i64,
            behind in 0..20_i64,
            is_rate in any::<bool>(),
        ) {
            let buckets = Buckets::covering(from, from + span, step);
            let (agg, around) = if is_rate { (Agg::Rate, step.max(300_000)) } else { (Agg::Avg, 0) };
            let read = ((buckets.first_ms() - around).max(0), buckets.end_ms() + around);
            let fine = spans * SPAN_MS;
            let progress = progress(fine, ((fine / HOUR_MS - behind) * HOUR_MS).max(0));
            let sources = pick(agg.into(), step, read, progress);
            prop_assert_eq!(sources[0].from_ms, read.0);
            prop_assert_eq!(sources.last().unwrap().to_ms, read.1);
            for pair in sources.windows(2) {
                prop_assert_eq!(pair[0].to_ms, pair[1].from_ms);
            }
            for source in &sources {
                prop_assert!(source.from_ms < source.to_ms);
                let Some(tier) = source.rollup else { continue };
                prop_assert_eq!(step % tier.width_ms(), 0);
                prop_assert_eq!((source.from_ms % tier.width_ms(), source.to_ms % tier.width_ms()), (0, 0));
                let complete = if tier == RollupTier::Hour { progress.hours_until_ms } else { fine };
                prop_assert!(source.to_ms <= complete);
            }
        }
    }
}
