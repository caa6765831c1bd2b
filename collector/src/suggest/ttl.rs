//! `cache.ttl`: keys that expire together, too soon, or later than anybody asks for them.
//!
//! No server can be told how long an application lets keys live, so people carry these out. What
//! another time would do is estimated by the agent for each group of keys; that method has never been
//! tested against the truth of a real workload, so its interval is taken as half to one and a half
//! times the value until the track record says something.
//!
//! - *Together*: the most expirations in a second are many times their mean. A random tenth of the
//!   time to live, more or less, spreads them over a fifth of it.
//! - *Too soon*: with a longer time more requests hit, and the memory for it is there.
//! - *Too late*: with a shorter time hardly a request more misses, and memory is free that other keys
//!   are evicted for; what that memory is worth the hit ratio curve says.

use std::time::Duration;

use flyball_model::record::Better;
use flyball_model::rollout::{Bound, Change};
use flyball_proto::steering::{CacheFacts, TtlEffect, TtlFindings, TtlGroup};
use serde_json::json;

use super::draft::{Draft, Evidence, Gain, Risk, RiskLevel, bytes, percent};
use super::estimate::{Estimate, ModelError, at};
use super::view::{CacheView, Recent};
use super::{Advisor, Context};

/// Expirations of the worst second over their mean from which on keys expire together.
const PEAK: f64 = 10.0;
/// Expirations per second below which a peak disturbs nobody.
const LEAST_EXPIRATIONS: f64 = 5.0;
/// Share of the time to live that is drawn at random, to both sides.
const JITTER: f64 = 0.1;
/// Half-width of the interval of an effect, as a share of it.
const UNTESTED: f64 = 0.5;
/// Share of the misses for want of memory from which on free memory is worth something.
const WANTED: f64 = 0.2;

/// The advisor.
#[derive(Debug, Clone, Copy)]
pub struct Ttl;

/// What the three rules look at.
struct Scene<'a> {
    view: &'a CacheView,
    context: &'a Context<'a>,
    facts: &'a CacheFacts,
    recent: &'a Recent,
    ttl: &'a TtlFindings,
    widening: f64,
}

impl Advisor for Ttl {
    fn kind(&self) -> &'static str {
        "cache.ttl"
    }

    fn advise(&self, view: &CacheView, context: &Context<'_>) -> Result<Vec<Draft>, String> {
        let facts = view.facts(context.now_ms, context.settings)?;
        let ttl = view.report.ttl.as_ref().ok_or("how keys expire was not measured yet")?;
        let recent = view.recent()?;
        let widening = context.widening(self.kind(), &view.target());
        let scene = Scene { view, context, facts, recent, ttl, widening };
        let mut drafts = Vec::new();
        let mut reasons = Vec::new();
        let mut take = |result: Result<Draft, String>| match result {
            Ok(draft) => drafts.push(draft),
            Err(reason) => reasons.push(reason),
        };
        take(scene.together());
        for group in &ttl.groups {
            take(scene.longer(group));
            take(scene.shorter(group));
        }
        reasons.dedup();
        if drafts.is_empty() { Err(reasons.join("; ")) } else { Ok(drafts) }
    }
}

