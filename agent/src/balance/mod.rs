//! What all kinds of load balancers share: counts of a window, requests under way, and what follows from both.
//!
//! Balancers tell counters since their start and the number of requests under way just now. Of the first the difference over a window is taken, of the second the mean of many
//! looks. By Little's law the mean latency of a window is `in flight / requests per second`, which needs no histogram and is of that very window.

mod mean;

use std::time::Duration;

use flyball_proto::steering::{BackendServer, UtilizationSource};

pub use mean::Mean;

/// Requests seen under way, summed over the looks of a window, from which on Little's law says more than chance does: the error is about `1/sqrt` of it, a quarter.
const LEAST_SEEN: f64 = 16.0;

/// Counters of one backend, as far as reports need them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Requests that were answered or have failed.
    pub requests: u64,
    /// Of them those that failed.
    pub errors: u64,
    /// Connections that could not be made.
    pub connect_errors: u64,
}

/// What was measured of one backend over a window.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Window {
    /// Differences of its counters.
    pub counts: Counts,
    /// Length; zero: there is none yet.
    pub length: Duration,
    /// Requests under way: their mean and the sum over all looks.
    pub in_flight: Option<(f64, f64)>,
    /// The balancer's own mean latency, in milliseconds, of whatever time it is.
    pub own_latency_ms: Option<f64>,
}

/// Mean milliseconds from a request to its answer, by Little's law: the mean number under way over the answers of so many seconds. `in_flight`: that mean, and the sum over all
/// looks; none where those saw too few, or nothing was answered.
pub fn latency_by_little_ms(in_flight: (f64, f64), answered: u64, seconds: f64) -> Option<f64> {
    let (mean, seen) = in_flight;
    let is_known = seen >= LEAST_SEEN && answered > 0 && seconds > 0.0;
    is_known.then(|| mean * seconds * 1_000.0 / answered as f64)
}

impl Counts {
    /// What was counted since `earlier`; everything when a counter went back, because then all began anew.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        let (requests, errors) =
            (self.requests.checked_sub(earlier.requests), self.errors.checked_sub(earlier.errors));
        match (requests, errors, self.connect_errors.checked_sub(earlier.connect_errors)) {
            (Some(requests), Some(errors), Some(connect_errors)) => {
                Self { requests, errors, connect_errors }
            }
            _ => self,
        }
    }
}

impl Window {
    /// Mean milliseconds from a request to its answer: by Little's law, or the balancer's own word where too few requests were seen under way for that.
    pub fn latency_ms(&self) -> Option<f64> {
        if self.counts.requests == 0 {
            return None;
        }
        let by_little = |in_flight| {
            latency_by_little_ms(in_flight, self.counts.requests, self.length.as_secs_f64())
        };
        self.in_flight.and_then(by_little).or(self.own_latency_ms)
    }

    /// Fills in what was measured. The limit of `backend` is to be there already.
    pub fn fill(&self, backend: &mut BackendServer) {
        backend.in_flight = self.in_flight.map(|(mean, _)| mean);
        let limit = backend.limit.filter(|limit| *limit > 0);
        backend.utilization = limit.zip(backend.in_flight).map(|(limit, in_flight)| {
            ((in_flight / f64::from(limit)).clamp(0.0, 1.0), UtilizationSource::Limit)
        });
        if self.length.is_zero() {
            return;
        }
        backend.requests = self.counts.requests;
        // A connection of an earlier window may fail in this one.
        backend.errors = self.counts.errors.min(self.counts.requests);
        backend.connect_errors = self.counts.connect_errors.min(backend.errors);
        backend.latency_ms = self.latency_ms();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(requests: u64, errors: u64, connect_errors: u64) -> Counts {
        Counts { requests, errors, connect_errors }
    }

    #[test]
    fn a_counter_that_went_back_began_anew() {
        assert_eq!(counts(9, 4, 2).since(counts(5, 4, 1)), counts(4, 0, 1));
        assert_eq!(counts(9, 1, 2).since(counts(5, 4, 1)), counts(9, 1, 2));
        assert_eq!(counts(3, 0, 0).since(counts(5, 0, 0)), counts(3, 0, 0));
    }

    #[test]
    fn latency_is_by_littles_law_or_the_balancers_word() {
        let window = Window {
            counts: counts(200, 0, 0),
            length: Duration::from_secs(1),
            in_flight: Some((4.0, 40.0)),
            own_latency_ms: Some(7.0),
        };
        assert_eq!(window.latency_ms(), Some(20.0));
        let few = Window { in_flight: Some((0.4, 4.0)), ..window };
        assert_eq!(few.latency_ms(), Some(7.0));
        let idle = Window { counts: Counts::default(), ..window };
        assert_eq!(idle.latency_ms(), None);
    }

    #[test]
    fn utilization_is_of_a_limit_only() {
        let window = Window { in_flight: Some((5.0, 50.0)), ..Window::default() };
        let mut backend = BackendServer::new("a", "h:1", 1);
        window.fill(&mut backend);
        assert_eq!((backend.utilization, backend.in_flight), (None, Some(5.0)));
        for (limit, share) in [(10, 0.5), (2, 1.0)] {
            backend.limit = Some(limit);
            window.fill(&mut backend);
            assert_eq!(backend.utilization, Some((share, UtilizationSource::Limit)));
        }
        assert_eq!((backend.requests, backend.latency_ms), (0, None), "there is no window yet");
    }
}
