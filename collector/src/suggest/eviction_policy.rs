//! `cache.eviction_policy`: another policy, where the same requests would hit more under it.
//!
//! The agent runs both policies side by side on the same sampled requests; what counts is the paired
//! difference, not two levels. Whether counting accesses beats recency cannot be said in general (it
//! brought 1.8 points on one workload and cost one on another), so it is never guessed.

use flyball_model::record::Better;
use flyball_model::rollout::{Bound, Change};
use flyball_proto::steering::{Bounds, PolicyEstimate};
use serde_json::json;

use super::draft::{Draft, Evidence, Gain, Risk, RiskLevel, bytes, percent};
use super::estimate::{Estimate, ModelError};
use super::view::{CacheView, MAXMEMORY_POLICY};
use super::{Advisor, Context};

/// The advisor.
#[derive(Debug, Clone, Copy)]
pub struct EvictionPolicy;

impl Advisor for EvictionPolicy {
    fn kind(&self) -> &'static str {
        "cache.eviction_policy"
    }

    fn advise(&self, view: &CacheView, context: &Context<'_>) -> Result<Vec<Draft>, String> {
        let settings = context.settings;
        let facts = view.facts(context.now_ms, settings)?;
        let present = view.setting(MAXMEMORY_POLICY)?;
        if facts.max_bytes == 0 || present == "noeviction" {
            return Err("it evicts nothing".to_owned());
        }
        if !facts.evictions_per_second.is_some_and(|rate| rate > 0.0) {
            return Err("nothing is evicted, so no policy decides anything".to_owned());
        }
        let recent = view.recent()?;
        let before = recent.hit_ratio();
        let Bounds::OneOf(allowed) = view.settable(MAXMEMORY_POLICY)? else {
            return Err("its agent takes no word for maxmemory-policy".to_owned());
        };
        if view.report.policies.is_empty() {
            return Err("other policies were not measured yet".to_owned());
        }
        let widening = context.widening(self.kind(), &view.target());
        let others =
            view.report.policies.iter().filter(|estimate| {
                estimate.policy != present && allowed.contains(&estimate.policy)
            });
        let delta = |estimate: &PolicyEstimate| {
            let paired = Estimate {
                value: estimate.paired_delta,
                low: estimate.delta_low,
                high: estimate.delta_high,
            };
            let counts = [present, &estimate.policy].iter().any(|policy| policy.ends_with("lfu"));
            let error = if counts { ModelError::FREQUENCY } else { ModelError::SIZE };
            paired.with(error, 1.0 - before).widened(widening)
        };
        let all = others.map(|estimate| (estimate, delta(estimate)));
        let best = all
            .max_by(|(a, x), (b, y)| x.low.total_cmp(&y.low).then_with(|| b.policy.cmp(&a.policy)));
        let (best, delta) = best.ok_or("no other policy that its agent may set was measured")?;
        let gain = Gain::HitRatio { low: delta.low, misses: 1.0 - before };
        super::gates::worth(&gain, settings)?;
        let name = &view.report.target.name;
        let policy = &best.policy;
        Ok(vec![Draft {
            kind: self.kind(),
            title: format!("Evict by {policy} instead of {present} in {name}"),
            change: vec![change(present, policy, allowed)],
            metric: "redis.hit_ratio",
            unit: "ratio",
            before,
            after: delta.plus(before).within(0.0, 1.0),
            better: Better::Higher,
            widened_by: widening,
            gain,
            evidence: vec![
                Evidence::hit_ratio(view, before),
                Evidence::reported(view, "paired difference", best.paired_delta, "ratio"),
                Evidence::reported(view, "memory limit", facts.max_bytes as f64, "By"),
            ],
            risk: risk(present, policy),
            undo: format!(
                "Set maxmemory-policy back to {present}; nothing has to be filled again."
            ),
            record: "cache.eviction_policy",
            by_hand: false,
            inputs: json!({
                "policies": view.report.policies.iter().map(|e| json!({
                    "policy": e.policy, "paired_delta": e.paired_delta,
                    "delta_low": e.delta_low, "delta_high": e.delta_high,
                })).collect::<Vec<_>>(),
                "size": bytes(facts.max_bytes), "miss_ratio": percent(1.0 - before),
            }),
        }])
    }
}

/// What a change between two policies brings with it.
pub fn risk(from: &str, to: &str) -> Risk {
    let mut risk = Risk::low("the policy decides only what is evicted from now on");
    if to.ends_with("lfu") && !from.ends_with("lfu") {
        risk = risk.and(
            RiskLevel::Medium,
            "keys that are there look unused at first: for some minutes fewer requests hit",
        );
    }
    if to.starts_with("allkeys") && !from.starts_with("allkeys") {
        risk = risk.and(
            RiskLevel::High,
            "keys without a time to live can be evicted too: nothing here may be the only copy",
        );
    }
    risk
}

/// Change of `maxmemory-policy`.
pub fn change(from: &str, to: &str, allowed: &[String]) -> Change {
    Change {
        parameter: MAXMEMORY_POLICY.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        unit: String::new(),
        bound: Bound::OneOf(allowed.to_vec()),
    }
}
