//! The agent's own record (`--record FILE`), decoded: every sample that it has produced, over all its starts.
//!
//! The file holds messages of `Telemetry.Stream`, each behind its length: a Hello for each start, definitions, frames. They are decoded with the codec that
//! the collector uses. A message that is cut off at the end is one that the agent had not finished writing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context as _, Result};
use flyball_proto::frame::{Decoder, Limits, Slot};
use flyball_proto::series::{Kind, Scale, Series};
use flyball_proto::v1;
use prost::Message as _;

/// Metric and sorted attributes: what makes a series of a node.
pub type SeriesKey = (String, BTreeMap<String, String>);

/// A sample as it was encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Value {
    /// The integer.
    pub raw: i64,
    /// How it becomes a number.
    pub scale: i8,
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameNote {
    /// Number of the agent's start, from 0.
    pub run: u32,
    /// The frame's number in that run.
    pub seq: u64,
    /// Its time.
    pub ts_ms: i64,
    /// Samples in it.
    pub samples: u32,
}

/// All samples of one node.
#[derive(Debug, Default)]
pub struct Journal {
    /// Series by their numbers here.
    pub series: Vec<SeriesKey>,
    /// Samples by number of the series and time.
    pub samples: HashMap<(u32, i64), Value>,
    /// Frames in the order in which they were produced.
    pub frames: Vec<FrameNote>,
    /// Starts of the agent.
    pub runs: u32,
    /// Samples that were produced a second time for the same series and time: the later one would replace the earlier one in the store.
    pub collisions: u64,
    numbers: HashMap<SeriesKey, u32>,
    counters: HashSet<String>,
}

impl Value {
    /// The number that it stands for.
    pub fn number(self) -> f64 {
        Scale::from_code(self.scale.into()).map_or(f64::NAN, |scale| scale.value(self.raw))
    }
}

impl Journal {
    /// Reads what is in the file now.
    ///
    /// # Errors
    /// When it cannot be read or holds what no agent writes.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("the record {}", path.display()))?;
        Self::decode(&bytes).with_context(|| format!("the record {}", path.display()))
    }

    /// Number of a series.
    pub fn number(&self, key: &SeriesKey) -> Option<u32> {
        self.numbers.get(key).copied()
    }

    /// Whether a metric counts up.
    pub fn is_counter(&self, metric: &str) -> bool {
        self.counters.contains(metric)
    }

    fn decode(mut bytes: &[u8]) -> Result<Self> {
        use v1::agent_message::Kind as Message;
        let mut journal = Self::default();
        let mut decoder = Decoder::new(Limits::default());
        // Number here by slot.
        let mut slots: Vec<u32> = Vec::new();
        while let Some(message) = next(&mut bytes)? {
            match message.kind {
                Some(Message::Hello(_)) => {
                    decoder = Decoder::new(Limits::default());
                    slots.clear();
                    journal.runs += 1;
                }
                Some(Message::Define(define)) => {
                    let definitions = decoder.define(define)?;
                    if definitions.restarted {
                        slots.clear();
                    }
                    slots.extend(definitions.iter().map(|(_, series)| journal.name(series)));
                }
                Some(Message::Frame(frame)) => {
                    journal.frame(&mut decoder, &slots, &frame.payload)?;
                }
                _ => {}
            }
        }
        Ok(journal)
    }

    fn name(&mut self, series: &Series) -> u32 {
        if series.kind == Kind::Counter {
            self.counters.insert(series.metric.clone());
        }
        let key = (series.metric.clone(), series.attributes.iter().cloned().collect());
        *self.numbers.entry(key).or_insert_with_key(|key| {
            self.series.push(key.clone());
            self.series.len() as u32 - 1
        })
    }

    fn frame(&mut self, decoder: &mut Decoder, slots: &[u32], payload: &[u8]) -> Result<()> {
        let frame = decoder.decode(payload)?;
        let (seq, ts_ms) = (frame.seq, frame.ts_ms);
        for sample in frame.samples {
            let Slot(slot) = sample.slot;
            let number = *slots.get(slot as usize).context("a slot that was never defined")?;
            let scale = frame.series(sample.slot).context("a slot has a series")?.scale.code();
            let value = Value { raw: sample.raw, scale };
            self.collisions += u64::from(self.samples.insert((number, ts_ms), value).is_some());
        }
        let run = self.runs.checked_sub(1).context("a frame before any Hello")?;
        let samples = frame.samples.len() as u32;
        self.frames.push(FrameNote { run, seq, ts_ms, samples });
        Ok(())
    }
}

/// The next whole message.
fn next(bytes: &mut &[u8]) -> Result<Option<v1::AgentMessage>> {
    let mut rest = *bytes;
    let Ok(length) = prost::encoding::decode_varint(&mut rest) else { return Ok(None) };
    let Some((message, rest)) = rest.split_at_checked(length as usize) else { return Ok(None) };
    *bytes = rest;
    Ok(Some(v1::AgentMessage::decode(message)?))
}

#[cfg(test)]
mod tests {
    use flyball_proto::frame::Encoder;
    use v1::agent_message::Kind as Message;

    use super::*;

    fn written(messages: Vec<Message>) -> Vec<u8> {
        let message = |kind| v1::AgentMessage { kind: Some(kind) }.encode_length_delimited_to_vec();
        messages.into_iter().flat_map(message).collect()
    }

    fn run(values: &[(i64, i64)]) -> Vec<Message> {
        let mut encoder = Encoder::new(Limits::default());
        let series = Series {
            metric: "test.gauge".into(),
            unit: "1".into(),
            kind: Kind::Gauge,
            scale: Scale::decimal(2),
            attributes: vec![("cpu".into(), "0".into())],
        };
        let slot = encoder.define(series).unwrap();
        let mut messages = vec![Message::Hello(v1::Hello::default())];
        messages.push(Message::Define(encoder.pending_define().unwrap()));
        for (ts_ms, raw) in values {
            let mut payload = Vec::new();
            encoder.set(slot, *raw);
            encoder.encode(*ts_ms, &mut payload);
            messages.push(Message::Frame(v1::Frame { payload: payload.into() }));
        }
        messages
    }

    #[test]
    fn samples_of_all_runs_are_of_one_series_and_a_torn_end_is_not_there() {
        let bytes = written([run(&[(1_000, 5), (1_100, 6)]), run(&[(1_200, 7)])].concat());
        let journal = Journal::decode(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!((journal.runs, journal.frames.len(), journal.samples.len()), (2, 2, 2));
        let journal = Journal::decode(&bytes).unwrap();
        assert_eq!(journal.series.len(), 1);
        assert_eq!((journal.samples.len(), journal.collisions), (3, 0));
        assert_eq!(journal.samples[&(0, 1_200)].number().to_bits(), 0.07_f64.to_bits());
        assert_eq!(journal.frames[2], FrameNote { run: 1, seq: 1, ts_ms: 1_200, samples: 1 });
    }

    #[test]
    fn a_time_that_is_given_twice_is_a_collision() {
        let bytes = written([run(&[(1_000, 5)]), run(&[(1_000, 7)])].concat());
        assert_eq!(Journal::decode(&bytes).unwrap().collisions, 1);
    }
}
