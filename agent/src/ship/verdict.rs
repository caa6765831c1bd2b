//! What the end of a stream means for the next one: one table from gRPC codes to what the agent does.

use std::error::Error as _;

use tonic::Code;

/// How a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum End {
    /// Everything is stored and the agent is stopping.
    #[error("drained")]
    Drained,
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(String),
    /// The collector ended the stream with a status.
    #[error("{}", describe(.0))]
    Status(Box<tonic::Status>),
    /// The collector ended the stream without one.
    #[error("the collector ended the stream")]
    Closed,
    /// The collector did not answer in time.
    #[error("no answer within {0:?}")]
    Silent(std::time::Duration),
    /// The collector broke the protocol.
    #[error("protocol violated: {0}")]
    Protocol(&'static str),
    /// A frame is larger than the collector takes.
    #[error("a frame of {bytes} bytes, and the collector takes {limit}")]
    TooLarge {
        /// Bytes of the frame.
        bytes: usize,
        /// The collector's limit.
        limit: u32,
    },
    /// The stream cannot go back to where the collector needs it; a new one can.
    #[error("the collector lost the thread")]
    Resync,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing more.
    Stop,
    /// Connect again, with backoff.
    Retry,
    /// Connect again, seldom: only a person or a new version can mend it.
    RetrySeldom,
    /// The data may be at fault: find the segment and give it up.
    Suspect,
}

impl End {
    /// What to do about it. `sent`: definitions or frames were sent on the stream.
    pub fn verdict(&self, sent: bool) -> Verdict {
        match self {
            Self::Drained => Verdict::Stop,
            Self::Status(status) => of_code(status.code(), sent),
            Self::TooLarge { .. } => Verdict::Suspect,
            Self::Connect(_) | Self::Closed | Self::Silent(_) | Self::Resync => Verdict::Retry,
            Self::Protocol(_) => Verdict::RetrySeldom,
        }
    }
}

fn of_code(code: Code, sent: bool) -> Verdict {
    match code {
        // A limit that is exceeded before anything was sent is the collector's own; later it is the stream's.
        Code::InvalidArgument | Code::DataLoss | Code::OutOfRange | Code::ResourceExhausted
            if sent =>
        {
            Verdict::Suspect
        }
        // `Aborted`: another agent has this node's name. Taking it back at once would go on for ever.
        Code::Aborted
        | Code::InvalidArgument
        | Code::OutOfRange
        | Code::FailedPrecondition
        | Code::Unimplemented
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::NotFound => Verdict::RetrySeldom,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::AlreadyExists
        | Code::ResourceExhausted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Verdict::Retry,
    }
}

/// A status in one line. One that the transport made up has a source, and only that says what happened.
fn describe(status: &tonic::Status) -> String {
    match status.source() {
        Some(source) => format!("connection lost: {}", causes(source)),
        None => format!("{} ({:?})", status.message(), status.code()),
    }
}

/// An error with its causes, in one line: tonic's own text is only "transport error".
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let next = cause.to_string();
        if !text.ends_with(&next) {
            text = if text == "transport error" { next } else { format!("{text}: {next}") };
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code) -> End {
        End::Status(Box::new(tonic::Status::new(code, "")))
    }

    #[test]
    fn bad_data_is_suspected_only_when_data_was_sent() {
        assert_eq!(status(Code::InvalidArgument).verdict(true), Verdict::Suspect);
        assert_eq!(status(Code::InvalidArgument).verdict(false), Verdict::RetrySeldom);
        assert_eq!(status(Code::DataLoss).verdict(false), Verdict::Retry);
        assert_eq!(status(Code::ResourceExhausted).verdict(true), Verdict::Suspect);
        assert_eq!(status(Code::ResourceExhausted).verdict(false), Verdict::Retry);
    }

    #[test]
    fn a_status_reads_as_one_line() {
        let replaced = tonic::Status::aborted("replaced");
        assert_eq!(End::Status(Box::new(replaced)).to_string(), "replaced (Aborted)");
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let lost = End::Status(Box::new(tonic::Status::from_error(Box::new(refused))));
        assert_eq!(lost.to_string(), "connection lost: connection reset");
    }

    #[test]
    fn what_only_a_person_can_mend_is_tried_seldom_and_the_rest_soon() {
        assert_eq!(status(Code::FailedPrecondition).verdict(true), Verdict::RetrySeldom);
        assert_eq!(status(Code::Unimplemented).verdict(false), Verdict::RetrySeldom);
        assert_eq!(status(Code::Aborted).verdict(true), Verdict::RetrySeldom);
        assert_eq!(status(Code::Unavailable).verdict(true), Verdict::Retry);
        assert_eq!(End::Closed.verdict(true), Verdict::Retry);
        assert_eq!(End::Drained.verdict(false), Verdict::Stop);
    }
}
