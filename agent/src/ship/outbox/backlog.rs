//! The backlog: closed segments that are not the live lane's, oldest first.

use flyball_proto::v1;

use super::account::shed;
use super::dictionary::part;
use super::live::Home;
use super::memory::Number;
use super::{Outbox, Shed};
use crate::spool::{FrameRecord, SegmentContents, SegmentId, SegmentMeta};

/// A segment of the backlog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unit(Home);

/// A segment of the backlog with all that is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Backlog {
    /// Which one.
    pub unit: Unit,
    /// Epoch of the process that wrote it.
    pub epoch: [u8; 16],
    /// Nominal time between two frames.
    pub interval_ms: u32,
    /// Frames up to this number are stored and only carry state.
    pub acked_seq: u64,
    /// Definitions that its frames need, in messages of bounded size.
    pub definitions: Vec<v1::Define>,
    /// Its frames, in order, from a keyframe on.
    pub frames: Vec<FrameRecord>,
}

impl Outbox {
    /// Reads the oldest segment of the backlog. One of which nothing can be understood is given up on the way; one that the disk cannot read now is left
    /// out until the next connection.
    pub fn backlog(&mut self) -> Option<Backlog> {
        while let Some(Unit(home)) = self.oldest_unit() {
            let backlog = match home {
                Home::Disk(id) => self.read_from_disk(id),
                Home::Memory(number) => self.read_from_memory(number),
            };
            if backlog.is_some() {
                return backlog;
            }
        }
        None
    }

    /// Takes the collector's word that the frames of a segment up to `durable_seq` are stored but for `rejected` samples. Returns true when that was news.
    pub fn ack_backlog(&mut self, backlog: &Backlog, durable_seq: u64, rejected: u64) -> bool {
        let last_seq = backlog.frames.last().map_or(0, |frame| frame.seq);
        let durable_seq = durable_seq.min(last_seq);
        let Some((acked_seq, _)) = self.unacked_of(backlog.unit) else { return false };
        let first_seq = acked_seq.max(backlog.acked_seq) + 1;
        if durable_seq < first_seq {
            return false;
        }
        let settles = |frame: &&FrameRecord| (first_seq..=durable_seq).contains(&frame.seq);
        let frames = backlog.frames.iter().filter(settles);
        let samples = frames.map(|frame| u64::from(frame.samples)).sum();
        let settled = self.settle(backlog.unit.0, durable_seq, samples);
        self.count_stored(settled, rejected);
        self.commit();
        true
    }

    /// Gives up what is not acknowledged of a segment. Returns how many samples that are.
    pub fn give_up(&mut self, unit: Unit, reason: Shed) -> u64 {
        let samples = self.unacked_of(unit).map_or(0, |(_, samples)| samples);
        match unit.0 {
            Home::Disk(id) => self.shed_on_disk(id, reason),
            Home::Memory(number) => self.shed_in_memory(number, reason),
        }
        self.commit();
        samples
    }

    /// Number up to which a segment is acknowledged, and samples that are not. `None` when it is no more.
    pub fn unacked_of(&self, unit: Unit) -> Option<(u64, u64)> {
        match unit.0 {
            Home::Disk(id) => self.spool.segment(id).map(|meta| (meta.acked_seq, meta.in_flight())),
            Home::Memory(number) => {
                self.memory.get(number).map(|segment| (segment.acked_seq, segment.in_flight()))
            }
        }
    }

    /// Segments that wait for the backlog lane.
    pub(super) fn backlog_segments(&self) -> u64 {
        (self.units_on_disk().count() + self.units_in_memory().count()) as u64
    }

    /// Time of the oldest frame that is not acknowledged, to within the regularity of its segment.
    pub(super) fn oldest_unacked_ms(&self) -> Option<i64> {
        let on_disk =
            self.spool.segments().filter(|meta| meta.frames_in_flight() > 0).map(first_ms);
        let in_memory =
            self.memory.iter().filter_map(|s| s.unacked().next()).map(|frame| frame.ts_ms);
        let live = self.live.oldest_unacked_ms();
        on_disk.chain(in_memory).chain(live).min()
    }

    fn oldest_unit(&self) -> Option<Unit> {
        let on_disk = self.units_on_disk().next();
        let in_memory = self.units_in_memory().next();
        let home = match (on_disk, in_memory) {
            // What is in memory only goes first when it is the oldest, and when the process ends: the disk keeps the rest.
            (Some(meta), Some((number, first_seq)))
                if self.is_sealed
                    || meta.epoch == self.settings.epoch && meta.first_seq > first_seq =>
            {
                Home::Memory(number)
            }
            (Some(meta), _) => Home::Disk(meta.id),
            (None, Some((number, _))) => Home::Memory(number),
            (None, None) => return None,
        };
        Some(Unit(home))
    }

