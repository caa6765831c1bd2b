//! A change that a person proposes, of a kind that advisors propose too.
//!
//! It is bounded and written down like any other: only what the agent may set and within its bounds,
//! in the same steps, with the value that is in force as the way back, on trial until the judge has
//! passed it. What differs is who asks: it says so, no advisor's thresholds apply, and it does not count
//! in the track record of the advisors. Without a prediction the hit ratio is to stay as it is.
//!
//! Properties, each a test: (a) what is outside the agent's bounds, or not known to be in force, is refused
//! with its field; (b) what it gives passes [`Proposal::check`]; (c) every field that is wrong is told.

use std::collections::{BTreeMap, BTreeSet};

use flyball_model::rollout::{
    Bound, Candidate, Change, MOST_STEPS, Prediction, Proposal, Refusal, StepError, Target, Values,
};
use flyball_proto::steering::{Bounds, Growth};
use serde_json::json;

use super::cache_size::{GROWTH_STEP, SHRINK_STEP};
use super::draft::{Details, Evidence, Risk, RiskLevel, TrackRecord, bytes, id, key};
use super::eviction_policy;
use super::limit::Limit;
use super::view::{MAXMEMORY, MAXMEMORY_POLICY, Recent};
use crate::query::Violations;

/// The metric that is judged.
const HIT_RATIO: &str = "redis.hit_ratio";
/// Confidence of an interval unless the person says another one.
const CONFIDENCE: f64 = 0.9;
/// Parameters that decide how much fits; all others decide what is given up.
const OF_SIZE: [&str; 2] = [MAXMEMORY, "activedefrag"];

/// What a person wants.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Wish {
    /// Kind of the suggestion; what its parameters say when it is not given.
    pub kind: Option<String>,
    /// Parameters, each once.
    pub change: Vec<WishedValue>,
    /// What the person expects; that the hit ratio stays as it is when nothing is given.
    pub prediction: Option<WishedPrediction>,
    /// One line; made from the change when it is not given.
    pub title: Option<String>,
    /// Why.
    pub note: String,
    /// Who.
    pub by: String,
}

/// A parameter with its new value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WishedValue {
    /// For example `maxmemory`.
    pub parameter: String,
    /// What the person believes to be in force; the proposal is refused when it is not.
    pub from: Option<String>,
    /// What is to be.
    pub to: String,
}

/// What a person expects of the hit ratio.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct WishedPrediction {
    /// Without the change; measured when it is not given.
    pub before: Option<f64>,
    /// With it.
    pub after: f64,
    /// Lower end; `after` when it is not given.
    pub low: Option<f64>,
    /// Upper end; `after` when it is not given.
    pub high: Option<f64>,
    /// Of the interval.
    pub confidence: Option<f64>,
}

/// What is known of the server that is to be changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// Which.
    pub target: Target,
    /// What its agent may set.
    pub settable: BTreeMap<String, Bounds>,
    /// Why nothing may be set, where that is so.
    pub unsettable: String,
    /// How far one policy may move the limit of memory; `None` of agents that do not say.
    pub largest_growth: Option<Growth>,
    /// What is in force, as far as it is known.
    pub in_force: Values,
    /// Its traffic of late.
    pub recent: Option<Recent>,
    /// Memory in use; 0: not known.
    pub used_bytes: u64,
}

/// Why nothing is proposed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum WishError {
    /// Fields are wrong.
    #[error("{0}")]
    Invalid(Violations),
    /// Another value is in force.
    #[error(transparent)]
    Stale(Refusal),
}

impl WishError {
    /// The same, and at which of several targets.
    #[must_use]
    pub fn at(self, target: &str, of_several: bool) -> Self {
        let Self::Invalid(wrong) = &self else { return self };
        if !of_several {
            return self;
        }
        let mut violations = Violations::default();
        for field in wrong.fields() {
            violations.invalid(field.field.clone(), format!("{target}: {}", field.reason));
        }
        Self::Invalid(violations)
    }
}

/// The proposal, made at a time.
///
/// # Errors
/// Names every field that is wrong.
pub fn proposal(wish: &Wish, of: &Known, now_ms: i64) -> Result<Proposal, WishError> {
    let mut violations = Violations::default();
    let mut change = Vec::new();
    for (at, wished) in wish.change.iter().enumerate() {
        match one(wished, of) {
            Ok(found) => change.push(found),
            Err(Wrong::Field(field, reason)) => {
                violations.invalid(format!("change[{at}].{field}"), reason);
            }
            Err(Wrong::Stale(refusal)) => return Err(WishError::Stale(refusal)),
        }
    }
    let names: BTreeSet<_> = wish.change.iter().map(|wished| &wished.parameter).collect();
    if wish.change.is_empty() || names.len() != wish.change.len() {
        violations.invalid("change", "one parameter or more, each once");
    }
    let kind = kind(&wish.change);
    if wish.kind.as_ref().is_some_and(|wanted| wanted != kind) {
        violations.invalid("kind", format!("must be {kind} for these parameters"));
    }
    let prediction = predict(wish.prediction.as_ref(), of, &mut violations);
    if !violations.is_empty() {
        return Err(WishError::Invalid(violations));
    }
    let proposal = whole(wish, of, (kind, change, prediction), now_ms);
    match proposal.check() {
        Ok(()) => Ok(proposal),
        Err(bad) => {
            violations.invalid(format!("change: {}", bad.field), bad.reason);
            Err(WishError::Invalid(violations))
        }
    }
}

