//! Sums that stand for the series of a stream that are over a cap: one for each metric.
//!
//! Properties, each tested below:
//!
//! 1. Gauges: the sum at a time is the sum of the samples of that time, over all frames of the tick. A value that is not finite adds nothing.
//! 2. Counters: the sum is what its members grew by since the stream began. It never falls: a member that ends keeps what it gave, a reset gives
//!    the new value, the first sample of a member gives nothing. So `rate` over the sum is the sum of the members' rates, and a new stream, which begins at
//!    zero, is a reset from which not a sample's growth is counted twice.
//! 3. Samples that are durable already move the counters' bases and the ticks' sums, and grow nothing.
//!
//! Why not the plain sum of counters: when one of a thousand processes ends it falls, which reads as a reset, and the whole sum would count as growth.

use std::collections::HashMap;

use flyball_proto::frame::Sample;
use flyball_proto::series::{Kind, Scale, Series};

use crate::store::{SampleRow, SeriesId};

/// Most sums of one stream; they are for one metric each.
const MAX_SUMS: usize = 1_000;

/// The sums of one stream and the series that they stand for.
#[derive(Debug, Default)]
pub(super) struct Sums {
    all: Vec<Sum>,
    by_metric: HashMap<String, u32>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Sum {
    series_id: SeriesId,
    kind: Kind,
    scale: Scale,
    members: u32,
    raw: i64,
    /// Time of the last sample.
    ts_ms: i64,
    /// There is a sample to store.
    is_new: bool,
}

#[derive(Debug)]
struct Member {
    sum: u32,
    scale: Scale,
    /// Last raw value of a counter.
    previous: Option<i64>,
}

impl Sums {
    /// The sum of a metric.
    pub(super) fn find(&self, metric: &str) -> Option<u32> {
        self.by_metric.get(metric).copied()
    }

    /// A sum for the metric of `series`, to be stored as `series_id`. `None` when there are too many.
    pub(super) fn open(&mut self, series: &Series, series_id: SeriesId) -> Option<u32> {
        if self.is_full() {
            return None;
        }
        let Series { kind, scale, .. } = *series;
        let number = self.all.len() as u32;
        let (members, raw, ts_ms, is_new) = (0, 0, i64::MIN, false);
        self.all.push(Sum { series_id, kind, scale, members, raw, ts_ms, is_new });
        self.by_metric.insert(series.metric.clone(), number);
        Some(number)
    }

    /// True when there are as many sums as there may be.
    pub(super) fn is_full(&self) -> bool {
        self.all.len() >= MAX_SUMS
    }

    /// A new member of a sum, with the scale of its own values.
    pub(super) fn join(&mut self, sum: u32, scale: Scale) -> usize {
        self.all[sum as usize].members += 1;
        self.members.push(Member { sum, scale, previous: None });
        self.members.len() - 1
    }

    /// Series that the sums stand for.
    pub(super) fn members(&self) -> usize {
        self.members.len()
    }

    /// The metric with most members, and their number.
    pub(super) fn largest(&self) -> Option<(&str, u32)> {
        let members = |sum: u32| self.all[sum as usize].members;
        let all = self.by_metric.iter().map(|(metric, &sum)| (members(sum), metric.as_str()));
        all.max().map(|(members, metric)| (metric, members))
    }

    /// Series that the sums are stored as.
    pub(super) fn ids(&self) -> impl Iterator<Item = SeriesId> {
        self.all.iter().map(|sum| sum.series_id)
    }

    /// Takes a member's sample. One that is durable already is not stored again.
    pub(super) fn take(&mut self, member: usize, sample: &Sample, ts_ms: i64, is_durable: bool) {
        let member = &mut self.members[member];
        let sum = &mut self.all[member.sum as usize];
        if !member.scale.value(sample.raw).is_finite() {
            return;
        }
        if sum.ts_ms != ts_ms && sum.kind == Kind::Gauge {
            sum.raw = 0;
        }
        sum.ts_ms = ts_ms;
        sum.is_new |= !is_durable;
        match sum.kind {
            Kind::Gauge => sum.raw = sum.plus(sum.raw, sample.raw, member.scale),
            Kind::Counter => {
                let previous = member.previous.replace(sample.raw);
                if let Some(previous) = previous.filter(|_| !is_durable) {
                    let growth = growth(member.scale, previous, sample);
                    sum.raw = sum.plus(sum.raw, growth, member.scale);
                }
            }
        }
    }

