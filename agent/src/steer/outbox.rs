//! What waits to be told to the collector: outcomes and what is known of caches. Bounded.
//!
//! Outcomes are kept until the collector has taken them, and the newest ones of each target longer: they are told again on each new stream, so that a collector that has just started knows
//! what is in force. Of each cache only the newest report is kept. When more outcomes wait than fit, the oldest are dropped and counted; the newest of each target never.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;

use flyball_proto::steering::{
    AgentPolicy, AgentSteering, BalancerReport, CacheReport, MAX_TARGETS, PolicyOutcome,
    PolicyResult, Target,
};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::store::NodeRecord;

/// Most outcomes that wait.
const MAX_OUTCOMES: usize = 256;
/// Revisions of a target whose outcomes are told again: one may be in force and a newer one refused.
const STANDING: usize = 2;

/// Writes which revision is in force.
type Keep = Box<dyn Fn(&NodeRecord) + Send + Sync>;

/// See the module. Shared by all who have something to tell.
pub struct Outbox {
    inner: Mutex<Inner>,
    changed: Notify,
    keep: Keep,
}

#[derive(Debug, Default)]
struct Inner {
    /// By sequence number.
    outcomes: BTreeMap<u64, PolicyOutcome>,
    /// Of each target, the numbers of those that are told again.
    standing: HashMap<Target, VecDeque<u64>>,
    last: u64,
    acked: u64,
    /// Told on this stream up to here.
    sent: u64,
    caches: HashMap<Target, CacheReport>,
    unsent_caches: BTreeSet<Target>,
    balancers: HashMap<Target, BalancerReport>,
    unsent_balancers: BTreeSet<Target>,
    dropped: u64,
    /// The policy that is followed, and the targets in it.
    policy: Option<(NodeRecord, Vec<Target>)>,
    good: NodeRecord,
}

impl Outbox {
    /// Begins with the last revision of which everything was applied. `keep` is called with each further one, before anybody is told of it.
    pub fn new(good: NodeRecord, keep: impl Fn(&NodeRecord) + Send + Sync + 'static) -> Self {
        let inner = Mutex::new(Inner { good, ..Inner::default() });
        Self { inner, changed: Notify::new(), keep: Box::new(keep) }
    }

    /// Adds an outcome and numbers it.
    pub fn outcome(&self, outcome: PolicyOutcome) {
        let mut inner = self.inner.lock();
        inner.add(outcome);
        inner.progress(&self.keep);
        drop(inner);
        self.changed.notify_one();
    }

    /// Sets what is known of a cache.
    pub fn cache(&self, report: CacheReport) {
        let mut inner = self.inner.lock();
        let target = report.target.clone();
        if inner.caches.len() >= MAX_TARGETS && !inner.caches.contains_key(&target) {
            inner.dropped += 1;
            return;
        }
        inner.caches.insert(target.clone(), report);
        inner.unsent_caches.insert(target);
        drop(inner);
        self.changed.notify_one();
    }

    /// Sets what is known of a load balancer.
    pub fn balancer(&self, report: BalancerReport) {
        let mut inner = self.inner.lock();
        let target = report.target.clone();
        if inner.balancers.len() >= MAX_TARGETS && !inner.balancers.contains_key(&target) {
            inner.dropped += 1;
            return;
        }
        inner.balancers.insert(target.clone(), report);
        inner.unsent_balancers.insert(target);
        drop(inner);
        self.changed.notify_one();
    }

    /// Notes what is wanted, to know when all of it is in force.
    pub fn policy(&self, policy: &AgentPolicy) {
        let mut inner = self.inner.lock();
        let record = NodeRecord { journal: policy.journal.clone(), revision: policy.revision.0 };
        let targets = policy.targets.iter().map(|target| target.target.clone()).collect();
        inner.policy = Some((record, targets));
        inner.progress(&self.keep);
    }

    /// The last revision of which everything was applied.
    pub fn good(&self) -> NodeRecord {
        self.inner.lock().good.clone()
    }

    /// True when the newest outcome of a target is of this revision and this result.
    pub fn is_told(&self, target: &Target, revision: u64, result: PolicyResult) -> bool {
        let inner = self.inner.lock();
        let newest = inner.newest(target);
        newest.is_some_and(|o| o.revision.0 == revision && o.result == result)
    }

    /// The collector has taken outcomes up to this one.
    pub fn acked(&self, sequence: u64) {
        let mut inner = self.inner.lock();
        inner.acked = inner.acked.max(sequence.min(inner.sent));
        inner.prune();
    }