enum Wrong {
    Field(&'static str, String),
    Stale(Refusal),
}

/// One parameter, within the agent's bounds and from what is in force.
fn one(wished: &WishedValue, of: &Known) -> Result<Change, Wrong> {
    let name = &wished.parameter;
    let Some(bounds) = of.settable.get(name) else {
        let why = if of.unsettable.is_empty() {
            let all: Vec<_> = of.settable.keys().map(String::as_str).collect();
            format!("its agent may set only {}", all.join(", "))
        } else {
            format!("its agent may set nothing: {}", of.unsettable)
        };
        return Err(Wrong::Field("parameter", why));
    };
    bounds.check(&wished.to).map_err(|reason| Wrong::Field("to", reason))?;
    let Some(from) = of.in_force.get(name) else {
        let reason = format!("which {name} is in force is not known yet");
        return Err(Wrong::Field("parameter", reason));
    };
    if let Some(believed) = wished.from.as_ref().filter(|believed| *believed != from) {
        return Err(Wrong::Stale(Refusal::Stale {
            target: of.target.id.clone(),
            parameter: name.clone(),
            from: believed.clone(),
            in_force: from.clone(),
        }));
    }
    if *from == wished.to {
        return Err(Wrong::Field("to", format!("it is {from} already")));
    }
    match (bounds, from.parse(), wished.to.parse()) {
        (Bounds::Number(least, most), Ok(from), Ok(to)) if name == MAXMEMORY => {
            let limit = Limit { least: *least, most: *most, growth: of.largest_growth };
            let change = limit.change(from, to, Some(of.used_bytes.max(to)));
            reachable(change)
        }
        _ => Ok(Change {
            parameter: name.clone(),
            from: from.clone(),
            to: wished.to.clone(),
            unit: String::new(),
            bound: bound(bounds),
        }),
    }
}

/// Refuses a limit that the agent's steps do not lead to.
fn reachable(change: Change) -> Result<Change, Wrong> {
    match change.steps() {
        Err(StepError::TooFar { from, to, farthest }) => {
            let end = if to > from { "largest" } else { "smallest" };
            let reason = format!(
                "{farthest} is the {end}: {MOST_STEPS} steps as its agent takes them lead no further"
            );
            Err(Wrong::Field("to", reason))
        }
        _ => Ok(change),
    }
}

/// A number that evicts nothing goes at once.
fn bound(bounds: &Bounds) -> Bound {
    match bounds {
        Bounds::OneOf(words) => Bound::OneOf(words.clone()),
        Bounds::Number(min, max) => Bound::Number {
            min: *min,
            max: *max,
            largest_growth: GROWTH_STEP,
            largest_shrink: SHRINK_STEP,
            always: *max,
            zero_is: None,
        },
    }
}

fn kind(change: &[WishedValue]) -> &'static str {
    let of_size = |wished: &WishedValue| OF_SIZE.contains(&wished.parameter.as_str());
    if change.iter().any(of_size) { "cache.size" } else { "cache.eviction_policy" }
}

fn predict(
    wished: Option<&WishedPrediction>,
    of: &Known,
    violations: &mut Violations,
) -> Prediction {
    let measured = of.recent.filter(|recent| recent.requests() > 0.0).map(|r| r.hit_ratio());
    let before = wished.and_then(|wished| wished.before).or(measured);
    let Some(before) = before else {
        let field = if wished.is_some() { "prediction.before" } else { "prediction" };
        violations.invalid(field, "its hit ratio is not known yet: say what you expect");
        return Prediction::default();
    };
    let after = wished.map_or(before, |wished| wished.after);
    let low = wished.and_then(|wished| wished.low).unwrap_or(after);
    let high = wished.and_then(|wished| wished.high).unwrap_or(after);
    let confidence = wished.and_then(|wished| wished.confidence).unwrap_or(CONFIDENCE);
    let share = |value: f64| (0.0..=1.0).contains(&value);
    if ![before, after, low, high, confidence].into_iter().all(share) || low > after || after > high
    {
        violations.invalid("prediction", "low, after and high must rise within 0 and 1");
    }
    let (metric, unit) = (HIT_RATIO.to_owned(), "ratio".to_owned());
    Prediction { metric, before, after, low, high, unit, confidence }
}

