//! Load: any number of simulated agents against the shipped collector and its engine, with the collector's cost, memory and latency measured from outside.
//!
//! Honest where a load generator can lie:
//! - *Open loop.* In `steady` and `scale` a frame is due at a time that the schedule fixes beforehand, as for a real agent. Latency counts from that time, not from
//!   when the frame was sent, so a collector that stalls is charged for every frame that should have been sent meanwhile (no coordinated omission). A late
//!   generator counts against the collector too.
//! - *Nothing but what agents do.* Real frames ([`flyball_proto::frame::Encoder`]), real gRPC, one connection for each agent unless told otherwise, the credits
//!   respected, everything kept until it is acknowledged.
//! - *Conservation.* At the end the engine is asked how many different samples it has and for the sum of their raw integers; both must be what was acknowledged.
//!
//! Values come from [`story`]: made beforehand by [`crate::workload`], so that the generator's own CPU does not count as load.

mod agent;
pub mod cache;
mod flood;
mod fsync;
mod history;
pub(crate) mod measure;
mod plot;
mod run;
mod scale;
mod story;

use std::time::Duration;

pub(crate) use self::agent::{node_name, now_ms};
pub use self::flood::flood;
pub use self::fsync::fsync;
pub use self::history::{History, Reporters, Told};
pub(crate) use self::run::conserved;
pub use self::run::{Outcome, Plan, run, steady};
pub use self::scale::{Scale, scale};

/// When the frames of an agent are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// At multiples of the interval on the wall clock, all agents at once: what real agents do.
    Aligned(Duration),
    /// Each agent at its own place within the interval.
    Spread(Duration),
    /// As soon as the collector's credits allow: finds the highest rate. Latency counts from the sending.
    Flood,
    /// Past times as fast as they are released and credits allow, then the present.
    History(History),
}

impl Pace {
    /// Time between two frames of an agent; in a flood the least time.
    pub const fn interval(self) -> Duration {
        match self {
            Self::Aligned(interval) | Self::Spread(interval) => interval,
            Self::Flood => Duration::from_millis(10),
            Self::History(history) => history.step,
        }
    }
}
