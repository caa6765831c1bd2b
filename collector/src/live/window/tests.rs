//! Windows against a plain list of what was recorded.

use std::collections::BTreeMap;

use flyball_proto::frame::Slot;
use proptest::prelude::*;

use super::*;

const HOUR: Span = Span::new(3_600_000);

fn samples(values: &[(u32, i64)]) -> Vec<Sample> {
    values.iter().map(|&(slot, raw)| Sample { slot: Slot(slot), raw, reset: false }).collect()
}

fn series(kind: Kind) -> Series {
    Series {
        metric: "m".into(),
        unit: "1".into(),
        kind,
        scale: Scale::UNIT,
        attributes: Vec::new(),
    }
}

fn window(ids: &[u64]) -> NodeWindow {
    let mut window = NodeWindow::new(None);
    for (slot, id) in ids.iter().enumerate() {
        let kind = if slot % 2 == 0 { Kind::Gauge } else { Kind::Counter };
        window.define(slot as u32, Some(SeriesId::from(*id)), &series(kind));
    }
    window
}

fn read(window: &NodeWindow, id: u64, from_ms: i64, to_ms: i64) -> Option<Vec<(i64, f64)>> {
    let snapshot = window.snapshot(&[id], from_ms, to_ms)?;
    let mut all = Vec::new();
    snapshot.samples(id, |ts_ms, value| {
        if (from_ms..to_ms).contains(&ts_ms) {
            all.push((ts_ms, value));
        }
    });
    Some(all)
}

#[test]
fn it_is_complete_from_its_first_frame_and_not_before() {
    let mut window = window(&[10, 20]);
    assert_eq!(read(&window, 10, 0, 100), None);
    window.record(1_000, &samples(&[(0, 1), (1, 2)]), HOUR);
    window.record(2_000, &samples(&[(1, 3)]), HOUR);
    assert_eq!(read(&window, 10, 999, 5_000), None);
    assert_eq!(read(&window, 10, 1_000, 5_000), Some(vec![(1_000, 1.0)]));
    assert_eq!(read(&window, 20, 1_000, 5_000), Some(vec![(1_000, 2.0), (2_000, 3.0)]));
    assert_eq!(read(&window, 99, 1_000, 5_000), Some(vec![]), "no such series, no samples");
}

#[test]
fn the_frames_of_one_tick_are_one() {
    let mut window = window(&[10, 20]);
    window.record(1_000, &samples(&[(0, 1)]), HOUR);
    window.record(1_000, &samples(&[(1, 2)]), HOUR);
    assert_eq!(read(&window, 20, 1_000, 2_000), Some(vec![(1_000, 2.0)]));
    window.record(1_000, &samples(&[(1, 5)]), HOUR);
    assert_eq!(read(&window, 20, 1_000, 2_000), None, "which one counts is the store's affair");
    assert_eq!(read(&window, 20, 1_001, 2_000), Some(vec![]));
}

#[test]
fn what_came_another_way_or_out_of_order_is_not_claimed() {
    let mut window = window(&[10]);
    for ts_ms in [1_000, 2_000, 3_000] {
        window.record(ts_ms, &samples(&[(0, ts_ms)]), HOUR);
    }
    window.missed(1_500);
    assert_eq!(read(&window, 10, 1_500, 9_000), None);
    assert_eq!(read(&window, 10, 1_501, 9_000).unwrap().len(), 2);
    window.record(2_500, &samples(&[(0, 7)]), HOUR);
    assert_eq!(read(&window, 10, 2_500, 9_000), None);
    assert_eq!(read(&window, 10, 2_501, 9_000), Some(vec![(3_000, 3_000.0)]));
}

#[test]
fn a_slot_that_becomes_another_series_keeps_both_apart() {
    let mut window = window(&[10]);
    window.record(1_000, &samples(&[(0, 1)]), HOUR);
    window.define(0, Some(SeriesId::from(30)), &series(Kind::Gauge));
    window.define(1, Some(SeriesId::from(10)), &series(Kind::Gauge));
    window.record(2_000, &samples(&[(0, 2), (1, 3)]), HOUR);
    window.clear();
    window.define(0, Some(SeriesId::from(10)), &series(Kind::Gauge));
    window.record(3_000, &samples(&[(0, 4)]), HOUR);
    let ten = vec![(1_000, 1.0), (2_000, 3.0), (3_000, 4.0)];
    assert_eq!(read(&window, 10, 1_000, 9_000), Some(ten));
    assert_eq!(read(&window, 30, 1_000, 9_000), Some(vec![(2_000, 2.0)]));
}

#[test]
fn samples_that_are_stored_in_sums_are_not_here() {
    let mut window = window(&[10]);
    window.define(1, None, &series(Kind::Gauge));
    window.record(1_000, &samples(&[(0, 1), (1, 2)]), HOUR);
    assert_eq!(read(&window, 10, 1_000, 9_000), Some(vec![(1_000, 1.0)]));
}

#[test]
fn off_forgets_everything() {
    let mut window = window(&[10]);
    window.record(1_000, &samples(&[(0, 1)]), HOUR);
    window.record(2_000, &samples(&[(0, 1)]), Span::OFF);
    assert_eq!((window.bytes(), read(&window, 10, 3_000, 9_000)), (0, None));
}

proptest! {
    #[test]
    fn it_gives_what_was_recorded_and_keeps_to_its_span(
        frames in prop::collection::vec(
            (1..40_000_i64, prop::collection::vec((0..4_u32, -50..50_i64), 0..4)), 1..300),
        begin in 0..2_000_000_i64,
    ) {
        let ids = [10, 20, 30, 40];
        let (mut window, mut ts_ms) = (window(&ids), 1_000);
        let span = Span::new(600_000);
        let mut all: BTreeMap<(u64, i64), f64> = BTreeMap::new();
        let first_ms = ts_ms;
        for (step, values) in frames {
            let once: BTreeMap<_, _> = values.into_iter().collect();
            let values: Vec<_> = once.into_iter().collect();
            window.record(ts_ms, &samples(&values), span);
            for (slot, raw) in values {
                all.insert((ids[slot as usize], ts_ms), raw as f64);
            }
            ts_ms += step;
        }
        let held: usize = window.sealed.iter().map(|b| b.bytes()).sum();
        let open = window.open.as_ref().map_or(0, Open::bytes);
        prop_assert_eq!(window.bytes(), held + open);
        let complete_ms = window.complete_from_ms.unwrap();
        prop_assert!(complete_ms >= first_ms);
        prop_assert!(window.newest_ms - complete_ms <= span.keep_ms() + BLOCK_MS + 40_000);
        for id in ids {
            let found = read(&window, id, begin, i64::MAX);
            prop_assert_eq!(found.is_some(), begin >= complete_ms);
            if let Some(found) = found {
                let expected: Vec<_> =
                    all.range((id, begin)..=(id, i64::MAX)).map(|((_, t), v)| (*t, *v)).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
