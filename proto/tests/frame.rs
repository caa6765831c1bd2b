//! The frame codec from outside: what goes in comes out, whatever is done to the dictionary between.

use std::sync::Arc;

use flyball_proto::frame::{
    DecodeError, Decoder, DefineError, Encoder, Limits, Remedy, Scratch, SeriesPool, Slot, peek,
};
use flyball_proto::series::{Invalid, Kind, Scale, Series};
use flyball_proto::v1;
use prost::Message as _;

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
    for i in 0..6000 {
        encoder.define(series(&format!("m{i}"), Scale::UNIT)).unwrap();
    }
    sync(&mut encoder, &mut decoder);
    decoder.decode(&frame(&mut encoder, 0)).unwrap();
    (0..1000).for_each(|i| encoder.retire(Slot(i * 2)));
    assert!(!encoder.needs_new_dictionary(), "few retired slots cost less than all definitions");
    (1000..3000).for_each(|i| encoder.retire(Slot(i * 2)));
    assert!(encoder.needs_new_dictionary());
    encoder.set(Slot(7), 7);
    encoder.set_after_reset(Slot(5999), 99);
    let slots = encoder.restart_dictionary();
    assert_eq!((slots.get(Slot(6)), slots.get(Slot(7))), (None, Some(Slot(3))));
    assert!(!encoder.needs_new_dictionary());
    let payload = frame(&mut encoder, 1000);
    let old = decoder.decode(&payload).unwrap_err();
    assert_eq!(old, DecodeError::Dictionary { have: 1, got: 2 });
    let define = encoder.pending_define().unwrap();
    assert!(decoder.define(define).unwrap().restarted);
    sync(&mut encoder, &mut decoder);
    let decoded = decoder.decode(&payload).unwrap();
    assert!(decoded.keyframe);
    let got: Vec<_> = decoded.samples.iter().map(|s| (s.slot.0, s.raw, s.reset)).collect();
    assert_eq!(got, [(3, 7, false), (2999, 99, true)]);
    assert_eq!(decoded.series(Slot(2999)).unwrap().metric, "m5999");
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

#[test]
fn a_restart_of_either_side_begins_with_the_definitions() {
    let (mut encoder, mut decoder) = pair();
    let slot = encoder.define(series("m", Scale::UNIT)).unwrap();
    sync(&mut encoder, &mut decoder);
    for tick in 0..3 {
        encoder.set(slot, tick);
        decoder.decode(&frame(&mut encoder, tick)).unwrap();
    }
    // A new receiver: all definitions again, then a keyframe, whatever its number.
    let mut late = Decoder::new(Limits::default());
    let undefined = late.decode(&frame(&mut encoder, 3)).unwrap_err();
    assert_eq!(undefined, DecodeError::Dictionary { have: 0, got: 1 });
    for define in encoder.definitions() {
        late.define(define).unwrap();
    }
    encoder.request_keyframe();
    encoder.set(slot, 7);
    assert_eq!(late.decode(&frame(&mut encoder, 4)).unwrap().skipped, 0);
    // A new sender counts from 1 again, so what it says to an old receiver is refused and not mistaken.
    let mut restarted = Encoder::new(Limits::default());
    restarted.define(series("other", Scale::UNIT)).unwrap();
    let repeat = decoder.decode(&frame(&mut restarted, 5)).unwrap_err();
    assert_eq!(repeat, DecodeError::Repeat { seq: 1, last: 3 });
    let define = restarted.pending_define().unwrap();
    assert!(matches!(decoder.define(define), Err(DefineError::Slot { expected: 1, got: 0, .. })));
}

/// A payload with a checksum that fits.
fn sealed(body: &[u8]) -> Vec<u8> {
    let mut payload = body.to_vec();
    payload.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    payload
}

