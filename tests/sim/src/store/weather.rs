//! How well the database does at a time, and what that means for one request.

use std::time::Duration;

use flyball_collector::store::StoreError;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::share;

/// Shares of requests that fail in each way, and how long one takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Weather {
    /// Refused now, accepted perhaps later.
    pub(crate) refused: f64,
    /// Refused because of too many parts.
    pub(crate) too_many_parts: f64,
    /// Refused for good.
    pub(crate) refused_for_good: f64,
    /// Applied, but nobody is told.
    pub(crate) answer_lost: f64,
    /// Shortest and longest time of a request, in milliseconds.
    pub(crate) takes_ms: (u64, u64),
}

/// What becomes of a request.
pub(super) enum Fate {
    Refuse(StoreError),
    Accept {
        /// Time until it is applied.
        before: Duration,
        /// Time from then until it is answered.
        after: Duration,
        is_answer_lost: bool,
    },
}

impl Default for Weather {
    fn default() -> Self {
        Self {
            refused: 0.0,
            too_many_parts: 0.0,
            refused_for_good: 0.0,
            answer_lost: 0.0,
            takes_ms: (3, 40),
        }
    }
}

impl Weather {
    pub(super) fn fate(&self, rng: &mut StdRng) -> Fate {
        let takes = |rng: &mut StdRng| {
            Duration::from_millis(rng.random_range(self.takes_ms.0..=self.takes_ms.1))
        };
        let mut luck = share(rng);
        for (share, text) in [
            (self.refused, "Code: 241. DB::Exception: Memory limit exceeded"),
            (self.too_many_parts, "Code: 252. DB::Exception: Too many parts (3000)"),
            (self.refused_for_good, "Code: 117. DB::Exception: Incorrect data"),
        ] {
            if luck < share {
                return Fate::Refuse(clickhouse::error::Error::BadResponse(text.to_owned()).into());
            }
            luck -= share;
        }
        let is_answer_lost = share(rng) < self.answer_lost;
        let (before, after) = (takes(rng), takes(rng) / 4);
        Fate::Accept { before, after, is_answer_lost }
    }
}

/// Nobody listens.
pub(super) fn unreachable() -> StoreError {
    network(std::io::ErrorKind::ConnectionRefused)
}

/// The connection broke before the answer.
pub(super) fn cut_off() -> StoreError {
    network(std::io::ErrorKind::ConnectionReset)
}

fn network(kind: std::io::ErrorKind) -> StoreError {
    clickhouse::error::Error::Network(Box::new(std::io::Error::from(kind))).into()
}
