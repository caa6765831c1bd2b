//! Series with seeded random samples, and the rows of rollups that they must give, computed the slow and plain way.

use std::collections::{BTreeMap, BTreeSet};

use flyball_collector::store::{HOUR_MS, LateMark, SampleRow, SeriesId, SeriesRow, Store};
use flyball_proto::series::{Kind, NodeName, Scale, Series};
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{RngExt as _, SeedableRng as _};

/// How a series behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// Rises, and starts again from little now and then.
    Counter,
    /// Any integer, up to the largest and smallest there are.
    Wild,
    /// Two decimals.
    Scaled,
    /// Doubles of both signs, some of them NaN or infinite.
    Float,
    /// A counter of doubles.
    FloatCounter,
    /// Changes its scale in the middle.
    Rescaled,
}

/// A series and all its samples by time.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) id: u64,
    pub(super) node: &'static str,
    pub(super) series: Series,
    pub(super) samples: BTreeMap<i64, (i64, i8)>,
}

/// A row of a rollup as far as it is compared: values as bits of doubles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Expected {
    pub(super) count: u32,
    pub(super) first_ms: i64,
    pub(super) last_ms: i64,
    pub(super) first: f64,
    pub(super) last: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) sum: f64,
    /// Rise of a counter within the bucket.
    pub(super) rise: f64,
}

/// Key of a row: series, start of the bucket, scale.
pub(super) type Key = (u64, i64, i8);

pub(super) struct Fleet {
    pub(super) random: StdRng,
    pub(super) known: Vec<Known>,
}