#[test]
fn what_a_frame_claims_is_checked_before_it_is_believed() {
    let (mut encoder, mut decoder) = pair();
    encoder.define(series("m", Scale::UNIT)).unwrap();
    sync(&mut encoder, &mut decoder);
    let pattern = DecodeError::Malformed("presence pattern that is not in the table");
    let undefined = DecodeError::UndefinedSlot { defined: 1 };
    let hostile: [(&[u8], DecodeError); 12] = [
        (&[], DecodeError::Truncated),
        (&[0x21, 1, 1, 0, 0, 0x00], DecodeError::Format(0x21)),
        (&[0x15, 1, 1, 0, 0, 0x00], DecodeError::Format(0x15)),
        (&[0x11, 0, 1, 0, 0, 0x00], DecodeError::Malformed("frame number 0")),
        (&[0x11, 1, 2, 0, 0, 0x00], DecodeError::Dictionary { have: 1, got: 2 }),
        (&[0x11, 1, 1, 0, 0, 0x01], pattern),
        // Presence of slot 1, of two slots, of 2^32 slots, of 2^32 slots beyond 2^32 others.
        (&[0x11, 1, 1, 0, 0, 0x10, 1, 0], undefined),
        (&[0x11, 1, 1, 0, 0, 0x10, 0, 1], undefined),
        (&[0x11, 1, 1, 0, 0, 0x10, 0, 0xff, 0xff, 0xff, 0xff, 0x0f], undefined),
        (
            &[0x11, 1, 1, 0, 0, 0xf0, 0xff, 0xff, 0xff, 0xff, 0x0f],
            DecodeError::Malformed("more runs than slots"),
        ),
        // A change of a slot that is not present; changes without end.
        (
            &[0x11, 1, 1, 0, 0, 0x00, 0x63],
            DecodeError::Malformed("change or reset of a slot that is not present"),
        ),
        (&[0x11, 1, 1, 0, 0, 0x10, 0, 0], DecodeError::Truncated),
    ];
    for (body, error) in hostile {
        assert_eq!(decoder.decode(&sealed(body)).unwrap_err(), error, "{body:02x?}");
    }
    let long = vec![0x11; 64 * 1024 + 1];
    let too_large = DecodeError::TooLarge { bytes: 65_537, limit: 65_536 };
    assert_eq!(decoder.decode(&long).unwrap_err(), too_large);
    encoder.set(Slot(0), 1);
    decoder.decode(&frame(&mut encoder, 0)).unwrap();
}

#[test]
fn a_broken_message_of_definitions_defines_nothing() {
    let limits = Limits { slots: 3, dictionary_bytes: 40, attribute_bytes: 1, ..Limits::default() };
    let mut decoder = Decoder::new(limits);
    let message = |version, series: Vec<v1::SeriesDefinition>| v1::Define {
        dictionary_version: version,
        series,
    };
    let good = |slot: u32| series("m", Scale::UNIT).to_definition(slot);
    let value = |value: &str| {
        let attributes = vec![v1::Attribute { key: "k".into(), value: value.into() }];
        v1::SeriesDefinition { attributes, ..good(1) }
    };
    let named = |name: String| v1::SeriesDefinition { metric: name, ..good(1) };
    decoder.define(message(2, vec![good(0)])).unwrap();
    let version = |got| DefineError::Version { have: 2, got };
    let slot = |index, got| DefineError::Slot { index, expected: index as u32 + 1, got };
    let refused = [
        (message(0, vec![good(1)]), version(0)),
        (message(1, vec![good(1)]), version(1)),
        (message(2, vec![good(1), good(3)]), slot(1, 3)),
        (message(2, vec![good(u32::MAX)]), slot(0, u32::MAX)),
        (message(2, vec![good(1), good(2), good(3)]), DefineError::Slots { limit: 3 }),
        (message(2, vec![named("m".repeat(37))]), DefineError::Bytes { limit: 40 }),
        (message(2, vec![value("vv")]), invalid("series[0].attributes.k", "longer than 1 bytes")),
        (
            message(2, vec![good(1), named(String::new())]),
            DefineError::Slot { index: 1, expected: 2, got: 1 },
        ),
        (
            message(3, vec![named(String::new())]),
            DefineError::Slot { index: 0, expected: 0, got: 1 },
        ),
        (message(2, vec![named(String::new())]), invalid("series[0].metric", "empty")),
    ];
    for (message, error) in refused {
        assert_eq!(decoder.define(message).unwrap_err(), error);
        assert_eq!(decoder.slots(), 1);
    }
    let defined = decoder.define(message(2, vec![good(1), good(2)])).unwrap();
    assert!(!defined.restarted);
    assert_eq!(defined.iter().map(|(slot, _)| slot.0).collect::<Vec<_>>(), [1, 2]);
    assert!(decoder.define(message(3, Vec::new())).unwrap().restarted);
    assert_eq!(decoder.slots(), 0);
}

