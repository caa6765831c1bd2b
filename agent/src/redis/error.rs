//! Why an instance gave no answer, and what that says of its state.

use std::fmt;
use std::io::{self, ErrorKind};
use std::path::PathBuf;

/// Longest text of a server that is kept, in characters.
const TEXT_CHARS: usize = 160;

/// How Redis and memcached say that they take no more connections.
const FULL: [&str; 2] = ["max number of clients", "Too many open connections"];

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It answers and serves.
    Up,
    /// There is no connection to it.
    Unreachable,
    /// It takes the connection and does not answer in time, or says that it is busy.
    Slow,
    /// It reads its data from the disk and does not serve yet.
    Loading,
    /// It refuses us: a wrong password, no right to a command, a command that is renamed.
    Denied,
}

impl State {
    /// All states.
    pub const ALL: [Self; 5] =
        [Self::Up, Self::Unreachable, Self::Slow, Self::Loading, Self::Denied];

    /// As series and logs spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Unreachable => "unreachable",
            Self::Slow => "slow",
            Self::Loading => "loading",
            Self::Denied => "denied",
        }
    }
}

/// Why there is no answer. No text of these holds a password.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection can be made.
    #[error("cannot reach {endpoint}: {source}")]
    Unreachable {
        /// Where it should be.
        endpoint: String,
        /// The system's answer.
        source: io::Error,
    },
    /// TLS does not come about: certificates or handshake.
    #[error("tls: {0}")]
    Tls(String),
    /// A file of the settings cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// No answer before the deadline.
    #[error("no answer in time")]
    Timeout,
    /// The connection has broken.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// What came is no answer of a Redis, or larger than is taken.
    #[error("not the answer of a redis: {0}")]
    Protocol(&'static str),
    /// The server says no. The connection can be used further.
    #[error("{0}")]
    Refused(Refusal),
}

/// What a server says instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// First word: `NOPERM`, `LOADING`, `ERR`.
    pub code: String,
    /// The whole text, cut where it begins to repeat what it was sent.
    pub text: String,
}

impl Refusal {
    /// From what the server said.
    pub(crate) fn parse(line: &[u8]) -> Self {
        let text = String::from_utf8_lossy(line);
        // An unknown command is answered with its arguments, which may be anything.
        let text = text.split(", with args beginning").next().unwrap_or_default();
        let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS).collect();
        let code = text.split(' ').next().unwrap_or_default().to_owned();
        Self { code, text }
    }

    /// The server does not know the command, or not by this name.
    pub fn is_unknown(&self) -> bool {
        let text = self.text.to_ascii_lowercase();
        text.starts_with("err unknown") || text.starts_with("err syntax error")
    }

    /// What it says of the server.
    pub fn state(&self) -> State {
        match &*self.code {
            "LOADING" => State::Loading,
            "BUSY" => State::Slow,
            _ if FULL.iter().any(|full| self.text.contains(full)) => State::Unreachable,
            _ => State::Denied,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Error {
    /// What it says of the instance.
    pub fn state(&self) -> State {
        match self {
            Self::Unreachable { .. } | Self::Tls(_) | Self::Broken(_) | Self::Protocol(_) => {
                State::Unreachable
            }
            Self::Timeout => State::Slow,
            Self::File { .. } => State::Denied,
            Self::Refused(refusal) => refusal.state(),
        }
    }

    /// True when the connection cannot be used further.
    pub const fn is_broken(&self) -> bool {
        !matches!(self, Self::Refused(_))
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::Timeout,
            _ => Self::Broken(error),
        }
    }
}

impl From<rustls::Error> for Error {
    fn from(error: rustls::Error) -> Self {
        Self::Tls(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(line: &str) -> State {
        Refusal::parse(line.as_bytes()).state()
    }

    #[test]
    fn what_a_server_says_tells_its_state() {
        assert_eq!(state("LOADING Redis is loading the dataset in memory"), State::Loading);
        assert_eq!(state("BUSY Redis is busy running a script."), State::Slow);
        assert_eq!(state("ERR max number of clients reached"), State::Unreachable);
        for denied in [
            "NOAUTH Authentication required.",
            "WRONGPASS invalid username-password pair or user is disabled.",
            "NOPERM this user has no permissions to run the 'info' command",
            "DENIED Redis is running in protected mode",
            "ERR unknown command 'INFO'",
            "",
        ] {
            assert_eq!(state(denied), State::Denied, "{denied}");
        }
    }

    #[test]
    fn a_refusal_does_not_repeat_what_was_sent() {
        let line = b"ERR unknown command 'AUTH', with args beginning with: 'me' 'my secret' ";
        let refusal = Refusal::parse(line);
        assert_eq!(refusal.text, "ERR unknown command 'AUTH'");
        assert_eq!(refusal.code, "ERR");
        assert!(refusal.is_unknown());
        let long = Refusal::parse(&[b'x'; 1000]);
        assert_eq!(long.text.len(), TEXT_CHARS);
    }
}
