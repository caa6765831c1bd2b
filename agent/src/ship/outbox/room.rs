//! Room, on disk and in memory: what goes when there is none.
//!
//! Detail goes first: the oldest segments of the backlog are [thinned](crate::spool::Spool::thin) one after the other. When none is left to be thinned the oldest is given
//! up whole. So hosts keep a long past, and processes a short one.

use super::live::Home;
use super::{Outbox, Shed, account, memory};
use crate::spool::{SegmentId, SegmentMeta};

/// Segments that are thinned with one frame at most: each costs some milliseconds and a sync, and frees room for some minutes.
const THINNED_AT_ONCE: usize = 2;
/// Part of the limit that may be exceeded as long as thinning makes room.
const EXCESS_PART: u64 = 64;

impl Outbox {
    /// Brings the spool back within its limit.
    pub(super) fn keep_within_limit(&mut self) {
        for _ in 0..THINNED_AT_ONCE {
            if !self.spool.is_over_limit() || !self.thin_oldest() {
                break;
            }
        }
        let limit_bytes = self.spool.limit_bytes();
        let excess_bytes = |outbox: &Self| outbox.spool.bytes().saturating_sub(limit_bytes);
        while excess_bytes(self) > limit_bytes / EXCESS_PART
            || (excess_bytes(self) > 0 && self.thinnable().is_none())
        {
            if !self.shed_oldest_on_disk() {
                break;
            }
        }
    }

    /// Takes the detail out of the oldest segment that waits. False when there is none, or the disk refuses.
    fn thin_oldest(&mut self) -> bool {
        let Some(id) = self.thinnable() else { return false };
        match self.spool.thin(id, &mut self.totals, Shed::Thinned as usize) {
            Ok(samples) => {
                tracing::debug!(segment = id.0, samples, "detail given up for want of room");
                true
            }
            Err(error) => {
                tracing::warn!(segment = id.0, %error, "detail cannot be given up");
                false
            }
        }
    }

    /// The oldest segment that waits for the backlog lane as a whole and has not been thinned.
    fn thinnable(&self) -> Option<SegmentId> {
        let waits = |id: &SegmentId| {
            self.sending != Some(Home::Disk(*id)) && self.memory.upon(*id).is_none()
        };
        let whole = self.units_on_disk().filter(|meta| !meta.thinned && meta.acked_seq == 0);
        whole.map(|meta| meta.id).find(waits)
    }

    /// Gives up the oldest closed segment on disk. False when there is none.
    pub(super) fn shed_oldest_on_disk(&mut self) -> bool {
        let open = self.spool.open_segment();
        let Some(id) = self.spool.segments().map(|meta| meta.id).find(|id| Some(*id) != open)
        else {
            return false;
        };
        self.shed_on_disk(id, Shed::Full);
        self.commit();
        true
    }

    pub(super) fn shed_on_disk(&mut self, id: SegmentId, reason: Shed) {
        if let Some(number) = self.memory.upon(id) {
            self.shed_in_memory(number, reason);
        }
        let samples = self.spool.segment(id).map_or(0, SegmentMeta::in_flight);
        self.spool.free(id);
        account::shed(&mut self.totals, reason, samples);
        self.live.forget(Home::Disk(id));
    }

    pub(super) fn shed_oldest_in_memory(&mut self, reason: Shed) -> bool {
        let Some(number) = self.memory.iter().next().map(|segment| segment.number) else {
            return false;
        };
        self.shed_in_memory(number, reason);
        true
    }

