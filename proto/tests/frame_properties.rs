//! Properties of the codec:
//!
//! 1. What is set comes out, for any values, resets, gaps in presence, retired and new series, dictionary versions and keyframes.
//! 2. A frame that is lost, repeated, late, cut off or damaged is a typed error, and the decoder goes on as if it had never come.
//! 3. A decoder that starts late goes on from a keyframe.
//! 4. Ticks that do not fit into one frame are split, and no frame is ever larger than the limit.

use std::collections::BTreeMap;

use flyball_proto::frame::{DecodeError, Decoded, Decoder, Encoder, Limits, Remedy, Slot, peek};
use flyball_proto::series::{Kind, Scale, Series};
use proptest::collection::vec;
use proptest::prelude::*;

/// What a sampler and its surroundings may do.
#[derive(Debug, Clone)]
enum Step {
    Define {
        float: bool,
    },
    Retire(prop::sample::Index),
    Restart,
    Keyframe,
    Tick {
        ts_ms: i64,
        samples: Vec<(prop::sample::Index, i64, bool)>,
    },
    /// The same slots as in the last tick, each a little further.
    Again,
}

/// What is to be found in a frame: time and samples by slot.
type Expected = (i64, BTreeMap<u32, (i64, bool)>);

/// A frame with all that was defined since the one before, and what is in it.
#[derive(Debug, Clone)]
struct Sent {
    defines: Vec<flyball_proto::v1::Define>,
    payload: Vec<u8>,
    expected: Expected,
}

fn raws() -> impl Strategy<Value = i64> {
    let doubles = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 0.1, f64::MIN_POSITIVE];
    let mut rare: Vec<i64> = doubles.iter().map(|value| value.to_bits() as i64).collect();
    // A NaN that signals and carries a payload.
    rare.extend([i64::MIN, i64::MAX, -1, 0x7ff0_dead_beef_0001]);
    prop_oneof![4 => -100..100_i64, 2 => any::<i64>(), 1 => prop::sample::select(rare)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let sample = (any::<prop::sample::Index>(), raws(), prop::bool::weighted(0.1));
    let times = prop_oneof![5 => 0..10_000_i64, 1 => any::<i64>()];
    vec(
        prop_oneof![
            4 => any::<bool>().prop_map(|float| Step::Define { float }),
            1 => any::<prop::sample::Index>().prop_map(Step::Retire),
            1 => Just(Step::Restart),
            1 => Just(Step::Keyframe),
            8 => (times, vec(sample, 0..40)).prop_map(|(ts_ms, samples)| Step::Tick { ts_ms, samples }),
            4 => Just(Step::Again),
        ],
        1..80,
    )
}

fn series(float: bool, name: usize) -> Series {
    Series {
        metric: format!("metric.{name}"),
        unit: "1".into(),
        kind: Kind::Gauge,
        scale: if float { Scale::FLOAT } else { Scale::decimal(2) },
        attributes: Vec::new(),
    }
}

