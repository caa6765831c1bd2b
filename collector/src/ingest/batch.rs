//! A batch: the frames of one flush as blocks, one for each table and hour, with tokens that name their content.
//!
//! A block's token is a hash over the frames in it (epoch, sequence number, rows), so the same frames in the same order give the same token, on a retry
//! as well as in another process. ClickHouse drops a block whose token it has seen, which covers a retry after a lost answer; frames that come again in
//! other company are covered by the table's engine.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use flyball_proto::series::{NodeName, Series};
use sha2::{Digest as _, Sha256};
use tokio::sync::OwnedSemaphorePermit;

use super::hello::Epoch;
use super::ledger::{ALL_SLOTS, Ledger, Refused};
use crate::live::now_ms;
use crate::store::{CacheRow, LateMark, SampleRow, SeriesId, SeriesRow};

/// Encoded size of a row of `performance_metrics`.
const SAMPLE_BYTES: usize = 25;
/// Encoded size of a row of `cache_stats`, roughly.
const CACHE_BYTES: usize = 400;
/// What a row of `cache_stats` takes of the bound on rows in flight.
const CACHE_WEIGHT: usize = 8;

/// A series that the store does not have yet. Some 40 bytes, where its row has some 400: after a start every agent of the fleet has hundreds.
#[derive(Debug)]
pub(super) struct NewSeries {
    id: SeriesId,
    node: NodeName,
    series: Arc<Series>,
    first_seen_ms: i64,
}

/// What one frame adds to the store.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) ledger: Arc<Ledger>,
    pub(super) epoch: Epoch,
    pub(super) seq: u64,
    /// Series that the store does not have yet.
    pub(super) series: Vec<NewSeries>,
    /// Samples of the frame. There are fewer rows when some are refused or add up in a row of their sum.
    pub(super) samples: u64,
    /// What is to be written, all of the same time.
    pub(super) rows: Vec<SampleRow>,
    /// What the frame says of caches, of the same time. These rows repeat what is in its samples and are in no account.
    pub(super) caches: Vec<CacheRow>,
    /// Samples that are refused before they are written.
    pub(super) refused: Vec<Refused>,
    /// The frame's share of the bound on rows in flight.
    pub(super) room: Option<OwnedSemaphorePermit>,
}

/// The frames of one flush.
#[derive(Debug, Default)]
pub(super) struct Batch {
    frames: Vec<FrameEntry>,
    series: Vec<NewSeries>,
    hours: BTreeMap<i64, Vec<SampleRow>>,
    cache_days: BTreeMap<i64, Vec<CacheRow>>,
    rows: usize,
    bytes: usize,
    first_at: Option<Instant>,
}

/// A frame of the batch.
#[derive(Debug)]
struct FrameEntry {
    ledger: Arc<Ledger>,
    epoch: Epoch,
    seq: u64,
    /// The hour of its rows; `None` when there are none.
    hour: Option<i64>,
    /// The day of its rows of caches, and their number; `None` when there are none.
    caches: Option<(i64, u64)>,
    /// What to roll up again if it is late; `None` when there are no rows.
    mark: Option<LateMark>,
    rows: u64,
    /// Samples that the rows stand for.
    samples: u64,
    refused: Vec<Refused>,
    _room: Option<OwnedSemaphorePermit>,
}

impl NewSeries {
    /// A series of `node` that is seen now for the first time.
    pub(super) fn new(id: SeriesId, node: &NodeName, series: &Arc<Series>) -> Self {
        let (node, series) = (node.clone(), Arc::clone(series));
        Self { id, node, series, first_seen_ms: now_ms() }
    }

    fn row(&self) -> SeriesRow {
        SeriesRow::new(self.id, &self.node, &self.series, self.first_seen_ms)
    }

    /// Encoded size of the row.
    fn bytes(&self) -> usize {
        let Series { metric, unit, attributes, .. } = &*self.series;
        let attributes: usize = attributes.iter().map(|(k, v)| k.len() + v.len() + 2).sum();
        32 + metric.len() + unit.len() + self.node.as_str().len() + attributes
    }
}

impl Submission {
    /// What it takes of the bound on rows in flight.
    pub(super) fn weight(&self) -> usize {
        weight(self.rows.len(), self.series.len(), self.caches.len())
    }
}

