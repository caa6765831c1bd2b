//! Ship: brings frames to the collector over one stream and forgets them only when they are stored.
//!
//! Produced frames wait in the [outbox]. A session sends them as far as the collector's credits allow; acknowledgements free them. When a stream ends,
//! the next one starts at the oldest segment that is not stored, so nothing is lost and what is sent twice is known by its number. Waits between
//! attempts are jittered and capped; waits after a refusal that only a person can mend are long from the start.
//!
//! A status that blames the data (`INVALID_ARGUMENT`) does not say which frame. So the next stream sends one segment at a time, and the segment that is
//! under way when the status comes again is given up, counted and logged. All other segments arrive.

pub mod dial;
pub mod outbox;
pub mod segment;
pub mod verdict;

mod link;
mod session;

use std::sync::Arc;
use std::time::Duration;

use flyball_model::backoff::Backoff;
use flyball_proto::v1;
use rand::RngExt as _;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Endpoint, Uri};

use dial::Dial;
use link::Link;
use outbox::{SharedOutbox, Shed};
use session::{Ended, Session};
use verdict::Verdict;

/// Shortest and longest wait between two attempts.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing was heard for the first time is probed, and given up after the second.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// While the agent stops, a collector that cannot be reached for this long is waited for no longer.
const DRAIN_UNREACHABLE: Duration = Duration::from_secs(2);

/// Sends the outbox to one collector.
pub struct Ship {
    endpoint: Endpoint,
    dial: Dial,
    hello: v1::Hello,
    outbox: Arc<SharedOutbox>,
    link: Link,
    backoff: Backoff,
    suspect_until: u64,
}

impl Ship {
    /// Will send what is in `outbox` to `collector`, introduced by `hello`.
    pub fn new(collector: Uri, hello: v1::Hello, outbox: Arc<SharedOutbox>) -> Self {
        let link = Link::new(&collector.to_string());
        let endpoint = Endpoint::from(collector)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE.0)
            .keep_alive_timeout(KEEPALIVE.1)
            .keep_alive_while_idle(true);
        let backoff = Backoff::new(WAITS.0, WAITS.1).expect("the floor is below the cap");
        Self { endpoint, dial: Dial::tcp(), hello, outbox, link, backoff, suspect_until: 0 }
    }

    /// Opens connections by `dial` instead of over TCP.
    #[must_use]
    pub fn dialling(self, dial: Dial) -> Self {
        Self { dial, ..self }
    }

    /// Sends until `drain` is cancelled and everything is stored, or the collector cannot be reached then.
    pub async fn run(mut self, drain: CancellationToken) {
        loop {
            if drain.is_cancelled() && self.outbox.lock().is_drained() {
                return;
            }
            let ended = self.session(&drain).await;
            let verdict = ended.end.verdict(ended.sent);
            if verdict == Verdict::Stop {
                return;
            }
            self.link.down(&ended.end, verdict);
            if verdict == Verdict::Suspect {
                self.suspect(&ended);
            }
            if drain.is_cancelled() && self.link.down_for().is_some_and(|d| d > DRAIN_UNREACHABLE) {
                return;
            }
            self.wait(verdict, &drain).await;
        }
    }

    async fn session(&mut self, drain: &CancellationToken) -> Ended {
        let hello = self.hello.clone();
        let channel = self.dial.connect(&self.endpoint).await;
        match Session::open(channel, hello, &self.outbox, &mut self.link, self.suspect_until).await
        {
            Ok(session) => session.run(drain).await,
            Err(end) => Ended::early(end),
        }
    }

    /// Narrows down which segment the collector refuses, or gives it up once it is known.
    fn suspect(&mut self, ended: &Ended) {
        let mut outbox = self.outbox.lock();
        if !ended.one_segment {
            self.suspect_until = outbox.last_seq();
            return;
        }
        let before = outbox.totals().in_flight();
        outbox.shed_oldest(Shed::Refused);
        let samples = before - outbox.totals().in_flight();
        tracing::error!(reason = %ended.end, samples, "gave up a segment that the collector refuses");
    }

    async fn wait(&mut self, verdict: Verdict, drain: &CancellationToken) {
        if self.link.take_progress() {
            self.backoff.reset();
        }
        let delay = delay(verdict, &mut self.backoff, rand::rng().random());
        if drain.is_cancelled() {
            tokio::time::sleep(delay.min(WAITS.0)).await;
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = drain.cancelled() => self.backoff.reset(),
        }
    }
}

/// How long to wait before the next attempt. `random` is uniform between 0 and 1.
fn delay(verdict: Verdict, backoff: &mut Backoff, random: f64) -> Duration {
    match verdict {
        Verdict::RetrySeldom => WAITS.1.mul_f64(0.5 + 0.5 * random),
        Verdict::Stop | Verdict::Retry | Verdict::Suspect => backoff.next_delay(random),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_waits_long_from_the_start_and_a_loss_longer_each_time() {
        let mut backoff = Backoff::new(WAITS.0, WAITS.1).unwrap();
        assert!(delay(Verdict::RetrySeldom, &mut backoff, 0.0) >= WAITS.1 / 2);
        let delays: Vec<_> = (0..10).map(|_| delay(Verdict::Retry, &mut backoff, 1.0)).collect();
        assert_eq!(delays[0], WAITS.0);
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]), "{delays:?}");
        assert_eq!(delays[9], WAITS.1);
    }
}
