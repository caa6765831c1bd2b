//! The spool on directories of this host, one of them on a disk of 2 MB.

use std::path::PathBuf;
use std::process::Command;

use super::*;
use crate::spool::memory_disk::{Faults, MemoryDisk};

const SMALL_BYTES: u64 = 2 * 1024 * 1024;
const FRAME_SAMPLES: u64 = 10;
/// More than any disk here holds.
const UNLIMITED: SpoolSettings =
    SpoolSettings { limit_bytes: 1_000_000_000, fsync: Duration::from_secs(5) };
const PATIENCE: Duration = Duration::from_secs(30);

/// A file system of its own in memory, gone with the value.
struct Tmpfs(PathBuf);

impl Tmpfs {
    /// `None` where mounting is not allowed.
    fn mount(at: PathBuf) -> Option<Self> {
        std::fs::create_dir(&at).unwrap();
        let size = format!("size={SMALL_BYTES}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&at).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(at))
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Appends as the outbox does, giving up the oldest segments for want of room. Returns the account.
fn fill(spool: &mut Spool, frames: u64) -> PersistedTotals {
    let mut totals = PersistedTotals::default();
    let payload = vec![0xa5; 3000];
    for seq in 1..=frames {
        if spool.is_segment_full() {
            while let Err(error) = spool.begin(&header(seq, totals.produced), &[series(0)]) {
                shed_oldest(spool, &mut totals, &error);
            }
        }
        let first = spool.segments().next_back().is_some_and(|meta| meta.first_seq == seq);
        let new = NewFrame { keyframe: first, ..frame(seq, &payload) };
        while let Err(error) = spool.append(&new) {
            shed_oldest(spool, &mut totals, &error);
        }
        totals.produced += FRAME_SAMPLES;
    }
    spool.commit(&totals).unwrap();
    totals
}

fn shed_oldest(spool: &mut Spool, totals: &mut PersistedTotals, why: &SpoolError) {
    assert!(matches!(why, SpoolError::Full(_)), "{why}");
    let oldest = *spool.segments().next().unwrap();
    assert_ne!(spool.open_segment(), Some(oldest.id), "there is room for one segment at least");
    totals.shed[0] += oldest.in_flight();
    spool.free(oldest.id);
    spool.commit(totals).unwrap();
}

/// More frames than fit: the newest are there, the others are counted, and so it is for the next agent.
fn check_small_disk(open: impl Fn() -> (Spool, Recovery)) {
    const FRAMES: u64 = 3000;
    let (mut spool, _) = open();
    let totals = fill(&mut spool, FRAMES);
    drop(spool);
    let (mut spool, recovery) = open();
    assert_eq!((recovery.lost_samples, recovery.returned_samples), (0, 0));
    assert_eq!(recovery.totals.shed, totals.shed);
    let ids: Vec<_> = spool.segments().map(|meta| meta.id).collect();
    let frames: Vec<_> = ids.iter().flat_map(|id| spool.read(*id).unwrap().frames).collect();
    let first = FRAMES + 1 - frames.len() as u64;
    assert!(frames.iter().map(|frame| frame.seq).eq(first..=FRAMES));
    assert!(frames.len() > 300 && first > 300, "{first}");
    assert_eq!(totals.shed[0], (first - 1) * FRAME_SAMPLES);
}

#[test]
fn a_disk_of_two_megabytes_keeps_the_newest_and_counts_the_others() {
    let dir = tempfile::tempdir().unwrap();
    if let Some(small) = Tmpfs::mount(dir.path().join("small")) {
        check_small_disk(|| Spool::open(&small.0, &UNLIMITED).unwrap());
    } else {
        println!("no file system can be mounted here: the small disk is in memory");
        let disk = MemoryDisk::new();
        check_small_disk(|| {
            let faults = Faults { capacity_bytes: Some(SMALL_BYTES), ..Faults::default() };
            disk.set_faults(faults);
            Spool::open_on(Arc::new(disk.clone()), &UNLIMITED, Syncing::Inline).unwrap()
        });
    }
}

#[test]
fn a_disk_that_others_have_filled_is_an_error_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let Some(small) = Tmpfs::mount(dir.path().join("small")) else {
        println!(
            "no file system can be mounted here: a disk filled by others is tested in memory only"
        );
        return;
    };
    let (mut spool, _) = Spool::open(&small.0, &UNLIMITED).unwrap();
    let hog = small.0.join("hog");
    let filled = std::fs::write(&hog, vec![1; SMALL_BYTES as usize]);
    assert!(filled.is_err(), "all of it is taken");
    assert!(matches!(spool.begin(&header(1, 0), &[series(0)]), Err(SpoolError::Full(_))));
    let totals = PersistedTotals { produced: 5, ..PersistedTotals::default() };
    spool.commit(&totals).expect("the account has its room");
    std::fs::remove_file(hog).unwrap();
    spool.begin(&header(1, 5), &[series(0)]).unwrap();
    spool.append(&frame(1, b"there is room")).unwrap();
}

#[test]
fn a_collector_that_answers_makes_syncs_needless() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, _) = Spool::open(dir.path(), &SETTINGS).unwrap();
    let mut totals = PersistedTotals::default();
    assert!(spool.finish(&totals, PATIENCE));
    let before = spool.health().syncs;
    let id = spool.begin(&header(1, 0), &[series(0)]).unwrap();
    for seq in 1..=500 {
        spool.append(&frame(seq, b"payload")).unwrap();
        totals.produced += FRAME_SAMPLES;
        if seq > 2 {
            spool.acked(id, seq - 2, FRAME_SAMPLES);
            totals.stored += FRAME_SAMPLES;
        }
        spool.commit(&totals).unwrap();
    }
    assert_eq!(spool.health().syncs, before);
    for seq in 501..=520 {
        spool.append(&frame(seq, b"payload")).unwrap();
        totals.produced += FRAME_SAMPLES;
    }
    assert!(spool.finish(&totals, PATIENCE));
    let syncs = spool.health().syncs - before;
    assert!((2..=12).contains(&syncs), "{syncs}: every five frames at most, and at the end");
}

#[test]
fn every_frame_is_synced_when_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let settings = SpoolSettings { fsync: Duration::ZERO, ..SETTINGS };
    let (mut spool, _) = Spool::open(dir.path(), &settings).unwrap();
    spool.begin(&header(1, 0), &[series(0)]).unwrap();
    let before = spool.health().syncs;
    for seq in 1..=7 {
        spool.append(&frame(seq, b"payload")).unwrap();
    }
    // What recovery has started may end in the meantime.
    assert!((7..=8).contains(&(spool.health().syncs - before)));
}

#[test]
fn a_directory_that_cannot_be_made_is_an_error() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Spool::open(&file.path().join("spool"), &SETTINGS).unwrap_err().to_string();
    assert!(error.starts_with("cannot make the spool: "), "{error}");
}

#[test]
fn the_index_of_a_full_spool_is_small() {
    let index_bytes = size_of::<SegmentMeta>() as u64 * (256_000_000 / (256 * 1024));
    assert!(index_bytes < 150_000, "{index_bytes}");
}
