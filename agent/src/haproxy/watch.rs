//! The thread of one HAProxy: looks at requests under way, reads everything once a second, and tells what it saw.
//!
//! It wakes at multiples of its period by the wall clock, and reads everything just before a second is full, so that what the sampler takes at the full second is fresh.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use flyball_model::backoff::Backoff;
use flyball_proto::steering::{BalancerReport, BalancerState};

use super::report::Reports;
use super::snapshot::in_flight;
use super::{Haproxy, HaproxyError, Latest, UnderWay};
use crate::sense::thread_cpu;
use crate::steer::outbox::Outbox;

/// Time between two looks at requests under way.
const LOOK: Duration = Duration::from_millis(100);
/// Time between two readings of everything, and between two reports.
const PERIOD: Duration = Duration::from_secs(1);
/// Looks take no more than one part in so many of the time: where there are many servers they become fewer.
const SPARING: u32 = 50;
/// Pauses between two attempts at one that does not answer.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Stack of a thread. Only what is touched becomes resident.
const STACK_BYTES: usize = 512 * 1024;

/// The threads; they end when this is dropped.
#[derive(Debug)]
pub struct Watchers {
    _stop: Vec<SyncSender<Infallible>>,
}

struct Watcher {
    haproxy: Haproxy,
    outbox: Arc<Outbox>,
    reports: Reports,
    backoff: Backoff,
    failure: Option<(HaproxyError, Instant)>,
    state: Option<BalancerState>,
    /// The second, by the wall clock, of the last report.
    second: u64,
    look_at: Instant,
    number: u64,
}

impl Watchers {
    /// Starts a thread for each.
    ///
    /// # Errors
    /// When the system refuses one.
    pub fn start(all: &[Haproxy], outbox: &Arc<Outbox>) -> io::Result<Self> {
        let start = |haproxy: &Haproxy| {
            let (stop, stops) = sync_channel(0);
            let watcher = Watcher::new(haproxy.clone(), Arc::clone(outbox));
            let thread =
                std::thread::Builder::new().name(format!("haproxy {}", haproxy.config.name));
            thread.stack_size(STACK_BYTES).spawn(move || watcher.run(&stops))?;
            Ok(stop)
        };
        Ok(Self { _stop: all.iter().map(start).collect::<io::Result<_>>()? })
    }
}

impl Watcher {
    fn new(haproxy: Haproxy, outbox: Arc<Outbox>) -> Self {
        Self {
            reports: Reports::new(&haproxy.config.name),
            haproxy,
            outbox,
            backoff: Backoff::new(RETRY.0, RETRY.1).expect("0 < floor <= cap"),
            failure: None,
            state: None,
            second: 0,
            look_at: Instant::now(),
            number: 0,
        }
    }

    fn run(mut self, stops: &Receiver<Infallible>) {
        loop {
            let wall = wall();
            let second = (wall + LOOK).as_secs();
            if second != self.second {
                self.second = second;
                let report = self.read();
                self.note(&report);
                self.outbox.balancer(report);
            } else if self.failure.is_none() && Instant::now() >= self.look_at {
                self.look();
            }
            self.haproxy.cpu_ns.store(thread_cpu().as_nanos() as u64, Ordering::Relaxed);
            match stops.recv_timeout(pause(self::wall())) {
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Ok(never) => match never {},
            }
        }
    }

    /// Reads everything, unless it has just failed to answer.
    fn read(&mut self) -> BalancerReport {
        let now_ms = wall().as_millis() as i64;
        if let Some((error, retry_at)) = &self.failure
            && Instant::now() < *retry_at
        {
            return self.reports.away(error, now_ms);
        }
        let began = Instant::now();
        match self.haproxy.read() {
            Ok(snapshot) => {
                let took = began.elapsed();
                self.backoff.reset();
                self.failure = None;
                for (_, servers) in snapshot.groups() {
                    for line in servers {
                        let now = line.get("scur").and_then(|now| now.try_into().ok());
                        self.reports.note(&line.proxy, &line.service, now.unwrap_or(0), began);
                    }
                }
                let report = self.reports.up(&snapshot, began, now_ms);
                self.number += 1;
                let under_way = UnderWay::of(&report, began);
                self.leave(BalancerState::Up, Some((Arc::new(snapshot), took)), under_way);
                report
            }
            Err(error) => {
                let report = self.reports.away(&error, now_ms);
                self.fail(error);
                report
            }
        }
    }

    fn look(&mut self) {
        let began = Instant::now();
        match in_flight(&self.haproxy.place) {
            Ok(all) => {
                for (group, server, now) in &all {
                    self.reports.note(group, server, *now, began);
                }
                self.look_at = Instant::now() + began.elapsed() * SPARING;
            }
            // The next reading tells what is the matter, and that it is over.
            Err(_) => self.look_at = Instant::now() + PERIOD,
        }
    }

    fn fail(&mut self, error: HaproxyError) {
        self.leave(error.state(), None, UnderWay::default());
        let retry_at = Instant::now() + self.backoff.next_delay(rand::random());
        self.failure = Some((error, retry_at));
    }

    fn leave(
        &self,
        state: BalancerState,
        read: Option<(Arc<super::Snapshot>, Duration)>,
        under_way: UnderWay,
    ) {
        let (state, under_way) = (Some(state), Arc::new(under_way));
        *self.haproxy.latest.lock() = Latest { state, number: self.number, read, under_way };
    }

    /// Says how it is when that changes.
    fn note(&mut self, report: &BalancerReport) {
        if self.state.replace(report.state) == Some(report.state) {
            return;
        }
        let (balancer, socket) = (&self.haproxy.config.name, &self.haproxy.place);
        if report.state == BalancerState::Up {
            tracing::info!(balancer, %socket, version = report.version, "haproxy answers");
        } else {
            let (state, reason) = (report.state.as_str(), &report.reason);
            tracing::warn!(balancer, %socket, state, reason, "haproxy does not answer");
        }
    }
}

/// Time to the next multiple of [`LOOK`].
fn pause(wall: Duration) -> Duration {
    let period = LOOK.as_nanos();
    Duration::from_nanos((period - wall.as_nanos() % period) as u64)
}

fn wall() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_wakes_at_multiples() {
        assert_eq!(pause(Duration::from_millis(1_930)), Duration::from_millis(70));
        assert_eq!(pause(Duration::from_millis(1_900)), LOOK);
    }
}