fn whole(
    wish: &Wish,
    of: &Known,
    (kind, change, prediction): (&str, Vec<Change>, Prediction),
    now_ms: i64,
) -> Proposal {
    let evidence = of.recent.iter().map(|recent| {
        let query = format!("GET /api/performance/cache (caches, id {})", of.target.id);
        Evidence::over(HIT_RATIO, recent.hit_ratio(), "ratio", recent.window_ms(), query)
    });
    let details = Details {
        evidence: evidence.filter(|evidence| evidence.value.is_finite()).collect(),
        risk: risk(&change),
        record: String::new(),
        track_record: TrackRecord::default(),
        by_hand: false,
        lower_is_better: false,
        widened_by: 1.0,
        proposed_by: wish.by.clone(),
        inputs: json!({
            "in_force": of.in_force, "note": wish.note, "used_bytes": of.used_bytes,
        }),
    };
    let old = change.iter().map(|c| match shown(&c.parameter, &c.from) {
        words if words == c.from => format!("{} back to {words}", c.parameter),
        words => format!("{} back to {words} ({})", c.parameter, c.from),
    });
    let undo = format!("Set {}.", old.collect::<Vec<_>>().join(" and "));
    Proposal {
        id: id(
            &format!("{}\nby {}", key(&of.target, kind, &change), wish.by),
            now_ms.unsigned_abs(),
        ),
        kind: kind.to_owned(),
        title: wish.title.clone().unwrap_or_else(|| title(&of.target.name, &change)),
        members: vec![Candidate {
            target: of.target.clone(),
            change,
            size: of.used_bytes as f64,
            traffic: of.recent.as_ref().map_or(0.0, Recent::requests_per_second),
        }],
        target: of.target.clone(),
        prediction,
        undo,
        details: serde_json::to_value(details).unwrap_or_default(),
    }
}

/// A value for people.
fn shown(parameter: &str, value: &str) -> String {
    match value.parse() {
        Ok(0) if parameter == MAXMEMORY => "no limit".to_owned(),
        Ok(size) if parameter == MAXMEMORY => bytes(size),
        _ => value.to_owned(),
    }
}

fn title(name: &str, change: &[Change]) -> String {
    let one = |(at, c): (usize, &Change)| {
        let (from, to) = (shown(&c.parameter, &c.from), shown(&c.parameter, &c.to));
        let of = if at == 0 { format!(" of {name}") } else { String::new() };
        format!("{}{of} from {from} to {to}", c.parameter)
    };
    format!("Set {}", change.iter().enumerate().map(one).collect::<Vec<_>>().join(", "))
}

fn risk(change: &[Change]) -> Risk {
    let by_whom = "a person proposes it: no advisor has found that it pays";
    let mut risk = Risk { level: RiskLevel::Medium, reasons: vec![by_whom.to_owned()] };
    for change in change {
        let number = |text: &str| text.parse().ok().filter(|n| *n > 0).unwrap_or(u64::MAX);
        if change.parameter == MAXMEMORY && number(&change.to) < number(&change.from) {
            risk = risk.and(RiskLevel::Medium, "what no longer fits is evicted, in small steps");
        }
        if change.parameter == MAXMEMORY_POLICY {
            let of_policy = eviction_policy::risk(&change.from, &change.to);
            risk.level = risk.level.max(of_policy.level);
            risk.reasons.extend(of_policy.reasons);
        }
    }
    risk
}

#[cfg(test)]
mod tests {
    use flyball_model::rollout::TargetId;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn known() -> Known {
        let words = ["allkeys-lru", "allkeys-lfu"].map(str::to_owned).to_vec();
        let settable = [
            (MAXMEMORY.to_owned(), Bounds::Number(MIB, 512 * MIB)),
            (MAXMEMORY_POLICY.to_owned(), Bounds::OneOf(words)),
            ("maxmemory-samples".to_owned(), Bounds::Number(1, 64)),
        ];
        let in_force = [(MAXMEMORY, "67108864"), (MAXMEMORY_POLICY, "allkeys-lru")];
        let recent = Recent { from_ms: 0, to_ms: 1_000, hits: 80.0, misses: 20.0, clients: None };
        Known {
            target: Target {
                id: TargetId("redis:web-1:sessions".into()),
                node: "web-1".into(),
                kind: "redis".into(),
                name: "sessions".into(),
            },
            settable: settable.into(),
            unsettable: String::new(),
            largest_growth: None,
            in_force: in_force.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
            recent: Some(recent),
            used_bytes: 60 * MIB,
        }
    }

