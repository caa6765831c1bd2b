//! What each aggregation must give, computed the slow and plain way from the samples: no SQL, no shared code.

use std::collections::BTreeMap;

/// Samples of one series by time; later ones of one time replace earlier ones of equal value.
pub type Samples = BTreeMap<i64, f64>;

/// Value of each bucket that has one, by its start.
pub type Buckets = BTreeMap<i64, f64>;

const LONGEST_GAP_MS: i64 = 300_000;

/// Finite samples of a series in the bucket that starts at `start`.
fn inside(samples: &Samples, start: i64, step: i64) -> Vec<f64> {
    samples.range(start..start + step).map(|(_, v)| *v).filter(|v| v.is_finite()).collect()
}

/// `within` of each series, `across` the series that have samples.
fn leveled(
    group: &[Samples],
    starts: &[i64],
    step: i64,
    within: impl Fn(&[f64]) -> f64,
    across: impl Fn(&[f64]) -> f64,
) -> Buckets {
    let mut buckets = Buckets::new();
    for &start in starts {
        let levels: Vec<f64> = group
            .iter()
            .map(|samples| inside(samples, start, step))
            .filter(|values| !values.is_empty())
            .map(|values| within(&values))
            .collect();
        if !levels.is_empty() {
            buckets.insert(start, across(&levels));
        }
    }
    buckets
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Rise per second of each counter over the milliseconds that are covered, millisecond by millisecond, summed over the group.
fn rate(group: &[Samples], starts: &[i64], step: i64) -> Buckets {
    let mut buckets = Buckets::new();
    for samples in group {
        let mut rises: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
        let known: Vec<(i64, f64)> =
            samples.iter().filter(|(_, v)| v.is_finite()).map(|(t, v)| (*t, *v)).collect();
        for pair in known.windows(2) {
            let ((t0, v0), (t1, v1)) = (pair[0], pair[1]);
            if t1 - t0 > LONGEST_GAP_MS.max(step) {
                continue;
            }
            let rise = if v1 >= v0 { v1 - v0 } else { v1 };
            for ms in t0..t1 {
                let bucket = ms / step * step;
                if bucket == t0 / step * step || bucket == (t1 - 1) / step * step {
                    let entry = rises.entry(bucket).or_default();
                    entry.0 += rise / (t1 - t0) as f64;
                    entry.1 += 1.0;
                }
            }
        }
        for &start in starts {
            if let Some((rise, covered_ms)) = rises.get(&start) {
                *buckets.entry(start).or_default() += rise * 1_000.0 / covered_ms;
            }
        }
    }
    buckets
}

/// Linear interpolation between the two nearest ranks of all samples.
fn percentile(group: &[Samples], starts: &[i64], step: i64, p: f64) -> Buckets {
    let mut buckets = Buckets::new();
    for &start in starts {
        let mut all: Vec<f64> = group.iter().flat_map(|s| inside(s, start, step)).collect();
        all.sort_by(f64::total_cmp);
        if let Some(last) = all.len().checked_sub(1) {
            let rank = p / 100.0 * last as f64;
            let (low, high) = (all[rank.floor() as usize], all[rank.ceil() as usize]);
            buckets.insert(start, low + (high - low) * rank.fract());
        }
    }
    buckets
}

/// The buckets of a group by the name of the aggregation.
pub fn aggregate(agg: &str, group: &[Samples], starts: &[i64], step: i64) -> Buckets {
    let min = |v: &[f64]| v.iter().copied().fold(f64::INFINITY, f64::min);
    let max = |v: &[f64]| v.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let last = |v: &[f64]| v[v.len() - 1];
    let sum = |v: &[f64]| v.iter().sum();
    match agg {
        "avg" => leveled(group, starts, step, mean, mean),
        "sum" => leveled(group, starts, step, mean, sum),
        "last" => leveled(group, starts, step, last, mean),
        "min" => leveled(group, starts, step, min, min),
        "max" => leveled(group, starts, step, max, max),
        "rate" => rate(group, starts, step),
        p => percentile(group, starts, step, p[1..].parse().unwrap()),
    }
}
