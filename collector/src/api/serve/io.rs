//! A socket that notes what its client does, for [`super::patience`]: a few plain writes to memory, no clock.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::patience::{Phase, Seen};

/// What has happened on a connection. Written and read by its one task.
#[derive(Debug, Default)]
pub(super) struct Notes {
    phase: AtomicU8,
    requests: AtomicU32,
    written: AtomicU32,
    blocked: AtomicBool,
    reset: AtomicBool,
}

/// The socket and its notes.
#[derive(Debug)]
pub(super) struct NotedStream {
    stream: TcpStream,
    notes: Arc<Notes>,
}

impl Notes {
    /// A request has come, with all its headers.
    pub(super) fn request(&self) {
        self.phase.store(Phase::Answer as u8, Relaxed);
        self.requests.store(self.requests.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// The answer was given to the connection to be written.
    pub(super) fn answered(&self) {
        self.phase.store(Phase::Idle as u8, Relaxed);
    }

    /// What is left to be sent is thrown away when the connection is dropped.
    pub(super) fn reset(&self) {
        self.reset.store(true, Relaxed);
    }

    pub(super) fn seen(&self) -> Seen {
        let phase = match self.phase.load(Relaxed) {
            phase if phase == Phase::Header as u8 => Phase::Header,
            phase if phase == Phase::Answer as u8 => Phase::Answer,
            _ => Phase::Idle,
        };
        Seen {
            phase,
            requests: self.requests.load(Relaxed),
            written: self.written.load(Relaxed),
            blocked: self.blocked.load(Relaxed),
        }
    }

    fn read(&self) {
        if self.phase.load(Relaxed) == Phase::Idle as u8 {
            self.phase.store(Phase::Header as u8, Relaxed);
        }
    }

    fn wrote(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match &written {
            Poll::Pending => self.blocked.store(true, Relaxed),
            Poll::Ready(Ok(bytes)) => {
                let sum = self.written.load(Relaxed).wrapping_add(*bytes as u32);
                self.written.store(sum, Relaxed);
                self.blocked.store(false, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
        }
        written
    }
}

impl NotedStream {
    pub(super) const fn new(stream: TcpStream, notes: Arc<Notes>) -> Self {
        Self { stream, notes }
    }
}

impl Drop for NotedStream {
    fn drop(&mut self) {
        if self.notes.reset.load(Relaxed) {
            // Otherwise the system would go on for minutes to send what nobody reads.
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl AsyncRead for NotedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.notes.read();
        }
        read
    }
}

impl AsyncWrite for NotedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.notes.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.notes.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
