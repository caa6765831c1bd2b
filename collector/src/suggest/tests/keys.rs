//! `cache.ttl`, `cache.hot_key` and `cache.big_key`.

use std::time::Duration;

use flyball_proto::steering::{KeyFinding, KeyFindingKind, TtlEffect, TtlFindings, TtlGroup};
use proptest::prelude::*;

use super::*;
use crate::suggest::big_key::BigKey;
use crate::suggest::hot_key::HotKey;
use crate::suggest::ttl::Ttl;

const FLAT: Truth = Truth { most: 0.7, scale: 10e6 };
const STEEP: Truth = Truth { most: 0.95, scale: 60e6 };

fn group(effects: &[(u64, f64, i64)]) -> TtlGroup {
    let effect = |&(seconds, hit_ratio_delta, bytes_delta): &(u64, f64, i64)| TtlEffect {
        ttl: Duration::from_secs(seconds),
        hit_ratio_delta,
        bytes_delta,
    };
    TtlGroup {
        prefix: "page:".to_owned(),
        share_of_keys: 0.8,
        ttl: Some(Duration::from_mins(10)),
        effects: effects.iter().map(effect).collect(),
    }
}

/// Keys that would hit more often if they lived longer.
pub(super) fn expiring() -> TtlFindings {
    TtlFindings {
        keys_without_ttl: 0.0,
        volatile_bytes: 1.0,
        expiry_peak: 1.0,
        groups: vec![group(&[(1_200, 0.06, 2 * MIB as i64), (2_400, 0.09, 3 * MIB as i64)])],
    }
}

fn with_ttl(truth: Truth, peak: f64, effects: &[(u64, f64, i64)]) -> CacheView {
    let mut view = view(truth, 64 * MIB);
    view.report.ttl = Some(TtlFindings {
        keys_without_ttl: 0.0,
        volatile_bytes: 1.0,
        expiry_peak: peak,
        groups: vec![group(effects)],
    });
    facts(&mut view).expirations_per_second = Some(100.0);
    view
}

#[test]
fn keys_that_expire_together_are_to_be_spread() {
    let drafts = ask(&Ttl, &with_ttl(FLAT, 200.0, &[])).unwrap();
    let [draft] = &drafts[..] else { panic!("one") };
    assert!(draft.by_hand && draft.change[0].to.contains("10 %"));
    assert!(draft.after.high < draft.before / 2.0, "{draft:?}");
    assert!(ask(&Ttl, &with_ttl(FLAT, 5.0, &[])).unwrap_err().contains("do not expire together"));
    let mut rare = with_ttl(FLAT, 200.0, &[]);
    facts(&mut rare).expirations_per_second = Some(1.0);
    assert!(ask(&Ttl, &rare).unwrap_err().contains("do not expire together"));
}

#[test]
fn a_longer_life_needs_misses_that_it_would_spare_and_memory() {
    let effects = [(1_200, 0.06, 2 * MIB as i64), (2_400, 0.09, 90 * MIB as i64)];
    let mut view = with_ttl(FLAT, 1.0, &effects);
    assert!(ask(&Ttl, &view).unwrap_err().contains("had expired"));
    view.report.misses.as_mut().unwrap().expired = 0.4;
    facts(&mut view).used_bytes = 40 * MIB;
    let drafts = ask(&Ttl, &view).unwrap();
    assert_eq!(
        (drafts[0].change[0].from.as_str(), drafts[0].change[0].to.as_str()),
        ("600000", "1200000")
    );
    assert!(drafts[0].after.low - drafts[0].before >= 0.01);
    facts(&mut view).used_bytes = 63 * MIB;
    assert!(ask(&Ttl, &view).unwrap_err().contains("memory for"));
}

#[test]
fn a_shorter_life_is_worth_what_its_memory_brings_elsewhere() {
    let effects = [(300, -0.001, -(40 * MIB as i64))];
    let drafts = ask(&Ttl, &with_ttl(STEEP, 1.0, &effects)).unwrap();
    assert!(drafts[0].title.contains("shorter"), "{}", drafts[0].title);
    let reason = ask(&Ttl, &with_ttl(FLAT, 1.0, &effects)).unwrap_err();
    assert!(reason.contains("are needed"), "{reason}");
    let costly = [(300, -0.2, -(40 * MIB as i64))];
    assert!(ask(&Ttl, &with_ttl(STEEP, 1.0, &costly)).is_err());
    let mut view = with_ttl(STEEP, 1.0, &effects);
    view.report.misses.as_mut().unwrap().capacity = 0.0;
    assert!(ask(&Ttl, &view).unwrap_err().contains("is not wanted"));
}

