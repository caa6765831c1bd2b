//! Single rules of the outbox, each by an example.

use super::*;

/// Frames of ten samples; those named begin a segment.
fn filled(frames: u64, begins: &[u64]) -> Model {
    let mut model = Model::new();
    model.act(&Action::Define);
    for seq in 1..=frames {
        if begins.contains(&seq) {
            model.outbox.want_keyframe();
        }
        model.append(10, 10, false);
    }
    model
}

fn read(model: &mut Model, credits: u32) -> Vec<u64> {
    let messages = std::iter::from_fn(|| model.outbox.next(credits));
    let messages: Vec<_> = messages.collect();
    messages.iter().filter_map(|message| model.receiver.take(message)).collect()
}

#[test]
fn a_new_stream_goes_on_from_the_keyframe_before_the_first_frame_that_is_not_stored() {
    let mut model = filled(5, &[1, 3]);
    model.connect();
    assert_eq!(read(&mut model, u32::MAX), [1, 2, 3, 4, 5]);
    assert!(model.outbox.ack(4, 0));
    model.connect();
    assert_eq!(model.hello_seq, 4);
    assert_eq!(read(&mut model, u32::MAX), [3, 4, 5]);
    assert_eq!(model.outbox.totals().in_flight, 10);
    assert!(model.outbox.backlog().is_none(), "all is the live lane's");
}

#[test]
fn frames_that_only_carry_state_take_no_credit() {
    let mut model = filled(5, &[1, 3]);
    model.connect();
    read(&mut model, u32::MAX);
    model.outbox.ack(4, 0);
    model.connect();
    assert_eq!(read(&mut model, 0), [3, 4]);
    assert_eq!(read(&mut model, 1), [5]);
}

#[test]
fn more_than_a_short_break_is_backlog_and_the_live_lane_goes_on_with_the_present() {
    let many = live::MAX_UNACKED as u64 + 1;
    let mut model = Model::new();
    for _ in 0..many {
        model.append(1, 0, false);
    }
    let totals = model.outbox.totals();
    assert_eq!((totals.bytes, totals.in_flight), (0, many), "nothing of it is in memory");
    model.connect();
    assert_eq!(model.hello_seq, many);
    assert!(model.outbox.keyframe_wanted());
    model.append(1, 0, false);
    assert_eq!(read(&mut model, u32::MAX), [many + 1]);
    let backlog = model.outbox.backlog().unwrap();
    assert_eq!((backlog.frames.len() as u64, backlog.acked_seq), (many, 0));
    assert!(model.outbox.ack_backlog(&backlog, many, 0));
    assert_eq!(model.outbox.totals().in_flight, 1);
}

#[test]
fn rejected_samples_are_not_counted_as_stored() {
    let mut model = filled(5, &[1, 3]);
    model.connect();
    read(&mut model, u32::MAX);
    model.outbox.ack(2, 7);
    model.outbox.ack(2, 7);
    let totals = model.outbox.totals();
    assert_eq!((totals.acked, totals.shed[Shed::Rejected as usize], totals.in_flight), (13, 7, 30));
}

#[test]
fn an_acknowledgement_of_what_was_never_sent_is_not_believed() {
    let mut model = filled(5, &[1, 3]);
    model.connect();
    assert_eq!(read(&mut model, 2), [1, 2]);
    assert!(model.outbox.ack(u64::MAX, 0));
    assert_eq!((model.outbox.acked_seq(), model.outbox.totals().in_flight), (2, 30));
    assert!(!model.outbox.ack(5, 0));
}

#[test]
fn what_is_under_way_when_the_lane_is_given_up_may_still_be_acknowledged() {
    let mut model = filled(2, &[1]);
    model.connect();
    read(&mut model, u32::MAX);
    for _ in 0..live::MAX_UNACKED {
        model.append(1, 0, false);
    }
    model.outbox.want_keyframe();
    model.append(1, 0, true);
    assert!(model.outbox.backlog().is_none(), "its first frames are under way");
    assert!(model.outbox.ack(2, 0));
    assert_eq!(model.outbox.totals().acked, 20);
    let backlog = model.outbox.backlog().unwrap();
    assert_eq!(backlog.acked_seq, 2, "the rest of it is backlog");
}

#[test]
fn memory_is_given_back_without_losing_what_is_on_disk() {
    let mut model = filled(5, &[1, 3]);
    assert_eq!(model.outbox.relieve(), 0);
    assert_eq!(model.outbox.totals().bytes, 0);
    model.drain();
    assert_eq!(model.outbox.totals().acked, 50);
}

#[test]
fn frames_that_the_disk_does_not_take_are_kept_in_memory_and_arrive() {
    let mut model = filled(3, &[1]);
    model.disk.set_faults(Faults { failing: &[Operation::Write], ..Faults::default() });
    for _ in 0..6 {
        model.append(10, 10, false);
    }
    let totals = model.outbox.totals();
    assert_eq!((totals.in_flight, totals.unspooled), (90, 60));
    model.outbox.distrust_live();
    model.drain();
    assert_eq!(model.outbox.totals().acked, 90);
}

#[test]
fn a_disk_that_works_again_is_used_again() {
    let mut model = filled(3, &[1]);
    model.disk.set_faults(Faults { failing: &[Operation::Write], ..Faults::default() });
    model.append(10, 10, false);
    model.disk.set_faults(Faults::default());
    for _ in 0..5 {
        model.append(10, 10, false);
    }
    assert_eq!(model.outbox.disk, Disk::Works);
    let unspooled = model.outbox.totals().unspooled;
    assert!((10..=30).contains(&unspooled), "{unspooled} until it was tried again");
    model.connect();
    read(&mut model, u32::MAX);
    model.outbox.ack(9, 0);
    assert_eq!((model.outbox.totals().acked, model.outbox.totals().unspooled), (90, 0));
}

