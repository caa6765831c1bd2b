//! A world to run the machine in: events go through `decide` and the journal, and after each row
//! all properties are checked against what the world itself has noted.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::super::*;
use super::control;
use crate::journal::{Log, Row};

pub(super) const DAY: i64 = 24 * 3_600_000;

/// Machine, from, to, move.
pub(super) type Edges = BTreeSet<(&'static str, String, String, &'static str)>;

/// A parameter that another kind of change is of.
pub(super) const SAMPLES: &str = "maxmemory-samples";

/// Parameters of control.
pub(super) const A: &str = "weight:web/a";
pub(super) const B: &str = "weight:web/b";

/// Every world begins at this time.
pub(super) const START: i64 = 1_700_000_000_000;

pub(super) fn target(n: usize) -> Target {
    Target {
        id: TargetId(format!("node-{n}/redis/main")),
        node: format!("node-{n}"),
        kind: "redis".into(),
        name: "main".into(),
    }
}

pub(super) fn values(maxmemory: u64) -> Values {
    Values::from([("maxmemory".to_owned(), maxmemory.to_string())])
}

pub(super) fn maxmemory(from: u64, to: u64) -> Change {
    let bound = Bound::Number {
        min: 50,
        max: 10_000,
        largest_growth: 2.0,
        largest_shrink: 0.1,
        always: 0,
        zero_is: None,
    };
    let (from, to) = (from.to_string(), to.to_string());
    Change { parameter: "maxmemory".into(), from, to, unit: "bytes".into(), bound }
}

/// The same change of another parameter.
pub(super) fn of_samples(mut proposal: Proposal) -> Proposal {
    proposal.kind = "cache.eviction_policy".into();
    for member in &mut proposal.members {
        member.change[0].parameter = SAMPLES.into();
    }
    proposal
}

/// A change of the weights of two backends instead: the first one's goes from and to the same values, the
/// other's a little down.
pub(super) fn of_weights(mut proposal: Proposal) -> Proposal {
    proposal.kind = CONTROLLED.into();
    for member in &mut proposal.members {
        let a = Change { parameter: A.into(), unit: "weight".into(), ..member.change[0].clone() };
        let b = Change { parameter: B.into(), unit: "weight".into(), ..maxmemory(200, 190) };
        member.change = vec![a, b];
    }
    proposal
}

pub(super) fn weights(a: u64, b: u64) -> Values {
    Values::from([(A.to_owned(), a.to_string()), (B.to_owned(), b.to_string())])
}

/// The pool that a proposal for these targets is about.
pub(super) fn pool(targets: &[usize]) -> TargetId {
    proposal("s", targets, 1, 2).target.id
}

pub(super) fn samples(value: u64) -> Values {
    Values::from([(SAMPLES.to_owned(), value.to_string())])
}

pub(super) fn proposal(id: &str, targets: &[usize], from: u64, to: u64) -> Proposal {
    let group = Target {
        id: TargetId("group/redis".into()),
        node: String::new(),
        kind: "redis".into(),
        name: "all".into(),
    };
    let candidate = |&n: &usize| Candidate {
        target: target(n),
        change: vec![maxmemory(from, to)],
        size: from as f64 + n as f64,
        traffic: 1_000.0 * n as f64,
    };
    Proposal {
        id: SuggestionId(id.to_owned()),
        kind: "cache.size".into(),
        target: if let [one] = targets { target(*one) } else { group },
        title: format!("set maxmemory to {to}"),
        members: targets.iter().map(candidate).collect(),
        prediction: Prediction {
            metric: "redis.hit_ratio".into(),
            before: 0.1 + 0.2,
            after: 0.9,
            low: 0.85,
            high: 0.95,
            unit: "ratio".into(),
            confidence: 0.9,
        },
        undo: "the old value is set again".into(),
        details: json!({ "evidence": [], "value": 0.1 + 0.7 }),
    }
}

pub(super) fn verdict(result: Judgement) -> Verdict {
    let interval = |value: f64| Some(Interval { value, low: value - 0.1, high: value + 0.1 });
    Verdict {
        result,
        metric: "redis.hit_ratio".into(),
        expected: interval(0.9),
        observed: interval(0.1 * 3.0),
        samples: 1_234,
        reason: format!("it is {}", result.name()),
    }
}

pub(super) fn ana() -> Actor {
    Actor { name: "ana".into(), address: "127.0.0.1".into() }
}

