//! What must survive beside the segments: the account of all samples, how far segments are acknowledged, the next segment's id, the highest timestamp.
//!
//! One small file of four slots. Each commit writes the whole state with a number one higher into a slot that holds neither the latest state nor the one
//! known or about to be on the medium, so that no torn write can leave nothing; the highest number whose checksum fits counts. A commit is one write
//! of some 200 bytes, needs no room on a full disk once the file exists, and survives kill -9 at once. Not a log, which must be compacted and needs room; not a
//! file replaced by rename, which costs a file's creation for each acknowledgement.

use std::io;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::record::{Fields, NoRecord};
use super::{PersistedTotals, REASONS, SegmentId};
use crate::stamps::{OFFSETS, Stamps};

/// Name of the file.
pub(super) const NAME: &str = "ledger";
/// Bytes of the file.
pub(super) const BYTES: u64 = SLOT_BYTES as u64 * SLOTS as u64;
const MAGIC: [u8; 8] = *b"FLYLEDGR";
const VERSION: u32 = 1;
const SLOTS: usize = 4;
const SLOT_BYTES: usize = 8192;
/// Magic, version, length, checksum.
const HEAD_BYTES: usize = 20;
/// Most notes of a state. More would need as many segments that are acknowledged in part; the oldest notes are left out then, and their frames are sent again.
const MAX_NOTES: usize = (SLOT_BYTES - 512 - 8 * OFFSETS) / NOTE_BYTES;
const NOTE_BYTES: usize = 24;

/// In the place of a frame's number: the segment is given up.
pub(super) const FREED: u64 = u64::MAX;
/// In the place of a frame's number: the segment's thinned file takes its place.
pub(super) const REPLACED: u64 = u64::MAX - 1;

/// How far a segment is dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) id: SegmentId,
    /// Frames up to this number are acknowledged; or [`FREED`] or [`REPLACED`].
    pub(super) acked_seq: u64,
    /// Samples of those frames.
    pub(super) acked_samples: u64,
}

/// All that a commit writes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) next_id: u64,
    pub(super) totals: PersistedTotals,
    pub(super) notes: Vec<Note>,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Ledger {
    file: Arc<dyn DiskFile>,
    /// Number of the state in each slot, 0 for none.
    slots: [u64; SLOTS],
    latest: usize,
    syncing: Option<(usize, u64)>,
    synced: Option<usize>,
    buffer: Vec<u8>,
}

impl Ledger {
    /// Opens or makes the file. Returns the latest state in it; `None` when there is none that can be read.
    pub(super) fn open(disk: &dyn Disk, exists: bool) -> io::Result<(Self, Option<State>)> {
        let file = if exists { disk.open(NAME)? } else { disk.create(NAME)? };
        let mut ledger = Self {
            file,
            slots: [0; SLOTS],
            latest: 0,
            syncing: None,
            synced: None,
            buffer: Vec::new(),
        };
        if ledger.file.read_at(BYTES - 1, &mut [0])? == 0 {
            // Takes the room once, so that no later commit can fail for want of it.
            ledger.claim()?;
        }
        let mut latest = None;
        let mut bytes = vec![0; SLOT_BYTES];
        for slot in 0..SLOTS {
            let count = ledger.file.read_at((slot * SLOT_BYTES) as u64, &mut bytes)?;
            if let Ok((number, state)) = parse(&bytes[..count]) {
                ledger.slots[slot] = number;
                if number > ledger.slots[ledger.latest] || latest.is_none() {
                    (ledger.latest, latest) = (slot, Some(state));
                }
            }
        }
        // It has survived until now; nothing says that the others would.
        ledger.synced = latest.is_some().then_some(ledger.latest);
        Ok((ledger, latest))
    }

    /// Fills the end of a file that is too short, where no state can be.
    fn claim(&self) -> io::Result<()> {
        let mut from = 0;
        while self.file.read_at(from, &mut [0])? == 1 {
            from += 512;
        }
        self.file.write_at(from, &vec![0; BYTES.saturating_sub(from) as usize])
    }

    /// Writes a state. After an error the one before is still the latest.
    pub(super) fn commit(&mut self, state: &State) -> io::Result<()> {
        let number = self.slots[self.latest] + 1;
        let kept = [Some(self.latest), self.synced, self.syncing.map(|(slot, _)| slot)];
        let slot = (0..SLOTS).find(|slot| !kept.contains(&Some(*slot)));
        let slot = slot.expect("four slots, of which three are kept");
        put(&mut self.buffer, number, state);
        // Whatever comes of the write, the slot's former state is gone.
        self.slots[slot] = 0;
        self.file.write_at((slot * SLOT_BYTES) as u64, &self.buffer)?;
        self.slots[slot] = number;
        self.latest = slot;
        Ok(())
    }

