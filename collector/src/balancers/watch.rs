//! Watches all pools: in each window it folds the newest reports and has the [law in shadow](super::shadow) take a step.
//!
//! So wanted weights, capacities and whether they can be relied on are known at any time, for advisors, for the API and for standing control. Windows begin at
//! multiples of their length. A report counts in the window in which it comes; one that comes late counts in the next.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_model::balance::envelope::Verdict;
use flyball_proto::series::NodeName;
use flyball_proto::steering::Target;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::kept::{History, MemberWindow, PoolWindow, is_of};
use super::lines::Lines;
use super::pool::{HostLoad, Inputs, Known, OrcaWord, pools};
use super::recall::Past;
use super::settings::{BalanceSettings, Objective};
use super::shadow::{PoolEstimate, Shadow};
use super::sums::Sums;
use crate::live::now_ms;
use crate::steer::watch::{Balancer, Steering};

/// What is known of balancers that did not report for so long is forgotten.
const FORGET: Duration = Duration::from_mins(15);

/// Time between two looks at the reports: agents report each second, and only the newest report is kept.
const POLL: Duration = Duration::from_millis(200);

/// What is known of all pools. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct PoolWatch(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fold: Mutex<Fold>,
    closed: watch::Sender<u64>,
}

/// What tells how busy backends are besides their balancers: what they say themselves, and their hosts.
pub trait Loads: Send + Sync {
    /// What backends say of themselves.
    fn words(&self) -> Vec<OrcaWord>;
    /// Processors and addresses of hosts.
    fn hosts(&self) -> Vec<HostLoad>;
    /// Names the machine of a node.
    fn machine(&self, node: &NodeName) -> String;
}

/// Nothing is known but what balancers say.
#[derive(Debug, Clone, Copy)]
pub struct NoLoads;

impl Loads for NoLoads {
    fn words(&self) -> Vec<OrcaWord> {
        Vec::new()
    }

    fn hosts(&self) -> Vec<HostLoad> {
        Vec::new()
    }

    fn machine(&self, node: &NodeName) -> String {
        node.as_str().to_owned()
    }
}

#[derive(Debug)]
struct Fold {
    sums: BTreeMap<(NodeName, Target), (Sums, Instant)>,
    lines: Lines,
    shadow: Shadow,
    history: History,
    latest: BTreeMap<String, Arc<PoolEstimate>>,
}

impl PoolWatch {
    /// Knows nothing yet.
    pub fn new(settings: &BalanceSettings, objective: Objective) -> Self {
        let fold = Fold {
            sums: BTreeMap::new(),
            lines: Lines::default(),
            shadow: Shadow::new(settings.law(objective)),
            history: History::default(),
            latest: BTreeMap::new(),
        };
        Self(Arc::new(Inner { fold: Mutex::new(fold), closed: watch::Sender::new(0) }))
    }

    /// What is known of a pool since the last window's end.
    pub fn latest(&self, pool: &str) -> Option<Arc<PoolEstimate>> {
        self.0.fold.lock().latest.get(pool).cloned()
    }

    /// What is known of all, by name.
    pub fn all(&self) -> Vec<Arc<PoolEstimate>> {
        self.0.fold.lock().latest.values().cloned().collect()
    }

    /// The pool of a balancer's group that a parameter such as `weight:GROUP/BACKEND` or `max_requests:GROUP` is about.
    pub fn pool_of(&self, member: &str, parameter: &str) -> Option<Arc<PoolEstimate>> {
        let (_, place) = parameter.split_once(':')?;
        let fold = self.0.fold.lock();
        let has = |one: &&Arc<PoolEstimate>| {
            is_of(&one.pool.group, place)
                && one.pool.members.iter().any(|known| known.id() == member)
        };
        fold.latest.values().filter(has).max_by_key(|one| one.pool.group.len()).cloned()
    }

    /// The pool that most of these balancers are in, each with a parameter of the group that is meant. Names of pools change; who is in them hardly does.
    pub fn pool_of_most<'a>(
        &self,
        members: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Option<Arc<PoolEstimate>> {
        let mut found: BTreeMap<u64, (usize, Arc<PoolEstimate>)> = BTreeMap::new();
        for (member, parameter) in members {
            if let Some(estimate) = self.pool_of(member, parameter) {
                found.entry(estimate.line).or_insert((0, estimate)).0 += 1;
            }
        }
        let most = found.into_iter().max_by_key(|(line, (count, _))| (*count, Reverse(*line)));
        most.map(|(_, (_, estimate))| estimate)
    }

