//! The tiers: how wide their buckets are and which tables hold them.

use crate::store::LateMark;

/// A tier of rollups, from the finest to the coarsest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RollupTier {
    /// Buckets of 10 s, for series with two samples and more in each.
    TenSeconds,
    /// Buckets of a minute.
    Minute,
    /// Buckets of an hour.
    Hour,
}

impl RollupTier {
    /// All tiers, the coarsest first: the order in which they are preferred.
    pub const COARSEST_FIRST: [Self; 3] = [Self::Hour, Self::Minute, Self::TenSeconds];

    /// Width of a bucket in milliseconds.
    pub const fn width_ms(self) -> i64 {
        match self {
            Self::TenSeconds => 10_000,
            Self::Minute => 60_000,
            Self::Hour => 3_600_000,
        }
    }

    /// The table.
    pub const fn table(self) -> &'static str {
        match self {
            Self::TenSeconds => "rollup_10s",
            Self::Minute => "rollup_1m",
            Self::Hour => "rollup_1h",
        }
    }
}

/// A row of `rollup_10s` with this scale and no samples says that the samples of its ten minutes are read instead. No sample has this scale.
pub const SPARSE_SCALE: i8 = 127;

/// Samples in a bucket of a minute, on average over ten minutes, from which a series has rows in `rollup_10s`: two in ten seconds.
pub(super) const DENSE_SAMPLES: u32 = 12;

/// What is computed at once, in milliseconds; a part of an hour and a multiple of a minute.
pub const SPAN_MS: i64 = LateMark::SPAN_MS;
