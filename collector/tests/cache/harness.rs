//! A Redis of its own for each test, a way to it that can be made slow or wrong, and a collector's cache on top.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use flyball_collector::cache::{
    Cache, Failure, Found, Key, Life, Loaded, RedisSettings, SharedStats, Tag, Value,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

/// Longest that anything in these tests may take.
pub const DEADLINE: Duration = Duration::from_mins(2);
/// How long values are trusted while invalidations are not heard.
pub const UNHEARD: Duration = Duration::from_millis(300);
/// How long values live.
pub const FRESH: Duration = Duration::from_secs(5);
/// How long those live that would outlive any test.
pub const LONG: Duration = Duration::from_mins(1);
/// A number that is not kept in Redis.
pub const UNSHARED: Number = Number(u64::MAX);

/// A number that counts up in the test, as the truth behind the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Number(pub u64);

impl Value for Number {
    fn bytes(&self) -> usize {
        8
    }

    fn encode(&self) -> Option<Vec<u8>> {
        (*self != UNSHARED).then(|| self.0.to_le_bytes().to_vec())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(|bytes| Self(u64::from_le_bytes(bytes)))
    }
}

/// Loading never fails in these tests.
#[derive(Debug, Clone)]
pub struct Never;

impl Failure for Never {
    fn keep_for(&self) -> Duration {
        Duration::ZERO
    }

    fn is_outage(&self) -> bool {
        false
    }
}

/// A Redis server. It ends with the value.
pub struct Redis {
    pub port: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
    options: Vec<String>,
    /// It takes TLS connections only.
    tls: bool,
}

impl Redis {
    /// A server that takes TLS connections only, and asks clients for a certificate. Its directory has `ca.pem`, and `client.pem` and `client.key` of a client.
    pub async fn start_tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
        let ca_key = rcgen::KeyPair::generate().unwrap();
        let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
        // Another name than that of the certificates it signs.
        ca.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
        let issuer = rcgen::Issuer::new(ca, ca_key);
        for name in ["server", "client"] {
            let key = rcgen::KeyPair::generate().unwrap();
            let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            write(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        let file = |name: &str| dir.path().join(name).display().to_string();
        let options = ["--tls-ca-cert-file", "--tls-cert-file", "--tls-key-file"].into_iter();
        let options = options.zip(["ca.pem", "server.pem", "server.key"].map(file));
        let options = options.flat_map(|(option, file)| [option.to_owned(), file]).collect();
        let mut redis = Self { port: free_port(), dir, child: None, options, tls: true };
        redis.restart().await;
        redis
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub async fn start(options: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut redis = Self { port: free_port(), dir, child: None, options, tls: false };
        redis.restart().await;
        redis
    }

    /// Starts it again on its port, and waits until it answers.
    pub async fn restart(&mut self) {
        let mut command = Command::new("redis-server");
        let port = self.port.to_string();
        let listen = if self.tls {
            ["--port", "0", "--tls-port"]
        } else {
            ["--loglevel", "notice", "--port"]
        };
        command.args(listen).args([&port, "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(self.dir.path()).args(&self.options);
        command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        self.child = Some(command.spawn().expect("redis-server is installed"));
        until("redis to answer", async || {
            // Who speaks no TLS is cut off: it is there.
            let is_there = TcpStream::connect(("127.0.0.1", self.port)).await.is_ok();
            is_there && (self.tls || !self.ask(&["PING"]).await.is_empty())
        })
        .await;
    }

    /// Kills it at once.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().await.unwrap();
    }

    /// Stops its process, or lets it go on.
    pub fn pause(&self, is_paused: bool) {
        let pid = self.child.as_ref().and_then(Child::id).unwrap();
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, if is_paused { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    /// Sends a command; what comes back within a moment.
    pub async fn ask(&self, words: &[&str]) -> String {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return String::new();
        };
        let mut request = format!("*{}\r\n", words.len());
        for word in words {
            write!(request, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1 << 16];
        let reading = stream.read(&mut answer);
        match tokio::time::timeout(Duration::from_secs(5), reading).await {
            Ok(Ok(length)) => String::from_utf8_lossy(&answer[..length]).into_owned(),
            _ => String::new(),
        }
    }

    /// Names of the keys of one kind: `v` values, `t` stamps, `l` leases.
    pub async fn names(&self, kind: &str) -> Vec<String> {
        let answer = self.ask(&["KEYS", &format!("*:{kind}:*")]).await;
        let kind = format!(":{kind}:");
        answer.lines().filter(|line| line.contains(&kind)).map(str::to_owned).collect()
    }

    /// Forgets the keys of one kind, as it does when its memory is full.
    pub async fn evict(&self, kind: &str) {
        for name in self.names(kind).await {
            self.ask(&["DEL", &name]).await;
        }
    }
}

/// How the way to Redis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Pass,
    /// Every answer comes so much later.
    Slow(Duration),
    /// Something that is no Redis answers.
    Garbage,
    /// Every connection ends.
    Closed,
}

/// A way to Redis that can be made slow or wrong.
pub struct Way {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Connections before this one are half open: nothing comes back, and they do not end.
    frozen: Arc<AtomicU64>,
    opened: Arc<AtomicU64>,
}

impl Way {
    pub async fn to(redis: &Redis) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Pass);
        let (modes, port) = (mode.subscribe(), redis.port);
        let way = Self { address, mode, frozen: Arc::default(), opened: Arc::default() };
        let (frozen, opened) = (Arc::clone(&way.frozen), Arc::clone(&way.opened));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (number, frozen) = (opened.fetch_add(1, SeqCst), Arc::clone(&frozen));
                let is_frozen = move || number < frozen.load(SeqCst);
                tokio::spawn(carry(client, port, modes.clone(), is_frozen));
            }
        });
        way
    }

    /// From now on nothing comes back on the connections that are open; others are as they were.
    pub fn freeze(&self) {
        self.frozen.store(self.opened.load(SeqCst), SeqCst);
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn carry(
    client: TcpStream,
    port: u16,
    mut modes: watch::Receiver<Mode>,
    is_frozen: impl Fn() -> bool,
) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let ((mut from_client, mut to_client), (mut from_server, mut to_server)) =
        (client.into_split(), server.into_split());
    let carried = modes.clone();
    let there = tokio::io::copy(&mut from_client, &mut to_server);
    let back = async {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
            if is_frozen() {
                return std::future::pending().await;
            }
            let mode = *carried.borrow();
            let sent = match mode {
                Mode::Pass => to_client.write_all(&buffer[..length]).await,
                Mode::Slow(time) => {
                    sleep(time).await;
                    to_client.write_all(&buffer[..length]).await
                }
                Mode::Garbage => to_client.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await,
                Mode::Closed => return,
            };
            if sent.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = there => {}
        () = back => {}
        _ = modes.wait_for(|mode| *mode == Mode::Closed) => {}
    }
}