    /// A stream begins: everything is told again.
    pub fn rewind(&self) {
        let mut inner = self.inner.lock();
        inner.sent = 0;
        inner.unsent_caches = inner.caches.keys().cloned().collect();
        inner.unsent_balancers = inner.balancers.keys().cloned().collect();
    }

    /// The next message of this stream; outcomes first.
    pub fn next(&self) -> Option<AgentSteering> {
        let mut inner = self.inner.lock();
        let outcome = inner.outcomes.range(inner.sent + 1..).next();
        if let Some((sequence, outcome)) = outcome.map(|(s, o)| (*s, o.clone())) {
            inner.sent = sequence;
            return Some(AgentSteering::Outcome(outcome));
        }
        if let Some(target) = inner.unsent_caches.pop_first() {
            let report = inner.caches.get(&target)?;
            return Some(AgentSteering::Cache(Box::new(report.clone())));
        }
        let target = inner.unsent_balancers.pop_first()?;
        inner.balancers.get(&target).map(|report| AgentSteering::Balancer(Box::new(report.clone())))
    }

    /// Waits until there may be something new. One at a time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl Inner {
    fn add(&mut self, mut outcome: PolicyOutcome) {
        self.last += 1;
        outcome.sequence = self.last;
        let standing = self.standing.entry(outcome.target.clone()).or_default();
        standing.retain(|number| {
            self.outcomes.get(number).is_some_and(|other| other.revision != outcome.revision)
        });
        standing.push_back(self.last);
        while standing.len() > STANDING {
            standing.pop_front();
        }
        self.outcomes.insert(self.last, outcome);
        self.prune();
    }

    /// Forgets what has been taken, and the oldest when there are too many; never what stands.
    fn prune(&mut self) {
        let standing: BTreeSet<u64> = self.standing.values().flatten().copied().collect();
        let acked = self.acked;
        self.outcomes.retain(|number, _| *number > acked || standing.contains(number));
        while self.outcomes.len() > MAX_OUTCOMES.max(standing.len()) {
            let oldest = self.outcomes.keys().find(|number| !standing.contains(number)).copied();
            let Some(oldest) = oldest else { return };
            self.outcomes.remove(&oldest);
            self.dropped += 1;
            tracing::warn!(
                dropped = self.dropped,
                "outcomes of policies wait for a collector; the oldest are dropped"
            );
        }
    }

    fn newest(&self, target: &Target) -> Option<&PolicyOutcome> {
        self.outcomes.get(self.standing.get(target)?.back()?)
    }

    /// Notes when all that is wanted is in force.
    fn progress(&mut self, keep: &Keep) {
        let Some((record, targets)) = &self.policy else { return };
        let is_applied = |target| {
            self.newest(target).is_some_and(|outcome| {
                outcome.revision.0 == record.revision && outcome.result == PolicyResult::Applied
            })
        };
        if self.good == *record || !targets.iter().all(is_applied) {
            return;
        }
        self.good = record.clone();
        keep(&self.good);
    }
}

#[cfg(test)]
mod tests {
    use flyball_proto::steering::{BalancerState, CacheState, Revision, Settings, TargetPolicy};

    use super::*;

    fn outcome(name: &str, revision: u64, result: PolicyResult) -> PolicyOutcome {
        PolicyOutcome {
            revision: Revision(revision),
            target: Target::new("redis", name),
            result,
            reason: String::new(),
            in_force: Settings::new(),
            expected: Settings::new(),
            rollout_id: String::new(),
            sequence: 0,
        }
    }

    fn outbox() -> Outbox {
        Outbox::new(NodeRecord::default(), |_| {})
    }

