//! One simulated agent: a schedule, an outbox, a stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use flyball_proto::frame::{Encoder, Limits, Slot};
use flyball_proto::v1;
use flyball_proto::v1::agent_message::Kind as Up;
use flyball_proto::v1::collector_message::Kind as Down;
use flyball_proto::v1::telemetry_client::TelemetryClient;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::Channel;

use super::Pace;
use super::story::{Stories, Teller};
use crate::workload::Template;

/// Messages that wait for the connection at most. More than the credits, so that only credits hold an agent back.
const QUEUE: usize = 256;
/// Frames that wait for credits or for acknowledgement at most. A collector that falls this far behind has failed the run.
const OUTBOX: usize = 4_096;

/// What all agents of a run share.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) templates: Vec<Template>,
    pub(super) stories: Arc<Stories>,
    pub(super) seed: u64,
    pub(super) pace: Pace,
    /// Series of an agent that end and make room for new ones in a minute.
    pub(super) churn: f64,
    pub(super) agents: u64,
    /// The instant at which latencies are counted from, and the wall clock then, in milliseconds.
    pub(super) origin: (Instant, i64),
    /// From now on agents make frames; before, one each, so that its series are stored.
    pub(super) go: CancellationToken,
    /// Nothing new is made any more: agents wait for their last acknowledgements.
    pub(super) stop: CancellationToken,
    /// Of a history, the time of the newest frames that may be made, in milliseconds.
    pub(super) released: watch::Sender<i64>,
    /// Tells the streams of this run from those of others on the same database.
    pub(super) run: u64,
    pub(super) totals: Totals,
}

/// Sums over all agents.
#[derive(Debug, Default)]
pub(super) struct Totals {
    /// Agents that were welcomed.
    pub(super) connected: AtomicU64,
    /// Agents whose first frame was acknowledged: their series are stored.
    pub(super) defined: AtomicU64,
    /// Frames acknowledged.
    pub(super) frames: AtomicU64,
    /// Samples acknowledged.
    pub(super) acked: AtomicU64,
    /// Sum of the raw integers of the samples acknowledged.
    pub(super) acked_raw: AtomicI64,
}

/// When a frame was due and how long after that it was acknowledged, in microseconds; the first since the run's origin.
#[derive(Debug, Clone, Copy)]
pub(super) struct Acked {
    pub(super) due_us: u64,
    pub(super) latency_us: u64,
}

/// A frame that is not acknowledged.
struct Pending {
    due: Instant,
    seq: u64,
    samples: u64,
    raw: i64,
}

/// The series of an agent, some of which end while new ones begin, as processes do.
struct Turnover {
    /// Where each series of the templates is in the dictionary.
    slots: Vec<Slot>,
    /// Series that are to be replaced by now.
    owed: f64,
    /// Series replaced so far.
    replaced: usize,
}

/// See the module.
pub(super) struct Agent {
    fleet: Arc<Fleet>,
    index: u64,
    encoder: Encoder,
    turnover: Turnover,
    teller: Teller,
    /// Definitions and frames in the order in which they are to be sent.
    outbox: VecDeque<Up>,
    /// Frames in the outbox and on their way, oldest first.
    pending: VecDeque<Pending>,
    sent: usize,
    credits: usize,
    /// When the next frame is due and its timestamp; in a flood and a history, the last one's.
    next: (Instant, i64),
    released: watch::Receiver<i64>,
    acked: Vec<Acked>,
}

impl Fleet {
    /// The first tick after now of agent `index`; of a history, the one before its first.
    fn first_tick(&self, index: u64) -> (Instant, i64) {
        let (origin, wall_ms) = self.origin;
        if let Pace::History(history) = self.pace {
            return (origin, history.from_ms - history.step_ms());
        }
        let interval_ms = self.pace.interval().as_millis() as i64;
        let elapsed_ms = origin.elapsed().as_millis() as i64;
        let offset_ms = match self.pace {
            Pace::Spread(_) => index as i64 * interval_ms / self.agents as i64,
            Pace::Aligned(_) | Pace::Flood | Pace::History(_) => 0,
        };
        let tick = (wall_ms + elapsed_ms - offset_ms).div_euclid(interval_ms) + 1;
        let ts_ms = tick * interval_ms + offset_ms;
        (origin + Duration::from_millis((ts_ms - wall_ms) as u64), ts_ms)
    }
}

