//! A scripted agent: the codec's encoder and a real gRPC stream.

use std::time::Duration;

use flyball_proto::frame::{Encoder, Limits, Slot};
use flyball_proto::series::{Kind, Scale, Series};
use flyball_proto::v1::agent_message::Kind as Up;
use flyball_proto::v1::collector_message::Kind as Down;
use flyball_proto::v1::telemetry_client::TelemetryClient;
use flyball_proto::{PROTOCOL_VERSION, v1};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::harness::{Collector, DEADLINE};

/// An encoder with some gauges, as an agent's process keeps it over its streams.
pub struct Recorder {
    pub node: String,
    pub epoch: Vec<u8>,
    pub encoder: Encoder,
    slots: Vec<Slot>,
    /// The last value; each sample is one more than the one before.
    pub raw: i64,
}

/// A stream of an agent, after Welcome.
pub struct Stream {
    up: mpsc::Sender<v1::AgentMessage>,
    down: Streaming<v1::CollectorMessage>,
    pub welcome: v1::Welcome,
    /// Sum over all acknowledgements.
    pub acked: v1::Ack,
    /// The last credit.
    pub credit: Option<u32>,
}

pub fn gauge(number: usize) -> Series {
    Series {
        metric: "test.gauge".into(),
        unit: "1".into(),
        kind: Kind::Gauge,
        scale: Scale::decimal(2),
        attributes: vec![("number".into(), format!("{number:04}"))],
    }
}

impl Recorder {
    pub fn new(node: &str, series: usize) -> Self {
        let mut encoder = Encoder::new(Limits::default());
        let slots = (0..series).map(|n| encoder.define(gauge(n)).unwrap()).collect();
        let epoch = node.bytes().cycle().take(16).collect();
        Self { node: node.to_owned(), epoch, encoder, slots, raw: 0 }
    }

    /// Adds a series that every agent sends.
    pub fn define_pulse(&mut self) {
        let series = Series { metric: "system.uptime".into(), attributes: Vec::new(), ..gauge(0) };
        self.slots.push(self.encoder.define(series).unwrap());
    }

    /// Adds a series.
    pub fn define(&mut self, series: Series) {
        self.slots.push(self.encoder.define(series).unwrap());
    }

    /// One frame with a new value of every series.
    pub fn frame(&mut self, ts_ms: i64) -> v1::Frame {
        for &slot in &self.slots {
            self.raw += 1;
            self.encoder.set(slot, self.raw);
        }
        let mut payload = Vec::new();
        self.encoder.encode(ts_ms, &mut payload);
        v1::Frame { payload: payload.into() }
    }

    /// Frames a millisecond apart that end at `last_ms`.
    pub fn frames(&mut self, count: i64, last_ms: i64) -> Vec<v1::Frame> {
        (1..=count).map(|n| self.frame(last_ms - count + n)).collect()
    }

    pub fn hello(&self, acked_seq: u64) -> v1::Hello {
        v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            node: self.node.clone(),
            epoch: self.epoch.clone(),
            agent_version: "0.0.1".into(),
            interval_ms: 1_000,
            acked_seq,
            host: Some(v1::Host { cpus: 2, ..v1::Host::default() }),
            lane: v1::Lane::Live.into(),
        }
    }

    /// Opens a stream on the live lane and sends the dictionary.
    pub async fn connect(&self, collector: &Collector, acked_seq: u64) -> Stream {
        self.connect_lane(collector, acked_seq, v1::Lane::Live).await.unwrap()
    }

    /// Opens a stream and sends the dictionary.
    pub async fn connect_lane(
        &self,
        collector: &Collector,
        acked_seq: u64,
        lane: v1::Lane,
    ) -> Result<Stream, Status> {
        let hello = v1::Hello { lane: lane.into(), ..self.hello(acked_seq) };
        let stream = Stream::open(collector, Up::Hello(hello)).await?;
        for define in self.encoder.definitions() {
            stream.send(Up::Define(define)).await;
        }
        Ok(stream)
    }
}

impl Stream {
    /// Opens a stream with `first` as its first message and waits for Welcome.
    pub async fn open(collector: &Collector, first: Up) -> Result<Self, Status> {
        let mut client = TelemetryClient::new(collector.channel().await);
        let (up, messages) = mpsc::channel(1_024);
        up.send(v1::AgentMessage { kind: Some(first) }).await.unwrap();
        let mut down = client.stream(ReceiverStream::new(messages)).await?.into_inner();
        let welcome = match timeout(DEADLINE, down.message()).await.expect("an answer to hello")? {
            Some(v1::CollectorMessage { kind: Some(Down::Welcome(welcome)) }) => welcome,
            other => panic!("{other:?} and not welcome"),
        };
        let acked = v1::Ack::default();
        Ok(Self { up, down, welcome, acked, credit: None })
    }

    pub async fn send(&self, kind: Up) {
        // A stream that has ended tells why by what it answers.
        let _ = self.up.send(v1::AgentMessage { kind: Some(kind) }).await;
    }

    pub async fn send_frames(&self, frames: &[v1::Frame]) {
        for frame in frames {
            self.send(Up::Frame(frame.clone())).await;
        }
    }

    /// The next message; `None` when the collector has ended the stream in order.
    pub async fn next(&mut self) -> Result<Option<Down>, Status> {
        let message = timeout(DEADLINE, self.down.message()).await.expect("a message in time")?;
        let kind = message.and_then(|message| message.kind);
        match &kind {
            Some(Down::Ack(ack)) => {
                self.acked.durable_seq = ack.durable_seq;
                self.acked.written += ack.written;
                self.acked.rejected.extend(ack.rejected.iter().cloned());
            }
            Some(Down::Credit(credit)) => self.credit = Some(credit.frames),
            _ => {}
        }
        Ok(kind)
    }

    /// Reads until frames up to `seq` are durable.
    pub async fn wait_for_ack(&mut self, seq: u64) {
        while self.acked.durable_seq < seq {
            assert!(self.next().await.unwrap().is_some(), "ended before the acknowledgement");
        }
    }

    /// Reads until the last credit is `frames`.
    pub async fn wait_for_credit(&mut self, frames: u32) {
        while self.credit != Some(frames) {
            assert!(self.next().await.unwrap().is_some(), "ended before the credit");
        }
    }

    /// Reads until a resync is asked for.
    pub async fn wait_for_resync(&mut self) -> String {
        loop {
            if let Some(Down::Resync(resync)) = self.next().await.unwrap() {
                return resync.reason;
            }
        }
    }

    /// Reads to the end of the stream, which must be an error.
    pub async fn wait_for_status(&mut self) -> Status {
        loop {
            match self.next().await {
                Ok(Some(_)) => {}
                Ok(None) => panic!("ended without a status"),
                Err(status) => return status,
            }
        }
    }

    /// Nothing is acknowledged for this long.
    pub async fn expect_no_ack(&mut self, duration: Duration) {
        let acked_seq = self.acked.durable_seq;
        let quiet = timeout(duration, async {
            while self.acked.durable_seq == acked_seq {
                self.next().await.unwrap();
            }
        });
        quiet.await.expect_err("nothing is acknowledged");
    }
}