fn invalid(field: &str, reason: &str) -> DefineError {
    DefineError::Series(Invalid::new(field, reason))
}

#[test]
fn an_encoder_keeps_the_other_sides_limits() {
    let mut encoder = Encoder::new(Limits::default());
    let welcome = v1::Limits { frame_bytes: 200, slots: 2, attribute_bytes: 0 };
    encoder.set_limits(Limits::default().tightened(&welcome));
    encoder.define(series("a", Scale::UNIT)).unwrap();
    let slot = encoder.define(series("b", Scale::UNIT)).unwrap();
    let full = DefineError::Slots { limit: 2 };
    assert_eq!(encoder.define(series("c", Scale::UNIT)).unwrap_err(), full);
    encoder.retire(slot);
    assert_eq!(encoder.restart_dictionary().get(slot), None);
    encoder.define(series("c", Scale::UNIT)).unwrap();
    let nameless = encoder.define(series("", Scale::UNIT)).unwrap_err();
    assert_eq!(nameless, invalid("metric", "empty"));
    assert_eq!(v1::Limits::from(Limits::default()).frame_bytes, 65_536);
    // Below any frame's size samples still go out, one by one.
    encoder.set_limits(Limits { frame_bytes: 1, ..Limits::default() });
    encoder.set(Slot(0), 1);
    encoder.set(Slot(1), 1);
    assert_eq!(encoder.encode(0, &mut Vec::new()).remaining, 1);
    assert_eq!(encoder.encode(0, &mut Vec::new()).remaining, 0);
    assert!(encoder.define(series("d", Scale::UNIT)).is_err());
}

#[test]
fn a_large_dictionary_is_sent_in_parts_and_a_large_tick_in_frames() {
    let (mut encoder, mut decoder) = pair();
    let long = "x".repeat(200);
    let slots: Vec<_> = (0..20_000)
        .map(|i| encoder.define(series(&format!("{long}.{i}"), Scale::UNIT)).unwrap())
        .collect();
    let messages: Vec<_> = encoder.definitions().collect();
    assert!(messages.len() > 5 && messages.iter().all(|m| m.encoded_len() < 2 << 10));
    assert_eq!(std::iter::from_fn(|| encoder.pending_define()).collect::<Vec<_>>(), messages);
    for message in messages {
        decoder.define(message).unwrap();
    }
    for tick in 0..3 {
        for slot in &slots {
            encoder.set(*slot, (i64::MAX / (i64::from(slot.0) + 1)).wrapping_mul(tick));
        }
        let (mut samples, mut frames) = (0, 0);
        while samples < slots.len() {
            let payload = frame(&mut encoder, tick * 1000);
            assert!(payload.len() <= 64 * 1024);
            let decoded = decoder.decode(&payload).unwrap();
            assert_eq!(decoded.samples[0].slot, slots[samples]);
            assert_eq!(decoded.ts_ms, tick * 1000);
            samples += decoded.samples.len();
            frames += 1;
        }
        assert!((2..10).contains(&frames), "{frames} frames");
    }
}

