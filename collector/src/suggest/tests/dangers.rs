//! Settings that will hurt.

use flyball_proto::steering::TtlFindings;

use flyball_model::record::records;

use super::*;
use crate::suggest::danger::Danger;
use crate::suggest::draft::RiskLevel;
use crate::suggest::history::trials;

const FLAT: Truth = Truth { most: 0.7, scale: 10e6 };

fn under(policy: &str) -> CacheView {
    let mut view = view(FLAT, 1 << 30);
    view.report.settings.insert("maxmemory-policy".into(), policy.into());
    view
}

fn danger(view: &CacheView) -> Result<Draft, String> {
    ask(&Danger, view).map(|mut drafts| drafts.remove(0))
}

#[test]
fn a_safe_cache_has_no_danger() {
    assert_eq!(danger(&under("allkeys-lru")).unwrap_err(), "no setting is dangerous");
}

#[test]
fn a_full_cache_that_evicts_nothing_is_to_evict_what_expires() {
    let mut view = under("noeviction");
    let draft = danger(&view).unwrap();
    assert_eq!((draft.kind, draft.change[0].to.as_str()), ("cache.eviction_policy", "allkeys-lru"));
    facts(&mut view).keys_with_ttl = 700_000;
    let draft = danger(&view).unwrap();
    assert_eq!(draft.change[0].to, "volatile-lru", "what does not expire may be data");
    assert!(draft.after.low <= draft.before && draft.before <= draft.after.high);
    facts(&mut view).keys_with_ttl = 100_000;
    assert!(danger(&view).is_err(), "a database");
    facts(&mut view).keys_with_ttl = 1_000_000;
    facts(&mut view).used_bytes = 1 << 29;
    assert!(danger(&view).is_err(), "far from full");
}

#[test]
fn a_policy_that_finds_nothing_to_evict_is_to_take_any_key_at_high_risk() {
    let mut view = under("volatile-lfu");
    let volatile = |share| Some(TtlFindings { volatile_bytes: share, ..TtlFindings::default() });
    view.report.ttl = volatile(0.05);
    let draft = danger(&view).unwrap();
    assert_eq!(draft.change[0].to, "allkeys-lfu");
    assert_eq!(draft.risk.level, RiskLevel::High);
    view.report.ttl = volatile(0.2);
    assert!(danger(&view).is_err());
    view.report.ttl = None;
    facts(&mut view).keys_with_ttl = 10;
    assert!(danger(&view).is_ok(), "keys stand for bytes that are not known");
    view.settable.remove("maxmemory-policy");
    assert!(danger(&view).unwrap_err().contains("may not set"));
}

#[test]
fn a_limit_is_set_above_what_is_in_use_or_not_at_all() {
    let mut view = under("allkeys-lru");
    let of_host = |view: &mut CacheView, used: u64, available: u64| {
        let facts = facts(view);
        (facts.max_bytes, facts.used_bytes) = (0, used << 30);
        facts.host_memory_bytes = Some(16 << 30);
        facts.host_available_bytes = Some(available << 30);
    };
    of_host(&mut view, 6, 9);
    let draft = danger(&view).unwrap();
    let to: u64 = draft.change[0].to.parse().unwrap();
    assert!(((6 << 30) * 5 / 4..=14 << 30).contains(&to), "{to}");
    assert_eq!(draft.change[0].steps().unwrap(), [to.to_string()], "at once: nothing is evicted");
    of_host(&mut view, 1, 14);
    assert!(danger(&view).is_err(), "far from the host's end");
    of_host(&mut view, 12, 3);
    assert!(danger(&view).unwrap_err().contains("would evict at once"));
    of_host(&mut view, 6, 9);
    view.report.settings.insert("maxmemory-policy".into(), "noeviction".into());
    let draft = danger(&view).unwrap();
    let parameters: Vec<_> = draft.change.iter().map(|c| c.parameter.as_str()).collect();
    assert_eq!(parameters, ["maxmemory", "maxmemory-policy"], "a limit alone would refuse writes");
}

#[test]
fn holes_are_closed_where_that_may_be_set() {
    let mut view = under("allkeys-lru");
    facts(&mut view).fragmentation = Some(1.8);
    facts(&mut view).rss_bytes = Some(2 << 30);
    assert!(danger(&view).unwrap_err().contains("is not known"));
    view.report.settings.insert("activedefrag".into(), "no".into());
    assert!(danger(&view).unwrap_err().contains("may not set activedefrag"));
    let words = Bounds::OneOf(vec!["yes".into(), "no".into()]);
    view.settable.insert("activedefrag".into(), words);
    assert_eq!(danger(&view).unwrap().change[0].to, "yes");
    facts(&mut view).rss_bytes = Some((1 << 30) + 100 * MIB);
    assert!(danger(&view).is_err(), "the fixed part of a process");
}

#[test]
fn a_danger_that_went_is_no_trial_of_those_who_predict_gains() {
    let mut view = under("noeviction");
    view.node = NodeName::new("a").unwrap();
    let (mut state, mut now_ms) = (State::default(), NOW_MS);
    let proposal = advise(&[view], &context(&[]), &state).proposals.remove(0);
    assert_eq!(proposal.kind, "cache.eviction_policy");
    propose(&mut state, std::slice::from_ref(&proposal));
    carried_out(&mut state, &proposal.id, by("ann"), Judgement::Pass, &mut now_ms);
    let tried = |kind| records(&trials(&state), kind, "redis:a:sessions").everywhere.tried;
    assert_eq!((tried("cache.settings"), tried("cache.eviction_policy")), (1, 0));
}
