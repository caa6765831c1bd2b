//! Caches whose truth is known, and what is suggested for them.

mod alone;
mod dangers;
mod groups;
mod keys;
mod repeats;
mod room;
mod sizes;

use std::collections::BTreeMap;

use flyball_model::record::Trial;
use flyball_model::rollout::{
    Actor, Applied, Event, Interval, Judgement, Limits, Outcome, Proposal, State, SuggestionId,
    Values, Verdict, decide,
};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    Bounds, CacheFacts, CacheReport, CacheState, HitCurve, HitCurvePoint, MissAttribution, Target,
};

use super::cache_size::CacheSize;
use super::draft::{Details, Draft};
use super::*;

pub(super) const MIB: u64 = 1 << 20;
pub(super) const NOW_MS: i64 = 1_800_000_000_000;
/// Requests of a window.
const REQUESTS: f64 = 1e6;

/// A hit ratio curve: `most * (1 - exp(-bytes / scale))`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Truth {
    pub(super) most: f64,
    pub(super) scale: f64,
}

impl Truth {
    pub(super) fn at(self, bytes: u64) -> f64 {
        self.most * (1.0 - (-(bytes as f64) / self.scale).exp())
    }

    /// Measured from half to twice a size in so many points, each known to `half`.
    pub(super) fn curve(self, size: u64, points: u64, half: f64) -> HitCurve {
        let point = |i: u64| {
            let bytes = size / 2 + (size * 3 / 2) * i / (points - 1);
            let hit_ratio = self.at(bytes);
            let (low, high) = ((hit_ratio - half).max(0.0), (hit_ratio + half).min(1.0));
            HitCurvePoint { bytes, hit_ratio, low, high }
        };
        HitCurve {
            measured_at_ms: NOW_MS - 60_000,
            reach_bytes: size * 2,
            points: (0..points).map(point).collect(),
            method: "test".to_owned(),
        }
    }
}

/// A full cache of a size under a truth, half of whose misses are for want of memory.
pub(super) fn view(truth: Truth, size: u64) -> CacheView {
    let hit_ratio = truth.at(size);
    let facts = CacheFacts {
        used_bytes: size,
        max_bytes: size,
        rss_bytes: Some(size + 20 * MIB),
        keys: 1_000_000,
        keys_with_ttl: 1_000_000,
        hits_per_second: Some(hit_ratio * 1_000.0),
        misses_per_second: Some((1.0 - hit_ratio) * 1_000.0),
        evictions_per_second: Some((1.0 - hit_ratio) * 1_000.0),
        expirations_per_second: Some(0.0),
        fragmentation: Some(1.05),
        host_memory_bytes: Some(64 << 30),
        host_available_bytes: Some(32 << 30),
        replicas: 0,
    };
    let settings = [("maxmemory", size.to_string()), ("maxmemory-policy", "allkeys-lru".into())];
    let mut report =
        CacheReport::new(Target::new("redis", "sessions"), CacheState::Up, NOW_MS - 1_000);
    report.role = "primary".to_owned();
    report.settings = settings.map(|(key, value)| (key.to_owned(), value)).into();
    report.facts = Some(facts);
    report.curve = Some(truth.curve(size, 33, 0.002));
    report.misses = Some(MissAttribution {
        capacity: 0.9,
        expired: 0.0,
        invalidated: 0.0,
        cold: 0.1,
        sampled: 10_000,
    });
    CacheView {
        node: NodeName::new("web-1").unwrap(),
        report,
        received_at_ms: NOW_MS - 500,
        settable: settable(),
        unsettable: String::new(),
        largest_growth: None,
        recent: Some(recent(hit_ratio)),
        memory: None,
    }
}

pub(super) fn recent(hit_ratio: f64) -> Recent {
    Recent {
        from_ms: NOW_MS - 300_000,
        to_ms: NOW_MS,
        hits: hit_ratio * REQUESTS,
        misses: (1.0 - hit_ratio) * REQUESTS,
        clients: Some(50.0),
    }
}

pub(super) fn settable() -> BTreeMap<String, Bounds> {
    let words = ["noeviction", "allkeys-lru", "allkeys-lfu", "volatile-lru", "volatile-lfu"];
    let words = words.map(str::to_owned).to_vec();
    [
        ("maxmemory".to_owned(), Bounds::Number(8 * MIB, 40 << 30)),
        ("maxmemory-policy".to_owned(), Bounds::OneOf(words)),
    ]
    .into()
}

pub(super) fn facts(view: &mut CacheView) -> &mut CacheFacts {
    view.report.facts.as_mut().unwrap()
}

