//! The spool against a model, on a disk that fails.
//!
//! - After the end of the process everything that was appended and not freed is there, and the account holds exactly.
//! - After a power cut every frame that was to be durable by then is there or acknowledged, and the account holds.
//! - Always: no frame that was not appended, none at another place, no panic.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::spool::memory_disk::{Faults, MemoryDisk, Operation};

const INTERVAL_MS: u32 = 1000;
const SETTINGS: SpoolSettings =
    SpoolSettings { limit_bytes: 60_000, fsync: Duration::from_secs(5) };
/// Index of the reason for samples that could not be kept.
const FULL: usize = 0;

/// What is done to a spool.
#[derive(Debug, Clone)]
enum Op {
    Append { samples: u32, bytes: usize, later_ms: i64 },
    Define(usize),
    NewSegment,
    Close,
    Ack { newest: bool, share: u8 },
    FreeOldest,
    Commit,
    Read,
    Capacity(Option<u64>),
    Fail(&'static [Operation]),
    Kill,
    PowerCut(u64),
    Crash { calls: u64, cut: Option<u64> },
}

#[derive(Debug, Clone, PartialEq)]
struct Frame {
    seq: u64,
    ts_ms: i64,
    samples: u32,
    payload: Vec<u8>,
    /// Slots defined before it.
    slots: usize,
}

/// What a segment holds by the model.
#[derive(Debug)]
struct Kept {
    header: SegmentHeader,
    frames: Vec<Frame>,
    slots: usize,
    acked_seq: u64,
    /// Frames up to here are durable.
    promised_seq: u64,
    /// A sync has failed: nothing more is promised.
    void: bool,
    freed: bool,
    /// The freeing is committed.
    gone: bool,
}

/// An owner of a spool, as the outbox is one, with the model beside it.
struct Owner {
    disk: MemoryDisk,
    spool: Spool,
    segments: BTreeMap<SegmentId, Kept>,
    totals: PersistedTotals,
    /// The account of the last commit, and of the one in the midst of which the process ended.
    committed: Vec<PersistedTotals>,
    /// A commit has failed since.
    unsettled: bool,
    /// The frame in the midst of whose append the process ended.
    uncertain: Option<(SegmentId, Frame)>,
    faults: Faults,
    /// Writes have failed and may have left anything after the last frame.
    dirty: bool,
    epoch: u8,
    next_seq: u64,
    ts_ms: i64,
    troubles: u64,
    cut: Option<u64>,
}

impl Owner {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let (spool, recovery) = open(&disk);
        Self {
            disk,
            spool,
            segments: BTreeMap::new(),
            totals: recovery.totals,
            committed: vec![recovery.totals],
            unsettled: false,
            uncertain: None,
            faults: Faults::default(),
            dirty: false,
            epoch: 0,
            next_seq: 1,
            ts_ms: 1_700_000_000_000,
            troubles: 0,
            cut: None,
        }
    }

    fn run(&mut self, op: &Op) {
        match op {
            Op::Append { samples, bytes, later_ms } => self.append(*samples, *bytes, *later_ms),
            Op::Define(count) => self.define(*count),
            Op::NewSegment => drop(self.begin()),
            Op::Close => self.close(),
            Op::Ack { newest, share } => self.ack(*newest, *share),
            Op::FreeOldest => self.free_oldest(),
            Op::Commit => self.commit(),
            Op::Read => self.read(),
            Op::Capacity(capacity_bytes) => {
                self.set_faults(Faults { capacity_bytes: *capacity_bytes, ..self.faults });
            }
            Op::Fail(failing) => self.set_faults(Faults { failing, ..self.faults }),
            Op::Kill => self.restart(None),
            Op::PowerCut(seed) => self.restart(Some(*seed)),
            Op::Crash { calls, cut } => {
                self.cut = *cut;
                self.set_faults(Faults { calls_left: Some(*calls), ..self.faults });
            }
        }
        self.note_troubles();
        if self.disk.is_dead() {
            self.restart(self.cut);
        }
    }

    fn live(&mut self) {
        for op in life() {
            self.run(&op);
        }
    }

    fn set_faults(&mut self, faults: Faults) {
        self.faults = Faults { calls_left: None, ..faults };
        self.dirty |= faults.failing.contains(&Operation::Write);
        self.disk.set_faults(faults);
    }

    /// After a sync that failed or was left out nothing is promised of what was not durable before.
    fn note_troubles(&mut self) {
        let health = self.spool.health();
        let troubles = health.sync_failures + health.syncs_skipped;
        if troubles != self.troubles {
            self.troubles = troubles;
            self.segments.values_mut().for_each(|kept| kept.void = true);
        }
    }