/// Carries out the steps and collects the frames.
fn send(steps: &[Step], limits: Limits) -> Vec<Sent> {
    let mut encoder = Encoder::new(limits);
    let mut live: Vec<Slot> = Vec::new();
    let mut last: Expected = Expected::default();
    let mut sent = Vec::new();
    for (name, step) in steps.iter().enumerate() {
        match step {
            Step::Define { float } => {
                live.push(encoder.define(series(*float, name)).expect("there is room"));
                continue;
            }
            Step::Retire(index) if !live.is_empty() => {
                let slot = live.remove(index.index(live.len()));
                encoder.retire(slot);
                last.1.remove(&slot.0);
                // A late value is ignored.
                encoder.set(slot, 1);
                continue;
            }
            Step::Restart => {
                let slots = encoder.restart_dictionary();
                let new = |slot: Slot| slots.get(slot).expect("live slots are kept");
                live = live.into_iter().map(new).collect();
                last.1 = last.1.iter().map(|(slot, raw)| (new(Slot(*slot)).0, *raw)).collect();
                continue;
            }
            Step::Keyframe => {
                encoder.request_keyframe();
                continue;
            }
            Step::Tick { ts_ms, samples } => {
                let samples = samples.iter().filter(|_| !live.is_empty());
                let slot = |index: &prop::sample::Index| live[index.index(live.len())].0;
                let mut wanted = BTreeMap::new();
                for (index, raw, reset) in samples {
                    let before = wanted.insert(slot(index), (*raw, *reset));
                    if before.is_some_and(|(_, reset)| reset) {
                        wanted.insert(slot(index), (*raw, true));
                    }
                }
                last = (*ts_ms, wanted);
            }
            Step::Again => {
                last.0 = last.0.wrapping_add(1000);
                for (raw, reset) in last.1.values_mut() {
                    (*raw, *reset) = (raw.wrapping_add(*raw % 3), false);
                }
            }
            Step::Retire(_) => continue,
        }
        for (slot, (raw, reset)) in &last.1 {
            if *reset {
                encoder.set_after_reset(Slot(*slot), *raw);
            } else {
                encoder.set(Slot(*slot), *raw);
            }
        }
        finish_tick(&mut encoder, &last, &mut sent);
    }
    sent
}

/// Encodes a tick into as many frames as it takes.
fn finish_tick(encoder: &mut Encoder, expected: &Expected, sent: &mut Vec<Sent>) {
    let mut defines: Vec<_> = std::iter::from_fn(|| encoder.pending_define()).collect();
    let mut left = expected.1.clone();
    loop {
        let mut payload = Vec::new();
        let info = encoder.encode(expected.0, &mut payload);
        let rest: Vec<u32> = left.keys().copied().skip(info.samples).collect();
        let rest = rest.first().map(|first| left.split_off(first)).unwrap_or_default();
        assert_eq!(rest.len(), info.remaining);
        let peeked = peek(&payload).expect("a frame of our own");
        assert_eq!((peeked.seq, peeked.keyframe), (info.seq, info.keyframe));
        assert_eq!(peeked.dictionary_version, encoder.dictionary_version());
        sent.push(Sent {
            defines: std::mem::take(&mut defines),
            payload,
            expected: (expected.0, left),
        });
        left = rest;
        if info.remaining == 0 {
            break;
        }
    }
}

fn define(decoder: &mut Decoder, sent: &Sent) {
    for message in &sent.defines {
        decoder.define(message.clone()).expect("a valid definition");
    }
}

fn found(decoded: &Decoded<'_>) -> Expected {
    let samples = decoded.samples.iter().map(|s| (s.slot.0, (s.raw, s.reset)));
    (decoded.ts_ms, samples.collect())
}

fn receive(decoder: &mut Decoder, sent: &Sent) -> Result<(), TestCaseError> {
    define(decoder, sent);
    let decoded = decoder.decode(&sent.payload).map_err(|e| TestCaseError::fail(e.to_string()))?;
    prop_assert!(decoded.samples.windows(2).all(|pair| pair[0].slot < pair[1].slot));
    prop_assert_eq!(&found(&decoded), &sent.expected);
    Ok(())
}

/// Where and how a payload is damaged.
#[derive(Debug, Clone)]
enum Damage {
    Cut(prop::sample::Index),
    Flip(prop::sample::Index, u8),
    Longer(u8),
}

fn damages() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<prop::sample::Index>().prop_map(Damage::Cut),
        (any::<prop::sample::Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        any::<u8>().prop_map(Damage::Longer),
    ]
}

