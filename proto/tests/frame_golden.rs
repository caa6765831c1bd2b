//! Byte vectors of the format, checked in both directions. Another implementation can be checked with the same file.
//!
//! Lines of `fixtures/golden.txt`:
//!
//! - `# text`: a remark
//! - `stream NAME`: a new encoder and a new decoder
//! - `define KIND..`: defines the next slots; `i` an integer, `f` a double
//! - `retire SLOT..`, `restart`: a new version of the dictionary without the retired slots
//! - `keyframe`: asks for one
//! - `tick TS_MS SLOT=RAW..`: a tick; `SLOT=RAW!` after a reset
//! - `frame HEX`: the bytes of that tick
//!
//! `FLYBALL_BLESS=1` writes the frames anew; only a new version of the format may do that.

use std::fmt::Write as _;

use flyball_proto::frame::{Decoder, Encoder, Limits, Slot};
use flyball_proto::series::{Kind, Scale, Series};

const GOLDEN: &str = include_str!("fixtures/golden.txt");
const DOCUMENT: &str = include_str!("../../docs/frame-format.md");

struct Stream {
    encoder: Encoder,
    decoder: Decoder,
    expected: (i64, Vec<(u32, i64, bool)>),
    payload: Vec<u8>,
}

impl Stream {
    fn new() -> Self {
        Self {
            encoder: Encoder::new(Limits::default()),
            decoder: Decoder::new(Limits::default()),
            expected: (0, Vec::new()),
            payload: Vec::new(),
        }
    }

    fn define(&mut self, kind: &str) {
        let scale = if kind == "f" { Scale::FLOAT } else { Scale::UNIT };
        let series = Series {
            metric: "m".into(),
            unit: "1".into(),
            kind: Kind::Gauge,
            scale,
            attributes: Vec::new(),
        };
        self.encoder.define(series).expect("a valid series");
    }

    fn tick(&mut self, arguments: &str) {
        let mut words = arguments.split(' ');
        let ts_ms = words.next().and_then(|word| word.parse().ok()).expect("a time");
        let samples = words.map(|word| {
            let (slot, raw) = word.split_once('=').expect("slot and raw integer");
            let (raw, reset) = (raw.trim_end_matches('!'), raw.ends_with('!'));
            (slot.parse().expect("a slot"), raw.parse().expect("a raw integer"), reset)
        });
        self.expected = (ts_ms, samples.collect());
        for (slot, raw, reset) in &self.expected.1 {
            if *reset {
                self.encoder.set_after_reset(Slot(*slot), *raw);
            } else {
                self.encoder.set(Slot(*slot), *raw);
            }
        }
        while let Some(define) = self.encoder.pending_define() {
            self.decoder.define(define).expect("a valid definition");
        }
        self.payload.clear();
        self.encoder.encode(ts_ms, &mut self.payload);
    }

    fn check(&mut self, payload: &[u8]) {
        let decoded = self.decoder.decode(payload).expect("a frame of the golden file");
        let samples = decoded.samples.iter().map(|s| (s.slot.0, s.raw, s.reset)).collect();
        assert_eq!((decoded.ts_ms, samples), self.expected);
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn golden_frames_are_written_and_read() {
    let bless = std::env::var_os("FLYBALL_BLESS").is_some();
    let mut stream = Stream::new();
    let (mut written, mut frames) = (String::new(), 0);
    for line in GOLDEN.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let slots = rest.split(' ').filter_map(|word| word.parse().ok()).map(Slot);
        let mut line = line.to_owned();
        match word {
            "#" | "" => {}
            "stream" => stream = Stream::new(),
            "define" => rest.split(' ').for_each(|kind| stream.define(kind)),
            "retire" => slots.for_each(|slot| stream.encoder.retire(slot)),
            "restart" => drop(stream.encoder.restart_dictionary()),
            "keyframe" => stream.encoder.request_keyframe(),
            "tick" => stream.tick(rest),
            "frame" if bless => line = format!("frame {}", hex(&stream.payload)),
            "frame" => {
                assert_eq!(hex(&stream.payload), rest, "frame {frames} as written");
                stream.check(&unhex(rest));
                frames += 1;
            }
            _ => panic!("unknown line {line}"),
        }
        written.push_str(&line);
        written.push('\n');
    }
    if bless {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/golden.txt");
        std::fs::write(path, written).unwrap();
    }
    assert!(bless || frames >= 15, "{frames} frames");
}

#[test]
fn the_document_shows_the_golden_frames() {
    let example =
        GOLDEN.split("stream ").find(|part| part.starts_with("worked-example\n")).unwrap();
    let frames: Vec<_> = example.lines().filter_map(|line| line.strip_prefix("frame ")).collect();
    assert!(frames.len() >= 2);
    for frame in frames {
        let spaced: Vec<_> = unhex(frame).iter().map(|byte| format!("{byte:02x}")).collect();
        let spaced = spaced.join(" ");
        assert!(DOCUMENT.contains(&spaced), "docs/frame-format.md lacks {spaced}");
    }
}