/// What rows, new series and rows of caches take of the bound on rows in flight: a new series counts as two rows, a cache as eight.
pub(super) const fn weight(rows: usize, series: usize, caches: usize) -> usize {
    rows + 2 * series + CACHE_WEIGHT * caches
}

impl Batch {
    /// Takes a frame in.
    pub(super) fn add(&mut self, submission: Submission, now: Instant) {
        let Submission { ledger, epoch, seq, mut series, samples, rows, caches, refused, room } =
            submission;
        self.first_at.get_or_insert(now);
        self.rows += rows.len();
        self.bytes += rows.len() * SAMPLE_BYTES
            + caches.len() * CACHE_BYTES
            + series.iter().map(NewSeries::bytes).sum::<usize>();
        self.series.append(&mut series);
        let hour = rows.first().map(SampleRow::hour);
        let mark = rows.first().map(LateMark::of);
        let count = rows.len() as u64;
        if let Some(hour) = hour {
            self.hours.entry(hour).or_default().extend(rows);
        }
        let of_caches = caches.first().map(|row| (row.day(), caches.len() as u64));
        if let Some((day, _)) = of_caches {
            self.cache_days.entry(day).or_default().extend(caches);
        }
        let samples = samples - refused.iter().map(|refused| refused.samples).sum::<u64>();
        self.frames.push(FrameEntry {
            ledger,
            epoch,
            seq,
            hour,
            caches: of_caches,
            mark,
            rows: count,
            samples,
            refused,
            _room: room,
        });
    }

    /// The block of new series.
    pub(super) fn series(&self) -> Vec<SeriesRow> {
        self.series.iter().map(NewSeries::row).collect()
    }

    /// Leaves the samples of some series out, and rejects them for their frames.
    pub(super) fn reject_series(&mut self, is_rejected: impl Fn(u64) -> bool, reason: &str) {
        for (hour, rows) in &mut self.hours {
            if !rows.iter().any(|row| is_rejected(row.series_id)) {
                continue;
            }
            // A frame's rows lie together, in the order of the frames.
            let mut rest = rows.as_slice();
            for frame in self.frames.iter_mut().filter(|frame| frame.hour == Some(*hour)) {
                let (of_frame, others) = rest.split_at(frame.rows as usize);
                rest = others;
                let left_out = of_frame.iter().filter(|row| is_rejected(row.series_id)).count();
                frame.reject(left_out as u64, reason);
            }
            let before = rows.len();
            rows.retain(|row| !is_rejected(row.series_id));
            self.rows -= before - rows.len();
        }
        self.hours.retain(|_, rows| !rows.is_empty());
    }

    /// Blocks of samples by hour.
    pub(super) fn hours(&self) -> impl Iterator<Item = (i64, &[SampleRow])> {
        self.hours.iter().map(|(hour, rows)| (*hour, rows.as_slice()))
    }

    /// Token of an hour's block.
    pub(super) fn hour_token(&self, hour: i64) -> String {
        let mut hash = Sha256::new();
        for frame in self.frames.iter().filter(|frame| frame.hour == Some(hour)) {
            hash.update(frame.epoch);
            hash.update(frame.seq.to_le_bytes());
            hash.update(frame.rows.to_le_bytes());
        }
        token(&format!("samples:{hour}"), &hash.finalize())
    }

    /// Blocks of rows of caches by day.
    pub(super) fn cache_days(&self) -> impl Iterator<Item = (i64, &[CacheRow])> {
        self.cache_days.iter().map(|(day, rows)| (*day, rows.as_slice()))
    }

    /// Token of a day's block of rows of caches.
    pub(super) fn cache_day_token(&self, day: i64) -> String {
        let mut hash = Sha256::new();
        for frame in &self.frames {
            let Some((_, rows)) = frame.caches.filter(|(of_frame, _)| *of_frame == day) else {
                continue;
            };
            hash.update(frame.epoch);
            hash.update(frame.seq.to_le_bytes());
            hash.update(rows.to_le_bytes());
        }
        token(&format!("caches:{day}"), &hash.finalize())
    }

