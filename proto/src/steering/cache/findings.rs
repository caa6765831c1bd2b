//! Keys and lifetimes that stand out.

use std::time::Duration;

use crate::series::Invalid;
use crate::steering::check::{amounts, at_most, deltas, each, name, ratios, text};
use crate::steering::policy::millis;
use crate::steering::{MAX_FINDINGS, MAX_NAME_BYTES, MAX_VALUE_BYTES};
use crate::v1;

/// A key that stands out. Its name does not leave the host.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyFinding {
    /// Why it stands out.
    pub kind: KeyFindingKind,
    /// Hash of its name with the agent's own salt: hexadecimal digits, 64 at most.
    pub key_hash: String,
    /// Type as the server names it.
    pub data_type: String,
    /// Memory that it takes.
    pub bytes: u64,
    /// Share of all requests, 0 to 1.
    pub share_of_requests: f64,
}

/// Why a key stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KeyFindingKind {
    /// It gets a large share of the requests.
    Hot,
    /// It takes a large share of the memory.
    Big,
}

/// How keys expire.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TtlFindings {
    /// Share of the keys that never expire, 0 to 1.
    pub keys_without_ttl: f64,
    /// Share of the bytes that belong to keys which expire, 0 to 1.
    pub volatile_bytes: f64,
    /// Most expirations in one second over their mean; 0: not known.
    pub expiry_peak: f64,
    /// Groups of keys by the beginning of their names, the largest first, 64 at most.
    pub groups: Vec<TtlGroup>,
}

/// Keys that are named and expire alike.
#[derive(Debug, Clone, PartialEq)]
pub struct TtlGroup {
    /// Beginning of the names, or a hash of it. At most 256 bytes.
    pub prefix: String,
    /// Share of all keys, 0 to 1.
    pub share_of_keys: f64,
    /// Time that its keys are usually given; `None`: they do not expire.
    pub ttl: Option<Duration>,
    /// What other times would do, 64 at most.
    pub effects: Vec<TtlEffect>,
}

/// What another time to live would do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TtlEffect {
    /// The time.
    pub ttl: Duration,
    /// Change of the hit ratio of the whole cache, -1 to 1.
    pub hit_ratio_delta: f64,
    /// Change of the memory that the group takes.
    pub bytes_delta: i64,
}

impl TryFrom<v1::KeyFinding> for KeyFinding {
    type Error = Invalid;

    fn try_from(finding: v1::KeyFinding) -> Result<Self, Invalid> {
        let kind = match v1::KeyFindingKind::try_from(finding.kind) {
            Ok(v1::KeyFindingKind::Hot) => KeyFindingKind::Hot,
            Ok(v1::KeyFindingKind::Big) => KeyFindingKind::Big,
            Ok(v1::KeyFindingKind::Unspecified) | Err(_) => {
                return Err(Invalid::new("kind", "unknown"));
            }
        };
        name("key_hash", &finding.key_hash)?;
        if !finding.key_hash.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Invalid::new("key_hash", "not hexadecimal"));
        }
        text("type", &finding.r#type, MAX_NAME_BYTES)?;
        ratios(&[("share_of_requests", finding.share_of_requests)])?;
        Ok(Self {
            kind,
            key_hash: finding.key_hash,
            data_type: finding.r#type,
            bytes: finding.bytes,
            share_of_requests: finding.share_of_requests,
        })
    }
}

impl From<KeyFinding> for v1::KeyFinding {
    fn from(finding: KeyFinding) -> Self {
        let kind = match finding.kind {
            KeyFindingKind::Hot => v1::KeyFindingKind::Hot,
            KeyFindingKind::Big => v1::KeyFindingKind::Big,
        };
        Self {
            kind: kind.into(),
            key_hash: finding.key_hash,
            r#type: finding.data_type,
            bytes: finding.bytes,
            share_of_requests: finding.share_of_requests,
        }
    }
}

impl TryFrom<v1::TtlFindings> for TtlFindings {
    type Error = Invalid;

    fn try_from(findings: v1::TtlFindings) -> Result<Self, Invalid> {
        let v1::TtlFindings { keys_without_ttl, volatile_bytes, expiry_peak, groups } = findings;
        ratios(&[("keys_without_ttl", keys_without_ttl), ("volatile_bytes", volatile_bytes)])?;
        amounts(&[("expiry_peak", Some(expiry_peak))])?;
        at_most("groups", &groups, MAX_FINDINGS)?;
        let groups = each("groups", groups)?;
        Ok(Self { keys_without_ttl, volatile_bytes, expiry_peak, groups })
    }
}

impl From<TtlFindings> for v1::TtlFindings {
    fn from(findings: TtlFindings) -> Self {
        Self {
            keys_without_ttl: findings.keys_without_ttl,
            volatile_bytes: findings.volatile_bytes,
            expiry_peak: findings.expiry_peak,
            groups: findings.groups.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::TtlGroup> for TtlGroup {
    type Error = Invalid;

    fn try_from(group: v1::TtlGroup) -> Result<Self, Invalid> {
        text("prefix", &group.prefix, MAX_VALUE_BYTES)?;
        ratios(&[("share_of_keys", group.share_of_keys)])?;
        at_most("effects", &group.effects, MAX_FINDINGS)?;
        Ok(Self {
            prefix: group.prefix,
            share_of_keys: group.share_of_keys,
            ttl: Some(Duration::from_millis(group.ttl_ms)).filter(|ttl| !ttl.is_zero()),
            effects: each("effects", group.effects)?,
        })
    }
}

impl From<TtlGroup> for v1::TtlGroup {
    fn from(group: TtlGroup) -> Self {
        Self {
            prefix: group.prefix,
            share_of_keys: group.share_of_keys,
            ttl_ms: group.ttl.map_or(0, millis),
            effects: group.effects.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<v1::TtlEffect> for TtlEffect {
    type Error = Invalid;

    fn try_from(effect: v1::TtlEffect) -> Result<Self, Invalid> {
        let v1::TtlEffect { ttl_ms, hit_ratio_delta, bytes_delta } = effect;
        deltas(&[("hit_ratio_delta", hit_ratio_delta)])?;
        Ok(Self { ttl: Duration::from_millis(ttl_ms), hit_ratio_delta, bytes_delta })
    }
}

impl From<TtlEffect> for v1::TtlEffect {
    fn from(effect: TtlEffect) -> Self {
        Self {
            ttl_ms: millis(effect.ttl),
            hit_ratio_delta: effect.hit_ratio_delta,
            bytes_delta: effect.bytes_delta,
        }
    }
}
