//! Finds what is in the directory when the spool is opened.
//!
//! A segment that was ended in order is believed by its last record, without reading its frames; the others are read. What cannot be read is left out and
//! counted, never an error: a spool that does not open would lose more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::disk::Disk;
use super::durable::Names;
use super::ledger::{self, FREED, Ledger, Note, REPLACED, State};
use super::scan::{Ending, Glance, Scan, Unusable, glance, scan};
use super::syncer::{Syncer, Syncing};
use super::thin::thin_name;
use super::{
    Health, PersistedTotals, SegmentId, SegmentMeta, Spool, SpoolError, SpoolSettings, file_name,
};

/// Prefix of the names of segments.
const PREFIX: &str = "segment-";
/// Suffix of the names of thinned ones on their way.
const THIN: &str = ".thin";
/// Segments that were ended in order and may not have been synced by then: those that wait for a sync.
const MAX_UNSYNCED: usize = super::syncer::QUEUE + 1;

/// Segments that something is wrong with, and bytes of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// How many.
    pub segments: u64,
    /// Bytes that were left out.
    pub bytes: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that hold frames which are not acknowledged, oldest first.
    pub segments: Vec<SegmentMeta>,
    /// The account, in which the segments are what is in flight.
    pub totals: PersistedTotals,
    /// Samples that were in flight by the account and are in no segment. They are in `totals.lost` already.
    pub lost_samples: u64,
    /// Samples that were settled by the account and are in a segment again, because a power cut undid its removal. They are no longer settled in
    /// `totals`.
    pub returned_samples: u64,
    /// Segments whose last record was not written to its end.
    pub torn: Damage,
    /// Segments with records that do not fit their checksums.
    pub corrupt: Damage,
    /// Segments that the system could not read. They stay where they are.
    pub unreadable: Damage,
    /// Segments of another version of the agent. They stay where they are.
    pub other_version: Damage,
    /// Files that are no segments. They stay where they are.
    pub foreign_files: u64,
    /// There are segments, but no account that can be read: samples that are in none of them count as stored.
    pub account_lost: bool,
}

/// Opens a spool.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    settings: &SpoolSettings,
    syncing: Syncing,
) -> Result<(Spool, Recovery), SpoolError> {
    let files = disk.list().map_err(|e| SpoolError::new("list", e))?;
    let exists = files.iter().any(|(name, _)| name == ledger::NAME);
    let (ledger, state) =
        Ledger::open(&*disk, exists).map_err(|e| SpoolError::new("open the ledger of", e))?;
    let mut finder = Finder::new(&*disk, state);
    let mut ids = finder.sort(files);
    ids.sort_unstable();
    let next_id = ids.last().map_or(1, |(id, _)| id.0 + 1);
    for (id, bytes) in ids {
        finder.find(id, bytes);
    }
    let syncer =
        Syncer::start(Arc::clone(&disk), syncing).map_err(|e| SpoolError::new("start", e))?;
    let next_id = next_id.max(finder.state.next_id);
    let others = std::mem::take(&mut finder.others);
    let found = finder.unsynced();
    let recovery = finder.balance();
    let mut spool = Spool {
        settings: *settings,
        ledger,
        syncer,
        segments: recovery.segments.iter().copied().collect(),
        open: None,
        next_id,
        freed: Vec::new(),
        others,
        bytes: recovery.segments.iter().map(SegmentMeta::room).sum(),
        names: Names::Changed,
        health: Health { corrupt_segments: recovery.corrupt.segments, ..Health::default() },
        buffer: Vec::new(),
        disk,
    };
    spool.commit(&recovery.totals)?;
    spool.submit_found(found);
    Ok((spool, recovery))
}

/// Looks through the files.
struct Finder<'a> {
    disk: &'a dyn Disk,
    state: State,
    notes: HashMap<SegmentId, Note>,
    recovery: Recovery,
    /// Segments of other versions, oldest first, with their bytes.
    others: VecDeque<(SegmentId, u64)>,
    /// Segments that were not ended in order, and the newest of those that were.
    unsealed: Vec<SegmentId>,
    sealed: VecDeque<SegmentId>,
    /// Samples produced up to the end of the last segment.
    produced: u64,
}

impl<'a> Finder<'a> {
    fn new(disk: &'a dyn Disk, state: Option<State>) -> Self {
        let account_lost = state.is_none();
        let state = state.unwrap_or_default();
        let notes = state.notes.iter().map(|note| (note.id, *note)).collect();
        let recovery = Recovery { account_lost, totals: state.totals, ..Recovery::default() };
        Self {
            disk,
            state,
            notes,
            recovery,
            others: VecDeque::new(),
            unsealed: Vec::new(),
            sealed: VecDeque::new(),
            produced: 0,
        }
    }

    /// Picks the segments among the files.
    fn sort(&mut self, files: Vec<(String, u64)>) -> Vec<(SegmentId, u64)> {
        let (mut ids, mut thinned) = (Vec::new(), Vec::new());
        for (name, bytes) in files {
            match segment_id(&name) {
                Some(id) => ids.push((id, bytes)),
                None if name == ledger::NAME => {}
                None if let Some(id) = name.strip_suffix(THIN).and_then(segment_id) => {
                    thinned.push((id, bytes));
                }
                None => self.recovery.foreign_files += 1,
            }
        }
        for (id, bytes) in thinned {
            if self.replace(id, bytes) {
                ids.retain(|(replaced, _)| *replaced != id);
                ids.push((id, bytes));
            }
        }
        ids
    }