#[test]
fn the_worst_tick_keeps_the_limit_of_bytes() {
    let limits = Limits { frame_bytes: 2000, ..Limits::default() };
    for scale in [Scale::UNIT, Scale::FLOAT] {
        let (mut encoder, mut decoder) = (Encoder::new(limits), Decoder::new(limits));
        let slots: Vec<_> =
            (0..600).map(|i| encoder.define(series(&format!("m{i}"), scale)).unwrap()).collect();
        sync(&mut encoder, &mut decoder);
        let mut largest = 0;
        for tick in 0..20_u64 {
            // Every second slot, the others in the next tick, with differences that go from one bit to all of them.
            for slot in slots.iter().skip(tick as usize % 2).step_by(2) {
                let wild = (u64::from(slot.0) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ tick;
                let raw = if tick % 8 < 4 { tick | 1 << 63 | 1 } else { wild | 1 << 62 | 1 };
                encoder.set_after_reset(*slot, raw as i64);
            }
            let (mut left, mut rest) = (300, 1);
            while rest > 0 {
                let mut payload = Vec::new();
                let info = encoder.encode(0, &mut payload);
                (left, rest) = (left - info.samples, info.remaining);
                largest = largest.max(payload.len());
                assert_eq!(decoder.decode(&payload).unwrap().samples.len(), info.samples);
            }
            assert_eq!(left, 0);
        }
        assert!((1000..=limits.frame_bytes).contains(&largest), "{largest} bytes");
    }
}

#[test]
fn streams_of_different_sizes_share_scratch_space_and_definitions() {
    let pool = Arc::new(SeriesPool::default());
    let mut scratch = Scratch::default();
    let mut streams: Vec<_> = [3, 300, 70]
        .into_iter()
        .map(|slots| {
            let mut encoder = Encoder::new(Limits::default());
            for slot in 0..slots {
                encoder.define(series(&format!("m{slot}"), Scale::UNIT)).unwrap();
            }
            let mut decoders = [
                Decoder::pooled(Limits::default(), Arc::clone(&pool)),
                Decoder::new(Limits::default()),
            ];
            while let Some(define) = encoder.pending_define() {
                let [shared, own] =
                    decoders.each_mut().map(|decoder| decoder.define(define.clone()).unwrap());
                assert!(shared.iter().eq(own.iter()));
            }
            (slots, encoder, decoders)
        })
        .collect();
    assert_eq!(pool.len(), 300);
    for tick in 0..200_u32 {
        for (slots, encoder, [shared, own]) in &mut streams {
            for slot in (0..*slots).filter(|slot| (slot + tick) % 7 != 0) {
                let raw = i64::from(slot) * i64::from(tick);
                if (slot + tick) % 50 == 0 {
                    encoder.set_after_reset(Slot(slot), raw);
                } else {
                    encoder.set(Slot(slot), raw);
                }
            }
            let payload = frame(encoder, i64::from(tick) * 1_000);
            // What is refused leaves nothing behind that the next stream could see.
            assert!(shared.decode_in(&mut scratch, &payload[..payload.len() - 1]).is_err());
            let expected = own.decode(&payload).unwrap();
            let found = shared.decode_in(&mut scratch, &payload).unwrap();
            assert_eq!((found.seq, found.ts_ms), (expected.seq, expected.ts_ms));
            assert_eq!(found.samples, expected.samples);
        }
    }
}

#[test]
fn a_definition_that_is_larger_than_a_message_goes_alone() {
    let (mut encoder, mut decoder) = pair();
    let attribute = |i: usize| (format!("{}{i:02}", "k".repeat(200)), "v".repeat(250));
    let large = Series { attributes: (0..16).map(attribute).collect(), ..series("m", Scale::UNIT) };
    for name in ["a", "b", "c"] {
        encoder.define(series(name, Scale::UNIT)).unwrap();
        encoder.define(Series { metric: name.repeat(9), ..large.clone() }).unwrap();
    }
    let messages: Vec<_> = encoder.definitions().collect();
    assert!(messages.iter().any(|message| message.encoded_len() > 4 << 10));
    for message in messages {
        decoder.define(message).unwrap();
    }
    assert_eq!(decoder.slots(), 6);
    sync(&mut encoder, &mut Decoder::new(Limits::default()));
    assert!(encoder.pending_define().is_none());
}
