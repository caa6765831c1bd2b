//! Looks for something to suggest: when asked, and from time to time by itself.

use std::sync::Arc;
use std::time::Duration;

use flyball_model::rollout::{
    Actor, Event, Limits, Proposal, Rollout, RolloutState, State, Suggestion, SuggestionId,
    SuggestionStatus, TargetId,
};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::balancers::PoolView;
use super::by_person::{self, Wish, WishError};
use super::draft::Details;
use super::past::Pasts;
use super::view::CacheView;
use super::{Advice, Context, Skipped, SuggestSettings, advise, balancers, gather, group, history};
use crate::balancers::watch::PoolWatch;
use crate::live::now_ms;
use crate::steer::driver::{DriveError, Driver, Foresight, JudgeSettings, View};
use crate::steer::watch::Steering;
use crate::store::{Store, StoreError};

/// Who confirms what goes without a person, as the journal names it.
pub(super) const AUTO: &str = "auto_confirm";
/// What it was computed from may be so old then, milliseconds.
const AUTO_FRESH_MS: i64 = 15 * 60_000;

/// What looks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Suggester {
    driver: Driver,
    steering: Steering,
    store: Store,
    pools: PoolWatch,
    settings: SuggestSettings,
    judge: JudgeSettings,
    /// Of new rollouts.
    limits: Limits,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// New suggestions, in the journal unless it was only tried.
    pub proposals: Vec<Proposal>,
    /// Why there are no others.
    pub skipped: Vec<Skipped>,
    /// Caches and pools that were looked at.
    pub looked_at: usize,
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Everything.
    All,
    /// Caches.
    Caches,
    /// Pools of load balancers.
    Balancers,
}

impl Scope {
    const fn has_caches(self) -> bool {
        matches!(self, Self::All | Self::Caches)
    }

    const fn has_pools(self) -> bool {
        matches!(self, Self::All | Self::Balancers)
    }
}

impl Found {
    fn add(&mut self, looked_at: usize, advice: Advice) {
        self.looked_at += looked_at;
        self.proposals.extend(advice.proposals);
        self.skipped.extend(advice.skipped);
    }
}