    fn drain(outbox: &Outbox) -> Vec<(u64, String, PolicyResult)> {
        let next = || match outbox.next()? {
            AgentSteering::Outcome(o) => Some((o.sequence, o.target.name, o.result)),
            other => panic!("{other:?}"),
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn outcomes_are_told_until_they_are_taken_and_the_newest_on_each_stream() {
        use PolicyResult::{Applied, Applying, Rejected};
        let outbox = outbox();
        outbox.outcome(outcome("a", 1, Applying));
        outbox.outcome(outcome("a", 1, Applied));
        outbox.outcome(outcome("b", 1, Applying));
        let all = [
            (1, "a".to_owned(), Applying),
            (2, "a".to_owned(), Applied),
            (3, "b".to_owned(), Applying),
        ];
        assert_eq!(drain(&outbox), all);
        assert_eq!(drain(&outbox), []);
        outbox.rewind();
        assert_eq!(drain(&outbox), all, "nothing was taken");
        outbox.acked(3);
        outbox.rewind();
        assert_eq!(drain(&outbox), all[1..], "what stands is told again");
        outbox.outcome(outcome("a", 2, Rejected));
        outbox.acked(4);
        assert_eq!(drain(&outbox), [(4, "a".to_owned(), Rejected)]);
        outbox.acked(4);
        outbox.rewind();
        assert_eq!(drain(&outbox).len(), 3, "that in force and the one refused after it");
        outbox.outcome(outcome("a", 3, Rejected));
        drain(&outbox);
        outbox.acked(5);
        outbox.rewind();
        assert_eq!(drain(&outbox).iter().map(|o| o.0).collect::<Vec<_>>(), [3, 4, 5]);
    }

    #[test]
    fn what_was_not_sent_cannot_have_been_taken() {
        let outbox = outbox();
        outbox.outcome(outcome("a", 1, PolicyResult::Applying));
        outbox.outcome(outcome("a", 1, PolicyResult::Applied));
        outbox.acked(99);
        assert_eq!(drain(&outbox).len(), 2);
    }

    #[test]
    fn too_many_are_dropped_from_the_oldest_but_the_newest_of_each_target_stays() {
        let outbox = outbox();
        outbox.outcome(outcome("old", 1, PolicyResult::Applied));
        for revision in 0..10_000 {
            outbox.outcome(outcome("a", revision, PolicyResult::Applied));
        }
        let told = drain(&outbox);
        assert_eq!(told.len(), MAX_OUTCOMES);
        assert_eq!((told[0].1.as_str(), told[1].0), ("old", 10_002 - MAX_OUTCOMES as u64 + 1));
    }

    #[test]
    fn of_each_cache_the_newest_report_is_told() {
        let outbox = outbox();
        let report =
            |name: &str, at| CacheReport::new(Target::new("redis", name), CacheState::Up, at);
        for at in 0..5 {
            outbox.cache(report("a", at));
        }
        outbox.cache(report("b", 9));
        let next = || match outbox.next()? {
            AgentSteering::Cache(report) => Some(report.measured_at_ms),
            other => panic!("{other:?}"),
        };
        let all = || std::iter::from_fn(next).collect::<Vec<_>>();
        assert_eq!(all(), [4, 9]);
        assert!(all().is_empty());
        outbox.rewind();
        assert_eq!(all(), [4, 9]);
        for n in 0..1_000 {
            outbox.cache(report(&n.to_string(), 0));
        }
        assert_eq!(all().len(), MAX_TARGETS - 2);
    }

    #[test]
    fn of_each_balancer_the_newest_report_is_told() {
        let outbox = outbox();
        for at in 0..3 {
            let target = Target::new("haproxy", "edge");
            outbox.balancer(BalancerReport::new(target, BalancerState::Up, at));
        }
        let next = || match outbox.next()? {
            AgentSteering::Balancer(report) => Some(report.measured_at_ms),
            other => panic!("{other:?}"),
        };
        let all = || std::iter::from_fn(next).collect::<Vec<_>>();
        assert_eq!((all(), all()), (vec![2], vec![]));
        outbox.rewind();
        assert_eq!(all(), [2], "told again on a new stream");
    }

    #[test]
    fn a_revision_is_good_when_all_of_it_is_applied() {
        let policy = |revision, names: &[&str]| AgentPolicy {
            journal: "j".to_owned(),
            revision: Revision(revision),
            targets: names
                .iter()
                .map(|name| TargetPolicy {
                    target: Target::new("redis", *name),
                    settings: Settings::new(),
                    rollout_id: String::new(),
                    canary: None,
                    persist: false,
                })
                .collect(),
            ..AgentPolicy::default()
        };
        let (sender, kept) = std::sync::mpsc::channel();
        let outbox = Outbox::new(NodeRecord::default(), move |good| {
            sender.send(good.revision).unwrap();
        });
        let is_kept = |revision| kept.try_recv().ok() == revision;
        outbox.policy(&policy(1, &["a", "b"]));
        outbox.outcome(outcome("a", 1, PolicyResult::Applied));
        outbox.outcome(outcome("b", 1, PolicyResult::Applying));
        assert!(is_kept(None));
        outbox.outcome(outcome("b", 1, PolicyResult::Applied));
        assert!(is_kept(Some(1)));
        outbox.policy(&policy(2, &["a"]));
        outbox.outcome(outcome("a", 2, PolicyResult::Rejected));
        assert!(is_kept(None));
        outbox.policy(&policy(3, &[]));
        assert!(is_kept(Some(3)), "there is nothing to apply");
        assert_eq!((outbox.good().revision, outbox.good().journal.as_str()), (3, "j"));
    }
}
