//! A TCP proxy between the collector and ClickHouse that can be made to fail in the ways in which networks and servers do.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How the proxy treats connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything passes.
    Pass,
    /// Connections are cut.
    Cut,
    /// Requests reach ClickHouse, and the connection is cut before the answer to them comes back.
    LoseAnswers,
    /// Requests with this text in them are held until the mode changes; all others pass.
    Hold(&'static str),
}

/// The proxy; it ends with the test's runtime.
pub struct Proxy {
    pub address: SocketAddr,
    mode: watch::Sender<Mode>,
}

impl Proxy {
    pub async fn start(upstream: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mode = watch::Sender::new(Mode::Pass);
        let modes = mode.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, upstream.clone(), modes.clone()));
            }
        });
        Self { address, mode }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }
}

async fn serve(mut client: TcpStream, upstream: String, mut modes: watch::Receiver<Mode>) {
    let mode = *modes.borrow_and_update();
    if mode == Mode::Cut {
        return;
    }
    let mut server = TcpStream::connect(upstream).await.unwrap();
    if mode == Mode::LoseAnswers {
        return lose_answer(client, server).await;
    }
    if let Mode::Hold(text) = mode {
        tokio::select! {
            () = pass_unless(client, server, text) => {}
            _ = modes.changed() => {}
        }
        return;
    }
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = modes.changed() => {}
    }
}

async fn lose_answer(mut client: TcpStream, mut server: TcpStream) {
    let (mut request, mut answer) = (vec![0; 64 * 1024], [0; 1]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read {
                Ok(count @ 1..) => server.write_all(&request[..count]).await.unwrap(),
                _ => return,
            },
            // The first byte of the answer says that ClickHouse has done what was asked.
            _ = server.read(&mut answer) => return,
        }
    }
}

async fn pass_unless(mut client: TcpStream, mut server: TcpStream, text: &str) {
    let (mut request, mut answer) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut request) => match read {
                Ok(count @ 1..) => {
                    let bytes = &request[..count];
                    if bytes.windows(text.len()).any(|part| part == text.as_bytes()) {
                        return std::future::pending().await;
                    }
                    server.write_all(bytes).await.unwrap();
                }
                _ => return,
            },
            read = server.read(&mut answer) => match read {
                Ok(count @ 1..) => client.write_all(&answer[..count]).await.unwrap(),
                _ => return,
            },
        }
    }
}
