//! Hard stops.

use proptest::prelude::*;

use crate::judge::{
    Bound, ErrorBurst, Facts, HardStop, InForce, Process, StopLimits, Worse, hard_stop,
};

fn fine() -> Facts {
    Facts {
        now_ms: 100_000,
        changed_at_ms: 50_000,
        last_heard_ms: Some(95_000),
        process: Process::Running,
        out_of_memory: 0,
        errors: Some(ErrorBurst { errors: 3, requests: 1000 }),
        bounds: vec![Bound {
            name: "redis.memory.rss".into(),
            value: 1e8,
            limit: 2e8,
            worse: Worse::Higher,
            for_ms: 0,
        }],
        settings: vec![InForce {
            parameter: "maxmemory".into(),
            wanted: "134217728".into(),
            found: Some("134217728".into()),
        }],
    }
}

fn stop(facts: &Facts) -> Option<String> {
    hard_stop(facts, &StopLimits::default()).map(|stop| stop.to_string())
}

#[test]
fn nothing_wrong_and_nothing_known_stop_nothing() {
    assert_eq!(stop(&fine()), None);
    let unknown = Facts {
        process: Process::Unknown,
        errors: None,
        bounds: vec![Bound { value: f64::NAN, for_ms: i64::MAX, ..fine().bounds[0].clone() }],
        settings: vec![InForce { found: None, ..fine().settings[0].clone() }],
        ..fine()
    };
    assert_eq!(stop(&unknown), None);
    assert_eq!(stop(&Facts { last_heard_ms: Some(i64::MAX), ..fine() }), None);
}

#[test]
fn each_reason_stops_and_says_so() {
    let says = |facts: Facts, words: &str| assert_eq!(stop(&facts).as_deref(), Some(words));
    says(Facts { process: Process::Gone, ..fine() }, "the target is gone");
    says(Facts { process: Process::Restarted, ..fine() }, "the target has started anew");
    says(Facts { out_of_memory: 2, ..fine() }, "memory ran out 2 times");
    let errors = Some(ErrorBurst { errors: 100, requests: 1000 });
    says(Facts { errors, ..fine() }, "100 errors in 1000 requests");
    let mut broken = fine();
    broken.bounds[0].value = 2.5e8;
    broken.bounds[0].for_ms = 14_999;
    assert_eq!(stop(&broken), None);
    broken.bounds[0].for_ms = 15_000;
    says(broken, "redis.memory.rss is 250000000, above 200000000, for 15 s");
    says(Facts { last_heard_ms: Some(69_999), ..fine() }, "nothing was heard for 30 s");
    says(Facts { last_heard_ms: None, ..fine() }, "nothing was heard for 50 s");
    let mut drifted = fine();
    drifted.settings[0].found = Some("0".into());
    says(drifted, "maxmemory is 0 where 134217728 was set");
}

#[test]
fn few_errors_are_no_burst_whatever_their_share() {
    let errors = Some(ErrorBurst { errors: 9, requests: 9 });
    assert_eq!(stop(&Facts { errors, ..fine() }), None);
}

#[test]
fn the_gravest_reason_is_named() {
    let all = Facts { process: Process::Gone, out_of_memory: 1, last_heard_ms: None, ..fine() };
    let found = hard_stop(&all, &StopLimits::default());
    assert_eq!(found, Some(HardStop::Crashed { gone: true }));
}

fn facts() -> impl Strategy<Value = Facts> {
    let process = prop_oneof![
        3 => Just(Process::Running),
        1 => Just(Process::Unknown),
        1 => Just(Process::Gone),
        1 => Just(Process::Restarted),
    ];
    let bound = (any::<f64>(), any::<f64>(), any::<i64>(), any::<bool>()).prop_map(
        |(value, limit, for_ms, higher)| Bound {
            name: "bound".into(),
            value,
            limit,
            worse: if higher { Worse::Higher } else { Worse::Lower },
            for_ms,
        },
    );
    let errors =
        (0_u64..50, 0_u64..500).prop_map(|(errors, requests)| ErrorBurst { errors, requests });
    let times = (any::<i64>(), prop::option::of(any::<i64>()));
    (process, 0_u64..2, prop::option::of(errors), prop::collection::vec(bound, 0..3), times)
        .prop_map(|(process, out_of_memory, errors, bounds, (now_ms, last_heard_ms))| Facts {
            now_ms,
            changed_at_ms: 0,
            last_heard_ms,
            process,
            out_of_memory,
            errors,
            bounds,
            settings: Vec::new(),
        })
}

proptest! {
    #[test]
    fn worse_facts_never_take_a_stop_away(facts in facts(), more in 1_u64..100) {
        let limits = StopLimits::default();
        let before = hard_stop(&facts, &limits);
        prop_assert_eq!(&before, &hard_stop(&facts, &limits));
        let mut worse = facts.clone();
        worse.out_of_memory += more;
        worse.now_ms = worse.now_ms.saturating_add(more as i64);
        if let Some(errors) = &mut worse.errors {
            errors.errors += more;
        }
        for bound in &mut worse.bounds {
            bound.for_ms = bound.for_ms.saturating_add(more as i64);
        }
        prop_assert!(before.is_none() || hard_stop(&worse, &limits).is_some());
    }
}
