//! A simulated agent: the real frame codec over a real gRPC stream, with samples from [`crate::workload`].

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use flyball_proto::frame::{Encoder, Limits, Slot};
use flyball_proto::v1;
use flyball_proto::v1::telemetry_client::TelemetryClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use crate::workload::{Node, STEP_MS, Template};

/// Messages that wait for the stream at most; above that the simulated agent waits.
const QUEUE: usize = 16;

/// What is sent for one node.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Seed of the workload.
    pub seed: u64,
    /// Number of the node in the fleet.
    pub index: u64,
    /// Time of the first sample.
    pub start_ms: i64,
    /// Samples of each series.
    pub ticks: usize,
}

/// A channel to a collector, to be shared by many simulated agents.
///
/// # Errors
/// When it cannot be reached.
pub async fn connect(address: SocketAddr) -> Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?.connect().await?)
}

/// Sends everything that `plan` says and waits until the collector has acknowledged all of it. Gives the samples written.
///
/// # Errors
/// When the collector ends the stream, rejects a sample, or acknowledges less.
pub async fn send(channel: Channel, templates: &[Template], plan: Plan) -> Result<u64> {
    let (to_collector, queue) = mpsc::channel(QUEUE);
    to_collector.send(message(v1::agent_message::Kind::Hello(hello(plan)))).await?;
    let mut client = TelemetryClient::new(channel);
    let mut answers = client.stream(ReceiverStream::new(queue)).await?.into_inner();

    let welcome = answers.message().await?.context("the collector ended the stream")?;
    let Some(v1::collector_message::Kind::Welcome(welcome)) = welcome.kind else {
        bail!("the first answer is not Welcome");
    };
    let mut sender = Sender::new(templates, plan)?;
    for define in sender.definitions() {
        to_collector.send(message(v1::agent_message::Kind::Define(define))).await?;
    }
    let (mut credits, mut sent, mut durable, mut written) = (u64::from(welcome.credits), 0, 0, 0);
    while durable < plan.ticks as u64 {
        while sent < plan.ticks as u64 && sent - durable < credits {
            let frame = sender.next_frame();
            to_collector.send(message(v1::agent_message::Kind::Frame(frame))).await?;
            sent += 1;
        }
        match answers.message().await?.context("the collector ended the stream")?.kind {
            Some(v1::collector_message::Kind::Ack(ack)) => {
                ensure!(ack.rejected.is_empty(), "rejected: {:?}", ack.rejected);
                durable = ack.durable_seq - sender.first_seq + 1;
                written += ack.written;
            }
            Some(v1::collector_message::Kind::Credit(credit)) => credits = credit.frames.into(),
            other => bail!("unexpected answer {other:?}"),
        }
    }
    Ok(written)
}

struct Sender {
    encoder: Encoder,
    slots: Vec<Slot>,
    node: Node,
    scales: Vec<flyball_proto::series::Scale>,
    next_ms: i64,
    first_seq: u64,
}

impl Sender {
    fn new(templates: &[Template], plan: Plan) -> Result<Self> {
        let mut encoder = Encoder::new(Limits::default());
        let slots: Result<Vec<_>, _> =
            templates.iter().map(|template| encoder.define(template.series.clone())).collect();
        Ok(Self {
            slots: slots?,
            node: Node::new(templates, plan.seed, plan.index),
            scales: templates.iter().map(|template| template.series.scale).collect(),
            next_ms: plan.start_ms,
            first_seq: encoder.next_seq(),
            encoder,
        })
    }

    fn definitions(&mut self) -> Vec<v1::Define> {
        std::iter::from_fn(|| self.encoder.pending_define()).collect()
    }

    fn next_frame(&mut self) -> v1::Frame {
        for ((value, scale), slot) in self.node.tick().iter().zip(&self.scales).zip(&self.slots) {
            if let Some(raw) = scale.raw(*value) {
                self.encoder.set(*slot, raw);
            }
        }
        let mut payload = Vec::new();
        self.encoder.encode(self.next_ms, &mut payload);
        self.next_ms += STEP_MS;
        v1::Frame { payload: payload.into() }
    }
}

fn message(kind: v1::agent_message::Kind) -> v1::AgentMessage {
    v1::AgentMessage { kind: Some(kind) }
}

fn hello(plan: Plan) -> v1::Hello {
    v1::Hello {
        protocol_version: flyball_proto::PROTOCOL_VERSION,
        node: format!("node-{:04}", plan.index),
        epoch: u128::from(plan.index).to_be_bytes().to_vec(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        interval_ms: STEP_MS as u32,
        acked_seq: 0,
        host: None,
        lane: v1::Lane::Live.into(),
    }
}
