//! The clients' connections to one balancer: kept alive, used by one request at a time, opened when none is free.

use std::io;
use std::net::SocketAddr;

use parking_lot::Mutex;
use tokio::net::TcpStream;

use super::wire::{Answer, Wire};

/// What clients ask for.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: app\r\n\r\n";

/// Connections that are free.
#[derive(Debug)]
pub(super) struct Pool {
    address: SocketAddr,
    free: Mutex<Vec<Wire>>,
}

impl Pool {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, free: Mutex::new(Vec::new()) }
    }

    /// Sends one request and waits for its answer.
    ///
    /// A connection that was free may have been closed by the other side at that moment; a request of which no answer has begun is then sent once more on a new
    /// connection, as clients do (RFC 9112, 9.3.1). It is not sent again on a new one: what fails there is a failure.
    pub(super) async fn ask(&self) -> io::Result<Answer> {
        while let Some(wire) = self.take() {
            match self.exchange(wire).await {
                Ok(Some(answer)) => return Ok(answer),
                Ok(None) => {}
                Err(error) if is_closed(&error) => {}
                Err(error) => return Err(error),
            }
        }
        let wire = Wire::new(TcpStream::connect(self.address).await?)?;
        self.exchange(wire).await?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn take(&self) -> Option<Wire> {
        self.free.lock().pop()
    }

    async fn exchange(&self, mut wire: Wire) -> io::Result<Option<Answer>> {
        wire.write(REQUEST).await?;
        let answer = wire.answer().await?;
        if answer.as_ref().is_some_and(|answer| answer.is_open) {
            self.free.lock().push(wire);
        }
        Ok(answer)
    }
}

/// Closed before anything of an answer came.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset)
}