    fn open_id(&self) -> Option<SegmentId> {
        self.spool.open_segment()
    }

    fn begin(&mut self) -> Result<SegmentId, SpoolError> {
        self.close();
        let header = SegmentHeader {
            epoch: [self.epoch; 16],
            interval_ms: INTERVAL_MS,
            dictionary_version: 3,
            first_seq: self.next_seq,
            produced_before: self.totals.produced,
        };
        let id = self.spool.begin(&header, &[series(0), series(1)])?;
        let kept = Kept {
            header,
            frames: Vec::new(),
            slots: 2,
            acked_seq: 0,
            promised_seq: 0,
            void: false,
            freed: false,
            gone: false,
        };
        assert!(self.segments.insert(id, kept).is_none_or(|old| old.gone), "an id comes once");
        Ok(id)
    }

    fn close(&mut self) {
        let open = self.open_id();
        self.spool.close();
        self.note_troubles();
        if let Some(kept) = open.and_then(|id| self.segments.get_mut(&id)) {
            kept.freed |= kept.frames.is_empty();
            if !kept.void && !self.disk.is_dead() {
                kept.promised_seq = kept.frames.last().map_or(0, |frame| frame.seq);
            }
        }
    }

    fn define(&mut self, count: usize) {
        if let Some(kept) = self.spool.open_segment().and_then(|id| self.segments.get_mut(&id)) {
            let new: Vec<_> = (kept.slots..kept.slots + count).map(|s| series(s as u32)).collect();
            self.spool.define(&new);
            kept.slots += count;
        }
    }

    fn append(&mut self, samples: u32, bytes: usize, later_ms: i64) {
        self.ts_ms += later_ms;
        if self.spool.is_segment_full() && self.begin().is_err() && !self.disk.is_dead() {
            self.free_oldest();
            self.commit();
            drop(self.begin());
        }
        let (seq, ts_ms) = (self.next_seq, self.ts_ms);
        let payload: Vec<u8> = (0..bytes).map(|i| (i as u64 * 31 + seq) as u8).collect();
        let frame = Frame { seq, ts_ms, samples, payload, slots: 0 };
        self.next_seq += 1;
        let kept = match self.try_append(&frame) {
            Err(SpoolError::Full(_)) if !self.disk.is_dead() => {
                self.free_oldest();
                self.commit();
                self.try_append(&frame)
            }
            tried => tried,
        };
        if self.disk.is_dead() {
            return;
        }
        self.totals.produced += u64::from(samples);
        self.totals.highest_ts_ms = self.totals.highest_ts_ms.max(ts_ms);
        if kept.is_err() {
            self.totals.shed[FULL] += u64::from(samples);
            self.close();
            self.commit();
        }
    }

    fn try_append(&mut self, frame: &Frame) -> Result<(), SpoolError> {
        let id = self.open_id().ok_or(SpoolError::NoSegment { seq: frame.seq })?;
        let kept = self.segments.get_mut(&id).unwrap();
        let frame = Frame { slots: kept.slots, ..frame.clone() };
        let new = NewFrame {
            seq: frame.seq,
            ts_ms: frame.ts_ms,
            samples: frame.samples,
            keyframe: kept.frames.is_empty(),
            payload: &frame.payload,
        };
        let appended = self.spool.append(&new);
        if self.disk.is_dead() {
            // In the midst of the write, or of the sync after it.
            self.uncertain = Some((id, frame));
            return appended;
        }
        appended?;
        kept.frames.push(frame);
        self.note_troubles();
        let kept = self.segments.get_mut(&id).unwrap();
        if !kept.void {
            let due_ms = self.ts_ms + i64::from(INTERVAL_MS) - SETTINGS.fsync.as_millis() as i64;
            let due = kept.frames.iter().rev().find(|frame| frame.ts_ms <= due_ms);
            kept.promised_seq = kept.promised_seq.max(due.map_or(0, |frame| frame.seq));
        }
        Ok(())
    }

    fn ack(&mut self, newest: bool, share: u8) {
        let mut ids = self.segments.iter().filter(|(_, kept)| !kept.freed);
        let Some((id, _)) = (if newest { ids.next_back() } else { ids.next() }) else { return };
        let id = *id;
        let kept = self.segments.get_mut(&id).unwrap();
        let Some(last) = kept.frames.len().checked_sub(1) else { return };
        let up_to_seq = kept.frames[last * usize::from(share) / 255].seq;
        let frames = kept.frames.iter();
        let news = frames.filter(|f| f.seq > kept.acked_seq && f.seq <= up_to_seq);
        let samples = news.map(|f| u64::from(f.samples)).sum();
        kept.acked_seq = kept.acked_seq.max(up_to_seq);
        self.totals.stored += samples;
        self.spool.acked(id, up_to_seq, samples);
        if kept.acked_seq == kept.frames[last].seq && self.spool.open_segment() != Some(id) {
            kept.freed = true;
            self.spool.free(id);
        }
    }

