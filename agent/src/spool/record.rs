//! The bytes of a segment: records, one after the other. `docs/spool-format.md` is the format.
//!
//! ```text
//! record   = length checksum kind body
//! length   = bytes of the body, 4 bytes
//! checksum = CRC-32C of version (4), segment id (8), offset of the record (8), length (4), kind (1), body
//! ```
//!
//! All integers are little-endian. The checksum covers where the record belongs, so that a block of another file or another place, which a file system may
//! leave behind after a power cut, is never taken for one. Nothing is believed before its checksum fits, and no length makes a reader allocate.

use flyball_proto::v1;
use prost::Message as _;
use tonic::codegen::Bytes;

use super::{NewFrame, SegmentHeader, SegmentId};

/// What a segment begins with.
pub(super) const MAGIC: [u8; 8] = *b"FLYSPOOL";
/// Version of the format.
pub(super) const VERSION: u32 = 1;
/// Bytes before the first record.
pub(super) const PREAMBLE_BYTES: usize = MAGIC.len() + 4;
/// Bytes of a record before its body.
const HEAD_BYTES: usize = 9;
/// Bytes of a frame record before the payload.
const FRAME_BYTES: usize = 21;
const END_BYTES: usize = 48;
/// Bytes of the whole record that ends a segment.
pub(super) const END_RECORD_BYTES: usize = HEAD_BYTES + END_BYTES;

const HEADER: u8 = 1;
const DEFINE: u8 = 2;
const FRAME: u8 = 3;
const END: u8 = 4;

/// A record that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Record {
    /// Whose frames follow, and whether detail was left out of them.
    Header(SegmentHeader, bool),
    Define(v1::Define),
    Frame(FrameRecord),
    End(Summary),
}

/// One frame of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FrameRecord {
    /// Number of the frame.
    pub seq: u64,
    /// Its time, milliseconds since the Unix epoch.
    pub ts_ms: i64,
    /// Samples in it.
    pub samples: u32,
    /// Decodable without the frames before it.
    pub keyframe: bool,
    /// The encoded frame.
    pub payload: Bytes,
}

/// What the frames of a segment come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
    pub(super) samples: u64,
    pub(super) first_ts_ms: i64,
    pub(super) last_ts_ms: i64,
    pub(super) highest_ts_ms: i64,
}

impl Summary {
    /// Adds a frame.
    pub(super) fn add(&mut self, seq: u64, ts_ms: i64, samples: u32) {
        if self.last_seq == 0 {
            // Frames are numbered from 1 on.
            (self.first_seq, self.first_ts_ms, self.highest_ts_ms) = (seq, ts_ms, ts_ms);
        }
        (self.last_seq, self.last_ts_ms) = (seq, ts_ms);
        self.highest_ts_ms = self.highest_ts_ms.max(ts_ms);
        self.samples += u64::from(samples);
    }
}

/// Puts magic and version.
pub(super) fn put_preamble(out: &mut Vec<u8>) {
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
}

/// Puts the record that tells whose frames follow.
pub(super) fn put_header(out: &mut Vec<u8>, place: Place, header: &SegmentHeader, thinned: bool) {
    put(out, place, HEADER, |body| {
        body.extend_from_slice(&header.epoch);
        body.extend_from_slice(&header.interval_ms.to_le_bytes());
        body.extend_from_slice(&header.dictionary_version.to_le_bytes());
        body.extend_from_slice(&header.first_seq.to_le_bytes());
        body.extend_from_slice(&header.produced_before.to_le_bytes());
        body.push(u8::from(thinned));
    });
}

/// Puts definitions.
pub(super) fn put_define(out: &mut Vec<u8>, place: Place, define: &v1::Define) {
    put(out, place, DEFINE, |body| {
        define.encode(body).expect("a vector grows as far as it must");
    });
}

/// Puts a frame.
pub(super) fn put_frame(out: &mut Vec<u8>, place: Place, frame: &NewFrame<'_>) {
    put(out, place, FRAME, |body| {
        body.extend_from_slice(&frame.seq.to_le_bytes());
        body.extend_from_slice(&frame.ts_ms.to_le_bytes());
        body.extend_from_slice(&frame.samples.to_le_bytes());
        body.push(u8::from(frame.keyframe));
        body.extend_from_slice(frame.payload);
    });
}

