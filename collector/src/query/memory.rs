//! Answers from the recent samples in memory: the same aggregations as [`super::sql`], over the same samples, without ClickHouse.
//!
//! Only when every sample that counts is there: the windows of all nodes that are asked for are complete from the first time that is read. Otherwise the store is asked, for
//! all of it. The samples are copied out of the nodes before anything is computed, so ingest waits for microseconds at most.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::fold::{Across, Within};
use super::plan::Plan;
use super::table::Table;
use super::{Buckets, Fold, MetricsQuery, QueryError};
use crate::live::{Live, Snapshot};
use crate::store::catalog::SelectedSeries;

/// What tells series that keep the sums of others; only the store has their samples.
const OVERFLOW: &str = "otel.metric.overflow";

/// Most samples that are gone through for one answer: a few hundred milliseconds. The store has more than one core and its own bounds.
const MAX_SAMPLES: usize = 20_000_000;
/// Most values that are held for one answer.
const MAX_HELD: usize = 4_000_000;

/// Everything that an answer is computed from.
#[derive(Debug)]
pub(crate) struct Recent {
    nodes: BTreeMap<Arc<str>, Snapshot>,
    /// Ids in the order of the plan, and the node of each.
    series: Vec<(u64, Arc<str>)>,
}

/// One series in one bucket while its samples come.
#[derive(Debug, Clone, Copy)]
struct Level {
    value: f64,
    weight: f64,
}

/// Levels of a group: what is needed of them to become one value.
enum Group {
    /// Running sum, minimum or maximum, and the number of series.
    Running(Vec<(f64, u32)>),
    /// All of them, for percentiles.
    All(Vec<Vec<f64>>),
}

impl Recent {
    /// Copies the samples of a plan; `None` when some may not be in memory.
    pub(crate) fn of(query: &MetricsQuery, plan: &Plan, live: &Live) -> Option<Self> {
        let is_sum =
            |series: &SelectedSeries| series.attributes.iter().any(|(k, _)| **k == *OVERFLOW);
        if query.series.iter().any(is_sum) {
            return None;
        }
        let mut of_nodes: BTreeMap<Arc<str>, Vec<u64>> = BTreeMap::new();
        for series in &query.series {
            of_nodes.entry(Arc::clone(&series.node)).or_default().push(series.id.get());
        }
        let range_ms = (plan.read_from_ms, plan.read_to_ms);
        let mut nodes = BTreeMap::new();
        for (node, ids) in of_nodes {
            let snapshot = live.recent(&node, &ids, range_ms)?;
            nodes.insert(node, snapshot);
        }
        // The query has its series by id, as the plan has.
        let series = query.series.iter().map(|s| (s.id.get(), Arc::clone(&s.node))).collect();
        Some(Self { nodes, series }).filter(|recent| recent.is_bounded(query.fold, plan))
    }

    /// False when going through the samples would take too long or too much memory.
    fn is_bounded(&self, fold: Fold, plan: &Plan) -> bool {
        let sizes = Sizes {
            samples: self.samples_at_most(),
            series: self.series.len(),
            keys: plan.keys.len(),
            buckets: plan.buckets.count() as usize,
        };
        sizes.are_bounded(fold)
    }

    /// More samples than this are not looked at.
    pub(crate) fn samples_at_most(&self) -> usize {
        self.series.iter().filter_map(|(_, node)| self.nodes.get(node)).map(Snapshot::frames).sum()
    }

    /// Computes the values.
    ///
    /// # Errors
    /// When there are too many points.
    pub(crate) fn table(&self, fold: Fold, plan: &Plan) -> Result<Table, QueryError> {
        let width = plan.buckets.count() as usize;
        let mut groups: Vec<Option<Group>> = plan.keys.iter().map(|_| None).collect();
        let mut levels = vec![Level::NONE; width];
        for ((id, node), group) in self.series.iter().zip(&plan.groups) {
            let Some(snapshot) = self.nodes.get(node) else { continue };
            let group = &mut groups[*group as usize];
            if fold.within == Within::Samples {
                let all = group.get_or_insert_with(|| Group::All(vec![Vec::new(); width]));
                let Group::All(all) = all else { continue };
                each(snapshot, *id, plan, |ts_ms, value| {
                    if let Some(index) = index_of(plan.buckets, ts_ms) {
                        all[index].push(value);
                    }
                });
                continue;
            }
            levels.fill(Level::NONE);
            if fold.within == Within::Rate {
                rates(snapshot, *id, plan, &mut levels);
            } else {
                each(snapshot, *id, plan, |ts_ms, value| {
                    if let Some(index) = index_of(plan.buckets, ts_ms) {
                        levels[index].add(fold.within, value);
                    }
                });
            }
            let group = group.get_or_insert_with(|| Group::new(fold.across, width));
            for (index, level) in levels.iter().enumerate().filter(|(_, level)| level.is_known()) {
                group.add(index, fold.across, level.result(fold.within));
            }
        }
        let mut table = Table::new(plan.buckets);
        for (group, key) in groups.into_iter().zip(&plan.keys) {
            let Some(values) = group.and_then(|group| group.values(fold.across)) else { continue };
            table.push(key.clone())?.copy_from_slice(&values);
        }
        Ok(table)
    }
}

/// Finite samples of a series within what is read.
fn each(snapshot: &Snapshot, id: u64, plan: &Plan, mut take: impl FnMut(i64, f64)) {
    let (from_ms, to_ms) = (plan.read_from_ms, plan.read_to_ms);
    snapshot.samples(id, |ts_ms, value| {
        if ts_ms >= from_ms && ts_ms < to_ms && value.is_finite() {
            take(ts_ms, value);
        }
    });
}

