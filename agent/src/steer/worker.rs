//! One target at work: a thread that waits for offers and for time to pass, asks the [brain](super::brain) what to do, and does it.
//!
//! Each target has a thread of its own, so one that hangs delays no other and no dead man's switch but its own, which it bars anyway.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_model::backoff::Backoff;
use parking_lot::{Condvar, Mutex};
use rand::RngExt as _;

use super::actuator::{Actuator, Reading, Step, Trouble};
use super::brain::{Act, Brain, Offer};
use super::clock::{Clock, Moment};
use super::outbox::Outbox;
use super::store::Store;

/// Shortest and longest wait for a target, or for the disk, that is away.
const WAITS: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));

/// Where a worker is told what is wanted. Only the newest offer is kept: it is the whole state. A worker that is busy for longer than a lease knows all the same
/// whether that was renewed in time.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    mail: Mutex<Mail>,
    wake: Condvar,
}

/// What a worker is told.
#[derive(Debug, Default)]
pub(super) struct Mail {
    offer: Option<Received>,
    is_stopping: bool,
}

/// The newest offer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Received {
    offer: Offer,
    /// When the first of its like came that nobody has read, each later one within the lease of the one before.
    since: Moment,
    at: Moment,
}

impl Received {
    /// Whether `offer` at `now` renews this one in time.
    fn is_renewed_by(&self, offer: &Offer, now: Moment) -> bool {
        let lease = self.offer.policy.canary.as_ref().map(|canary| canary.lease);
        self.offer == *offer && lease.is_some_and(|lease| now < self.at.after(lease))
    }
}

impl Mailbox {
    /// Tells what is wanted.
    pub(super) fn put(&self, offer: Offer, at: Moment) {
        let mut mail = self.mail.lock();
        let unread = mail.offer.take().filter(|unread| unread.is_renewed_by(&offer, at));
        let since = unread.map_or(at, |unread| unread.since);
        mail.offer = Some(Received { offer, since, at });
        self.wake.notify_one();
    }

    /// Asks the worker to stop after what it is doing.
    pub(super) fn stop(&self) {
        self.mail.lock().is_stopping = true;
        self.wake.notify_one();
    }

    /// Waits for mail, this long at most.
    fn take(&self, patience: Duration) -> Mail {
        let deadline = Instant::now() + patience;
        let mut mail = self.mail.lock();
        while mail.offer.is_none() && !mail.is_stopping {
            if self.wake.wait_until(&mut mail, deadline).timed_out() {
                break;
            }
        }
        Mail { offer: mail.offer.take(), is_stopping: mail.is_stopping }
    }

    /// The offer that is there, if it is as wanted; otherwise it stays.
    fn take_if(&self, is_wanted: impl FnOnce(&Offer) -> bool) -> Option<Received> {
        self.mail.lock().offer.take_if(|received| is_wanted(&received.offer))
    }
}

/// Steers one target.
pub(super) struct Worker {
    actuator: Box<dyn Actuator>,
    brain: Brain,
    store: Store,
    clock: Clock,
    outbox: Arc<Outbox>,
    backoff: Backoff,
    /// The lease that is on disk.
    lease: Option<(u64, Moment)>,
    is_away: bool,
}

impl Worker {
    /// Goes on where the record on disk ends.
    pub(super) fn new(
        actuator: Box<dyn Actuator>,
        store: Store,
        clock: Clock,
        outbox: Arc<Outbox>,
    ) -> Self {
        let record = store.load(actuator.target());
        let lease_end = record.followed.as_ref().and_then(|followed| {
            let lease = followed.lease()?;
            Some(store.lease_end(actuator.target(), followed.revision, lease, &clock))
        });
        for outcome in record.outcomes() {
            outbox.outcome(outcome.clone().of(actuator.target()));
        }
        let brain = Brain::new(actuator.capability(), actuator.law(), record, lease_end);
        let backoff = Backoff::new(WAITS.0, WAITS.1).expect("the floor is below the cap");
        Self { actuator, brain, store, clock, outbox, backoff, lease: None, is_away: false }
    }

    /// A target that may no longer be steered: what is on trial goes back, and nothing is begun.
    pub(super) fn barred(mut self) -> Self {
        self.brain.let_go();
        self
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self, mailbox: &Mailbox) {
        let mut patience = Duration::ZERO;
        loop {
            let Mail { offer, is_stopping } = mailbox.take(patience);
            if is_stopping {
                return;
            }
            self.hear(offer);
            patience = self.turn(mailbox);
            self.actuator.on_trial(self.brain.on_trial());
            self.save_lease();
            if let Some(deadline) = self.brain.deadline() {
                patience = patience.min(deadline.since(self.clock.now()));
            }
        }
    }

    fn hear(&mut self, received: Option<Received>) {
        if let Some(Received { offer, since, at }) = received {
            self.brain.offer(offer, since, at);
            self.backoff.reset();
        }
    }

    /// Reading and writing take their time, in which a lease may have been renewed. What is new is decided on with a reading of its own.
    fn hear_renewal(&mut self, mailbox: &Mailbox) {
        self.hear(mailbox.take_if(|offer| self.brain.is_renewal(offer)));
    }

    /// Does what is to be done now. Returns how long there is nothing to do.
    fn turn(&mut self, mailbox: &Mailbox) -> Duration {
        if self.brain.is_idle() {
            return Duration::from_hours(1);
        }
        let wait = match self.actuator.read() {
            Ok(reading) => {
                self.back();
                self.act(&reading, mailbox)
            }
            Err(trouble) => {
                self.hear_renewal(mailbox);
                self.brain.unreadable(&trouble, self.clock.now());
                // What was refused is told below, whether it can be written or not.
                if self.brain.is_unsaved()
                    && let Err(error) = self.save()
                {
                    tracing::error!(server = %self.actuator.target(), %error, "cannot write what was decided");
                }
                self.away(&trouble)
            }
        };
        self.report();
        wait
    }

