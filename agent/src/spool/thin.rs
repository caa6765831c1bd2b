//! Thinning: old segments are written again without their detail, before any is given up whole.
//!
//! What a host did last week is worth more than what each of its processes did. A closed segment of which nothing is acknowledged is decoded and encoded again with
//! the series that are no detail: the same frames with the same numbers and times, some without samples. The new file is synced, then the ledger says in one write that
//! the samples are shed and that the file is to take the other's place, then it is renamed; so an end at any moment leaves one of both and the account that fits it.

use flyball_proto::frame::{Decoder, Encoder, Limits, Slot};
use flyball_proto::series::Series;
use flyball_proto::v1;

use super::durable::Names;
use super::ledger::{Note, REPLACED};
use super::record::{self, Place, Summary};
use super::scan::{Scan, Unusable, scan};
use super::{NewFrame, PersistedTotals, SegmentId, Spool, SpoolError, file_name};

/// Metrics that are detail begin with one of these: the series of single processes.
const DETAIL: &[&str] = &["process."];

/// True when a series is one of those that go first. The one place that decides it.
pub fn is_detail(series: &v1::SeriesDefinition) -> bool {
    DETAIL.iter().any(|prefix| series.metric.starts_with(prefix))
}

/// Name of the file that is to take the place of a segment's.
pub(super) fn thin_name(id: SegmentId) -> String {
    format!("{}.thin", file_name(id))
}

/// A segment without its detail.
struct Thinned {
    bytes: Vec<u8>,
    summary: Summary,
}

impl Spool {
    /// Takes the detail out of a segment, adds its samples to `totals.shed[reason]` and commits. Returns how many samples that were: none where the segment is
    /// open, thinned already, acknowledged in part or without detail. Waits for the medium once. Not for a segment that is being sent.
    ///
    /// # Errors
    /// When it cannot be read or the new one cannot be written; then segment and account are as they were.
    pub fn thin(
        &mut self,
        id: SegmentId,
        totals: &mut PersistedTotals,
        reason: usize,
    ) -> Result<u64, SpoolError> {
        let Some(index) = self.index(id) else { return Err(SpoolError::Unknown(id)) };
        let meta = self.segments[index];
        if meta.thinned || meta.acked_seq > 0 || self.open_segment() == Some(id) {
            return Ok(0);
        }
        let Some(thinned) = self.without_detail(index)? else {
            // It is not tried again before the next start.
            self.segments[index].thinned = true;
            return Ok(0);
        };
        self.write_thinned(id, &thinned.bytes).map_err(|e| SpoolError::new("thin", e))?;
        let samples = meta.samples - thinned.summary.samples;
        totals.shed[reason] += samples;
        if let Err(error) = self.replace(id, totals) {
            totals.shed[reason] -= samples;
            let _ = self.disk.remove(&thin_name(id));
            // The ledger must not say that it was replaced.
            let _ = self.commit(totals);
            return Err(SpoolError::new("thin", error));
        }
        let meta = &mut self.segments[index];
        self.bytes -= meta.room();
        meta.take(&thinned.summary, thinned.bytes.len() as u64);
        meta.thinned = true;
        self.bytes += meta.room();
        Ok(samples)
    }

    /// The segment without detail; `None` when it has none or is damaged, which reading it will show.
    fn without_detail(&self, index: usize) -> Result<Option<Thinned>, SpoolError> {
        let meta = &self.segments[index];
        let fail = |error| SpoolError::new("read a segment of", error);
        let file = self.disk.open(&file_name(meta.id)).map_err(fail)?;
        match scan(&*file, meta.id, meta.bytes) {
            Ok(whole) if whole.summary.last_seq == meta.last_seq => Ok(thin(meta.id, &whole)),
            Ok(_) | Err(Unusable::Torn | Unusable::Corrupt | Unusable::Version) => Ok(None),
            Err(Unusable::Io(error)) => Err(fail(error)),
        }
    }

    /// Puts the new file beside the old one, durably.
    fn write_thinned(&self, id: SegmentId, bytes: &[u8]) -> std::io::Result<()> {
        let name = thin_name(id);
        let file = self.disk.create(&name)?;
        let written = file.write_at(0, bytes).and_then(|()| file.sync());
        if written.is_err() {
            let _ = self.disk.remove(&name);
        }
        written
    }

    fn replace(&mut self, id: SegmentId, totals: &PersistedTotals) -> std::io::Result<()> {
        let mut state = self.state(totals);
        state.notes.push(Note { id, acked_seq: REPLACED, acked_samples: 0 });
        self.ledger.commit(&state)?;
        self.disk.rename(&thin_name(id), &file_name(id))?;
        self.names = Names::Changed;
        Ok(())
    }
}

/// Encodes a segment again. `None` when nothing is to be left out, or it does not decode.
fn thin(id: SegmentId, segment: &Scan) -> Option<Thinned> {
    let header = &segment.header;
    let mut decoder = Decoder::new(Limits::default());
    let mut encoder =
        Encoder::starting_at(Limits::default(), header.dictionary_version, header.first_seq);
    let mut slots: Vec<Option<Slot>> = Vec::new();
    for define in &segment.definitions {
        for series in &define.series {
            let mut kept = || encoder.define(Series::try_from(series.clone()).ok()?).ok();
            slots.push(if is_detail(series) { None } else { Some(kept()?) });
        }
        decoder.define(define.clone()).ok()?;
    }
    if slots.iter().all(Option::is_some) {
        return None;
    }
    let place = Place { segment: id, offset: 0 };
    let mut thinned = Thinned { bytes: Vec::new(), summary: Summary::default() };
    record::put_preamble(&mut thinned.bytes);
    record::put_header(&mut thinned.bytes, place, header, true);
    while let Some(define) = encoder.pending_define() {
        record::put_define(&mut thinned.bytes, place, &define);
    }
    let mut payload = Vec::new();
    for frame in &segment.frames {
        let decoded = decoder.decode(&frame.payload).ok()?;
        for sample in decoded.samples {
            match slots.get(sample.slot.index())? {
                Some(slot) if sample.reset => encoder.set_after_reset(*slot, sample.raw),
                Some(slot) => encoder.set(*slot, sample.raw),
                None => {}
            }
        }
        payload.clear();
        let info = encoder.encode(frame.ts_ms, &mut payload);
        if info.remaining > 0 || info.seq != frame.seq {
            return None;
        }
        let (seq, ts_ms, samples) = (frame.seq, frame.ts_ms, info.samples as u32);
        let new = NewFrame { seq, ts_ms, samples, keyframe: info.keyframe, payload: &payload };
        record::put_frame(&mut thinned.bytes, place, &new);
        thinned.summary.add(seq, ts_ms, samples);
    }
    record::put_end(&mut thinned.bytes, place, &thinned.summary);
    Some(thinned)
}
