//! A backlog of an hour with 300 series: what the agent costs while it is sent, beside the steady state afterwards.
//!
//! Writes the spool of an earlier process, starts the real agent on it and takes the place of the collector, which acknowledges every 500 ms. Prints resident
//! memory (highest), CPU time of the agent, and how late live frames arrive, for the time of the replay and for as long after it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark tells people")]

use std::path::Path;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flyball_agent::ship::outbox::{Outbox, OutboxSettings};
use flyball_agent::spool::{NewFrame, Spool, SpoolSettings};
use flyball_proto::frame::{Decoder, Encoder, Limits};
use flyball_proto::series::{Kind, Scale, Series};
use flyball_proto::v1;
use flyball_proto::v1::Lane;
use flyball_proto::v1::agent_message::Kind as Up;
use flyball_proto::v1::collector_message::Kind as Down;
use flyball_proto::v1::telemetry_server::{Telemetry, TelemetryServer};
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, sleep};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

const SERIES: usize = 300;
const FRAMES: u64 = 3_600;
const ACK_PERIOD: Duration = Duration::from_millis(500);
const LOOK_PERIOD: Duration = Duration::from_millis(100);

/// What has arrived.
#[derive(Debug, Default)]
struct Arrived {
    backlog: AtomicU64,
    /// How late live frames came, in milliseconds.
    live_ms: Mutex<Vec<i64>>,
}

#[derive(Debug, Clone)]
struct Collector(Arc<Arrived>);

type Answers =
    Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::CollectorMessage, Status>> + Send>>;

#[tonic::async_trait]
impl Telemetry for Collector {
    type StreamStream = Answers;

