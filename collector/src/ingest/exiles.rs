//! Series whose rows ClickHouse refuses for good, and whose samples are therefore refused too: samples without the row of their series could never be found.
//!
//! A block of new series that is refused is split until the rows at fault are alone, within [`SPLITS`] inserts; all others are written, and samples of other
//! series and other nodes go on. Rows that were refused are tried again every [`RETRY`]: a permission or a constraint may have been mended. Meanwhile
//! every later batch leaves the samples of these series out, whichever stream they come from.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::store::SeriesRow;

/// Inserts that one refused block may be split into, at most.
pub(super) const SPLITS: usize = 32;
/// Time between two tries to write the rows again.
const RETRY: Duration = Duration::from_secs(30);
/// Most rows that are kept to be tried again; beyond them a series is written when a stream defines it next.
const MAX_ROWS: usize = 10_000;

/// See the module. Bounded by the catalog: an id is there once.
#[derive(Debug, Default)]
pub(super) struct Exiles {
    /// By id; without the row when there are too many.
    rows: HashMap<u64, Option<SeriesRow>>,
    /// Why the last one was refused.
    reason: String,
    next_try: Option<Instant>,
}

impl Exiles {
    /// Rows were refused.
    pub(super) fn add(&mut self, rows: &[SeriesRow], reason: String, now: Instant) {
        self.reason = reason;
        for row in rows {
            let kept = (self.rows.len() < MAX_ROWS).then(|| row.clone());
            self.rows.insert(row.series_id, kept);
        }
        self.next_try = Some(now + RETRY);
    }

    /// Rows were accepted.
    pub(super) fn remove(&mut self, rows: &[SeriesRow]) {
        for row in rows {
            self.rows.remove(&row.series_id);
        }
    }

    /// Rows that it is time to try again.
    pub(super) fn due(&mut self, now: Instant) -> Vec<SeriesRow> {
        if self.rows.is_empty() || self.next_try.is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.next_try = Some(now + RETRY);
        self.rows.values().flatten().cloned().collect()
    }

    /// True when samples of the series are refused.
    pub(super) fn has(&self, series_id: u64) -> bool {
        self.rows.contains_key(&series_id)
    }

    /// True when nothing is refused.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Why the last one was refused.
    pub(super) fn reason(&self) -> &str {
        &self.reason
    }

    /// For people; `None` when nothing is refused.
    pub(super) fn text(&self) -> Option<String> {
        let count = self.rows.len();
        let example = self.rows.values().flatten().next();
        let example = example
            .map_or(String::new(), |row| format!(", such as {} of {}", row.metric, row.node));
        (count > 0).then(|| {
            format!(
                "clickhouse refuses what {count} series are{example}: {}; their samples are not stored until it accepts them",
                self.reason
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::series::{Kind, NodeName, Scale, Series};

    use super::*;
    use crate::store::SeriesId;

    fn row(id: u64) -> SeriesRow {
        let series = Series {
            metric: "m".into(),
            unit: "1".into(),
            kind: Kind::Gauge,
            scale: Scale::UNIT,
            attributes: Vec::new(),
        };
        SeriesRow::new(SeriesId::from(id), &NodeName::new("web-1").unwrap(), &series, 0)
    }

    #[test]
    fn rows_are_tried_again_after_a_while_until_they_are_accepted() {
        let (mut exiles, now) = (Exiles::default(), Instant::now());
        assert_eq!((exiles.text(), exiles.due(now)), (None, Vec::new()));
        exiles.add(&[row(1), row(2)], "no".to_owned(), now);
        assert!(exiles.has(1) && !exiles.has(3));
        assert!(exiles.text().unwrap().contains("2 series are, such as m of web-1: no"));
        assert_eq!(exiles.due(now + RETRY - Duration::from_millis(1)), []);
        assert_eq!(exiles.due(now + RETRY).len(), 2);
        assert_eq!(exiles.due(now + RETRY), [], "not twice at once");
        exiles.remove(&[row(1)]);
        assert_eq!(exiles.due(now + RETRY * 2), [row(2)]);
        exiles.remove(&[row(2)]);
        assert!(exiles.is_empty() && exiles.text().is_none());
    }

    #[test]
    fn rows_are_bounded_and_their_series_stay_refused() {
        let (mut exiles, now) = (Exiles::default(), Instant::now());
        let rows: Vec<_> = (0..MAX_ROWS as u64 + 5).map(row).collect();
        exiles.add(&rows, "no".to_owned(), now);
        assert_eq!(exiles.due(now + RETRY).len(), MAX_ROWS);
        assert!(exiles.has(MAX_ROWS as u64 + 4));
    }
}
