//! What happened in a world, line by line: hashed always, printed when a seed is replayed.
//!
//! The hash is the proof that a run repeats, so it takes in the smallest things (each piece of a connection's bytes), which are not printed.

use std::cell::RefCell;
use std::fmt::Display;
use std::hash::Hasher as _;
use std::io::Write;

use tracing_subscriber::fmt::MakeWriter;
use twox_hash::XxHash3_64;

use crate::kernel;

thread_local! {
    static TRACE: RefCell<Trace> = RefCell::new(Trace::default());
}

#[derive(Default)]
struct Trace {
    hash: XxHash3_64,
    lines: u64,
    is_printed: bool,
}

/// Begins this thread's trace.
pub(crate) fn begin(is_printed: bool) {
    TRACE.replace(Trace { is_printed, ..Trace::default() });
}

/// Hash and number of lines so far.
pub(crate) fn digest() -> (u64, u64) {
    TRACE.with_borrow(|trace| (trace.hash.finish(), trace.lines))
}

/// Notes an event.
pub(crate) fn line(actor: &str, text: impl Display) {
    let ms = kernel::elapsed().as_millis();
    let line = format!("{:>6}.{:03} {actor:<4} {text}\n", ms / 1_000, ms % 1_000);
    TRACE.with_borrow_mut(|trace| {
        trace.hash.write(line.as_bytes());
        trace.lines += 1;
        if trace.is_printed {
            // Nobody reads it any more: then nothing is to be told.
            let _ = std::io::stdout().write_all(line.as_bytes());
        }
    });
}

/// Notes something too small to be read.
pub(crate) fn mix(what: u64, value: u64) {
    let ms = kernel::elapsed().as_millis() as u64;
    TRACE.with_borrow_mut(|trace| {
        trace.hash.write_u64(ms);
        trace.hash.write_u64(what);
        trace.hash.write_u64(value);
    });
}

/// Makes the log of agents and collectors part of the trace.
pub(crate) struct Log;

/// One line of the log.
pub(crate) struct LogLine(Vec<u8>);

impl<'a> MakeWriter<'a> for Log {
    type Writer = LogLine;

    fn make_writer(&'a self) -> LogLine {
        LogLine(Vec::new())
    }
}

impl Write for LogLine {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for LogLine {
    fn drop(&mut self) {
        if !self.0.is_empty() {
            line("log", String::from_utf8_lossy(&self.0).trim());
        }
    }
}