    /// Marks of the frames whose ten minutes ended before `before_ms`, each once.
    pub(super) fn late_marks(&self, before_ms: i64) -> Vec<LateMark> {
        let late = self.frames.iter().filter_map(|frame| frame.mark);
        let mut marks: Vec<_> = late.filter(|mark| mark.end_ms() < before_ms).collect();
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    /// Samples in all.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Encoded size in all.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When the first frame came.
    pub(super) fn first_at(&self) -> Option<Instant> {
        self.first_at
    }

    /// Settles every frame. `refused` names the hours whose blocks were refused for good, and why.
    pub(super) fn settle(self, refused: &BTreeMap<i64, String>) {
        for mut frame in self.frames {
            let mut written = frame.samples;
            if let Some(reason) = frame.hour.and_then(|hour| refused.get(&hour)) {
                frame.refused.push(Refused {
                    slot: ALL_SLOTS,
                    samples: written,
                    reason: reason.clone(),
                });
                written = 0;
            }
            frame.ledger.settled(frame.seq, written, frame.refused);
        }
    }
}

impl FrameEntry {
    /// So many rows are not written. The last ones take along the samples that no row of their own stood for.
    fn reject(&mut self, rows: u64, reason: &str) {
        if rows == 0 {
            return;
        }
        self.rows -= rows;
        let samples = if self.rows == 0 { self.samples } else { rows.min(self.samples) };
        self.samples -= samples;
        self.refused.push(Refused { slot: ALL_SLOTS, samples, reason: reason.to_owned() });
    }
}

/// Token of a block of series.
pub(super) fn series_token(rows: &[SeriesRow]) -> String {
    let mut hash = Sha256::new();
    for row in rows {
        hash.update(row.series_id.to_le_bytes());
        hash.update(row.first_seen.to_le_bytes());
    }
    token("series", &hash.finalize())
}

fn token(what: &str, hash: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut token = format!("{what}:");
    for byte in &hash[..16] {
        write!(token, "{byte:02x}").expect("a String takes any text");
    }
    token
}

#[cfg(test)]
mod tests {
    use super::super::metrics::IngestMetrics;
    use super::*;
    use crate::store::HOUR_MS;

    fn ledger() -> Arc<Ledger> {
        Arc::new(Ledger::new(IngestMetrics::new(10).account("a"), 0))
    }

    fn frame(ledger: &Arc<Ledger>, seq: u64, ts_ms: i64, samples: u64) -> Submission {
        ledger.submitted(samples);
        let row = |series_id| SampleRow { series_id, ts_ms, raw: 1, scale: 0 };
        Submission {
            ledger: Arc::clone(ledger),
            epoch: [1; 16],
            seq,
            series: Vec::new(),
            samples,
            rows: (0..samples).rev().map(row).collect(),
            caches: Vec::new(),
            refused: Vec::new(),
            room: None,
        }
    }

    #[test]
    fn a_block_holds_one_hour() {
        let (ledger, now) = (ledger(), Instant::now());
        let mut batch = Batch::default();
        batch.add(frame(&ledger, 1, HOUR_MS - 1, 3), now);
        batch.add(frame(&ledger, 2, HOUR_MS, 2), now);
        batch.add(frame(&ledger, 3, HOUR_MS + 1, 2), now);
        let hours: Vec<_> = batch.hours().map(|(hour, rows)| (hour, rows.len())).collect();
        assert_eq!(hours, [(0, 3), (1, 4)]);
        assert_eq!(batch.rows(), 7);
    }

    #[test]
    fn late_frames_are_marked_once_for_each_node_and_ten_minutes() {
        let now = Instant::now();
        let mut batch = Batch::default();
        for (seq, ts_ms) in [(1, 0), (2, 599_999), (3, 600_000), (4, 1_200_000)] {
            batch.add(frame(&ledger(), seq, ts_ms, 2), now);
        }
        let spans = |before_ms| {
            let marks = batch.late_marks(before_ms);
            marks.iter().map(|mark| mark.span_ms).collect::<Vec<_>>()
        };
        assert_eq!(spans(600_000), [0_i64; 0]);
        assert_eq!(spans(600_001), [0]);
        assert_eq!(spans(1_500_000), [0, 600_000]);
    }