pub(super) fn settings() -> &'static SuggestSettings {
    static SETTINGS: std::sync::LazyLock<SuggestSettings> =
        std::sync::LazyLock::new(SuggestSettings::default);
    &SETTINGS
}

pub(super) fn context(trials: &[Trial]) -> Context<'_> {
    Context { now_ms: NOW_MS, settings: settings(), trials }
}

/// What one advisor says, without gates.
pub(super) fn ask(advisor: &dyn Advisor, view: &CacheView) -> Result<Vec<Draft>, String> {
    advisor.advise(view, &context(&[]))
}

/// The size that is suggested; `Err` why none is.
pub(super) fn size(view: &CacheView) -> Result<(Draft, u64), String> {
    let draft = ask(&CacheSize, view)?.remove(0);
    let to = draft.change[0].to.parse().unwrap();
    Ok((draft, to))
}

pub(super) fn happened(state: &mut State, event: &Event, now_ms: i64) {
    let decision = decide(state, event, now_ms, &Limits::default()).unwrap();
    for transition in &decision.transitions {
        state.apply(transition).unwrap();
    }
}

pub(super) fn propose(state: &mut State, proposals: &[Proposal]) {
    for proposal in proposals {
        happened(state, &Event::Proposed(Box::new(proposal.clone())), NOW_MS);
    }
}

/// What a person reads of a proposal must be there and make sense.
pub(super) fn is_complete(proposal: &Proposal) {
    assert_eq!(proposal.check(), Ok(()));
    let details = Details::of(proposal).unwrap();
    assert!(!details.evidence.is_empty() && !details.risk.reasons.is_empty(), "{proposal:?}");
    assert!(!proposal.undo.is_empty() && !proposal.title.is_empty());
    for evidence in &details.evidence {
        assert!(evidence.value.is_finite() && evidence.query.starts_with("GET /api/"));
    }
    let prediction = &proposal.prediction;
    assert!(prediction.low <= prediction.after && prediction.after <= prediction.high);
    assert!((prediction.confidence - 0.9).abs() < 1e-9);
    assert!(details.risk.reasons.iter().all(|reason| !reason.is_empty()));
    assert!(!details.inputs.is_null());
}

pub(super) fn by(name: &str) -> Actor {
    Actor { name: name.into(), address: String::new() }
}

/// What the agent of `a` says of the values in force.
fn says(state: &State, id: &SuggestionId, result: Applied, in_force: Values) -> Event {
    Event::Outcome(Outcome {
        node: "a".into(),
        kind: "redis".into(),
        name: "sessions".into(),
        rollout: id.rollout(),
        revision: state.sequence(),
        sequence: 1,
        result,
        in_force,
    })
}

/// Carries a suggestion for the cache on `a` out, with this verdict, until it is promoted or has gone back.
pub(super) fn carried_out(
    state: &mut State,
    id: &SuggestionId,
    by: Actor,
    result: Judgement,
    now_ms: &mut i64,
) {
    let confirmed = Event::confirmed(id.clone(), by, String::new());
    happened(state, &confirmed, *now_ms);
    let rollout = id.rollout();
    let planned = state.rollout(&rollout).unwrap().plan.members[0].clone();
    for step in &planned.steps {
        happened(state, &says(state, id, Applied::Applied, step.clone()), *now_ms);
        *now_ms += 60_000;
        happened(state, &Event::Tick, *now_ms);
    }
    *now_ms += 300_000;
    let verdict = Verdict {
        result,
        metric: "redis.hit_ratio".into(),
        expected: None,
        observed: Some(Interval { value: 0.5, low: 0.4, high: 0.6 }),
        samples: 100,
        reason: "fewer requests hit, or more".into(),
    };
    let revision = state.rollout(&rollout).unwrap().revision();
    let inputs = serde_json::Value::Null;
    let judged = Event::Judged { rollout: rollout.clone(), revision, verdict, inputs };
    happened(state, &judged, *now_ms);
    let end = if result == Judgement::Pass { planned.last() } else { &planned.revert_to };
    happened(state, &says(state, id, Applied::Applied, end.clone()), *now_ms);
    assert!(state.rollout(&rollout).unwrap().state.is_final());
}

/// Another hand sets the old values while the promoted ones stand.
pub(super) fn set_back_by_hand(state: &mut State, id: &SuggestionId, now_ms: i64) {
    let old = state.rollout(&id.rollout()).unwrap().plan.members[0].revert_to.clone();
    happened(state, &says(state, id, Applied::Drifted("by hand".into()), old), now_ms);
}
