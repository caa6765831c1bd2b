//! Mutation fuzzing on the stable toolchain: frames and definitions of real streams are damaged behind a checksum that fits, so that the damage reaches every
//! check of the decoder. Whatever comes: no panic, no sample of a slot that is not defined, and after a refusal the next good frame
//! decodes as if nothing had happened.
//!
//! A short run is part of the tests. `FLYBALL_FUZZ_SECONDS=600 cargo nextest run --release -p flyball-proto --test frame_fuzz` runs as long as told, from a seed of
//! its own that it prints; `FLYBALL_FUZZ_SEED` repeats it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime};

use flyball_proto::frame::{DecodeError, Decoder, Encoder, Limits};
use flyball_proto::v1;
use prost::Message as _;

#[path = "support/capture.rs"]
mod capture;
#[path = "support/random.rs"]
mod random;

use capture::{CAPTURES, Replay, Tick};
use random::Random;

/// Rounds of a short run.
const ROUNDS: u64 = 3;
/// Ticks of a capture in a round.
const TICKS: usize = 60;
/// Damaged copies of each frame.
const COPIES: usize = 8;
/// Damaged copies of each message of definitions.
const DEFINITIONS: usize = 20;

/// How long to go on, and from which seed.
struct Run {
    seed: u64,
    rounds: u64,
    until: Option<Instant>,
}

impl Run {
    fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let seconds = number("FLYBALL_FUZZ_SECONDS").map(Duration::from_secs);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed = if seconds.is_some() { now.as_nanos() as u64 } else { 1 };
        let seed = number("FLYBALL_FUZZ_SEED").unwrap_or(seed);
        Self { seed, rounds: 0, until: seconds.map(|seconds| Instant::now() + seconds) }
    }

    fn goes_on(&mut self) -> bool {
        self.rounds += 1;
        self.until.map_or(self.rounds <= ROUNDS, |until| Instant::now() < until)
    }
}

/// What a round has met, by kind of error.
type Met = BTreeMap<String, u64>;

fn note(met: &mut Met, error: DecodeError) {
    let name = match error {
        DecodeError::Malformed(what) => what.to_owned(),
        other => format!("{other:?}").split(['(', ' ']).next().unwrap_or_default().to_owned(),
    };
    *met.entry(name).or_default() += 1;
}

/// Replays a part of a capture with damaged copies before every frame.
fn frames(ticks: &[Tick], random: &mut Random, met: &mut Met) {
    let mut replay = Replay::new(Encoder::new(Limits::default()));
    let mut decoder = Decoder::new(Limits::default());
    let (first, mut payload) = (random.below(ticks.len()), Vec::new());
    ticks[..first].iter().for_each(|tick| replay.prepare(tick, &mut decoder));
    for tick in ticks[first..].iter().take(TICKS) {
        replay.prepare(tick, &mut decoder);
        let mut samples = replay.samples(tick);
        for (slot, raw) in &samples {
            if random.below(200) == 0 {
                replay.encoder.set_after_reset(*slot, *raw);
            } else {
                replay.encoder.set(*slot, *raw);
            }
        }
        if random.below(20) == 0 {
            replay.encoder.request_keyframe();
        }
        payload.clear();
        replay.encoder.encode(tick.ts_ms, &mut payload);
        for _ in 0..COPIES {
            decoder = refused(decoder, &random.damage(&payload), met);
        }
        let decoded = decoder.decode(&payload).expect("a good frame after refused ones");
        let got: Vec<_> = decoded.samples.iter().map(|sample| (sample.slot, sample.raw)).collect();
        samples.sort_unstable();
        assert_eq!(got, samples);
    }
}

/// The decoder after it has refused the damaged frame, or as it was before it believed it.
fn refused(decoder: Decoder, damaged: &[u8], met: &mut Met) -> Decoder {
    let mut trial = decoder.clone();
    match trial.decode(damaged) {
        Ok(decoded) => {
            assert!(decoded.samples.windows(2).all(|pair| pair[0].slot < pair[1].slot));
            assert!(decoded.samples.iter().all(|sample| decoded.series(sample.slot).is_some()));
            *met.entry("accepted".to_owned()).or_default() += 1;
            decoder
        }
        Err(error) => {
            note(met, error);
            trial
        }
    }
}

/// Damages definitions, as bytes and field by field. What still is a message is refused or taken over as a whole.
fn definitions(ticks: &[Tick], random: &mut Random, met: &mut Met) {
    let mut replay = Replay::new(Encoder::new(Limits::default()));
    replay.prepare(&ticks[0], &mut Decoder::new(Limits::default()));
    for message in replay.encoder.definitions() {
        let bytes = message.encode_to_vec();
        for _ in 0..DEFINITIONS {
            let damaged = random.damage(&bytes);
            if let Ok(message) = v1::Define::decode(&damaged[..damaged.len() - 4]) {
                define(message, met);
            }
            let mut message = message.clone();
            damage_series(&mut message.series, random);
            define(message, met);
        }
    }
}

fn define(message: v1::Define, met: &mut Met) {
    let (count, mut decoder) = (message.series.len(), Decoder::new(Limits::default()));
    match decoder.define(message) {
        Ok(defined) => assert_eq!(defined.iter().count(), count),
        Err(error) => {
            assert_eq!(decoder.slots(), 0, "{error}");
            let text = error.to_string();
            let field = text.split(['.', ':']).nth(1).unwrap_or_default();
            *met.entry(format!("definition refused: {field}")).or_default() += 1;
        }
    }
}

fn damage_series(series: &mut [v1::SeriesDefinition], random: &mut Random) {
    let at = random.below(series.len());
    let (number, text) = (random.next() as u32 >> random.below(32), "x".repeat(random.below(300)));
    let one = &mut series[at];
    match random.below(6) {
        0 => one.slot = number,
        1 => one.kind = number as i32,
        2 => one.scale = number as i32,
        3 => one.metric = text,
        4 => one.unit = text,
        _ => {
            let attribute = v1::Attribute { key: text.clone(), value: text };
            one.attributes = vec![attribute; random.below(20)];
        }
    }
}

#[test]
fn fuzzed_frames_and_definitions_do_no_harm() {
    let mut run = Run::from_environment();
    println!("FLYBALL_FUZZ_SEED={}", run.seed);
    let mut random = Random::new(run.seed);
    let captures = CAPTURES.map(|(_, bytes)| capture::read(bytes));
    let mut met = Met::new();
    while run.goes_on() {
        for ticks in &captures {
            frames(ticks, &mut random, &mut met);
            definitions(ticks, &mut random, &mut met);
        }
    }
    println!("{met:#?}");
    // The damage gets everywhere: every check that stands behind the checksum has fired.
    for check in [
        "accepted",
        "definition refused: slot",
        "definition refused: kind",
        "definition refused: scale",
        "definition refused: metric",
        "definition refused: unit",
        "definition refused: attributes",
        "Format",
        "Truncated",
        "Dictionary",
        "UndefinedSlot",
        "Repeat",
        "Gap",
        "presence pattern that is not in the table",
        "change or reset of a slot that is not present",
        "bytes after the last value",
        "bits after the last value",
        "varint longer than needed",
    ] {
        assert!(met.contains_key(check), "nothing was refused for: {check}");
    }
}
