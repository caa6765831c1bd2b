//! Sense: samplers read one source each and leave what they read in [`Readings`].
//!
//! A sampler is one file here plus one line in the registry. It describes its metrics, reads when it is told to, and knows nothing of slots,
//! frames or the network. What it did not set is unknown in that tick, which is not zero; what it returns an error for publishes nothing.

use std::time::Duration;

use flyball_proto::series::{Kind, Scale};

pub mod config;
pub mod identity;
pub mod readings;
pub mod registry;

#[cfg(test)]
mod agreement;
mod cgroup;
mod counters;
mod cpu;
mod devices;
mod disk;
#[cfg(test)]
mod documentation;
mod envoy;
mod filesystem;
#[cfg(test)]
mod golden;
mod haproxy;
mod load;
mod memcached;
mod memory;
mod network;
mod orca;
mod own;
mod paging;
pub(crate) mod parse;
mod portable;
mod pressure;
mod processes;
mod redis;
mod remote;
mod source;
mod table;
mod transport;

pub use config::{Backend, HostPaths, SenseConfig};
pub use identity::host_identity;
pub use memcached::{MemcachedConfig, MemcachedServer};
pub use own::cpu_time;
pub use readings::{Handle, Readings};
pub use registry::{SERVERS, balancers, samplers, servers};
pub use remote::patience;
pub(crate) use remote::thread_cpu;

/// What a metric is: the same for all its series. The documentation of the metrics is generated from these.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Name by OpenTelemetry's semantic conventions, or `flyball.*` where they have none.
    pub name: &'static str,
    /// Unit in UCUM.
    pub unit: &'static str,
    /// Counter or gauge.
    pub kind: Kind,
    /// How raw integers become values.
    pub scale: Scale,
    /// Keys of its attributes.
    pub attributes: &'static [&'static str],
    /// One sentence for a person.
    pub description: &'static str,
}

impl Metric {
    /// A counter of whole things.
    const fn counter(
        name: &'static str,
        unit: &'static str,
        attributes: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        let (kind, scale) = (Kind::Counter, Scale::UNIT);
        Self { name, unit, kind, scale, attributes, description }
    }

    /// A gauge in KiB.
    const fn memory(
        name: &'static str,
        attributes: &'static [&'static str],
        description: &'static str,
    ) -> Self {
        let (kind, scale) = (Kind::Gauge, Scale::KIBI);
        Self { name, unit: "By", kind, scale, attributes, description }
    }
}

/// Where a sampler runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// On the sampling thread, one after the other: for reads of memory-backed files that cannot hang.
    Inline,
    /// On a thread of its own: for reads that may block (mounts, sockets). One that has not answered by the deadline misses the tick and is counted; it is not asked again
    /// until it has returned.
    Thread,
}

/// One source of samples.
pub trait Sampler: Send {
    /// Short name, unique, for logs, settings and `flyball.agent.sampler.*`.
    fn name(&self) -> &'static str;

    /// Everything it may publish.
    fn metrics(&self) -> &'static [Metric];

    /// Where it runs.
    fn isolation(&self) -> Isolation {
        Isolation::Inline
    }

    /// Nominal time between two reads, a multiple of the agent's interval; `None`: every tick.
    fn period(&self) -> Option<Duration> {
        None
    }

    /// What one read is expected to cost beside the others. Over budget the sampler whose measured cost is highest is slowed first; where costs are equal, the one with
    /// the highest rank.
    fn cost_rank(&self) -> u8 {
        0
    }

    /// CPU time that threads of its own have spent for it since the last call.
    fn take_cpu_elsewhere(&mut self) -> Duration {
        Duration::ZERO
    }

    /// Reads the source once and sets what it found. Allocates nothing once its series are defined.
    ///
    /// # Errors
    /// When nothing of this read is to be published: everything set so far in this call is dropped.
    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError>;
}

/// Why a read published nothing.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The source does not exist on this host; the sampler is asked again rarely.
    #[error("not available on this host: {0}")]
    Unsupported(String),
    /// The source could not be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// What was read.
        path: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The source was read and not understood.
    #[error("cannot parse {path}: {reason}")]
    Parse {
        /// What was read.
        path: String,
        /// What was expected.
        reason: &'static str,
    },
}
