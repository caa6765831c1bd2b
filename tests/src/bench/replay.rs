//! The backlog of an hour, 300 series at one frame a second: what the agent takes while it is sent, and how late live samples are seen meanwhile.
//!
//! The spool is written as an agent would have that reached no collector for an hour; then the real agent starts on it beside a real collector. Live samples are
//! watched as events, from when they were taken, until the backlog is stored and for a while afterwards.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use flyball_agent::ship::outbox::{Outbox, OutboxSettings};
use flyball_agent::spool::{NewFrame, Spool, SpoolSettings};
use flyball_proto::frame::{Encoder, Limits};
use flyball_proto::series::{Kind, Scale, Series};
use tokio::time::MissedTickBehavior;

use super::table::{Table, percentile};
use super::{account, progress};
use crate::process::{Usage, usage};
use crate::stack::Stack;

const NODE: &str = "bench";
const SERIES: usize = 300;
const FRAMES: u64 = 3_600;
/// Watched after the backlog is stored: about as long as before.
const AFTERWARDS: Duration = Duration::from_secs(80);
/// Longest time until the backlog is stored.
const STORED: Duration = Duration::from_mins(20);
const LOOK: Duration = Duration::from_millis(100);
const MIB: f64 = 1_048_576.0;

/// Sends the backlog and watches, `rounds` times, each with a new agent and collector.
///
/// # Errors
/// When it is not stored in time or a sample is given up.
pub async fn run(table: &mut Table, rounds: usize) -> Result<()> {
    let mut all = Vec::new();
    for round in 1..=rounds {
        progress(&format!("replay: round {round} of {rounds}, at most"), STORED);
        all.push(once().await?);
    }
    let what = format!("backlog of {FRAMES} frames x {SERIES} series");
    let mut push = |name: &str, bar, figure: &dyn Fn(&Round) -> f64| {
        table.push(&format!("{what}: {name}"), all.iter().map(figure).collect(), bar);
    };
    push("on disk, MB", None, &|round| round.bytes as f64 / 1e6);
    push("until it is stored, s (reports come every 10 s)", None, &|round| round.seconds);
    push("agent RSS, highest, MiB", Some(20e6 / MIB), &|round| round.during.highest_bytes / MIB);
    push("agent CPU meanwhile, ms/s", None, &|round| round.during.cpu_ms);
    push("agent CPU afterwards, ms/s", None, &|round| round.after.cpu_ms);
    // A round has some eighty live samples, of which the worst one would be the p99: all rounds together say more.
    let during = together(all.iter().map(|round| &round.during));
    let after = together(all.iter().map(|round| &round.after));
    for (name, share, bar) in [("median", 0.5, None), ("p99", 0.99, Some(2.0))] {
        let (during, after) = (percentile(&during, share), percentile(&after, share));
        let what = format!("{what}: live sample -> event, {name}");
        table.push(&format!("{what} meanwhile, ms"), vec![during], None);
        table.push(&format!("{what} afterwards, ms"), vec![after], None);
        table.push(&format!("{what}: meanwhile / afterwards"), vec![during / after], bar);
    }
    Ok(())
}

/// Lateness of all rounds, sorted.
fn together<'a>(seen: impl Iterator<Item = &'a Seen>) -> Vec<f64> {
    let mut all: Vec<_> = seen.flat_map(|seen| seen.late_ms.iter().copied()).collect();
    all.sort_by(f64::total_cmp);
    all
}

/// One backlog.
struct Round {
    bytes: u64,
    seconds: f64,
    during: Seen,
    after: Seen,
}

async fn once() -> Result<Round> {
    let mut stack = Stack::start().await?;
    let bytes = write_spool(&stack.dir().join(NODE).join("spool"))?;
    stack.start_agent(NODE, &["--interval", "1s"])?;
    let start = Instant::now();
    stack.wait_up(NODE).await?;
    let during = watch(&stack, account::settled(&stack.collector.api, NODE, STORED)).await?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(during.samples >= FRAMES * SERIES as u64, "{} samples", during.samples);
    let afterwards = async {
        tokio::time::sleep(AFTERWARDS).await;
        Ok(0)
    };
    let after = watch(&stack, afterwards).await?;
    stack.stop().await?;
    Ok(Round { bytes, seconds, during, after })
}

/// What was seen in a stretch of time.
struct Seen {
    samples: u64,
    highest_bytes: f64,
    cpu_ms: f64,
    /// From when a sample was taken to its event.
    late_ms: Vec<f64>,
}

/// Watches agent and events until `done`.
async fn watch(stack: &Stack, done: impl Future<Output = Result<u64>>) -> Result<Seen> {
    let agent = stack.agents[0].pid().context("the agent runs")?;
    let mut events = stack.collector.api.events("?node=bench&metric=system.memory.limit").await?;
    let (start, before) = (Instant::now(), usage(agent)?);
    let (mut highest, mut late_ms) = (0, Vec::new());

    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(done);
    let samples = loop {
        tokio::select! {
            event = events.next() => {
                let event = event?;
                if event["type"] == "samples" {
                    late_ms.push(now_ms() - event["ts_ms"].as_f64().context("ts_ms")?);
                }
            }
            _ = looks.tick() => highest = highest.max(usage(agent)?.rss_bytes),
            samples = &mut done => break samples?,
        }
    };
    ensure!(!late_ms.is_empty(), "no live sample was seen");
    let Usage { cpu, .. } = usage(agent)?;
    let cpu_ms = cpu.saturating_sub(before.cpu).as_secs_f64() * 1e3 / start.elapsed().as_secs_f64();
    Ok(Seen { samples, highest_bytes: highest as f64, cpu_ms, late_ms })
}

/// Fills the spool as a process would have that reached no collector for an hour. Gives its bytes.
fn write_spool(dir: &Path) -> Result<u64> {
    let settings = SpoolSettings { limit_bytes: 256_000_000, fsync: Duration::from_secs(5) };
    let (spool, recovery) = Spool::open(dir, &settings)?;
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
    let slots = (0..SERIES).map(|i| encoder.define(series(i))).collect::<Result<Vec<_>, _>>()?;
    let start_ms = (now_ms() as i64 / 1_000 - FRAMES as i64 - 60) * 1_000;
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
    Ok(outbox.totals().spool_bytes)
}

fn now_ms() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64() * 1000.0
}
