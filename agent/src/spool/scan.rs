//! Reads segments: all of one, or only what its last record says of it.

use std::io;

use flyball_proto::v1;
use tonic::codegen::Bytes;

use super::disk::DiskFile;
use super::record::{
    END_RECORD_BYTES, FrameRecord, MAGIC, NoRecord, PREAMBLE_BYTES, Place, Record, Summary,
    VERSION, put_end, take,
};
use super::{SegmentHeader, SegmentId};

/// Longest file that can be a segment: frames, the definitions of a full dictionary, and some.
pub(super) const MAX_SEGMENT_BYTES: u64 = 32 * 1024 * 1024;
/// Most bytes that are checksummed in search of frames behind damage: some 10 ms.
const SEARCH_BYTES: usize = 64 * 1024 * 1024;
/// Bytes that hold preamble and header record.
const FRONT_BYTES: usize = PREAMBLE_BYTES + 64;

/// What is left of a segment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scan {
    pub(super) header: SegmentHeader,
    pub(super) thinned: bool,
    pub(super) summary: Summary,
    pub(super) definitions: Vec<v1::Define>,
    pub(super) frames: Vec<FrameRecord>,
    pub(super) ending: Ending,
    /// Bytes up to the end of the last record that could be read.
    pub(super) good_bytes: u64,
    /// Samples of frames behind damage: nothing can decode them, but they were produced.
    pub(super) samples_behind: u64,
}

/// What the ends of a segment say of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Glance {
    pub(super) header: SegmentHeader,
    pub(super) thinned: bool,
    pub(super) summary: Summary,
    /// Samples of frames that cannot be decoded any more.
    pub(super) samples_behind: u64,
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// With its end record: all of it is there.
    Whole,
    /// At the end of a record, without the end record: the agent was killed.
    Open,
    /// In the middle of a record: a write that did not come to its end.
    Torn,
    /// Records cannot be read.
    Corrupt,
}

/// Why a file is no segment of ours at all.
#[derive(Debug)]
pub(super) enum Unusable {
    /// Written by another version of the agent.
    Version,
    /// It ends before its header does: the agent was killed when it began the segment, before any frame.
    Torn,
    /// Not even the header can be read.
    Corrupt,
    /// The system cannot read it.
    Io(io::Error),
}

impl From<io::Error> for Unusable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Header and summary of a segment that was ended in order; `None` when it was not.
pub(super) fn glance(
    file: &dyn DiskFile,
    id: SegmentId,
    bytes: u64,
) -> Result<Option<Glance>, Unusable> {
    let front = read(file, 0, FRONT_BYTES.min(bytes as usize))?;
    let (header, thinned, _) = header(&front, id)?;
    let Some(at) =
        bytes.checked_sub(END_RECORD_BYTES as u64).filter(|_| bytes <= MAX_SEGMENT_BYTES)
    else {
        return Ok(None);
    };
    let end = read(file, at, END_RECORD_BYTES)?;
    Ok(match take(&end, Place { segment: id, offset: at }) {
        Ok((Record::End(summary), _)) => {
            Some(Glance { header, thinned, summary, samples_behind: 0 })
        }
        _ => None,
    })
}

/// All records of a segment up to the first that cannot be read.
pub(super) fn scan(file: &dyn DiskFile, id: SegmentId, bytes: u64) -> Result<Scan, Unusable> {
    if bytes > MAX_SEGMENT_BYTES {
        return Err(Unusable::Corrupt);
    }
    let bytes = read(file, 0, bytes as usize)?;
    let (header, thinned, mut offset) = header(&bytes, id)?;
    let mut scan = Scan {
        header,
        thinned,
        summary: Summary::default(),
        definitions: Vec::new(),
        frames: Vec::new(),
        ending: Ending::Open,
        good_bytes: offset,
        samples_behind: 0,
    };
    while (offset as usize) < bytes.len() {
        let read = take(&bytes.slice(offset as usize..), Place { segment: id, offset });
        let failure = match read {
            Ok((record, length)) => {
                if scan.accept(record) {
                    offset += length as u64;
                    continue;
                }
                Ending::Corrupt
            }
            Err(NoRecord::Corrupt) => Ending::Corrupt,
            Err(NoRecord::Torn) => Ending::Torn,
        };
        scan.ending = failure;
        scan.samples_behind = samples_behind(&bytes, id, offset);
        break;
    }
    scan.good_bytes = offset;
    Ok(scan)
}