impl Turnover {
    fn new(encoder: &mut Encoder, fleet: &Fleet) -> Result<Self> {
        let define = |template: &Template| encoder.define(template.series.clone());
        let slots = fleet.templates.iter().map(define).collect::<Result<_, _>>()?;
        Ok(Self { slots, owed: 0.0, replaced: 0 })
    }

    /// Replaces what is due with a tick: one series after the other, in turn.
    fn tick(&mut self, encoder: &mut Encoder, fleet: &Fleet) -> Result<()> {
        self.owed += fleet.churn * fleet.pace.interval().as_secs_f64() / 60.0;
        while self.owed >= 1.0 {
            self.owed -= 1.0;
            let place = self.replaced % self.slots.len();
            self.replaced += 1;
            encoder.retire(self.slots[place]);
            let mut series = fleet.templates[place].series.clone();
            series.attributes.push(("process.pid".to_owned(), self.replaced.to_string()));
            series.attributes.sort();
            self.slots[place] = encoder.define(series)?;
        }
        if encoder.needs_new_dictionary() {
            let renumbering = encoder.restart_dictionary();
            for slot in &mut self.slots {
                *slot = renumbering.get(*slot).context("a slot that is in use was retired")?;
            }
        }
        Ok(())
    }
}

impl Agent {
    pub(super) fn new(fleet: Arc<Fleet>, index: u64) -> Result<Self> {
        let mut encoder = Encoder::new(Limits::default());
        let turnover = Turnover::new(&mut encoder, &fleet)?;
        let mut teller = Teller::new(Arc::clone(&fleet.stories), fleet.seed, index);
        if let Pace::History(history) = fleet.pace {
            teller.skip(history.first_tick());
        }
        Ok(Self {
            encoder,
            turnover,
            teller,
            released: fleet.released.subscribe(),
            outbox: VecDeque::new(),
            pending: VecDeque::new(),
            sent: 0,
            credits: 0,
            next: (fleet.origin.0, 0),
            acked: Vec::new(),
            fleet,
            index,
        })
    }

    /// Connects, sends until the run is stopped, and waits for the last acknowledgement. Gives the latencies.
    pub(super) async fn run(mut self, channel: Channel) -> Result<Vec<Acked>> {
        let (up, queue) = mpsc::channel(QUEUE);
        up.send(message(Up::Hello(self.hello()))).await?;
        let mut client = TelemetryClient::new(channel);
        let mut down = client.stream(ReceiverStream::new(queue)).await?.into_inner();
        match receive(&mut down).await? {
            Down::Welcome(welcome) => self.credits = welcome.credits as usize,
            other => bail!("the first answer is {other:?}"),
        }
        while let Some(define) = self.encoder.pending_define() {
            up.send(message(Up::Define(define))).await?;
        }
        self.fleet.totals.connected.fetch_add(1, Ordering::Relaxed);
        self.next = self.fleet.first_tick(self.index);
        while !self.is_finished() {
            self.fill();
            self.send(&up);
            let stopping = self.fleet.stop.is_cancelled();
            let is_timed = matches!(self.fleet.pace, Pace::Aligned(_) | Pace::Spread(_));
            tokio::select! {
                biased;
                answer = receive(&mut down) => self.take(answer?)?,
                () = sleep_until(self.next.0), if !stopping && is_timed => self.tick()?,
                Ok(()) = self.released.changed(), if !stopping && !is_timed => {}
                () = self.fleet.go.cancelled(), if !self.fleet.go.is_cancelled() => {}
                () = self.fleet.stop.cancelled(), if !stopping => {}
            }
        }
        Ok(self.acked)
    }

