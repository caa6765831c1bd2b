//! What an advisor sees of one pool: the law's estimate of the last window, its past, and what agents may set.

use std::collections::BTreeMap;
use std::sync::Arc;

use flyball_model::balance::limits::LARGEST_CUT;
use flyball_model::rollout::{Bound, Candidate, Change, Target, TargetId};
use flyball_proto::steering::{Bounds, Capability};
use serde_json::{Value, json};

use crate::balancers::kept::PoolWindow;
use crate::balancers::pool::{Backend, Member, Placement};
use crate::balancers::settings::Objective;
use crate::balancers::shadow::PoolEstimate;
use crate::suggest::view::target_id;

/// An estimate that is older than so many of its windows tells nothing of now.
const FRESH_WINDOWS: i64 = 3;

/// One pool.
#[derive(Debug, Clone)]
pub struct PoolView {
    /// What is known since the last window's end.
    pub estimate: Arc<PoolEstimate>,
    /// Windows before it, by time.
    pub past: Vec<PoolWindow>,
    /// What may be set, by the id of the balancer.
    pub reach: BTreeMap<String, Reach>,
    /// What weights are for.
    pub objective: Objective,
}

/// What the agent of a balancer may set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reach {
    /// As it says.
    pub capability: Option<Capability>,
    /// Why it may set nothing, where that is so.
    pub barred: String,
}

impl Reach {
    fn bounds(&self, parameter: &str) -> Option<&Bounds> {
        self.capability.as_ref()?.bounds(parameter)
    }
}

impl PoolView {
    /// The pool as a target of suggestions.
    pub fn target(&self) -> Target {
        let pool = &self.estimate.pool;
        Target {
            id: TargetId(pool.id()),
            node: String::new(),
            kind: "pool".to_owned(),
            name: pool.name.clone(),
        }
    }