    pub(super) fn units_on_disk(&self) -> impl Iterator<Item = &SegmentMeta> {
        let open = self.spool.open_segment();
        self.spool.segments().filter(move |meta| {
            let is_lives = meta.epoch == self.settings.epoch && self.live.covers(meta.first_seq);
            let is_waited_for = is_lives || self.live.has_sent(Home::Disk(meta.id));
            let is_readable = Some(meta.id) != open && !self.unreadable.contains(&meta.id);
            is_readable && meta.frames_in_flight() > 0 && !is_waited_for
        })
    }

    fn units_in_memory(&self) -> impl Iterator<Item = (Number, u64)> {
        let closed = self.memory.iter().filter(|segment| segment.is_closed());
        let units = closed.map(|segment| (segment.number, segment.first_seq()));
        units.filter(|(number, first_seq)| {
            let base = self.memory.get(*number).and_then(|segment| segment.base);
            let is_readable = base.is_none_or(|base| !self.unreadable.contains(&base));
            let is_waited_for =
                self.live.covers(*first_seq) || self.live.has_sent(Home::Memory(*number));
            is_readable && !is_waited_for
        })
    }

    /// Reads a segment on disk, and counts what of it is lost.
    fn read(&mut self, id: SegmentId) -> Option<SegmentContents> {
        match self.spool.read(id) {
            Ok(contents) => {
                self.sending = Some(Home::Disk(id));
                let samples = contents.lost_samples;
                if samples > 0 {
                    tracing::warn!(segment = id.0, samples, "a part of a segment cannot be read");
                    shed(&mut self.totals, Shed::Lost, samples);
                }
                Some(contents)
            }
            Err(error) => {
                tracing::warn!(segment = id.0, %error, "a segment cannot be read, it is tried again later");
                self.unreadable.push(id);
                None
            }
        }
    }

    fn read_from_disk(&mut self, id: SegmentId) -> Option<Backlog> {
        let contents = self.read(id)?;
        let meta = contents.meta;
        if meta.frames_in_flight() == 0 {
            self.shed_on_disk(id, Shed::Lost);
            self.commit();
            return None;
        }
        let mut definitions = contents.definitions;
        if definitions.is_empty() {
            definitions = in_parts(meta.dictionary_version, &[]);
        }
        Some(Backlog {
            unit: Unit(Home::Disk(id)),
            epoch: meta.epoch,
            interval_ms: meta.interval_ms,
            acked_seq: meta.acked_seq.max(meta.first_seq - 1),
            definitions,
            frames: contents.frames,
        })
    }

    /// The frames of a segment in memory, after those on disk that they continue.
    fn read_from_memory(&mut self, number: Number) -> Option<Backlog> {
        let base = self.memory.get(number).and_then(|segment| segment.base);
        let mut frames = match base {
            Some(base) => self.read(base)?.frames,
            None => Vec::new(),
        };
        let segment = self.memory.get(number)?;
        let follows =
            frames.last().map_or(base.is_none(), |last| last.seq + 1 == segment.first_seq());
        if !follows {
            self.shed_in_memory(number, Shed::Lost);
            return None;
        }
        frames.extend(segment.frames.iter().cloned());
        let version = segment.dictionary_version;
        Some(Backlog {
            unit: Unit(Home::Memory(number)),
            epoch: self.settings.epoch,
            interval_ms: self.settings.interval_ms,
            acked_seq: segment.acked_seq.max(segment.first_seq() - 1),
            definitions: in_parts(version, &segment.definitions),
            frames,
        })
    }
}

/// Definitions in messages of bounded size; one message when there is none.
fn in_parts(dictionary_version: u32, series: &[v1::SeriesDefinition]) -> Vec<v1::Define> {
    let message = |series: &[v1::SeriesDefinition]| v1::Define {
        dictionary_version,
        series: series.to_vec(),
    };
    let (mut messages, mut rest) = (Vec::new(), series);
    while !rest.is_empty() {
        let first = part(rest);
        messages.push(message(first));
        rest = &rest[first.len()..];
    }
    if messages.is_empty() {
        messages.push(message(&[]));
    }
    messages
}

/// Time of the first frame that is not acknowledged, as if all frames of the segment were equally far apart.
fn first_ms(meta: &SegmentMeta) -> i64 {
    let frames = meta.last_seq.saturating_sub(meta.first_seq).max(1);
    let acked = (meta.acked_seq + 1).saturating_sub(meta.first_seq).min(frames);
    let span_ms = meta.last_ts_ms.saturating_sub(meta.first_ts_ms);
    meta.first_ts_ms + span_ms / frames as i64 * acked as i64
}
