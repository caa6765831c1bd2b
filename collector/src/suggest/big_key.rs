//! `cache.big_key`: one key that takes a notable part of the memory.
//!
//! Reading, deleting or evicting it holds up everybody else for as long as it takes, and its room is
//! freed only all at once. The danger is measured: what is predicted is only that the largest piece
//! becomes smaller when it is split.

use flyball_model::record::Better;
use flyball_proto::steering::{KeyFinding, KeyFindingKind};
use serde_json::json;

use super::draft::{Draft, Evidence, Gain, Risk, RiskLevel, bytes, percent};
use super::estimate::Estimate;
use super::ttl::by_hand;
use super::view::CacheView;
use super::{Advisor, Context};

/// A key below this is not big, whatever its share.
const LEAST_BYTES: u64 = 8 << 20;
/// Pieces of this size are served in about a millisecond.
const PIECE_BYTES: u64 = 1 << 20;
/// Most keys that are told at once.
const MOST_KEYS: usize = 3;

/// The advisor.
#[derive(Debug, Clone, Copy)]
pub struct BigKey;

impl Advisor for BigKey {
    fn kind(&self) -> &'static str {
        "cache.big_key"
    }

    fn advise(&self, view: &CacheView, context: &Context<'_>) -> Result<Vec<Draft>, String> {
        let facts = view.facts(context.now_ms, context.settings)?;
        let share = context.settings.big_key_share;
        let least = ((facts.used_bytes as f64 * share) as u64).max(LEAST_BYTES);
        let is_big = |key: &&KeyFinding| key.kind == KeyFindingKind::Big && key.bytes >= least;
        let mut big: Vec<_> = view.report.keys.iter().filter(is_big).collect();
        big.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.key_hash.cmp(&b.key_hash)));
        if big.is_empty() {
            return Err(format!("no key of {} or more was found", bytes(least)));
        }
        Ok(big.into_iter().take(MOST_KEYS).map(|key| draft(view, key, facts.used_bytes)).collect())
    }
}

fn draft(view: &CacheView, key: &KeyFinding, used: u64) -> Draft {
    let hash = &key.key_hash[..key.key_hash.len().min(12)];
    let (name, kind) = (&view.report.target.name, &key.data_type);
    let share = key.bytes as f64 / used.max(1) as f64;
    let pieces = key.bytes.div_ceil(PIECE_BYTES).max(2);
    let piece = (key.bytes as f64 / pieces as f64).ceil();
    Draft {
        kind: "cache.big_key",
        title: format!("Split key {hash} of {name}: one {kind} of {}", bytes(key.bytes)),
        change: vec![by_hand(&format!("pieces of key {hash}"), "1", &pieces.to_string(), "")],
        metric: "flyball.redis.key.largest",
        unit: "By",
        before: key.bytes as f64,
        after: Estimate { value: piece, low: piece, high: (piece * 2.0).min(key.bytes as f64) },
        better: Better::Lower,
        widened_by: 1.0,
        gain: Gain::Danger,
        evidence: vec![
            Evidence::reported(view, "bytes of the key", key.bytes as f64, "By"),
            Evidence::reported(view, "share of the memory", share, "ratio"),
        ],
        risk: Risk::low("smaller pieces are served and freed in less time").and(
            RiskLevel::Medium,
            "readers have to know of the pieces; remove the old key with UNLINK, not DEL",
        ),
        undo: "Write the value under one key again.".to_owned(),
        record: "cache.big_key",
        by_hand: true,
        inputs: json!({
            "key_hash": key.key_hash, "type": kind, "bytes": key.bytes, "share": percent(share),
        }),
    }
}
