//! The first message of a stream, checked: who the agent is and where it left off.

use std::net::IpAddr;
use std::time::Duration;

use flyball_proto::series::{Invalid, NodeName};
use flyball_proto::{PROTOCOL_VERSION, v1};
use tonic::Status;

use crate::live::{HostStatus, NodeInfo};

/// Bytes of an epoch.
const EPOCH_BYTES: usize = 16;
/// Longest text of a host's identity or version, in bytes.
const MAX_TEXT_BYTES: usize = 512;
/// Most addresses of a host.
const MAX_ADDRESSES: usize = 64;
/// Bounds of the nominal time between two frames.
const INTERVAL_MS: std::ops::RangeInclusive<u32> = 10..=3_600_000;

/// Drawn when an agent starts; sequence numbers mean something within one epoch only.
pub(super) type Epoch = [u8; EPOCH_BYTES];

/// A checked [`v1::Hello`].
#[derive(Debug)]
pub(super) struct Hello {
    pub(super) info: NodeInfo,
    pub(super) epoch: Epoch,
    /// Frames up to this one are durable.
    pub(super) acked_seq: u64,
    pub(super) lane: Lane,
}

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Lane {
    /// Frames as they are produced.
    Live,
    /// A closed segment that was not stored in its time.
    Backlog,
}

/// Why a stream was refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum HelloError {
    #[error(
        "protocol version {0} is not known here, this collector speaks version {PROTOCOL_VERSION}"
    )]
    Version(u32),
    #[error("hello.{0}")]
    Invalid(#[from] Invalid),
}

impl TryFrom<v1::Hello> for Hello {
    type Error = HelloError;

    fn try_from(hello: v1::Hello) -> Result<Self, HelloError> {
        if hello.protocol_version != PROTOCOL_VERSION {
            return Err(HelloError::Version(hello.protocol_version));
        }
        let node = NodeName::new(&hello.node)?;
        let lane = Lane::try_from(hello.lane)?;
        let epoch = Epoch::try_from(hello.epoch.as_slice())
            .map_err(|_| Invalid::new("epoch", format!("not {EPOCH_BYTES} bytes")))?;
        if !INTERVAL_MS.contains(&hello.interval_ms) {
            return Err(Invalid::new("interval_ms", "not within 10 to 3600000").into());
        }
        let host = hello.host.unwrap_or_default();
        let texts = [
            ("agent_version", &hello.agent_version),
            ("host.name", &host.name),
            ("host.id", &host.id),
            ("host.arch", &host.arch),
            ("host.os_type", &host.os_type),
            ("host.os_description", &host.os_description),
            ("host.kernel", &host.kernel),
            ("host.cpu_model", &host.cpu_model),
        ];
        if let Some((field, _)) = texts.iter().find(|(_, text)| text.len() > MAX_TEXT_BYTES) {
            return Err(Invalid::new(*field, format!("longer than {MAX_TEXT_BYTES} bytes")).into());
        }
        addresses(&host.addresses)?;
        let info = NodeInfo {
            node,
            agent_version: hello.agent_version,
            interval: Duration::from_millis(u64::from(hello.interval_ms)),
            host: HostStatus::from(host),
        };
        Ok(Self { info, epoch, acked_seq: hello.acked_seq, lane })
    }
}

fn addresses(all: &[String]) -> Result<(), Invalid> {
    if all.len() > MAX_ADDRESSES {
        return Err(Invalid::new("host.addresses", format!("more than {MAX_ADDRESSES}")));
    }
    let wrong = all.iter().position(|address| address.parse::<IpAddr>().is_err());
    match wrong {
        Some(index) => {
            Err(Invalid::new(format!("host.addresses[{index}]"), "not an address of IP"))
        }
        None => Ok(()),
    }
}

impl TryFrom<i32> for Lane {
    type Error = Invalid;

    fn try_from(lane: i32) -> Result<Self, Invalid> {
        match v1::Lane::try_from(lane) {
            Ok(v1::Lane::Live) => Ok(Self::Live),
            Ok(v1::Lane::Backlog) => Ok(Self::Backlog),
            Err(_) => Err(Invalid::new("lane", "is not known here")),
        }
    }
}

impl From<HelloError> for Status {
    fn from(error: HelloError) -> Self {
        match error {
            HelloError::Version(_) => Self::failed_precondition(error.to_string()),
            HelloError::Invalid(_) => Self::invalid_argument(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    fn good() -> v1::Hello {
        v1::Hello {
            protocol_version: PROTOCOL_VERSION,
            node: "web-1".into(),
            epoch: vec![7; EPOCH_BYTES],
            agent_version: "1.0".into(),
            interval_ms: 1_000,
            acked_seq: 3,
            host: None,
            lane: v1::Lane::Backlog.into(),
        }
    }

    #[test]
    fn a_good_hello_is_taken_over() {
        let hello = Hello::try_from(good()).unwrap();
        assert_eq!((hello.info.node.as_str(), hello.acked_seq), ("web-1", 3));
        assert_eq!(hello.lane, Lane::Backlog);
        assert_eq!(hello.info.interval, Duration::from_secs(1));
    }

    #[test]
    fn every_bad_field_is_named_with_the_right_code() {
        let addresses = |addresses: Vec<String>| v1::Hello {
            host: Some(v1::Host { addresses, ..v1::Host::default() }),
            ..good()
        };
        let cases: [(v1::Hello, Code, &str); 8] = [
            (
                addresses(vec!["10.0.0.1".into(), "here".into()]),
                Code::InvalidArgument,
                "host.addresses[1]",
            ),
            (
                addresses(vec!["10.0.0.1".into(); 65]),
                Code::InvalidArgument,
                "host.addresses: more than 64",
            ),
            (v1::Hello { protocol_version: 99, ..good() }, Code::FailedPrecondition, "version 99"),
            (
                v1::Hello { node: String::new(), ..good() },
                Code::InvalidArgument,
                "hello.node: empty",
            ),
            (v1::Hello { epoch: vec![1], ..good() }, Code::InvalidArgument, "hello.epoch"),
            (v1::Hello { interval_ms: 0, ..good() }, Code::InvalidArgument, "hello.interval_ms"),
            (v1::Hello { lane: 2, ..good() }, Code::InvalidArgument, "hello.lane"),
            (
                v1::Hello { agent_version: "v".repeat(513), ..good() },
                Code::InvalidArgument,
                "hello.agent_version",
            ),
        ];
        for (hello, code, part) in cases {
            let status = Status::from(Hello::try_from(hello).unwrap_err());
            assert_eq!(status.code(), code, "{status}");
            assert!(status.message().contains(part), "{status}");
        }
    }
}