    fn free_oldest(&mut self) {
        let Some((id, kept)) = self.segments.iter_mut().find(|(_, kept)| !kept.freed) else {
            return;
        };
        self.totals.shed[FULL] += self.spool.segment(*id).map_or(0, SegmentMeta::in_flight);
        kept.freed = true;
        self.spool.free(*id);
    }

    fn commit(&mut self) {
        let committed = self.spool.commit(&self.totals).is_ok();
        if self.disk.is_dead() {
            self.committed.push(self.totals);
            return;
        }
        self.unsettled = !committed;
        if committed {
            self.committed = vec![self.totals];
            self.segments.values_mut().for_each(|kept| kept.gone |= kept.freed);
        }
    }

    fn read(&mut self) {
        for (id, kept) in self.segments.iter().filter(|(_, kept)| !kept.freed) {
            match self.spool.read(*id) {
                Ok(contents) => {
                    assert_eq!(contents.lost_samples, 0);
                    assert_eq!(contents.frames.len(), kept.frames.len());
                    kept.check(&contents, None);
                }
                Err(_) => assert!(self.disk.is_dead() || !self.faults.failing.is_empty()),
            }
        }
    }

    /// The process ends, or the power fails; then another process opens the spool.
    fn restart(&mut self, cut: Option<u64>) {
        match cut {
            None => self.disk.kill(),
            Some(seed) => self.disk.power_cut(seed),
        }
        let (mut spool, recovery) = open(&self.disk);
        let found = recovery.segments.iter().map(|m| (m.id, spool.read(m.id).unwrap())).collect();
        self.check(&found, &recovery, cut.is_some());
        let mut totals = recovery.totals;
        totals.lost += found.values().map(|contents| contents.lost_samples).sum::<u64>();
        let mut segments = BTreeMap::new();
        for (id, contents) in &found {
            let mut kept = self.segments.remove(id).unwrap();
            if contents.meta.frames_in_flight() == 0 {
                spool.free(*id);
                continue;
            }
            if let Some((_, frame)) = self.uncertain.take_if(|(uncertain, _)| uncertain == id) {
                kept.frames.push(frame);
            }
            kept.frames.truncate(contents.frames.len());
            (kept.acked_seq, kept.freed, kept.gone) = (contents.meta.acked_seq, false, false);
            // What a failed sync has left in memory alone no later sync brings to the medium.
            kept.void &= cut.is_none();
            if !kept.void {
                kept.promised_seq = contents.frames.last().map_or(0, |frame| frame.seq);
            }
            segments.insert(*id, kept);
        }
        assert_eq!(totals.outstanding(), spool.segments().map(SegmentMeta::in_flight).sum::<u64>());
        (self.spool, self.segments, self.totals) = (spool, segments, totals);
        (self.committed, self.uncertain, self.unsettled) = (vec![recovery.totals], None, false);
        (self.faults, self.dirty, self.troubles) = (Faults::default(), false, 0);
        self.commit();
        self.epoch += 1;
        self.next_seq = 1;
    }

    fn check(
        &self,
        found: &BTreeMap<SegmentId, SegmentContents>,
        recovery: &Recovery,
        power_cut: bool,
    ) {
        let in_flight: u64 = recovery.segments.iter().map(SegmentMeta::in_flight).sum();
        assert_eq!(recovery.totals.outstanding(), in_flight);
        for (id, contents) in found {
            let uncertain = self.uncertain.as_ref().filter(|(uncertain, _)| uncertain == id);
            self.segments[id].check(contents, uncertain.map(|(_, frame)| frame));
        }
        for (id, kept) in self.segments.iter().filter(|(_, kept)| !kept.freed) {
            let last_seq = kept.frames.last().map_or(0, |frame| frame.seq);
            let needed_seq = if power_cut { kept.promised_seq } else { last_seq };
            let there_seq = found.get(id).and_then(|c| c.frames.last()).map_or(0, |f| f.seq);
            assert!(
                needed_seq <= there_seq.max(kept.acked_seq),
                "{id:?}: {needed_seq}, {there_seq}"
            );
        }
        if power_cut {
            return;
        }
        assert!(self.segments.iter().all(|(id, kept)| !kept.gone || !found.contains_key(id)));
        assert!(found.values().all(|contents| contents.lost_samples == 0));
        assert!(self.dirty || recovery.corrupt == Damage::default());
        if !self.unsettled {
            assert_eq!((recovery.lost_samples, recovery.returned_samples), (0, 0));
            let settled = |t: &PersistedTotals| (t.stored, t.shed, t.lost);
            assert!(self.committed.iter().any(|t| settled(t) == settled(&recovery.totals)));
        }
    }
}

