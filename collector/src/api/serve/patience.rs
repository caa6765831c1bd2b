//! How long a client may take: for headers, between two requests, and to take what is sent to it.
//!
//! A connection is looked at now and then. What matters is what did not change since the last look: that costs no clock and no timer for each request, and
//! a limit is noticed at most one look late. The time of the body is kept where it is read, that of the answer by the edge.
//!
//! Properties, each a test: a client is cut off when, and only when, it has taken longer than its limit in one phase; progress begins the limit anew; a client that
//! waits for its answer is never cut off.

use std::time::Duration;

use crate::api::edge::Limits;
use crate::api::telemetry::Cut;

/// Looks in the shortest limit.
const LOOKS: u32 = 4;
/// Time between two looks, at most and at least.
const LONGEST: Duration = Duration::from_secs(5);
const SHORTEST: Duration = Duration::from_millis(10);

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub(super) enum Phase {
    /// No request has begun.
    #[default]
    Idle,
    /// Bytes of a request have come.
    Header,
    /// A request is answered.
    Answer,
}

/// What is seen at a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Seen {
    pub(super) phase: Phase,
    /// Requests so far, wrapping.
    pub(super) requests: u32,
    /// Bytes written so far, wrapping.
    pub(super) written: u32,
    /// The client takes no more for now.
    pub(super) blocked: bool,
}

/// The limits of one connection, and since when nothing has changed.
#[derive(Debug, Clone)]
pub(super) struct Patience {
    header: Duration,
    idle: Duration,
    stall: Duration,
    last: Seen,
    /// Time in the phase without a change of it.
    unchanged: Duration,
    /// Time in which the client took nothing.
    stalled: Duration,
}

impl Patience {
    /// Of a new connection. On a `spare` one nobody may linger.
    pub(super) fn new(limits: &Limits, spare: bool) -> Self {
        let longest = if spare { Duration::from_secs(1) } else { Duration::MAX };
        Self {
            header: limits.header_timeout.min(longest),
            idle: limits.idle_timeout.min(longest),
            stall: limits.stall_timeout,
            last: Seen::default(),
            unchanged: Duration::ZERO,
            stalled: Duration::ZERO,
        }
    }

    /// Time between two looks.
    pub(super) fn period(&self) -> Duration {
        (self.header.min(self.idle).min(self.stall) / LOOKS).clamp(SHORTEST, LONGEST)
    }

    /// Looks, `since` the last time; says why the client is to be cut off, if it is.
    pub(super) fn look(&mut self, seen: Seen, since: Duration) -> Option<Cut> {
        let last = std::mem::replace(&mut self.last, seen);
        let same_phase = (seen.phase, seen.requests) == (last.phase, last.requests);
        self.unchanged = if same_phase { self.unchanged + since } else { Duration::ZERO };
        let stands = seen.blocked && last.blocked && seen.written == last.written;
        self.stalled = if stands { self.stalled + since } else { Duration::ZERO };
        if self.stalled >= self.stall {
            return Some(Cut::Stall);
        }
        match seen.phase {
            // What was answered is still to be taken.
            Phase::Idle if seen.blocked => None,
            // A connection without a first request has no use yet.
            Phase::Idle if seen.requests == 0 => over(self.unchanged, self.header, Cut::Header),
            Phase::Idle => over(self.unchanged, self.idle, Cut::Idle),
            Phase::Header => over(self.unchanged, self.header, Cut::Header),
            Phase::Answer => None,
        }
    }
}

fn over(time: Duration, limit: Duration, cut: Cut) -> Option<Cut> {
    (time >= limit).then_some(cut)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LOOK: Duration = Duration::from_secs(1);

    fn patience() -> Patience {
        let limits = Limits {
            header_timeout: LOOK * 4,
            idle_timeout: LOOK * 10,
            stall_timeout: LOOK * 6,
            ..Limits::default()
        };
        Patience::new(&limits, false)
    }

    fn seen(phase: Phase, requests: u32, written: u32, blocked: bool) -> Seen {
        Seen { phase, requests, written, blocked }
    }

    /// Looks at which a connection that does nothing new is cut off.
    fn cut_after(seen: Seen) -> Option<(u32, Cut)> {
        let mut patience = patience();
        patience.look(Seen { requests: seen.requests.wrapping_sub(1), ..seen }, LOOK);
        patience.look(seen, LOOK);
        (1..100).find_map(|n| patience.look(seen, LOOK).map(|cut| (n, cut)))
    }

    #[test]
    fn each_phase_has_its_limit() {
        assert_eq!(cut_after(seen(Phase::Header, 7, 0, false)), Some((4, Cut::Header)));
        assert_eq!(cut_after(seen(Phase::Idle, 7, 0, false)), Some((10, Cut::Idle)));
        assert_eq!(cut_after(seen(Phase::Answer, 7, 0, false)), None);
        for phase in [Phase::Answer, Phase::Idle] {
            let (looks, cut) = cut_after(seen(phase, 7, 0, true)).unwrap();
            assert!(cut == Cut::Stall && looks <= 6, "{looks}");
        }
    }

    #[test]
    fn a_connection_without_a_request_has_the_time_of_a_header() {
        let mut patience = patience();
        let looks = (1..100).find(|_| patience.look(Seen::default(), LOOK) == Some(Cut::Header));
        assert_eq!(looks, Some(4));
    }

    #[test]
    fn a_spare_connection_has_a_second() {
        let mut patience = Patience::new(&Limits::default(), true);
        assert!(patience.period() <= LOOK / 4);
        assert_eq!(patience.look(Seen::default(), LOOK), Some(Cut::Header));
    }

    proptest! {
        #[test]
        fn progress_is_never_cut_off(steps in prop::collection::vec((0_u8..3, 0_u32..4, any::<bool>()), 1..200)) {
            let mut patience = patience();
            let mut now = Seen::default();
            for (phase, idle_looks, blocked) in steps {
                now.phase = [Phase::Idle, Phase::Header, Phase::Answer][usize::from(phase)];
                now.requests = now.requests.wrapping_add(1);
                now.written = now.written.wrapping_add(1);
                now.blocked = blocked;
                for _ in 0..=idle_looks.min(3) {
                    prop_assert_eq!(patience.look(now, LOOK), None);
                }
            }
        }
    }
}
