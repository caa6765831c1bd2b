//! The spool on a real directory.

mod damage;
mod host;
mod model;
mod thinning;

use std::time::Duration;

use super::*;

const SETTINGS: SpoolSettings =
    SpoolSettings { limit_bytes: 10_000_000, fsync: Duration::from_secs(5) };

fn header(first_seq: u64, produced_before: u64) -> SegmentHeader {
    SegmentHeader {
        epoch: [7; 16],
        interval_ms: 1000,
        dictionary_version: 1,
        first_seq,
        produced_before,
    }
}

fn series(slot: u32) -> v1::SeriesDefinition {
    v1::SeriesDefinition { slot, metric: format!("m{slot}"), ..v1::SeriesDefinition::default() }
}

fn frame(seq: u64, payload: &[u8]) -> NewFrame<'_> {
    NewFrame {
        seq,
        ts_ms: 1_000_000 + 1000 * seq as i64,
        samples: 10,
        keyframe: seq % 60 == 1,
        payload,
    }
}

#[test]
fn what_was_appended_is_there_after_the_process_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (mut spool, recovery) = Spool::open(dir.path(), &SETTINGS).unwrap();
    assert_eq!(recovery, Recovery { totals: PersistedTotals::default(), ..Recovery::default() });
    let id = spool.begin(&header(1, 0), &[series(0), series(1)]).unwrap();
    for seq in 1..=30 {
        if seq == 10 {
            spool.define(&[series(2)]);
        }
        spool.append(&frame(seq, &[seq as u8; 20])).unwrap();
    }
    spool.acked(id, 5, 50);
    spool
        .commit(&PersistedTotals { produced: 300, stored: 50, ..PersistedTotals::default() })
        .unwrap();
    drop(spool);

    let (mut spool, recovery) = Spool::open(dir.path(), &SETTINGS).unwrap();
    assert_eq!(recovery.segments.len(), 1);
    let meta = recovery.segments[0];
    assert_eq!((meta.id, meta.first_seq, meta.last_seq, meta.acked_seq), (id, 1, 30, 5));
    assert_eq!((meta.samples, meta.in_flight(), meta.frames_in_flight()), (300, 250, 25));
    assert_eq!((recovery.totals.produced, recovery.totals.stored), (300, 50));
    assert_eq!((recovery.lost_samples, recovery.returned_samples), (0, 0));
    assert_eq!(recovery.totals.highest_ts_ms, 1_030_000);
    let contents = spool.read(id).unwrap();
    let slots: usize = contents.definitions.iter().map(|d| d.series.len()).sum();
    assert_eq!((slots, contents.frames.len(), contents.lost_samples), (3, 30, 0));
    assert!(contents.frames.iter().all(|f| f.payload[..] == [f.seq as u8; 20]));
    spool.free(id);
    spool.commit(&PersistedTotals { stored: 300, ..recovery.totals }).unwrap();
    drop(spool);

    let (spool, recovery) = Spool::open(dir.path(), &SETTINGS).unwrap();
    assert_eq!((spool.segments().len(), recovery.totals.stored), (0, 300));
    assert_eq!(recovery.totals.outstanding(), 0);
}
