//! What queries cost ClickHouse, by shape: which ones are slow, and what would make them faster.
//!
//! A shape is what queries have in common that differ in their times, nodes and filters only: the metric, the aggregation, the grouping, the step, and the tables that are read. Times are measured here, with the
//! transfer; rows and bytes are ClickHouse's own count.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Tier;
use super::plan::Plan;
use crate::live::now_ms;
use crate::store::HOUR_MS;

/// Most shapes that are kept; of more the one that took least time in all goes.
const MAX_SHAPES: usize = 200;
/// Rows of a granule of the samples' table: the least that is read of a series.
const GRANULE_ROWS: u64 = 8_192;

/// What ClickHouse spent on a query.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Spent {
    pub(super) rows: u64,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
}

/// See the module. Clones share the record.
#[derive(Debug, Clone)]
pub struct SlowQueries(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    slow: Duration,
    shapes: Mutex<HashMap<String, QueryShape>>,
}

/// Queries of one shape.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct QueryShape {
    /// Metric, aggregation, grouping and step.
    pub shape: String,
    /// Tables that were read, the coarsest first.
    pub tiers: Vec<Tier>,
    /// Queries since the start.
    pub count: u64,
    /// Of these the slow ones.
    pub slow: u64,
    /// Of these the failed ones.
    pub failed: u64,
    /// Time of all, in milliseconds.
    pub total_ms: f64,
    /// Time of the slowest, in milliseconds.
    pub max_ms: f64,
    /// Rows that the slowest read.
    pub rows: u64,
    /// Bytes that the slowest read, uncompressed.
    pub bytes: u64,
    /// Series that the slowest read.
    pub series: usize,
    /// Time that the slowest asked for, in milliseconds.
    pub range_ms: i64,
    /// When the last one ended, milliseconds since the Unix epoch.
    pub last_at_ms: i64,
    /// SQL of the slowest; its parameters are bound.
    pub sql: String,
    /// What would make it faster.
    pub advice: Vec<String>,
}

impl SlowQueries {
    /// Queries from this time on are slow.
    pub fn new(slow: Duration) -> Self {
        Self(Arc::new(Inner { slow, shapes: Mutex::default() }))
    }

    /// Takes note of a query; `None`: it failed.
    pub(super) fn note(&self, plan: &Plan, elapsed: Duration, spent: Option<Spent>) {
        let tiers = tiers(plan);
        let step_ms = plan.buckets.step_ms();
        let shape = format!("{} of {}, {}, step {step_ms} ms", plan.fold, plan.metric, plan.by);
        let names: Vec<_> = tiers.iter().map(|tier| tier.as_str()).collect();
        let key = format!("{shape} {}", names.join("+"));
        let took_ms = elapsed.as_secs_f64() * 1_000.0;
        let mut shapes = self.0.shapes.lock();
        if shapes.len() >= MAX_SHAPES && !shapes.contains_key(&key) {
            let least = shapes.iter().min_by(|a, b| a.1.total_ms.total_cmp(&b.1.total_ms));
            let least = least.map(|(key, _)| key.clone());
            least.and_then(|key| shapes.remove(&key));
        }
        let known = shapes.entry(key).or_insert_with(|| QueryShape {
            shape,
            tiers,
            count: 0,
            slow: 0,
            failed: 0,
            total_ms: 0.0,
            max_ms: -1.0,
            rows: 0,
            bytes: 0,
            series: 0,
            range_ms: 0,
            last_at_ms: 0,
            sql: String::new(),
            advice: Vec::new(),
        });
        known.count += 1;
        known.slow += u64::from(elapsed >= self.0.slow);
        known.failed += u64::from(spent.is_none());
        known.total_ms += took_ms;
        known.last_at_ms = now_ms();
        if took_ms > known.max_ms {
            let Spent { rows, bytes, .. } = spent.unwrap_or_default();
            (known.max_ms, known.rows, known.bytes) = (took_ms, rows, bytes);
            known.series = plan.ids.len();
            known.range_ms = plan.read_to_ms - plan.read_from_ms;
            known.sql.clone_from(&plan.sql);
            let is_slow = elapsed >= self.0.slow;
            known.advice = if is_slow { advice(plan, spent) } else { Vec::new() };
        }
    }

    /// All shapes, the one that took most time in all first.
    pub fn shapes(&self) -> Vec<QueryShape> {
        let mut shapes: Vec<_> = self.0.shapes.lock().values().cloned().collect();
        shapes.sort_by(|a, b| b.total_ms.total_cmp(&a.total_ms));
        shapes
    }