    /// The sums that have changed, as rows of the tick.
    pub(super) fn rows(&mut self) -> impl Iterator<Item = SampleRow> {
        self.all.iter_mut().filter_map(|sum| {
            std::mem::take(&mut sum.is_new).then(|| SampleRow {
                series_id: sum.series_id.get(),
                ts_ms: sum.ts_ms,
                raw: sum.raw,
                scale: sum.scale.code(),
            })
        })
    }
}

impl Sum {
    /// `base`, in this sum's scale, and `raw`, in `scale`, added up. Stays at the ends of the range.
    fn plus(&self, base: i64, raw: i64, scale: Scale) -> i64 {
        if self.scale.is_float() {
            let sum = f64::from_bits(base as u64) + scale.value(raw);
            return sum.to_bits() as i64;
        }
        let raw = if scale == self.scale { Some(raw) } else { self.scale.raw(scale.value(raw)) };
        base.saturating_add(raw.unwrap_or_default())
    }
}

/// By how much a counter grew to `sample`, in its own scale.
fn growth(scale: Scale, previous: i64, sample: &Sample) -> i64 {
    let (before, now) = (scale.value(previous), scale.value(sample.raw));
    if sample.reset || now < before {
        sample.raw
    } else if scale.is_float() {
        (now - before).to_bits() as i64
    } else {
        sample.raw.saturating_sub(previous)
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::frame::Slot;

    use super::*;

    fn series(kind: Kind, scale: Scale) -> Series {
        Series { metric: "m".into(), unit: "1".into(), kind, scale, attributes: Vec::new() }
    }

    fn sums(kind: Kind, scale: Scale, members: &[Scale]) -> Sums {
        let mut sums = Sums::default();
        let sum = sums.open(&series(kind, scale), SeriesId::from(9)).unwrap();
        for &scale in members {
            sums.join(sum, scale);
        }
        sums
    }

    fn sample(raw: i64) -> Sample {
        Sample { slot: Slot(0), raw, reset: false }
    }

    /// The raw value of the one row that there is after samples of some members.
    fn tick(sums: &mut Sums, ts_ms: i64, samples: &[(usize, i64)]) -> i64 {
        for &(member, raw) in samples {
            sums.take(member, &sample(raw), ts_ms, false);
        }
        let rows: Vec<_> = sums.rows().collect();
        let [row] = rows[..] else { panic!("{rows:?}") };
        assert_eq!((row.series_id, row.ts_ms), (9, ts_ms));
        row.raw
    }

    #[test]
    fn gauges_add_up_at_each_time_over_all_frames_of_the_tick() {
        let mut sums = sums(Kind::Gauge, Scale::UNIT, &[Scale::UNIT; 3]);
        assert_eq!(tick(&mut sums, 1, &[(0, 5), (1, 7)]), 12);
        assert_eq!(tick(&mut sums, 1, &[(2, 1)]), 13, "a second frame of the same tick");
        assert_eq!(tick(&mut sums, 2, &[(1, 4)]), 4);
        assert_eq!(sums.rows().count(), 0);
        assert_eq!(tick(&mut sums, 3, &[(0, i64::MAX), (1, i64::MAX)]), i64::MAX);
    }

    #[test]
    fn a_tick_whose_first_frame_is_durable_is_whole() {
        let mut sums = sums(Kind::Gauge, Scale::UNIT, &[Scale::UNIT; 2]);
        sums.take(0, &sample(5), 1, true);
        assert_eq!(sums.rows().count(), 0);
        assert_eq!(tick(&mut sums, 1, &[(1, 2)]), 7);
    }

    #[test]
    fn counters_add_up_their_growth_and_never_fall() {
        let mut sums = sums(Kind::Counter, Scale::UNIT, &[Scale::UNIT; 3]);
        assert_eq!(tick(&mut sums, 1, &[(0, 1_000), (1, 50)]), 0);
        assert_eq!(tick(&mut sums, 2, &[(0, 1_010), (1, 55)]), 15);
        assert_eq!(tick(&mut sums, 3, &[(1, 56)]), 16, "the first one has ended");
        assert_eq!(tick(&mut sums, 4, &[(1, 3), (2, 900)]), 19, "a reset, and one that is new");
        let flagged = Sample { reset: true, ..sample(7) };
        sums.take(1, &flagged, 5, false);
        assert_eq!(sums.rows().next().unwrap().raw, 26);
    }

    #[test]
    fn what_is_durable_moves_the_base_and_grows_nothing() {
        let mut sums = sums(Kind::Counter, Scale::UNIT, &[Scale::UNIT]);
        for raw in [10, 20, 30] {
            sums.take(0, &sample(raw), raw, true);
        }
        assert_eq!(tick(&mut sums, 40, &[(0, 34)]), 4);
    }

    #[test]
    fn scales_are_converted_and_floats_stay_floats() {
        let mut mixed = sums(Kind::Gauge, Scale::decimal(2), &[Scale::decimal(2), Scale::KIBI]);
        assert_eq!(tick(&mut mixed, 1, &[(0, 150), (1, 2)]), 150 + 2 * 1_024 * 100);
        let bits = |value: f64| value.to_bits() as i64;
        let mut float = sums(Kind::Gauge, Scale::FLOAT, &[Scale::FLOAT, Scale::UNIT]);
        assert_eq!(tick(&mut float, 1, &[(0, bits(0.5)), (1, 2)]), bits(2.5));
        assert_eq!(tick(&mut float, 2, &[(0, bits(f64::NAN)), (1, 2)]), bits(2.0));
        float.take(0, &sample(bits(f64::NAN)), 3, false);
        assert_eq!(float.rows().count(), 0, "unknown is not zero");
        let mut growing = sums(Kind::Counter, Scale::FLOAT, &[Scale::FLOAT]);
        assert_eq!(tick(&mut growing, 1, &[(0, bits(1.5))]), bits(0.0));
        assert_eq!(tick(&mut growing, 2, &[(0, bits(2.0))]), bits(0.5));
    }

    #[test]
    fn the_number_of_sums_is_bounded_and_the_largest_is_named() {
        let mut sums = Sums::default();
        for number in 0..MAX_SUMS {
            let series =
                Series { metric: format!("m{number}"), ..series(Kind::Gauge, Scale::UNIT) };
            let sum = sums.open(&series, SeriesId::from(number as u64)).unwrap();
            assert_eq!(sums.find(&series.metric), Some(sum));
        }
        sums.join(5, Scale::UNIT);
        assert!(sums.is_full());
        assert_eq!(sums.open(&series(Kind::Gauge, Scale::UNIT), SeriesId::from(0)), None);
        assert_eq!((sums.largest(), sums.members()), (Some(("m5", 1)), 1));
    }
}
