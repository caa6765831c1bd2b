//! As much of HTTP/1.1 as requests without a body and short answers need.

use std::io;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest head that is read.
const MOST: usize = 16 << 10;
/// Header by which a backend says which one it is.
pub(super) const WHO: &str = "x-backend";

/// A connection and what was read from it ahead.
#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Status code.
    pub(super) status: u16,
    /// Number of the backend that has answered.
    pub(super) backend: Option<u16>,
    /// Whether the connection may be used again.
    pub(super) is_open: bool,
}

impl Wire {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(512) })
    }

    pub(super) async fn write(&mut self, text: &[u8]) -> io::Result<()> {
        self.stream.write_all(text).await
    }

    /// Reads the head of a request and gives its path; `None` when the other side has closed the connection.
    pub(super) async fn request(&mut self) -> io::Result<Option<String>> {
        let Some(end) = self.head().await? else { return Ok(None) };
        let head = String::from_utf8_lossy(&self.buffer[..end]);
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        self.buffer.drain(..end);
        Ok(Some(path))
    }

    /// Reads an answer with its body; `None` when the connection was closed before any of it came.
    pub(super) async fn answer(&mut self) -> io::Result<Option<Answer>> {
        let Some(end) = self.head().await? else { return Ok(None) };
        let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
        let (answer, length) = parse(&head).ok_or(io::ErrorKind::InvalidData)?;
        while self.buffer.len() < end + length {
            self.more().await?;
        }
        self.buffer.drain(..end + length);
        Ok(Some(answer))
    }

    /// Bytes of the next head, once it is whole.
    async fn head(&mut self) -> io::Result<Option<usize>> {
        loop {
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(Some(at + 4));
            }
            if self.buffer.len() > MOST {
                return Err(io::ErrorKind::InvalidData.into());
            }
            match self.more().await {
                Err(error)
                    if error.kind() == io::ErrorKind::UnexpectedEof && self.buffer.is_empty() =>
                {
                    return Ok(None);
                }
                read => read?,
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

/// The head of an answer and the length of its body.
fn parse(head: &str) -> Option<(Answer, usize)> {
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut answer = Answer { status, backend: None, is_open: true };
    let mut length = 0;
    for line in lines {
        let Some((name, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().ok()?,
            "connection" => answer.is_open = !value.eq_ignore_ascii_case("close"),
            name if name == WHO => answer.backend = value.parse().ok(),
            _ => {}
        }
    }
    Some((answer, length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_who_has_given_it_and_whether_the_connection_stays() {
        let head = "HTTP/1.1 503 Service Unavailable\r\nX-Backend: 3\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n";
        let (answer, length) = parse(head).unwrap();
        assert_eq!(answer, Answer { status: 503, backend: Some(3), is_open: false });
        assert_eq!(length, 2);
        assert!(parse("HTTP/1.1 ok\r\n\r\n").is_none());
    }
}
