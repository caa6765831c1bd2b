//! What is stored, and what no collector may do to it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Display, Formatter};
use std::hash::Hasher as _;
use std::sync::Arc;

use flyball_collector::store::{SampleRow, SeriesRow};
use twox_hash::XxHash3_64;

use crate::trace;

/// Tokens that a table remembers.
const WINDOW: usize = 1_000;
/// Blocks of a collector of which the token is checked.
const ATTEMPTS: usize = 64;

/// The tables `series` and `performance_metrics`.
#[derive(Default)]
pub(crate) struct Tables {
    series: BTreeMap<u64, SeriesRow>,
    ids: BTreeMap<String, u64>,
    samples: BTreeMap<(u64, i64), (i64, i8)>,
    windows: BTreeMap<&'static str, VecDeque<(String, u64)>>,
    attempts: BTreeMap<(String, &'static str), VecDeque<(String, u64)>>,
    /// What must never happen and did.
    pub(crate) broken: Vec<String>,
    /// Blocks that were dropped because of their token.
    pub(crate) deduplicated: u64,
    /// Rows that were there before, with the same value.
    pub(crate) repeated_rows: u64,
}

/// Rows with their token.
#[derive(Clone)]
pub(crate) struct Block {
    rows: Rows,
    token: String,
    content: u64,
}

#[derive(Clone)]
enum Rows {
    Series(Arc<[SeriesRow]>),
    Samples(Arc<[SampleRow]>),
}

/// What is stored at an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Same,
    Other { raw: i64, scale: i8 },
    Nothing,
}

impl Block {
    pub(super) fn series(rows: &[SeriesRow], token: &str) -> Self {
        let mut hash = XxHash3_64::new();
        for row in rows {
            hash.write_u64(row.series_id);
            hash.write(key(row).as_bytes());
            hash.write_i64(row.first_seen);
        }
        let rows = Rows::Series(rows.into());
        Self { rows, token: token.to_owned(), content: hash.finish() }
    }

    pub(super) fn samples(rows: &[SampleRow], token: &str) -> Self {
        let mut hash = XxHash3_64::new();
        for row in rows {
            hash.write_u64(row.series_id);
            hash.write_i64(row.ts_ms);
            hash.write_i64(row.raw);
        }
        let rows = Rows::Samples(rows.into());
        Self { rows, token: token.to_owned(), content: hash.finish() }
    }

    const fn table(&self) -> &'static str {
        match self.rows {
            Rows::Series(_) => "series",
            Rows::Samples(_) => "samples",
        }
    }

    fn len(&self) -> usize {
        match &self.rows {
            Rows::Series(rows) => rows.len(),
            Rows::Samples(rows) => rows.len(),
        }
    }
}

impl Display for Block {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({:08x})", self.len(), self.table(), self.content as u32)
    }
}

impl Tables {
    /// All series by id.
    pub(super) fn series(&self) -> Vec<SeriesRow> {
        self.series.values().cloned().collect()
    }

    /// Number of samples, each counted once.
    pub(crate) fn samples(&self) -> usize {
        self.samples.len()
    }

    /// What is stored of the series that [`key_of`] names, at a time.
    pub(crate) fn find(&self, key: &str, ts_ms: i64, raw: i64, scale: i8) -> Found {
        let stored = self.ids.get(key).and_then(|&id| self.samples.get(&(id, ts_ms)));
        match stored {
            Some(&stored) if stored == (raw, scale) => Found::Same,
            Some(&(raw, scale)) => Found::Other { raw, scale },
            None => Found::Nothing,
        }
    }

    /// The token of a block that is sent again stays the same.
    pub(super) fn note_attempt(&mut self, collector: &str, block: &Block) {
        let attempts = self.attempts.entry((collector.to_owned(), block.table())).or_default();
        match attempts.iter().find(|(_, content)| *content == block.content) {
            Some((token, _)) if *token == block.token => {}
            Some((token, _)) => self.broken.push(format!(
                "{collector} sent {block} again with token {:?} instead of {token:?}",
                block.token
            )),
            None => {
                attempts.push_back((block.token.clone(), block.content));
                if attempts.len() > ATTEMPTS {
                    attempts.pop_front();
                }
            }
        }
    }

    /// Inserts a block.
    pub(super) fn apply(&mut self, collector: &str, block: Block) {
        let window = self.windows.entry(block.table()).or_default();
        let seen = window.iter().find(|(token, _)| *token == block.token && !token.is_empty());
        if let Some((_, content)) = seen {
            if *content != block.content {
                self.broken.push(format!("{block} of {collector} was dropped for another's token"));
            }
            self.deduplicated += 1;
            trace::line("db", format_args!("drops {block} of {collector}, it has it"));
            return;
        }
        if window.iter().any(|(_, content)| *content == block.content) {
            self.broken.push(format!("{block} of {collector} is stored twice, its token differs"));
        }
        window.push_back((block.token.clone(), block.content));
        if window.len() > WINDOW {
            window.pop_front();
        }
        trace::line("db", format_args!("stores {block} of {collector}"));
        match block.rows {
            Rows::Series(rows) => rows.iter().for_each(|row| self.add_series(row)),
            Rows::Samples(rows) => rows.iter().for_each(|row| self.add_sample(row)),
        }
    }

    fn add_series(&mut self, row: &SeriesRow) {
        let key = key(row);
        if let Some(other) = self.series.get(&row.series_id)
            && self::key(other) != key
        {
            self.broken.push(format!("series {key} has the id of {}", self::key(other)));
        }
        if let Some(id) = self.ids.insert(key.clone(), row.series_id)
            && id != row.series_id
        {
            self.broken.push(format!("series {key} has two ids"));
        }
        self.series.insert(row.series_id, row.clone());
    }

    fn add_sample(&mut self, row: &SampleRow) {
        let Some(series) = self.series.get(&row.series_id) else {
            self.broken
                .push(format!("a sample of series {:x}, which is not stored", row.series_id));
            return;
        };
        let value = (row.raw, row.scale);
        match self.samples.insert((row.series_id, row.ts_ms), value) {
            Some(before) if before == value => self.repeated_rows += 1,
            Some(before) => self.broken.push(format!(
                "{} at {}: {value:?} in place of {before:?}",
                key(series),
                row.ts_ms
            )),
            None => {}
        }
    }
}

fn key(row: &SeriesRow) -> String {
    key_of(&row.node, &row.metric, &row.attributes)
}

/// What a series is, as one text.
pub(crate) fn key_of(node: &str, metric: &str, attributes: &[(String, String)]) -> String {
    format!("{node}/{metric}{attributes:?}")
}