proptest! {
    #[test]
    fn a_life_that_is_suggested_gains_at_its_lower_end(
        seconds in 1..10_000_u64, delta in -0.3..0.3_f64, memory in -80..80_i64,
        expired in 0.0..1.0_f64, capacity in 0.0..1.0_f64,
    ) {
        let mut view = with_ttl(STEEP, 1.0, &[(seconds, delta, memory * MIB as i64)]);
        let misses = view.report.misses.as_mut().unwrap();
        (misses.expired, misses.capacity) = (expired, capacity);
        facts(&mut view).used_bytes = 50 * MIB;
        for draft in ask(&Ttl, &view).unwrap_or_default() {
            let needed = 0.01_f64.min(0.1 * (1.0 - draft.before));
            prop_assert!(draft.after.low - draft.before >= needed - 1e-9);
            prop_assert!(draft.after.high <= 1.0 && draft.by_hand);
            prop_assert!(seconds != 600);
        }
    }

    #[test]
    fn a_hot_key_is_told_by_what_the_worst_spread_would_save(
        share in 0.0..1.0_f64, clients in 1.0..10_000.0_f64, per_second in 10.0..1e5_f64,
    ) {
        let mut view = with_key(KeyFindingKind::Hot, 100, share);
        let recent = view.recent.as_mut().unwrap();
        (recent.hits, recent.misses) = (per_second * 300.0, 0.0);
        recent.clients = Some(clients);
        let Ok(drafts) = ask(&HotKey, &view) else { return Ok(()) };
        let draft = &drafts[0];
        prop_assert!(share >= 0.1 && share * per_second >= 100.0);
        prop_assert!(draft.after.high <= 0.9 * draft.before + 1e-6);
        prop_assert!(draft.after.low >= draft.before * (1.0 - share) - 1e-6);
    }
}

fn with_key(kind: KeyFindingKind, bytes: u64, share_of_requests: f64) -> CacheView {
    let mut view = view(FLAT, 64 * MIB);
    view.report.keys = vec![KeyFinding {
        kind,
        key_hash: "00ff00ff00ff00ff".to_owned(),
        data_type: "hash".to_owned(),
        bytes,
        share_of_requests,
    }];
    view
}

#[test]
fn a_hot_key_needs_a_large_share_and_known_clients() {
    let hot = |share| with_key(KeyFindingKind::Hot, 100, share);
    assert!(ask(&HotKey, &hot(0.05)).unwrap_err().contains("no key gets 10.0 %"));
    assert!(ask(&HotKey, &hot(0.4)).unwrap()[0].title.contains("00ff00ff00ff"));
    let mut unknown = hot(0.4);
    unknown.recent.as_mut().unwrap().clients = None;
    assert!(ask(&HotKey, &unknown).unwrap_err().contains("how many clients"));
    let mut many = hot(0.2);
    many.recent.as_mut().unwrap().clients = Some(1e6);
    assert!(ask(&HotKey, &many).unwrap_err().contains("too little"));
    assert!(ask(&HotKey, &with_key(KeyFindingKind::Big, 1, 0.9)).is_err());
}

#[test]
fn a_big_key_is_one_of_the_memory_and_of_many_bytes() {
    let big = |bytes| with_key(KeyFindingKind::Big, bytes, 0.0);
    let draft = ask(&BigKey, &big(20 * MIB)).unwrap().remove(0);
    assert_eq!(draft.change[0].to, "20");
    assert!(draft.after.high < draft.before);
    assert!(ask(&BigKey, &big(7 * MIB)).unwrap_err().contains("8 MiB or more"));
    let mut large = big(20 * MIB);
    facts(&mut large).used_bytes = 64 << 30;
    assert!(ask(&BigKey, &large).is_err(), "a small share");
}
