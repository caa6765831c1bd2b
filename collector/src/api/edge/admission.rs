//! Who is let in: decided before a request is read, and told at once when not.
//!
//! In this order: how much one caller asks ([`Callers`]), how long requests wait for a processor ([`Shedding`]), and how many are worked on. Health, readiness
//! and metrics are never refused. What a query costs the store is bounded where it asks for a turn there ([`crate::overload::Turns`]), because only then
//! it is known that the answer does not come from memory.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::super::error::ApiError;
use super::super::telemetry::{ApiMetrics, Refusal};
use super::limits::Limits;
use super::routes::Class;
use crate::overload::{Bucket, Callers, Shedding};

/// Time between two measurements of the delay; nobody asks: ten times as long.
const MEASURE: Duration = Duration::from_millis(20);
/// Resolution of timers: that late is in time.
const RESOLUTION: Duration = Duration::from_millis(2);

/// Requests a second, and at once, below which none is refused for the delay: so few do not make each other wait, something else does, and refusing them helps nobody.
const FEW_PER_SECOND: f64 = 500.0;
const FEW_AT_ONCE: i64 = 32;
/// Tasks that the own queue of a thread holds.
const OWN_QUEUE: usize = 256;

/// Decides who is let in.
#[derive(Debug)]
pub(crate) struct Admission {
    limits: Limits,
    metrics: ApiMetrics,
    callers: Option<Callers>,
    started: Instant,
    /// Share of requests that is refused, of 2^32.
    shed: AtomicU32,
    /// Requests that came.
    came: AtomicU64,
}

/// Who asks: from where, and what bounds it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    address: Option<IpAddr>,
    bucket: Option<Arc<Bucket>>,
}

/// The address that a call which changes something comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) IpAddr);

/// A request that is worked on.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Admission>);

impl Caller {
    /// Where it comes from.
    pub(super) fn peer(&self) -> Option<Peer> {
        self.address.map(Peer)
    }
}

impl Admission {
    pub(crate) fn new(limits: Limits, metrics: ApiMetrics) -> Self {
        Self {
            limits,
            metrics,
            callers: limits.rate.map(|rate| Callers::new(rate, limits.callers)),
            started: Instant::now(),
            shed: AtomicU32::new(0),
            came: AtomicU64::new(0),
        }
    }

    /// The caller at an address; found once for each connection.
    pub(crate) fn caller(&self, address: IpAddr) -> Caller {
        let bounded = self.limits.rate_of_loopback || !address.to_canonical().is_loopback();
        let callers = self.callers.as_ref().filter(|_| bounded);
        Caller {
            address: Some(address),
            bucket: callers.map(|callers| callers.bucket(address, self.now_ns(Instant::now()))),
        }
    }

    /// Lets a call of another protocol in.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) fn admit_call(
        self: &Arc<Self>,
        address: Option<IpAddr>,
    ) -> Result<InFlight, ApiError> {
        let caller = address.map(|address| self.caller(address)).unwrap_or_default();
        let admitted = self.admit(Class::Call, &caller, Instant::now())?;
        Ok(admitted.expect("calls are in flight"))
    }

    /// Lets a request in; what is returned lives until it is answered.
    ///
    /// # Errors
    /// When it is refused.
    pub(super) fn admit(
        self: &Arc<Self>,
        class: Class,
        caller: &Caller,
        now: Instant,
    ) -> Result<Option<InFlight>, ApiError> {
        if class == Class::Operation {
            return Ok(None);
        }
        self.check_rate(caller, now)?;
        let number = self.came.fetch_add(1, Ordering::Relaxed);
        if is_shed(number, self.shed.load(Ordering::Relaxed)) {
            self.metrics.refused(Refusal::Delay);
            return Err(ApiError::Overloaded("requests wait too long for a processor"));
        }
        if class == Class::Events {
            return Ok(None);
        }
        let before = self.metrics.in_flight.inc();
        let admitted = InFlight(Arc::clone(self));
        if before >= self.limits.in_flight as i64 {
            self.metrics.refused(Refusal::InFlight);
            return Err(ApiError::Overloaded("too many requests at once (http.max_in_flight)"));
        }
        Ok(Some(admitted))
    }

    fn check_rate(&self, caller: &Caller, now: Instant) -> Result<(), ApiError> {
        let (Some(bucket), Some(rate)) = (&caller.bucket, self.limits.rate) else { return Ok(()) };
        bucket.take(rate, self.now_ns(now)).map_err(|wait| {
            self.metrics.refused(Refusal::Rate);
            ApiError::TooFast { per_second: rate.per_second, wait }
        })
    }

    fn now_ns(&self, now: Instant) -> u64 {
        now.duration_since(self.started).as_nanos() as u64
    }

    /// Measures how long requests wait for a processor, and refuses accordingly, until `end`.
    pub(crate) async fn watch(self: Arc<Self>, end: CancellationToken) {
        let mut shedding = Shedding::new(self.limits.delay_target);
        let (mut period, mut came) = (MEASURE, 0);
        loop {
            let due = tokio::time::Instant::now() + period;
            tokio::select! {
                () = end.cancelled() => return,
                () = tokio::time::sleep_until(due) => {}
            }
            let late = due.elapsed();
            let delay = late.saturating_sub(RESOLUTION) + queue_delay().await;
            let now = self.came.load(Ordering::Relaxed);
            let passed = period + due.elapsed();
            let is_few = ((now - came) as f64) < FEW_PER_SECOND * passed.as_secs_f64()
                && self.metrics.in_flight.get() < FEW_AT_ONCE;
            let own = if is_few { Duration::ZERO } else { delay };
            let share = shedding.update(own, passed);
            self.shed.store((share * f64::from(u32::MAX)) as u32, Ordering::Relaxed);
            self.metrics.shed_share.set(share);
            self.metrics.delay_seconds.set(delay.as_secs_f64());
            period = if now == came { MEASURE * 10 } else { MEASURE };
            came = now;
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.metrics.in_flight.dec();
    }
}

