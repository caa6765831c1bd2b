//! What a server has counted since it was started.

use super::super::MAX_NAME_BYTES;
use super::super::check::text;
use crate::series::Invalid;
use crate::v1;

/// Counters since the server was started; `None` where it does not count that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CacheCounters {
    /// New at each start of the server; empty: not known.
    pub run_id: String,
    /// Commands that were carried out.
    pub commands: u64,
    /// Commands that were answered with an error.
    pub errors: Option<u64>,
    /// Those that were refused for want of memory.
    pub out_of_memory: Option<u64>,
    /// Connections that were refused because there were too many.
    pub rejected_connections: Option<u64>,
}

impl TryFrom<v1::CacheCounters> for CacheCounters {
    type Error = Invalid;

    fn try_from(counters: v1::CacheCounters) -> Result<Self, Invalid> {
        text("run_id", &counters.run_id, MAX_NAME_BYTES)?;
        Ok(Self {
            run_id: counters.run_id,
            commands: counters.commands,
            errors: counters.errors,
            out_of_memory: counters.out_of_memory,
            rejected_connections: counters.rejected_connections,
        })
    }
}

impl From<CacheCounters> for v1::CacheCounters {
    fn from(counters: CacheCounters) -> Self {
        Self {
            run_id: counters.run_id,
            commands: counters.commands,
            errors: counters.errors,
            out_of_memory: counters.out_of_memory,
            rejected_connections: counters.rejected_connections,
        }
    }
}