    fn is_finished(&self) -> bool {
        self.fleet.stop.is_cancelled() && self.pending.is_empty()
    }

    /// Makes what is due. A late agent makes up for every tick: none is left out.
    fn tick(&mut self) -> Result<()> {
        let interval = self.fleet.pace.interval();
        while self.next.0 <= Instant::now() {
            let (due, ts_ms) = self.next;
            self.next = (due + interval, ts_ms + interval.as_millis() as i64);
            ensure!(self.pending.len() < OUTBOX, "the collector is {OUTBOX} frames behind");
            if self.fleet.go.is_cancelled() || self.acked.is_empty() {
                self.turnover.tick(&mut self.encoder, &self.fleet)?;
                self.frame(due, ts_ms);
            }
        }
        Ok(())
    }

    /// In a flood and a history: makes as many frames as the credits allow. Those of a flood are
    /// of now, no two of the same time; those of a history go as far as is released.
    fn fill(&mut self) {
        let is_timed = matches!(self.fleet.pace, Pace::Aligned(_) | Pace::Spread(_));
        if is_timed || self.fleet.stop.is_cancelled() {
            return;
        }
        // One frame is enough to have the series stored.
        let is_going = self.fleet.go.is_cancelled();
        let credits = if is_going { self.credits } else { usize::from(self.acked.is_empty()) };
        let step_ms = self.fleet.pace.interval().as_millis() as i64;
        while self.pending.len() < credits {
            let mut ts_ms = self.next.1 + step_ms;
            if self.fleet.pace == Pace::Flood {
                ts_ms = ts_ms.max(now_ms() / step_ms * step_ms);
            } else if ts_ms > *self.released.borrow_and_update() {
                return;
            }
            self.next.1 = ts_ms;
            self.frame(Instant::now(), ts_ms);
        }
    }

    fn frame(&mut self, due: Instant, ts_ms: i64) {
        let (mut sum, encoder, slots) = (0_i64, &mut self.encoder, &self.turnover.slots);
        self.teller.tell(|series, raw| {
            encoder.set(slots[series], raw);
            sum = sum.wrapping_add(raw);
        });
        while let Some(define) = encoder.pending_define() {
            self.outbox.push_back(Up::Define(define));
        }
        let mut payload = Vec::with_capacity(512);
        let info = self.encoder.encode(ts_ms, &mut payload);
        self.outbox.push_back(Up::Frame(v1::Frame { payload: payload.into() }));
        self.pending.push_back(Pending {
            due,
            seq: info.seq,
            samples: info.samples as u64,
            raw: sum,
        });
    }

    /// Sends what the credits allow.
    fn send(&mut self, up: &mpsc::Sender<v1::AgentMessage>) {
        while self.sent < self.credits.min(QUEUE) {
            let Some(kind) = self.outbox.pop_front() else { return };
            let is_frame = matches!(kind, Up::Frame(_));
            match up.try_send(message(kind)) {
                Ok(()) => self.sent += usize::from(is_frame),
                // The connection ends: the answers say why.
                Err(mpsc::error::TrySendError::Closed(_)) => return,
                Err(mpsc::error::TrySendError::Full(message)) => {
                    self.outbox.extend(message.kind);
                    self.outbox.rotate_right(1);
                    return;
                }
            }
        }
    }

    fn take(&mut self, answer: Down) -> Result<()> {
        match answer {
            Down::Ack(ack) => self.ack(&ack),
            Down::Credit(credit) => {
                self.credits = credit.frames as usize;
                Ok(())
            }
            other => bail!("unexpected answer {other:?}"),
        }
    }

