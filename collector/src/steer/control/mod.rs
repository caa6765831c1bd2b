//! Standing control of pools: after each window of traffic new weights are pushed where the [law](flyball_model::balance::law) wants them and the
//! [safety envelope](flyball_model::balance::envelope) and what was confirmed let them through.
//!
//! ```text
//! PoolWatch -- window ends --> law's outcome --> envelope --> Event::Push --> journal --> policies --> agents
//!                                                  |                                                    |
//!                                                  +-- panic --> Event::Panic (frozen)      outcomes ---+--> Records
//! ```
//!
//! Every collector does it for every pool, and only the machine decides whose push counts: a collector that hears no majority of a pool's balancers is refused, and of two
//! that push the same window the journal takes one, after which the other one's windows are too old. After a start nothing is pushed until three windows were measured:
//! that is the envelope's warm-up, since the law's state is of this process. What is held back, by whomever, is told to the law, which then goes on from what is in force.
//!
//! A balancer that cannot be told (another rollout is under way there, its step would be too large, its agent has refused these weights) is left out and the others go on. It
//! gets what the others have when it may, in steps as large as one push may be. Nothing is kept here but what was pushed lately.

mod metrics;
mod records;
mod step;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use flyball_model::rollout::{Control, Controlled, Held, RolloutId, TargetId};
use parking_lot::Mutex;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

pub use self::metrics::ControlMetrics;
use self::records::Records;
pub use self::records::{Confirmation, PushRecord};
use self::step::{LeftOut, Pushing, Step, Weights, step};
use super::driver::{DriveError, Driver, Pushed};
use super::watch::{AgentEvent, Steering};
use crate::balancers::shadow::PoolEstimate;
use crate::balancers::watch::PoolWatch;
use crate::live::now_ms;

/// A handle on what was pushed lately. Cheap to clone; all clones are the same.
#[derive(Debug, Clone)]
pub struct Controls(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    driver: Driver,
    steering: Steering,
    pools: PoolWatch,
    metrics: ControlMetrics,
    records: Mutex<BTreeMap<RolloutId, Records>>,
}

/// How control of a pool gets on here.
#[derive(Debug, Clone, Default)]
pub struct Glance {
    /// The newest pushes, the newest first.
    pub pushes: Vec<PushRecord>,
    /// Why this collector has pushed nothing after the last window, or whom it left out; empty when all were told.
    pub waits: String,
    /// Balancers whose agents this collector hears.
    pub heard: usize,
}

impl Controls {
    /// Controls what the driver's journal says is to be controlled.
    pub fn new(
        driver: Driver,
        steering: Steering,
        pools: PoolWatch,
        metrics: ControlMetrics,
    ) -> Self {
        let records = Mutex::default();
        Self(Arc::new(Inner { driver, steering, pools, metrics, records }))
    }

    /// How control that a rollout began gets on here.
    pub fn glance(&self, control: &Control) -> Glance {
        let heard = self.heard(control).len();
        let records = self.0.records.lock();
        let known = records.get(&control.rollout);
        known.map_or_else(Glance::default, |known| Glance {
            pushes: known.newest_first(),
            waits: known.waits.clone(),
            heard,
        })
    }

