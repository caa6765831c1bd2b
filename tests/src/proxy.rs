//! A TCP proxy that fails in the ways in which networks and servers do. It stands between an agent and a collector, or a collector and ClickHouse.
//!
//! The mode applies to every connection, also to those that are open when it changes. What a mode holds back is passed on when it ends, so it arrives
//! late and not never, as on a real network; what a mode cuts is gone. The proxy knows nothing of HTTP: "request" is what the client
//! sends and "answer" what the server sends.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the proxy treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Connections are closed, new ones at once.
    Cut,
    /// The first half of what the client sends next arrives, then the connection is closed: the server never gets the whole request.
    CutRequests,
    /// Requests arrive, and the connection is closed when the answer begins: what was asked is done, and the client does not know.
    LoseAnswers,
    /// The connection is closed in the midst of the answer.
    CutAnswers,
    /// Nothing passes and nothing is closed.
    BlackHole,
    /// Everything passes this much later.
    Delay(Duration),
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Cut => "cut",
            Self::CutRequests => "cut before the reply",
            Self::LoseAnswers => "cut instead of the reply",
            Self::CutAnswers => "cut during the reply",
            Self::BlackHole => "black hole",
            Self::Delay(_) => "delay",
        })
    }
}

/// A running proxy. Dropping it closes everything.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on a free port of `on` and connects to `upstream`, which need not be there yet.
    ///
    /// # Errors
    /// When `on` is not an address of this host.
    pub async fn start(on: IpAddr, upstream: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind((on, 0)).await.context("listen for the proxy")?;
        let address = listener.local_addr()?;
        let mode = watch::Sender::new(Mode::Pass);
        let modes = mode.subscribe();
        let accepting = tokio::spawn(async move {
            loop {
                // Out of file descriptors, for example: the next connection may have better luck.
                let Ok((client, _)) = listener.accept().await else { continue };
                tokio::spawn(serve(client, upstream, modes.clone()));
            }
        });
        Ok(Self { address, mode, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Treats connections so from now on.
    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// One connection, until either side or the proxy's mode ends it.
async fn serve(client: TcpStream, upstream: SocketAddr, mut modes: watch::Receiver<Mode>) {
    if *modes.borrow_and_update() == Mode::Cut {
        return;
    }
    if until_not(Mode::BlackHole, &mut modes).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(upstream).await else { return };
    // Small messages must not wait for each other.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ((from_client, to_client), (from_server, to_server)) =
        (client.into_split(), server.into_split());
    let cut = async {
        let mut modes = modes.clone();
        let _ = modes.wait_for(|mode| *mode == Mode::Cut).await;
    };
    // When one ends, the connection ends: half-closed connections are used by nobody here.
    tokio::select! {
        _ = pump(from_client, to_server, modes.clone(), Mode::CutRequests, None) => {}
        _ = pump(from_server, to_client, modes.clone(), Mode::CutAnswers, Some(Mode::LoseAnswers)) => {}
        () = cut => {}
    }
}

/// Copies one direction. In mode `halve` half of a piece is passed on and the connection ends, in mode `swallow` nothing of it.
async fn pump(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
    halve: Mode,
    swallow: Option<Mode>,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut buffer).await?;
        until_not(Mode::BlackHole, &mut modes).await?;
        let mode = *modes.borrow_and_update();
        if count == 0 || swallow == Some(mode) {
            return Ok(());
        }
        if mode == halve {
            return to.write_all(&buffer[..count / 2]).await;
        }
        if let Mode::Delay(time) = mode {
            tokio::time::sleep(time).await;
        }
        to.write_all(&buffer[..count]).await?;
    }
}

async fn until_not(mode: Mode, modes: &mut watch::Receiver<Mode>) -> io::Result<()> {
    let passed = modes.wait_for(|now| *now != mode).await;
    passed.map(|_| ()).map_err(|_| io::Error::other("the proxy has ended"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const SHORT: Duration = Duration::from_millis(100);

    /// A server that answers each "ping" with "pong!", and a proxy before it.
    async fn echo() -> (Proxy, watch::Receiver<u32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (asked, count) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let asked = asked.clone();
                tokio::spawn(async move {
                    let mut request = [0; 4];
                    while stream.read_exact(&mut request).await.is_ok() {
                        asked.send_modify(|n| *n += 1);
                        let _ = stream.write_all(b"pong!").await;
                    }
                });
            }
        });
        (Proxy::start(Ipv4Addr::LOCALHOST.into(), address).await.unwrap(), count)
    }

    async fn ask(stream: &mut TcpStream) -> Vec<u8> {
        let _ = stream.write_all(b"ping").await;
        let mut answer = vec![0; 5];
        let mut read = 0;
        while read < answer.len() {
            match stream.read(&mut answer[read..]).await {
                Ok(count @ 1..) => read += count,
                _ => break,
            }
        }
        answer.truncate(read);
        answer
    }

    #[tokio::test]
    async fn each_mode_fails_in_its_own_way() {
        let (proxy, asked) = echo().await;
        let connect = || TcpStream::connect(proxy.address());
        let cases = [
            (Mode::Pass, b"pong!".as_slice(), 1),
            (Mode::Cut, b"", 1),
            (Mode::CutRequests, b"", 1),
            (Mode::LoseAnswers, b"", 2),
            (Mode::CutAnswers, b"po", 3),
            (Mode::Delay(SHORT), b"pong!", 4),
        ];
        for (mode, answer, requests) in cases {
            proxy.set(mode);
            assert_eq!(ask(&mut connect().await.unwrap()).await, answer, "{mode}");
            assert_eq!(*asked.borrow(), requests, "{mode}");
        }
    }

    #[tokio::test]
    async fn a_black_hole_swallows_nothing_and_an_open_connection_can_be_cut() {
        let (proxy, mut asked) = echo().await;
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(ask(&mut stream).await, b"pong!");
        proxy.set(Mode::BlackHole);
        assert!(tokio::time::timeout(SHORT, ask(&mut stream)).await.is_err());
        assert_eq!(*asked.borrow_and_update(), 1);
        proxy.set(Mode::Pass);
        asked.wait_for(|n| *n == 2).await.unwrap();
        proxy.set(Mode::Cut);
        let mut rest = Vec::new();
        let _ = stream.read_to_end(&mut rest).await;
        assert!(rest.len() <= 5, "closed after at most the late answer");
    }
}
