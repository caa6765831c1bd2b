//! The stream `Telemetry.Stream` of such an agent: the series that the sampler of Redis gives, a minute of them at once and then as time goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_proto::frame::{Encoder, Limits, Slot};
use flyball_proto::series::{Kind, Scale, Series};
use flyball_proto::v1;
use flyball_proto::v1::agent_message::Kind as Up;
use flyball_proto::v1::collector_message::Kind as Down;
use flyball_proto::v1::telemetry_client::TelemetryClient;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::{REQUESTS, Server};
use crate::load::now_ms;

/// Time between two ticks, milliseconds.
const TICK_MS: i64 = 500;
/// Ticks of the past.
const PAST: i64 = 140;

/// The stream and what was sent.
pub(super) struct Stream {
    server: Arc<Server>,
    encoder: Encoder,
    slots: Vec<Slot>,
    up: mpsc::Sender<v1::AgentMessage>,
    down: Streaming<v1::CollectorMessage>,
    credits: u64,
    sent: u64,
    durable: u64,
    counters: Counters,
}

/// What only grows.
#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    ticks: u64,
    hits: f64,
    misses: f64,
    evicted: f64,
    expired: f64,
    started_ms: i64,
}

impl Stream {
    /// Connects, defines the series and sends the past.
    pub(super) async fn open(grpc: SocketAddr, server: Arc<Server>) -> Result<Self> {
        let mut encoder = Encoder::new(Limits::default());
        let slots = series(&server.name).map(|one| encoder.define(one));
        let slots = slots.into_iter().collect::<Result<_, _>>()?;
        let (up, queue) = mpsc::channel(64);
        up.send(message(Up::Hello(hello(&server.node)))).await?;
        let mut client = TelemetryClient::new(super::channel(grpc).await?);
        let down = client.stream(ReceiverStream::new(queue)).await?.into_inner();
        let counters = Counters { started_ms: now_ms() - 3_600_000, ..Counters::default() };
        let mut stream =
            Self { server, encoder, slots, up, down, credits: 0, sent: 0, durable: 0, counters };
        while stream.credits == 0 {
            stream.receive().await?;
        }
        while let Some(define) = stream.encoder.pending_define() {
            stream.up.send(message(Up::Define(define))).await?;
        }
        let from_ms = now_ms() - PAST * TICK_MS;
        for tick in 0..PAST {
            stream.tick(from_ms + tick * TICK_MS).await?;
        }
        while stream.durable < stream.sent {
            stream.receive().await?;
        }
        Ok(stream)
    }

    /// Goes on with time until the collector ends the stream.
    pub(super) async fn run(mut self) -> Result<()> {
        let mut ticks = interval(Duration::from_millis(TICK_MS as u64));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.tick(now_ms()).await?,
                answer = self.down.message() => {
                    let answer = answer?.context("the collector ended the stream")?;
                    self.take(answer)?;
                }
            }
        }
    }

    async fn tick(&mut self, ts_ms: i64) -> Result<()> {
        while self.sent - self.durable >= self.credits {
            self.receive().await?;
        }
        self.counters.tick(self.server.hit_ratio());
        for (slot, raw) in self.slots.iter().zip(self.counters.values(self.server.limit())) {
            self.encoder.set(*slot, raw);
        }
        let mut payload = Vec::new();
        self.sent = self.encoder.encode(ts_ms, &mut payload).seq;
        let frame = v1::Frame { payload: payload.into() };
        self.up.send(message(Up::Frame(frame))).await.context("the stream has ended")
    }

    async fn receive(&mut self) -> Result<()> {
        let answer = self.down.message().await?.context("the collector ended the stream")?;
        self.take(answer)
    }

    fn take(&mut self, answer: v1::CollectorMessage) -> Result<()> {
        match answer.kind.context("an empty message")? {
            Down::Welcome(welcome) => self.credits = u64::from(welcome.credits),
            Down::Credit(credit) => self.credits = u64::from(credit.frames),
            Down::Ack(ack) => {
                ensure!(ack.rejected.is_empty(), "rejected: {:?}", ack.rejected);
                self.durable = ack.durable_seq;
            }
            Down::Resync(_) => {}
        }
        Ok(())
    }
}

impl Counters {
    fn tick(&mut self, hit_ratio: f64) {
        self.ticks += 1;
        // A number that only looks random, of the size of chance among so many requests.
        let noise = self.ticks.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let noise = (noise as f64 / f64::from(1 << 24) - 0.5) * 0.02;
        let requests = REQUESTS * TICK_MS as f64 / 1_000.0;
        let hits = (hit_ratio + noise) * requests;
        self.hits += hits;
        self.misses += requests - hits;
        self.evicted += (requests - hits) * 0.8;
        self.expired += 6.25;
    }

    /// In the order of [`series`].
    fn values(&self, limit: u64) -> [i64; 16] {
        let misses = |share: f64| (self.misses * share) as i64;
        let limit = limit as i64;
        [
            self.hits as i64,
            self.misses as i64,
            self.evicted as i64,
            self.expired as i64,
            limit - limit / 50,
            limit + (10 << 20),
            limit,
            20,
            limit / 1_200,
            self.started_ms,
            1,
            1,
            misses(0.81),
            misses(0.07),
            misses(0.02),
            misses(0.1),
        ]
    }
}

fn series(cache: &str) -> [Series; 16] {
    use Kind::{Counter, Gauge};
    let one = |metric: &str, kind: Kind, unit: &str, more: &[(&str, &str)]| {
        let own = [("cache", cache)];
        let all = own.iter().chain(more).map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
        let mut attributes: Vec<_> = all.collect();
        attributes.sort();
        let is_time = metric == "flyball.redis.started";
        let scale = if is_time { Scale::decimal(3) } else { Scale::UNIT };
        Series { metric: metric.to_owned(), unit: unit.to_owned(), kind, scale, attributes }
    };
    let reason =
        |name: &str| one("flyball.redis.misses", Counter, "{miss}", &[("flyball.reason", name)]);
    let info = [
        ("eviction_policy", "allkeys-lru"),
        ("mode", "standalone"),
        ("product", "redis"),
        ("role", "primary"),
        ("version", "7.4.0"),
    ];
    [
        one("redis.keyspace.hits", Counter, "{hit}", &[]),
        one("redis.keyspace.misses", Counter, "{miss}", &[]),
        one("redis.keys.evicted", Counter, "{key}", &[]),
        one("redis.keys.expired", Counter, "{key}", &[]),
        one("redis.memory.used", Gauge, "By", &[]),
        one("redis.memory.rss", Gauge, "By", &[]),
        one("redis.maxmemory", Gauge, "By", &[]),
        one("redis.clients.connected", Gauge, "{client}", &[]),
        one("redis.db.keys", Gauge, "{key}", &[("db", "0")]),
        one("flyball.redis.started", Gauge, "s", &[]),
        one("flyball.redis.info", Gauge, "1", &info),
        one("flyball.redis.up", Gauge, "1", &[]),
        reason("capacity"),
        reason("expired"),
        reason("invalidated"),
        reason("cold"),
    ]
}

fn hello(node: &str) -> v1::Hello {
    v1::Hello {
        protocol_version: flyball_proto::PROTOCOL_VERSION,
        node: node.to_owned(),
        epoch: rand::random::<[u8; 16]>().to_vec(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        interval_ms: TICK_MS as u32,
        ..v1::Hello::default()
    }
}

fn message(kind: Up) -> v1::AgentMessage {
    v1::AgentMessage { kind: Some(kind) }
}
