//! Steps, waves and limits.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::canary::{Like, waves};
use super::super::steps::{MOST_STEPS, steps};
use super::super::*;

fn number(from: u64, to: u64, growth: f64, shrink: f64, always: u64) -> Change {
    let bound = Bound::Number {
        min: 1,
        max: 1 << 40,
        largest_growth: growth,
        largest_shrink: shrink,
        always,
        zero_is: None,
    };
    let (from, to) = (from.to_string(), to.to_string());
    Change { parameter: "maxmemory".into(), from, to, unit: "bytes".into(), bound }
}

fn way(change: &Change) -> Vec<u64> {
    change.steps().unwrap().iter().map(|value| value.parse().unwrap()).collect()
}

proptest! {
    #[test]
    fn steps_lead_to_the_value_one_way_and_none_is_too_large(
        from in 1_u64..1 << 36, ratio in 0.01_f64..100.0,
        growth in 1.01_f64..4.0, shrink in 0.01_f64..0.9, always in 0_u64..1_000,
    ) {
        let to = ((from as f64 * ratio) as u64).max(1);
        let Ok(values) = number(from, to, growth, shrink, always).steps() else { return Ok(()) };
        let values: Vec<u64> = values.iter().map(|value| value.parse().unwrap()).collect();
        prop_assert!(values.len() <= MOST_STEPS && values.last() == Some(&to));
        let mut before = from;
        for value in values {
            prop_assert!((from < to && before < value) || (from > to && before > value));
            let up = value as f64 <= before as f64 * growth;
            let down = value as f64 >= before as f64 * (1.0 - shrink);
            prop_assert!((up && down) || value.abs_diff(before) <= always);
            before = value;
        }
    }

    #[test]
    fn every_member_is_in_one_wave_and_controls_come_later(
        sizes in prop::collection::vec((0.0_f64..1e12, 0.0_f64..1e6), 1..40),
        canary in 0.01_f64..1.0, largest in 0.01_f64..1.0, rollout in "[a-z]{1,8}",
    ) {
        let likes: Vec<Like> = sizes
            .iter()
            .enumerate()
            .map(|(n, &(size, traffic))| {
                Like { target: TargetId(format!("t{n}")), size, traffic }
            })
            .collect();
        let rollout = RolloutId(rollout);
        let all = waves(&rollout, &likes, canary, largest);
        let mut treated = BTreeSet::new();
        for (at, wave) in all.iter().enumerate() {
            let share = if at == 0 { canary.min(largest) } else { largest };
            let most = ((share * likes.len() as f64) as usize).max(1);
            prop_assert!(!wave.members.is_empty() && wave.members.len() <= most);
            prop_assert!(wave.members.iter().all(|&member| treated.insert(member)));
            let controls: BTreeSet<_> = wave.controls.iter().collect();
            prop_assert_eq!(controls.len(), wave.controls.len());
            prop_assert!(controls.iter().all(|control| !treated.contains(*control)));
            let rest = likes.len() - treated.len();
            prop_assert_eq!(controls.len(), wave.members.len().min(rest));
        }
        prop_assert_eq!(treated.len(), likes.len());
        prop_assert!(likes.len() == 1 || !all[0].controls.is_empty());

        let mut turned = likes.clone();
        turned.reverse();
        let names = |likes: &[Like], waves: &[canary::Wave]| -> Vec<BTreeSet<TargetId>> {
            let name = |&member: &usize| likes[member].target.clone();
            waves.iter().map(|wave| wave.members.iter().map(name).collect()).collect()
        };
        let again = waves(&rollout, &turned, canary, largest);
        prop_assert_eq!(names(&turned, &again), names(&likes, &all));
    }
}

#[test]
fn a_cache_doubles_and_shrinks_by_a_few_percent() {
    assert_eq!(way(&number(64, 300, 2.0, 0.1, 0)), [128, 256, 300]);
    assert_eq!(way(&number(100, 75, 2.0, 0.1, 0)), [90, 81, 75]);
    assert_eq!(way(&number(1, 4, 1.5, 0.1, 1)), [2, 3, 4], "a unit is always allowed");
}

#[test]
fn no_limit_begins_at_what_it_stands_for() {
    let mut change = number(0, 150, 2.0, 0.1, 0);
    assert!(matches!(change.steps(), Err(StepError::TooFar { from: 0, .. })));
    if let Bound::Number { zero_is, .. } = &mut change.bound {
        *zero_is = Some(200);
    }
    assert_eq!(way(&change), [180, 162, 150]);
}

