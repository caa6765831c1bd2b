//! Damaged files: whatever was done to them, what is read was written, and what is missing is counted.

use super::*;
use crate::spool::memory_disk::{Faults, MemoryDisk, Operation};

const SAMPLES: u64 = 10;

fn open(disk: &MemoryDisk) -> (Spool, Recovery) {
    Spool::open_on(Arc::new(disk.clone()), &SETTINGS, Syncing::Inline).unwrap()
}

/// A disk with one segment of `frames` frames and some definitions, ended in order or not, and its account. Returns the segment's name.
fn written(frames: u64, ended: bool) -> (MemoryDisk, SegmentId) {
    let disk = MemoryDisk::new();
    let (mut spool, _) = open(&disk);
    let id = spool.begin(&header(1, 0), &[series(0), series(1)]).unwrap();
    for seq in 1..=frames {
        spool.define(&[series(seq as u32 + 1)]);
        spool.append(&frame(seq, &payload(seq))).unwrap();
    }
    if ended {
        spool.close();
    }
    let totals = PersistedTotals { produced: frames * SAMPLES, ..PersistedTotals::default() };
    spool.commit(&totals).unwrap();
    (disk, id)
}

fn payload(seq: u64) -> Vec<u8> {
    (0..20 + seq).map(|i| (i * seq) as u8).collect()
}

/// What an agent finds: frames that can be read, and whether anything was counted as damaged.
struct Found {
    frames: u64,
    slots: usize,
    counted: bool,
}

/// Opens and reads as the outbox would, and checks what holds whatever the damage.
fn find(disk: &MemoryDisk, produced: u64) -> Found {
    let (mut spool, recovery) = open(disk);
    let mut totals = recovery.totals;
    let mut found = Found {
        frames: 0,
        slots: 0,
        counted: recovery.corrupt.segments
            + recovery.torn.segments
            + recovery.other_version.segments
            > 0
            || recovery.account_lost,
    };
    for meta in &recovery.segments {
        let contents = spool.read(meta.id).unwrap();
        totals.lost += contents.lost_samples;
        for (read, seq) in contents.frames.iter().zip(1..) {
            let original = frame(seq, &read.payload);
            assert_eq!(read.payload, payload(seq));
            assert_eq!((read.seq, read.ts_ms), (seq, original.ts_ms));
            assert_eq!((read.samples, read.keyframe), (original.samples, original.keyframe));
        }
        let definitions = contents.definitions.iter().flat_map(|define| &define.series);
        assert!(definitions.clone().zip(0..).all(|(read, slot)| *read == series(slot)));
        found.slots += definitions.count();
        found.frames += contents.frames.len() as u64;
        if contents.meta.frames_in_flight() == 0 {
            spool.free(meta.id);
        }
    }
    found.counted |= spool.health().corrupt_segments > 0;
    let in_flight: u64 = spool.segments().map(SegmentMeta::in_flight).sum();
    assert_eq!(in_flight, found.frames * SAMPLES);
    assert_eq!(totals.outstanding(), in_flight);
    assert!(totals.produced == produced || recovery.account_lost, "{totals:?}");
    // What was counted once is not counted again.
    spool.commit(&totals).unwrap();
    drop(spool);
    let (_, again) = open(disk);
    assert_eq!(
        again.totals,
        PersistedTotals { highest_ts_ms: again.totals.highest_ts_ms, ..totals }
    );
    found
}

/// What is on a disk with one segment.
struct Image {
    name: String,
    segment: Vec<u8>,
    ledger: Vec<u8>,
}

impl Image {
    fn of(frames: u64, ended: bool) -> Self {
        let (disk, id) = written(frames, ended);
        let name = file_name(id);
        let segment = disk.content(&name).unwrap();
        Self { name, segment, ledger: disk.content(ledger::NAME).unwrap() }
    }

    fn disk(&self, segment: &[u8], ledger: &[u8]) -> MemoryDisk {
        let disk = MemoryDisk::new();
        disk.put(&self.name, segment);
        disk.put(ledger::NAME, ledger);
        disk
    }
}