    /// Whether the pool can be relied on at present.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn usable(&self, now_ms: i64) -> Result<(), String> {
        let estimate = &self.estimate;
        let width = estimate.end_ms.saturating_sub(estimate.start_ms).max(1);
        let age_ms = now_ms.saturating_sub(estimate.end_ms);
        if age_ms > FRESH_WINDOWS.saturating_mul(width) {
            return Err(format!("nothing was heard of it for {} s", age_ms / 1_000));
        }
        match &estimate.invalid {
            Some(reason) => Err(reason.clone()),
            None => Ok(()),
        }
    }

    /// Balancers that count and whose agents may set a parameter such as `weight:`, by their place; and why the others may not be.
    pub fn steerable(&self, prefix: &str) -> (Vec<usize>, Vec<String>) {
        let (mut may, mut barred) = (Vec::new(), Vec::new());
        let parameter = format!("{prefix}{}/x", self.estimate.pool.group);
        for place in 0..self.estimate.pool.members.len() {
            match self.may_set(place, &parameter) {
                Ok(()) => may.push(place),
                Err(why) => barred.push(why),
            }
        }
        (may, barred)
    }

    /// Whether a balancer counts and its agent may set a parameter such as `max_requests:web`.
    ///
    /// # Errors
    /// Why not, in words.
    pub fn may_set(&self, place: usize, parameter: &str) -> Result<(), String> {
        let member = &self.estimate.pool.members[place];
        let id = member.id();
        if let Some(missing) = &member.missing {
            return Err(format!("{id} is {missing}"));
        }
        let reach = self.reach.get(&id);
        if reach.is_some_and(|reach| reach.bounds(parameter).is_some()) {
            return Ok(());
        }
        let why = reach.map(|reach| reach.barred.as_str()).filter(|why| !why.is_empty());
        let why = why.unwrap_or("its agent has not said that it may");
        let what = parameter.split(':').next().unwrap_or_default();
        Err(format!("{id} may not have its {what} set: {why}"))
    }

    /// A balancer with its changes; `None` without any.
    pub fn candidate(&self, place: usize, change: Vec<Change>) -> Option<Candidate> {
        let member = self.estimate.pool.members.get(place)?;
        let traffic = self.traffic(place);
        let size = self.placements(place).count() as f64;
        (!change.is_empty()).then(|| Candidate { target: of(member), change, size, traffic })
    }

    /// Backends of a balancer with what it says of them.
    pub fn placements(&self, place: usize) -> impl Iterator<Item = (&Backend, &Placement)> {
        self.estimate.pool.backends.iter().flat_map(move |backend| {
            let own = backend.placements.iter().filter(move |one| one.member == place);
            own.map(move |placement| (backend, placement))
        })
    }

    /// Requests per second of a balancer.
    pub fn traffic(&self, place: usize) -> f64 {
        let window_ms = self.estimate.pool.members.get(place).map_or(0, |one| one.window_ms);
        let requests: u64 = self.placements(place).map(|(_, one)| one.server.requests).sum();
        requests as f64 * 1_000.0 / f64::from(window_ms.max(1))
    }

    /// A change of a parameter of a backend at a balancer, within what its agent may set; `None` where it may not, or where nothing would change.
    pub fn change(&self, place: usize, parameter: &str, from: &str, to: &Wanted) -> Option<Change> {
        self.setting(place, parameter, from, to).filter(|change| change.from != change.to)
    }

    /// The same, also where the value is in force: what is confirmed with it comes under control.
    pub fn setting(
        &self,
        place: usize,
        parameter: &str,
        from: &str,
        to: &Wanted,
    ) -> Option<Change> {
        let member = self.estimate.pool.members.get(place)?;
        let bounds = self.reach.get(&member.id())?.bounds(parameter)?;
        let (to, bound) = match (bounds, to) {
            (Bounds::Number(least, most), Wanted::Weight(number)) => {
                let to = (*number).clamp((*least).max(1), *most);
                (to.to_string(), at_once((*least, *most)))
            }
            (Bounds::Number(least, most), Wanted::Limit(number)) => {
                let to = (*number).clamp((*least).max(1), *most);
                (to.to_string(), by_halves((*least, *most), to))
            }
            (Bounds::OneOf(words), Wanted::Word(word)) if words.iter().any(|one| one == word) => {
                ((*word).to_owned(), Bound::OneOf(words.clone()))
            }
            _ => return None,
        };
        Some(Change {
            parameter: parameter.to_owned(),
            from: from.to_owned(),
            to,
            unit: String::new(),
            bound,
        })
    }

    /// Numbers that a decision was computed from, as they are written down with it.
    pub fn inputs(&self) -> Value {
        let estimate = &self.estimate;
        let backends = estimate.outcome.backends.iter().map(|one| {
            json!({
                "id": one.id, "requests_per_second": one.requests_per_second,
                "error_ratio": one.error_ratio, "utilization": one.utilization,
                "capacity_per_second": estimate.capacities.get(&one.id),
                "workers": estimate.workers.get(&one.id),
                "weight": one.in_force, "weight_wanted": one.weight, "rule": one.to_string(),
            })
        });
        let members = estimate.pool.members.iter().map(|member| {
            json!({
                "id": member.id(), "algorithm": member.algorithm,
                "weights": member.weights.as_str(), "missing": member.missing,
            })
        });
        json!({
            "from_ms": estimate.start_ms, "to_ms": estimate.end_ms,
            "valid_windows": estimate.valid_windows,
            "requests_per_second": estimate.pool.requests_per_second,
            "backends": backends.collect::<Vec<_>>(), "members": members.collect::<Vec<_>>(),
        })
    }
}

/// A wanted value. Numbers are brought within the bounds, and are never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Set in one step: its agent holds all weights of a group together to the largest shift.
    Weight(u64),
    /// Raised in one step, and lowered by half at most in each, which is what agents take. From 0, which is no limit, there is one step: nothing is halved there, and its agent
    /// holds it to what is under way.
    Limit(u64),
    /// One of the words.
    Word(&'a str),
}

/// Bounds of a number that may go anywhere at once.
const fn at_once((min, max): (u64, u64)) -> Bound {
    Bound::Number {
        min,
        max,
        largest_growth: 2.0,
        largest_shrink: LARGEST_CUT,
        always: max,
        zero_is: None,
    }
}

/// Bounds of a limit on its way to `to`: see [`Wanted::Limit`].
fn by_halves((min, max): (u64, u64), to: u64) -> Bound {
    Bound::Number {
        min,
        max,
        largest_growth: (max as f64).max(2.0),
        largest_shrink: LARGEST_CUT,
        always: 1,
        zero_is: Some(to),
    }
}

/// A balancer as a target of changes.
pub fn of(member: &Member) -> Target {
    let (node, target) = (member.node.as_str(), &member.target);
    Target {
        id: target_id(node, &target.kind, &target.name),
        node: node.to_owned(),
        kind: target.kind.clone(),
        name: target.name.clone(),
    }
}
