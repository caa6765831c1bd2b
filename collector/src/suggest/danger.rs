//! Settings that will hurt, whatever the hit ratio is: no limit, no eviction, nothing that may be
//! evicted, and memory that is lost to holes.
//!
//! Here the danger is what is measured, and the gain is that it is gone. What is predicted is that the
//! hit ratio stays as it is, which the judge holds the change to. Kinds are `cache.size` and
//! `cache.eviction_policy`, by what is changed.

use flyball_model::record::Better;
use flyball_model::rollout::{Bound, Change};
use flyball_proto::steering::{Bounds, CacheFacts};
use serde_json::json;

use super::cache_size::GRAIN;
use super::draft::{Draft, Evidence, Gain, Risk, RiskLevel, bytes, percent};
use super::estimate::{Estimate, ModelError};
use super::eviction_policy;
use super::room::HostRoom;
use super::view::{CacheView, MAXMEMORY_POLICY};
use super::{Advisor, Context};

/// Share of the limit from which on a cache that evicts nothing will refuse writes soon.
const NEARLY_FULL: f64 = 0.8;
/// Share of the keys that expire from which on it is a cache and not a database.
const OF_A_CACHE: f64 = 0.5;
/// Share from which on all keys count as expiring.
const ALL: f64 = 0.95;
/// Share of the bytes that may be evicted below which a volatile policy is none.
const FEW_VOLATILE: f64 = 0.1;
/// Share of the host's memory from which on no limit is a danger.
const OF_HOST: f64 = 0.5;
/// Room that a new limit leaves above what is in use, so that nothing is evicted for it.
const ROOM: f64 = 1.25;
/// Resident over used memory from which on much is lost to holes.
const FRAGMENTED: f64 = 1.5;
/// And so many bytes of it: below, it is the fixed part of a process.
const LOST_BYTES: u64 = 256 << 20;
/// Parameter that has the server close holes.
const DEFRAG: &str = "activedefrag";

/// The advisor.
#[derive(Debug, Clone, Copy)]
pub struct Danger;

impl Advisor for Danger {
    fn kind(&self) -> &'static str {
        "cache.settings"
    }

    fn advise(&self, view: &CacheView, context: &Context<'_>) -> Result<Vec<Draft>, String> {
        let facts = view.facts(context.now_ms, context.settings)?;
        let rules = [no_limit, no_eviction, few_volatile, fragmented];
        let mut reasons = Vec::new();
        let mut drafts = Vec::new();
        for rule in rules {
            match rule(view, facts, context) {
                Ok(Some(draft)) => drafts.push(draft),
                Ok(None) => {}
                Err(reason) => reasons.push(reason),
            }
        }
        match (drafts.is_empty(), reasons.is_empty()) {
            (false, _) => Ok(drafts),
            (true, false) => Err(reasons.join("; ")),
            (true, true) => Err("no setting is dangerous".to_owned()),
        }
    }
}

type Found = Result<Option<Draft>, String>;

/// No `maxmemory`: it grows until the kernel ends the server.
fn no_limit(view: &CacheView, facts: &CacheFacts, context: &Context<'_>) -> Found {
    if facts.max_bytes > 0 {
        return Ok(None);
    }
    let host =
        facts.host_memory_bytes.ok_or("it has no maxmemory, and its host's memory is not known")?;
    let share = facts.used_bytes as f64 / host as f64;
    if share < OF_HOST / 2.0 {
        return Ok(None);
    }
    let limit = view.limit()?;
    let room = HostRoom::new(view, facts, context)?;
    let to = room.largest().min(limit.most) / GRAIN * GRAIN;
    if (to as f64) < facts.used_bytes as f64 * ROOM || to < limit.least {
        return Err(format!(
            "it has no maxmemory and uses {} of {}: a limit would evict at once",
            bytes(facts.used_bytes),
            bytes(host)
        ));
    }
    let mut change = vec![limit.change(0, to, Some(to))];
    let policy = view.setting(MAXMEMORY_POLICY)?;
    if policy == "noeviction" && is_cache(facts) {
        change.extend(instead_of_none(view, facts)?);
    }
    let name = &view.report.target.name;
    let draft = Draft {
        kind: "cache.size",
        title: format!("Limit {name}, which uses {} and may use all, to {}", percent(share), bytes(to)),
        change,
        evidence: [
            Evidence::reported(view, "memory in use", facts.used_bytes as f64, "By"),
            Evidence::reported(view, "memory of the host", host as f64, "By"),
        ]
        .into_iter()
        .chain(room.evidence(view, to))
        .collect(),
        risk: Risk::low("the limit is above what is in use: nothing is evicted for it").and(
            RiskLevel::Medium,
            "under noeviction writes fail at the limit, where without one the host runs out of memory",
        ),
        undo: "Set maxmemory back to 0.".to_owned(),
        ..stays(view, facts)?
    };
    Ok(Some(draft))
}

/// `noeviction` on a cache that is nearly full: writes will fail.
fn no_eviction(view: &CacheView, facts: &CacheFacts, _: &Context<'_>) -> Found {
    if facts.max_bytes == 0 || view.setting(MAXMEMORY_POLICY)? != "noeviction" || !is_cache(facts) {
        return Ok(None);
    }
    let full = facts.used_bytes as f64 / facts.max_bytes as f64;
    if full < NEARLY_FULL {
        return Ok(None);
    }
    let name = &view.report.target.name;
    let change = instead_of_none(view, facts)?;
    let Some(to) = change.first().map(|change| change.to.clone()) else { return Ok(None) };
    let draft = Draft {
        kind: "cache.eviction_policy",
        title: format!(
            "Evict by {to} in {name}, which is {} full and will refuse writes",
            percent(full)
        ),
        change,
        evidence: vec![
            Evidence::reported(view, "memory in use", facts.used_bytes as f64, "By"),
            Evidence::reported(view, "memory limit", facts.max_bytes as f64, "By"),
            Evidence::reported(view, "keys that expire", expiring(facts), "ratio"),
        ],
        risk: eviction_policy::risk("noeviction", &to),
        undo: "Set maxmemory-policy back to noeviction.".to_owned(),
        ..stays(view, facts)?
    };
    Ok(Some(draft))
}

