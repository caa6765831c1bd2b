//! `cache.hot_key`: one key that gets a large share of all requests, which a copy in the application
//! would answer.
//!
//! Of `r` requests per second for a key, spread over `P` processes that each keep a copy for `t`
//! seconds, `P * (r/P) / (1 + (r/P) * t)` still reach the server. How many processes there are is not
//! known; it is at least one and at most the number of clients, and more processes mean that less is
//! saved. So the gain counts as if every client were one.

use flyball_model::record::Better;
use flyball_proto::steering::{KeyFinding, KeyFindingKind};
use serde_json::json;

use super::draft::{Draft, Evidence, Gain, Risk, RiskLevel, percent};
use super::estimate::Estimate;
use super::ttl::by_hand;
use super::view::CacheView;
use super::{Advisor, Context};

/// How long a copy is kept, in seconds.
const COPY_S: f64 = 1.0;
/// Requests per second for a key below which its share does not matter.
const LEAST_RATE: f64 = 100.0;

/// The advisor.
#[derive(Debug, Clone, Copy)]
pub struct HotKey;

impl Advisor for HotKey {
    fn kind(&self) -> &'static str {
        "cache.hot_key"
    }

    fn advise(&self, view: &CacheView, context: &Context<'_>) -> Result<Vec<Draft>, String> {
        view.facts(context.now_ms, context.settings)?;
        let recent = view.recent()?;
        let total = recent.requests_per_second();
        let least = context.settings.hot_key_share;
        let is_hot = |key: &&KeyFinding| {
            key.kind == KeyFindingKind::Hot
                && key.share_of_requests >= least
                && key.share_of_requests * total >= LEAST_RATE
        };
        let hot: Vec<_> = view.report.keys.iter().filter(is_hot).collect();
        if hot.is_empty() {
            return Err(format!("no key gets {} of the requests", percent(least)));
        }
        let clients = recent.clients.filter(|clients| clients.is_finite());
        let clients = clients.ok_or("how many clients share a key is not known")?.max(1.0);
        let widening = context.widening(self.kind(), &view.target());
        let mut reason = String::new();
        let mut drafts = Vec::new();
        for key in hot {
            match draft(view, key, (total, clients), (widening, context)) {
                Ok(draft) => drafts.push(draft),
                Err(why) => reason = why,
            }
        }
        if drafts.is_empty() { Err(reason) } else { Ok(drafts) }
    }
}

/// Requests per second for a key that still reach the server.
fn left(rate: f64, processes: f64) -> f64 {
    let each = rate / processes;
    processes * each / (1.0 + each * COPY_S)
}

fn draft(
    view: &CacheView,
    key: &KeyFinding,
    (total, clients): (f64, f64),
    (widening, context): (f64, &Context<'_>),
) -> Result<Draft, String> {
    let rate = key.share_of_requests * total;
    let others = total - rate;
    let (least, most) = (others + left(rate, 1.0), others + left(rate, clients));
    let after = Estimate { value: most, low: least, high: most }.widened(widening);
    let after = after.within(others, total);
    let gain = Gain::Load { low: 1.0 - after.high / total };
    super::gates::worth(&gain, context.settings)?;
    let hash = &key.key_hash[..key.key_hash.len().min(12)];
    let name = &view.report.target.name;
    Ok(Draft {
        kind: "cache.hot_key",
        title: format!("Keep key {hash} of {name} in the application for {COPY_S} s"),
        change: vec![by_hand(&format!("copies of key {hash}"), "0", "1000", "ms")],
        metric: "redis.keyspace.lookups",
        unit: "1/s",
        before: total,
        after,
        better: Better::Lower,
        widened_by: widening,
        gain,
        evidence: vec![
            Evidence::reported(view, "share of requests", key.share_of_requests, "ratio"),
            Evidence::lookups(view, "redis.keyspace.lookups", "hits + misses", total, "1/s"),
            Evidence::metric(view, "clients", "redis.clients.connected", clients, "1"),
        ],
        risk: Risk::low("the server gets fewer requests").and(
            RiskLevel::Medium,
            "an application may answer with a value that was changed up to a second ago",
        ),
        undo: "Do without the copies again.".to_owned(),
        record: "cache.hot_key",
        by_hand: true,
        inputs: json!({
            "key_hash": key.key_hash, "type": key.data_type, "bytes": key.bytes,
            "share_of_requests": key.share_of_requests,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::left;

    #[test]
    fn more_processes_save_less_and_never_is_more_left_than_there_was() {
        let mut before = 0.0;
        for processes in 1..200 {
            let now = left(1_000.0, f64::from(processes));
            assert!(now > before && now < 1_000.0);
            before = now;
        }
        assert!((left(1_000.0, 10.0) - 10.0 * 100.0 / 101.0).abs() < 1e-9);
    }
}
