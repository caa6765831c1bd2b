//! The mini-Redis against caches that are written down in a few lines, and its own invariants.

use proptest::prelude::*;

use super::*;
use crate::mix::mix64;

const KEY_BYTES: u32 = 200;

/// A server with room for so many keys and the table that they need.
fn server(policy: Policy, keys: u64) -> MiniRedis {
    let table = 8 * keys.next_power_of_two().max(4) + 32;
    MiniRedis::new(Settings::new(policy, keys * u64::from(KEY_BYTES) + table))
}

fn fill(server: &mut MiniRedis, keys: std::ops::Range<u64>, now_ms: u64) {
    keys.for_each(|key| server.write(key, KEY_BYTES, NEVER, now_ms));
}

#[test]
fn a_full_server_evicts_before_the_next_command() {
    let mut server = server(Policy::AllkeysLru, 100);
    fill(&mut server, 0..100, 0);
    assert_eq!((server.keys(), server.counts().evicted), (100, 0));
    fill(&mut server, 100..101, 1000);
    assert_eq!(server.keys(), 101, "the last write is over the limit");
    assert!(!server.read(1000, 1000));
    assert_eq!((server.keys(), server.counts().evicted), (100, 1));
    assert!(server.holds(100, 1000), "what is newest stays");
}

#[test]
fn with_many_samples_it_is_the_oldest_that_goes() {
    let mut settings = Settings::new(Policy::AllkeysLru, 50 * u64::from(KEY_BYTES) + 8 * 64 + 32);
    settings.samples = 50;
    let mut server = MiniRedis::new(settings);
    for second in 0..200 {
        server.write(second, KEY_BYTES, NEVER, second * 1000);
    }
    assert!(!server.read(1000, 200_000));
    let held: Vec<_> = (0..200).filter(|key| server.holds(*key, 200_000)).collect();
    assert_eq!(held, (150..200).collect::<Vec<_>>());
}

#[test]
fn what_is_used_often_stays_with_lfu_and_what_is_used_late_with_lru() {
    let play = |policy| {
        let mut server = server(policy, 1000);
        fill(&mut server, 0..500, 0);
        (0..20).for_each(|_| (0..500).for_each(|key| _ = server.read(key, 1000)));
        // A long scan of keys that nobody asks for again.
        (0..5000).for_each(|key| server.write(10_000 + key, KEY_BYTES, NEVER, 2000 + key));
        (0..500).filter(|key| server.holds(*key, 8000)).count()
    };
    assert_eq!(play(Policy::AllkeysLfu), 500);
    assert_eq!(play(Policy::AllkeysLru), 0);
    assert!(play(Policy::AllkeysRandom) < 50);
}

#[test]
fn volatile_policies_spare_keys_that_do_not_expire() {
    for policy in Policy::ALL.into_iter().filter(|policy| policy.is_volatile()) {
        let mut server = server(policy, 200);
        fill(&mut server, 0..100, 0);
        for key in 100..1000 {
            server.write(key, KEY_BYTES, 1_000_000 + key, key);
        }
        assert!((0..100).all(|key| server.holds(key, 1000)), "{policy:?}");
        assert!(server.counts().evicted > 0, "{policy:?}");
    }
    let mut server = server(Policy::VolatileTtl, 200);
    for key in 0..400 {
        server.write(key, KEY_BYTES, 1_000_000 - key * 1000, 0);
    }
    let held = |keys: std::ops::Range<u64>| keys.filter(|key| server.holds(*key, 1)).count();
    assert!(held(0..100) > 80 && held(300..400) < 60, "those that expire first go first");
}

#[test]
fn a_policy_that_is_changed_finds_old_keys_unused() {
    let mut server = server(Policy::AllkeysLru, 1000);
    let now_ms = 1_700_000_000_000;
    fill(&mut server, 0..1000, now_ms);
    server.set(Policy::AllkeysLfu, server.settings.maxmemory_bytes);
    (0..500).for_each(|key| _ = server.read(key, now_ms));
    // New keys start with a higher count than old ones have, even those just used.
    (0..400).for_each(|key| server.write(10_000 + key, KEY_BYTES, NEVER, now_ms));
    let held = |keys: std::ops::Range<u64>| keys.filter(|key| server.holds(*key, now_ms)).count();
    assert!(held(10_000..10_400) >= 395 && held(0..500) > held(500..1000));
    let mut server = super::tests::server(Policy::AllkeysLru, 1000);
    fill(&mut server, 0..1000, now_ms);
    server.set(Policy::AllkeysLru, server.settings.maxmemory_bytes / 2);
    server.read(0, now_ms);
    assert!(server.keys() < 520, "{}", server.keys());
}

#[test]
fn nothing_is_evicted_where_nothing_may_be() {
    let mut server = server(Policy::NoEviction, 10);
    fill(&mut server, 0..100, 0);
    assert_eq!((server.keys(), server.counts().evicted), (100, 0));
    let mut server = super::tests::server(Policy::VolatileLru, 10);
    fill(&mut server, 0..100, 0);
    assert_eq!(server.keys(), 100, "no key expires");
}