    /// Acts upon a reading until another one is needed.
    fn act(&mut self, reading: &Reading, mailbox: &Mailbox) -> Duration {
        loop {
            self.hear_renewal(mailbox);
            match self.brain.next(reading, self.clock.now()) {
                Act::Wait(time) => return time,
                Act::Save { is_needed } => {
                    if let Err(error) = self.save() {
                        tracing::error!(server = %self.actuator.target(), %error, "cannot write what is being done");
                        if is_needed {
                            self.brain.unsaved(&error.to_string());
                            return self.backoff.next_delay(rand::rng().random());
                        }
                        self.brain.saved();
                    }
                    self.report();
                }
                Act::Set(steps) => {
                    for Step { parameter, value, .. } in &steps {
                        tracing::info!(server = %self.actuator.target(), parameter, value, "setting");
                    }
                    let is_back = self.brain.is_reverting();
                    let taken = if is_back {
                        self.actuator.put_back(&steps)
                    } else {
                        self.actuator.apply(&steps)
                    };
                    match taken {
                        Ok(()) => return Duration::ZERO,
                        Err(Trouble::Refused(words)) => {
                            // Some of the steps may have been taken: what is to be put back has to be read first.
                            let is_at_once = self.brain.refused(&words, reading);
                            return if is_at_once {
                                Duration::ZERO
                            } else {
                                self.brain.check_period()
                            };
                        }
                        Err(trouble) => {
                            self.brain.lost_step();
                            return self.away(&trouble);
                        }
                    }
                }
                Act::Persist => match self.actuator.persist() {
                    Ok(()) => self.brain.persisted(Ok(())),
                    Err(Trouble::Refused(words)) => self.brain.persisted(Err(words)),
                    Err(trouble) => return self.away(&trouble),
                },
            }
        }
    }

    /// Writes the record, and the end of its lease before: a lease without its record means nothing, a record without its lease begins it anew.
    fn save(&mut self) -> std::io::Result<()> {
        self.save_lease();
        self.store.save(self.actuator.target(), self.brain.record())?;
        self.brain.saved();
        Ok(())
    }

    fn save_lease(&mut self) {
        let lease = self.brain.lease();
        if let Some((revision, ends)) = lease
            && lease != self.lease
        {
            let target = self.actuator.target();
            match self.store.save_lease(target, revision, ends, &self.clock) {
                Ok(()) => self.lease = lease,
                Err(error) => {
                    tracing::warn!(server = %target, %error, "cannot write when a lease ends");
                }
            }
        }
    }

    fn report(&mut self) {
        for outcome in self.brain.take_outcomes() {
            let outcome = outcome.of(self.actuator.target());
            tracing::info!(
                server = %outcome.target,
                revision = %outcome.revision,
                rollout_id = outcome.rollout_id,
                result = outcome.result.as_str(),
                reason = outcome.reason,
                "policy"
            );
            self.outbox.outcome(outcome);
        }
    }

    fn away(&mut self, trouble: &Trouble) -> Duration {
        if !std::mem::replace(&mut self.is_away, true) {
            tracing::warn!(server = %self.actuator.target(), reason = %trouble, "cannot be steered now");
        }
        let wait = self.backoff.next_delay(rand::rng().random());
        self.brain.longest_wait().map_or(wait, |longest| wait.min(longest))
    }

    fn back(&mut self) {
        self.backoff.reset();
        if std::mem::take(&mut self.is_away) {
            tracing::info!(server = %self.actuator.target(), "can be steered again");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flyball_proto::steering::{Canary, Settings, Target, TargetPolicy};

    use super::*;

    const LEASE: u64 = 900;

    fn trial(revision: u64) -> Offer {
        let canary = Canary { lease: Duration::from_millis(LEASE), revert_to: Settings::default() };
        let policy = TargetPolicy {
            target: Target::new("redis", "sessions"),
            settings: Settings::default(),
            rollout_id: "r".to_owned(),
            canary: Some(canary),
            persist: false,
        };
        Offer { journal: "j".to_owned(), revision, policy }
    }

    /// When the unread offers began, and the newest one, after these.
    fn unread(offers: &[(Offer, u64)]) -> (u64, u64) {
        let mailbox = Mailbox::default();
        for (offer, at) in offers {
            mailbox.put(offer.clone(), Moment(*at));
        }
        assert_eq!(mailbox.take_if(|_| false), None);
        let received = mailbox.take_if(|_| true).unwrap();
        assert_eq!(mailbox.take_if(|_| true), None);
        assert_eq!(received.offer, offers.last().unwrap().0);
        (received.since.0, received.at.0)
    }

    #[test]
    fn renewals_that_nobody_has_read_count_from_the_first_of_them() {
        let times = [100, 400, 1_299, 2_000];
        let renewed: Vec<_> = times.iter().map(|at| (trial(1), *at)).collect();
        assert_eq!(unread(&renewed), (100, 2_000));
    }

    #[test]
    fn one_that_comes_after_the_lease_or_is_another_begins_anew() {
        assert_eq!(unread(&[(trial(1), 100), (trial(1), 100 + LEASE)]), (1_000, 1_000));
        assert_eq!(unread(&[(trial(1), 100), (trial(2), 400)]), (400, 400));
        let mut permanent = trial(1);
        permanent.policy.canary = None;
        assert_eq!(unread(&[(permanent.clone(), 100), (permanent, 400)]), (400, 400));
    }
}
