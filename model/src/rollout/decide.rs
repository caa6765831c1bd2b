//! One decision: what is due, then the event, then what follows from it.
//!
//! What is due comes first, so that an event that is too late meets the state that it came too late
//! for. That an agent has values in force is another matter: it is so already, and where nobody could
//! decide for a while it is heard before time limits are.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::control::BALANCERS;
use super::event::{Applied, Event, Judgement, Outcome, Verdict};
use super::ids::{Actor, RolloutId, SuggestionId, TargetId, Values};
use super::limits::Limits;
use super::plan::{Plan, Planned};
use super::policy::NodePolicy;
use super::proposal::Proposal;
use super::refusal::Refusal;
use super::state::{Phase, Rollout, State, SuggestionStatus, TargetBook};
use super::transition::{Cause, Move, Subject, Transition};

/// What to append to the journal, and what to do when that has succeeded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decision {
    /// In this order. Each stands alone: what is lost of the rest follows at the next tick.
    pub transitions: Vec<Transition>,
    /// Empty: nothing is to be done.
    pub actions: Vec<Action>,
}

/// Something to do in the world. All of it can be found again from the state.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Something else is wanted of a node: its agent has to get this.
    Offer(NodePolicy),
    /// Only a person can help.
    Tell {
        /// What it is about.
        subject: Subject,
        /// What to say.
        text: String,
    },
}

/// What follows from an event at a time. The state itself stays as it is: append the transitions,
/// then apply what the journal took.
///
/// # Errors
/// When a person's event may not happen now.
pub fn decide(
    state: &State,
    event: &Event,
    now_ms: i64,
    limits: &Limits,
) -> Result<Decision, Refusal> {
    let mut draft = Draft { state: Cow::Borrowed(state), now_ms, limits, transitions: Vec::new() };
    let is_done = |outcome: &Outcome| outcome.result == Applied::Applied;
    if !matches!(event, Event::Outcome(outcome) if is_done(outcome)) {
        draft.settle();
    }
    draft.event(event)?;
    draft.settle();
    Ok(draft.finish(state, event))
}

/// A state to try a decision on. It is copied when something is decided: most events decide nothing.
pub(super) struct Draft<'a> {
    pub(super) state: Cow<'a, State>,
    pub(super) now_ms: i64,
    limits: &'a Limits,
    transitions: Vec<Transition>,
}

