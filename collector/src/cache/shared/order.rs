//! Whether every invalidation that other collectors sent was heard: their numbers follow each other.
//!
//! Redis gives each message the next number. A number that is missing means a message that was missed; one that is not larger than the last means that Redis forgot its
//! count, and with it perhaps more. Both are answered alike: everything that was held before is no longer trusted. Silence is judged too, since the last message of a burst can be the
//! one that is missed: every collector sends an empty one every two seconds.
//!
//! Properties, each a test: a message that is missed is noticed with the next one at the latest; nothing is noticed where nothing was missed.

use std::time::{Duration, Instant};

/// Time without a message after which nothing is trusted to be heard.
pub(super) const SILENCE: Duration = Duration::from_secs(6);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Order {
    last: Option<u64>,
    heard_at: Option<Instant>,
}

/// What a message means for what was held before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// Nothing was missed.
    InOrder,
    /// Something was missed.
    Gap,
}

impl Order {
    /// A message came.
    pub(super) fn hear(&mut self, number: u64, now: Instant) -> Heard {
        self.heard_at = Some(now);
        match self.last.replace(number) {
            Some(last) if last.checked_add(1) != Some(number) => Heard::Gap,
            _ => Heard::InOrder,
        }
    }

    /// The connection ended: what comes next is not expected to follow. True when messages were heard on it.
    pub(super) fn end(&mut self) -> bool {
        std::mem::take(self).last.is_some()
    }

    /// True when messages are heard.
    pub(super) fn is_heard(&self, now: Instant) -> bool {
        self.heard_at.is_some_and(|at| now.saturating_duration_since(at) < SILENCE)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_missed_message_is_noticed_with_the_next_one(
            first in 0..1_000_u64, missed in prop::collection::vec(any::<bool>(), 1..60),
        ) {
            let (mut order, now) = (Order::default(), Instant::now());
            order.hear(first, now);
            let mut pending = false;
            for (step, is_missed) in missed.into_iter().enumerate() {
                let number = first + 1 + step as u64;
                if is_missed {
                    pending = true;
                } else {
                    let expected = if pending { Heard::Gap } else { Heard::InOrder };
                    prop_assert_eq!(order.hear(number, now), expected);
                    pending = false;
                }
            }
        }
    }

    #[test]
    fn a_count_that_begins_anew_is_a_gap_and_a_new_connection_is_not() {
        let (mut order, now) = (Order::default(), Instant::now());
        order.hear(500, now);
        assert_eq!(order.hear(1, now), Heard::Gap);
        assert_eq!(order.hear(2, now), Heard::InOrder);
        assert_eq!(order.hear(2, now), Heard::Gap);
        assert!(order.end() && !order.end());
        assert!(!order.is_heard(now));
        assert_eq!(order.hear(9, now), Heard::InOrder);
        assert!(order.is_heard(now) && !order.is_heard(now + SILENCE));
    }
}