/// Changes a byte in every way but a thorough one, each bit and all of them, and puts it back.
fn damage(bytes: &[u8], at: usize, mut see: impl FnMut(&[u8])) {
    let mut damaged = bytes.to_vec();
    for mask in (0..8).map(|bit| 1 << bit).chain([0xff]) {
        damaged[at] ^= mask;
        see(&damaged);
        damaged[at] ^= mask;
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_skipped_and_counted() {
    const FRAMES: u64 = 6;
    for ended in [true, false] {
        let image = Image::of(FRAMES, ended);
        let whole = find(&image.disk(&image.segment, &image.ledger), FRAMES * SAMPLES);
        assert_eq!((whole.frames, whole.slots, whole.counted), (FRAMES, 8, false));
        let mut fewest = FRAMES;
        for at in 0..image.segment.len() {
            damage(&image.segment, at, |segment| {
                let found = find(&image.disk(segment, &image.ledger), FRAMES * SAMPLES);
                assert!(found.counted, "byte {at}");
                fewest = fewest.min(found.frames);
            });
        }
        assert_eq!(fewest, 0);
    }
}

#[test]
fn frames_behind_damage_are_counted_even_if_the_account_had_not_seen_them() {
    const FRAMES: u64 = 6;
    let image = Image::of(FRAMES, false);
    // The agent was killed before any account of these frames.
    let before = MemoryDisk::new();
    drop(open(&before));
    let ledger = before.content(ledger::NAME).unwrap();
    let whole = image.disk(&image.segment, &ledger);
    assert_eq!(open(&whole).1.totals.produced, FRAMES * SAMPLES);

    let front = record::PREAMBLE_BYTES + 62;
    let mut least = FRAMES;
    for at in front..image.segment.len() {
        damage(&image.segment, at, |segment| {
            let (_, recovery) = open(&image.disk(segment, &ledger));
            let in_flight: u64 = recovery.segments.iter().map(SegmentMeta::in_flight).sum();
            let totals = recovery.totals;
            assert_eq!(
                (totals.outstanding(), totals.lost),
                (in_flight, totals.produced - in_flight)
            );
            // Only the damaged frame's own samples may stay unknown.
            assert!(totals.produced >= (FRAMES - 1) * SAMPLES, "byte {at}: {totals:?}");
            least = least.min(in_flight / SAMPLES);
        });
    }
    assert_eq!(least, 0, "damage among the first definitions leaves no frame");
}

#[test]
fn a_segment_cut_anywhere_gives_the_frames_before_the_cut() {
    const FRAMES: u64 = 6;
    let image = Image::of(FRAMES, true);
    let mut frames = 0;
    for length in 0..image.segment.len() {
        let disk = image.disk(&image.segment[..length], &image.ledger);
        let found = find(&disk, FRAMES * SAMPLES);
        assert!(found.frames >= frames, "{length} bytes");
        frames = found.frames;
    }
    assert_eq!(frames, FRAMES);
}

#[test]
fn every_flipped_bit_of_the_account_leaves_the_one_before_or_none() {
    const FRAMES: u64 = 3;
    let image = Image::of(FRAMES, false);
    let used: Vec<_> = (0..image.ledger.len()).filter(|at| image.ledger[*at] != 0).collect();
    assert!(used.len() > 20, "{}", used.len());
    for at in used {
        damage(&image.ledger, at, |ledger| {
            let disk = image.disk(&image.segment, ledger);
            assert_eq!(find(&disk, FRAMES * SAMPLES).frames, FRAMES);
        });
    }
}

#[test]
fn without_an_account_nothing_in_a_segment_is_lost() {
    let (disk, id) = written(5, true);
    disk.put(ledger::NAME, b"not an account");
    let (spool, recovery) = open(&disk);
    assert!(recovery.account_lost);
    assert_eq!(recovery.segments[0].in_flight(), 50);
    assert_eq!(recovery.totals.outstanding(), 50);
    assert_eq!(spool.segments().next().unwrap().id, id);
}

#[test]
fn a_segment_under_the_name_of_another_is_none() {
    let (disk, id) = written(5, true);
    let bytes = disk.content(&file_name(id)).unwrap();
    disk.put(&file_name(SegmentId(id.0 + 7)), &bytes);
    let (mut spool, recovery) = open(&disk);
    assert_eq!((recovery.segments.len(), recovery.corrupt.segments), (1, 1));
    let next = spool.begin(&header(1, 50), &[]).unwrap();
    assert_eq!(next.0, id.0 + 8, "its number is not used again");
}

#[test]
fn what_is_not_ours_stays_where_it_is() {
    let (disk, id) = written(5, true);
    let mut bytes = disk.content(&file_name(id)).unwrap();
    for name in ["notes.txt", "segment-1", "segment-000000000000000G", "segment-ffffffffffffffff"] {
        disk.put(name, b"hands off");
    }
    // A later version has other checksums as well.
    bytes[8] = 2;
    bytes[16] ^= 1;
    let later = file_name(SegmentId(900));
    disk.put(&later, &bytes);
    let (mut spool, recovery) = open(&disk);
    assert_eq!((recovery.foreign_files, recovery.segments.len()), (4, 1));
    let other = Damage { segments: 1, bytes: bytes.len() as u64 };
    assert_eq!((recovery.other_version, recovery.corrupt.segments), (other, 0));
    assert_eq!(disk.content("notes.txt").unwrap(), b"hands off");
    assert_eq!(spool.begin(&header(1, 50), &[]).unwrap(), SegmentId(901));
    assert_eq!(disk.content(&later).unwrap(), bytes);
}

#[test]
fn segments_of_another_version_give_way_when_room_is_needed() {
    let (disk, id) = written(5, true);
    let mut bytes = disk.content(&file_name(id)).unwrap();
    bytes[8] = 2;
    bytes[16] ^= 1;
    bytes.resize(SETTINGS.limit_bytes as usize / 2, 0);
    let later = [900, 901, 902].map(|id| file_name(SegmentId(id)));
    for name in &later {
        disk.put(name, &bytes);
    }
    let (mut spool, recovery) = open(&disk);
    assert_eq!(recovery.other_version.segments, 3);
    assert!(!spool.is_over_limit(), "they do not count against the frames");
    spool.begin(&header(1, 50), &[]).unwrap();
    let left = later.map(|name| disk.content(&name).is_some());
    assert_eq!(left, [false, false, true], "the oldest go first");
}

#[test]
fn a_disk_that_cannot_be_read_costs_nothing_but_time() {
    let (disk, id) = written(5, true);
    let (mut spool, _) = open(&disk);
    disk.set_faults(Faults { failing: &[Operation::Read], ..Faults::default() });
    assert!(matches!(spool.read(id), Err(SpoolError::Io { .. })));
    assert_eq!(spool.segment(id).unwrap().in_flight(), 50);
    disk.set_faults(Faults::default());
    assert_eq!(spool.read(id).unwrap().frames.len(), 5);
    assert_eq!(spool.health().corrupt_segments, 0);
}

#[test]
fn a_segment_goes_when_the_account_says_so_and_not_before() {
    let (disk, id) = written(5, true);
    let (mut spool, recovery) = open(&disk);
    spool.free(id);
    let totals = PersistedTotals { stored: 50, ..recovery.totals };
    disk.set_faults(Faults { failing: &[Operation::Write], ..Faults::default() });
    assert!(matches!(spool.commit(&totals), Err(SpoolError::Io { .. })));
    assert!(disk.content(&file_name(id)).is_some());
    disk.set_faults(Faults::default());
    spool.commit(&totals).unwrap();
    assert!(disk.content(&file_name(id)).is_none());
    assert_eq!(open(&disk).1.totals.outstanding(), 0);
}
