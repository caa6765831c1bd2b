//! Parser of server-sent events (WHATWG HTML, "Server-sent events", 9.2.6), fed with bytes as they come.
//!
//! Lines end with LF, CR or CRLF; an empty line ends an event; `data` lines of one event are joined by LF; comments and unknown fields are passed over.
//! Only the data is kept: the live view starts afresh after a lost connection, so that it needs no `id`.
//! Bytes are cut into lines before they are read as UTF-8, so that a chunk may end anywhere, inside of a character too.

/// Largest event. A status of ten thousand nodes is about half of that.
pub(crate) const MAX_EVENT_BYTES: usize = 16 * 1024 * 1024;

/// State between two chunks.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    data: String,
    has_data: bool,
    /// The last byte was a CR: an LF right after it belongs to the same line end.
    after_cr: bool,
    started: bool,
}

/// The stream is not one of server-sent events that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event of more than {MAX_EVENT_BYTES} bytes")]
pub(crate) struct TooLarge;

impl Parser {
    /// Takes a chunk and gives the data of each event that it ends.
    ///
    /// # Errors
    /// When an event has more than [`MAX_EVENT_BYTES`].
    pub(crate) fn push(&mut self, chunk: &[u8]) -> Result<Vec<String>, TooLarge> {
        let mut events = Vec::new();
        for piece in chunk.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            let (text, end) = match piece {
                [text @ .., end @ (b'\n' | b'\r')] => (text, Some(*end)),
                text => (text, None),
            };
            let second_half = std::mem::take(&mut self.after_cr) && piece == b"\n";
            if second_half {
                continue;
            }
            if self.line.len() + self.data.len() + text.len() > MAX_EVENT_BYTES {
                return Err(TooLarge);
            }
            self.line.extend_from_slice(text);
            if let Some(end) = end {
                self.after_cr = end == b'\r';
                events.extend(self.end_line());
            }
        }
        Ok(events)
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        let mut line = String::from_utf8_lossy(&line);
        if !std::mem::replace(&mut self.started, true)
            && let Some(rest) = line.strip_prefix('\u{feff}')
        {
            line = rest.to_owned().into();
        }
        if line.is_empty() {
            let data = std::mem::take(&mut self.data);
            return std::mem::take(&mut self.has_data).then_some(data);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        if field == "data" {
            if self.has_data {
                self.data.push('\n');
            }
            self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
            self.has_data = true;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &str = "\u{feff}: hello\n\ndata: one\n\nid: 7\r\nevent: x\r\ndata: two\r\ndata:  é\r\n\r\ndata\rdata:\r\r:ping\n\nretry: 5\n\ndata: lost";
    const EVENTS: [&str; 3] = ["one", "two\n é", "\n"];

    fn parse<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<String> {
        let mut parser = Parser::default();
        chunks.into_iter().flat_map(|chunk| parser.push(chunk).unwrap()).collect()
    }

    #[test]
    fn events_are_read_and_an_unfinished_one_is_not() {
        assert_eq!(parse([STREAM.as_bytes()]), EVENTS);
    }

    #[test]
    fn a_chunk_may_end_anywhere() {
        let bytes = STREAM.as_bytes();
        for at in 0..=bytes.len() {
            for to in at..=bytes.len() {
                assert_eq!(
                    parse([&bytes[..at], &bytes[at..to], &bytes[to..]]),
                    EVENTS,
                    "{at} {to}"
                );
            }
        }
        assert_eq!(parse(bytes.chunks(1)), EVENTS);
    }

    #[test]
    fn an_event_without_end_is_refused() {
        let mut parser = Parser::default();
        let line = vec![b'x'; 1024 * 1024];
        let refused = (0..=MAX_EVENT_BYTES / line.len()).any(|_| parser.push(&line).is_err());
        assert!(refused);

        let mut parser = Parser::default();
        let line = format!("data: {}\n", "x".repeat(1024 * 1024));
        assert!((0..20).any(|_| parser.push(line.as_bytes()).is_err()));
    }
}