impl Fleet {
    pub(super) fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), known: Vec::new() }
    }

    /// Adds a series with a sample about every `every_ms`, uneven, with gaps, from `from_ms` to `to_ms`.
    pub(super) fn add(
        &mut self,
        node: &'static str,
        shape: Shape,
        every_ms: i64,
        from_ms: i64,
        to_ms: i64,
    ) {
        let number = self.known.len().to_string();
        let (kind, scale) = match shape {
            Shape::Counter | Shape::Rescaled => (Kind::Counter, Scale::UNIT),
            Shape::FloatCounter => (Kind::Counter, Scale::FLOAT),
            Shape::Wild => (Kind::Gauge, Scale::UNIT),
            Shape::Scaled => (Kind::Gauge, Scale::decimal(2)),
            Shape::Float => (Kind::Gauge, Scale::FLOAT),
        };
        let series = Series {
            metric: format!("test.{shape:?}").to_lowercase(),
            unit: "1".into(),
            kind,
            scale,
            attributes: vec![("kind".into(), "x".into()), ("number".into(), number)],
        };
        let mut samples = BTreeMap::new();
        let (mut ts, mut total) = (from_ms + self.random.random_range(0..every_ms), 1_000_000_i64);
        while ts < to_ms {
            total += self.random.random_range(0..10_000);
            if self.random.random_range(0..150) == 0 {
                total = self.random.random_range(0..50);
            }
            samples.insert(ts, self.sample(shape, total, ts > from_ms.midpoint(to_ms)));
            ts += match self.random.random_range(0..400) {
                0 => self.random.random_range(every_ms..25 * 60_000),
                1..40 => every_ms,
                _ => self.random.random_range(every_ms / 2..every_ms * 3 / 2),
            };
        }
        self.known.push(Known { id: 0, node, series, samples });
    }

    fn sample(&mut self, shape: Shape, total: i64, second_half: bool) -> (i64, i8) {
        let float = |value: f64| (value.to_bits().cast_signed(), Scale::FLOAT.code());
        match shape {
            Shape::Rescaled if second_half => (total * 10, 1),
            Shape::Counter | Shape::Rescaled => (total, 0),
            Shape::Wild => match self.random.random_range(0..20) {
                0 => (i64::MAX, 0),
                1 => (i64::MIN, 0),
                _ => (self.random.random_range(-1_000..1_000), 0),
            },
            Shape::Scaled => (self.random.random_range(-50_000..50_000), 2),
            Shape::Float => match self.random.random_range(0..30) {
                0 => float(f64::NAN),
                1 => float(f64::INFINITY),
                2 => float(-0.0),
                _ => float(self.random.random_range(-1e6..1e6)),
            },
            Shape::FloatCounter => float(total as f64 / 7.0),
        }
    }

    /// Stores the definitions of all series, and gives them their ids.
    pub(super) async fn define(
        &mut self,
        store: &Store,
        catalog: &flyball_collector::store::Catalog,
    ) {
        let mut rows = Vec::new();
        for known in &mut self.known {
            let node = NodeName::new(known.node).unwrap();
            let (id, _) = catalog.resolve(&node, &known.series).unwrap();
            known.id = id.get();
            rows.push(SeriesRow::new(id, &node, &known.series, 1));
        }
        store.insert_series(&rows, "definitions").await.unwrap();
        let ids: Vec<_> = rows.iter().map(|row| SeriesId::from(row.series_id)).collect();
        catalog.mark_written(&ids);
    }

    /// All samples that `wanted` accepts, in random order.
    pub(super) fn rows(&mut self, wanted: impl Fn(&Known, i64) -> bool) -> Vec<SampleRow> {
        let mut rows = Vec::new();
        for known in &self.known {
            for (&ts_ms, &(raw, scale)) in &known.samples {
                if wanted(known, ts_ms) {
                    rows.push(SampleRow { series_id: known.id, ts_ms, raw, scale });
                }
            }
        }
        rows.shuffle(&mut self.random);
        rows
    }

    /// Stores rows in several blocks for each hour, some of them twice.
    pub(super) async fn store(&mut self, store: &Store, rows: &[SampleRow]) {
        for chunk in rows.chunks((rows.len() / 3).max(1)) {
            let again = self.random.random_range(0..=chunk.len());
            let mut hours: BTreeMap<i64, Vec<SampleRow>> = BTreeMap::new();
            for row in chunk.iter().chain(&rows[..again]) {
                hours.entry(row.ts_ms.div_euclid(HOUR_MS)).or_default().push(*row);
            }
            for rows in hours.values() {
                let token = format!("{:016x}", self.random.random::<u64>());
                store.insert_samples(rows, &token).await.unwrap();
            }
        }
    }

    /// Marks what these rows are late for, as the ingest path does after it has stored them.
    pub(super) async fn mark(&mut self, store: &Store, rows: &[SampleRow]) {
        let marks: BTreeSet<_> = rows.iter().map(LateMark::of).collect();
        let marks: Vec<_> = marks.into_iter().collect();
        store.insert_late_marks(&marks, self.random.random()).await.unwrap();
    }

    /// The rows of buckets of `width_ms` that end by `until_ms`, of the series that `wanted` accepts.
    pub(super) fn expected(
        &self,
        width_ms: i64,
        until_ms: i64,
        wanted: impl Fn(&Known, i64) -> bool,
    ) -> BTreeMap<Key, Expected> {
        let mut rows: BTreeMap<Key, Expected> = BTreeMap::new();
        for known in &self.known {
            for (&ts, &(raw, code)) in &known.samples {
                let value = Scale::from_code(code.into()).unwrap().value(raw);
                let bucket = ts / width_ms * width_ms;
                if !value.is_finite() || bucket + width_ms > until_ms || !wanted(known, ts) {
                    continue;
                }
                let new = Expected {
                    count: 0,
                    first_ms: ts,
                    last_ms: ts,
                    first: value,
                    last: value,
                    min: value,
                    max: value,
                    sum: 0.0,
                    rise: 0.0,
                };
                let row = rows.entry((known.id, bucket, code)).or_insert(new);
                row.rise += if value < row.last { value } else { value - row.last };
                if row.count == 0 {
                    row.rise = 0.0;
                }
                row.count += 1;
                (row.last_ms, row.last) = (ts, value);
                (row.min, row.max) = (row.min.min(value), row.max.max(value));
                row.sum += value;
            }
        }
        rows
    }

    pub(super) fn is_counter(&self, id: u64) -> bool {
        self.known.iter().any(|known| known.id == id && known.series.kind == Kind::Counter)
    }
}
