//! Thinning: the series of the host are what they were, detail is gone, the account says so, whenever the agent ends.

use std::collections::BTreeMap;

use flyball_proto::frame::{Decoder, Encoder, Limits, Slot};
use flyball_proto::series::{Kind, Scale, Series};

use super::*;
use crate::spool::memory_disk::{Faults, MemoryDisk, Operation};

const THINNED: usize = 4;
const FRAMES: u64 = 130;
const HOST: u32 = 7;
const DETAIL: u32 = 9;

/// Values by metric, of each frame.
type Values = Vec<(i64, BTreeMap<String, (i64, bool)>)>;

fn open(disk: &MemoryDisk) -> (Spool, Recovery) {
    Spool::open_on(Arc::new(disk.clone()), &SETTINGS, Syncing::Inline).unwrap()
}

fn named(metric: String) -> Series {
    Series {
        metric,
        unit: "1".into(),
        kind: Kind::Counter,
        scale: Scale::UNIT,
        attributes: Vec::new(),
    }
}

/// A disk with a closed segment of real frames, the series of the host and detail in turns, detail defined in the midst of it as processes come.
fn written(limits: Limits) -> (MemoryDisk, SegmentId, PersistedTotals) {
    let disk = MemoryDisk::new();
    let (mut spool, _) = open(&disk);
    let mut encoder = Encoder::starting_at(limits, 4, 1000);
    let (mut slots, mut totals) = (Vec::new(), PersistedTotals::default());
    let head =
        SegmentHeader { dictionary_version: 4, first_seq: 1000, ..header(1000, totals.produced) };
    let define = |encoder: &mut Encoder, slots: &mut Vec<Slot>| {
        let number = slots.len() as u32;
        let detail = number % 2 == 1 && number / 2 < DETAIL;
        let metric = if detail { format!("process.{number}") } else { format!("system.{number}") };
        slots.push(encoder.define(named(metric)).unwrap());
    };
    (0..HOST + 4).for_each(|_| define(&mut encoder, &mut slots));
    let first = encoder.pending_define().unwrap();
    let id = spool.begin(&head, &first.series).unwrap();
    let mut payload = Vec::new();
    for tick in 0..FRAMES as i64 {
        if tick % 20 == 19 && slots.len() < (HOST + DETAIL) as usize {
            define(&mut encoder, &mut slots);
            spool.define(&encoder.pending_define().unwrap().series);
        }
        for (i, slot) in slots.iter().enumerate().filter(|(i, _)| tick % (*i as i64 % 5 + 1) == 0) {
            let raw = tick * 17 + i as i64 * 1000;
            if tick % 31 == 30 {
                encoder.set_after_reset(*slot, raw - 9999);
            } else {
                encoder.set(*slot, raw);
            }
        }
        loop {
            payload.clear();
            let ts_ms = 1_000_000 + 1000 * tick;
            let info = encoder.encode(ts_ms, &mut payload);
            let (seq, samples, keyframe) = (info.seq, info.samples as u32, info.keyframe);
            spool.append(&NewFrame { seq, ts_ms, samples, keyframe, payload: &payload }).unwrap();
            totals.produced += u64::from(samples);
            if info.remaining == 0 {
                break;
            }
        }
    }
    spool.close();
    spool.commit(&totals).unwrap();
    (disk, id, totals)
}

/// Decodes a segment as a collector does.
fn decoded(contents: &SegmentContents) -> Values {
    let mut decoder = Decoder::new(Limits::default());
    for define in &contents.definitions {
        assert_eq!(define.dictionary_version, contents.meta.dictionary_version);
        decoder.define(define.clone()).unwrap();
    }
    let mut values = Vec::new();
    for frame in &contents.frames {
        let decoded = decoder.decode(&frame.payload).unwrap();
        assert_eq!((decoded.seq, decoded.ts_ms), (frame.seq, frame.ts_ms));
        assert_eq!(decoded.samples.len(), frame.samples as usize);
        assert_eq!(decoded.keyframe, frame.keyframe);
        let of = |s: &flyball_proto::frame::Sample| {
            (decoded.series(s.slot).unwrap().metric.clone(), (s.raw, s.reset))
        };
        values.push((decoded.ts_ms, decoded.samples.iter().map(of).collect()));
    }
    values
}

/// The oldest segment that can be thinned.
fn thinnable(spool: &Spool) -> Option<SegmentId> {
    spool.segments().find(|meta| !meta.thinned && meta.acked_seq == 0).map(|meta| meta.id)
}

fn without_detail(values: &Values) -> Values {
    let host = |of: &BTreeMap<String, (i64, bool)>| {
        of.iter().filter(|(m, _)| m.starts_with("system.")).map(|(m, v)| (m.clone(), *v)).collect()
    };
    values.iter().map(|(ts_ms, of)| (*ts_ms, host(of))).collect()
}

fn samples(values: &Values) -> u64 {
    values.iter().map(|(_, of)| of.len() as u64).sum()
}

