//! Measures and judges beside the driver's task, so that nothing else waits for a store that is slow.
//!
//! At most one look at a rollout is under way, and few in all; the others wait their turn, those that
//! were looked at longest ago first. One that takes too long is given up and begun anew a window
//! later. What a look says comes back as an event: the driver decides on it as on any other, by the
//! state of then.

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use flyball_model::judge::{Verdict, judge};
use flyball_model::rollout::{Event, Prediction, Rollout, RolloutId};
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, timeout};

use super::balancers::{Sight, judged};
use super::measure::{Predictions, measure};
use super::settings::JudgeSettings;
use super::trial::{inputs, trial};
use super::words::verdict_of;
use crate::steer::watch::{Judged, SteeringMetrics};
use crate::store::Store;
use crate::suggest::balancers::is_of_balancers;

/// Looks that may be under way.
const MOST: usize = 4;
/// Longest time of one look.
const LONGEST: Duration = Duration::from_secs(30);

/// The looks that are under way. They end when it is dropped.
#[derive(Debug)]
pub(super) struct Judging {
    looks: JoinSet<Option<Event>>,
    of: BTreeMap<Id, RolloutId>,
    begun: BTreeMap<RolloutId, Instant>,
    metrics: SteeringMetrics,
}

/// What one look needs.
#[derive(Debug)]
pub(super) struct Look {
    pub(super) store: Store,
    pub(super) rollout: Rollout,
    pub(super) prediction: Prediction,
    /// What agents said the old setting would do, of the targets that are judged.
    pub(super) predictions: Arc<Predictions>,
    pub(super) settings: JudgeSettings,
    /// What balancers counted, of a rollout at balancers.
    pub(super) sight: Option<Sight>,
    /// Since when nothing else has changed the targets, and the present, epoch milliseconds.
    pub(super) times: (i64, i64),
}

impl Judging {
    pub(super) fn new(metrics: SteeringMetrics) -> Self {
        Self { looks: JoinSet::new(), of: BTreeMap::new(), begun: BTreeMap::new(), metrics }
    }

    /// Forgets all rollouts but these.
    pub(super) fn keep(&mut self, going: &[RolloutId]) {
        self.begun.retain(|id, _| going.contains(id));
    }

    /// Those that are to be looked at now, the one that was looked at longest ago first. One that was
    /// begun within `period` or is under way is not among them.
    pub(super) fn due<'a>(
        &self,
        rollouts: impl Iterator<Item = &'a Rollout>,
        now: Instant,
        period: Duration,
    ) -> Vec<&'a Rollout> {
        let room = MOST.saturating_sub(self.of.len());
        let begun = |rollout: &Rollout| self.begun.get(&rollout.id).copied();
        let mut due: Vec<&Rollout> = rollouts
            .filter(|rollout| begun(rollout).is_none_or(|begun| now >= begun + period))
            .filter(|rollout| self.of.values().all(|id| *id != rollout.id))
            .collect();
        due.sort_by_key(|rollout| begun(rollout));
        if due.len() > room {
            self.metrics.judged(Judged::Postponed, (due.len() - room) as u64);
            due.truncate(room);
        }
        due
    }

    /// Begins a look.
    pub(super) fn begin(&mut self, look: Look) {
        let id = look.rollout.id.clone();
        self.begun.insert(id.clone(), Instant::now());
        let metrics = self.metrics.clone();
        self.run(id, async move { within(LONGEST, look.take(), &metrics).await });
    }

    fn run(&mut self, id: RolloutId, look: impl Future<Output = Option<Event>> + Send + 'static) {
        let task = self.looks.spawn(look);
        self.of.insert(task.id(), id);
    }

    /// What the next look that ends says. Nothing is lost when it is not waited for to the end.
    pub(super) async fn next(&mut self) -> Option<Event> {
        let (id, event) = match self.looks.join_next_with_id().await {
            Some(Ok(ended)) => ended,
            Some(Err(error)) => {
                tracing::error!(%error, "a look at a rollout has failed");
                self.metrics.judged(Judged::Failed, 1);
                (error.id(), None)
            }
            None => pending().await,
        };
        self.of.remove(&id);
        event
    }
}

/// What a look says, unless it takes too long.
async fn within(
    longest: Duration,
    look: impl Future<Output = Result<Option<Event>, String>>,
    metrics: &SteeringMetrics,
) -> Option<Event> {
    let (how, event) = match timeout(longest, look).await {
        Ok(Ok(event)) => (Judged::Judged, event),
        Ok(Err(error)) => {
            tracing::warn!(error, "what is to be judged cannot be read");
            (Judged::Failed, None)
        }
        Err(_) => {
            tracing::warn!(?longest, "reading what is to be judged takes too long");
            (Judged::TimedOut, None)
        }
    };
    metrics.judged(how, 1);
    event
}

impl Look {
    async fn take(self) -> Result<Option<Event>, String> {
        let Self { store, rollout, prediction, predictions, settings, sight, times } = self;
        let told = |verdict: &Verdict, inputs| Event::Judged {
            rollout: rollout.id.clone(),
            revision: rollout.revision(),
            verdict: verdict_of(verdict),
            inputs,
        };
        if is_of_balancers(&rollout.kind) {
            let sight = sight.ok_or_else(|| format!("{}: its pool is not known", rollout.id))?;
            let judged = judged(&rollout, &sight, &settings, times.1);
            return Ok(judged.map(|(verdict, inputs)| told(&verdict, inputs)));
        }
        let measured = measure(&store, &rollout, &predictions, &settings, times).await;
        let measured = measured.map_err(|error| format!("{}: {error}", rollout.id))?;
        let trial = trial(&rollout, &prediction, &measured, &settings);
        Ok(trial.map(|trial| told(&judge(&trial, times.1), inputs(&trial))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> RolloutId {
        RolloutId(format!("r-{number}"))
    }

    #[tokio::test]
    async fn a_look_that_takes_too_long_is_given_up_and_counted() {
        let metrics = SteeringMetrics::default();
        let mut judging = Judging::new(metrics.clone());
        let counted = metrics.clone();
        judging
            .run(id(1), async move { within(Duration::from_millis(1), pending(), &counted).await });
        assert_eq!(judging.next().await, None);
        assert!(judging.of.is_empty(), "it may be begun anew");
        assert_eq!(metrics.looks(Judged::TimedOut), 1);
    }

    #[tokio::test]
    async fn what_a_look_says_is_an_event_and_one_that_panics_harms_nobody() {
        let mut judging = Judging::new(SteeringMetrics::default());
        judging.run(id(1), async { Some(Event::Tick) });
        assert_eq!(judging.next().await, Some(Event::Tick));
        judging.run(id(2), async { panic!("a defect") });
        assert_eq!(judging.next().await, None);
        assert!(judging.of.is_empty());
        assert_eq!(judging.metrics.looks(Judged::Failed), 1);
    }
}