    pub(super) fn shed_in_memory(&mut self, number: memory::Number, reason: Shed) {
        let Some(segment) = self.memory.remove(number) else { return };
        account::shed(&mut self.totals, reason, segment.in_flight());
        self.live.forget(Home::Memory(number));
        self.segment_wanted |= !segment.is_closed();
        if let Some(base) = segment.base {
            self.free_settled(base);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use flyball_proto::frame::{Decoder, Encoder, Limits};
    use flyball_proto::series::{Kind, Scale, Series};

    use super::super::OutboxSettings;
    use super::*;
    use crate::spool::memory_disk::MemoryDisk;
    use crate::spool::{NewFrame, Spool, SpoolSettings, Syncing};

    const LIMIT_BYTES: u64 = 1_000_000;

    fn open(disk: &MemoryDisk) -> Outbox {
        let settings = SpoolSettings { limit_bytes: LIMIT_BYTES, fsync: Duration::from_secs(5) };
        let (spool, recovery) =
            Spool::open_on(Arc::new(disk.clone()), &settings, Syncing::Inline).unwrap();
        let settings = OutboxSettings { epoch: [1; 16], interval_ms: 1_000, memory_bytes: 100_000 };
        Outbox::new(settings, spool, &recovery)
    }

    /// Frames of real samples with nobody to take them, half of them of processes, until something is given up whole or `bytes` are written. Checks the account on the way.
    fn outage(outbox: &mut Outbox, mut bytes: usize) {
        let mut encoder = Encoder::new(Limits::default());
        let series = |i: u32| Series {
            metric: if i.is_multiple_of(2) {
                format!("system.{i}")
            } else {
                format!("process.{i}")
            },
            unit: "1".into(),
            kind: Kind::Gauge,
            scale: Scale::UNIT,
            attributes: Vec::new(),
        };
        let slots: Vec<_> = (0..200).map(|i| encoder.define(series(i)).unwrap()).collect();
        let (mut payload, mut random) = (Vec::new(), 1_u64);
        while bytes > 0 {
            for slot in &slots {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                encoder.set(*slot, (random >> 33) as i64);
            }
            if outbox.keyframe_wanted() {
                encoder.request_keyframe();
            }
            while let Some(define) = encoder.pending_define() {
                outbox.define(define);
            }
            payload.clear();
            let ts_ms = 1_000_000 + 1000 * encoder.next_seq() as i64;
            let info = encoder.encode(ts_ms, &mut payload);
            let (seq, samples, keyframe) = (info.seq, info.samples as u32, info.keyframe);
            outbox.append(&NewFrame { seq, ts_ms, samples, keyframe, payload: &payload });
            bytes = bytes.saturating_sub(payload.len());
            let totals = outbox.totals();
            assert_eq!(
                totals.produced,
                totals.acked + totals.in_flight + totals.shed.iter().sum::<u64>()
            );
            assert!(outbox.spool.bytes() <= LIMIT_BYTES + LIMIT_BYTES / EXCESS_PART);
        }
    }

    #[test]
    fn detail_goes_first_then_the_oldest() {
        let disk = MemoryDisk::new();
        let mut outbox = open(&disk);
        outage(&mut outbox, LIMIT_BYTES as usize * 3 / 2);
        let shed = outbox.totals().shed;
        assert!(shed[Shed::Thinned as usize] > 10_000, "{shed:?}");
        assert_eq!(shed[Shed::Full as usize], 0, "there was detail left to give up");
        let mut outbox = open(&disk);
        assert_eq!(outbox.totals().shed, shed);
        outage(&mut outbox, LIMIT_BYTES as usize * 2);
        assert!(outbox.totals().shed[Shed::Full as usize] > 10_000);
    }

    #[test]
    fn the_segment_that_is_sent_stays_whole() {
        let disk = MemoryDisk::new();
        let mut outbox = open(&disk);
        outage(&mut outbox, LIMIT_BYTES as usize * 3 / 4);
        let sent = outbox.backlog().unwrap();
        let thinned = |outbox: &Outbox| outbox.spool.segments().filter(|m| m.thinned).count();
        while thinned(&outbox) < 2 {
            assert!(outbox.thin_oldest());
        }
        let first = *outbox.spool.segments().next().unwrap();
        assert!(!first.thinned);
        let last_seq = sent.frames.last().unwrap().seq;
        let before = outbox.totals();
        assert!(outbox.ack_backlog(&sent, last_seq, 0));
        assert_eq!(outbox.totals().acked - before.acked, first.samples);
        // The next one is a thinned one, and it decodes.
        let next = outbox.backlog().unwrap();
        let mut decoder = Decoder::new(Limits::default());
        for define in next.definitions {
            assert!(define.series.iter().all(|series| series.metric.starts_with("system.")));
            decoder.define(define).unwrap();
        }
        for frame in &next.frames {
            assert_eq!(decoder.decode(&frame.payload).unwrap().samples.len(), 100);
        }
    }
}
