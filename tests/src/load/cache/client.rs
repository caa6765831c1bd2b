//! Sends a workload to a server: batches of reads, then writes of what was missed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use super::workload::{Expiry, Load, Request, Workload};

/// Reads that go out at once.
const BATCH: usize = 32;
const CHUNK: usize = 64 * 1024;
const MINUTE_MS: u64 = 60_000;
/// A batch that goes out so long after its time is late: ages are told in seconds.
const LATE: Duration = Duration::from_millis(500);

/// What clients have seen so far.
#[derive(Debug, Default)]
pub struct Tally {
    reads: AtomicU64,
    hits: AtomicU64,
    batches: AtomicU64,
    late: AtomicU64,
    latest_ms: AtomicU64,
}

/// How well clients kept to their schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    /// Share of the batches that went out more than half a second after their time.
    pub late_share: f64,
    /// The latest of all, in milliseconds after its time.
    pub latest_ms: u64,
}

impl Pace {
    /// Whether the load was what it should be: at most a batch in a hundred was late, and none by
    /// more than two seconds.
    pub fn is_kept(&self) -> bool {
        self.late_share <= 0.01 && self.latest_ms <= 2000
    }
}

impl Tally {
    /// Reads and hits so far.
    pub fn get(&self) -> (u64, u64) {
        (self.reads.load(Ordering::Relaxed), self.hits.load(Ordering::Relaxed))
    }

    /// How well clients have kept to their schedule so far.
    pub fn pace(&self) -> Pace {
        let batches = self.batches.load(Ordering::Relaxed).max(1) as f64;
        let late_share = self.late.load(Ordering::Relaxed) as f64 / batches;
        Pace { late_share, latest_ms: self.latest_ms.load(Ordering::Relaxed) }
    }

    /// A batch goes out so long after its time.
    fn sent(&self, late: Duration) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.late.fetch_add(u64::from(late > LATE), Ordering::Relaxed);
        self.latest_ms.fetch_max(late.as_millis() as u64, Ordering::Relaxed);
    }

    /// Hits of the reads since an earlier [`Tally::get`].
    pub fn hit_ratio_since(&self, before: (u64, u64)) -> f64 {
        let now = self.get();
        (now.1 - before.1) as f64 / (now.0 - before.0) as f64
    }
}

/// Sends a load to the server on this port until `time` is over, and counts into `tally`.
///
/// # Errors
/// When the connection breaks or the server refuses.
pub async fn drive(port: u16, load: &Load, time: Duration, tally: &Tally) -> Result<()> {
    let mut workload = Workload::new(*load);
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let mut client = Client { stream, out: Vec::new(), input: Vec::new(), start: 0 };
    let begun = Instant::now();
    let batches = (time.as_secs_f64() * load.per_second / BATCH as f64) as u64;
    for batch in 0..batches {
        let due = (batch * BATCH as u64) as f64 / load.per_second;
        let due = begun + Duration::from_secs_f64(due);
        sleep_until(due).await;
        tally.sent(due.elapsed());
        let requests: Vec<Request> = (0..BATCH).map(|_| workload.next_request()).collect();
        let misses = client.read(&requests).await?;
        client.fill(&requests, &misses).await?;
        tally.reads.fetch_add(BATCH as u64, Ordering::Relaxed);
        tally.hits.fetch_add((BATCH - misses.len()) as u64, Ordering::Relaxed);
    }
    Ok(())
}

struct Client {
    stream: TcpStream,
    out: Vec<u8>,
    input: Vec<u8>,
    start: usize,
}

impl Client {
    /// Reads all keys; which of them were missed.
    async fn read(&mut self, requests: &[Request]) -> Result<Vec<usize>> {
        for request in requests {
            self.words(&[b"GET", request.key.as_bytes()]);
        }
        self.send().await?;
        let mut misses = Vec::new();
        for i in 0..requests.len() {
            if !self.answer().await? {
                misses.push(i);
            }
        }
        Ok(misses)
    }

    /// Writes those that were missed.
    async fn fill(&mut self, requests: &[Request], misses: &[usize]) -> Result<()> {
        for i in misses {
            let Request { key, value_len, expiry } = &requests[*i];
            let value = vec![b'v'; *value_len];
            let time = match expiry {
                Expiry::Never => None,
                Expiry::After(seconds) => Some(("PX", seconds * 1000)),
                Expiry::Minute => Some(("PXAT", (now_ms()? / MINUTE_MS + 1) * MINUTE_MS)),
            };
            match time {
                None => self.words(&[b"SET", key.as_bytes(), &value]),
                Some((option, ms)) => {
                    let ms = ms.to_string();
                    self.words(&[b"SET", key.as_bytes(), &value, option.as_bytes(), ms.as_bytes()]);
                }
            }
        }
        self.send().await?;
        for _ in misses {
            self.answer().await?;
        }
        Ok(())
    }

