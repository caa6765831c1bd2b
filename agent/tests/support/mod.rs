//! A collector whose every answer the test decides, and a producer of real frames.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use flyball_agent::ship::Ship;
use flyball_agent::ship::outbox::{Outbox, OutboxSettings, SharedOutbox, Shed, Totals};
use flyball_agent::spool::disk::Disk;
use flyball_agent::spool::memory_disk::MemoryDisk;
use flyball_agent::spool::{NewFrame, Spool, SpoolSettings, Syncing};
use flyball_proto::frame::{Decoder, Encoder, Limits, Remedy, Slot, peek};
use flyball_proto::series::{Kind, Scale, Series};
use flyball_proto::v1;
use flyball_proto::v1::telemetry_server::{Telemetry, TelemetryServer};
use tokio::net::TcpSocket;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::codegen::Bytes;
use tonic::{Request, Response, Status, Streaming};

/// No wait in these tests is longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two frames, by their timestamps.
const INTERVAL_MS: u32 = 1_000;
/// Silence for this long is taken for silence.
const SILENCE: Duration = Duration::from_millis(100);

/// Waits until the condition holds.
pub(crate) async fn eventually(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.expect("the condition does not come true");
}

async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("it does not happen")
}

/// Hands the streams that agents open to the test.
pub(crate) struct Collector {
    address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    _stop: tokio_util::sync::DropGuard,
}

/// A port on which nobody listens yet.
pub(crate) struct Reserved(TcpSocket);

/// One stream of an agent.
pub(crate) struct Stream {
    requests: Streaming<v1::AgentMessage>,
    answers: mpsc::Sender<Result<v1::CollectorMessage, Status>>,
    decoder: Decoder,
}

