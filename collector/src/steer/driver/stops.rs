//! Hard stops: what ends a rollout at once, without statistics.
//!
//! The rules are the judge's ([`hard_stop`]); here are the facts. How long something has been so, and
//! what servers had counted before ([`Counts`]), is kept in memory: after a restart it counts anew, which
//! delays a stop by that time at most. That an agent is silent, or that another hand changed a setting,
//! is told by its stream and its outcomes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flyball_model::judge::{
    Bound, ErrorBurst, Facts, HardStop, Process, StopLimits, Worse, hard_stop,
};
use flyball_model::rollout::{Rollout, RolloutId, TargetId};
use flyball_proto::steering::{CacheReport, CacheState};
use serde_json::{Value, json};

use super::counts::{Base, Counts, Since};
use super::settings::JudgeSettings;

type Key = (RolloutId, TargetId);

/// What has been so since when, epoch milliseconds, and what was counted.
#[derive(Debug, Default)]
pub(super) struct Watch {
    gone: BTreeMap<Key, i64>,
    full: BTreeMap<Key, i64>,
    bases: BTreeMap<Key, Base>,
    counts: BTreeMap<TargetId, Counts>,
}

impl Watch {
    /// Takes note of what a target's server has counted, also before a change.
    pub(super) fn note(&mut self, target: &TargetId, report: &CacheReport, now_ms: i64) {
        if let Some(counters) = &report.counters {
            self.counts.entry(target.clone()).or_default().note(counters, now_ms);
        }
    }

    /// The reason to stop a rollout for one of its touched targets, if there is one, with the facts.
    pub(super) fn look(
        &mut self,
        rollout: &Rollout,
        report: impl Fn(&TargetId) -> Option<Arc<CacheReport>>,
        settings: &JudgeSettings,
        now_ms: i64,
    ) -> Option<(String, Value)> {
        let limits = settings.stops(rollout.plan.limits.silent_ms);
        let members = rollout.plan.members.iter().zip(&rollout.members);
        for (place, (planned, _)) in members.enumerate().filter(|(_, (_, m))| m.is_touched()) {
            let target = &planned.target.id;
            let Some(report) = report(target) else { continue };
            let key = (rollout.id.clone(), target.clone());
            let since = self.since(&key, rollout.touched_at_ms(place), &report, now_ms);
            let facts = self.facts(key, rollout, &report, since, (settings, &limits), now_ms);
            if let Some(stop) = hard_stop(&facts, &limits) {
                return Some((format!("{target}: {}", words(&stop)), json!(facts)));
            }
        }
        None
    }

    /// Forgets all rollouts and targets but these.
    pub(super) fn keep(&mut self, going: &[RolloutId], targets: &BTreeSet<TargetId>) {
        self.gone.retain(|(rollout, _), _| going.contains(rollout));
        self.full.retain(|(rollout, _), _| going.contains(rollout));
        self.bases.retain(|(rollout, _), _| going.contains(rollout));
        self.counts.retain(|target, _| targets.contains(target));
    }

    /// What was counted since the change; nothing where it is not known what was before.
    fn since(&mut self, key: &Key, changed_at_ms: i64, report: &CacheReport, now_ms: i64) -> Since {
        let (Some(counts), Some(now)) = (self.counts.get(&key.1), &report.counters) else {
            return Since::default();
        };
        if !self.bases.contains_key(key)
            && let Some(base) = counts.base(changed_at_ms)
        {
            self.bases.insert(key.clone(), base);
        }
        let base = self.bases.get(key);
        base.map(|base| counts.since(base, now, now_ms)).unwrap_or_default()
    }

    fn facts(
        &mut self,
        key: Key,
        rollout: &Rollout,
        report: &CacheReport,
        counted: Since,
        (settings, limits): (&JudgeSettings, &StopLimits),
        now_ms: i64,
    ) -> Facts {
        let gone_ms = since(&mut self.gone, key.clone(), is_gone(report), now_ms);
        let memory = memory(report);
        let share = memory.map_or(0.0, |(used, of)| used / of);
        let full_ms = since(&mut self.full, key, share > settings.max_memory_share, now_ms);
        let bound = |(value, of): (f64, f64)| Bound {
            name: "resident memory of the server".to_owned(),
            value,
            limit: of * settings.max_memory_share,
            worse: Worse::Higher,
            for_ms: full_ms,
        };
        let process = match counted.is_restarted {
            _ if gone_ms >= limits.breach_ms => Process::Gone,
            Some(true) => Process::Restarted,
            Some(false) => Process::Running,
            None => Process::Unknown,
        };
        Facts {
            now_ms,
            changed_at_ms: rollout.started_at_ms,
            // The streams tell who is silent.
            last_heard_ms: Some(now_ms),
            process,
            out_of_memory: counted.out_of_memory,
            errors: counted.errors.map(|(errors, requests)| ErrorBurst { errors, requests }),
            bounds: memory.map(bound).into_iter().collect(),
            settings: Vec::new(),
        }
    }
}

fn words(stop: &HardStop) -> String {
    stop.to_string()
}

/// For how long it has been so.
fn since(
    known: &mut BTreeMap<(RolloutId, TargetId), i64>,
    key: (RolloutId, TargetId),
    is_so: bool,
    now_ms: i64,
) -> i64 {
    if is_so {
        return now_ms.saturating_sub(*known.entry(key).or_insert(now_ms)).max(0);
    }
    known.remove(&key);
    0
}

fn is_gone(report: &CacheReport) -> bool {
    matches!(report.state, CacheState::Unreachable | CacheState::Slow)
}

/// Memory of the server's process, and of its host.
fn memory(report: &CacheReport) -> Option<(f64, f64)> {
    let facts = report.facts.as_ref()?;
    let (used, of) = (facts.rss_bytes?, facts.host_memory_bytes.filter(|bytes| *bytes > 0)?);
    Some((used as f64, of as f64))
}
