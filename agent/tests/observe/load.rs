//! Clients that read keys and write those that were missed: few keys often, many seldom.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flyball_agent::redis::{Connection, Reply};
use rand::RngExt as _;
use tokio::time::{sleep, timeout};

use crate::collector::DEADLINE;
use crate::harness::{Server, run};

/// Keys.
const KEYS: f64 = 60_000.0;
/// Requests after which counts begin: then the server is full.
const WARM: u64 = 30_000;
/// Requests, once it is full, in each of these times: some seconds pass until a key is evicted.
const EACH: (u64, Duration) = (20, Duration::from_millis(10));

/// Ends with the value.
pub(crate) struct Load {
    stop: Option<Sender<()>>,
    hits: Arc<AtomicU64>,
    reads: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Reads and writes.
    pub(crate) fn start(server: &Server) -> Self {
        Self::of(server, |client| read(client, 150))
    }

    /// The same with values of 700 bytes.
    pub(crate) fn large(server: &Server) -> Self {
        Self::of(server, |client| read(client, 700))
    }

    /// Keeps the server busy and touches no key.
    pub(crate) fn pings(server: &Server) -> Self {
        Self::of(server, |client| client.call(&[b"PING"]).is_ok().then_some(true))
    }

    fn of(
        server: &Server,
        mut once: impl FnMut(&mut Connection) -> Option<bool> + Send + 'static,
    ) -> Self {
        let (stop, stopped) = channel::<()>();
        let (hits, reads) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (instance, mut client) = (server.instance("load"), server.connect());
        let (own_hits, own_reads) = (Arc::clone(&hits), Arc::clone(&reads));
        let thread = std::thread::spawn(move || {
            let (mut count, mut due) = (0, Instant::now());
            loop {
                count += 1;
                if count <= WARM {
                    due = Instant::now();
                }
                if count > WARM && count.is_multiple_of(EACH.0) {
                    // What was late is made up for, so that there are as many each second.
                    due += EACH.1;
                    let ended = stopped.recv_timeout(due.saturating_duration_since(Instant::now()));
                    if ended == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                } else if stopped.try_recv() == Err(TryRecvError::Disconnected) {
                    return;
                }
                let Some(is_hit) = once(&mut client) else {
                    // On a busy machine an answer may be late; a server that is killed is not of interest any more.
                    let Ok(again) = Connection::open(&instance) else { return };
                    client = again;
                    continue;
                };
                own_reads.fetch_add(u64::from(count > WARM), Ordering::Relaxed);
                own_hits.fetch_add(u64::from(is_hit && count > WARM), Ordering::Relaxed);
            }
        });
        Self { stop: Some(stop), hits, reads, thread: Some(thread) }
    }

    /// Waits until the server is full, and some seconds more.
    pub(crate) async fn warm(&self) {
        let full = async {
            while self.reads.load(Ordering::Relaxed) < 5_000 {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE * 3, full).await.expect("the server is not full in time");
    }

    /// Of so many reads from now on.
    pub(crate) async fn next_hit_ratio(&self, reads: u64) -> f64 {
        let counts = || (self.hits.load(Ordering::Relaxed), self.reads.load(Ordering::Relaxed));
        let before = counts();
        let enough = async {
            while counts().1 < before.1 + reads {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(DEADLINE * 3, enough).await.expect("nobody reads");
        let after = counts();
        (after.0 - before.0) as f64 / (after.1 - before.1) as f64
    }

    /// Since the server was full.
    pub(crate) fn hit_ratio(&self) -> f64 {
        self.hits.load(Ordering::Relaxed) as f64 / self.reads.load(Ordering::Relaxed) as f64
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads a key, and writes it when it was missed. Whether it was there; `None` when nobody answers.
fn read(client: &mut Connection, bytes: usize) -> Option<bool> {
    // As often by the logarithm: the law of Zipf.
    let rank = KEYS.powf(rand::rng().random::<f64>()) as u64;
    let key = format!("key:{rank}");
    let is_hit = client.call(&[b"GET", key.as_bytes()]).ok()? != Reply::Nil;
    if !is_hit {
        client.call(&[b"SET", key.as_bytes(), &vec![b'v'; bytes]]).ok()?;
    }
    Some(is_hit)
}

/// A section of INFO.
pub(crate) fn info(server: &Server, section: &str) -> String {
    let reply = run(&mut server.connect(), &["INFO", section]);
    String::from_utf8_lossy(reply.text().unwrap()).into_owned()
}