#[test]
fn on_a_full_disk_the_oldest_segments_make_room() {
    let mut model = Model::new();
    model.disk.set_faults(Faults { capacity_bytes: Some(60_000), ..Faults::default() });
    for seq in 0..100 {
        if seq % 5 == 0 {
            model.outbox.want_keyframe();
        }
        model.append(10, 1_000, false);
    }
    let totals = model.outbox.totals();
    assert!(totals.shed[Shed::Full as usize] > 0, "{totals:?}");
    assert_eq!(totals.unspooled, 0, "{totals:?}");
    let newest = model.outbox.spool.segments().next_back().unwrap();
    assert_eq!(newest.last_seq, 100);
    model.check();
}

#[test]
fn a_stream_cannot_go_back_to_an_older_dictionary() {
    let mut model = filled(5, &[1, 3]);
    model.new_dictionary();
    model.append(1, 10, true);
    model.connect();
    read(&mut model, u32::MAX);
    assert!(!model.outbox.rewind());
    model.outbox.ack(5, 0);
    assert!(model.outbox.rewind());
    assert_eq!(read(&mut model, u32::MAX), [6]);
}

#[test]
fn the_segments_of_an_earlier_process_are_backlog() {
    let mut model = filled(5, &[1, 3]);
    model.kill();
    model.append(10, 10, true);
    assert_eq!(model.outbox.totals().in_flight, 60);
    assert_eq!(read(&mut model, u32::MAX), [1]);
    for expected in [vec![1, 2], vec![3, 4, 5]] {
        let backlog = model.outbox.backlog().unwrap();
        let seqs: Vec<_> = backlog.frames.iter().map(|frame| frame.seq).collect();
        assert_eq!((backlog.epoch, seqs), ([1; 16], expected.clone()));
        model.outbox.ack_backlog(&backlog, *expected.last().unwrap(), 0);
    }
    assert!(model.outbox.backlog().is_none());
}

#[test]
fn a_segment_that_cannot_be_understood_is_counted_and_the_next_one_is_sent() {
    let mut model = filled(5, &[1, 3]);
    model.outbox.distrust_live();
    model.outbox.seal();
    let name = model.disk.names().into_iter().find(|name| name.starts_with("segment")).unwrap();
    let mut bytes = model.disk.content(&name).unwrap();
    bytes[100..].fill(0x55);
    model.disk.put(&name, &bytes);
    let backlog = model.outbox.backlog().unwrap();
    assert_eq!(backlog.frames[0].seq, 3);
    let totals = model.outbox.totals();
    assert_eq!((totals.shed[Shed::Lost as usize], totals.in_flight), (20, 30));
    assert_eq!(model.outbox.report().corrupt_segments, 1);
}

#[test]
fn definitions_are_sent_in_parts_of_bounded_size() {
    let mut model = Model::new();
    let large = |slot| v1::SeriesDefinition { metric: "x".repeat(100_000), ..series(slot) };
    let series = (0..20).map(large).collect();
    model.outbox.define(v1::Define { dictionary_version: 1, series });
    model.slots = 20;
    model.append(1, 10, true);
    model.connect();
    let messages: Vec<_> = std::iter::from_fn(|| model.outbox.next(9)).collect();
    assert_eq!(messages.len(), 21, "20 definitions of 100 kB, each alone, then the frame");
    let seqs: Vec<_> = messages.iter().filter_map(|m| model.receiver.take(m)).collect();
    assert_eq!(seqs, [1]);
}

#[test]
fn frames_in_memory_keep_the_segment_that_they_continue() {
    let mut model = filled(1, &[1]);
    model.connect();
    model.read(1);
    model.ack(1, 0);
    model.disk.set_faults(Faults { failing: &[Operation::Write], ..Faults::default() });
    model.append(10, 10, false);
    model.outbox.distrust_live();
    model.drain();
    assert_eq!(model.outbox.totals().acked, 20);
}

#[test]
fn a_time_that_comes_again_is_told_apart_also_after_a_kill() {
    let start_ms = 1_700_000_000_000;
    let mut model = Model::new();
    let mut given = Vec::new();
    let mut tick = |model: &mut Model, second: i64, step| {
        let stamp_ms = model.outbox.stamp(start_ms + second * 1_000, step).unwrap();
        model.seq += 1;
        let frame = payload(model.seq, model.version, model.slots, model.seq == 1, 10);
        let keyframe = model.seq == 1;
        let seq = model.seq;
        let frame = NewFrame { seq, ts_ms: stamp_ms, samples: 1, keyframe, payload: &frame };
        model.outbox.append(&frame);
        given.push(stamp_ms - start_ms);
    };
    (1..=5).for_each(|second| tick(&mut model, second, None));
    tick(&mut model, 3, Some(Step::Backward));
    tick(&mut model, 4, None);
    model.kill();
    // The clock of the next process is behind as well.
    tick(&mut model, 4, None);
    tick(&mut model, 6, None);
    tick(&mut model, 60, Some(Step::Forward));
    assert_eq!(given, [1_000, 2_000, 3_000, 4_000, 5_000, 3_001, 4_001, 4_002, 6_000, 60_000]);
    let report = model.outbox.report();
    assert_eq!((report.clock_steps_forward, report.clock_steps_backward), (1, 2));
}
