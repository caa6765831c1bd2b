//! What a server hits on its way to a larger size.
//!
//! It does not hit as it will at once: it has to fill first. But from the first moment on it keeps
//! what it would have evicted, so after a time `u` it has saved the misses of all keys evicted since
//! that were asked for within `u`. That is known beforehand from the clocks of evicted keys, and tells
//! soon whether a change does what it should. Shrinking needs nothing of the kind: it is done at once.

use super::{Ghosts, Memory, Present, tail};

/// The hit ratio so long after the change.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grown {
    /// Milliseconds since then.
    pub after_ms: u64,
    /// Hits of the requests at that time.
    pub hit_ratio: f64,
}

/// The way to this size, by growing time; it ends where the server is full again, or where what was
/// seen ends. Empty for a size that is no larger, or when too little was seen.
pub fn growth(
    present: &Present,
    ghosts: &Ghosts,
    now_ms: u64,
    maxmemory_bytes: f64,
    bytes_scale: f64,
) -> Vec<Grown> {
    let Some(memory) = Memory::full(present) else { return Vec::new() };
    if maxmemory_bytes <= present.maxmemory_bytes || present.evictions_per_second <= 0.0 {
        return Vec::new();
    }
    let knots = tail::knots(&ghosts.blocks(now_ms), present, &memory, bytes_scale);
    let keys_of = |bytes: f64| bytes / memory.key_bytes();
    let full = memory.fitting_bytes(maxmemory_bytes, keys_of);
    let reached = knots.iter().take_while(|knot| knot.data_bytes <= full);
    let miss_ratio = 1.0 - present.hit_ratio;
    reached
        .map(|knot| Grown {
            after_ms: knot.age_ms as u64,
            hit_ratio: present.hit_ratio + miss_ratio * knot.saved.min(1.0),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::lab::{Kind, Lab, Workload};
    use super::super::{Answer, Priors, Sampling, curve};
    use super::*;
    use crate::emulate::{MiniRedis, Policy};

    const SIZE: u64 = 4_000_000;

    #[test]
    fn a_server_that_grows_goes_that_way() {
        let workload = Workload::new(Kind::Drifting, 40_000, 1600.0, 1);
        let mut lab = Lab::new(workload, Policy::AllkeysLru, SIZE);
        lab.run(90.0, &mut |_: &mut MiniRedis, _| {});
        let seen = lab.watch(120.0, 500.0, Sampling { max_keys: 1 << 16, max_rate: 1.0 });
        let way = growth(&seen.present, &seen.ghosts, seen.now_ms, 2.0 * SIZE as f64, 1.0);
        assert!(
            way.windows(2)
                .all(|w| { w[0].after_ms < w[1].after_ms && w[0].hit_ratio <= w[1].hit_ratio })
        );
        lab.server.set(Policy::AllkeysLru, 2 * SIZE);
        let last = *way.last().unwrap();
        let at =
            |ms: f64| way.iter().find(|step| step.after_ms as f64 >= ms).unwrap_or(&last).hit_ratio;
        let mut errors = Vec::new();
        for step in 0..last.after_ms / 5000 {
            let is = lab.run(5.0, &mut |_: &mut MiniRedis, _| {});
            let said = at(step as f64 * 5000.0 + 2500.0);
            println!("{step}: {is:.4} {said:.4}");
            errors.push((is - said).abs());
        }
        let mean = errors.iter().sum::<f64>() / errors.len() as f64;
        assert!(errors.len() > 5 && mean < 0.008, "{mean}");
        let curve = curve(&seen.present, &seen.ages, &seen.ghosts, seen.now_ms, &Priors::default());
        let Answer::Estimate(there) = curve.unwrap().at(2 * SIZE) else { panic!("in reach") };
        assert!((there.hit_ratio - last.hit_ratio).abs() < 0.01, "{there:?} {last:?}");
        assert_eq!(growth(&seen.present, &seen.ghosts, seen.now_ms, SIZE as f64, 1.0), []);
    }
}