/// Lays the rises of a counter into buckets, as the module [`super::sql`] says.
fn rates(snapshot: &Snapshot, id: u64, plan: &Plan, levels: &mut [Level]) {
    let (buckets, mut previous) = (plan.buckets, None::<(i64, f64)>);
    let step_ms = buckets.step_ms();
    each(snapshot, id, plan, |t, v| {
        let Some((t0, v0)) = previous.replace((t, v)) else { return };
        let span = t - t0;
        if span <= 0 || span > plan.gap_ms {
            return;
        }
        let rise = if v < v0 { v } else { v - v0 };
        let mut lay = |at_ms: i64, covered_ms: i64| {
            if let Some(index) = index_of(buckets, at_ms) {
                levels[index].value += rise / span as f64 * covered_ms as f64;
                levels[index].weight += covered_ms as f64;
            }
        };
        if t0 / step_ms == (t - 1) / step_ms {
            lay(t0, span);
        } else {
            lay(t0, step_ms - t0 % step_ms);
            lay(t - 1, (t - 1) % step_ms + 1);
        }
    });
}

/// Index of the bucket that holds a time.
fn index_of(buckets: Buckets, ts_ms: i64) -> Option<usize> {
    buckets.index_of_start(ts_ms - ts_ms.rem_euclid(buckets.step_ms()))
}

impl Level {
    const NONE: Self = Self { value: 0.0, weight: 0.0 };

    fn is_known(self) -> bool {
        self.weight > 0.0
    }

    fn add(&mut self, within: Within, value: f64) {
        let is_first = !self.is_known();
        self.weight += 1.0;
        self.value = match within {
            Within::Min if !is_first => self.value.min(value),
            Within::Max if !is_first => self.value.max(value),
            Within::Mean => self.value + value,
            _ => value,
        };
    }

    fn result(self, within: Within) -> f64 {
        match within {
            Within::Mean => self.value / self.weight,
            Within::Rate => 1_000.0 * self.value / self.weight,
            _ => self.value,
        }
    }
}

impl Group {
    fn new(across: Across, width: usize) -> Self {
        match across {
            Across::Percentile(_) => Self::All(vec![Vec::new(); width]),
            _ => Self::Running(vec![(0.0, 0); width]),
        }
    }

    fn add(&mut self, index: usize, across: Across, level: f64) {
        match self {
            Self::All(all) => all[index].push(level),
            Self::Running(all) => {
                let (value, count) = &mut all[index];
                *value = match across {
                    Across::Min if *count > 0 => value.min(level),
                    Across::Max if *count > 0 => value.max(level),
                    Across::Min | Across::Max => level,
                    _ => *value + level,
                };
                *count += 1;
            }
        }
    }

    /// The value of each bucket, NaN where there is none; `None` when there is none at all.
    fn values(self, across: Across) -> Option<Vec<f64>> {
        let values: Vec<_> = match (self, across) {
            (Self::Running(all), Across::Mean) => {
                all.into_iter().map(|(sum, count)| sum / f64::from(count)).collect()
            }
            (Self::Running(all), _) => {
                let known = |(value, count)| if count > 0 { value } else { f64::NAN };
                all.into_iter().map(known).collect()
            }
            (Self::All(all), Across::Percentile(p)) => {
                all.into_iter().map(|mut levels| percentile(&mut levels, p)).collect()
            }
            (Self::All(_), _) => return None,
        };
        values.iter().any(|value| !value.is_nan()).then_some(values)
    }
}

/// Linear between the two nearest ranks; NaN of nothing.
pub(crate) fn percentile(values: &mut [f64], p: u8) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return f64::NAN };
    let rank = f64::from(p) / 100.0 * last as f64;
    let (_, low, above) = values.select_nth_unstable_by(rank as usize, f64::total_cmp);
    let high = above.iter().copied().min_by(f64::total_cmp).unwrap_or(*low);
    *low + (high - *low) * rank.fract()
}

/// What an answer from memory takes.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    samples: usize,
    series: usize,
    keys: usize,
    buckets: usize,
}

impl Sizes {
    /// Samples are read and held values are kept within their limits.
    fn are_bounded(self, fold: Fold) -> bool {
        let held = match (fold.within, fold.across) {
            (Within::Samples, _) => self.samples,
            (_, Across::Percentile(_)) => self.series * self.buckets,
            _ => self.keys * self.buckets,
        };
        self.samples <= MAX_SAMPLES && held <= MAX_HELD
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_linear_between_ranks() {
        assert!(percentile(&mut [], 50).is_nan());
        assert!((percentile(&mut [7.0], 99) - 7.0).abs() < 1e-12);
        assert!((percentile(&mut [4.0, 1.0, 3.0, 2.0], 50) - 2.5).abs() < 1e-12);
        assert!((percentile(&mut [4.0, 1.0, 3.0, 2.0, 5.0], 25) - 2.0).abs() < 1e-12);
    }

    #[test]
    fn what_would_take_too_much_is_left_to_the_store() {
        let fold = |within, across| Fold { within, across };
        let sizes = Sizes { samples: MAX_SAMPLES, series: 2000, keys: 10, buckets: 2001 };
        assert!(sizes.are_bounded(fold(Within::Mean, Across::Mean)), "few keys are held");
        assert!(!sizes.are_bounded(fold(Within::Samples, Across::Mean)), "every sample is");
        assert!(!sizes.are_bounded(fold(Within::Mean, Across::Percentile(99))), "a level each");
        let fewer = Sizes { buckets: 2000, ..sizes };
        assert!(fewer.are_bounded(fold(Within::Mean, Across::Percentile(99))));
        let more = Sizes { samples: MAX_SAMPLES + 1, ..sizes };
        assert!(!more.are_bounded(fold(Within::Mean, Across::Mean)));
    }
}