impl Scene<'_> {
    fn together(&self) -> Result<Draft, String> {
        let (peak, rate) = (self.ttl.expiry_peak, self.facts.expirations_per_second);
        let rate = rate.filter(|rate| *rate >= LEAST_EXPIRATIONS);
        let Some(rate) = rate.filter(|_| peak >= PEAK) else {
            return Err("keys do not expire together".to_owned());
        };
        let group = self.ttl.groups.iter().find(|group| group.ttl.is_some());
        let group = group.ok_or("which keys expire together is not known")?;
        let ttl = group.ttl.unwrap_or_default();
        // What came in one second comes in a fifth of the time to live, on top of an even rest.
        let spread = (2.0 * JITTER * ttl.as_secs_f64()).max(1.0);
        let after = (peak / spread).max(1.0);
        let after = Estimate { value: after, low: 1.0, high: (2.0 * after).min(peak) };
        let gain = Gain::Load { low: 1.0 - after.widened(self.widening).high / peak };
        super::gates::worth(&gain, self.context.settings)?;
        let whose = prefix(&group.prefix);
        let jitter = format!("{} % at random", (JITTER * 100.0).round());
        Ok(Draft {
            title: format!("Spread the expiry of {whose} in {}", self.view.report.target.name),
            change: vec![by_hand(&format!("jitter of {whose}"), "0 %", &jitter, "")],
            metric: "redis.keys.expired",
            unit: "peak over mean",
            before: peak,
            after: after.widened(self.widening).within(1.0, peak),
            better: Better::Lower,
            gain,
            evidence: vec![
                Evidence::reported(self.view, "expirations, peak over mean", peak, "1"),
                Evidence::metric(self.view, "expirations", "redis.keys.expired", rate, "1/s"),
            ],
            risk: Risk::low("some keys live a tenth shorter, some longer"),
            undo: "Write keys with a fixed time to live again.".to_owned(),
            ..self.draft(group)
        })
    }

    fn longer(&self, group: &TtlGroup) -> Result<Draft, String> {
        let expired = self.view.report.misses.as_ref().map_or(0.0, |misses| misses.expired);
        let most = expired * (1.0 - self.recent.hit_ratio());
        if most <= 0.0 {
            return Err("no request misses because its key had expired".to_owned());
        }
        let ttl = group.ttl.ok_or("some keys do not expire")?;
        let room = self.facts.max_bytes.saturating_sub(self.facts.used_bytes) as i64;
        let fits = |effect: &&TtlEffect| self.facts.max_bytes == 0 || effect.bytes_delta <= room;
        let longer = group.effects.iter().filter(|effect| effect.ttl > ttl);
        let best =
            longer.filter(fits).map(|effect| (effect, self.effect(effect).within(-1.0, most)));
        let best = best.max_by(|(a, x), (b, y)| x.low.total_cmp(&y.low).then(b.ttl.cmp(&a.ttl)));
        let (effect, delta) =
            best.ok_or("no longer time to live was estimated that there is memory for")?;
        let gain = Gain::HitRatio { low: delta.low, misses: 1.0 - self.recent.hit_ratio() };
        super::gates::worth(&gain, self.context.settings)?;
        let risk = Risk::low("nothing is evicted for it").and(
            RiskLevel::Medium,
            "what was changed elsewhere is seen later: ask whether the data may be that old",
        );
        Ok(self.lives(group, ttl, effect, delta, gain, risk))
    }

    fn shorter(&self, group: &TtlGroup) -> Result<Draft, String> {
        let ttl = group.ttl.ok_or("some keys do not expire")?;
        let wanted = self.view.report.misses.as_ref().map_or(0.0, |misses| misses.capacity);
        if wanted < WANTED {
            return Err("memory that a shorter time to live frees is not wanted".to_owned());
        }
        let curve = self.view.curve(self.context.now_ms, self.context.settings)?;
        let here = at(curve, self.facts.max_bytes)?;
        let misses = 1.0 - self.recent.hit_ratio();
        let most = wanted * misses;
        let worth = |effect: &TtlEffect| -> Option<Estimate> {
            let freed = effect.bytes_delta.min(0).unsigned_abs();
            let there = at(curve, self.facts.max_bytes + freed).ok()?;
            let gain = there.less(here).with(ModelError::SIZE, misses).within(0.0, most);
            let loss = self.effect(effect);
            Some(gain.less(loss.negated()).widened(self.widening))
        };
        let shorter = group.effects.iter().filter(|e| e.ttl < ttl && e.bytes_delta < 0);
        let all = shorter.filter_map(|effect| Some((effect, worth(effect)?)));
        let best = all.max_by(|(a, x), (b, y)| x.low.total_cmp(&y.low).then(a.ttl.cmp(&b.ttl)));
        let (effect, delta) =
            best.ok_or("no shorter time to live was estimated that frees memory")?;
        let gain = Gain::HitRatio { low: delta.low, misses };
        super::gates::worth(&gain, self.context.settings)?;
        let risk = Risk::low("keys that nobody asks for any more go sooner")
            .and(RiskLevel::Medium, "keys that are asked for late have to be made again");
        Ok(self.lives(group, ttl, effect, delta, gain, risk))
    }

    /// The agent's estimate with an interval that says how little is known of it.
    fn effect(&self, effect: &TtlEffect) -> Estimate {
        let value = effect.hit_ratio_delta;
        let half = (value * UNTESTED).abs();
        let plain = Estimate { value, low: value - half, high: value + half };
        plain.with(ModelError::SIZE, 1.0 - self.recent.hit_ratio()).widened(self.widening)
    }

    fn lives(
        &self,
        group: &TtlGroup,
        ttl: Duration,
        effect: &TtlEffect,
        delta: Estimate,
        gain: Gain,
        risk: Risk,
    ) -> Draft {
        let whose = prefix(&group.prefix);
        let before = self.recent.hit_ratio();
        let (from, to) = (ttl.as_millis().to_string(), effect.ttl.as_millis().to_string());
        let way = if effect.ttl > ttl { "longer" } else { "shorter" };
        let name = &self.view.report.target.name;
        Draft {
            title: format!("Let {whose} in {name} live {way}: {}", seconds(effect.ttl)),
            change: vec![by_hand(&format!("ttl of {whose}"), &from, &to, "ms")],
            before,
            after: delta.plus(before).within(0.0, 1.0),
            gain,
            evidence: vec![
                Evidence::hit_ratio(self.view, before),
                Evidence::reported(self.view, "share of keys", group.share_of_keys, "ratio"),
                Evidence::reported(self.view, "memory", effect.bytes_delta as f64, "By"),
            ],
            risk,
            undo: format!("Write these keys with {} again.", seconds(ttl)),
            ..self.draft(group)
        }
    }

    fn draft(&self, group: &TtlGroup) -> Draft {
        let effects = group.effects.iter().map(|effect| {
            json!({
                "ttl_ms": effect.ttl.as_millis() as u64,
                "hit_ratio_delta": effect.hit_ratio_delta, "bytes_delta": effect.bytes_delta,
            })
        });
        Draft {
            kind: "cache.ttl",
            title: String::new(),
            change: Vec::new(),
            metric: "redis.hit_ratio",
            unit: "ratio",
            before: 0.0,
            after: Estimate::exact(0.0),
            better: Better::Higher,
            widened_by: self.widening,
            gain: Gain::Danger,
            evidence: Vec::new(),
            risk: Risk::low(""),
            undo: String::new(),
            record: "cache.ttl",
            by_hand: true,
            inputs: json!({
                "prefix": group.prefix, "ttl_ms": group.ttl.map(|ttl| ttl.as_millis() as u64),
                "expiry_peak": self.ttl.expiry_peak, "effects": effects.collect::<Vec<_>>(),
                "memory": bytes(self.facts.used_bytes),
                "miss_ratio": percent(1.0 - self.recent.hit_ratio()),
            }),
        }
    }
}

/// A change that people make.
pub fn by_hand(parameter: &str, from: &str, to: &str, unit: &str) -> Change {
    Change {
        parameter: parameter.to_owned(),
        from: from.to_owned(),
        to: to.to_owned(),
        unit: unit.to_owned(),
        bound: Bound::OneOf(vec![to.to_owned()]),
    }
}

fn prefix(prefix: &str) -> String {
    if prefix.is_empty() { "all keys".to_owned() } else { format!("keys {prefix}*") }
}

fn seconds(time: Duration) -> String {
    format!("{} s", time.as_secs_f64())
}