    /// The file, to be synced; tell [`Self::synced`] what came of it. `None` when there is nothing new or a sync is under way.
    pub(super) fn start_sync(&mut self) -> Option<Arc<dyn DiskFile>> {
        if self.syncing.is_some()
            || self.synced == Some(self.latest)
            || self.slots[self.latest] == 0
        {
            return None;
        }
        self.syncing = Some((self.latest, self.slots[self.latest]));
        Some(Arc::clone(&self.file))
    }

    /// True when the latest state is not known to be on the medium.
    pub(super) fn is_exposed(&self) -> bool {
        self.synced != Some(self.latest)
    }

    /// The end of a sync.
    pub(super) fn synced(&mut self, ok: bool) {
        if let Some((slot, number)) = self.syncing.take()
            && ok
            && self.slots[slot] == number
        {
            self.synced = Some(slot);
        }
    }
}

fn put(out: &mut Vec<u8>, number: u64, state: &State) {
    let totals = &state.totals;
    out.clear();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[0; 8]);
    for value in [number, state.next_id, totals.produced, totals.stored, totals.lost] {
        out.extend_from_slice(&value.to_le_bytes());
    }
    totals.shed.iter().for_each(|shed| out.extend_from_slice(&shed.to_le_bytes()));
    out.extend_from_slice(&totals.highest_ts_ms.to_le_bytes());
    out.extend_from_slice(&totals.clock_steps_forward.to_le_bytes());
    out.extend_from_slice(&totals.clock_steps_backward.to_le_bytes());
    let (track, stamps) = totals.stamps.kept();
    out.extend_from_slice(&track.to_le_bytes());
    out.extend_from_slice(&(stamps.len() as u64).to_le_bytes());
    for last_ms in stamps {
        out.extend_from_slice(&last_ms.to_le_bytes());
    }
    for note in state.notes.iter().rev().take(MAX_NOTES) {
        out.extend_from_slice(&note.id.0.to_le_bytes());
        out.extend_from_slice(&note.acked_seq.to_le_bytes());
        out.extend_from_slice(&note.acked_samples.to_le_bytes());
    }
    let length = (out.len() - HEAD_BYTES) as u32;
    out[12..16].copy_from_slice(&length.to_le_bytes());
    let sum = crc32c::crc32c(&out[HEAD_BYTES..]);
    out[16..20].copy_from_slice(&sum.to_le_bytes());
}

fn parse_stamps(fields: &mut Fields<'_>) -> Result<Stamps, NoRecord> {
    let (track, count) = (fields.u64()?, fields.u64()?);
    if count > OFFSETS as u64 {
        return Err(NoRecord::Corrupt);
    }
    let last_ms: Vec<_> =
        (0..count).map(|_| fields.u64().map(|ms| ms as i64)).collect::<Result<_, _>>()?;
    Ok(Stamps::from_kept(track, last_ms))
}

fn parse(bytes: &[u8]) -> Result<(u64, State), NoRecord> {
    let mut fields = Fields(bytes);
    if fields.array()? != MAGIC || fields.u32()? != VERSION {
        return Err(NoRecord::Corrupt);
    }
    let (length, sum) = (fields.u32()? as usize, fields.u32()?);
    let body = fields.0.get(..length).ok_or(NoRecord::Torn)?;
    if crc32c::crc32c(body) != sum {
        return Err(NoRecord::Corrupt);
    }
    let mut fields = Fields(body);
    let (number, next_id) = (fields.u64()?, fields.u64()?);
    let (produced, stored, lost) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let mut shed = [0; REASONS];
    for reason in &mut shed {
        *reason = fields.u64()?;
    }
    let totals = PersistedTotals {
        produced,
        stored,
        lost,
        shed,
        highest_ts_ms: fields.u64()? as i64,
        clock_steps_forward: fields.u64()?,
        clock_steps_backward: fields.u64()?,
        stamps: parse_stamps(&mut fields)?,
    };
    let mut notes = Vec::new();
    while !fields.0.is_empty() {
        notes.push(Note {
            id: SegmentId(fields.u64()?),
            acked_seq: fields.u64()?,
            acked_samples: fields.u64()?,
        });
    }
    notes.reverse();
    Ok((number, State { next_id, totals, notes }))
}