/// Why nothing was looked at.
#[derive(Debug, thiserror::Error)]
pub enum LookError {
    /// The target is not known here.
    #[error("no cache or pool {0} is known here")]
    NoSuchTarget(String),
    /// A person's wish is not one that can be proposed.
    #[error(transparent)]
    Wish(#[from] WishError),
    /// The traffic of caches cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is too little to compare it with.
    #[error("{0}")]
    TooEarly(String),
    /// The judge could not see its margin in the noise.
    #[error("{0}")]
    TooNoisy(String),
    /// The journal cannot be read, or did not take a suggestion.
    #[error(transparent)]
    Driver(#[from] DriveError),
}

impl Suggester {
    /// Looks with these settings.
    pub fn new(
        driver: &Driver,
        steering: &Steering,
        (store, pools): (&Store, &PoolWatch),
        settings: &SuggestSettings,
        (judge, limits): (&JudgeSettings, &Limits),
    ) -> Self {
        Self {
            driver: driver.clone(),
            steering: steering.clone(),
            store: store.clone(),
            pools: pools.clone(),
            settings: settings.clone(),
            judge: judge.clone(),
            limits: limits.clone(),
        }
    }

    /// Looks at all caches and pools, or at one. `dry`: nothing is written down.
    ///
    /// # Errors
    /// When what is needed for it cannot be read, or the journal takes nothing.
    pub async fn look(
        &self,
        scope: Scope,
        target: Option<&str>,
        dry: bool,
    ) -> Result<Found, LookError> {
        let view = self.driver.view();
        if !view.health.may_decide() {
            return Err(DriveError::Journal(view.health.describe()).into());
        }
        let now_ms = now_ms();
        let trials = history::trials(&view.state);
        let context = Context { now_ms, settings: &self.settings, trials: &trials };
        let mut found = Found::default();
        if scope.has_caches() {
            let views = gather::views(&self.steering, &self.store, &self.settings, now_ms).await?;
            let is_it = |view: &CacheView| target.is_none_or(|id| view.target().id.0 == id);
            let views: Vec<CacheView> = views.into_iter().filter(is_it).collect();
            found.add(views.len(), advise(&views, &context, &view.state));
        }
        if scope.has_pools() {
            let objective = self.settings.objective;
            let views = balancers::gather::views(&self.steering, &self.pools, objective);
            let is_it = |view: &PoolView| target.is_none_or(|id| view.target().id.0 == id);
            let views: Vec<PoolView> = views.into_iter().filter(is_it).collect();
            found.add(views.len(), balancers::advise(&views, &context, &view.state));
        }
        if let Some(target) = target.filter(|_| found.looked_at == 0) {
            return Err(LookError::NoSuchTarget(target.to_owned()));
        }
        if !found.proposals.is_empty() {
            let pasts = self.pasts(now_ms).await?;
            pasts.pass_over(&mut found.proposals, &mut found.skipped, &view.state);
            found.proposals = group::alike(found.proposals, view.state.sequence());
        }
        if !dry {
            self.propose(&mut found).await?;
            self.go_by_itself().await;
        }
        Ok(found)
    }

    /// Writes down what a person proposes for a target, or for several that then change in waves. Gives its id,
    /// and what the journal says afterwards.
    ///
    /// # Errors
    /// When one is not known here, it breaks a bound of one, or the journal does not take it.
    pub async fn wish(
        &self,
        targets: &[String],
        wish: &Wish,
        by: Actor,
    ) -> Result<(SuggestionId, Arc<View>), LookError> {
        let now_ms = now_ms();
        let view = self.driver.view();
        let mut proposals = Vec::new();
        for target in targets {
            let of = (target.as_str(), &view.state);
            let known =
                gather::known(&self.steering, &self.store, &self.settings, of, now_ms).await?;
            let known = known.ok_or_else(|| LookError::NoSuchTarget(target.clone()))?;
            let proposal = by_person::proposal(wish, &known, now_ms);
            proposals.push(proposal.map_err(|wrong| wrong.at(target, targets.len() > 1))?);
        }
        let joined = group::joined(proposals, now_ms.unsigned_abs());
        let mut proposal = joined.ok_or_else(|| LookError::NoSuchTarget(String::new()))?;
        if let Some(title) = &wish.title {
            proposal.title.clone_from(title);
        }
        let proposal = Box::new(proposal);
        let (id, note) = (proposal.id.clone(), wish.note.clone());
        let view = self.driver.person(Event::ProposedBy { proposal, by, note }).await?;
        Ok((id, view))
    }

    /// Whether a suggestion that waits for a decision could be judged if it were carried out now.
    ///
    /// # Errors
    /// When it could not, or what is known cannot be read.
    pub async fn check_past(&self, id: &SuggestionId) -> Result<(), LookError> {
        let view = self.driver.view();
        let Some(suggestion) = view.state.suggestion(id) else { return Ok(()) };
        if suggestion.status != SuggestionStatus::Proposed {
            return Ok(());
        }
        let (proposal, now_ms) = (&suggestion.proposal, now_ms());
        let pasts = self.pasts(now_ms).await?;
        if let Some(reason) = pasts.lacks(proposal, &view.state) {
            return Err(LookError::TooEarly(reason));
        }
        match self.noise(proposal, &view.state, now_ms).await? {
            Some(reason) => Err(LookError::TooNoisy(reason)),
            None => Ok(()),
        }
    }

    async fn pasts(&self, now_ms: i64) -> Result<Pasts, StoreError> {
        Pasts::read(&self.store, &self.pools, &self.judge, now_ms).await
    }

    /// What noise would hide from the judge, in words.
    async fn noise(
        &self,
        proposal: &Proposal,
        state: &State,
        now_ms: i64,
    ) -> Result<Option<String>, StoreError> {
        let is_by_hand = Details::of(proposal).is_some_and(|details| details.by_hand);
        // What balancers count is not read from the store.
        let of_balancers = balancers::is_of_balancers(&proposal.kind);
        if is_by_hand || of_balancers || !self.settings.check_power {
            return Ok(None);
        }
        let (limits, judge) = (&self.limits, &self.judge);
        let foresight = Foresight { store: &self.store, state, limits, judge, now_ms };
        foresight.lacks(proposal).await
    }

    /// Looks from time to time until `ending`.
    pub async fn run(self, ending: CancellationToken) {
        if self.settings.period_ms == 0 {
            return;
        }
        let mut ticks = interval(Duration::from_millis(self.settings.period_ms));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = ending.cancelled() => return,
            }
            match self.look(Scope::All, None, false).await {
                Ok(found) => {
                    let (suggested, caches) = (found.proposals.len(), found.looked_at);
                    tracing::debug!(suggested, caches, "looked for something to suggest");
                }
                Err(error) => tracing::debug!(%error, "nothing was looked for"),
            }
        }
    }

