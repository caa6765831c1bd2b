//! What is stored, and what no collector may do to it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::{Display, Formatter};
use std::hash::Hasher as _;
use std::sync::Arc;

use flyball_collector::store::{LateMark, SampleRow, SeriesRow};
use twox_hash::XxHash3_64;

use crate::{kernel, trace};

/// Tokens that a table remembers.
const WINDOW: usize = 1_000;
/// So long after its end ten minutes are rolled up.
const ROLLED_UP_MS: i64 = 60_000;
/// Blocks of a collector of which the token is checked.
const ATTEMPTS: usize = 64;

/// The tables `series` and `performance_metrics`.
#[derive(Default)]
pub(crate) struct Tables {
    series: BTreeMap<u64, SeriesRow>,
    ids: BTreeMap<String, u64>,
    samples: BTreeMap<(u64, i64), Stored>,
    /// When each mark was set last, by the wall clock.
    marks: BTreeMap<LateMark, i64>,
    windows: BTreeMap<&'static str, VecDeque<(String, u64)>>,
    attempts: BTreeMap<(String, &'static str), VecDeque<(String, u64)>>,
    /// What must never happen and did.
    pub(crate) broken: Vec<String>,
    /// Blocks that were dropped because of their token.
    pub(crate) deduplicated: u64,
    /// Rows that were there before, with the same value.
    pub(crate) repeated_rows: u64,
}

/// A sample.
#[derive(Debug, Clone, Copy)]
struct Stored {
    raw: i64,
    scale: i8,
    /// When it was stored first, by the wall clock.
    at_ms: i64,
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
    Marks(Arc<[LateMark]>),
}

/// What is stored at an identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    Same,
    /// As it was produced, but its rollups were computed without it and will not be computed again.
    SameUnmarked,
    Other {
        raw: i64,
        scale: i8,
    },
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

    pub(super) fn marks(marks: &[LateMark], id: u64) -> Self {
        let mut hash = XxHash3_64::new();
        hash.write_u64(id);
        for mark in marks {
            hash.write_i64(mark.span_ms);
            hash.write_u16(mark.node);
        }
        Self { rows: Rows::Marks(marks.into()), token: id.to_string(), content: hash.finish() }
    }

    const fn table(&self) -> &'static str {
        match self.rows {
            Rows::Series(_) => "series",
            Rows::Samples(_) => "samples",
            Rows::Marks(_) => "marks",
        }
    }

    fn len(&self) -> usize {
        match &self.rows {
            Rows::Series(rows) => rows.len(),
            Rows::Samples(rows) => rows.len(),
            Rows::Marks(marks) => marks.len(),
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
        let Some((id, stored)) =
            self.ids.get(key).and_then(|&id| Some((id, self.samples.get(&(id, ts_ms))?)))
        else {
            return Found::Nothing;
        };
        if (stored.raw, stored.scale) != (raw, scale) {
            return Found::Other { raw: stored.raw, scale: stored.scale };
        }
        let mark = LateMark::of(&SampleRow { series_id: id, ts_ms, raw, scale });
        let is_late = stored.at_ms > mark.end_ms() + ROLLED_UP_MS;
        if is_late && self.marks.get(&mark).is_none_or(|at_ms| *at_ms < stored.at_ms) {
            return Found::SameUnmarked;
        }
        Found::Same
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
            Rows::Marks(marks) => {
                self.marks.extend(marks.iter().map(|mark| (*mark, kernel::wall_ms())));
            }
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
        let SampleRow { series_id, ts_ms, raw, scale } = *row;
        let new = Stored { raw, scale, at_ms: kernel::wall_ms() };
        match self.samples.entry((series_id, ts_ms)) {
            Entry::Vacant(entry) => drop(entry.insert(new)),
            Entry::Occupied(entry) if (entry.get().raw, entry.get().scale) == (raw, scale) => {
                self.repeated_rows += 1;
            }
            Entry::Occupied(entry) => self.broken.push(format!(
                "{} at {ts_ms}: {new:?} in place of {:?}",
                key(series),
                entry.get()
            )),
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
