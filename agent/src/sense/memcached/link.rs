//! A connection to memcached: its text protocol, as far as statistics need it.

use std::io::{ErrorKind, Read as _, Write as _};
use std::time::{Duration, Instant};

use super::config::Address;
use crate::redis::{Error, Refusal, Stream, connect, connect_unix};

/// Longest time to connect.
const CONNECT: Duration = Duration::from_secs(2);
/// Longest time for one answer.
const REQUEST: Duration = Duration::from_secs(1);
/// Larger than the statistics of all slab classes.
const MAX_ANSWER: usize = 1 << 20;
const CHUNK: usize = 16 * 1024;
/// How refusals begin.
const ERRORS: [&[u8]; 3] = [b"ERROR", b"CLIENT_ERROR ", b"SERVER_ERROR "];

/// An open connection. After any error but a refusal it is of no use any more.
#[derive(Debug)]
pub(super) struct Link {
    stream: Stream,
    buffer: Vec<u8>,
}

impl Link {
    /// Connects.
    ///
    /// # Errors
    /// When nobody takes the connection in time.
    pub(super) fn open(address: &Address) -> Result<Self, Error> {
        let deadline = Instant::now() + CONNECT;
        let stream = match address {
            Address::Unix(path) => connect_unix(path, deadline).map(Stream::Unix),
            Address::Tcp(host, port) => connect(host, *port, deadline).map(Stream::Tcp),
        };
        let unreachable = |source| Error::Unreachable { endpoint: address.to_string(), source };
        Ok(Self { stream: stream.map_err(unreachable)?, buffer: Vec::new() })
    }

    /// Asks for statistics; `what` is empty, `items`, `slabs` or `settings`. Gives lines of `STAT NAME VALUE`.
    ///
    /// # Errors
    /// When there is no answer in time, or it is a refusal.
    pub(super) fn stats(&mut self, what: &str) -> Result<&[u8], Error> {
        let deadline = Instant::now() + REQUEST;
        let question = if what.is_empty() { "stats\r\n" } else { &format!("stats {what}\r\n") };
        self.stream.set_deadline(deadline)?;
        self.stream.write_all(question.as_bytes())?;
        self.buffer.clear();
        loop {
            if let Some(length) = whole(&self.buffer)? {
                return Ok(&self.buffer[..length]);
            }
            if self.buffer.len() > MAX_ANSWER {
                return Err(Error::Protocol("larger than is taken"));
            }
            self.stream.set_deadline(deadline)?;
            let before = self.buffer.len();
            self.buffer.resize(before + CHUNK, 0);
            let read = self.stream.read(&mut self.buffer[before..]);
            self.buffer.truncate(before + *read.as_ref().unwrap_or(&0));
            match read {
                Ok(0) => return Err(Error::Broken(ErrorKind::UnexpectedEof.into())),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Length of the lines before the end, when that is there.
fn whole(buffer: &[u8]) -> Result<Option<usize>, Error> {
    const END: &[u8] = b"END\r\n";
    if let Some(rest) = buffer.strip_suffix(END)
        && (rest.is_empty() || rest.ends_with(b"\n"))
    {
        return Ok(Some(rest.len()));
    }
    let begins = |start: &[u8]| buffer.starts_with(&start[..start.len().min(buffer.len())]);
    if begins(b"STAT ") || begins(END) {
        return Ok(None);
    }
    match memchr::memchr(b'\n', buffer) {
        None if buffer.len() < 1024 => Ok(None),
        Some(end) if ERRORS.iter().any(|error| buffer.starts_with(error)) => {
            Err(Error::Refused(Refusal::parse(&buffer[..end])))
        }
        _ => Err(Error::Protocol("an unknown kind of answer")),
    }
}

/// Names and values of lines of `STAT NAME VALUE`.
pub(super) fn pairs(text: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line).strip_prefix(b"STAT ")?;
        let space = memchr::memchr(b' ', line)?;
        Some((&line[..space], &line[space + 1..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_with_its_end() {
        for (text, length) in [
            ("END\r\n", Some(0)),
            ("STAT a 1\r\nEND\r\n", Some(10)),
            ("STAT a END\r\n", None),
            ("STAT aEND\r\n", None),
            ("STA", None),
            ("EN", None),
            ("", None),
            ("CLIENT_ERR", None),
        ] {
            assert_eq!(whole(text.as_bytes()).unwrap(), length, "{text}");
        }
        for text in ["ERROR\r\n", "CLIENT_ERROR unauthenticated\r\n"] {
            assert!(matches!(whole(text.as_bytes()), Err(Error::Refused(_))), "{text}");
        }
        assert!(matches!(whole(b"HTTP/1.1 400\r\n"), Err(Error::Protocol(_))));
        assert!(whole(&[b'x'; 2000]).is_err());
    }

    #[test]
    fn lines_that_are_no_statistics_are_passed_over() {
        let text = b"STAT a 1\r\nSTAT b c d\r\nx\r\nSTAT e\r\n";
        let all: Vec<_> = pairs(text).collect();
        assert_eq!(all, [(&b"a"[..], &b"1"[..]), (b"b", b"c d")]);
    }
}
