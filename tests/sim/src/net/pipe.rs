//! One direction of a connection.

use std::collections::VecDeque;
use std::io;
use std::task::{Poll, Waker};

use parking_lot::Mutex;
use tokio::io::ReadBuf;
use tokio::time::Instant;

use super::Cut;
use crate::trace;

/// Bytes that may be under way.
const WINDOW_BYTES: usize = 64 * 1024;

/// See the module.
pub(super) struct Pipe {
    number: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pieces: VecDeque<Piece>,
    bytes: usize,
    end: Option<End>,
    is_held: bool,
    /// The reader has gone.
    is_abandoned: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

struct Piece {
    at: Instant,
    bytes: Vec<u8>,
}

/// How it ends, once what is under way has been read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The writer has finished; seen from this time on.
    Finished(Instant),
    Reset,
    Silent,
}

/// What a reader gets.
pub(super) enum Take {
    /// Bytes, or the end.
    Done,
    Reset,
    /// Nothing before this time.
    Until(Instant),
    /// Nothing before the reader is woken.
    Wait,
}

impl Pipe {
    pub(super) fn new(number: u64) -> Self {
        Self { number, state: Mutex::default() }
    }

    /// Reads what has arrived.
    pub(super) fn take(&self, now: Instant, buf: &mut ReadBuf<'_>, reader: &Waker) -> Take {
        let mut state = self.state.lock();
        if state.is_held || state.end == Some(End::Silent) {
            state.reader = Some(reader.clone());
            return Take::Wait;
        }
        let mut taken = 0_u64;
        while let Some(piece) = state.pieces.front_mut().filter(|piece| piece.at <= now) {
            let count = piece.bytes.len().min(buf.remaining());
            if count == 0 {
                break;
            }
            buf.put_slice(&piece.bytes[..count]);
            taken += count as u64;
            if count == piece.bytes.len() {
                state.pieces.pop_front();
            } else {
                piece.bytes.drain(..count);
            }
            state.bytes -= count;
        }
        if taken > 0 {
            trace::mix(self.number, taken);
            state.writer.take().into_iter().for_each(Waker::wake);
            return Take::Done;
        }
        match (state.pieces.front(), state.end) {
            (Some(piece), _) => Take::Until(piece.at),
            (None, Some(End::Reset)) => Take::Reset,
            (None, Some(End::Finished(at))) if at <= now => Take::Done,
            (None, Some(End::Finished(at))) => Take::Until(at),
            (None, _) => {
                state.reader = Some(reader.clone());
                Take::Wait
            }
        }
    }

    /// Sends bytes that arrive at `at`, or right after what was sent before them.
    pub(super) fn put(&self, at: Instant, bytes: &[u8], writer: &Waker) -> Poll<io::Result<usize>> {
        let mut state = self.state.lock();
        if state.is_abandoned || matches!(state.end, Some(End::Reset | End::Finished(_))) {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let count = bytes.len().min(WINDOW_BYTES - state.bytes);
        if count == 0 && !bytes.is_empty() {
            state.writer = Some(writer.clone());
            return Poll::Pending;
        }
        let at = state.pieces.back().map_or(at, |last| last.at.max(at));
        state.pieces.push_back(Piece { at, bytes: bytes[..count].to_vec() });
        state.bytes += count;
        state.wake_reader();
        Poll::Ready(Ok(count))
    }

    /// The writer sends no more.
    pub(super) fn finish(&self, at: Instant) {
        let mut state = self.state.lock();
        let at = state.pieces.back().map_or(at, |last| last.at.max(at));
        state.end.get_or_insert(End::Finished(at));
        state.wake_reader();
    }

    /// The reader reads no more.
    pub(super) fn abandon(&self) {
        let mut state = self.state.lock();
        state.is_abandoned = true;
        state.writer.take().into_iter().for_each(Waker::wake);
    }

    /// See [`Cut`].
    pub(super) fn cut(&self, cut: Cut) {
        let mut state = self.state.lock();
        state.end = Some(if cut == Cut::Silent { End::Silent } else { End::Reset });
        if cut == Cut::Now {
            state.pieces.clear();
            state.bytes = 0;
        }
        state.wake_reader();
        state.writer.take().into_iter().for_each(Waker::wake);
    }

    /// Lets nothing through, or everything again.
    pub(super) fn hold(&self, is_held: bool) {
        let mut state = self.state.lock();
        state.is_held = is_held;
        state.wake_reader();
    }

    /// Nobody will read from it any more.
    pub(super) fn is_over(&self) -> bool {
        self.state.lock().is_abandoned
    }
}

impl State {
    fn wake_reader(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}
