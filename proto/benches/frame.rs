//! Cost and size of frames on the captures in `tests/fixtures`, keyframes included: `cargo bench -p flyball-proto --bench frame`.
//!
//! First one line for each figure, `frame.encode_ns_per_sample idle 7.1`: the least of several replays of the whole capture, setting the values included. Then criterion's
//! own statistics of the same replays.

use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use flyball_proto::frame::{Decoder, Encoder, Limits};

#[path = "../tests/support/capture.rs"]
mod capture;

use capture::{CAPTURES, Replay, Tick};

/// Replays of which the fastest is reported.
const ROUNDS: usize = 30;

/// What one replay of a capture took.
#[derive(Debug, Default, Clone, Copy)]
struct Cost {
    encode: Duration,
    decode: Duration,
    samples: usize,
    bytes: usize,
}

/// Encodes and decodes all ticks. Definitions are not timed: they are not in the steady state.
fn replay(ticks: &[Tick]) -> Cost {
    let mut replay = Replay::new(Encoder::new(Limits::default()));
    let mut decoder = Decoder::new(Limits::default());
    let mut payload = Vec::new();
    let mut cost = Cost::default();
    for tick in ticks {
        replay.prepare(tick, &mut decoder);
        let samples = replay.samples(tick);
        payload.clear();
        let start = Instant::now();
        for (slot, raw) in &samples {
            replay.encoder.set(*slot, *raw);
        }
        replay.encoder.encode(tick.ts_ms, &mut payload);
        cost.encode += start.elapsed();
        let start = Instant::now();
        black_box(decoder.decode(black_box(&payload)).expect("a frame of our own"));
        cost.decode += start.elapsed();
        cost.samples += samples.len();
        cost.bytes += payload.len();
    }
    cost
}

fn report(name: &str, ticks: &[Tick]) -> std::io::Result<()> {
    let costs: Vec<_> = (0..ROUNDS).map(|_| replay(ticks)).collect();
    let samples = costs[0].samples as f64;
    let least = |cost: fn(&Cost) -> Duration| {
        costs.iter().map(cost).min().unwrap_or_default().as_secs_f64() * 1e9 / samples
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "frame.encode_ns_per_sample {name} {:.2}", least(|cost| cost.encode))?;
    writeln!(out, "frame.decode_ns_per_sample {name} {:.2}", least(|cost| cost.decode))?;
    writeln!(out, "frame.bytes_per_sample {name} {:.4}", costs[0].bytes as f64 / samples)
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (name, bytes) in CAPTURES {
        let ticks = capture::read(bytes);
        if std::env::args().any(|argument| argument == "--bench") {
            report(name, &ticks).expect("standard output is open");
        }
        let samples = ticks.iter().map(|tick| tick.samples.len() as u64).sum();
        let mut group = criterion.benchmark_group(format!("frame/{name}"));
        group.throughput(Throughput::Elements(samples));
        group.sample_size(20);
        for (side, time) in [
            ("encode", (|cost| cost.encode) as fn(Cost) -> Duration),
            ("decode", |cost| cost.decode),
        ] {
            group.bench_function(side, |bencher| {
                bencher.iter_custom(|rounds| (0..rounds).map(|_| time(replay(&ticks))).sum());
            });
        }
        group.finish();
    }
    criterion.final_summary();
}
