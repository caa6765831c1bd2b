//! The faults: small, each with a time that it takes, all on one process and what is around it.

use std::fmt;
use std::time::Duration;

use crate::proxy::Mode;

/// One fault. Times are how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a start after this time.
    Kill(Duration),
    /// SIGTERM, and a start after this time.
    Restart(Duration),
    /// `kill -9` again and again, each a moment after the start before.
    Storm(u32),
    /// SIGSTOP, and SIGCONT after this time.
    Pause(Duration),
    /// Its connections fail: an agent's to the collectors, a collector's to ClickHouse.
    Link(Mode, Duration),
    /// Its network namespace has no link to the others.
    Partition(Duration),
    /// The wall clock is set by this many milliseconds.
    Clock(i64),
    /// `kill -9`, one byte of its spool is changed, start. The number chooses the byte.
    Corrupt(u64),
    /// The disk of its spool is full.
    FullDisk(Duration),
}

impl Fault {
    /// What it is, without its time: what is counted together.
    pub fn kind(&self) -> String {
        match self {
            Self::Kill(_) => "kill -9".to_owned(),
            Self::Restart(_) => "restart".to_owned(),
            Self::Storm(_) => "restart storm".to_owned(),
            Self::Pause(_) => "SIGSTOP".to_owned(),
            Self::Link(mode, _) => format!("link: {mode}"),
            Self::Partition(_) => "partition".to_owned(),
            Self::Clock(0..) => "clock forward".to_owned(),
            Self::Clock(_) => "clock backward".to_owned(),
            Self::Corrupt(_) => "corrupt spool".to_owned(),
            Self::FullDisk(_) => "full disk".to_owned(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.kind())?;
        match self {
            Self::Storm(times) => write!(f, " x{times}"),
            Self::Clock(ms) => write!(f, " {ms} ms"),
            Self::Corrupt(at) => write!(f, " at {at}"),
            Self::Kill(time)
            | Self::Restart(time)
            | Self::Pause(time)
            | Self::Link(_, time)
            | Self::Partition(time)
            | Self::FullDisk(time) => write!(f, " {} ms", time.as_millis()),
        }
    }
}