#[test]
fn changes_that_lead_nowhere_are_refused() {
    let refused = |change: &Change| change.steps().unwrap_err().to_string();
    assert_eq!(refused(&number(5, 5, 2.0, 0.1, 0)), "it is 5 already");
    let far = refused(&number(1, 1 << 39, 1.1, 0.1, 0));
    assert_eq!(far, "more than 64 steps, or none that is allowed, lead from 1 to 549755813888");
    let outside = refused(&number(5, (1 << 40) + 1, 2.0, 0.1, 0));
    assert_eq!(outside, "1099511627777 is not within 1 to 1099511627776");
    for growth in [1.0, 0.5, f64::NAN, f64::INFINITY] {
        assert!(refused(&number(5, 6, growth, 0.1, 0)).contains("growth"), "{growth}");
    }
    for shrink in [0.0, 1.0, f64::NAN] {
        assert!(refused(&number(5, 6, 2.0, shrink, 0)).contains("shrink"), "{shrink}");
    }
    let mut text = number(5, 6, 2.0, 0.1, 0);
    text.to = "6mb".into();
    assert_eq!(refused(&text), "\"6mb\" is not a whole number");
}

#[test]
fn texts_change_at_once_and_wait_for_numbers() {
    let policy = Change {
        parameter: "maxmemory-policy".into(),
        from: "noeviction".into(),
        to: "allkeys-lfu".into(),
        unit: String::new(),
        bound: Bound::OneOf(vec!["allkeys-lru".into(), "allkeys-lfu".into()]),
    };
    let both = steps(&[policy.clone(), number(64, 200, 2.0, 0.1, 0)]).unwrap();
    let values = |memory: &str| {
        let pairs = [("maxmemory", memory), ("maxmemory-policy", "allkeys-lfu")];
        Values::from(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())))
    };
    assert_eq!(both, [values("128"), values("200")]);
    let other = Change { to: "volatile-ttl".into(), ..policy };
    let (parameter, error) = steps(&[other]).unwrap_err();
    assert_eq!(parameter, "maxmemory-policy");
    assert_eq!(error.to_string(), "volatile-ttl is not within allkeys-lru, allkeys-lfu");
}

#[test]
fn controls_are_the_nearest_by_ratio() {
    let like = |n: usize, size: f64, traffic: f64| Like {
        target: TargetId(format!("t{n}")),
        size,
        traffic,
    };
    let mib = f64::from(1 << 20);
    let likes = [
        like(0, 64.0 * mib, 1_000.0),
        like(1, 128.0 * mib, 1_000.0),
        like(2, 64.0 * mib, 50_000.0),
        like(3, 1_024.0 * mib, 50_000.0),
        like(4, 900.0 * mib, 40_000.0),
        like(5, f64::NAN, f64::INFINITY),
    ];
    let nearest = [1, 0, 3, 4, 3];
    // Another rollout begins with another member, so in time each of them is the canary.
    let mut canaries = BTreeSet::new();
    for n in 0..100 {
        let waves = waves(&RolloutId(format!("r-{n}")), &likes, 0.1, 0.5);
        let (canary, control) = (waves[0].members[0], waves[0].controls[0]);
        canaries.insert(canary);
        assert!(canary == 5 || control == nearest[canary], "{canary} with {control}");
    }
    assert_eq!(canaries.len(), likes.len());
}

#[test]
fn the_canary_leaves_a_control_however_large_its_share() {
    let like = |n: usize| Like { target: TargetId(format!("t{n}")), size: 1.0, traffic: 1.0 };
    let sizes = |members: usize| {
        let likes: Vec<Like> = (0..members).map(like).collect();
        let waves = waves(&RolloutId("r-1".into()), &likes, 1.0, 1.0);
        waves.iter().map(|wave| (wave.members.len(), wave.controls.len())).collect::<Vec<_>>()
    };
    assert_eq!(sizes(4), [(3, 1), (1, 0)]);
    assert_eq!(sizes(2), [(1, 1), (1, 0)]);
    assert_eq!(sizes(1), [(1, 0)]);
    assert_eq!(sizes(0), []);
}

#[test]
fn limits_out_of_range_are_named() {
    assert_eq!(Limits::default().check(), Ok(()));
    let wrong = |change: fn(&mut Limits)| {
        let mut limits = Limits::default();
        change(&mut limits);
        limits.check().unwrap_err().setting
    };
    assert_eq!(wrong(|limits| limits.attempts = 4), "attempts");
    assert_eq!(wrong(|limits| limits.canary_share = 0.5), "canary_share");
    assert_eq!(wrong(|limits| limits.canary_share = f64::NAN), "canary_share");
    assert_eq!(wrong(|limits| limits.lease_ms = 300_000), "lease_ms");
    assert_eq!(wrong(|limits| limits.restore_ms = -1), "restore_ms");
    assert_eq!(wrong(|limits| limits.validate_min_ms = 3_600_001), "validate_min_ms");
    let limits = Limits::default();
    assert_eq!([1, 2, 3].map(|n| limits.cool_down(n) / 60_000), [10, 40, 160]);
}
