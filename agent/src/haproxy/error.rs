//! Why a HAProxy gave no answer, and what that says of its state.

use std::io::{self, ErrorKind};

use flyball_proto::steering::BalancerState;

/// Longest text of a HAProxy that is kept, in characters.
const TEXT_CHARS: usize = 160;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HaproxyError {
    /// No connection can be made.
    #[error("cannot reach {place}: {source}")]
    Unreachable {
        /// Where it should be.
        place: String,
        /// The system's answer.
        source: io::Error,
    },
    /// No answer before the deadline.
    #[error("no answer in time")]
    Timeout,
    /// The connection has broken.
    #[error("the connection broke: {0}")]
    Broken(io::Error),
    /// What came is no answer of a HAProxy, or larger than is taken.
    #[error("not the answer of a haproxy: {0}")]
    Protocol(&'static str),
    /// The socket has no right to the command.
    #[error("{0}: the socket needs level admin to set, and level operator to read")]
    Denied(String),
    /// It says no, in its own words.
    #[error("{0}")]
    Refused(String),
}

impl HaproxyError {
    /// From what it said instead of nothing.
    pub(crate) fn said(text: &str) -> Self {
        let text = text.lines().next().unwrap_or_default();
        let text: String = text.chars().filter(|c| !c.is_control()).take(TEXT_CHARS).collect();
        if text.starts_with("Permission denied") { Self::Denied(text) } else { Self::Refused(text) }
    }

    /// What it says of the balancer.
    pub fn state(&self) -> BalancerState {
        match self {
            Self::Unreachable { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                BalancerState::Denied
            }
            Self::Unreachable { .. } | Self::Broken(_) | Self::Protocol(_) | Self::Refused(_) => {
                BalancerState::Unreachable
            }
            Self::Timeout => BalancerState::Slow,
            Self::Denied(_) => BalancerState::Denied,
        }
    }
}

impl From<io::Error> for HaproxyError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => Self::Timeout,
            _ => Self::Broken(error),
        }
    }
}
