//! `MONITOR` without the harm: every request of a server, for a short time, read fast.
//!
//! It halves what a busy server can do, and what its reader does not take in time piles up in a
//! buffer that counts as used memory: a full server evicts keys for it. So a [`Burst`] is short, has
//! a thread that does nothing but read, a large buffer on our side, and a second connection that looks
//! at both all the time. It does not begin on a server that is nearly full, unless that is asked for
//! (where requests are few: each line costs the server 3 microseconds), and ends as soon as the
//! server's buffer for us grows.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::connect;
use crate::redis::{Connection, Error, Info, Instance, Number, Reply};

/// Time between two looks at whether reading is over.
const PATIENCE: Duration = Duration::from_millis(10);

/// Bounds of one burst.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Burst {
    /// How long at most.
    pub longest: Duration,
    /// Largest buffer that the server may hold for us, in bytes.
    pub most_pending_bytes: u64,
    /// Share of `maxmemory` in use above which nothing is begun, and what was begun ends.
    pub most_used: f64,
    /// Buffer on our side, in bytes.
    pub receive_bytes: usize,
    /// Time between two looks at the server's buffer.
    pub look_every: Duration,
}

/// How a burst ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Its time was over.
    Time,
    /// The server's buffer for us grew.
    Pending,
    /// The server is nearly full.
    Full,
}

impl Default for Burst {
    /// Half a second, 1 MB pending, 97 % in use, 4 MB of our own, fifty looks a second.
    fn default() -> Self {
        Self {
            longest: Duration::from_millis(500),
            most_pending_bytes: 1 << 20,
            most_used: 0.97,
            receive_bytes: 4 << 20,
            look_every: Duration::from_millis(20),
        }
    }
}

/// Gives every request to `line`, as `MONITOR` writes it.
///
/// # Errors
/// When the server cannot be reached, breaks off or refuses.
pub fn burst(
    instance: &Instance,
    bounds: &Burst,
    line: impl FnMut(&[u8]) + Send,
) -> Result<End, Error> {
    burst_until(instance, bounds, &AtomicBool::new(false), line)
}

/// As [`burst`], which ends early when somebody says that it is over.
///
/// # Errors
/// When the server cannot be reached, breaks off or refuses.
pub fn burst_until(
    instance: &Instance,
    bounds: &Burst,
    is_over: &AtomicBool,
    mut line: impl FnMut(&[u8]) + Send,
) -> Result<End, Error> {
    let mut guard = connect(instance)?;
    if used(&mut guard)? > bounds.most_used {
        return Ok(End::Full);
    }
    let mut reader = connect(instance)?;
    reader.widen(bounds.receive_bytes)?;
    let id = reader.call(&[b"CLIENT", b"ID"])?.integer();
    let id = id.ok_or(Error::Protocol("no id of a client"))?.to_string();
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let result = read(&mut reader, is_over, &mut line);
            is_over.store(true, Ordering::Relaxed);
            result
        });
        let end = look(&mut guard, &id, bounds, is_over);
        is_over.store(true, Ordering::Relaxed);
        // A reader that has panicked has read what it has.
        reading.join().unwrap_or(Ok(()))?;
        end
    })
}

fn read(
    connection: &mut Connection,
    is_over: &AtomicBool,
    line: &mut impl FnMut(&[u8]),
) -> Result<(), Error> {
    connection.call(&[b"MONITOR"])?;
    while !is_over.load(Ordering::Relaxed) {
        if let Some(Reply::Text(text)) = connection.receive_within(PATIENCE)? {
            line(&text);
        }
    }
    Ok(())
}

/// Looks at the server until the burst has to end.
fn look(
    guard: &mut Connection,
    id: &str,
    bounds: &Burst,
    is_over: &AtomicBool,
) -> Result<End, Error> {
    let deadline = Instant::now() + bounds.longest;
    loop {
        let now = Instant::now();
        if now >= deadline || is_over.load(Ordering::Relaxed) {
            return Ok(End::Time);
        }
        if pending(guard, id)? > bounds.most_pending_bytes {
            return Ok(End::Pending);
        }
        if used(guard)? > bounds.most_used {
            return Ok(End::Full);
        }
        thread::park_timeout(bounds.look_every.min(deadline - now));
    }
}

/// Bytes that the server holds for a client.
fn pending(guard: &mut Connection, id: &str) -> Result<u64, Error> {
    let reply = guard.call(&[b"CLIENT", b"LIST", b"ID", id.as_bytes()])?;
    let text = String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned();
    let omem = text.split_whitespace().find_map(|field| field.strip_prefix("omem="));
    Ok(omem.and_then(|bytes| bytes.parse().ok()).unwrap_or(0))
}

/// Share of `maxmemory` in use; 0 without one.
fn used(guard: &mut Connection) -> Result<f64, Error> {
    let reply = guard.call(&[b"INFO", b"memory"])?;
    let mut info = Info::default();
    info.read(reply.text().unwrap_or_default());
    let number = |number| info.get(number).unwrap_or(0) as f64;
    let max = number(Number::MaxMemory);
    Ok(if max > 0.0 { number(Number::Used) / max } else { 0.0 })
}
