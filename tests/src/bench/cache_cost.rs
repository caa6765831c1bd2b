//! What observing costs a real Redis: the shipped agent on a server under load, with and without its observer.
//!
//! One server, one load, one agent after the other, so that all is the same but the agent: none, one that samples only, one that draws ages, one that hears events as well. A second
//! client sends single commands and takes the time, so that what a client of the server waits is measured as well. The load is open: what a slower server cannot take in time it
//! gets afterwards.
//!
//! A window is a debt that is rested off afterwards, so the cost of events is that of a whole cycle, from the start of a window to the start of the next.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, sleep_until};

use super::table::{Table, percentile};
use crate::load::cache::{Kind, Load, Tally, drive};
use crate::process::{Process, binary};
use crate::redis::{self, Redis};

/// Time between two looks at whether events are on.
const LOOK: Duration = Duration::from_secs(2);
/// Time between two commands of the client that takes the time.
const READ: Duration = Duration::from_millis(2);
/// What observing may take of the server's time, in percent.
const BAR: f64 = 1.0;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Options {
    /// Reads a second.
    pub per_second: f64,
    /// `maxmemory` in bytes.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
    /// Seconds until the server is full.
    pub warm: u64,
    /// Seconds without a window, for each kind of agent.
    pub seconds: u64,
    /// Longest time for a cycle of windows, in seconds.
    pub cycle: u64,
    /// `observe.max_cpu_share`.
    pub share: f64,
    /// Times that the kinds of agent follow each other.
    pub rounds: usize,
}

/// What happened in some time.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    cpu_s: f64,
    evicted: f64,
    hits: f64,
    misses: f64,
}

/// The same for each second.
#[derive(Debug, Clone, Default)]
struct Measured {
    seconds: f64,
    cpu: f64,
    /// Redis's time for each read, in microseconds: what it takes for others is in it, but it does not change with how many there are.
    read_us: f64,
    agent_cpu: f64,
    evicted: f64,
    hit_ratio: f64,
    latencies_ms: Vec<f64>,
}

/// Measures.
///
/// # Errors
/// When something does not start or ends early.
pub async fn run(table: &mut Table, options: &Options) -> Result<()> {
    let dir = super::temporary()?;
    let bytes = options.bytes.to_string();
    let redis = Redis::start_with(
        dir.path(),
        &["--maxmemory", &bytes, "--maxmemory-policy", "allkeys-lru"],
    )
    .await?;
    let port = redis::port(&redis.url())?;
    let load =
        Load { kind: Kind::Still, keys: options.keys, per_second: options.per_second, seed: 1 };
    let driving = tokio::spawn(async move {
        drive(port, &load, Duration::from_hours(24), &Tally::default()).await
    });
    sleep(Duration::from_secs(options.warm)).await;
    let mut all = [const { Vec::new() }; 4];
    for round in 0..options.rounds {
        let scene = Scene { dir: dir.path(), port, round, options };
        all[0].push(scene.without_agent(&redis).await?);
        all[1].push(scene.quiet(&redis, "off").await?);
        all[2].push(scene.quiet(&redis, "ages").await?);
        if options.cycle > 0 {
            all[3].push(scene.cycle(&redis).await?);
        }
        ensure!(!driving.is_finished(), "the load has ended");
    }
    driving.abort();
    add(table, &all);
    Ok(())
}

/// Where a round is measured.
struct Scene<'a> {
    dir: &'a Path,
    port: u16,
    round: usize,
    options: &'a Options,
}