    async fn stream(
        &self,
        request: Request<Streaming<v1::AgentMessage>>,
    ) -> Result<Response<Answers>, Status> {
        let (answers, stream) = mpsc::channel(16);
        tokio::spawn(serve(request.into_inner(), answers, Arc::clone(&self.0)));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

async fn serve(
    mut requests: Streaming<v1::AgentMessage>,
    answers: mpsc::Sender<Result<v1::CollectorMessage, Status>>,
    arrived: Arc<Arrived>,
) -> Option<()> {
    let answer = |kind| answers.send(Ok(v1::CollectorMessage { kind: Some(kind) }));
    let Up::Hello(hello) = requests.message().await.ok()??.kind? else { return None };
    let credits = if hello.lane() == Lane::Live { 64 } else { 32 };
    answer(Down::Welcome(v1::Welcome { credits, ..v1::Welcome::default() })).await.ok()?;
    let (mut decoder, mut durable_seq) = (Decoder::new(Limits::default()), 0);
    let mut acks = interval(ACK_PERIOD);
    loop {
        tokio::select! {
            _ = acks.tick() => {
                answer(Down::Ack(v1::Ack { durable_seq, ..v1::Ack::default() })).await.ok()?;
            }
            message = requests.message() => match message.ok()??.kind? {
                Up::Define(define) => drop(decoder.define(define).unwrap()),
                Up::Frame(frame) => {
                    let decoded = decoder.decode(&frame.payload).unwrap();
                    durable_seq = decoded.seq;
                    if hello.lane() == Lane::Live {
                        arrived.live_ms.lock().push(now_ms() - decoded.ts_ms);
                    } else {
                        arrived.backlog.fetch_add(1, Ordering::Relaxed);
                    }
                }
                _ => {}
            },
        }
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// Fills the spool as a process would have that reached no collector for an hour.
fn write_spool(dir: &Path) -> u64 {
    let settings = SpoolSettings { limit_bytes: 256_000_000, fsync: Duration::from_secs(5) };
    let (spool, recovery) = Spool::open(dir, &settings).unwrap();
    let settings = OutboxSettings { epoch: [1; 16], interval_ms: 1_000, memory_bytes: 8_000_000 };
    let mut outbox = Outbox::new(settings, spool, &recovery);
    let mut encoder = Encoder::new(Limits::default());
    let series = |i: usize| Series {
        metric: format!("bench.metric_{}", i % 40),
        unit: "1".to_owned(),
        kind: Kind::Gauge,
        scale: Scale::UNIT,
        attributes: vec![("number".to_owned(), i.to_string())],
    };
    let slots: Vec<_> = (0..SERIES).map(|i| encoder.define(series(i)).unwrap()).collect();
    let start_ms = (now_ms() / 1_000 - FRAMES as i64 - 60) * 1_000;
    let (mut payload, mut state) = (Vec::new(), 1_u64);
    for n in 1..=FRAMES {
        for (i, slot) in slots.iter().enumerate() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            // Half of the series move.
            let raw = if i % 2 == 0 { (n * 100 + (state >> 54)) as i64 } else { i as i64 };
            encoder.set(*slot, raw);
        }
        while let Some(define) = encoder.pending_define() {
            outbox.define(define);
        }
        if outbox.keyframe_wanted() {
            encoder.request_keyframe();
        }
        payload.clear();
        let ts_ms = start_ms + n as i64 * 1_000;
        let info = encoder.encode(ts_ms, &mut payload);
        let (samples, keyframe) = (info.samples as u32, info.keyframe);
        outbox.append(&NewFrame { seq: info.seq, ts_ms, samples, keyframe, payload: &payload });
    }
    outbox.finish(Duration::from_secs(10));
    outbox.totals().spool_bytes
}

/// Resident memory in bytes and CPU time of a process.
fn usage(agent: &Child) -> (u64, Duration) {
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/{}/{name}", agent.id())).unwrap();
    let pages: u64 = read("statm").split(' ').nth(1).unwrap().parse().unwrap();
    // Nanoseconds on a processor, of all threads together.
    let tasks = std::fs::read_dir(format!("/proc/{}/task", agent.id())).unwrap();
    let cpu = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    (pages * rustix::param::page_size() as u64, Duration::from_nanos(cpu.sum()))
}

/// Looks at the agent until `done`, and says what it took.
async fn watch(
    agent: &Child,
    arrived: &Arrived,
    what: &str,
    mut done: impl FnMut(Duration) -> bool,
) {
    let (began, (_, cpu)) = (Instant::now(), usage(agent));
    arrived.live_ms.lock().clear();
    let mut highest = 0;
    while !done(began.elapsed()) {
        highest = highest.max(usage(agent).0);
        sleep(LOOK_PERIOD).await;
    }
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), usage(agent).1.saturating_sub(cpu));
    let mut late_ms = arrived.live_ms.lock().clone();
    late_ms.sort_unstable();
    let at =
        |share: f64| late_ms.get((late_ms.len() as f64 * share) as usize).copied().unwrap_or(-1);
    println!(
        "{what}: {seconds:.1} s, RSS at most {:.1} MB, CPU {:.2} ms/s, {} live frames after p50 {} p99 {} ms",
        highest as f64 / 1e6,
        cpu.as_secs_f64() * 1e3 / seconds,
        late_ms.len(),
        at(0.5),
        at(0.99),
    );
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let data_dir = tempfile::tempdir().unwrap();
    let bytes = write_spool(&data_dir.path().join("spool"));
    println!("{FRAMES} frames of {SERIES} series, {:.1} MB on disk", bytes as f64 / 1e6);
    let arrived = Arc::new(Arrived::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = TelemetryServer::new(Collector(Arc::clone(&arrived)));
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener)),
    );
    let mut agent = Command::new(env!("CARGO_BIN_EXE_flyball-agent"))
        .args(["--node", "bench", "--collector", &format!("http://{address}"), "--data-dir"])
        .arg(data_dir.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    sleep(LOOK_PERIOD).await;
    let all = || arrived.backlog.load(Ordering::Relaxed) >= FRAMES;
    let began = Instant::now();
    watch(&agent, &arrived, "while the backlog is sent", |_| all()).await;
    println!("backlog at {:.0} frames/s", FRAMES as f64 / began.elapsed().as_secs_f64());
    sleep(Duration::from_secs(2)).await;
    watch(&agent, &arrived, "afterwards", |time| time > Duration::from_mins(1)).await;
    agent.kill().unwrap();
    agent.wait().unwrap();
}