    fn ack(&mut self, ack: &v1::Ack) -> Result<()> {
        ensure!(ack.rejected.is_empty(), "rejected: {:?}", ack.rejected);
        let (now, origin, totals) = (Instant::now(), self.fleet.origin.0, &self.fleet.totals);
        if self.acked.is_empty() {
            totals.defined.fetch_add(1, Ordering::Relaxed);
        }
        let (mut samples, mut raw) = (0, 0_i64);
        // Of a history nobody asks for the latencies, and they are many.
        let is_history = matches!(self.fleet.pace, Pace::History(_));
        while let Some(frame) = self.pending.pop_front_if(|frame| frame.seq <= ack.durable_seq) {
            samples += frame.samples;
            raw = raw.wrapping_add(frame.raw);
            self.sent -= 1;
            let us = |duration: Duration| duration.as_micros() as u64;
            let (due_us, latency_us) = (us(frame.due - origin), us(now - frame.due));
            totals.frames.fetch_add(1, Ordering::Relaxed);
            if !is_history || self.acked.is_empty() {
                self.acked.push(Acked { due_us, latency_us });
            }
        }
        ensure!(samples == ack.written, "{} written of {samples} acknowledged", ack.written);
        totals.acked.fetch_add(samples, Ordering::Relaxed);
        totals.acked_raw.fetch_add(raw, Ordering::Relaxed);
        Ok(())
    }

    fn hello(&self) -> v1::Hello {
        v1::Hello {
            protocol_version: flyball_proto::PROTOCOL_VERSION,
            node: node_name(self.index),
            epoch: (u128::from(self.fleet.run) << 64 | u128::from(self.index))
                .to_be_bytes()
                .to_vec(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            interval_ms: self.fleet.pace.interval().as_millis() as u32,
            acked_seq: 0,
            host: None,
            ..v1::Hello::default()
        }
    }
}

async fn receive(down: &mut Streaming<v1::CollectorMessage>) -> Result<Down> {
    let message = down.message().await?.context("the collector ended the stream")?;
    message.kind.context("an empty message")
}

fn message(kind: Up) -> v1::AgentMessage {
    v1::AgentMessage { kind: Some(kind) }
}

/// Name of agent number `index`.
pub(crate) fn node_name(index: u64) -> String {
    format!("load-{index:05}")
}

/// The wall clock, in milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |age| age.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use flyball_proto::frame::Decoder;

    use super::*;
    use crate::workload::templates;

    fn fleet(churn: f64) -> Arc<Fleet> {
        let templates = templates();
        Arc::new(Fleet {
            stories: Arc::new(Stories::new(&templates, 7)),
            templates,
            seed: 7,
            pace: Pace::Aligned(Duration::from_secs(10)),
            churn,
            agents: 1,
            origin: (Instant::now(), now_ms()),
            go: CancellationToken::new(),
            stop: CancellationToken::new(),
            released: watch::Sender::new(0),
            run: 1,
            totals: Totals::default(),
        })
    }

    #[test]
    fn series_that_are_replaced_keep_their_number_and_every_frame_has_its_definitions() {
        let fleet = fleet(60.0);
        let mut agent = Agent::new(Arc::clone(&fleet), 0).unwrap();
        let mut decoder = Decoder::new(Limits::default());
        let mut seen = BTreeSet::new();
        for tick in 1..=30 {
            agent.turnover.tick(&mut agent.encoder, &fleet).unwrap();
            agent.frame(Instant::now(), tick * 10_000);
            for kind in agent.outbox.drain(..) {
                match kind {
                    Up::Define(define) => drop(decoder.define(define).unwrap()),
                    Up::Frame(frame) => {
                        let decoded = decoder.decode(&frame.payload).unwrap();
                        assert_eq!(decoded.samples.len(), fleet.templates.len());
                        for sample in decoded.samples {
                            let series = decoded.series(sample.slot).unwrap();
                            seen.insert((series.metric.clone(), series.attributes.clone()));
                        }
                    }
                    other => panic!("{other:?}"),
                }
            }
        }
        // Ten in each interval of ten seconds, from the first tick on.
        assert_eq!(seen.len(), fleet.templates.len() - 10 + 30 * 10);
    }
}