    /// From when on a query is slow, in milliseconds.
    pub fn slow_ms(&self) -> u64 {
        self.0.slow.as_millis() as u64
    }
}

fn tiers(plan: &Plan) -> Vec<Tier> {
    let tier = |source: &super::source::Source| source.rollup.map_or(Tier::Raw, Tier::from);
    plan.sources.iter().map(tier).collect()
}

/// What would make a slow query faster: rules over what it asked and what it cost.
fn advice(plan: &Plan, spent: Option<Spent>) -> Vec<String> {
    let mut advice = Vec::new();
    let range_ms = plan.read_to_ms - plan.read_from_ms;
    let raw_ms: i64 =
        plan.sources.iter().filter(|s| s.rollup.is_none()).map(|s| s.to_ms - s.from_ms).sum();
    let step_ms = plan.buckets.step_ms();
    if spent.is_none() {
        advice.push("it failed: see the collector's log, and ask for less time, fewer nodes or a larger step".to_owned());
    }
    if plan.fold.needs_samples() && range_ms > HOUR_MS {
        advice.push("a percentile of all samples reads every sample: with within=avg it is over the series of a group, and rollups answer it".to_owned());
    } else if raw_ms > HOUR_MS && step_ms % 10_000 != 0 {
        advice.push(format!(
            "no rollup fits a step of {step_ms} ms: use a multiple of 10 s, 1 min or 1 h"
        ));
    } else if raw_ms > 2 * HOUR_MS && raw_ms * 2 > range_ms {
        advice.push("rollups are behind, so samples are read: /readyz says how far they are, GET /metrics flyball_rollup_* why".to_owned());
    }
    if let Some(spent) = spent {
        let series = plan.ids.len() as u64;
        let is_wide = series > 200 && spent.rows > 4 * series * plan.buckets.count() as u64;
        if is_wide && spent.rows > series * GRANULE_ROWS / 2 && range_ms < 6 * HOUR_MS {
            advice.push("most rows that were read are of other times: the table is ordered by series. The recent past is answered from memory: a larger live.window_ms covers it; for older times a projection ordered by time would help".to_owned());
        }
    }
    if plan.ids.len() > 5_000 {
        let series = plan.ids.len();
        advice.push(format!(
            "it reads {series} series: a filter on an attribute, or naming nodes, reads less"
        ));
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::plan::tests::sample_plan;

    #[test]
    fn shapes_are_counted_together_and_the_slowest_is_shown() {
        let slow = SlowQueries::new(Duration::from_millis(100));
        let plan = sample_plan(2);
        let spent = |rows| Some(Spent { rows, bytes: rows * 8, elapsed: Duration::ZERO });
        slow.note(&plan, Duration::from_millis(10), spent(10));
        slow.note(&plan, Duration::from_millis(200), spent(2_000));
        slow.note(&plan, Duration::from_millis(20), None);
        let shapes = slow.shapes();
        let [shape] = &shapes[..] else { panic!("one shape: {shapes:?}") };
        assert_eq!((shape.count, shape.slow, shape.failed), (3, 1, 1));
        assert_eq!((shape.rows, shape.series), (2_000, 2));
        assert!((shape.max_ms - 200.0).abs() < 1e-9 && (shape.total_ms - 230.0).abs() < 1e-9);
        assert!(shape.shape.contains("avg of avg of m"), "{}", shape.shape);
    }

    #[test]
    fn the_shape_that_took_least_makes_room() {
        let slow = SlowQueries::new(Duration::from_millis(100));
        for number in 0..=MAX_SHAPES {
            let plan = Plan { metric: format!("m{number}"), ..sample_plan(1) };
            slow.note(&plan, Duration::from_millis(1 + number as u64), Some(Spent::default()));
        }
        let shapes = slow.shapes();
        assert_eq!(shapes.len(), MAX_SHAPES);
        assert!(shapes.iter().all(|shape| !shape.shape.contains("of m0,")));
    }

    #[test]
    fn advice_names_what_helps() {
        let mut plan = sample_plan(1);
        (plan.read_from_ms, plan.read_to_ms) = (0, 24 * HOUR_MS);
        plan.sources =
            vec![super::super::source::Source { rollup: None, from_ms: 0, to_ms: 24 * HOUR_MS }];
        let text = advice(&plan, Some(Spent::default())).join(" ");
        assert!(text.contains("no rollup fits"), "{text}");
        plan.fold = super::super::Agg::Percentile(99).into();
        let text = advice(&plan, Some(Spent::default())).join(" ");
        assert!(text.contains("within=avg"), "{text}");
        assert!(advice(&plan, None).join(" ").contains("it failed"));
    }
}