impl Kept {
    /// What was read is what was appended, from the beginning on.
    fn check(&self, contents: &SegmentContents, uncertain: Option<&Frame>) {
        let mut slots = 0;
        for define in &contents.definitions {
            assert_eq!(define.dictionary_version, self.header.dictionary_version);
            for definition in &define.series {
                assert_eq!(definition, &series(slots));
                slots += 1;
            }
        }
        assert!(contents.frames.len() <= self.frames.len() + 1);
        for (read, appended) in contents.frames.iter().zip(self.frames.iter().chain(uncertain)) {
            let frame = Frame {
                seq: read.seq,
                ts_ms: read.ts_ms,
                samples: read.samples,
                payload: read.payload.to_vec(),
                slots: appended.slots,
            };
            assert_eq!(&frame, appended);
            assert!(frame.slots <= slots as usize);
        }
        let known = self.frames.len() + usize::from(uncertain.is_some());
        assert!(contents.frames.len() <= known, "a frame that nobody appended");
        assert_eq!(contents.meta.epoch, self.header.epoch);
        assert_eq!(contents.meta.first_seq, self.header.first_seq);
    }
}

fn open(disk: &MemoryDisk) -> (Spool, Recovery) {
    Spool::open_on(Arc::new(disk.clone()), &SETTINGS, Syncing::Inline).unwrap()
}

fn ops() -> impl Strategy<Value = Op> {
    let failing = prop::sample::select(vec![
        &[][..],
        &[Operation::Write],
        &[Operation::Sync],
        &[Operation::Remove],
        &[Operation::Read],
        &[Operation::Write, Operation::Sync, Operation::Remove],
    ]);
    let cut = prop::option::of(any::<u64>());
    prop_oneof![
        40 => (0..500_u32, 0..900_usize, 0..3000_i64)
            .prop_map(|(samples, bytes, later_ms)| Op::Append { samples, bytes, later_ms }),
        2 => (1..40_usize).prop_map(Op::Define),
        2 => Just(Op::NewSegment),
        1 => Just(Op::Close),
        8 => (any::<bool>(), any::<u8>()).prop_map(|(newest, share)| Op::Ack { newest, share }),
        2 => Just(Op::FreeOldest),
        8 => Just(Op::Commit),
        2 => Just(Op::Read),
        1 => prop::option::of(30_000..60_000_u64).prop_map(Op::Capacity),
        2 => failing.prop_map(Op::Fail),
        1 => Just(Op::Kill),
        1 => any::<u64>().prop_map(Op::PowerCut),
        3 => (0..30_u64, cut).prop_map(|(calls, cut)| Op::Crash { calls, cut }),
    ]
}

proptest! {
    #[test]
    fn nothing_is_lost_doubled_or_made_up(ops in prop::collection::vec(ops(), 1..200)) {
        let mut owner = Owner::new();
        for op in &ops {
            owner.run(op);
        }
        owner.restart(None);
        owner.restart(Some(7));
    }
}

/// A life with everything in it that writes.
fn life() -> Vec<Op> {
    let append = Op::Append { samples: 10, bytes: 700, later_ms: 1000 };
    let mut ops = Vec::new();
    for round in 0..4 {
        ops.push(Op::NewSegment);
        ops.extend(std::iter::repeat_n(append.clone(), 7));
        ops.extend([Op::Define(3), append.clone(), Op::Ack { newest: round % 2 == 0, share: 100 }]);
        ops.extend([Op::Commit, append.clone(), Op::Ack { newest: false, share: 255 }, Op::Commit]);
        if round == 2 {
            ops.extend([Op::FreeOldest, Op::Commit]);
        }
    }
    ops
}

#[test]
fn an_end_in_the_midst_of_any_call_loses_nothing() {
    let calls = {
        let mut owner = Owner::new();
        owner.live();
        owner.disk.calls()
    };
    assert!(calls > 60, "{calls}");
    for calls in 0..calls {
        for cut in [None, Some(calls), Some(calls + 1000), Some(calls + 2000)] {
            let mut owner = Owner::new();
            owner.run(&Op::Crash { calls, cut });
            owner.live();
            owner.restart(None);
            owner.restart(cut);
        }
    }
}