impl Draft<'_> {
    /// Whether the move was made.
    pub(super) fn make(&mut self, what: Move, actor: Actor, reason: &str, inputs: Value) -> bool {
        let reason = reason.to_owned();
        let transition = Transition { at_ms: self.now_ms, actor, reason, inputs, what };
        let fits = self.state.to_mut().apply(&transition);
        debug_assert_eq!(fits, Ok(()), "a decided move fits");
        if fits.is_ok() {
            self.transitions.push(transition);
        } else {
            self.state.to_mut().sequence -= 1;
        }
        fits.is_ok()
    }

    fn settle(&mut self) {
        while let Some(due) = self.state.next_due(self.now_ms) {
            if !self.make(due.what, due.actor, &due.reason, Value::Null) {
                return;
            }
        }
    }

    fn finish(self, before: &State, event: &Event) -> Decision {
        if self.transitions.is_empty() && !matches!(event, Event::AgentBack { .. }) {
            return Decision::default();
        }
        let concerned = self.transitions.iter().flat_map(|made| self.state.concerned(&made.what));
        let mut nodes: Vec<String> = concerned
            .filter_map(|target| Some(self.state.target(&target)?.target.node.clone()))
            .collect();
        nodes.sort();
        nodes.dedup();
        nodes.retain(|node| self.state.policy(node).revision != before.policy(node).revision);
        if let Event::AgentBack { node } = event
            && !nodes.contains(node)
        {
            nodes.push(node.clone());
        }
        let offers = nodes.iter().map(|node| Action::Offer(self.state.policy(node)));
        let tells =
            self.transitions.iter().filter(|made| made.what.needs_a_person()).map(|made| {
                Action::Tell { subject: made.what.subject(), text: made.reason.clone() }
            });
        let actions = offers.chain(tells).collect();
        Decision { transitions: self.transitions, actions }
    }

    fn event(&mut self, event: &Event) -> Result<(), Refusal> {
        match event {
            Event::Tick | Event::AgentBack { .. } => {}
            Event::Proposed(proposal) => {
                self.new_proposal(proposal, Actor::part("advisor"), &proposal.title)?;
            }
            Event::ProposedBy { proposal, by, note } => {
                self.new_proposal(proposal, by.clone(), note)?;
            }
            Event::Confirmed { suggestion, by, note, in_force, absent, nodes_up } => {
                self.confirmed(suggestion, (by, note), in_force, (absent, *nodes_up))?;
            }
            Event::Rejected { suggestion, by, note } => {
                self.proposed(suggestion)?;
                let what = Move::Rejected { suggestion: suggestion.clone() };
                self.make(what, by.clone(), note, Value::Null);
            }
            Event::Outcome(outcome) => self.outcome(outcome),
            Event::Judged { rollout, revision, verdict, inputs } => {
                self.judged(rollout, *revision, verdict, inputs);
            }
            Event::HardStop { rollout, reason, inputs } => {
                let going = self.state.rollout(rollout).filter(|rollout| rollout.is_forward());
                if let Some(going) = going.cloned() {
                    let reason = format!("hard stop: {reason}");
                    let judge = Actor::part("judge");
                    self.restore(&going, Cause::HardStop, judge, &reason, inputs.clone());
                }
            }
            Event::AgentSilent { node, silent_ms } => self.silent(node, *silent_ms),
            Event::Pause { rollout, by, note } => self.pause(rollout, by, note)?,
            Event::Resume { rollout, by, note } => self.resume(rollout, by, note)?,
            Event::RollBack { rollout, by, note } => {
                let going = self.going(rollout)?.clone();
                let reason = format!("{} wants the old values back: {note}", by.name);
                self.restore(&going, Cause::Person, by.clone(), &reason, Value::Null);
            }
            Event::Push(push) => self.push(push),
            Event::Panic { rollout, reason, inputs } => self.panic(rollout, reason, inputs),
            Event::Freeze { pool, by, note } => self.freeze(pool, by, note)?,
            Event::Unfreeze { pool, by, note } => self.unfreeze(pool, by, note)?,
            Event::Kill { pool, by, note } => self.kill(pool, by, note)?,
            Event::Unlock { target, by, note } => {
                let unknown = || Refusal::UnknownTarget(target.clone());
                let book = self.state.target(target).ok_or_else(unknown)?;
                if !book.may_unlock() {
                    return Err(Refusal::NotLocked(target.clone()));
                }
                let what = Move::Unlocked { target: target.clone() };
                self.make(what, by.clone(), note, Value::Null);
            }
        }
        Ok(())
    }

    fn new_proposal(&mut self, of: &Proposal, by: Actor, reason: &str) -> Result<(), Refusal> {
        of.check()?;
        if self.state.suggestion(&of.id).is_some() {
            return Err(Refusal::Duplicate(of.id.clone()));
        }
        let expires_at_ms = self.now_ms.saturating_add(self.limits.suggestion_life_ms);
        let what = Move::Proposed { proposal: Box::new(of.clone()), expires_at_ms };
        self.make(what, by, reason, Value::Null);
        Ok(())
    }

    fn proposed(&self, id: &SuggestionId) -> Result<&super::state::Suggestion, Refusal> {
        let unknown = || Refusal::UnknownSuggestion(id.clone());
        let suggestion = self.state.suggestion(id).ok_or_else(unknown)?;
        if suggestion.status == SuggestionStatus::Proposed {
            return Ok(suggestion);
        }
        Err(Refusal::NotProposed { suggestion: id.clone(), status: suggestion.status })
    }

    /// A rollout that still goes forward.
    fn going(&self, id: &RolloutId) -> Result<&Rollout, Refusal> {
        let unknown = || Refusal::UnknownRollout(id.clone());
        let rollout = self.state.rollout(id).ok_or_else(unknown)?;
        if rollout.state.is_final() {
            return Err(Refusal::Over { rollout: id.clone(), state: rollout.state });
        }
        if rollout.is_forward() { Ok(rollout) } else { Err(Refusal::Restoring(id.clone())) }
    }

    fn confirmed(
        &mut self,
        id: &SuggestionId,
        (by, note): (&Actor, &str),
        in_force: &[(TargetId, Values)],
        (absent, nodes_up): (&[String], Option<usize>),
    ) -> Result<(), Refusal> {
        let proposal = &self.proposed(id)?.proposal;
        let plan = Plan::new(&id.rollout(), proposal, self.limits)?;
        for planned in &plan.members {
            let target = &planned.target.id;
            if absent.contains(&planned.target.node) {
                return Err(Refusal::AgentAbsent { node: planned.target.node.clone() });
            }
            for (_, values) in in_force.iter().filter(|(id, _)| id == target) {
                fresh(target, &planned.revert_to, values)?;
            }
            let Some(book) = self.state.target(target) else { continue };
            may_try(book, &proposal.kind, self.now_ms)?;
            self.uncontrolled(book, &planned.revert_to)?;
            if let Some(standing) = &book.standing {
                fresh(target, &planned.revert_to, &standing.values)?;
            }
            let offered = planned.steps.iter().chain([&planned.revert_to]);
            if let Some(values) = offered.into_iter().find(|v| book.rejected.contains(*v)) {
                let (target, values) = (target.clone(), values.clone());
                return Err(Refusal::RejectedBefore { target, values });
            }
        }
        self.room_for(&plan, &proposal.kind, nodes_up)?;
        let inputs = json!(in_force);
        let what = Move::Confirmed { suggestion: id.clone(), plan: Box::new(plan) };
        self.make(what, by.clone(), note, inputs);
        Ok(())
    }

    /// Whether its canary may be on trial besides what is. Where nothing is, it may be larger.
    fn room_for(&self, plan: &Plan, kind: &str, nodes_up: Option<usize>) -> Result<(), Refusal> {
        let Some(nodes_up) = nodes_up else { return Ok(()) };
        let going = self.state.rollouts().filter(|rollout| !rollout.state.is_final());
        let on_trial = going.flat_map(|rollout| {
            let members = rollout.plan.members.iter().zip(&rollout.members);
            let touched = members.filter(|(_, member)| member.is_touched());
            touched.map(|(planned, _)| one_of(&rollout.kind, planned))
        });
        let on_trial: BTreeSet<&str> = on_trial.collect();
        let canary = plan.waves.first().map_or(&[][..], |wave| &wave.members);
        let canary = canary.iter().map(|place| one_of(kind, &plan.members[*place]));
        let canary = canary.filter(|one| !on_trial.contains(one)).collect::<BTreeSet<_>>().len();
        let on_trial = on_trial.len();
        let most = self.limits.at_once(nodes_up);
        if on_trial == 0 || on_trial + canary <= most {
            return Ok(());
        }
        Err(Refusal::Crowded { on_trial, most })
    }

    pub(super) fn restore(
        &mut self,
        of: &Rollout,
        cause: Cause,
        by: Actor,
        reason: &str,
        inputs: Value,
    ) {
        let deadline_ms = self.now_ms.saturating_add(of.plan.limits.restore_ms);
        let what = Move::Restoring { rollout: of.id.clone(), cause, deadline_ms };
        self.make(what, by, reason, inputs);
    }

    fn silent(&mut self, node: &str, silent_ms: i64) {
        let touches = |rollout: &Rollout| {
            let mut members = rollout.plan.members.iter().zip(&rollout.members);
            rollout.is_forward()
                && silent_ms >= rollout.plan.limits.silent_ms
                && members
                    .any(|(planned, member)| planned.target.node == node && member.is_touched())
        };
        let hit: Vec<Rollout> = self.state.rollouts().filter(|r| touches(r)).cloned().collect();
        for rollout in hit {
            let reason = format!("the agent of {node} was not heard for {} s", silent_ms / 1_000);
            let inputs = json!({ "node": node, "silent_ms": silent_ms });
            self.restore(&rollout, Cause::Silent, Actor::part("rollout"), &reason, inputs);
        }
    }

    fn pause(&mut self, id: &RolloutId, by: &Actor, note: &str) -> Result<(), Refusal> {
        let rollout = self.going(id)?;
        if rollout.paused.is_some() {
            return Err(Refusal::Paused(id.clone()));
        }
        let until_ms = self.now_ms.saturating_add(rollout.plan.limits.pause_ms);
        let what = Move::Paused { rollout: id.clone(), until_ms, asks: false };
        self.make(what, by.clone(), note, Value::Null);
        Ok(())
    }

    fn resume(&mut self, id: &RolloutId, by: &Actor, note: &str) -> Result<(), Refusal> {
        let rollout = self.going(id)?;
        let Some(pause) = rollout.paused else { return Err(Refusal::NotPaused(id.clone())) };
        let paused_ms = self.now_ms.saturating_sub(pause.since_ms).max(0);
        let until_ms = match rollout.phase {
            Phase::Validating { .. } if pause.asks => {
                Some(self.now_ms.saturating_add(rollout.plan.limits.validate_max_ms))
            }
            Phase::Holding { until_ms, .. } | Phase::Validating { until_ms, .. } => {
                Some(until_ms.saturating_add(paused_ms))
            }
            _ => None,
        };
        let what = Move::Resumed { rollout: id.clone(), until_ms };
        self.make(what, by.clone(), note, Value::Null);
        Ok(())
    }

    fn judged(&mut self, id: &RolloutId, revision: u64, verdict: &Verdict, inputs: &Value) {
        let Some(rollout) = self.state.rollout(id).filter(|rollout| rollout.is_forward()) else {
            return;
        };
        let Some(step) = rollout.steps.last() else { return };
        let Phase::Validating { from_ms, .. } = rollout.phase else {
            if verdict.result == Judgement::Harm {
                self.record(id, verdict, inputs);
            }
            return;
        };
        let current = revision == step.revision;
        let news = match (verdict.result, rollout.last_verdict()) {
            (Judgement::Harm, _) => true,
            (_, Some(Judgement::Pass)) => false,
            (Judgement::Pass, _) => current && self.now_ms >= from_ms,
            (Judgement::Inconclusive, None) => current,
            (Judgement::Inconclusive, _) => {
                let last_ms = step.verdicts.last().map_or(0, |(at_ms, _)| *at_ms);
                let again = last_ms.saturating_add(rollout.plan.limits.record_again_ms());
                current && self.now_ms >= again
            }
        };
        if news {
            self.record(id, verdict, inputs);
        }
    }

    fn record(&mut self, id: &RolloutId, verdict: &Verdict, inputs: &Value) {
        let verdict = verdict.cleaned();
        let reason = verdict.reason.clone();
        let what = Move::Judged { rollout: id.clone(), verdict };
        self.make(what, Actor::part("judge"), &reason, inputs.clone());
    }
}

