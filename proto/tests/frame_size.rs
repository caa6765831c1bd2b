//! Frames of the captures are as small as promised and say what was captured.

#[path = "support/capture.rs"]
mod capture;

use capture::{CAPTURES, Replay};
use flyball_proto::frame::{Decoder, Encoder, Limits};

/// Most bytes for a sample, keyframes and checksums included. The promise of the design is 0.6 and 1.5; these hold what has been reached.
const BARS: [f64; 2] = [0.40, 0.80];

#[test]
fn captures_come_back_within_the_bars() {
    for ((name, bytes), bar) in CAPTURES.into_iter().zip(BARS) {
        let ticks = capture::read(bytes);
        assert!(ticks.len() >= 240, "{name} has {} ticks", ticks.len());
        let mut replay = Replay::new(Encoder::new(Limits::default()));
        let mut decoder = Decoder::new(Limits::default());
        let (mut total, mut payload, mut count) = (0, Vec::new(), 0);
        for tick in &ticks {
            replay.prepare(tick, &mut decoder);
            let mut samples = replay.samples(tick);
            for (slot, raw) in &samples {
                replay.encoder.set(*slot, *raw);
            }
            payload.clear();
            replay.encoder.encode(tick.ts_ms, &mut payload);
            let decoded = decoder.decode(&payload).unwrap();
            samples.sort_unstable();
            let got: Vec<_> = decoded.samples.iter().map(|s| (s.slot, s.raw)).collect();
            assert_eq!((decoded.ts_ms, got), (tick.ts_ms, samples.clone()));
            total += payload.len();
            count += samples.len();
        }
        let bytes_per_sample = total as f64 / count as f64;
        assert!(bytes_per_sample <= bar, "{name}: {bytes_per_sample:.4} bytes a sample");
    }
}
