//! A network in memory: ordered, lossless connections with latency, and the faults that TCP lets through.
//!
//! Bytes arrive in order and after a delay, or not at all: a connection may be cut (what is under way is lost, or delivered first), held (a partition
//! that TCP outlives: everything arrives when it is over) or swallowed (one that it does not: silence until somebody gives up). A window bounds what is
//! under way, so a reader that does not read stops its writer, as TCP's would.

mod pipe;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use self::pipe::{Pipe, Take};

/// Connections that may wait to be accepted.
const BACKLOG: usize = 128;

/// The network. Clones are the same one.
#[derive(Clone)]
pub(crate) struct Network(Arc<Mutex<State>>);

struct State {
    rng: StdRng,
    /// Shortest and longest time that bytes take, in milliseconds.
    latency_ms: (u64, u64),
    listeners: BTreeMap<String, mpsc::Sender<io::Result<Conn>>>,
    held: BTreeSet<(String, String)>,
    released: Arc<Notify>,
    wires: Vec<Wire>,
    connections: u64,
}

/// One connection.
struct Wire {
    client: String,
    server: String,
    up: Arc<Pipe>,
    down: Arc<Pipe>,
}

/// How a connection ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// What is under way is lost.
    Now,
    /// What is under way arrives first.
    AfterDelivery,
    /// Nobody is told: nothing arrives any more.
    Silent,
}

/// One end of a connection.
pub(crate) struct Conn {
    network: Network,
    read: Arc<Pipe>,
    write: Arc<Pipe>,
    wait: Option<Pin<Box<Sleep>>>,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            rng: StdRng::seed_from_u64(seed),
            latency_ms: (0, 2),
            listeners: BTreeMap::new(),
            held: BTreeSet::new(),
            released: Arc::default(),
            wires: Vec::new(),
            connections: 0,
        })))
    }

    /// Accepts connections to `host` until the stream is dropped or the host [crashes](Self::crash).
    pub(crate) fn listen(&self, host: &str) -> ReceiverStream<io::Result<Conn>> {
        let (accept, accepted) = mpsc::channel(BACKLOG);
        self.0.lock().listeners.insert(host.to_owned(), accept);
        ReceiverStream::new(accepted)
    }

    /// Opens a connection. Waits while the way is held.
    pub(crate) async fn connect(&self, client: String, server: String) -> io::Result<Conn> {
        let pair = (client, server);
        loop {
            sleep(self.latency()).await;
            let released = Arc::clone(&self.0.lock().released);
            let released = released.notified();
            if !self.0.lock().held.contains(&pair) {
                break;
            }
            released.await;
        }
        let here = self.open(pair)?;
        sleep(self.latency()).await;
        Ok(here)
    }

    /// Hands one end of a new connection to the server and gives the other one.
    fn open(&self, (client, server): (String, String)) -> io::Result<Conn> {
        let mut state = self.0.lock();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let accept = state.listeners.get(&server).cloned().ok_or_else(refused)?;
        let number = state.connections;
        state.connections += 1;
        let (up, down) = (Arc::new(Pipe::new(2 * number)), Arc::new(Pipe::new(2 * number + 1)));
        let conn = |read: &Arc<Pipe>, write: &Arc<Pipe>| Conn {
            network: self.clone(),
            read: Arc::clone(read),
            write: Arc::clone(write),
            wait: None,
        };
        let (here, there) = (conn(&down, &up), conn(&up, &down));
        state.wires.retain(|wire| !wire.is_over());
        state.wires.push(Wire { client, server, up, down });
        // The ends ask the network for its latency when they are dropped.
        drop(state);
        accept.try_send(Ok(there)).map_err(|_| refused())?;
        Ok(here)
    }

    /// Sets how long bytes take.
    pub(crate) fn set_latency_ms(&self, shortest: u64, longest: u64) {
        self.0.lock().latency_ms = (shortest, longest);
    }

    /// Ends the connections between two hosts. Gives their number.
    pub(crate) fn cut(&self, client: &str, server: &str, cut: Cut) -> usize {
        let state = self.0.lock();
        let of_pair =
            |wire: &&Wire| wire.client == client && wire.server == server && !wire.is_over();
        state.wires.iter().filter(of_pair).map(|wire| wire.cut(cut)).count()
    }

    /// Lets nothing through between two hosts until [`Self::release`].
    pub(crate) fn hold(&self, client: &str, server: &str, held: bool) {
        let mut state = self.0.lock();
        let pair = (client.to_owned(), server.to_owned());
        if held {
            state.held.insert(pair)
        } else {
            state.held.remove(&pair)
        };
        for wire in state.wires.iter().filter(|w| w.client == client && w.server == server) {
            wire.up.hold(held);
            wire.down.hold(held);
        }
        state.released.notify_waiters();
    }

    /// Ends everything that `host` had to do with the network.
    pub(crate) fn crash(&self, host: &str, cut: Cut) {
        let mut state = self.0.lock();
        state.listeners.remove(host);
        for wire in state.wires.iter().filter(|wire| wire.client == host || wire.server == host) {
            wire.cut(cut);
        }
    }

    fn latency(&self) -> Duration {
        let mut state = self.0.lock();
        let (shortest, longest) = state.latency_ms;
        Duration::from_millis(state.rng.random_range(shortest..=longest))
    }
}

impl Wire {
    fn cut(&self, cut: Cut) {
        self.up.cut(cut);
        self.down.cut(cut);
    }

    fn is_over(&self) -> bool {
        self.up.is_over() && self.down.is_over()
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            match this.read.take(Instant::now(), buf, cx.waker()) {
                Take::Done => return Poll::Ready(Ok(())),
                Take::Reset => return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                Take::Wait => return Poll::Pending,
                Take::Until(at) => {
                    let wait = this.wait.get_or_insert_with(|| Box::pin(sleep_until(at)));
                    wait.as_mut().reset(at);
                    ready!(wait.as_mut().poll(cx));
                }
            }
        }
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let at = Instant::now() + self.network.latency();
        self.write.put(at, bytes, cx.waker())
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write.finish(Instant::now() + self.network.latency());
        Poll::Ready(Ok(()))
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.write.finish(Instant::now() + self.network.latency());
        self.read.abandon();
    }
}

impl Connected for Conn {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}