/// Samples of the frames behind `from` that are as they were written. A record is checksummed for its place, so one is found wherever it begins.
fn samples_behind(bytes: &Bytes, id: SegmentId, from: u64) -> u64 {
    let (mut offset, mut samples, mut searched) = (from as usize, 0_u64, 0);
    while offset < bytes.len() && searched < SEARCH_BYTES {
        let place = Place { segment: id, offset: offset as u64 };
        offset += match take(&bytes.slice(offset..), place) {
            Ok((record, length)) => {
                if let Record::Frame(frame) = record {
                    samples += u64::from(frame.samples);
                }
                length
            }
            Err(failure) => {
                // What looks like a whole record was checksummed in vain.
                searched +=
                    if failure == NoRecord::Corrupt { claimed_bytes(bytes, offset) } else { 1 };
                1
            }
        };
    }
    samples
}

/// Length of the record that seems to begin at `offset`.
fn claimed_bytes(bytes: &Bytes, offset: usize) -> usize {
    let claim = bytes[offset..].first_chunk::<4>();
    claim.map_or(1, |claim| u32::from_le_bytes(*claim) as usize + 1)
}

impl Scan {
    /// Cuts off what cannot be read and puts the last record, so that nothing is taken for more than it is again. Returns the bytes of the file then.
    ///
    /// # Errors
    /// What the system says; nothing depends on it.
    pub(super) fn seal(&self, file: &dyn DiskFile, id: SegmentId) -> io::Result<u64> {
        if self.ending == Ending::Whole || self.frames.is_empty() {
            return Ok(self.good_bytes);
        }
        let mut end = Vec::new();
        put_end(&mut end, Place { segment: id, offset: self.good_bytes }, &self.summary);
        file.set_len(self.good_bytes)?;
        file.write_at(self.good_bytes, &end)?;
        Ok(self.good_bytes + end.len() as u64)
    }

    /// Takes a record over, if it can follow the ones before it.
    fn accept(&mut self, record: Record) -> bool {
        if self.ending == Ending::Whole {
            return false;
        }
        match record {
            Record::Header(..) => return false,
            Record::Define(define) => self.definitions.push(define),
            Record::Frame(frame) => {
                let expected = self.header.first_seq.wrapping_add(self.frames.len() as u64);
                if frame.seq != expected || (self.frames.is_empty() && !frame.keyframe) {
                    return false;
                }
                self.summary.add(frame.seq, frame.ts_ms, frame.samples);
                self.frames.push(frame);
            }
            Record::End(summary) => {
                if summary != self.summary {
                    return false;
                }
                self.ending = Ending::Whole;
            }
        }
        true
    }
}

/// Checks magic and version and reads the header record. Returns it with the offset after it.
fn header(bytes: &Bytes, id: SegmentId) -> Result<(SegmentHeader, bool, u64), Unusable> {
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or(Unusable::Torn)?;
    let (version, _) = rest.split_first_chunk::<4>().ok_or(Unusable::Torn)?;
    if *magic != MAGIC {
        return Err(Unusable::Corrupt);
    }
    let place = Place { segment: id, offset: PREAMBLE_BYTES as u64 };
    match take(&bytes.slice(PREAMBLE_BYTES.min(bytes.len())..), place) {
        Ok((Record::Header(header, thinned), length))
            if u32::from_le_bytes(*version) == VERSION =>
        {
            Ok((header, thinned, place.offset + length as u64))
        }
        Err(_) if u32::from_le_bytes(*version) != VERSION => Err(Unusable::Version),
        Err(NoRecord::Torn) => Err(Unusable::Torn),
        // A header whose checksum fits this version is one with a flipped bit in the version.
        Ok(_) | Err(NoRecord::Corrupt) => Err(Unusable::Corrupt),
    }
}

fn read(file: &dyn DiskFile, offset: u64, bytes: usize) -> io::Result<Bytes> {
    let mut buffer = vec![0; bytes];
    let count = file.read_at(offset, &mut buffer)?;
    buffer.truncate(count);
    Ok(buffer.into())
}