    #[test]
    fn the_same_frames_have_the_same_token_and_others_do_not() {
        let now = Instant::now();
        let token = |seqs: &[u64], samples| {
            let mut batch = Batch::default();
            for seq in seqs {
                batch.add(frame(&ledger(), *seq, 5, samples), now);
            }
            batch.hour_token(0)
        };
        assert_eq!(token(&[1, 2], 3), token(&[1, 2], 3));
        assert_ne!(token(&[1, 2], 3), token(&[1, 3], 3));
        assert_ne!(token(&[1, 2], 3), token(&[1, 2], 4));
        assert_ne!(token(&[1, 2], 3), token(&[2, 1], 3));
    }

    #[test]
    fn rows_of_caches_are_a_block_for_each_day_with_a_token_of_their_frames() {
        let (ledger, now) = (ledger(), Instant::now());
        let day_ms = 24 * HOUR_MS;
        let with_caches = |seq, ts, count| {
            let row = CacheRow { ts, ..CacheRow::default() };
            Submission { caches: vec![row; count], ..frame(&ledger, seq, ts, 1) }
        };
        let batch = |frames: &[(u64, i64, usize)]| {
            let mut batch = Batch::default();
            for &(seq, ts_ms, count) in frames {
                batch.add(with_caches(seq, ts_ms, count), now);
            }
            batch
        };
        let first = batch(&[(1, 0, 2), (2, day_ms - 1, 1), (3, day_ms, 3), (4, day_ms, 0)]);
        let days: Vec<_> = first.cache_days().map(|(day, rows)| (day, rows.len())).collect();
        assert_eq!(days, [(0, 3), (1, 3)]);
        assert_eq!(first.rows(), 4, "they are in no account");
        let same = batch(&[(1, 0, 2), (2, day_ms - 1, 1)]);
        assert_eq!(first.cache_day_token(0), same.cache_day_token(0));
        assert_ne!(first.cache_day_token(0), first.cache_day_token(1));
        let other = batch(&[(1, 0, 2), (2, day_ms - 1, 2)]);
        assert_ne!(first.cache_day_token(0), other.cache_day_token(0));
        assert_eq!(with_caches(5, 0, 3).weight(), 1 + 3 * CACHE_WEIGHT);
    }

    #[test]
    fn samples_of_rejected_series_are_left_out_and_counted_for_their_frames() {
        let (ledger, now) = (ledger(), Instant::now());
        let mut batch = Batch::default();
        batch.add(frame(&ledger, 1, HOUR_MS, 3), now);
        batch.add(frame(&ledger, 2, 5, 1), now);
        let summed = Submission { samples: 7, ..frame(&ledger, 3, 5, 2) };
        batch.add(summed, now);
        ledger.submitted(5);
        ledger.submitted(0);
        batch.reject_series(|id| id == 2, "no");
        batch.reject_series(|id| id == 0, "never");
        let hours: Vec<_> = batch
            .hours()
            .map(|(hour, rows)| (hour, rows.iter().map(|row| row.series_id).collect::<Vec<_>>()))
            .collect();
        assert_eq!(hours, [(0, vec![1]), (1, vec![1])]);
        assert_eq!(batch.rows(), 2);
        batch.settle(&BTreeMap::new());
        let ack = ledger.take().unwrap();
        let rejected: Vec<_> =
            ack.rejected.iter().map(|r| (r.samples, r.reason.as_str())).collect();
        assert_eq!((ack.durable_seq, ack.written), (3, 7));
        assert_eq!(rejected, [(3, "never"), (1, "no")]);
    }

    #[test]
    fn a_refused_hour_is_refused_for_its_frames_only() {
        let (ledger, now) = (ledger(), Instant::now());
        let mut batch = Batch::default();
        batch.add(frame(&ledger, 1, 0, 3), now);
        batch.add(frame(&ledger, 2, HOUR_MS, 2), now);
        batch.settle(&BTreeMap::from([(0, "no".to_owned())]));
        let ack = ledger.take().unwrap();
        assert_eq!((ack.durable_seq, ack.written), (2, 2));
        assert_eq!((ack.rejected.len(), ack.rejected[0].samples), (1, 3));
        assert_eq!(ledger.frames_in_flight(), 0);
    }
}
