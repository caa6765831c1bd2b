//! Ship: brings frames to a collector and forgets them only when they are stored.
//!
//! ```text
//!            +- live lane: the newest frames, as they come ----------+
//! [outbox] --|                                                       |== one connection ==> collector
//!            +- backlog lane: closed segments, one at a time, slowly +
//! ```
//!
//! Produced frames are in the [outbox]. The live lane sends them as far as the collector's credits allow; acknowledgements free them. When more wait than
//! a short break explains, they are left to the backlog and the live lane goes on with the present, so that after an outage the newest measurements are
//! there first and neither the agent nor the collector holds more in memory than usual.
//!
//! When a stream ends, the next collector of several is tried; waits after a round in vain are jittered and capped, and those after a refusal that only a person can
//! mend are long from the start. A status that blames the data (`INVALID_ARGUMENT`) does not say which frame: the live lane's segments become backlog, where
//! each segment stands alone and the one that is refused is given up, counted and logged. All others arrive.

pub mod dial;
pub mod outbox;
pub mod verdict;

mod backlog;
pub(crate) mod collectors;
mod greet;
mod link;
mod pace;
mod replay;
mod session;

use std::sync::Arc;
use std::time::Duration;

use flyball_model::backoff::Backoff;
use flyball_proto::v1;
use rand::RngExt as _;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint, Uri};

use backlog::BacklogLane;
use collectors::Collectors;
use dial::Dial;
use link::Link;
use outbox::SharedOutbox;
use pace::Pace;
use session::{Ended, Session};
use verdict::{End, Verdict, causes};

/// Rate of the backlog, as a multiple of the live one, unless told otherwise.
pub const REPLAY_RATE: u32 = 50;
/// Shortest and longest wait between two attempts.
const WAITS: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which nothing was heard for the first time is probed, and given up after the second.
const KEEPALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10));
/// While the agent stops, a collector that cannot be reached for this long is waited for no longer.
const DRAIN_UNREACHABLE: Duration = Duration::from_secs(2);

/// Sends the outbox to one of several collectors.
pub struct Ship {
    collectors: Collectors,
    dial: Dial,
    hello: v1::Hello,
    outbox: Arc<SharedOutbox>,
    link: Link,
    backoff: Backoff,
    replay_rate: u32,
}

impl Ship {
    /// Will send what is in `outbox` to one of `collectors`, introduced by `hello`.
    pub fn new(collectors: Vec<Uri>, hello: v1::Hello, outbox: Arc<SharedOutbox>) -> Self {
        Self {
            collectors: Collectors::new(collectors, &hello.node),
            dial: Dial::tcp(),
            hello,
            outbox,
            link: Link::new(),
            backoff: backoff(),
            replay_rate: REPLAY_RATE,
        }
    }

    /// Opens connections by `dial` instead of over TCP.
    #[must_use]
    pub fn dialling(self, dial: Dial) -> Self {
        Self { dial, ..self }
    }

    /// Sends the backlog at this multiple of the live rate.
    #[must_use]
    pub fn replaying(self, replay_rate: u32) -> Self {
        Self { replay_rate, ..self }
    }

    /// Sends until `drain` is cancelled and what should not wait for the next process is stored, or no collector can be reached then.
    pub async fn run(self, drain: CancellationToken) {
        let (connection, channel) = watch::channel(None);
        let outbox = Arc::clone(&self.outbox);
        let interval = Duration::from_millis(u64::from(self.hello.interval_ms));
        let backlog = BacklogLane {
            outbox: &outbox,
            hello: self.hello.clone(),
            channel,
            pace: Pace::new(interval, self.replay_rate, Instant::now()),
            backoff: backoff(),
            asked_at: Instant::now(),
        };
        tokio::select! {
            () = self.live(connection, &drain) => {}
            () = backlog.run() => {}
        }
    }

    /// The live lane: one stream after the other. Tells the backlog lane of the connection.
    async fn live(mut self, connection: watch::Sender<Option<Channel>>, drain: &CancellationToken) {
        loop {
            if drain.is_cancelled() && self.outbox.lock().is_drained() {
                return;
            }
            let ended = self.session(&connection, drain).await;
            let verdict = ended.end.verdict(ended.has_sent);
            match verdict {
                Verdict::Stop => return,
                Verdict::Suspect => self.outbox.lock().distrust_live(),
                Verdict::Retry | Verdict::RetrySeldom => drop(connection.send_replace(None)),
            }
            self.link.down(&ended.end, verdict);
            if drain.is_cancelled() && self.link.down_for().is_some_and(|d| d > DRAIN_UNREACHABLE) {
                return;
            }
            self.wait(verdict, drain).await;
        }
    }

    async fn session(
        &mut self,
        connection: &watch::Sender<Option<Channel>>,
        drain: &CancellationToken,
    ) -> Ended {
        let Some(uri) = self.collectors.current() else {
            return Ended::early(End::Connect("there is no collector".to_owned()));
        };
        self.link.towards(uri);
        let channel = match self.dial.connect(&endpoint(uri.clone())).await {
            Ok(channel) => channel,
            Err(error) => return Ended::early(End::Connect(causes(&error))),
        };
        let hello = self.hello.clone();
        match Session::open(channel.clone(), hello, &self.outbox, &mut self.link).await {
            Ok(session) => {
                connection.send_replace(Some(channel));
                session.run(drain).await
            }
            Err(end) => Ended::early(end),
        }
    }

    /// Waits before the next attempt: not at all but for jitter as long as there are other collectors to be tried.
    async fn wait(&mut self, verdict: Verdict, drain: &CancellationToken) {
        if self.link.take_progress() {
            self.backoff.reset();
            self.collectors.works();
        }
        let random = rand::rng().random();
        let is_round = verdict == Verdict::Suspect || self.collectors.next();
        let delay = if is_round {
            delay(verdict, &mut self.backoff, random)
        } else {
            WAITS.0.mul_f64(random)
        };
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

pub(crate) fn endpoint(collector: Uri) -> Endpoint {
    Endpoint::from(collector)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEPALIVE.0)
        .keep_alive_timeout(KEEPALIVE.1)
        .keep_alive_while_idle(true)
}

fn backoff() -> Backoff {
    Backoff::new(WAITS.0, WAITS.1).expect("the floor is below the cap")
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
        let mut backoff = backoff();
        assert!(delay(Verdict::RetrySeldom, &mut backoff, 0.0) >= WAITS.1 / 2);
        let delays: Vec<_> = (0..10).map(|_| delay(Verdict::Retry, &mut backoff, 1.0)).collect();
        assert_eq!(delays[0], WAITS.0);
        assert!(delays.windows(2).all(|pair| pair[0] <= pair[1]), "{delays:?}");
        assert_eq!(delays[9], WAITS.1);
    }
}