#[derive(Clone)]
pub(super) struct World {
    pub(super) log: Log,
    pub(super) rows: Vec<Row>,
    pub(super) now: i64,
    pub(super) limits: Limits,
    /// What each agent rejected, as the world knows it.
    rejected: BTreeSet<(TargetId, Values)>,
    /// What a rollout offered last.
    offered: BTreeMap<(TargetId, RolloutId), Values>,
    /// What an agent read back last when it knew the newest policy.
    shown: BTreeMap<TargetId, Values>,
    /// Every edge that was seen: machine, from, to, move.
    pub(super) edges: Edges,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            log: Log::default(),
            rows: Vec::new(),
            now: START,
            limits: Limits::default(),
            rejected: BTreeSet::new(),
            offered: BTreeMap::new(),
            shown: BTreeMap::new(),
            edges: BTreeSet::new(),
        }
    }

    pub(super) fn state(&self) -> &State {
        self.log.state()
    }

    /// Decides and appends, and checks everything.
    pub(super) fn event(&mut self, event: &Event) -> Result<Decision, Refusal> {
        let decided = decide(self.state(), event, self.now, &self.limits);
        let rejected = self.note(event);
        let Ok(decision) = &decided else {
            self.tick();
            return decided;
        };
        let before = self.log.clone();
        for made in &decision.transitions {
            self.append(made);
        }
        if let Event::Unlock { target, .. } = event {
            self.rejected.retain(|(id, _)| id != target);
        }
        // Only now: what was due before the event came was offered before it.
        self.rejected.extend(rejected);
        self.nodes_offer_nothing_rejected();
        self.check_offers(decision, event, &before);
        self.check_restarts(decision, event, &before);
        decided
    }

    pub(super) fn ok(&mut self, event: &Event) -> Decision {
        self.event(event).unwrap()
    }

    pub(super) fn tick(&mut self) -> Decision {
        self.ok(&Event::Tick)
    }

    /// Lets so much time pass.
    pub(super) fn wait(&mut self, ms: i64) -> Decision {
        self.now += ms;
        self.tick()
    }

    /// Notes what the agent has in force; what it rejects.
    fn note(&mut self, event: &Event) -> Option<(TargetId, Values)> {
        let Event::Outcome(outcome) = event else { return None };
        let books = self.state().targets();
        let found = books.filter(|book| book.target.node == outcome.node);
        let is_it = |book: &&TargetBook| {
            (&book.target.kind, &book.target.name) == (&outcome.kind, &outcome.name)
        };
        let book = found.into_iter().find(is_it)?.clone();
        let (id, part) = (book.target.id.clone(), self.state().wanted(&book.target.id)?);
        if outcome.revision < book.revision {
            return None;
        }
        let is_of_holder = book.held_by.as_ref().is_none_or(|held_by| *held_by == part.rollout);
        if is_of_holder {
            self.shown.insert(id.clone(), outcome.in_force.clone());
        }
        let standing = book.standing.as_ref().filter(|s| s.rollout != part.rollout);
        let standing = standing.map(|standing| standing.values.clone()).unwrap_or_default();
        let is_as_promoted = |(name, value): (&String, &String)| {
            outcome.in_force.get(name).is_none_or(|found| found == value)
        };
        let rejects = matches!(outcome.result, Applied::Rejected(_))
            && part.rollout == outcome.rollout
            && is_of_holder
            && standing.iter().all(is_as_promoted)
            && !outcome.shows(&part.values);
        let mut values = part.values;
        values.retain(|name, _| !standing.contains_key(name));
        rejects.then_some((id, values))
    }

    fn nodes_offer_nothing_rejected(&self) {
        for node in self.state().nodes() {
            for part in self.state().policy(node).parts {
                let what = (part.target.id.clone(), self.own(&part));
                assert!(!self.rejected.contains(&what), "(g) {what:?}");
            }
        }
    }

    /// What is wanted of a target but for what was promoted before.
    fn own(&self, part: &Part) -> Values {
        let book = self.state().target(&part.target.id).unwrap();
        let standing = book.standing.as_ref().filter(|s| s.rollout != part.rollout);
        let mut values = part.values.clone();
        values.retain(|name, _| standing.is_none_or(|s| !s.values.contains_key(name)));
        values
    }

    /// Notes that an agent has these values in force.
    pub(super) fn shown(&mut self, n: usize, values: Values) {
        self.shown.insert(target(n).id, values);
    }

    pub(super) fn append(&mut self, made: &Transition) {
        let before = self.state().clone();
        let row = self.log.row(made).unwrap();
        assert_eq!(Transition::try_from(&row).as_ref(), Ok(made), "a row is its transition");
        assert_eq!(self.log.admit(&row), Ok(None));
        self.rows.push(row);
        self.edge(&before, made);
        self.check(&before, made);
    }

    fn edge(&mut self, before: &State, made: &Transition) {
        let after = self.log.state();
        if let Move::Confirmed { plan, .. } = &made.what {
            for planned in &plan.members {
                let book = before.target(&planned.target.id);
                let from = book.map_or("free", |book| book.status(self.now)).to_owned();
                self.edges.insert(("target", from, "busy".to_owned(), "confirmed"));
            }
        }
        for control in after.controls() {
            let from = before.control(&control.rollout).map_or("", Control::status);
            let is_own = matches!(
                &made.what,
                Move::Pushed { rollout, .. } | Move::Froze { rollout, .. } if *rollout == control.rollout
            );
            let old = before.control(&control.rollout);
            if is_own || old != Some(control) && !matches!(made.what, Move::Freed { .. }) {
                let to = control.status().to_owned();
                self.edges.insert(("control", from.to_owned(), to, made.what.name()));
            }
        }
        if let Move::Pushed { .. }
        | Move::Froze { .. }
        | Move::Unfroze { .. }
        | Move::Killed { .. } = made.what
        {
            return;
        }
        let text = |name: Option<&'static str>| name.unwrap_or("").to_owned();
        let (machine, from, to) = match made.what.subject() {
            Subject::Suggestion(id) => {
                let name = |state: &State| text(state.suggestion(&id).map(|s| s.status.name()));
                ("suggestion", name(before), name(after))
            }
            Subject::Rollout(id) => {
                let name = |state: &State| text(state.rollout(&id).map(Rollout::node));
                ("rollout", name(before), name(after))
            }
            Subject::Target(id) => {
                let name = |s: &State| text(s.target(&id).map(|book| book.status(self.now)));
                ("target", name(before), name(after))
            }
        };
        self.edges.insert((machine, from, to, made.what.name()));
    }

    /// The properties of the module that hold in every state.
    fn check(&mut self, before: &State, made: &Transition) {
        control::check(before, made, self.log.state(), &self.shown);
        let state = self.log.state().clone();
        let mut holders: BTreeMap<&TargetId, usize> = BTreeMap::new();
        for rollout in state.rollouts() {
            for planned in &rollout.plan.members {
                *holders.entry(&planned.target.id).or_default() +=
                    usize::from(!rollout.state.is_final());
            }
            self.check_rollout(&state, before, rollout);
        }
        assert!(holders.values().all(|n| *n <= 1), "(a) {holders:?}");
        for old in before.suggestions().filter(|old| old.status != SuggestionStatus::Proposed) {
            assert_eq!(state.suggestion(&old.proposal.id), Some(old), "(c)");
        }
        for book in state.targets() {
            for attempts in book.attempts.values() {
                assert!(attempts.failures <= self.limits.attempts, "(d) {attempts:?}");
                let must = attempts.failures == self.limits.attempts;
                assert!(!must || attempts.locked, "(d) {attempts:?}");
            }
        }
        let nodes: BTreeSet<&str> = state.nodes().chain(before.nodes()).collect();
        for node in nodes {
            let (old, new) = (before.policy(node), state.policy(node));
            assert!(new.revision >= old.revision, "(m) it fell");
            assert_eq!(new.revision == old.revision, new.parts == old.parts, "(m) {old:?} {new:?}");
            self.check_promoted(before, made, node);
            new.parts.into_iter().for_each(|part| self.check_part(part));
        }
    }

    fn check_rollout(&self, state: &State, before: &State, rollout: &Rollout) {
        if let Some(old) = before.rollout(&rollout.id).filter(|old| old.state.is_final()) {
            assert_eq!(old, rollout, "(c)");
        }
        if rollout.state == RolloutState::Promoted {
            for wave in 0..rollout.plan.waves.len() {
                let last = rollout.steps.iter().rfind(|step| step.wave == wave).unwrap();
                let result = last.verdict().map(|verdict| verdict.result);
                assert_eq!(result, Some(Judgement::Pass), "(b)");
            }
            assert!(rollout.sealed && rollout.members.iter().all(|m| *m == Member::InForce));
        }
        let members = rollout.plan.members.iter().zip(&rollout.members).enumerate();
        for (place, (planned, member)) in members.filter(|(_, (_, member))| member.is_touched()) {
            let id = &planned.target.id;
            let wanted = state.wanted(id).filter(|part| part.rollout == rollout.id);
            if let Phase::Restoring { .. } = rollout.phase {
                let old = wanted.as_ref().map(|part| &part.values);
                let owed = rollout.owed(place);
                let mut must = owed;
                let standing = state.target(id).unwrap().standing.clone();
                must.extend(standing.map(|standing| standing.values).unwrap_or_default());
                let killed = state.target(id).unwrap().owed.clone();
                must.extend(killed.map(|killed| killed.values).unwrap_or_default());
                let must = (*member == Member::Restoring).then_some(&must);
                assert_eq!(old, must, "(i) {member:?}");
            }
            let ended = before.rollout(&rollout.id).is_some_and(|old| !old.state.is_final());
            if rollout.state == RolloutState::RolledBack && ended {
                assert_eq!(wanted, None, "(i)");
                let shown = self.shown.get(id).cloned().unwrap_or_default();
                for (parameter, old) in rollout.owed(place) {
                    assert_eq!(shown.get(&parameter), Some(&old), "(j)");
                }
            }
        }
    }

    fn check_part(&mut self, part: Part) {
        let id = part.target.id.clone();
        assert!(!self.rejected.contains(&(id.clone(), self.own(&part))), "(g) {part:?}");
        if let Ask::Canary { revert_to, .. } = &part.ask {
            let old = self.offered.get(&(id.clone(), part.rollout.clone())).unwrap_or(revert_to);
            let owed = self.log.state().target(&id).and_then(|book| book.owed.clone());
            let is_owed =
                |name: &String| owed.as_ref().is_some_and(|o| o.values.contains_key(name));
            // The kill switch goes back at once.
            for (name, new) in part.values.iter().filter(|(name, _)| !is_owed(name)) {
                let Some(old) = old.get(name) else { panic!("(h) {name}") };
                let (old, new) = (old.parse::<u64>().unwrap(), new.parse::<u64>().unwrap());
                assert!((50..=10_000).contains(&new), "(h) {new}");
                let within = new <= 2 * old && new * 10 >= old * 9;
                assert!(within, "(h) {old} to {new}");
            }
        }
        self.offered.insert((id, part.rollout), part.values);
    }

    /// (n) What stands of a target is wanted of it, and comes to stand only by a promotion.
    fn check_promoted(&self, before: &State, made: &Transition, node: &str) {
        for book in self.state().targets_of(node) {
            let Some(standing) = &book.standing else { continue };
            let wanted = self.state().wanted(&book.target.id);
            let is_wanted = |(name, value)| wanted.as_ref()?.values.get(name).map(|v| v == value);
            let is_silent = wanted.is_none();
            let all = standing.values.iter().all(|pair| is_wanted(pair) == Some(true));
            assert!(all || is_silent, "(n) {standing:?} {wanted:?}");
            let old = before.target(&book.target.id).and_then(|old| old.standing.as_ref());
            let is_old = |(name, value)| old.and_then(|old| old.values.get(name)) == Some(value);
            // A push is promoted beforehand, and checked by itself.
            let is_pushed = matches!(&made.what, Move::Pushed { values, .. } if values.contains_key(&book.target.id));
            let is_promoted = is_pushed || old.is_none_or(|old| old.rollout != standing.rollout);
            assert!(is_promoted || standing.values.iter().all(is_old), "(n) {old:?} {standing:?}");
        }
    }

    /// Offers are what the state wants, and exactly where it wants something else than before.
    fn check_offers(&self, decision: &Decision, event: &Event, before: &Log) {
        let mut nodes = BTreeSet::new();
        for action in &decision.actions {
            let Action::Offer(policy) = action else { continue };
            assert_eq!(*policy, self.state().policy(&policy.node));
            nodes.insert(policy.node.as_str());
        }
        for node in self.state().nodes() {
            let differs = before.state().policy(node) != self.state().policy(node);
            let back = matches!(event, Event::AgentBack { node: n } if n == node);
            assert_eq!(nodes.contains(node), differs || back);
        }
    }

    /// A collector that dies after any row: the next one goes on to the same state, whether it gets
    /// the event again or only ticks.
    fn check_restarts(&self, decision: &Decision, event: &Event, before: &Log) {
        let again = decide(self.state(), &Event::Tick, self.now, &self.limits).unwrap();
        assert_eq!(again.transitions, [], "(l)");
        if let Event::Outcome(_) | Event::Judged { .. } | Event::HardStop { .. } = event {
            let twice = decide(self.state(), event, self.now, &self.limits).unwrap();
            assert_eq!(twice.transitions, [], "told twice");
        }
        let mut log = before.clone();
        for (at, made) in decision.transitions.iter().enumerate() {
            let row = log.row(made).unwrap();
            log.admit(&row).unwrap();
            let rest = decide(log.state(), &Event::Tick, self.now, &self.limits).unwrap();
            let expected = &decision.transitions[at + 1..];
            // What came before the event's own row does not bring the event with it.
            let told = decide(log.state(), event, self.now, &self.limits);
            let told = told.map(|told| told.transitions).unwrap_or_default();
            assert!(rest.transitions == expected || told == expected, "(f)");
        }
    }

    /// The same journal read from its beginning, and gone on with from several places.
    pub(super) fn check_replay(&self) {
        for at in (0..=self.rows.len()).step_by(self.rows.len() / 5 + 1) {
            let (mut log, odd) = Log::replay(&self.rows[..at]).unwrap();
            assert_eq!(odd, []);
            self.rows[at..].iter().for_each(|row| assert_eq!(log.admit(row), Ok(None)));
            assert_eq!(log, self.log, "(e)");
            for node in self.state().nodes() {
                assert_eq!(log.state().policy(node), self.state().policy(node), "(e)");
            }
        }
    }

    /// Time alone ends everything.
    pub(super) fn check_end(mut self) {
        let mut ticks = 0;
        while let Some(deadline) = self.state().next_deadline() {
            self.now = self.now.max(deadline);
            self.tick();
            ticks += 1;
            assert!(ticks < 100, "(k) it goes on for ever");
        }
        assert!(self.state().rollouts().all(|rollout| rollout.state.is_final()), "(k)");
        let open = |s: &Suggestion| s.status == SuggestionStatus::Proposed;
        assert!(!self.state().suggestions().any(open), "(k)");
        assert!(self.state().targets().all(|book| book.held_by.is_none()), "(k)");
    }

    pub(super) fn propose(&mut self, id: &str, targets: &[usize], from: u64, to: u64) {
        self.ok(&Event::Proposed(Box::new(proposal(id, targets, from, to))));
    }

    pub(super) fn confirm(&mut self, id: &str) -> Result<Decision, Refusal> {
        self.event(&confirmed(id))
    }

    /// The agent reports on what is wanted of it now.
    pub(super) fn report(&mut self, n: usize, result: Applied, in_force: Values) {
        let outcome = self.outcome(n, result, in_force);
        self.ok(&Event::Outcome(outcome));
    }

    pub(super) fn outcome(&self, n: usize, result: Applied, in_force: Values) -> Outcome {
        let Target { id, node, kind, name } = target(n);
        let part = self.state().wanted(&id).map(|part| part.rollout);
        let held = self.state().target(&id).and_then(|book| book.held_by.clone());
        let rollout = part.or(held).unwrap_or(RolloutId("r-none".into()));
        let revision = self.state().policy(&node).revision;
        Outcome { node, kind, name, rollout, revision, sequence: 1, result, in_force }
    }

    /// The agent has done what is wanted of it.
    pub(super) fn obey(&mut self, n: usize) {
        let part = self.state().wanted(&target(n).id);
        let values = part.expect("something is wanted").values;
        self.report(n, Applied::Applied, values);
    }

    pub(super) fn judge(&mut self, id: &str, result: Judgement) {
        let event = self.judged(id, result);
        self.ok(&event);
    }

    pub(super) fn judged(&self, id: &str, result: Judgement) -> Event {
        let rollout = RolloutId(id.to_owned());
        let revision = self.state().rollout(&rollout).map_or(0, Rollout::revision);
        Event::Judged { rollout, revision, verdict: verdict(result), inputs: json!({ "n": 0.1 }) }
    }

    pub(super) fn rollout(&self, id: &str) -> &Rollout {
        self.state().rollout(&RolloutId(id.to_owned())).unwrap()
    }

    pub(super) fn wanted(&self, n: usize) -> Option<(Values, Ask)> {
        self.state().wanted(&target(n).id).map(|part| (part.values, part.ask))
    }
}

pub(super) fn confirmed(id: &str) -> Event {
    Event::confirmed(SuggestionId(id.to_owned()), ana(), "go".into())
}
