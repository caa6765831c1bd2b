//! Captures of a real host and their replay into an encoder; shared by the tests and the benches of the codec.

use std::io::Read;

use flate2::read::GzDecoder;
use flyball_proto::frame::{Decoder, Encoder, Slot};
use flyball_proto::series::{Kind, Scale, Series};

/// Names of the captures, with their bytes in tests/fixtures.
pub(crate) const CAPTURES: [(&str, &[u8]); 2] = [
    ("idle", include_bytes!("../fixtures/idle.capture.gz")),
    ("busy", include_bytes!("../fixtures/busy.capture.gz")),
];

/// One tick of a capture: what happens to series before it, and its samples.
#[derive(Debug, Default)]
pub(crate) struct Tick {
    pub(crate) changes: Vec<Change>,
    pub(crate) ts_ms: i64,
    /// Series by their number in the capture, with the raw integers.
    pub(crate) samples: Vec<(usize, i64)>,
}

/// What happens to a series.
#[derive(Debug)]
pub(crate) enum Change {
    Define(Series),
    Retire(usize),
}

/// An encoder with the numbers that the capture has for its slots.
pub(crate) struct Replay {
    pub(crate) encoder: Encoder,
    slots: Vec<Option<Slot>>,
}

/// Reads a capture; `examples/record.rs` describes the format.
pub(crate) fn read(compressed: &[u8]) -> Vec<Tick> {
    let mut text = String::new();
    GzDecoder::new(compressed).read_to_string(&mut text).expect("a capture is gzipped text");
    let mut lasts = Vec::new();
    let mut ticks = vec![Tick::default()];
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').expect("a line of a capture starts with a word");
        let tick = ticks.last_mut().expect("there is always a tick under way");
        match word {
            "#" => {}
            "series" => {
                tick.changes.push(Change::Define(series(rest)));
                lasts.push(0);
            }
            "retire" => tick.changes.push(Change::Retire(rest.parse().expect("a slot"))),
            "tick" => {
                let mut tokens = rest.split(' ');
                tick.ts_ms = tokens.next().and_then(|ts| ts.parse().ok()).expect("a time");
                for (slot, token) in tokens.enumerate().filter(|(_, token)| *token != ".") {
                    if token != "=" {
                        let difference: i64 = token.parse().expect("a difference");
                        lasts[slot] = i64::wrapping_add(lasts[slot], difference);
                    }
                    tick.samples.push((slot, lasts[slot]));
                }
                ticks.push(Tick::default());
            }
            _ => panic!("unknown line of a capture: {word}"),
        }
    }
    ticks.pop();
    ticks
}

/// `SLOT METRIC KIND SCALE KEY=VALUE,..`
fn series(text: &str) -> Series {
    let fields: Vec<_> = text.split(' ').collect();
    let pairs = fields.get(4).into_iter().flat_map(|pairs| pairs.split(','));
    let mut attributes: Vec<_> = pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    attributes.sort();
    Series {
        metric: fields[1].to_owned(),
        unit: "1".to_owned(),
        kind: if fields[2] == "counter" { Kind::Counter } else { Kind::Gauge },
        scale: Scale::from_code(fields[3].parse().expect("a scale")).expect("a known scale"),
        attributes,
    }
}

impl Replay {
    pub(crate) fn new(encoder: Encoder) -> Self {
        Self { encoder, slots: Vec::new() }
    }

    /// Applies what happens before a tick, on both sides.
    pub(crate) fn prepare(&mut self, tick: &Tick, decoder: &mut Decoder) {
        for change in &tick.changes {
            match change {
                Change::Define(series) => {
                    let slot = self.encoder.define(series.clone()).expect("a valid series");
                    self.slots.push(Some(slot));
                }
                Change::Retire(slot) => {
                    self.encoder.retire(self.slots[*slot].take().expect("retired once"));
                }
            }
        }
        if self.encoder.needs_new_dictionary() {
            let slots = self.encoder.restart_dictionary();
            for slot in &mut self.slots {
                *slot = slot.and_then(|slot| slots.get(slot));
            }
        }
        while let Some(define) = self.encoder.pending_define() {
            decoder.define(define).expect("a valid definition");
        }
    }

    /// The samples of a tick by the encoder's slots.
    pub(crate) fn samples(&self, tick: &Tick) -> Vec<(Slot, i64)> {
        let slot = |number: usize| self.slots[number].expect("a retired series has no samples");
        tick.samples.iter().map(|&(number, raw)| (slot(number), raw)).collect()
    }
}