/// Puts the record that ends a segment.
pub(super) fn put_end(out: &mut Vec<u8>, place: Place, summary: &Summary) {
    put(out, place, END, |body| {
        body.extend_from_slice(&summary.first_seq.to_le_bytes());
        body.extend_from_slice(&summary.last_seq.to_le_bytes());
        body.extend_from_slice(&summary.samples.to_le_bytes());
        body.extend_from_slice(&summary.first_ts_ms.to_le_bytes());
        body.extend_from_slice(&summary.last_ts_ms.to_le_bytes());
        body.extend_from_slice(&summary.highest_ts_ms.to_le_bytes());
    });
}

/// A place in the files: a byte of a segment. Records that are put are checksummed for where they go when the vector they are put into is written to the place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) segment: SegmentId,
    pub(super) offset: u64,
}

fn put(out: &mut Vec<u8>, place: Place, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    body(out);
    let length = (out.len() - start - HEAD_BYTES) as u32;
    let place = Place { offset: place.offset + start as u64, ..place };
    let sum = checksum(place, length, kind, &out[start + HEAD_BYTES..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
    out[start + 8] = kind;
}

fn checksum(place: Place, length: u32, kind: u8, body: &[u8]) -> u32 {
    let mut head = [0; 25];
    head[..4].copy_from_slice(&VERSION.to_le_bytes());
    head[4..12].copy_from_slice(&place.segment.0.to_le_bytes());
    head[12..20].copy_from_slice(&place.offset.to_le_bytes());
    head[20..24].copy_from_slice(&length.to_le_bytes());
    head[24] = kind;
    crc32c::crc32c_append(crc32c::crc32c(&head), body)
}

/// Why there is no record at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRecord {
    /// Fewer bytes are left than the record has: a write that did not come to its end.
    Torn,
    /// The checksum does not fit, or it fits and the body makes no sense.
    Corrupt,
}

/// Reads the record at the front of `bytes`, which was written to `place`. Returns it with its length.
pub(super) fn take(bytes: &Bytes, place: Place) -> Result<(Record, usize), NoRecord> {
    let mut fields = Fields(bytes);
    let (length, sum) = (fields.u32()?, fields.u32()?);
    let kind = fields.u8()?;
    let body = fields.0.get(..length as usize).ok_or(NoRecord::Torn)?;
    if checksum(place, length, kind, body) != sum {
        return Err(NoRecord::Corrupt);
    }
    let record = parse(kind, body, bytes).map_err(|_| NoRecord::Corrupt)?;
    Ok((record, HEAD_BYTES + body.len()))
}

fn parse(kind: u8, body: &[u8], bytes: &Bytes) -> Result<Record, NoRecord> {
    let mut fields = Fields(body);
    let record = match kind {
        HEADER => {
            let header = SegmentHeader {
                epoch: fields.array()?,
                interval_ms: fields.u32()?,
                dictionary_version: fields.u32()?,
                first_seq: fields.u64()?,
                produced_before: fields.u64()?,
            };
            Record::Header(header, fields.u8()? == 1)
        }
        DEFINE => {
            fields.0 = &[];
            Record::Define(v1::Define::decode(body).map_err(|_| NoRecord::Corrupt)?)
        }
        FRAME => {
            let (seq, ts_ms, samples) = (fields.u64()?, fields.u64()? as i64, fields.u32()?);
            let keyframe = fields.u8()? == 1;
            fields.0 = &[];
            let payload = bytes.slice_ref(&body[FRAME_BYTES..]);
            Record::Frame(FrameRecord { seq, ts_ms, samples, keyframe, payload })
        }
        END => Record::End(Summary {
            first_seq: fields.u64()?,
            last_seq: fields.u64()?,
            samples: fields.u64()?,
            first_ts_ms: fields.u64()? as i64,
            last_ts_ms: fields.u64()? as i64,
            highest_ts_ms: fields.u64()? as i64,
        }),
        _ => return Err(NoRecord::Corrupt),
    };
    if matches!(&record, Record::Header(header, _) if header.first_seq == 0) {
        return Err(NoRecord::Corrupt);
    }
    if fields.0.is_empty() { Ok(record) } else { Err(NoRecord::Corrupt) }
}

/// Reads integers from the front of a slice.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], NoRecord> {
        let (array, rest) = self.0.split_first_chunk().ok_or(NoRecord::Torn)?;
        self.0 = rest;
        Ok(*array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, NoRecord> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Result<u32, NoRecord> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Result<u64, NoRecord> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}