/// Time that a task which is ready waits for a thread of the runtime.
///
/// A thread runs what its own queue holds and then what did not fit into it, in the order of arrival. The first part is measured by standing in that queue,
/// the second one follows from its length. A timer alone would show neither: it runs before them.
async fn queue_delay() -> Duration {
    let began = Instant::now();
    tokio::task::yield_now().await;
    let own = began.elapsed();
    let runtime = tokio::runtime::Handle::current().metrics();
    let queues = OWN_QUEUE * runtime.num_workers().max(1);
    own.mul_f64(1.0 + runtime.global_queue_depth() as f64 / queues as f64)
}

/// Whether the request with this number belongs to the share of 2^32 that is refused: numbers are spread evenly by the golden ratio, so that any few
/// requests in a row are refused in that share too.
const fn is_shed(number: u64, share: u32) -> bool {
    ((number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as u32) < share
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::overload::Rate;

    fn admission(limits: Limits) -> Arc<Admission> {
        Arc::new(Admission::new(limits, ApiMetrics::register(&mut Registry::default())))
    }

    fn host() -> IpAddr {
        "192.0.2.1".parse().unwrap()
    }

    #[test]
    fn any_hundred_requests_are_refused_in_the_share() {
        assert!((0..1_000).all(|number| !is_shed(number, 0)));
        for share in [0.1, 0.5, 0.95] {
            let of = (share * f64::from(u32::MAX)) as u32;
            for first in [0, 12_345, u64::MAX - 10] {
                let shed = (0..100).filter(|i| is_shed(first.wrapping_add(*i), of)).count() as f64;
                assert!((shed - share * 100.0).abs() < 3.0, "{shed} of 100 at {share}");
            }
        }
    }

    #[test]
    fn what_is_in_flight_is_bounded_and_events_and_operation_are_not() {
        let admission = admission(Limits { in_flight: 1, ..Limits::default() });
        let (caller, now) = (Caller::default(), Instant::now());
        let first = admission.admit(Class::Call, &caller, now).unwrap();
        let refused = admission.admit(Class::File, &caller, now);
        assert!(matches!(refused, Err(ApiError::Overloaded(_))));
        assert!(admission.admit_call(None).is_err());
        for class in [Class::Operation, Class::Events] {
            assert!(admission.admit(class, &caller, now).is_ok_and(|admitted| admitted.is_none()));
        }
        drop(first);
        assert!(admission.admit(Class::Call, &caller, now).is_ok());
        assert_eq!(admission.metrics.in_flight.get(), 0);
    }

    #[test]
    fn a_caller_is_bounded_over_all_its_connections_and_this_host_is_not() {
        let rate = Some(Rate { per_second: 1, burst: 2 });
        let admission = admission(Limits { rate, ..Limits::default() });
        let now = Instant::now();
        for _ in 0..2 {
            let caller = admission.caller(host());
            admission.admit(Class::Call, &caller, now).unwrap();
        }
        let caller = admission.caller(host());
        let refused = admission.admit(Class::Events, &caller, now);
        assert!(matches!(refused, Err(ApiError::TooFast { per_second: 1, .. })));
        assert!(admission.admit(Class::Operation, &caller, now).is_ok());
        assert!(admission.admit(Class::Call, &caller, now + Duration::from_secs(1)).is_ok());
        let own = admission.caller("::ffff:127.0.0.1".parse().unwrap());
        assert!((0..100).all(|_| admission.admit(Class::Call, &own, now).is_ok()));
    }

    #[test]
    fn all_but_operation_is_shed() {
        let admission = admission(Limits::default());
        admission.shed.store(u32::MAX, Ordering::Relaxed);
        let (caller, now) = (Caller::default(), Instant::now());
        for class in [Class::Call, Class::File, Class::Events] {
            assert!(admission.admit(class, &caller, now).is_err());
        }
        assert!(admission.admit(Class::Operation, &caller, now).is_ok());
    }
}