/// A `volatile` policy where hardly anything expires: it cannot evict, and writes will fail.
fn few_volatile(view: &CacheView, facts: &CacheFacts, _: &Context<'_>) -> Found {
    let Ok(policy) = view.setting(MAXMEMORY_POLICY) else { return Ok(None) };
    let Some(way) = policy.strip_prefix("volatile-") else { return Ok(None) };
    let volatile = view.report.ttl.as_ref().map(|ttl| ttl.volatile_bytes);
    let volatile = volatile.unwrap_or_else(|| expiring(facts));
    let full = facts.used_bytes as f64 / facts.max_bytes.max(1) as f64;
    if facts.max_bytes == 0 || volatile >= FEW_VOLATILE || full < NEARLY_FULL || facts.keys == 0 {
        return Ok(None);
    }
    let Bounds::OneOf(allowed) = view.settable(MAXMEMORY_POLICY)? else {
        return Err("its agent takes no word for maxmemory-policy".to_owned());
    };
    let way = if way == "ttl" { "lru" } else { way };
    let to = format!("allkeys-{way}");
    if !allowed.contains(&to) {
        return Err(format!("its agent may not set {to}"));
    }
    let name = &view.report.target.name;
    let draft = Draft {
        kind: "cache.eviction_policy",
        title: format!("Evict by {to} in {name}: only {} of it may be evicted", percent(volatile)),
        change: vec![eviction_policy::change(policy, &to, allowed)],
        evidence: vec![
            Evidence::reported(view, "bytes that expire", volatile, "ratio"),
            Evidence::reported(view, "memory in use", facts.used_bytes as f64, "By"),
            Evidence::reported(view, "memory limit", facts.max_bytes as f64, "By"),
        ],
        risk: eviction_policy::risk(policy, &to),
        undo: format!("Set maxmemory-policy back to {policy}; what was evicted is gone."),
        ..stays(view, facts)?
    };
    Ok(Some(draft))
}

/// Holes: the process takes far more than is in use.
fn fragmented(view: &CacheView, facts: &CacheFacts, _: &Context<'_>) -> Found {
    let Some((ratio, rss)) = facts.fragmentation.zip(facts.rss_bytes) else { return Ok(None) };
    let lost = rss.saturating_sub(facts.used_bytes);
    if ratio < FRAGMENTED || lost < LOST_BYTES {
        return Ok(None);
    }
    let what = format!("{} of its memory are holes", bytes(lost));
    let Ok(present) = view.setting(DEFRAG) else {
        return Err(format!("{what}; {DEFRAG} is not known"));
    };
    if present == "yes" {
        return Err(format!("{what}, and the server is closing them"));
    }
    view.settable(DEFRAG).map_err(|why| format!("{what}; {why}"))?;
    let name = &view.report.target.name;
    let draft = Draft {
        kind: "cache.size",
        title: format!("Have {name} close its holes: {} are lost", bytes(lost)),
        change: vec![Change {
            parameter: DEFRAG.to_owned(),
            from: present.to_owned(),
            to: "yes".to_owned(),
            unit: String::new(),
            bound: Bound::OneOf(vec!["yes".to_owned(), "no".to_owned()]),
        }],
        evidence: vec![
            Evidence::reported(view, "resident over used", ratio, "1"),
            Evidence::reported(view, "resident memory", rss as f64, "By"),
        ],
        risk: Risk::low("no key is lost")
            .and(RiskLevel::Medium, "moving memory takes some of the server's one processor"),
        undo: format!("Set {DEFRAG} back to {present}."),
        ..stays(view, facts)?
    };
    Ok(Some(draft))
}

/// The policy to have in the place of none: only what expires anyway may go, unless that is all.
fn instead_of_none(view: &CacheView, facts: &CacheFacts) -> Result<Vec<Change>, String> {
    let to = if expiring(facts) >= ALL { "allkeys-lru" } else { "volatile-lru" };
    match view.settable(MAXMEMORY_POLICY)? {
        Bounds::OneOf(allowed) if allowed.iter().any(|word| word == to) => {
            Ok(vec![eviction_policy::change("noeviction", to, allowed)])
        }
        _ => Err(format!("its agent may not set {to}")),
    }
}

fn expiring(facts: &CacheFacts) -> f64 {
    facts.keys_with_ttl as f64 / facts.keys.max(1) as f64
}

fn is_cache(facts: &CacheFacts) -> bool {
    facts.keys > 0 && expiring(facts) >= OF_A_CACHE
}

/// A draft that predicts that the hit ratio stays as it is.
fn stays(view: &CacheView, facts: &CacheFacts) -> Result<Draft, String> {
    let before = view.recent()?.hit_ratio();
    let after = Estimate::exact(before).with(ModelError::SIZE, 1.0 - before).within(0.0, 1.0);
    Ok(Draft {
        kind: "cache.size",
        title: String::new(),
        change: Vec::new(),
        metric: "redis.hit_ratio",
        unit: "ratio",
        before,
        after,
        better: Better::Higher,
        widened_by: 1.0,
        gain: Gain::Danger,
        evidence: Vec::new(),
        risk: Risk::low(""),
        undo: String::new(),
        record: "cache.settings",
        by_hand: false,
        inputs: json!({ "keys": facts.keys, "keys_with_ttl": facts.keys_with_ttl }),
    })
}