    /// Confirms what may go without a person. What may not go now is tried again at the next look.
    async fn go_by_itself(&self) {
        let view = self.driver.view();
        for suggestion in may_go(&view.state, &self.settings, now_ms()) {
            if self.check_past(&suggestion).await.is_err() {
                continue;
            }
            let (by, note) =
                (Actor::part(AUTO), "suggest.auto_confirm allows this kind".to_owned());
            let id = suggestion.clone();
            match self.driver.person(Event::confirmed(suggestion, by, note)).await {
                Ok(_) => tracing::info!(%id, "confirmed without a person"),
                Err(error) => tracing::debug!(%id, %error, "not confirmed without a person"),
            }
        }
    }

    /// Writes down what was found. What another one was first with is told as passed over.
    async fn propose(&self, found: &mut Found) -> Result<(), LookError> {
        if found.proposals.is_empty() {
            return Ok(());
        }
        let proposed = self.driver.propose(found.proposals.clone()).await?;
        for (id, reason) in &proposed.refused {
            let proposal = found.proposals.iter().find(|proposal| proposal.id == *id);
            let Some(proposal) = proposal else { continue };
            found.skipped.push(Skipped {
                target: proposal.target.id.0.clone(),
                kind: proposal.kind.clone(),
                reason: reason.clone(),
            });
        }
        found.proposals.retain(|proposal| proposed.taken.contains(&proposal.id));
        for proposal in &found.proposals {
            tracing::info!(id = %proposal.id, kind = proposal.kind, title = proposal.title, "suggested");
        }
        Ok(())
    }
}

/// Whether an advisor has proposed it, and an agent can carry it out.
fn of_advisor(suggestion: &Suggestion) -> Option<Details> {
    let details = Details::of(&suggestion.proposal);
    details.filter(|details| !details.by_hand && details.proposed_by.is_empty())
}

/// Suggestions of advisors that wait and may go without a person: of a kind that may, of no higher risk,
/// made lately, and where enough that persons had confirmed was promoted before. A change that did not
/// stay, or values that another hand replaced, end that trust: it has to be earned anew, by one at least.
pub(super) fn may_go(state: &State, settings: &SuggestSettings, now_ms: i64) -> Vec<SuggestionId> {
    let enough = |(kind, record): (&str, &str), target: &TargetId| {
        let setback_ms = setback(state, kind, target);
        let needed = settings.auto_confirm_after.max(u32::from(setback_ms.is_some()));
        earned(state, (kind, record), target, setback_ms) >= needed as usize
    };
    let may = |suggestion: &&Suggestion| {
        let proposal = &suggestion.proposal;
        let Some(details) = of_advisor(suggestion) else { return false };
        let kinds = (proposal.kind.as_str(), details.counts_as(&proposal.kind));
        suggestion.status == SuggestionStatus::Proposed
            && settings.auto_confirm.contains(&proposal.kind)
            && details.risk.level <= settings.auto_confirm_risk
            && now_ms.saturating_sub(suggestion.created_at_ms) <= AUTO_FRESH_MS
            && proposal.members.iter().all(|m| enough(kinds, &m.target.id))
    };
    state.suggestions().filter(may).map(|found| found.proposal.id.clone()).collect()
}

/// When a change of this kind last did not stay at a target, or Flyball let go of its values.
fn setback(state: &State, kind: &str, target: &TargetId) -> Option<i64> {
    let failed = of_kind(state, kind, target)
        .filter(|rollout| rollout.state != RolloutState::Promoted)
        .filter_map(|rollout| rollout.ended_at_ms);
    failed.chain(state.target(target).and_then(|book| book.released_at_ms)).max()
}

/// Suggestions of advisors, of the same record, that persons have confirmed for a target and that were
/// promoted after a time.
fn earned(
    state: &State,
    (kind, record): (&str, &str),
    target: &TargetId,
    after_ms: Option<i64>,
) -> usize {
    let by_person = |rollout: &Rollout| {
        let suggestion = state.suggestion(&rollout.suggestion)?;
        let (who, ..) = suggestion.decided.as_ref()?;
        of_advisor(suggestion).filter(|d| who.name != AUTO && d.counts_as(kind) == record)
    };
    let is_it = |rollout: &&Rollout| {
        rollout.state == RolloutState::Promoted
            && rollout.ended_at_ms > after_ms
            && by_person(rollout).is_some()
    };
    of_kind(state, kind, target).filter(is_it).count()
}

/// Rollouts of a kind at a target.
fn of_kind<'a>(
    state: &'a State,
    kind: &'a str,
    target: &'a TargetId,
) -> impl Iterator<Item = &'a Rollout> {
    state.rollouts().filter(move |rollout| rollout.kind == kind && rollout.place(target).is_some())
}