    /// Brings a thinned segment to its place, if the account says that it has one and all of it is there; else removes it.
    fn replace(&self, id: SegmentId, bytes: u64) -> bool {
        let noted = self.notes.get(&id).is_some_and(|note| note.acked_seq == REPLACED);
        let name = thin_name(id);
        let is_whole = || {
            let file = self.disk.open(&name).ok()?;
            scan(&*file, id, bytes).ok().filter(|scan| scan.ending == Ending::Whole && scan.thinned)
        };
        if noted && is_whole().is_some() && self.disk.rename(&name, &file_name(id)).is_ok() {
            return true;
        }
        if let Err(error) = self.disk.remove(&name) {
            tracing::warn!(segment = id.0, %error, "cannot remove a thinned segment of the spool");
        }
        false
    }

    fn find(&mut self, id: SegmentId, bytes: u64) {
        let note = self.notes.get(&id).copied().filter(|note| note.acked_seq != REPLACED);
        if note.is_some_and(|note| note.acked_seq == FREED) {
            self.remove(id);
            return;
        }
        let (damage, bytes) = match self.look(id, bytes) {
            Ok((found, bytes)) => {
                self.take(id, &found, bytes, note);
                return;
            }
            Err(Unusable::Torn) => {
                self.remove(id);
                (&mut self.recovery.torn, bytes)
            }
            Err(Unusable::Corrupt) => {
                self.remove(id);
                (&mut self.recovery.corrupt, bytes)
            }
            Err(Unusable::Version) => {
                self.others.push_back((id, bytes));
                (&mut self.recovery.other_version, bytes)
            }
            Err(Unusable::Io(error)) => {
                tracing::warn!(segment = id.0, %error, "cannot read a segment of the spool");
                (&mut self.recovery.unreadable, bytes)
            }
        };
        damage.add(bytes);
    }

    /// What can be read of a segment, and up to where.
    fn look(&mut self, id: SegmentId, bytes: u64) -> Result<(Glance, u64), Unusable> {
        let file = self.disk.open(&file_name(id))?;
        if let Some(found) = glance(&*file, id, bytes)? {
            self.sealed.push_back(id);
            if self.sealed.len() > MAX_UNSYNCED {
                self.sealed.pop_front();
            }
            return Ok((found, bytes));
        }
        let scan = scan(&*file, id, bytes)?;
        match scan.ending {
            Ending::Torn => self.recovery.torn.add(bytes - scan.good_bytes),
            Ending::Corrupt => self.recovery.corrupt.add(bytes - scan.good_bytes),
            Ending::Open | Ending::Whole => {}
        }
        self.unsealed.push(id);
        let bytes = scan.seal(&*file, id).unwrap_or(scan.good_bytes);
        let Scan { header, thinned, summary, samples_behind, .. } = scan;
        Ok((Glance { header, thinned, summary, samples_behind }, bytes))
    }

    /// Segments that may not be on the medium as far as the system has them.
    fn unsynced(&mut self) -> Vec<SegmentId> {
        self.unsealed.extend(&self.sealed);
        let kept = |id: &SegmentId| self.recovery.segments.iter().any(|meta| meta.id == *id);
        self.unsealed.retain(kept);
        std::mem::take(&mut self.unsealed)
    }

    /// Puts a segment into the index, unless nothing in it is of use any more.
    fn take(&mut self, id: SegmentId, found: &Glance, bytes: u64, note: Option<Note>) {
        let Glance { header, thinned, summary, samples_behind } = found;
        let produced = header.produced_before.saturating_add(summary.samples + samples_behind);
        self.produced = self.produced.max(produced);
        let highest = &mut self.recovery.totals.highest_ts_ms;
        let mut meta = SegmentMeta::new(id, header, bytes);
        meta.thinned = *thinned;
        if summary.last_seq != 0 {
            *highest = (*highest).max(summary.highest_ts_ms);
            meta.take(summary, bytes);
        }
        if let Some(note) = note {
            meta.acked_seq = note.acked_seq;
            meta.acked_samples = note.acked_samples.min(meta.samples);
        }
        if meta.frames_in_flight() == 0 {
            self.remove(id);
        } else {
            self.recovery.segments.push(meta);
        }
    }

    /// Makes the account true: what it has in flight and what the segments hold must be the same.
    fn balance(mut self) -> Recovery {
        let in_flight: u64 = self.recovery.segments.iter().map(SegmentMeta::in_flight).sum();
        let totals = &mut self.recovery.totals;
        totals.produced = totals.produced.max(self.produced);
        if self.recovery.account_lost {
            totals.stored = totals.produced.saturating_sub(in_flight);
            self.recovery.account_lost = self.produced > 0;
        }
        let outstanding = totals.outstanding();
        if outstanding > in_flight {
            self.recovery.lost_samples = outstanding - in_flight;
            totals.lost += self.recovery.lost_samples;
        } else {
            self.recovery.returned_samples = in_flight - outstanding;
            let mut returned = self.recovery.returned_samples;
            let settled = [&mut totals.lost, &mut totals.stored].into_iter();
            for samples in settled.chain(totals.shed.iter_mut()) {
                let taken = returned.min(*samples);
                *samples -= taken;
                returned -= taken;
            }
        }
        self.recovery
    }

    /// Removes a file; one that cannot be removed is met again at the next start.
    fn remove(&self, id: SegmentId) {
        if let Err(error) = self.disk.remove(&file_name(id)) {
            tracing::warn!(segment = id.0, %error, "cannot remove a segment of the spool");
        }
    }
}

impl Damage {
    fn add(&mut self, bytes: u64) {
        self.segments += 1;
        self.bytes += bytes;
    }
}

/// The id in a segment's name.
fn segment_id(name: &str) -> Option<SegmentId> {
    let digits = name.strip_prefix(PREFIX)?;
    let id = SegmentId(u64::from_str_radix(digits, 16).ok()?);
    (file_name(id) == name && id.0 < u64::MAX).then_some(id)
}