impl Scene<'_> {
    async fn without_agent(&self, redis: &Redis) -> Result<Measured> {
        self.measure(redis, None, self.time()).await
    }

    async fn quiet(&self, redis: &Redis, observe: &str) -> Result<Measured> {
        let mut agent = self.agent(observe)?;
        // Starting is not running.
        sleep(Duration::from_secs(5)).await;
        let measured = self.measure(redis, Some(&agent), self.time()).await?;
        agent.stop().await?;
        Ok(measured)
    }

    /// From the start of a window to the start of the next, or as long as it may take.
    async fn cycle(&self, redis: &Redis) -> Result<Measured> {
        let mut agent = self.agent("events")?;
        let deadline = Instant::now() + Duration::from_secs(self.options.cycle);
        self.until_events(true, deadline).await?;
        let over = async {
            self.until_events(false, deadline).await?;
            self.until_events(true, deadline).await
        };
        let measured = self.measure(redis, Some(&agent), over).await?;
        agent.stop().await?;
        Ok(measured)
    }

    fn time(&self) -> impl Future<Output = Result<()>> + use<> {
        let time = Duration::from_secs(self.options.seconds);
        async move {
            sleep(time).await;
            Ok(())
        }
    }

    fn agent(&self, observe: &str) -> Result<Process> {
        let name = format!("agent-{observe}-{}", self.round);
        let file = self.dir.join(format!("{name}.toml"));
        let settings = format!(
            "[observe]\nmax_cpu_share = {}\n[[redis]]\nname = 'bench'\nurl = 'redis://127.0.0.1:{}'\nobserve = '{observe}'\n",
            self.options.share, self.port
        );
        std::fs::write(&file, settings)?;
        let mut command = Command::new(binary("flyball-agent")?);
        command.arg("--config").arg(&file).arg("--data-dir").arg(self.dir.join(&name));
        command.args(["--node", "bench", "--collector", "http://127.0.0.1:1"]);
        Process::start(&name, command, self.dir)
    }

    async fn measure(
        &self,
        redis: &Redis,
        agent: Option<&Process>,
        over: impl Future<Output = Result<()>>,
    ) -> Result<Measured> {
        let stop = Arc::new(AtomicBool::new(false));
        let reading = tokio::spawn(latencies(self.port, Arc::clone(&stop)));
        let agent_cpu =
            || agent.map_or(Ok(0.0), |agent| anyhow::Ok(agent.usage()?.cpu.as_secs_f64()));
        let (before, begun, agent_before) =
            (counted(redis, self.port).await?, Instant::now(), agent_cpu()?);
        over.await?;
        let (after, seconds) = (counted(redis, self.port).await?, begun.elapsed().as_secs_f64());
        let agent_after = agent_cpu()?;
        stop.store(true, Ordering::Relaxed);
        let latencies_ms = reading.await??;
        let (hits, misses) = (after.hits - before.hits, after.misses - before.misses);
        let cpu_s = after.cpu_s - before.cpu_s;
        Ok(Measured {
            seconds,
            cpu: cpu_s / seconds,
            read_us: cpu_s * 1e6 / (hits + misses),
            agent_cpu: (agent_after - agent_before) / seconds,
            evicted: (after.evicted - before.evicted) / seconds,
            hit_ratio: hits / (hits + misses),
            latencies_ms,
        })
    }

    /// Waits until events are on, or off, or the deadline has come.
    async fn until_events(&self, are_on: bool, deadline: Instant) -> Result<()> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
        while Instant::now() < deadline {
            let answer = ask(&mut stream, "CONFIG GET notify-keyspace-events\r\n", 4).await?;
            let value = answer.lines().nth(4).unwrap_or_default();
            if value.contains('m') == are_on {
                return Ok(());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

/// Sends single commands that touch no key and takes the time of each, in milliseconds and in order of their length.
async fn latencies(port: u16, stop: Arc<AtomicBool>) -> Result<Vec<f64>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let (mut all, mut due, mut answer) = (Vec::new(), Instant::now(), [0; 64]);
    while !stop.load(Ordering::Relaxed) {
        due += READ;
        sleep_until(due).await;
        let sent = Instant::now();
        stream.write_all(b"PING\r\n").await?;
        ensure!(stream.read(&mut answer).await? > 0, "the server has closed");
        all.push(sent.elapsed().as_secs_f64() * 1e3);
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}

/// Sends a command and reads until the answer has so many line ends more than the first.
async fn ask(stream: &mut TcpStream, command: &str, lines: usize) -> Result<String> {
    stream.write_all(command.as_bytes()).await?;
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while text.matches("\r\n").count() <= lines {
        let read = stream.read(&mut part).await?;
        ensure!(read > 0, "the server has closed");
        text.push_str(&String::from_utf8_lossy(&part[..read]));
    }
    Ok(text)
}

async fn counted(redis: &Redis, port: u16) -> Result<Counted> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let text = ask(&mut stream, "INFO stats\r\n", 40).await?;
    let number = |name: &str| -> Result<f64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(line.with_context(|| format!("no {name}"))?.trim().parse()?)
    };
    Ok(Counted {
        cpu_s: redis.process.usage()?.cpu.as_secs_f64(),
        evicted: number("evicted_keys")?,
        hits: number("keyspace_hits")?,
        misses: number("keyspace_misses")?,
    })
}

/// A figure of each kind of agent, a measurement for each round.
fn add(table: &mut Table, all: &[Vec<Measured>; 4]) {
    let names = ["no agent", "observe = off", "observe = ages", "observe = events, a whole cycle"];
    let percent = |share: f64| share * 100.0;
    for (name, rounds) in names.into_iter().zip(all).filter(|(_, rounds)| !rounds.is_empty()) {
        let mut push = |what: &str, of: fn(&Measured) -> f64| {
            table.push(&format!("{name}: {what}"), rounds.iter().map(of).collect(), None);
        };
        push("redis, % of a core", |measured| measured.cpu * 100.0);
        push("redis, us a read", |measured| measured.read_us);
        push("agent, % of a core", |measured| measured.agent_cpu * 100.0);
        push("a client's wait, p50 ms", |measured| percentile(&measured.latencies_ms, 0.5));
        push("a client's wait, p99 ms", |measured| percentile(&measured.latencies_ms, 0.99));
        push("evictions a second", |measured| measured.evicted);
        push("hit ratio, %", |measured| measured.hit_ratio * 100.0);
        push("seconds", |measured| measured.seconds);
    }
    // What else happens on the machine changes from round to round, so each is compared with its own; and where the load is late there are fewer reads, so it is the time for each.
    for (name, rounds) in names.into_iter().zip(all).skip(2).filter(|(_, all)| !all.is_empty()) {
        let more = |(with, without): (&Measured, &Measured)| {
            percent((with.read_us - without.read_us) / without.read_us)
        };
        let values = rounds.iter().zip(&all[1]).map(more).collect();
        table.push(&format!("{name}: more than off, % of redis's time"), values, Some(BAR));
    }
}
