//! Keys that are asked for most, from a stream of hashes in little memory.
//!
//! Space-Saving (Metwally et al., ICDT 2005): a fixed number of counters; a key without one takes that with the least count, and inherits it as its possible error. A key with more
//! than one in so many of all requests is always among them; what is told of it is its count less that error, so never too much.

use std::collections::HashMap;

use flyball_proto::steering::{KeyFinding, KeyFindingKind};

/// Counters.
const COUNTERS: usize = 256;
/// Keys that are told, and the least share of the requests.
const TOLD: usize = 8;
const SHARE: f64 = 0.01;
/// Requests that a share is told from.
const LEAST: u64 = 500;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Hot {
    counters: HashMap<u64, (u64, u64)>,
    requests: u64,
}

impl Hot {
    /// Counts a request.
    pub(super) fn count(&mut self, hash: u64) {
        self.requests += 1;
        if let Some((count, _)) = self.counters.get_mut(&hash) {
            *count += 1;
            return;
        }
        let mut error = 0;
        if self.counters.len() == COUNTERS {
            let least = self.counters.iter().min_by_key(|(_, (count, _))| *count);
            if let Some((least, count)) = least.map(|(hash, (count, _))| (*hash, *count)) {
                self.counters.remove(&least);
                error = count;
            }
        }
        self.counters.insert(hash, (error + 1, error));
    }

    /// Keys with a notable share of the requests, the hottest first; `None` when there were too few requests to tell.
    pub(super) fn found(&self) -> Option<Vec<KeyFinding>> {
        if self.requests < LEAST {
            return None;
        }
        let share = |(hash, (count, error)): (&u64, &(u64, u64))| {
            (*hash, (count - error) as f64 / self.requests as f64)
        };
        let mut found: Vec<_> =
            self.counters.iter().map(share).filter(|(_, share)| *share >= SHARE).collect();
        found.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let finding = |(hash, share): (u64, f64)| KeyFinding {
            kind: KeyFindingKind::Hot,
            key_hash: format!("{hash:016x}"),
            data_type: String::new(),
            bytes: 0,
            share_of_requests: share.clamp(0.0, 1.0),
        };
        Some(found.into_iter().take(TOLD).map(finding).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hot_keys_are_found_among_many_and_never_overrated() {
        let mut hot = Hot::default();
        assert_eq!(hot.found(), None);
        for i in 0..100_000_u64 {
            hot.count(if i % 10 == 0 {
                1
            } else if i % 33 == 0 {
                2
            } else {
                1000 + i
            });
        }
        let found = hot.found().unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        let shares: Vec<_> = found.iter().map(|finding| finding.share_of_requests).collect();
        assert!((0.09..=0.1).contains(&shares[0]), "{shares:?}");
        assert!((0.015..=0.0303).contains(&shares[1]), "{shares:?}");
        assert_eq!(found[0].key_hash, "0000000000000001");
        assert!(hot.counters.len() <= COUNTERS);
    }
}