#[test]
fn what_stays_is_what_it_was() {
    let small = Limits { frame_bytes: 64 + 40 + 12 * 5, ..Limits::default() };
    for limits in [Limits::default(), small] {
        let (disk, id, mut totals) = written(limits);
        let (mut spool, _) = open(&disk);
        assert_eq!(thinnable(&spool), Some(id));
        let before = spool.read(id).unwrap();
        let (bytes, whole) = (spool.bytes(), decoded(&before));
        let shed = spool.thin(id, &mut totals, THINNED).unwrap();
        let contents = spool.read(id).unwrap();
        let thinned = decoded(&contents);
        assert_eq!(thinned, without_detail(&whole));
        assert!(shed > 100 && shed == samples(&whole) - samples(&thinned));
        assert_eq!((totals.shed[THINNED], totals.outstanding()), (shed, contents.meta.in_flight()));
        assert!(contents.meta.bytes < before.meta.bytes && spool.bytes() <= bytes);
        let series =
            |c: &SegmentContents| c.definitions.iter().map(|d| d.series.len()).sum::<usize>();
        assert!(series(&contents) < series(&before));

        assert_eq!((thinnable(&spool), spool.thin(id, &mut totals, THINNED).unwrap()), (None, 0));
        drop(spool);
        let (spool, recovery) = open(&disk);
        assert_eq!((recovery.totals.shed, recovery.segments[0].thinned), (totals.shed, true));
        assert_eq!((recovery.lost_samples, recovery.returned_samples), (0, 0));
        assert_eq!(thinnable(&spool), None);
        assert_eq!(disk.names().len(), 2);
    }
}

#[test]
fn an_end_in_the_midst_of_it_leaves_the_whole_or_the_thinned_segment_with_its_account() {
    let (mut whole, mut thinned, mut calls) = (0, 0, 0);
    loop {
        let (disk, id, mut totals) = written(Limits::default());
        let (mut spool, _) = open(&disk);
        disk.set_faults(Faults { calls_left: Some(calls), ..Faults::default() });
        let done = spool.thin(id, &mut totals, THINNED).is_ok();
        if done && !disk.is_dead() {
            break;
        }
        calls += 1;
        for cut in [None, Some(calls), Some(calls + 100), Some(calls + 200)] {
            let (disk, id, mut totals) = written(Limits::default());
            let (mut spool, _) = open(&disk);
            let all = decoded(&spool.read(id).unwrap());
            disk.set_faults(Faults { calls_left: Some(calls - 1), ..Faults::default() });
            assert!(spool.thin(id, &mut totals, THINNED).is_err());
            match cut {
                None => disk.kill(),
                Some(seed) => disk.power_cut(seed),
            }
            let (mut spool, recovery) = open(&disk);
            let in_flight = recovery.segments[0].in_flight();
            assert_eq!(recovery.totals.outstanding(), in_flight);
            let found = decoded(&spool.read(id).unwrap());
            if recovery.segments[0].thinned {
                thinned += 1;
                assert_eq!(found, without_detail(&all));
            } else {
                whole += 1;
                assert_eq!(found, all);
            }
            if cut.is_none() {
                assert_eq!((recovery.lost_samples, recovery.returned_samples), (0, 0));
            }
            assert_eq!(disk.names().len(), 2, "{:?}", disk.names());
        }
    }
    assert!(whole > 10 && thinned > 1, "{whole} {thinned}");
}

#[test]
fn where_it_cannot_be_written_everything_is_as_it_was() {
    let (disk, ..) = written(Limits::default());
    let used: usize = disk.names().iter().map(|name| disk.content(name).unwrap().len()).sum();
    let faults = [
        Faults { failing: &[Operation::Write], ..Faults::default() },
        Faults { failing: &[Operation::Sync], ..Faults::default() },
        Faults { failing: &[Operation::Read], ..Faults::default() },
        Faults { capacity_bytes: Some(used as u64 + 100), ..Faults::default() },
    ];
    for faults in faults {
        let (disk, id, mut totals) = written(Limits::default());
        let before = totals;
        let (mut spool, _) = open(&disk);
        let whole = decoded(&spool.read(id).unwrap());
        disk.set_faults(faults);
        let result = spool.thin(id, &mut totals, THINNED);
        disk.set_faults(Faults::default());
        assert_eq!(disk.names().len(), 2, "nothing is left behind");
        assert!(result.is_err(), "{faults:?}");
        assert_eq!(totals, before);
        assert_eq!(decoded(&spool.read(id).unwrap()), whole);
        assert_eq!(spool.segment(id).unwrap().in_flight(), samples(&whole));
    }
}

#[test]
fn what_is_acknowledged_in_part_open_or_without_detail_stays() {
    let (disk, id, mut totals) = written(Limits::default());
    let (mut spool, _) = open(&disk);
    spool.acked(id, 1000, 5);
    assert_eq!((thinnable(&spool), spool.thin(id, &mut totals, THINNED).unwrap()), (None, 0));
    let open_id = spool.begin(&header(1, totals.produced), &[series(0)]).unwrap();
    spool.append(&frame(1, b"not to be decoded")).unwrap();
    assert_eq!(spool.thin(open_id, &mut totals, THINNED).unwrap(), 0);
    spool.close();
    assert_eq!(thinnable(&spool), Some(open_id));
    assert_eq!(spool.thin(open_id, &mut totals, THINNED).unwrap(), 0);
    assert_eq!((thinnable(&spool), totals.shed[THINNED]), (None, 0));
}