    /// Until `ending`.
    pub async fn run(self, ending: CancellationToken) {
        let mut windows = self.0.pools.subscribe();
        let mut views = self.0.driver.changes();
        let mut agents = self.0.steering.agents().subscribe();
        loop {
            tokio::select! {
                biased;
                () = ending.cancelled() => return,
                changed = views.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.look(None);
                }
                event = agents.recv() => match event {
                    Ok(AgentEvent::Outcome(..)) | Err(RecvError::Lagged(_)) => self.confirm(),
                    Ok(_) => {}
                    Err(RecvError::Closed) => return,
                },
                changed = windows.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    self.window().await;
                }
            }
        }
    }

    fn heard(&self, control: &Control) -> Vec<TargetId> {
        let is_heard = |node: &str| {
            let name = flyball_proto::series::NodeName::new(node).ok();
            let agent = name.and_then(|name| self.0.steering.agents().get(&name));
            agent.is_some_and(|agent| agent.is_connected)
        };
        let heard = control.standing().filter(|member| is_heard(&member.target.node));
        heard.map(|member| member.target.id.clone()).collect()
    }

    /// Takes note of pushes that the journal has, whoever's they are, and forgets what has ended.
    fn look(&self, own: Option<(&RolloutId, Instant)>) {
        let view = self.0.driver.view();
        let mut records = self.0.records.lock();
        records.retain(|id, _| view.state.control(id).is_some());
        let (mut running, mut frozen) = (0, 0);
        for control in view.state.controls() {
            match control.status() {
                "running" => running += 1,
                "frozen" => frozen += 1,
                _ => {}
            }
            let left_at = own.filter(|(id, _)| **id == control.rollout).map(|(_, at)| at);
            let known = records.entry(control.rollout.clone()).or_default();
            if known.note(control, left_at.unwrap_or_else(Instant::now)) {
                self.0.metrics.pushed(left_at.is_some());
            }
        }
        self.0.metrics.states(running, frozen);
        drop(records);
        self.confirm();
    }

    /// Takes note of what agents have read back.
    fn confirm(&self) {
        let mut records = self.0.records.lock();
        for known in records.values_mut() {
            known.confirm(self.0.steering.agents(), &self.0.metrics);
        }
    }

    /// Steps every pool that is under control.
    async fn window(&self) {
        let view = self.0.driver.view();
        let may_decide = view.health.may_decide();
        for control in view.state.controls().filter(|control| !control.is_over()) {
            let Some(estimate) = self.estimate(control) else {
                self.0.metrics.held("unknown");
                self.waits(control, "none of its balancers reports to this collector".to_owned());
                continue;
            };
            if !may_decide || control.status() != "running" {
                // The law goes on from what is in force when it may push again.
                self.0.pools.held(&estimate);
                continue;
            }
            let waits = self.one(control, &estimate).await;
            self.waits(control, waits);
        }
    }

    /// The pool is that of the balancers that are under control, whatever it is called by now.
    fn estimate(&self, control: &Control) -> Option<Arc<PoolEstimate>> {
        let member = |member: &'_ Controlled| {
            let parameter = member.values.keys().next()?;
            Some((member.target.id.0.clone(), parameter.clone()))
        };
        let members: Vec<(String, String)> = control.standing().filter_map(member).collect();
        self.0.pools.pool_of_most(members.iter().map(|(id, name)| (id.as_str(), name.as_str())))
    }

    fn waits(&self, control: &Control, waits: String) {
        self.0.records.lock().entry(control.rollout.clone()).or_default().waits = waits;
    }

    /// Why nothing was pushed, or who was left out; empty when all were told.
    async fn one(&self, control: &Control, estimate: &PoolEstimate) -> String {
        let aim = self.0.records.lock().get(&control.rollout).and_then(|own| own.aim(control));
        match step(control, estimate, self.heard(control), aim.as_ref()) {
            Step::Wait { kind, why, is_restrained } => {
                self.0.metrics.held(kind);
                if is_restrained {
                    self.0.pools.held(estimate);
                }
                why
            }
            Step::Panic { reason, inputs } => {
                self.0.metrics.held("panic");
                self.0.pools.held(estimate);
                let done =
                    self.0.driver.panic(control.rollout.clone(), reason.clone(), inputs).await;
                if let Err(error) = done {
                    tracing::warn!(%error, pool = control.pool.name, "control was not frozen");
                }
                reason
            }
            Step::Push(pushing) => self.push(*pushing, estimate).await,
        }
    }

    async fn push(&self, pushing: Pushing, estimate: &PoolEstimate) -> String {
        let Pushing { push, verdict, aim, mut left_out } = pushing;
        let (id, begun) = (push.rollout.clone(), Instant::now());
        let done = self.0.driver.push(push).await;
        if !matches!(done, Ok(Pushed::Done { .. })) && verdict.is_some() {
            self.0.pools.held(estimate);
        }
        match done {
            Ok(Pushed::Done { left_at, left_out: held }) => {
                self.0.metrics.appended(begun, left_at);
                if let Some(verdict) = verdict {
                    self.0.pools.settle(estimate, &verdict, now_ms());
                }
                self.look(Some((&id, left_at)));
                self.aims(&id, aim);
                left_out.extend(
                    held.iter().map(|held| LeftOut { kind: kind_of(held), why: held.to_string() }),
                );
                for one in &left_out {
                    self.0.metrics.left_out(one.kind);
                }
                let all: Vec<String> = left_out.into_iter().map(|one| one.why).collect();
                if all.is_empty() { String::new() } else { format!("left out: {}", all.join("; ")) }
            }
            Ok(Pushed::Held(held)) => {
                self.0.metrics.held(kind_of(&held));
                held.to_string()
            }
            Err(error) => self.failed(&error),
        }
    }

    /// Remembers what all are to have since the newest push.
    fn aims(&self, id: &RolloutId, aim: Weights) {
        let view = self.0.driver.view();
        let last = view.state.control(id).and_then(|control| control.last);
        let mut records = self.0.records.lock();
        if let Some((last, own)) = last.zip(records.get_mut(id)) {
            own.aim = Some((last.sequence, aim));
        }
    }

    fn failed(&self, error: &DriveError) -> String {
        self.0.metrics.held("journal");
        tracing::warn!(%error, "a push was not taken");
        error.to_string()
    }
}

/// In one word.
fn kind_of(held: &Held) -> &'static str {
    match held {
        Held::Unknown | Held::NotThere(_) => "unknown",
        Held::Frozen(_) => "frozen",
        Held::Old { .. } => "old",
        Held::TooSoon(_) => "too_soon",
        Held::Minority { .. } => "minority",
        Held::Busy(_) => "busy",
        Held::Outside { .. } => "outside",
        Held::Shift { .. } => "shift",
        Held::Rejected(_) => "rejected",
        Held::Same => "same",
    }
}