struct Service(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl Telemetry for Service {
    type StreamStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::CollectorMessage, Status>> + Send>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (answers, stream) = mpsc::channel(16);
        let decoder = Decoder::new(Limits::default());
        let requests = request.into_inner();
        let stream_of_test = Stream { requests, answers, decoder };
        self.0.send(stream_of_test).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Reserved {
    pub(crate) fn address(&self) -> SocketAddr {
        self.0.local_addr().unwrap()
    }

    pub(crate) fn open(self) -> Collector {
        let listener = self.0.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, streams) = mpsc::channel(16);
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(TelemetryServer::new(Service(accepted)))
            .serve_with_incoming_shutdown(
                TcpListenerStream::new(listener),
                stop.clone().cancelled_owned(),
            );
        tokio::spawn(server);
        Collector { address, streams, _stop: stop.drop_guard() }
    }
}

impl Collector {
    pub(crate) fn start() -> Self {
        Self::reserve().open()
    }

    pub(crate) fn reserve() -> Reserved {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Reserved(socket)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn accept(&mut self) -> Stream {
        soon(self.streams.recv()).await.expect("the server runs")
    }
}

impl Stream {
    pub(crate) async fn hello(&mut self) -> v1::Hello {
        match self.message().await {
            v1::agent_message::Kind::Hello(hello) => hello,
            other => panic!("{other:?} is not Hello"),
        }
    }

    pub(crate) async fn welcome(&mut self, credits: u32) {
        self.welcome_limited(credits, 0).await;
    }

    /// Takes frames of so many bytes at most.
    pub(crate) async fn welcome_limited(&mut self, credits: u32, frame_bytes: u32) {
        let limits = Some(v1::Limits { frame_bytes, ..v1::Limits::default() });
        let welcome = v1::Welcome { collector: "test".to_owned(), limits, credits };
        self.send(v1::collector_message::Kind::Welcome(welcome)).await;
    }

    pub(crate) async fn ack(&mut self, durable_seq: u64) {
        self.ack_rejecting(durable_seq, 0).await;
    }

    pub(crate) async fn ack_rejecting(&mut self, durable_seq: u64, samples: u64) {
        let rejection = v1::Rejection { slot: 0, samples, reason: "test".to_owned() };
        let rejected = if samples == 0 { Vec::new() } else { vec![rejection] };
        let ack = v1::Ack { durable_seq, written: 0, rejected };
        self.send(v1::collector_message::Kind::Ack(ack)).await;
    }

    pub(crate) async fn credit(&mut self, frames: u32) {
        self.send(v1::collector_message::Kind::Credit(v1::Credit { frames })).await;
    }

    pub(crate) async fn resync(&mut self) {
        let resync = v1::Resync { reason: "test".to_owned() };
        self.send(v1::collector_message::Kind::Resync(resync)).await;
    }

    pub(crate) async fn refuse(self, status: Status) {
        self.answers.send(Err(status)).await.expect("the stream is open");
    }

    /// Takes a message of definitions.
    pub(crate) async fn definitions(&mut self) -> v1::Define {
        loop {
            match self.message().await {
                v1::agent_message::Kind::Define(define) => {
                    self.decoder.define(define.clone()).unwrap();
                    return define;
                }
                v1::agent_message::Kind::Report(_) => {}
                other => panic!("{other:?} is not Define"),
            }
        }
    }

    /// Numbers of the next frames, each decoded.
    pub(crate) async fn frames(&mut self, count: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        while seqs.len() < count {
            match self.message().await {
                v1::agent_message::Kind::Define(define) => {
                    self.decoder.define(define).unwrap();
                }
                v1::agent_message::Kind::Frame(frame) => {
                    let decoded = match self.decoder.decode(&frame.payload) {
                        Err(error) if error.remedy() == Remedy::Skip => continue,
                        decoded => decoded.unwrap(),
                    };
                    for sample in decoded.samples {
                        if decoded.series(sample.slot).unwrap().metric == Producer::METRIC {
                            assert_eq!(sample.raw, Producer::value(decoded.seq));
                        }
                    }
                    seqs.push(decoded.seq);
                }
                v1::agent_message::Kind::Report(_) => {}
                other @ v1::agent_message::Kind::Hello(_) => panic!("{other:?} is no frame"),
            }
        }
        seqs
    }

    /// True when the next frame has this number and is a keyframe.
    pub(crate) async fn next_is_keyframe(&mut self, seq: u64) -> bool {
        let peek = peek(&self.payload().await).unwrap();
        peek.seq == seq && peek.keyframe
    }

    /// Takes a frame and does not decode it.
    pub(crate) async fn lose_frame(&mut self, seq: u64) {
        assert_eq!(peek(&self.payload().await).unwrap().seq, seq);
    }

    /// True when the next frame builds upon one that was not decoded.
    pub(crate) async fn frame_is_out_of_thread(&mut self) -> bool {
        let payload = self.payload().await;
        self.decoder.decode(&payload).is_err_and(|error| error.remedy() == Remedy::Resync)
    }

    async fn payload(&mut self) -> Bytes {
        self.payload_or_end().await.expect("the stream goes on")
    }

    /// The next frame, or nothing when the agent has ended the stream. Definitions before it are taken over.
    pub(crate) async fn payload_or_end(&mut self) -> Option<Bytes> {
        loop {
            let message = soon(self.requests.message()).await.expect("it ends in order");
            match message?.kind {
                Some(v1::agent_message::Kind::Frame(frame)) => return Some(frame.payload),
                Some(v1::agent_message::Kind::Define(define)) => {
                    self.decoder.define(define).unwrap();
                }
                Some(v1::agent_message::Kind::Report(_)) => {}
                other => panic!("{other:?} is no frame"),
            }
        }
    }

    /// True when nothing comes for a while.
    pub(crate) async fn is_silent(&mut self) -> bool {
        tokio::time::timeout(SILENCE, self.requests.message()).await.is_err()
    }

    /// True when the agent has ended the stream.
    pub(crate) async fn has_ended(mut self) -> bool {
        loop {
            match soon(self.requests.message()).await {
                Ok(None) => return true,
                Ok(Some(v1::AgentMessage { kind: Some(v1::agent_message::Kind::Report(_)) })) => {}
                _ => return false,
            }
        }
    }

    /// Number of the next frame; `None` when the stream is over in whatever way. Definitions before it are taken over.
    pub(crate) async fn frame_or_gone(&mut self) -> Option<u64> {
        loop {
            match soon(self.requests.message()).await.ok()??.kind? {
                v1::agent_message::Kind::Frame(frame) => {
                    match self.decoder.decode(&frame.payload) {
                        Err(error) if error.remedy() == Remedy::Skip => {}
                        decoded => return Some(decoded.unwrap().seq),
                    }
                }
                v1::agent_message::Kind::Define(define) => {
                    self.decoder.define(define).unwrap();
                }
                _ => {}
            }
        }
    }

    /// The next account.
    pub(crate) async fn report(&mut self) -> v1::Report {
        loop {
            if let v1::agent_message::Kind::Report(report) = self.message().await {
                return report;
            }
        }
    }

    /// Says Welcome to a stream of the lane and returns its Hello.
    pub(crate) async fn expect(&mut self, lane: v1::Lane, credits: u32) -> v1::Hello {
        let hello = self.hello().await;
        assert_eq!(hello.lane(), lane);
        self.welcome(credits).await;
        hello
    }

    async fn message(&mut self) -> v1::agent_message::Kind {
        let message = soon(self.requests.message()).await.expect("the stream goes on");
        message.and_then(|m| m.kind).expect("the stream goes on")
    }

    async fn send(&self, kind: v1::collector_message::Kind) {
        let message = v1::CollectorMessage { kind: Some(kind) };
        self.answers.send(Ok(message)).await.expect("the stream is open");
    }
}

/// Fills an outbox that a [`Ship`] empties.
pub(crate) struct Producer {
    outbox: Arc<SharedOutbox>,
    encoder: Encoder,
    slots: Vec<Slot>,
    keyframes: BTreeSet<u64>,
    drain: CancellationToken,
    ship: JoinHandle<()>,
}

impl Producer {
    /// Metric of its samples.
    const METRIC: &str = "test.value";
    /// Samples of a frame.
    pub(crate) const SAMPLES: u64 = 3;

    pub(crate) fn start(collector: &Collector) -> Self {
        Self::start_at(&[collector.address])
    }

    /// Sends to one of these collectors.
    pub(crate) fn start_at(addresses: &[SocketAddr]) -> Self {
        Self::start_on(&MemoryDisk::new(), [7; 16], addresses)
    }

    /// A process with a spool on this disk.
    pub(crate) fn start_on(disk: &MemoryDisk, epoch: [u8; 16], addresses: &[SocketAddr]) -> Self {
        let outbox = Arc::new(SharedOutbox::new(open(disk, epoch)));
        let mut encoder = Encoder::new(Limits::default());
        let slots = (0..Self::SAMPLES).map(|i| encoder.define(series(i)).unwrap()).collect();
        let hello = v1::Hello {
            protocol_version: 1,
            node: "node-1".to_owned(),
            epoch: epoch.to_vec(),
            interval_ms: INTERVAL_MS,
            ..v1::Hello::default()
        };
        let uris = addresses.iter().map(|address| format!("http://{address}").parse().unwrap());
        let drain = CancellationToken::new();
        let ship = Ship::new(uris.collect(), hello, Arc::clone(&outbox)).replaying(10_000);
        let ship = tokio::spawn(ship.run(drain.clone()));
        Self { outbox, encoder, slots, keyframes: BTreeSet::new(), drain, ship }
    }

    /// Every sample of frame `seq` has this value.
    pub(crate) fn value(seq: u64) -> i64 {
        (seq * 1000) as i64
    }

    /// Frames with these numbers start a segment.
    pub(crate) fn produce_keyframes(&mut self, seqs: &[u64]) {
        self.keyframes.extend(seqs);
    }

    pub(crate) fn produce(&mut self, frames: usize) {
        for _ in 0..frames {
            let mut outbox = self.outbox.lock();
            let seq = self.encoder.next_seq();
            if self.keyframes.contains(&seq) {
                outbox.want_keyframe();
            }
            if outbox.keyframe_wanted() {
                self.encoder.request_keyframe();
            }
            for slot in &self.slots {
                self.encoder.set(*slot, Self::value(seq));
            }
            while let Some(define) = self.encoder.pending_define() {
                outbox.define(define);
            }
            let mut payload = Vec::new();
            let ts_ms = 1_700_000_000_000 + seq as i64 * i64::from(INTERVAL_MS);
            let info = self.encoder.encode(ts_ms, &mut payload);
            let (samples, keyframe) = (info.samples as u32, info.keyframe);
            outbox.append(&NewFrame { seq, ts_ms, samples, keyframe, payload: &payload });
        }
        self.outbox.notify();
    }

    pub(crate) fn restart_dictionary(&mut self) {
        let renumbering = self.encoder.restart_dictionary();
        for slot in &mut self.slots {
            *slot = renumbering.get(*slot).unwrap();
        }
    }

    pub(crate) fn keyframe_wanted(&self) -> bool {
        self.outbox.lock().keyframe_wanted()
    }

    pub(crate) fn in_flight(&self) -> u64 {
        self.totals().in_flight
    }

    pub(crate) fn acked(&self) -> u64 {
        self.totals().acked
    }

    pub(crate) fn shed(&self) -> u64 {
        self.totals().shed.iter().sum()
    }

    pub(crate) fn shed_for(&self, reason: Shed) -> u64 {
        self.totals().shed[reason as usize]
    }

    pub(crate) fn drain(&self) {
        self.outbox.lock().seal();
        self.outbox.notify();
        self.drain.cancel();
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ship.is_finished()
    }

    pub(crate) async fn ended(&mut self) {
        soon(&mut self.ship).await.unwrap();
    }

    fn totals(&self) -> Totals {
        self.outbox.lock().totals()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.ship.abort();
    }
}

/// An outbox upon this disk.
fn open(disk: &MemoryDisk, epoch: [u8; 16]) -> Outbox {
    let disk: Arc<dyn Disk> = Arc::new(disk.clone());
    let limits = SpoolSettings { limit_bytes: 10_000_000, fsync: Duration::from_secs(5) };
    let (spool, recovery) = Spool::open_on(disk, &limits, Syncing::Inline).unwrap();
    let settings = OutboxSettings { epoch, interval_ms: INTERVAL_MS, memory_bytes: 1_000_000 };
    Outbox::new(settings, spool, &recovery)
}

fn series(i: u64) -> Series {
    Series {
        metric: Producer::METRIC.to_owned(),
        unit: "1".to_owned(),
        kind: Kind::Gauge,
        scale: Scale::UNIT,
        attributes: vec![("number".to_owned(), i.to_string())],
    }
}
