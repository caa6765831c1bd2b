//! What stands out among the keys that were looked at: large ones, and how they expire.
//!
//! Keys are drawn at random, so a large one is found by chance: after as many draws as there are keys with a probability of two in three. Of each only its hash, its type and its
//! size are kept. Groups are keys whose names are the same up to the last colon; their names are hashes too.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use flyball_model::reuse::{Ghosts, lifetime};
use flyball_proto::steering::{
    CacheFacts, KeyFinding, KeyFindingKind, TtlEffect, TtlFindings, TtlGroup,
};

use crate::cache::now_ms;
use crate::cache::watch::Looked;

/// Large keys that are kept, and for how long.
const BIG_KEYS: usize = 8;
const BIG_KEPT: Duration = Duration::from_hours(6);
/// A key is large from this share of the memory in use on, and from so many bytes on.
const BIG_SHARE: f64 = 0.002;
const BIG_BYTES: u64 = 1 << 20;
/// Keys that were drawn lately.
const RECENT: usize = 4096;
/// Keys that a share is told from.
const LEAST: usize = 200;
/// Groups that are told, and the share of the keys from which on one is.
const GROUPS: usize = 8;
const GROUP_SHARE: f64 = 0.01;
/// Share of the keys that expire from which on a group stands for all of them.
const ALL: f64 = 0.9;
/// Other times to live that are told, as multiples.
const TIMES: [f64; 3] = [0.5, 2.0, 4.0];
/// Last part of a life in which a key is near its end, and how many of those tell something.
const LATE: f64 = 0.25;
const LEAST_LATE: f64 = 30.0;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Findings {
    big: Vec<(Looked, Instant)>,
    recent: VecDeque<Looked>,
}

/// Keys of one kind.
#[derive(Debug, Default)]
struct Group {
    keys: usize,
    expiring: usize,
    bytes: f64,
    given_ms: Option<u64>,
    late: f64,
    asked_late: f64,
}

impl Findings {
    /// Takes note of a key that was looked at.
    pub(super) fn take(&mut self, looked: Looked, now: Instant) {
        if u64::from(looked.bytes) >= BIG_BYTES {
            self.big.retain(|(other, at)| {
                other.hash != looked.hash && now.saturating_duration_since(*at) < BIG_KEPT
            });
            self.big.push((looked, now));
            self.big.sort_by_key(|(big, _)| (std::cmp::Reverse(big.bytes), big.hash));
            self.big.truncate(BIG_KEYS);
        }
        if looked.is_drawn {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(looked);
        }
    }

    /// Large keys, the largest first.
    pub(super) fn big(&self, used_bytes: u64, now: Instant) -> Vec<KeyFinding> {
        let least = BIG_BYTES.max((used_bytes as f64 * BIG_SHARE) as u64);
        let is_there = |(big, at): &&(Looked, Instant)| {
            u64::from(big.bytes) >= least && now.saturating_duration_since(*at) < BIG_KEPT
        };
        let finding = |(big, _): &(Looked, Instant)| KeyFinding {
            kind: KeyFindingKind::Big,
            key_hash: format!("{:016x}", big.hash),
            data_type: big.data_type.to_owned(),
            bytes: u64::from(big.bytes),
            share_of_requests: 0.0,
        };
        self.big.iter().filter(is_there).map(finding).collect()
    }

    /// How keys expire.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub(super) fn ttl(
        &self,
        facts: &CacheFacts,
        peak: Option<f64>,
        ghosts: &Ghosts,
    ) -> Result<TtlFindings, String> {
        let drawn = self.recent.len();
        if drawn < LEAST {
            return Err(format!("{drawn} of {LEAST} keys were drawn"));
        }
        let sum = |of: &dyn Fn(&Looked) -> f64| self.recent.iter().map(of).sum::<f64>();
        let bytes = |looked: &Looked| f64::from(looked.bytes);
        let volatile =
            sum(&|looked| if looked.left_ms.is_some() { bytes(looked) } else { 0.0 }) / sum(&bytes);
        let with_ttl = facts.keys_with_ttl as f64 / facts.keys.max(1) as f64;
        Ok(TtlFindings {
            keys_without_ttl: (1.0 - with_ttl).clamp(0.0, 1.0),
            volatile_bytes: if volatile.is_finite() { volatile.clamp(0.0, 1.0) } else { 0.0 },
            expiry_peak: peak.unwrap_or(0.0),
            groups: self.groups(facts, ghosts),
        })
    }

    fn groups(&self, facts: &CacheFacts, ghosts: &Ghosts) -> Vec<TtlGroup> {
        let mut all: HashMap<u64, Group> = HashMap::new();
        for looked in &self.recent {
            all.entry(looked.kind).or_default().add(looked);
        }
        let drawn = self.recent.len() as f64;
        let expiring: usize = all.values().map(|group| group.expiring).sum();
        // Of those that expire, but not always after about the same time, nothing can be told.
        let is_told = |group: &Group| group.expiring == 0 || group.given_ms.is_some();
        let mut groups: Vec<(u64, Group)> = all
            .into_iter()
            .filter(|(_, group)| group.keys as f64 >= GROUP_SHARE * drawn && is_told(group))
            .collect();
        groups.sort_by_key(|(kind, group)| (std::cmp::Reverse(group.keys), *kind));
        groups.truncate(GROUPS);
        let told = |(kind, group): (u64, Group)| TtlGroup {
            prefix: format!("{kind:016x}"),
            share_of_keys: group.keys as f64 / drawn,
            ttl: group.given_ms.map(Duration::from_millis),
            effects: if group.expiring as f64 >= ALL * expiring as f64 {
                group.effects(facts, ghosts)
            } else {
                Vec::new()
            },
        };
        groups.into_iter().map(told).collect()
    }
}