/// The cache of one collector, and how often it loaded.
#[derive(Clone)]
pub struct Collector {
    pub cache: Cache<Number, Never>,
    pub loads: Arc<AtomicU64>,
    _stop: Arc<tokio_util::sync::DropGuard>,
}

impl Collector {
    /// Connected, and hearing what others invalidate.
    pub async fn start(port: u16) -> Self {
        let collector = Self::with(&settings(port));
        collector.until_heard().await;
        collector
    }

    /// One that waits no longer for an answer than a slow server takes in these tests.
    pub async fn hasty(port: u16) -> Self {
        let collector = Self::with(&RedisSettings { timeout_ms: 100, ..settings(port) });
        collector.until_heard().await;
        collector
    }

    pub fn with(settings: &RedisSettings) -> Self {
        let cache = Cache::shared(1 << 20, settings, b"the secret of all", UNHEARD).unwrap();
        let (running, stop) = (cache.clone(), CancellationToken::new());
        let stopped = stop.clone();
        tokio::spawn(async move { running.run(|_| {}, stopped).await });
        Self { cache, loads: Arc::default(), _stop: Arc::new(stop.drop_guard()) }
    }

    pub async fn until_heard(&self) {
        until("invalidations to be heard", async || self.stats().connected && self.stats().heard)
            .await;
    }

    pub fn stats(&self) -> SharedStats {
        self.cache.shared_stats().unwrap()
    }

    /// The value of a key, or what the truth is when it has to be loaded.
    pub async fn read(&self, name: &str, truth: &Arc<AtomicU64>) -> Found<Number> {
        self.read_for(FRESH, name, truth).await
    }

    /// The same, and the value lives so long.
    pub async fn read_for(
        &self,
        fresh: Duration,
        name: &str,
        truth: &Arc<AtomicU64>,
    ) -> Found<Number> {
        let (loads, truth) = (Arc::clone(&self.loads), Arc::clone(truth));
        let load = move || async move {
            loads.fetch_add(1, SeqCst);
            Ok(loaded(Number(truth.load(SeqCst)), fresh))
        };
        self.cache.fetch(key(name), &tags(), load).await.unwrap()
    }

    /// Begins to load a key, and goes on once that has begun.
    pub async fn begin(&self, name: &str, value: Number) -> Slow {
        let (begun, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (told, gate) = (Arc::clone(&begun), Arc::clone(&go));
        let (cache, key) = (self.cache.clone(), key(name));
        let task = tokio::spawn(async move {
            let load = move || async move {
                told.notify_one();
                gate.notified().await;
                Ok(loaded(value, LONG))
            };
            cache.fetch(key, &tags(), load).await.unwrap().value
        });
        let begins = tokio::time::timeout(DEADLINE, begun.notified()).await;
        begins.expect("loading begins");
        Slow { task, go }
    }

    /// Invalidates, and goes on once Redis knows.
    pub async fn invalidate(&self, tag: &str) {
        self.cache.invalidate(&[Tag::new(tag)]);
        until("redis to know", async || self.stats().unsent == 0).await;
    }
}

/// Somebody who waits for a slow loading.
pub struct Slow {
    task: JoinHandle<Number>,
    go: Arc<Notify>,
}

impl Slow {
    /// Loading ends; what came of it.
    pub async fn end(self) -> Number {
        self.go.notify_one();
        self.task.await.unwrap()
    }

    /// He goes away.
    pub async fn leave(self) {
        self.task.abort();
        assert!(self.task.await.unwrap_err().is_cancelled());
    }
}

/// A value that lives so long.
pub fn loaded(value: Number, fresh: Duration) -> Loaded<Number> {
    let life = Life::new(fresh, Duration::ZERO, Duration::ZERO);
    Loaded { value, life, is_negative: false }
}

/// Settings with which a busy machine makes no answer late.
pub fn settings(port: u16) -> RedisSettings {
    RedisSettings {
        url: format!("redis://127.0.0.1:{port}"),
        timeout_ms: 1_000,
        ..Default::default()
    }
}

pub fn key(name: &str) -> Key {
    Key::builder("test").text(name).build()
}

pub fn tags() -> Arc<[Tag]> {
    Arc::from([Tag::new("t")])
}

pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// A port below those that the system gives to outgoing connections, so that it stays free while Redis is down.
fn free_port() -> u16 {
    (0..1_000)
        .map(|_| rand::random_range(10_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok())
        .expect("one of a thousand ports is free")
}