    fn words(&mut self, words: &[&[u8]]) {
        self.out.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
        for word in words {
            self.out.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
            self.out.extend_from_slice(word);
            self.out.extend_from_slice(b"\r\n");
        }
    }

    async fn send(&mut self) -> Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Takes one answer: whether it is a value or a status, and not nothing.
    async fn answer(&mut self) -> Result<bool> {
        loop {
            if let Some((is_there, length)) = parse(&self.input[self.start..])? {
                self.start += length;
                if self.start == self.input.len() {
                    self.input.clear();
                    self.start = 0;
                }
                return Ok(is_there);
            }
            self.input.drain(..self.start);
            self.start = 0;
            self.input.reserve(CHUNK);
            if self.stream.read_buf(&mut self.input).await? == 0 {
                bail!("the server has closed the connection");
            }
        }
    }
}

/// Whether an answer is there, and its length; `None` when it is not whole yet.
fn parse(input: &[u8]) -> Result<Option<(bool, usize)>> {
    let Some(end) = input.windows(2).position(|pair| pair == b"\r\n") else { return Ok(None) };
    let line = std::str::from_utf8(&input[..end])?;
    match line.split_at_checked(1).context("an empty answer")? {
        ("+", _) => Ok(Some((true, end + 2))),
        ("$", "-1") => Ok(Some((false, end + 2))),
        ("$", length) => {
            let whole = end + 2 + length.parse::<usize>()? + 2;
            Ok((input.len() >= whole).then_some((true, whole)))
        }
        _ => bail!("the server says {line}"),
    }
}

fn now_ms() -> Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::cache::Kind;
    use crate::redis::Redis;

    #[test]
    fn answers_are_told_apart_and_waited_for() {
        assert_eq!(parse(b"$-1\r\n").unwrap(), Some((false, 5)));
        assert_eq!(parse(b"$3\r\nabc\r\n+OK\r\n").unwrap(), Some((true, 9)));
        assert_eq!(parse(b"$3\r\nabc\r").unwrap(), None);
        assert_eq!(parse(b"+OK").unwrap(), None);
        assert!(parse(b"-ERR x\r\n").is_err() && parse(b"\r\n").is_err());
    }

    #[tokio::test]
    async fn what_clients_count_is_what_the_server_counts() {
        let dir = crate::bench::temporary().unwrap();
        let redis = Redis::start(dir.path()).await.unwrap();
        let port = crate::redis::port(&redis.url()).unwrap();
        for kind in Kind::ALL {
            let tally = Tally::default();
            let load = Load { kind, keys: 500, per_second: 64_000.0, seed: 1 };
            let before = stats(port).await;
            drive(port, &load, Duration::from_millis(200), &tally).await.unwrap();
            let after = stats(port).await;
            let (reads, hits) = tally.get();
            assert_eq!(reads, 12_800);
            assert_eq!((hits, reads - hits), (after.0 - before.0, after.1 - before.1), "{kind:?}");
            assert!(hits > 6000, "{kind:?}: {hits}");
            assert_eq!(tally.batches.load(Ordering::Relaxed), 400);
        }
    }

    #[test]
    fn what_goes_out_late_is_told() {
        let tally = Tally::default();
        assert!(tally.pace().is_kept());
        (0..99).for_each(|_| tally.sent(Duration::from_millis(3)));
        tally.sent(Duration::from_millis(1500));
        assert_eq!(tally.pace(), Pace { late_share: 0.01, latest_ms: 1500 });
        assert!(tally.pace().is_kept());
        tally.sent(Duration::from_millis(501));
        assert!(!tally.pace().is_kept());
        let stalled = Tally::default();
        (0..999).for_each(|_| stalled.sent(Duration::ZERO));
        stalled.sent(Duration::from_millis(2001));
        assert!(!stalled.pace().is_kept());
    }

    /// Hits and misses that the server has counted.
    async fn stats(port: u16) -> (u64, u64) {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        stream.write_all(b"INFO stats\r\nQUIT\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        let of = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line[1..].parse().unwrap()
        };
        (of("keyspace_hits"), of("keyspace_misses"))
    }
}
