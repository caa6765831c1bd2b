//! A pool under standing control from a collector's start on: the journal of a rollout of weights that was promoted, written before there is a collector.
//!
//! A rollout of weights that runs takes minutes, and what is tested with this begins where it ends.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use flyball_collector::steer::journal::{Append, Journal};
use flyball_collector::store::{self, StoreConfig, StoreMetrics};
use flyball_model::journal::Log;
use flyball_model::rollout::{
    Actor, Applied, BalancerLimits, Bound, CONTROLLED, Candidate, Change, Event, Judgement, Limits,
    Member, Outcome, Phase, Prediction, Proposal, RolloutId, SuggestionId, Target, TargetId,
    Verdict, decide,
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::balanced::GROUP;
use crate::load::now_ms;
use crate::process::binary;

/// The rollout.
pub const ROLLOUT: &str = "r-1";
/// Weights from before, that were promoted, and the bounds that were confirmed, of each server.
const WEIGHTS: [(&str, u64, u64); 3] = [("web1", 100, 200), ("web2", 100, 200), ("web3", 100, 160)];
const BOUNDS: (u64, u64) = (10, 256);

/// Writes the journal into the data of a collector that is not there yet: weights of the HAProxys `edge` on these nodes were promoted a minute ago.
///
/// # Errors
/// When the store cannot be opened, or the machine does not promote them.
pub async fn promoted(collector_data: &Path, nodes: &[&str]) -> Result<()> {
    let mut config = StoreConfig::embedded(collector_data);
    config.program = Some(binary("flyball-collector")?);
    let ending = CancellationToken::new();
    let open = store::open(&config, &StoreMetrics::default(), ending).await?;
    let written = write(&Journal::new(&open.store), nodes).await;
    if let Some(engine) = open.engine {
        engine.stop().await;
    }
    written
}

async fn write(journal: &Journal, nodes: &[&str]) -> Result<()> {
    let balancer = BalancerLimits { hold_ms: 0, validate_min_ms: 0, ..Default::default() };
    let limits = Limits { balancer, ..Limits::default() };
    let (mut log, now) = (Log::default(), now_ms() - 60_000);
    let by = Actor { name: "ana".into(), address: "127.0.0.1".into() };
    let id = RolloutId(ROLLOUT.into());
    let confirmed = Event::confirmed(SuggestionId("s-1".into()), by, "go".into());
    let mut first = [Event::Proposed(Box::new(proposal(nodes))), confirmed].into_iter();
    while let Some(event) = first.next().or_else(|| next(&log, &id)) {
        for made in decide(log.state(), &event, now, &limits)?.transitions {
            let row = log.row(&made)?;
            ensure!(journal.append(&row).await? == Append::Ours, "a journal that is not empty");
            log.admit(&row)?;
        }
    }
    let control = log.state().control(&id).context("it is not under control")?;
    ensure!(control.status() == "running", "{}", control.status());
    Ok(())
}

fn proposal(nodes: &[&str]) -> Proposal {
    let change = |&(name, from, to): &(&str, u64, u64)| Change {
        parameter: format!("weight:{GROUP}/{name}"),
        from: from.to_string(),
        to: to.to_string(),
        unit: String::new(),
        bound: Bound::Number {
            min: BOUNDS.0,
            max: BOUNDS.1,
            largest_growth: 2.0,
            largest_shrink: 0.5,
            always: BOUNDS.1,
            zero_is: None,
        },
    };
    let target = |id: String, node: &str, kind: &str, name: &str| Target {
        id: TargetId(id),
        node: node.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let member = |node: &&str| Candidate {
        target: target(format!("haproxy:{node}:edge"), node, "haproxy", "edge"),
        change: WEIGHTS.iter().map(change).collect(),
        size: 3.0,
        traffic: 600.0,
    };
    Proposal {
        id: SuggestionId("s-1".into()),
        kind: CONTROLLED.into(),
        target: target(format!("pool:{GROUP}"), "", "pool", GROUP),
        title: format!("Weights of {GROUP} by capacity"),
        members: nodes.iter().map(member).collect(),
        prediction: Prediction {
            metric: "balancer.latency_ms".into(),
            before: 35.0,
            after: 25.0,
            low: 22.0,
            high: 28.0,
            unit: "ms".into(),
            confidence: 0.9,
        },
        undo: "the old weights".into(),
        details: json!({}),
    }
}

/// What willing agents and a content judge say next.
fn next(log: &Log, id: &RolloutId) -> Option<Event> {
    let rollout = log.state().rollout(id)?;
    if let Some(place) = rollout.members.iter().position(|member| *member == Member::Asked) {
        let target = &rollout.plan.members[place].target;
        return Some(Event::Outcome(Outcome {
            node: target.node.clone(),
            kind: target.kind.clone(),
            name: target.name.clone(),
            rollout: id.clone(),
            revision: log.state().policy(&target.node).revision,
            sequence: 1,
            result: Applied::Applied,
            in_force: log.state().wanted(&target.id)?.values,
        }));
    }
    let verdict = Verdict {
        result: Judgement::Pass,
        metric: "balancer.latency_ms".into(),
        expected: None,
        observed: None,
        samples: 1,
        reason: "it is".into(),
    };
    matches!(rollout.phase, Phase::Validating { .. }).then(|| Event::Judged {
        rollout: id.clone(),
        revision: rollout.revision(),
        verdict,
        inputs: Value::Null,
    })
}
