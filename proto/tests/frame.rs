//! The frame codec from outside: what goes in comes out, whatever is done to the dictionary between.

use flyball_proto::frame::{DecodeError, Decoder, Encoder, Limits, Remedy, Slot, peek};
use flyball_proto::series::{Kind, Scale, Series};

fn series(name: &str, scale: Scale) -> Series {
    Series {
        metric: name.into(),
        unit: "1".into(),
        kind: Kind::Gauge,
        scale,
        attributes: vec![("k".into(), "v".into())],
    }
}

fn pair() -> (Encoder, Decoder) {
    (Encoder::new(Limits::default()), Decoder::new(Limits::default()))
}

fn sync(encoder: &mut Encoder, decoder: &mut Decoder) {
    while let Some(define) = encoder.pending_define() {
        decoder.define(define).expect("the encoder defines what is valid");
    }
}

fn frame(encoder: &mut Encoder, ts_ms: i64) -> Vec<u8> {
    let mut payload = Vec::new();
    encoder.encode(ts_ms, &mut payload);
    payload
}

#[test]
fn unset_is_absent_and_unchanged_is_present() {
    let (mut encoder, mut decoder) = pair();
    let slots: Vec<_> =
        (0..100).map(|i| encoder.define(series(&format!("m{i}"), Scale::UNIT)).unwrap()).collect();
    sync(&mut encoder, &mut decoder);
    for tick in 0..130_i64 {
        let mut expected = Vec::new();
        for (i, slot) in slots.iter().enumerate() {
            if i % 10 != 3 || tick % 5 == 0 {
                let raw = if i % 3 == 0 { tick * i as i64 } else { -7 };
                encoder.set(*slot, raw);
                expected.push((*slot, raw));
            }
        }
        let payload = frame(&mut encoder, 1_000_000 + tick * 1000);
        let decoded = decoder.decode(&payload).unwrap();
        assert_eq!(decoded.ts_ms, 1_000_000 + tick * 1000);
        assert_eq!(decoded.seq, tick as u64 + 1);
        assert_eq!(decoded.keyframe, tick % 60 == 0);
        let got: Vec<_> = decoded.samples.iter().map(|s| (s.slot, s.raw)).collect();
        assert_eq!(got, expected);
    }
}

#[test]
fn a_new_dictionary_keeps_what_is_set_and_drops_what_is_retired() {
    let (mut encoder, mut decoder) = pair();
    for i in 0..200 {
        encoder.define(series(&format!("m{i}"), Scale::UNIT)).unwrap();
    }
    sync(&mut encoder, &mut decoder);
    decoder.decode(&frame(&mut encoder, 0)).unwrap();
    (0..100).for_each(|i| encoder.retire(Slot(i * 2)));
    assert!(encoder.needs_new_dictionary());
    encoder.set(Slot(7), 7);
    encoder.set_after_reset(Slot(199), 99);
    let slots = encoder.restart_dictionary();
    assert_eq!((slots.get(Slot(6)), slots.get(Slot(7))), (None, Some(Slot(3))));
    assert!(!encoder.needs_new_dictionary());
    let payload = frame(&mut encoder, 1000);
    let old = decoder.decode(&payload).unwrap_err();
    assert_eq!(old, DecodeError::Dictionary { have: 1, got: 2 });
    let define = encoder.pending_define().unwrap();
    assert!(decoder.define(define).unwrap().restarted);
    let decoded = decoder.decode(&payload).unwrap();
    assert!(decoded.keyframe);
    let got: Vec<_> = decoded.samples.iter().map(|s| (s.slot.0, s.raw, s.reset)).collect();
    assert_eq!(got, [(3, 7, false), (99, 99, true)]);
    assert_eq!(decoded.series(Slot(99)).unwrap().metric, "m199");
}

#[test]
fn a_lost_frame_asks_for_a_keyframe_and_a_keyframe_goes_on() {
    let (mut encoder, mut decoder) = pair();
    let slot = encoder.define(series("m", Scale::FLOAT)).unwrap();
    sync(&mut encoder, &mut decoder);
    let mut payloads = Vec::new();
    for tick in 0..5 {
        encoder.set(slot, f64::from(tick).to_bits() as i64);
        if tick == 4 {
            encoder.request_keyframe();
        }
        payloads.push(frame(&mut encoder, i64::from(tick)));
    }
    let late = decoder.decode(&payloads[1]).unwrap_err();
    assert_eq!(late, DecodeError::NoKeyframe { seq: 2 });
    decoder.decode(&payloads[0]).unwrap();
    let gap = decoder.decode(&payloads[2]).unwrap_err();
    assert_eq!((gap, gap.remedy()), (DecodeError::Gap { seq: 3, expected: 2 }, Remedy::Resync));
    decoder.decode(&payloads[1]).unwrap();
    let repeat = decoder.decode(&payloads[1]).unwrap_err();
    assert_eq!((repeat, repeat.remedy()), (DecodeError::Repeat { seq: 2, last: 2 }, Remedy::Skip));
    let peeked = peek(&payloads[4]).unwrap();
    assert_eq!((peeked.seq, peeked.keyframe, peeked.dictionary_version), (5, true, 1));
    assert_eq!(decoder.decode(&payloads[4]).unwrap().skipped, 2);
}
