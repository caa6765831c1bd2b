//! Several like servers in one suggestion, so that its rollout goes in waves: a canary that a hash has chosen
//! first, compared with those that are not changed yet.
//!
//! Servers are alike when they have the same kind and name on different nodes, and the same is to be changed
//! by the same: a word from the same to the same, a number by the same factor, within [`SAME_FACTOR`]. Their
//! own proposals have passed every gate before, so what is joined here is only how they go.
//!
//! What is predicted of the whole is the mean over the requests: of the hit ratios before and after, and of
//! both ends. So its interval is as wide as if all were wrong in the same way, which those that the same method
//! has predicted may be.
//!
//! Properties, each a test: (a) every member is in exactly one proposal afterwards; (b) what is alone stays as it
//! is; (c) the order in which they come changes nothing; (d) the whole passes [`Proposal::check`].

use std::collections::BTreeMap;

use flyball_model::rollout::{Change, Prediction, Proposal, Target, TargetId};
use serde_json::{Value, json};

use super::draft::{Details, Risk, RiskLevel, TrackRecord, id, key};

/// Most servers of one suggestion; there are several suggestions of more.
const MOST: usize = 100;
/// Factors that differ by less are the same.
const SAME_FACTOR: f64 = 0.05;
/// Servers of which all evidence and inputs are kept; of the others what is predicted.
const SHOWN: usize = 3;

/// Joins what is alike. `sequence` is the number of the journal's last decision.
pub fn alike(mut proposals: Vec<Proposal>, sequence: u64) -> Vec<Proposal> {
    proposals.sort_by(|a, b| (&a.target.id, &a.id).cmp(&(&b.target.id, &b.id)));
    let mut groups: BTreeMap<String, Vec<Vec<Proposal>>> = BTreeMap::new();
    let mut alone = Vec::new();
    for proposal in proposals {
        let Some(alike) = likeness(&proposal) else {
            alone.push(proposal);
            continue;
        };
        let groups = groups.entry(alike).or_default();
        let open = groups.iter_mut().find(|group| {
            let node = &proposal.target.node;
            group.len() < MOST && group.iter().all(|other| other.target.node != *node)
        });
        match open {
            Some(group) => group.push(proposal),
            None => groups.push(vec![proposal]),
        }
    }
    let joined = groups.into_values().flatten().filter_map(|group| joined(group, sequence));
    let mut all: Vec<Proposal> = alone.into_iter().chain(joined).collect();
    all.sort_by(|a, b| (&a.target.id, &a.id).cmp(&(&b.target.id, &b.id)));
    all
}

/// One proposal of several. `moment` is a number that the same members never have twice. `None` without any.
pub fn joined(proposals: Vec<Proposal>, moment: u64) -> Option<Proposal> {
    let mut all = proposals;
    all.sort_by(|a, b| a.target.id.cmp(&b.target.id));
    if all.len() < 2 {
        return all.pop();
    }
    let first = all.first()?.clone();
    let same_name = all.iter().all(|of| of.target.name == first.target.name);
    let name = if same_name { first.target.name.clone() } else { "*".to_owned() };
    let target = Target {
        id: TargetId(format!("{}:*:{name}", first.target.kind)),
        node: String::new(),
        kind: first.target.kind.clone(),
        name,
    };
    let keys = all.iter().map(|of| key(&of.target, &of.kind, of.change()));
    let id = id(&keys.collect::<Vec<_>>().join("\n"), moment);
    let is_same = same_name && all.iter().all(|of| values(of.change()) == values(first.change()));
    let others = all.len() - 1;
    let (title, undo) = if is_same {
        (format!("{} on {} nodes", first.title, all.len()), first.undo.clone())
    } else {
        let old = first.change().iter().map(|change| change.parameter.as_str());
        let old = old.collect::<Vec<_>>().join(" and ");
        (
            format!("{}, and {others} more like it", first.title),
            format!("Set {old} of each back to what it was."),
        )
    };
    Some(Proposal {
        id,
        title,
        target,
        undo,
        prediction: mean(&all),
        details: serde_json::to_value(details(&all)?).unwrap_or_default(),
        members: all.into_iter().flat_map(|of| of.members).collect(),
        ..first
    })
}

/// What like proposals have in common; `None` for one that goes alone.
fn likeness(of: &Proposal) -> Option<String> {
    let details = Details::of(of)?;
    if details.by_hand || of.members.len() != 1 {
        return None;
    }
    let steps: Vec<String> = of.change().iter().map(by).collect();
    let (kind, name) = (&of.target.kind, &of.target.name);
    let record = details.counts_as(&of.kind);
    Some(format!("{kind}\n{name}\n{}\n{record}\n{}", of.kind, steps.join("\n")))
}

/// What is changed, and by how much.
fn by(change: &Change) -> String {
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| *number > 0.0);
    let how = match number(&change.from).zip(number(&change.to)) {
        Some((from, to)) => format!("{}", ((to / from).ln() / SAME_FACTOR).round()),
        None => format!("{} {}", change.from, change.to),
    };
    format!("{} {how}", change.parameter)
}

fn values(change: &[Change]) -> Vec<(&str, &str, &str)> {
    change.iter().map(|c| (c.parameter.as_str(), c.from.as_str(), c.to.as_str())).collect()
}

fn mean(all: &[Proposal]) -> Prediction {
    let traffic: Vec<f64> = all.iter().map(|of| of.members[0].traffic.max(0.0)).collect();
    let sum: f64 = traffic.iter().sum();
    let mean = |value: fn(&Prediction) -> f64| {
        let weighted = all.iter().zip(&traffic).map(|(of, traffic)| {
            let weight = if sum > 0.0 { traffic / sum } else { 1.0 / all.len() as f64 };
            value(&of.prediction) * weight
        });
        weighted.sum()
    };
    Prediction {
        before: mean(|of| of.before),
        after: mean(|of| of.after),
        low: mean(|of| of.low),
        high: mean(|of| of.high),
        ..all[0].prediction.clone()
    }
}

fn details(all: &[Proposal]) -> Option<Details> {
    let of: Vec<Details> = all.iter().filter_map(Details::of).collect();
    let first = of.first()?;
    let level = of.iter().map(|of| of.risk.level).max().unwrap_or(RiskLevel::High);
    let mut risk = Risk { level, ..first.risk.clone() };
    risk.reasons
        .push(format!("{} caches change, in waves: the others wait for the judge", all.len()));
    let records: Vec<&TrackRecord> = of.iter().map(|of| &of.track_record).collect();
    let errors: Vec<f64> = records.iter().filter_map(|record| record.mean_abs_error).collect();
    let shown = of.iter().take(SHOWN);
    Some(Details {
        evidence: shown.flat_map(|of| of.evidence.clone()).collect(),
        risk,
        track_record: TrackRecord {
            tried: records.iter().map(|record| record.tried).sum(),
            promoted: records.iter().map(|record| record.promoted).sum(),
            mean_abs_error: (!errors.is_empty())
                .then(|| errors.iter().sum::<f64>() / errors.len() as f64),
            ..first.track_record
        },
        widened_by: of.iter().map(|of| of.widened_by).fold(1.0, f64::max),
        inputs: Value::Array(all.iter().zip(&of).enumerate().map(input).collect()),
        ..first.clone()
    })
}

fn input((place, (of, details)): (usize, (&Proposal, &Details))) -> Value {
    let p = &of.prediction;
    json!({
        "target": of.target.id, "before": p.before, "after": p.after, "low": p.low, "high": p.high,
        "inputs": if place < SHOWN { details.inputs.clone() } else { Value::Null },
    })
}
