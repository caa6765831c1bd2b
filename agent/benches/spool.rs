//! What the spool costs on this machine: `cargo bench -p flyball-agent --bench spool`, with SPOOL_DIR=/path for another disk than that of the temporary directory.
#![allow(clippy::print_stdout, reason = "a benchmark prints what it has measured")]

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use flyball_agent::sense::cpu_time;
use flyball_agent::spool::{NewFrame, PersistedTotals, SegmentHeader, Spool, SpoolSettings};
use flyball_proto::frame::{Encoder, Limits, Slot};
use flyball_proto::series::{Kind, Scale, Series};
use flyball_proto::v1;

const SERIES: u32 = 300;
const NEVER: Duration = Duration::from_hours(1);

/// Frames of 300 series, of which a third change, and 60 are of processes.
struct Source {
    encoder: Encoder,
    slots: Vec<Slot>,
    definitions: Vec<v1::SeriesDefinition>,
    payload: Vec<u8>,
    tick: i64,
}

impl Source {
    fn new() -> Self {
        let mut encoder = Encoder::new(Limits::default());
        let metric =
            |i: u32| if i % 5 == 4 { "process.cpu.utilization" } else { "system.cpu.time" };
        let slots = (0..SERIES).map(|i| {
            let series = Series {
                metric: metric(i).to_owned(),
                unit: "s".to_owned(),
                kind: Kind::Counter,
                scale: Scale::decimal(2),
                attributes: vec![("number".to_owned(), i.to_string())],
            };
            encoder.define(series).expect("the series is in order")
        });
        let slots = slots.collect();
        let definitions = encoder.definitions().flat_map(|define| define.series).collect();
        while encoder.pending_define().is_some() {}
        Self { encoder, slots, definitions, payload: Vec::new(), tick: 0 }
    }

    fn frame(&mut self, keyframe: bool) -> NewFrame<'_> {
        if keyframe {
            self.encoder.request_keyframe();
        }
        self.tick += 1;
        for (i, slot) in (0..).zip(&self.slots) {
            let changes = (self.tick + i) / 3;
            self.encoder.set(*slot, changes * (i % 40) + 7 * i);
        }
        self.payload.clear();
        let info = self.encoder.encode(1_700_000_000_000 + 1000 * self.tick, &mut self.payload);
        NewFrame {
            seq: info.seq,
            ts_ms: 1_700_000_000_000 + 1000 * self.tick,
            samples: info.samples as u32,
            keyframe: info.keyframe,
            payload: &self.payload,
        }
    }

    fn append(&mut self, spool: &mut Spool) {
        let begin = spool.is_segment_full();
        if begin {
            let header = SegmentHeader {
                epoch: [1; 16],
                interval_ms: 1000,
                dictionary_version: 1,
                first_seq: self.encoder.next_seq(),
                produced_before: self.tick as u64 * u64::from(SERIES),
            };
            spool.begin(&header, &self.definitions).expect("there is room");
        }
        let frame = self.frame(begin);
        spool.append(&frame).expect("there is room");
    }

    fn totals(&self) -> PersistedTotals {
        let produced = self.tick as u64 * u64::from(SERIES);
        PersistedTotals { produced, ..PersistedTotals::default() }
    }
}

/// CPU and wall time of each of `count` calls, in microseconds.
fn measure(what: &str, count: u32, mut call: impl FnMut()) {
    let (cpu, wall) = (cpu_time(), Instant::now());
    let mut slowest = Duration::ZERO;
    for _ in 0..count {
        let began = Instant::now();
        call();
        slowest = slowest.max(began.elapsed());
    }
    let each = |time: Duration| time.as_secs_f64() * 1e6 / f64::from(count);
    let (cpu, wall) = (each(cpu_time().saturating_sub(cpu)), each(wall.elapsed()));
    let slowest = slowest.as_secs_f64() * 1e6;
    println!("{what:<58} {cpu:>9.1} {wall:>9.1} {slowest:>10.0}");
}

fn open(dir: &Path, fsync: Duration) -> Spool {
    let settings = SpoolSettings { limit_bytes: 1_000_000_000, fsync };
    Spool::open(dir, &settings).expect("the directory can be written").0
}

fn main() {
    let parent = std::env::var_os("SPOOL_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(parent).expect("a directory can be made");
    println!("{:<58} {:>9} {:>9} {:>10}", "microseconds", "cpu", "wall", "slowest");

    let mut source = Source::new();
    measure("encode a frame, for comparison", 20_000, || {
        source.frame(false);
    });
    let mut source = Source::new();
    let mut spool = open(&dir.path().join("a"), NEVER);
    measure("append a frame, encoding included, never synced", 20_000, || {
        source.append(&mut spool);
    });
    let totals = source.totals();
    measure("commit the account", 20_000, || spool.commit(&totals).expect("it can be written"));
    drop(spool);

    let mut source = Source::new();
    let mut spool = open(&dir.path().join("b"), Duration::from_secs(5));
    measure("append a frame, synced every fifth on its thread", 2000, || source.append(&mut spool));
    drop(spool);
    let mut source = Source::new();
    let mut spool = open(&dir.path().join("c"), Duration::ZERO);
    measure("append a frame, each synced", 200, || source.append(&mut spool));
    drop(spool);

    let mut source = Source::new();
    let path = dir.path().join("d");
    let mut spool = open(&path, NEVER);
    while spool.bytes() < 256_000_000 {
        source.append(&mut spool);
    }
    spool.close();
    let mut totals = source.totals();
    spool.commit(&totals).expect("it can be written");
    let ids: Vec<_> = spool.segments().map(|meta| meta.id).collect();
    let bytes = spool.bytes();
    drop(spool);
    println!("{} segments of 256 MB hold {} frames of {SERIES} samples", ids.len(), source.tick);
    let mut spool = None;
    measure("open a full spool", 3, || spool = Some(open(&path, NEVER)));
    let mut spool = spool.expect("it was opened");
    let mut at = ids.iter();
    measure("read a segment", 100, || {
        let id = *at.next().expect("there are as many");
        assert!(!spool.read(id).expect("it can be read").frames.is_empty());
    });
    let mut at = ids.iter();
    measure("thin a segment", 100, || {
        let id = *at.next().expect("there are as many");
        assert!(spool.thin(id, &mut totals, 4).expect("it can be thinned") > 0);
    });
    let saved = bytes.saturating_sub(spool.bytes()) / 100;
    println!("thinning a segment of {} frees {saved} bytes", bytes / ids.len() as u64);
    let mut at = ids.iter();
    measure("free and commit a segment", 500, || {
        spool.free(*at.next().expect("there are as many"));
        spool.commit(&totals).expect("it can be written");
    });
}