    fn wish(change: &[(&str, &str)]) -> Wish {
        let value = |(parameter, to): &(&str, &str)| WishedValue {
            parameter: (*parameter).to_owned(),
            from: None,
            to: (*to).to_owned(),
        };
        Wish { change: change.iter().map(value).collect(), by: "ada".into(), ..Wish::default() }
    }

    fn wrong(wish: &Wish, of: &Known) -> Vec<String> {
        match proposal(wish, of, 5) {
            Err(WishError::Invalid(violations)) => {
                violations.fields().iter().map(|field| field.field.clone()).collect()
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wish_is_a_proposal_like_any_other() {
        let half = (32 * MIB).to_string();
        let made = proposal(&wish(&[(MAXMEMORY, &half)]), &known(), 5).unwrap();
        assert_eq!(made.kind, "cache.size");
        assert_eq!(made.title, "Set maxmemory of sessions from 64 MiB to 32 MiB");
        let steps = made.members[0].steps().unwrap();
        assert!(steps.len() > 10, "in small steps: {}", steps.len());
        let p = &made.prediction;
        let expected = [p.before, p.after, p.low, p.high];
        let stays = |value: f64| (value - 0.8).abs() < 1e-9;
        assert!(expected.into_iter().all(stays), "it is to stay as it is: {expected:?}");
        let details = Details::of(&made).unwrap();
        assert_eq!((details.proposed_by.as_str(), details.by_hand), ("ada", false));
        assert!(details.risk.reasons[1].contains("evicted"));
        assert_eq!(made.undo, "Set maxmemory back to 64 MiB (67108864).");
        let later = proposal(&wish(&[(MAXMEMORY, &half)]), &known(), 6).unwrap();
        assert_ne!(made.id, later.id, "the same may be proposed again");
    }

    #[test]
    fn what_may_not_be_set_is_refused_with_its_field() {
        let known = known();
        for (change, fields) in [
            (&[(MAXMEMORY, "1")][..], vec!["change[0].to"]),
            (&[(MAXMEMORY, "67108864")], vec!["change[0].to"]),
            (&[("save", "")], vec!["change[0].parameter"]),
            (&[("maxmemory-samples", "10")], vec!["change[0].parameter"]),
            (&[(MAXMEMORY_POLICY, "none"), (MAXMEMORY, "x")], vec!["change[0].to", "change[1].to"]),
            (&[], vec!["change"]),
        ] {
            assert_eq!(wrong(&wish(change), &known), fields, "{change:?}");
        }
        let other =
            Wish { kind: Some("cache.size".into()), ..wish(&[(MAXMEMORY_POLICY, "allkeys-lfu")]) };
        assert_eq!(wrong(&other, &known), ["kind"]);
        let prediction =
            Some(WishedPrediction { after: 0.5, low: Some(0.6), ..WishedPrediction::default() });
        let odd = Wish { prediction, ..wish(&[(MAXMEMORY_POLICY, "allkeys-lfu")]) };
        assert_eq!(wrong(&odd, &known), ["prediction"]);
        let silent = Known { recent: None, ..known.clone() };
        assert_eq!(wrong(&wish(&[(MAXMEMORY_POLICY, "allkeys-lfu")]), &silent), ["prediction"]);
    }

    #[test]
    fn a_limit_goes_as_far_as_the_steps_of_its_agent() {
        let by = |factor| Known { largest_growth: Growth::new(factor), ..known() };
        let to = |mib: u64| (mib * MIB).to_string();
        let made = proposal(&wish(&[(MAXMEMORY, &to(128))]), &by(1.5), 5).unwrap();
        assert_eq!(made.members[0].steps().unwrap().len(), 2, "larger than one policy may be");
        let Err(WishError::Invalid(violations)) =
            proposal(&wish(&[(MAXMEMORY, &to(128))]), &by(1.01), 5)
        else {
            panic!("64 hundredths do not double it")
        };
        let [field] = violations.fields() else { panic!("{violations:?}") };
        assert_eq!(field.field, "change[0].to");
        let largest = field.reason.split(' ').next().unwrap();
        assert!(field.reason.contains("is the largest"), "{}", field.reason);
        assert!(proposal(&wish(&[(MAXMEMORY, largest)]), &by(1.01), 5).is_ok());
        let more = (largest.parse::<u64>().unwrap() + 1).to_string();
        assert_eq!(wrong(&wish(&[(MAXMEMORY, &more)]), &by(1.01)), ["change[0].to"]);
    }

    #[test]
    fn another_value_in_force_is_a_conflict() {
        let mut wish = wish(&[(MAXMEMORY, "33554432")]);
        wish.change[0].from = Some("1".into());
        let found = proposal(&wish, &known(), 5);
        assert!(matches!(found, Err(WishError::Stale(Refusal::Stale { .. }))), "{found:?}");
    }
}
