//! The account of all samples, as the outbox tells it.

use flyball_proto::v1;

use crate::spool::{PersistedTotals, REASONS};

/// Why samples were given up. The numbers are those of [`PersistedTotals::shed`] and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shed {
    /// The spool or the memory for frames was full.
    Full = 0,
    /// The agent was at its memory ceiling.
    Memory = 1,
    /// The collector ended the stream because of the segment they were in.
    Refused = 2,
    /// The collector stored the frame without them.
    Rejected = 3,
    /// Series of detail were given up so that others fit.
    Thinned = 4,
    /// The disk lost them, or they were in memory only when the agent was killed.
    Lost = 5,
}

/// Samples by what became of them since the data directory was made, and the outbox's size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Encoded into frames.
    pub produced: u64,
    /// Stored, as the collectors say.
    pub acked: u64,
    /// In segments and not acknowledged; counted there, not computed from the others.
    pub in_flight: u64,
    /// Given up, by [`Shed`].
    pub shed: [u64; Shed::ALL.len()],
    /// Frames not acknowledged.
    pub frames: u64,
    /// Memory that frames take.
    pub bytes: usize,
    /// Of the samples in flight, those in memory only.
    pub unspooled: u64,
    /// Room that the spool takes on disk.
    pub spool_bytes: u64,
}

impl Shed {
    /// All of them, in the order of [`Totals::shed`].
    pub const ALL: [Self; 6] =
        [Self::Full, Self::Memory, Self::Refused, Self::Rejected, Self::Thinned, Self::Lost];

    /// Name in logs, metrics and reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Refused => "refused",
            Self::Rejected => "rejected",
            Self::Thinned => "thinned",
            Self::Lost => "lost",
        }
    }
}

impl Totals {
    /// Samples that were given up.
    pub fn shed_in_all(&self) -> u64 {
        self.shed.iter().sum()
    }
}

/// Adds to the samples that were given up.
pub(super) fn shed(totals: &mut PersistedTotals, reason: Shed, samples: u64) {
    match reason {
        Shed::Lost => totals.lost += samples,
        _ => totals.shed[reason as usize] += samples,
    }
}

/// Samples given up by [`Shed`].
pub(super) fn by_reason(totals: &PersistedTotals) -> [u64; Shed::ALL.len()] {
    const { assert!(Shed::ALL.len() <= REASONS, "the ledger has room for all reasons") };
    Shed::ALL.map(|reason| match reason {
        Shed::Lost => totals.lost,
        _ => totals.shed[reason as usize],
    })
}

/// The reasons that samples were given up for, as a report tells them.
pub(super) fn reported(shed: [u64; Shed::ALL.len()]) -> Vec<v1::Shed> {
    let all = Shed::ALL.iter().zip(shed).filter(|(_, samples)| *samples > 0);
    all.map(|(reason, samples)| v1::Shed { reason: reason.as_str().to_owned(), samples }).collect()
}
