//! Why a command failed, in words that tell how to mend it, and the exit code that goes with it.

use std::io;

use flyball_service::{EXIT_FAILED, EXIT_USAGE};

use crate::api::problem::Problem;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No answer came.
    #[error(
        "cannot reach {server}: {reason}; start the collector (`make run`) or name another one with --server or FLYBALL_CLI_SERVER"
    )]
    Unreachable {
        /// Address that was tried.
        server: String,
        /// What the network said.
        reason: String,
    },
    /// What answered does not speak like a collector.
    #[error(
        "{server} answers, but not as a collector does: {reason}; name the collector's HTTP port with --server or FLYBALL_CLI_SERVER"
    )]
    Foreign {
        /// Address that answered.
        server: String,
        /// What is odd about the answer.
        reason: String,
    },
    /// The API refused the request or could not answer it.
    #[error("{0}")]
    Api(Box<Problem>),
    /// The collector answers, but some of its checks fail.
    #[error("{server} is not ready: {reason}; the collector's log tells more")]
    NotReady {
        /// Address of the collector.
        server: String,
        /// Checks that fail, each with its detail.
        reason: String,
    },
    /// Flags that do not fit together.
    #[error("{0}")]
    Usage(String),
    /// What was watched ended otherwise than wished.
    #[error("{0}")]
    Ended(String),
    /// The log of decisions is not whole.
    #[error("the log of decisions is broken: {0}")]
    Broken(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Standard output or the terminal cannot be used.
    #[error("cannot write the output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// 2 when the caller should ask differently, else 1.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => EXIT_USAGE,
            Self::Api(problem) if problem.status == 400 => EXIT_USAGE,
            _ => EXIT_FAILED,
        }
    }

    /// One line without advice, for places that have no room for it.
    pub(crate) fn brief(&self) -> String {
        match self {
            Self::Unreachable { reason, .. } | Self::Foreign { reason, .. } => reason.clone(),
            other => other.to_string().lines().next().unwrap_or_default().to_owned(),
        }
    }
}