#[test]
fn expired_keys_are_not_hit_and_nearly_all_are_soon_deleted() {
    let mut server = MiniRedis::new(Settings::new(Policy::AllkeysLru, 0));
    for key in 0..10_000 {
        server.write(key, KEY_BYTES, if key % 2 == 0 { 5000 } else { NEVER }, 0);
    }
    assert!(server.read(0, 4999) && !server.read(0, 5000) && server.read(1, 5000));
    for now_ms in (5000..60_000).step_by(100) {
        server.read(1, now_ms);
    }
    assert!(server.keys() < 5600, "{}", server.keys());
    assert!(server.counts().expired > 4400);
    server.expire(1, 60_001, 60_000);
    assert!(server.holds(1, 60_000) && !server.holds(1, 60_001));
    server.expire(1, NEVER, 60_000);
    assert!(server.read(1, 70_000), "it is persistent again");
    server.delete(1, 70_000);
    assert!(!server.read(1, 70_000));
}

#[test]
fn a_table_grows_when_there_is_room_and_late_when_there_is_none() {
    let buckets = |keys: u64, bytes: u32, room: u64| {
        let max = keys * u64::from(bytes) + room;
        let mut server = MiniRedis::new(Settings::new(Policy::AllkeysLru, max));
        (0..keys).for_each(|key| server.write(key, bytes, NEVER, 0));
        server.buckets[0]
    };
    assert!((buckets(1024, 200, 100_000) - 1024.0).abs() < 1e-9);
    assert!((buckets(1025, 200, 100_000) - 2048.0).abs() < 1e-9);
    assert!((buckets(1100, 200, 9000) - 1024.0).abs() < 1e-9, "it would not fit");
    assert!((buckets(1640, 16, 9000) - 1024.0).abs() < 1e-9, "it would not fit");
    assert!((buckets(1660, 16, 9000) - 2048.0).abs() < 1e-9, "chains are too long");
}

/// A tenth of the keys stands for all: the same hit ratio, and a table and memory as large.
#[test]
fn a_share_of_the_keys_stands_for_all() {
    let play = |rate: f64| {
        let bytes = 2_000_000;
        let mut server = MiniRedis::new(Settings {
            rate,
            base_bytes: 100_000,
            ..Settings::new(Policy::AllkeysLru, bytes)
        });
        let mut random = 9;
        for i in 0..600_000_u64 {
            let key = mix64((next_unit(&mut random).powi(3) * 40_000.0) as u64 + 1);
            if key <= (rate * 2_f64.powi(64)) as u64 {
                let now_ms = i;
                if !server.read(key, now_ms) {
                    server.write(key, KEY_BYTES, NEVER, now_ms);
                }
            }
        }
        let counts = server.counts();
        assert!((server.used_bytes() / 2e6 - 1.0).abs() < 0.01, "{}", server.used_bytes());
        counts.hits as f64 / (counts.hits + counts.misses) as f64
    };
    let (all, some) = (play(1.0), play(0.1));
    assert!((all - some).abs() < 0.03, "{all} {some}");
}

proptest! {
    #[test]
    fn it_never_holds_more_than_fits_nor_what_was_deleted(
        steps in prop::collection::vec((0_u64..120, 0_u8..6, 1_u32..4000, 0_u64..900), 1..800),
        which in 0_usize..7,
    ) {
        let settings = Settings::new(Policy::ALL[which], 60_000);
        let mut server = MiniRedis::new(settings);
        let mut now_ms = 0;
        for (key, what, bytes, wait) in steps {
            now_ms += wait;
            match what {
                0 => server.delete(key, now_ms),
                1 => server.expire(key, now_ms + 1000, now_ms),
                2 => server.write(key, bytes, now_ms + 3000, now_ms),
                3 => server.write(key, bytes, NEVER, now_ms),
                _ => {
                    let is_there = server.holds(key, now_ms);
                    let is_hit = server.read(key, now_ms);
                    prop_assert!(is_there || !is_hit);
                    let fits = settings.policy.is_volatile() || server.used_bytes() <= 60_000.0;
                    prop_assert!(fits, "{}", server.used_bytes());
                }
            }
            prop_assert!(what != 0 || !server.holds(key, now_ms));
            prop_assert!(what != 3 || server.holds(key, now_ms));
            let bytes: u64 = (0..120)
                .filter_map(|key| server.find(key))
                .map(|slot| u64::from(server.entries[slot as usize].bytes))
                .sum();
            prop_assert_eq!(bytes, server.bytes);
            let expiring = (0..120).filter_map(|key| server.find(key));
            let expiring = expiring.filter(|slot| server.entries[*slot as usize].dies_ms != NEVER);
            prop_assert_eq!(expiring.count(), server.expiring.len());
        }
    }
}