    /// Changes at the end of each window.
    pub fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.closed.subscribe()
    }

    /// The length of a window, milliseconds.
    pub fn window_ms(&self) -> u64 {
        self.0.fold.lock().shadow.window_ms()
    }

    /// Takes over what became of an estimate's weights, so that the law goes on from what is in force.
    pub fn settle(&self, of: &PoolEstimate, verdict: &Verdict, now_ms: i64) {
        self.0.fold.lock().shadow.settle(of.line, verdict, now_ms);
    }

    /// What the law wants of a pool was not let through: it goes on from what is in force.
    pub fn held(&self, of: &PoolEstimate) {
        self.0.fold.lock().shadow.held(of.line);
    }

    /// Takes what a pool was before this process began.
    pub(super) fn recall(&self, of: &PoolEstimate, past: Past) {
        self.0.fold.lock().history.recall(&of.pool, of.line, past);
    }

    /// Windows of a balancer from `from_ms` on, by time, in the group that a parameter is about.
    pub fn member_past(&self, member: &str, parameter: &str, from_ms: i64) -> Vec<MemberWindow> {
        self.0.fold.lock().history.member(member, parameter, from_ms)
    }

    /// Windows of a pool from `from_ms` on, by time, also of the time when it was called otherwise.
    pub fn pool_past(&self, of: &PoolEstimate, from_ms: i64) -> Vec<PoolWindow> {
        self.0.fold.lock().history.pool(of.line, from_ms)
    }

    /// Takes the newest reports.
    pub fn take(&self, reports: &[Balancer]) {
        let mut fold = self.0.fold.lock();
        for one in reports {
            let key = (one.node.clone(), one.report.target.clone());
            let new = || (Sums::new(&one.report), one.received);
            let (sums, received) = fold.sums.entry(key).or_insert_with(new);
            sums.take(&one.report);
            *received = one.received;
        }
    }

    /// Ends the window that began at `start_ms`; `now` tells how old reports are.
    pub fn close(&self, loads: &dyn Loads, start_ms: i64, now: Instant) {
        let (words, hosts) = (loads.words(), loads.hosts());
        let mut fold = self.0.fold.lock();
        let fold = &mut *fold;
        fold.sums.retain(|_, (_, received)| now.saturating_duration_since(*received) < FORGET);
        let known = fold.sums.iter_mut().map(|((node, _), (sums, received))| {
            let (report, whole) = sums.close();
            let age = now.saturating_duration_since(*received).as_millis();
            let age_ms = u64::try_from(age).unwrap_or(u64::MAX);
            Known { node: node.clone(), machine: loads.machine(node), report, whole, age_ms }
        });
        let balancers: Vec<Known> = known.collect();
        let found = pools(&Inputs { balancers: &balancers, words: &words, hosts: &hosts });
        let lines = fold.lines.take(&found, start_ms);
        let estimates = fold.shadow.close(lines.into_iter().zip(found).collect(), start_ms);
        for estimate in &estimates {
            fold.history.take(&estimate.pool, estimate.line, estimate.past());
        }
        let long_ago = start_ms - FORGET.as_millis() as i64;
        fold.history.sweep(long_ago);
        fold.lines.sweep(long_ago);
        let by_name = estimates.into_iter().map(|one| (one.pool.name.clone(), one));
        fold.latest = by_name.collect();
        self.0.closed.send_modify(|count| *count += 1);
    }

    /// Folds what agents report until `ending`.
    pub async fn run(self, steering: Steering, loads: Arc<dyn Loads>, ending: CancellationToken) {
        let width = i64::try_from(self.window_ms()).unwrap_or(i64::MAX).max(1);
        let mut ticks = interval(POLL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut start_ms = now_ms() - now_ms().rem_euclid(width);
        loop {
            tokio::select! {
                () = ending.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.take(&steering.balancers().all());
            let now_ms = now_ms();
            if now_ms >= start_ms.saturating_add(width) {
                self.close(&*loads, start_ms, Instant::now());
                // After a pause of the process, windows that nobody saw are left out.
                start_ms = now_ms - now_ms.rem_euclid(width);
            }
        }
    }
}