impl Group {
    fn add(&mut self, looked: &Looked) {
        self.keys += 1;
        self.bytes += f64::from(looked.bytes);
        let Some(left_ms) = looked.left_ms else { return };
        self.expiring += 1;
        let Some(given_ms) = looked.given_ms else { return };
        self.given_ms = Some(given_ms);
        let (given, left) = (given_ms as f64, left_ms as f64);
        if let Some(idle_s) = looked.idle_s.filter(|_| left < LATE * given) {
            self.late += 1.0;
            let written_ms = (given - left).max(0.0);
            let cut_ms = written_ms - given * TIMES[0];
            self.asked_late += f64::from(u8::from((idle_s as f64) * 1000.0 < cut_ms));
        }
    }

    /// What other times to live would do. Clocks are of all keys that expire, so this is for a group that is nearly all of them.
    fn effects(&self, facts: &CacheFacts, ghosts: &Ghosts) -> Vec<TtlEffect> {
        let (Some(given_ms), Some(requests)) = (
            self.given_ms,
            facts.hits_per_second.zip(facts.misses_per_second).map(|(hits, misses)| hits + misses),
        ) else {
            return Vec::new();
        };
        let key_bytes = self.bytes / self.keys as f64;
        let asked_late = (self.late >= LEAST_LATE).then(|| self.asked_late / self.late);
        let effect = |factor: f64| {
            // Without keys near their end it is not known what a shorter time would lose.
            let asked_late = if factor < 1.0 { asked_late? } else { 0.0 };
            let (given, other) = (given_ms as f64, given_ms as f64 * factor);
            let effect = lifetime(ghosts, now_ms(), given, other, asked_late)?;
            let delta = effect.hits_per_second / requests;
            delta.is_finite().then(|| TtlEffect {
                ttl: Duration::from_millis(other as u64),
                hit_ratio_delta: delta.clamp(-1.0, 1.0),
                bytes_delta: (effect.keys * key_bytes) as i64,
            })
        };
        TIMES.into_iter().filter_map(effect).collect()
    }
}

#[cfg(test)]
mod tests {
    use flyball_model::reuse::{Cause, Sampling};

    use super::*;

    fn looked(hash: u64, bytes: u32) -> Looked {
        Looked {
            hash,
            kind: 1,
            bytes,
            data_type: "hash",
            idle_s: Some(1),
            left_ms: None,
            given_ms: None,
            is_drawn: true,
        }
    }

    fn facts() -> CacheFacts {
        CacheFacts {
            keys: 1000,
            keys_with_ttl: 500,
            hits_per_second: Some(90.0),
            misses_per_second: Some(10.0),
            ..CacheFacts::default()
        }
    }

    #[test]
    fn the_largest_keys_are_kept_for_a_while() {
        let (mut findings, start) = (Findings::default(), Instant::now());
        for hash in 0..20 {
            findings.take(looked(hash, (hash as u32 + 1) << 19), start);
        }
        findings.take(looked(19, 3 << 20), start);
        let big = findings.big(1 << 30, start);
        assert_eq!((big.len(), big[0].bytes), (8, 19 << 19));
        assert_eq!((&*big[0].key_hash, &*big[0].data_type), ("0000000000000012", "hash"));
        assert!(big.windows(2).all(|pair| pair[0].bytes >= pair[1].bytes));
        assert_eq!(findings.big(1 << 33, start).len(), 0, "there they are small");
        assert_eq!(findings.big(1 << 20, start + BIG_KEPT).len(), 0);
    }

    #[test]
    fn groups_say_how_long_their_keys_live_and_what_others_would_do() {
        let (mut findings, now) = (Findings::default(), Instant::now());
        let mut ghosts = Ghosts::new(Sampling::default());
        assert!(findings.ttl(&facts(), None, &ghosts).unwrap_err().contains("0 of 200"));
        let start = now_ms() - 100_000;
        ghosts.open(start);
        for key in 0..1000 {
            ghosts.gone(key, Cause::Expired, start + key * 90);
            if key % 2 == 0 {
                ghosts.missed(key, start + key * 90 + 1000);
            }
        }
        for i in 0..400_u64 {
            let left = 60_000 - i * 150;
            let (left_ms, given_ms) = (Some(left), Some(60_000));
            let idle_s = Some(if i % 4 == 0 { 0 } else { 50 });
            findings.take(Looked { idle_s, left_ms, given_ms, ..looked(i, 100) }, now);
            findings.take(Looked { kind: 2, ..looked(i + 9000, 300) }, now);
        }
        let ttl = findings.ttl(&facts(), Some(12.0), &ghosts).unwrap();
        assert!((ttl.keys_without_ttl - 0.5).abs() < 1e-9 && (ttl.expiry_peak - 12.0).abs() < 1e-9);
        assert!((ttl.volatile_bytes - 0.25).abs() < 1e-9);
        assert_eq!(ttl.groups.len(), 2);
        let (one, two) = (&ttl.groups[0], &ttl.groups[1]);
        assert_eq!((one.ttl, two.ttl), (Some(Duration::from_mins(1)), None));
        assert!(two.effects.is_empty(), "they do not expire");
        let deltas: Vec<_> = one.effects.iter().map(|effect| effect.hit_ratio_delta).collect();
        assert_eq!(deltas.len(), 3);
        assert!(deltas[0] < 0.0 && deltas[1] > 0.0 && deltas[2] > deltas[1], "{deltas:?}");
        let bytes: Vec<_> = one.effects.iter().map(|effect| effect.bytes_delta).collect();
        assert!(bytes[0] < 0 && bytes[1] > 0 && bytes[2] > bytes[1], "{bytes:?}");
    }
}
