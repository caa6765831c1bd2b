//! Who gets a change first, and who stays as it is to compare with.
//!
//! The members are put in the order of a hash of rollout and target. So nobody chooses the canaries,
//! not even by the order of names, another rollout begins with others, and every collector finds
//! the same ones. The first `canary_share` of them are the canary; later waves hold at most
//! `largest_share` of all. A wave's controls are those of the members that are not yet changed whose
//! size and traffic are nearest to each of its own (by ratio, so that 1 GB against 2 GB is as far
//! as 1 MB against 2 MB), each used once.
//!
//! Load balancers go another way ([`staged`]): one, then a tenth, a half and all of them. A pool may have
//! few, so that waves fall together, and many may be on one node.
//!
//! Properties, each a test: each member is in exactly one wave; no wave holds more than its share,
//! or one; controls are never in the wave or an earlier one; with two members or more the canary
//! has a control; the order of the members changes nothing.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::ids::{RolloutId, TargetId};

/// Shares of all load balancers that have a change after each wave but the first, which is one of them.
pub const STAGES: [f64; 3] = [0.1, 0.5, 1.0];

/// What a member is compared by.
#[derive(Debug, Clone, PartialEq)]
pub struct Like {
    /// Which.
    pub target: TargetId,
    /// For example bytes of memory. What is no number counts as zero.
    pub size: f64,
    /// For example requests per second. What is no number counts as zero.
    pub traffic: f64,
}

/// Members that get the change together. Numbers are places in the list of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wave {
    /// Which get it.
    pub members: Vec<usize>,
    /// Which they are compared with; none in the last wave.
    pub controls: Vec<usize>,
}

/// The waves of a rollout, the canary first. None without members.
pub fn waves(
    rollout: &RolloutId,
    members: &[Like],
    canary_share: f64,
    largest_share: f64,
) -> Vec<Wave> {
    let order = ordered(rollout, members);
    let count = |share: f64| ((share * members.len() as f64).floor() as usize).max(1);
    let canaries =
        count(canary_share.min(largest_share)).min(members.len().saturating_sub(1).max(1));
    let mut waves = Vec::new();
    let mut rest = order.as_slice();
    while !rest.is_empty() {
        let size = if waves.is_empty() { canaries } else { count(largest_share) };
        let (wave, later) = rest.split_at(size.min(rest.len()));
        let controls = controls(members, wave, later);
        waves.push(Wave { members: wave.to_vec(), controls });
        rest = later;
    }
    waves
}

/// The waves of a rollout over load balancers: one of them, then up to each of these shares of all, which
/// rise. A share that holds no more than what came before has no wave. None without members.
pub fn staged(rollout: &RolloutId, members: &[Like], shares: &[f64]) -> Vec<Wave> {
    let order = ordered(rollout, members);
    let mut waves = Vec::new();
    let mut done = 0;
    let ends = shares.iter().map(|share| (share * members.len() as f64).floor() as usize);
    for end in std::iter::once(1).chain(ends).chain([members.len()]) {
        let end = end.min(members.len());
        if end > done {
            let controls = controls(members, &order[done..end], &order[end..]);
            waves.push(Wave { members: order[done..end].to_vec(), controls });
            done = end;
        }
    }
    waves
}

/// The members in the order of the hash.
fn ordered(rollout: &RolloutId, members: &[Like]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_cached_key(|&at| (place(rollout, &members[at].target), &members[at].target.0));
    order
}

fn place(rollout: &RolloutId, target: &TargetId) -> u64 {
    let mut hash = Sha256::new();
    hash.update(rollout.0.as_bytes());
    hash.update([0]);
    hash.update(target.0.as_bytes());
    let hash: [u8; 32] = hash.finalize().into();
    hash[..8].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// The nearest of `others` for each of `wave`, each taken once.
fn controls(members: &[Like], wave: &[usize], others: &[usize]) -> Vec<usize> {
    let mut free = others.to_vec();
    let mut taken = Vec::new();
    for &member in wave {
        let nearest = free
            .iter()
            .enumerate()
            .min_by(|(_, a), (_, b)| {
                let (a, b) = (&members[**a], &members[**b]);
                distance(&members[member], a).total_cmp(&distance(&members[member], b))
            })
            .map(|(at, _)| at);
        let Some(nearest) = nearest else { break };
        taken.push(free.remove(nearest));
    }
    taken
}

fn distance(a: &Like, b: &Like) -> f64 {
    let ratio = |a: f64, b: f64| (log(a) - log(b)).abs();
    ratio(a.size, b.size) + ratio(a.traffic, b.traffic)
}

fn log(value: f64) -> f64 {
    if value.is_finite() { value.max(0.0).ln_1p() } else { 0.0 }
}
