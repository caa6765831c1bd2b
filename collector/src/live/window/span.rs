//! How much time the windows of all nodes may hold: as much as was asked for while the memory allows it, less when it does not.
//!
//! The rule, once a second: above the bound the span shrinks by a quarter, so that all nodes lose their oldest blocks alike; under three fifths of it the span grows by a minute. A span
//! shorter than one block, which would be all open blocks and no history, is none: windows are off until the blocks of all series would fit.
//!
//! Properties, each a test: the span never exceeds what was asked for; whatever the use, it shrinks above the bound; off stays off while the series alone would break the bound.

use super::BLOCK_MS;

/// Time that windows hold; zero when they are off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(i64);

/// What windows take now, and what they may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WindowUse {
    /// Bytes of all windows.
    pub(crate) bytes: usize,
    /// Bytes that they may take.
    pub(crate) max_bytes: usize,
    /// Series that nodes report.
    pub(crate) series: usize,
}

/// Time beyond the window that is kept, so that a question about all of it, and the rates in it, can be answered: the longest gap between two samples of a
/// counter, and the block that is being dropped.
const SLACK_MS: i64 = 2 * BLOCK_MS;
/// Least bytes of a series in a block that is being written.
const OPEN_SERIES_BYTES: usize = 64;
const GROWTH_MS: i64 = 60_000;

impl Span {
    /// Off.
    pub(crate) const OFF: Self = Self(0);

    /// So much time; off when it is shorter than a block.
    pub(crate) const fn new(ms: i64) -> Self {
        if ms < BLOCK_MS { Self::OFF } else { Self(ms) }
    }

    /// Time of the span in milliseconds.
    pub(crate) const fn ms(self) -> i64 {
        self.0
    }

    /// False when windows hold nothing.
    pub(super) const fn is_on(self) -> bool {
        self.0 > 0
    }

    /// Age of the oldest sample that is kept.
    pub(crate) const fn keep_ms(self) -> i64 {
        self.0 + SLACK_MS
    }

    /// The span from now on, at most `longest`.
    #[must_use]
    pub(crate) fn next(self, now: WindowUse, longest: Self) -> Self {
        if now.bytes > now.max_bytes {
            return Self::new(self.0 / 4 * 3);
        }
        if !self.is_on() {
            let fits = now.series * OPEN_SERIES_BYTES < now.max_bytes / 2;
            return if fits { Self(BLOCK_MS.min(longest.0)) } else { Self::OFF };
        }
        if now.bytes < now.max_bytes / 5 * 3 {
            return Self((self.0 + GROWTH_MS).min(longest.0));
        }
        Self(self.0.min(longest.0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_span_keeps_to_its_bounds(
            ms in 0..10_000_000_i64,
            longest in 0..10_000_000_i64,
            bytes in 0..2_000_usize,
            max_bytes in 1..1_000_usize,
            series in 0..100_usize,
        ) {
            let (span, longest) = (Span::new(ms), Span::new(longest));
            let next = span.next(WindowUse { bytes, max_bytes, series }, longest);
            prop_assert!(next.ms() == 0 || next.ms() >= BLOCK_MS);
            prop_assert!(next.ms() <= longest.ms().max(span.ms()));
            if bytes > max_bytes {
                prop_assert!(next.ms() < span.ms() || !span.is_on());
                prop_assert!(!next.is_on() || span.is_on());
            } else {
                prop_assert!(next.ms() <= longest.ms());
            }
            if !span.is_on() && series * OPEN_SERIES_BYTES > max_bytes {
                prop_assert!(!next.is_on());
            }
        }
    }

    #[test]
    fn it_grows_back_to_what_was_asked_for() {
        let longest = Span::new(3_600_000);
        let idle = WindowUse { bytes: 0, max_bytes: 1_000_000, series: 10 };
        let mut span = Span::OFF;
        for _ in 0..60 {
            span = span.next(idle, longest);
        }
        assert_eq!(span, longest);
        assert_eq!(Span::OFF.next(idle, Span::OFF), Span::OFF);
    }
}
