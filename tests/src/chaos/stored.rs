//! What ClickHouse holds of one node, read by SQL the way every read path does: with FINAL.

use std::collections::{BTreeMap, HashMap, HashSet};

use anyhow::{Context as _, Result};
use serde_json::Value as Json;

use super::tiers::Samples;
use crate::clickhouse::ClickHouse;
use crate::journal::{Journal, SeriesKey, Value};

/// All samples of one node.
#[derive(Debug, Default)]
pub struct Stored {
    /// Samples by number of the series in the journal, or of `unknown`, and time.
    pub samples: HashMap<(u32, i64), Value>,
    /// Rows beyond the first of each series and time.
    pub doubled: u64,
    /// Series that are stored under two ids.
    pub series_twice: u64,
    /// Number of series of each metric.
    pub metrics: BTreeMap<String, u64>,
    /// Series that the journal does not have: their numbers begin after its last.
    pub unknown: Vec<SeriesKey>,
}

impl Stored {
    /// Reads everything of `node`.
    ///
    /// # Errors
    /// When ClickHouse does not answer.
    pub async fn read(clickhouse: &ClickHouse, node: &str, journal: &Journal) -> Result<Self> {
        let mut stored = Self::default();
        let numbers = stored.series(clickhouse, node, journal).await?;
        let sql = format!(
            "SELECT series_id, toUnixTimestamp64Milli(ts), raw, scale FROM flyball.performance_metrics FINAL WHERE series_id IN \
             (SELECT series_id FROM flyball.series FINAL WHERE node = '{node}') FORMAT TabSeparated"
        );
        for line in clickhouse.query(&sql).await?.lines() {
            let mut fields = line.split('\t');
            let mut next = || fields.next().with_context(|| format!("four fields: {line}"));
            let number = *numbers.get(next()?).context("its series is there")?;
            let ts_ms: i64 = next()?.parse()?;
            let value = Value { raw: next()?.parse()?, scale: next()?.parse()? };
            stored.doubled += u64::from(stored.samples.insert((number, ts_ms), value).is_some());
        }
        Ok(stored)
    }

    /// The series that a number stands for.
    pub fn key<'a>(&'a self, number: u32, journal: &'a Journal) -> &'a SeriesKey {
        let number = number as usize;
        journal.series.get(number).unwrap_or_else(|| &self.unknown[number - journal.series.len()])
    }

    /// Samples of one metric that are finite numbers.
    pub fn of_metric(&self, metric: &str, journal: &Journal) -> Samples {
        let mut all = Samples::new();
        for ((number, ts_ms), value) in &self.samples {
            let (name, attributes) = self.key(*number, journal);
            if name == metric && value.number().is_finite() {
                let series = all.entry(attributes.clone()).or_default();
                series.insert(*ts_ms, value.number());
            }
        }
        all
    }

    /// Numbers of the series by their ids.
    async fn series(
        &mut self,
        clickhouse: &ClickHouse,
        node: &str,
        journal: &Journal,
    ) -> Result<HashMap<String, u32>> {
        let sql = format!(
            "SELECT toString(series_id), metric, attributes FROM flyball.series FINAL WHERE node = '{node}' FORMAT JSONCompactEachRow"
        );
        let mut numbers = HashMap::new();
        let mut seen = HashSet::new();
        for line in clickhouse.query(&sql).await?.lines() {
            let (id, metric, attributes): (String, String, Json) = serde_json::from_str(line)?;
            *self.metrics.entry(metric.clone()).or_default() += 1;
            let key = (metric, serde_json::from_value(attributes)?);
            let number = journal.number(&key).unwrap_or_else(|| {
                self.unknown.push(key);
                (journal.series.len() + self.unknown.len()) as u32 - 1
            });
            self.series_twice += u64::from(!seen.insert(number));
            numbers.insert(id, number);
        }
        Ok(numbers)
    }
}