fn damaged(payload: &[u8], damage: &Damage) -> Vec<u8> {
    let mut damaged = payload.to_vec();
    match damage {
        Damage::Cut(at) => damaged.truncate(at.index(payload.len())),
        Damage::Flip(at, bit) => damaged[at.index(payload.len())] ^= 1 << bit,
        Damage::Longer(byte) => damaged.push(*byte),
    }
    damaged
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_set_comes_out(steps in steps()) {
        let mut decoder = Decoder::new(Limits::default());
        for sent in send(&steps, Limits::default()) {
            receive(&mut decoder, &sent)?;
        }
    }

    #[test]
    fn a_tick_that_does_not_fit_is_split(steps in steps()) {
        let limits = Limits { frame_bytes: 450, ..Limits::default() };
        let mut decoder = Decoder::new(limits);
        for sent in send(&steps, limits) {
            prop_assert!(sent.payload.len() <= limits.frame_bytes);
            receive(&mut decoder, &sent)?;
        }
    }

    #[test]
    fn damage_is_an_error_and_changes_nothing(
        steps in steps(),
        damages in vec(damages(), 1..8),
    ) {
        let mut decoder = Decoder::new(Limits::default());
        for sent in send(&steps, Limits::default()) {
            define(&mut decoder, &sent);
            for damage in &damages {
                let error = decoder.decode(&damaged(&sent.payload, damage)).err();
                let typed = matches!(error, Some(DecodeError::Checksum | DecodeError::Truncated));
                prop_assert!(typed, "{damage:?}: {error:?}");
            }
            receive(&mut decoder, &Sent { defines: Vec::new(), ..sent })?;
        }
    }

    #[test]
    fn lost_repeated_and_late_frames_are_told_apart(
        steps in steps(),
        order in vec((any::<prop::sample::Index>(), 0..4_u8), 1..80),
    ) {
        let sent = send(&steps, Limits::default());
        prop_assume!(!sent.is_empty());
        let mut decoder = Decoder::new(Limits::default());
        let (mut next, mut defined) = (0, 0);
        for (index, fate) in order {
            // The frame in turn, or any other one.
            let at = if fate == 0 { index.index(sent.len()) } else { next };
            let Some(one) = sent.get(at) else { break };
            while defined <= at {
                define(&mut decoder, &sent[defined]);
                defined += 1;
            }
            let peeked = peek(&one.payload).unwrap();
            match decoder.decode(&one.payload) {
                Ok(decoded) => {
                    prop_assert!(at >= next && (at == next || decoded.keyframe));
                    prop_assert_eq!(&found(&decoded), &one.expected);
                    prop_assert_eq!(decoded.skipped as usize, if next == 0 { 0 } else { at - next });
                    next = at + 1;
                }
                Err(error @ DecodeError::Repeat { .. }) => {
                    prop_assert!(at < next);
                    prop_assert_eq!(error.remedy(), Remedy::Skip);
                }
                Err(error @ (DecodeError::Gap { .. } | DecodeError::NoKeyframe { .. })) => {
                    prop_assert!(at >= next && !peeked.keyframe);
                    prop_assert_eq!(error.remedy(), Remedy::Resync);
                }
                Err(DecodeError::Dictionary { have, got }) => {
                    prop_assert!(got < have && at >= next);
                }
                Err(error) => prop_assert!(false, "{error}"),
            }
        }
    }

    #[test]
    fn a_decoder_starts_at_any_keyframe(steps in steps(), start: prop::sample::Index) {
        let sent = send(&steps, Limits::default());
        prop_assume!(!sent.is_empty());
        let start = start.index(sent.len());
        let mut decoder = Decoder::new(Limits::default());
        sent[..start].iter().for_each(|one| define(&mut decoder, one));
        let mut synced = false;
        for one in &sent[start..] {
            synced |= peek(&one.payload).unwrap().keyframe;
            if synced {
                receive(&mut decoder, one)?;
            } else {
                define(&mut decoder, one);
                let error = decoder.decode(&one.payload).unwrap_err();
                prop_assert!(matches!(error, DecodeError::NoKeyframe { .. }), "{error}");
            }
        }
    }
}