/// What counts as one on trial: a target, but all load balancers of a node together, since a share of
/// the nodes could else never hold a pool that is on few of them.
fn one_of<'a>(kind: &str, planned: &'a Planned) -> &'a str {
    let is_balancer = kind.starts_with(BALANCERS);
    if is_balancer { &planned.target.node } else { &planned.target.id.0 }
}

/// Whether the parameters are still as the suggestion assumes.
fn fresh(target: &TargetId, from: &Values, in_force: &Values) -> Result<(), Refusal> {
    let differs = from.iter().find_map(|(name, from)| {
        let found = in_force.get(name)?;
        (found != from).then(|| (name.clone(), from.clone(), found.clone()))
    });
    let Some((parameter, from, in_force)) = differs else { return Ok(()) };
    Err(Refusal::Stale { target: target.clone(), parameter, from, in_force })
}

/// Whether a target may be tried with a change of this kind.
fn may_try(book: &TargetBook, kind: &str, now_ms: i64) -> Result<(), Refusal> {
    let target = book.target.id.clone();
    if let Some(rollout) = book.held_by.clone() {
        return Err(Refusal::TargetBusy { target, rollout });
    }
    let attempts = book.attempts.get(kind).copied().unwrap_or_default();
    if book.broken || attempts.locked {
        return Err(Refusal::Locked { target });
    }
    if now_ms < attempts.cool_until_ms {
        let (failures, until_ms) = (attempts.failures, attempts.cool_until_ms);
        return Err(Refusal::CoolingDown { target, failures, until_ms });
    }
    if let Some(owed) = &book.owed {
        return Err(Refusal::TargetBusy { target, rollout: owed.rollout.clone() });
    }
    Ok(())
}
