//! Servers beside each other.

use proptest::prelude::*;

use super::*;
use crate::emulate::Policy;

const START_MS: u64 = 1_700_000_000_000;
const BYTES: u32 = 200;
const NONE: Priors = Priors { size_sd: 0.0, policy_sd: 0.0 };
const CLOSE: Priors = Priors { size_sd: 0.002, policy_sd: 0.003 };

fn settings(policy: Policy, keys: u64) -> Settings {
    Settings::new(policy, keys * u64::from(BYTES) + 8 * keys.next_power_of_two() + 32)
}

fn request(at_ms: u64, key: u64, what: What) -> Request {
    Request { at_ms: START_MS + at_ms, key_hash: mix64(key + 1), what }
}

const WRITE: What = What::Write { bytes: BYTES, expiry: Expiry::Never };

/// Requests as `MONITOR` tells them of cache-aside clients of a server of so many keys: a hot set and
/// a scan. The hit ratio that they had.
fn play(trials: &mut Trials, present: Settings, seconds: u64, per_second: u64) -> f64 {
    play_on(trials, present, seconds, per_second, 0)
}

/// The same from a later second on.
fn play_on(
    trials: &mut Trials,
    present: Settings,
    seconds: u64,
    per_second: u64,
    from: u64,
) -> f64 {
    let mut server = MiniRedis::new(Settings { rate: 1.0, ..present });
    let (mut random, mut scan, mut hits) = (3 + from, from * per_second, 0.0);
    let count = seconds * per_second;
    for i in 0..count {
        let at_ms = from * 1000 + i * 1000 / per_second;
        let key = if next_unit(&mut random) < 0.5 {
            (next_unit(&mut random).powi(3) * 3000.0) as u64
        } else {
            scan += 1;
            1_000_000 + scan
        };
        let read = request(at_ms, key, What::Read);
        trials.request(&read);
        if server.read(read.key_hash, read.at_ms) {
            hits += 1.0;
        } else {
            server.write(read.key_hash, BYTES, NEVER, read.at_ms);
            trials.request(&request(at_ms + 1, key, WRITE));
        }
    }
    hits / count as f64
}

#[test]
fn the_same_server_differs_by_nothing_and_the_present_is_met() {
    let present = settings(Policy::AllkeysLru, 2000);
    let mut trials = Trials::new(present, &[]);
    let ratio = play(&mut trials, present, 60, 1000);
    assert!(trials.residual(START_MS, ratio).unwrap().abs() < 0.005);
    assert_eq!(trials.compare(START_MS, ratio, &NONE), Ok(Vec::new()));
    let off = trials.compare(START_MS, ratio - 0.02, &NONE).unwrap_err();
    assert!(matches!(off, Withheld::Residual(off) if (0.015..0.025).contains(&off)), "{off}");
    assert_eq!(trials.compare(u64::MAX, ratio, &NONE), Err(Withheld::NoReads));
    let mut trials = Trials::new(present, &[Settings { samples: 5, ..present }; 2]);
    play(&mut trials, present, 60, 1000);
    let compared = trials.compared(START_MS, &NONE);
    // Two servers draw the same samples as long as their keys are the same.
    assert!(compared.iter().all(|c| c.delta.abs() < 1e-9 && c.low <= 0.0 && c.high >= 0.0));
}

#[test]
fn lfu_is_better_where_a_scan_goes_through_and_that_is_said() {
    let present = settings(Policy::AllkeysLru, 2000);
    let others = [settings(Policy::AllkeysLfu, 2000), settings(Policy::AllkeysLru, 4000)];
    let mut trials = Trials::new(present, &others);
    play(&mut trials, present, 300, 1000);
    let from_ms = START_MS + 100_000;
    let truth = |settings: Settings| {
        let mut alone = Trials::new(settings, &[]);
        play(&mut alone, settings, 300, 1000);
        alone.sum(from_ms).hit_ratio(0, 1.0)
    };
    let compared = trials.compared(from_ms, &CLOSE);
    for (compared, other) in compared.iter().zip(others) {
        let delta = truth(other) - truth(present);
        println!("{compared:?}, is {delta}");
        assert!((compared.delta - delta).abs() < 0.005);
        assert!((compared.low..=compared.high).contains(&delta));
    }
    assert!(compared[0].low > 0.02, "LFU keeps what the scan pushes out: {compared:?}");
    assert!(trials.settled_ms().is_some());
}

#[test]
fn a_server_that_is_changed_comes_to_where_it_would_have_been() {
    let (lru, lfu) = (settings(Policy::AllkeysLru, 2000), settings(Policy::AllkeysLfu, 2000));
    let mut trials = Trials::new(lru, &[lru, lfu]);
    play(&mut trials, lru, 60, 1000);
    trials.set(1, Policy::AllkeysLfu, lru.maxmemory_bytes);
    trials.set(9, Policy::AllkeysLfu, 1);
    let delta = |trials: &Trials, from: u64| {
        let all = trials.compared(START_MS + from, &NONE);
        all[0].delta - all[1].delta
    };
    play_on(&mut trials, lru, 60, 1000, 60);
    let soon = delta(&trials, 60_000);
    play_on(&mut trials, lru, 400, 1000, 120);
    let late = delta(&trials, 300_000);
    assert!(soon < -0.005 && late.abs() < 0.01, "{soon} {late}");
}

#[test]
fn a_fifth_of_the_keys_tells_the_same_within_its_interval() {
    let present = settings(Policy::AllkeysLru, 2000);
    let others = [settings(Policy::AllkeysLru, 4000)];
    let compared = |rate: f64| {
        let mut trials = Trials::new(Settings { rate, ..present }, &others);
        play(&mut trials, present, 200, 1000);
        (trials.compared(START_MS + 60_000, &CLOSE)[0], trials.keys())
    };
    let ((all, many), (some, few)) = (compared(1.0), compared(0.2));
    assert!(few < many / 4, "{few} of {many}");
    assert!((some.low..=some.high).contains(&all.delta), "{some:?} {all:?}");
    assert!(some.high - some.low > all.high - all.low);
}

#[test]
fn the_write_after_a_miss_is_no_use_of_its_own() {
    let policy = settings(Policy::AllkeysLfu, 100);
    let uses = |steps: &[(u64, What)]| {
        let mut trials = Trials::new(policy, &[]);
        for (at_ms, what) in steps {
            trials.request(&request(*at_ms, 1, *what));
        }
        let before = trials.servers[0].counts();
        (before.hits, before.misses, trials.servers[0].used_bytes())
    };
    let filled = uses(&[(0, What::Read), (5, WRITE)]);
    assert_eq!((filled.0, filled.1), (0, 1));
    assert!((filled.2 - (f64::from(BYTES) + 64.0)).abs() < 1e-9, "with its true size");
    let other = What::Write { bytes: 700, expiry: Expiry::Never };
    let written = uses(&[(0, What::Read), (5, WRITE), (6, other)]);
    assert!((written.2 - (700.0 + 64.0)).abs() < 1e-9, "the second write is one");
    let late = uses(&[(0, What::Read), (5000, WRITE)]);
    assert!((late.2 - filled.2).abs() < 1e-9);
}

#[test]
fn times_to_live_are_those_that_were_written() {
    let mut trials = Trials::new(settings(Policy::AllkeysLru, 100), &[]);
    let brief = What::Write { bytes: BYTES, expiry: Expiry::After(10_000) };
    let hits = |trials: &Trials| trials.servers[0].counts().hits;
    trials.request(&request(0, 1, brief));
    trials.request(&request(9999, 1, What::Read));
    assert_eq!(hits(&trials), 1);
    // Missed here, while the real one says nothing: filled for as long as before.
    trials.request(&request(10_000, 1, What::Read));
    trials.request(&request(19_999, 1, What::Read));
    assert_eq!(hits(&trials), 2);
    trials.request(&request(20_000, 1, What::Read));
    assert_eq!(hits(&trials), 2);
    trials.request(&request(21_000, 1, What::Expire(Expiry::Never)));
    trials.request(&request(90_000, 1, What::Read));
    assert_eq!(hits(&trials), 3);
    // At a time of the clock: filled for as long as what was written last.
    let clock = What::Write { bytes: BYTES, expiry: Expiry::At(START_MS + 120_000) };
    trials.request(&request(95_000, 1, clock));
    trials.request(&request(96_000, 1, What::Delete));
    for (at_ms, sum) in [(100_000, 3), (119_999, 4), (120_000, 4), (121_000, 5)] {
        trials.request(&request(at_ms, 1, What::Read));
        assert_eq!(hits(&trials), sum, "{at_ms}");
    }
    trials.request(&request(130_000, 1, What::Delete));
    trials.request(&request(130_001, 1, What::Read));
    assert_eq!(hits(&trials), 5);
}

#[test]
fn a_time_that_was_a_guess_is_put_right_by_the_first_write() {
    let mut trials = Trials::new(settings(Policy::AllkeysLru, 100), &[]);
    let hits = |trials: &Trials| trials.servers[0].counts().hits;
    // The real server has both, so that nobody writes them, and here they are filled.
    trials.request(&request(0, 1, What::Read));
    trials.request(&request(0, 2, What::Read));
    // There they have expired, here nobody knew.
    let brief = |ms| What::Write { bytes: 700, expiry: Expiry::After(ms) };
    for (key, ms) in [(1, 30_000), (2, 10_000)] {
        trials.request(&request(20_000, key, What::Read));
        trials.request(&request(20_001, key, brief(ms)));
    }
    assert_eq!(hits(&trials), 2);
    assert!((trials.servers[0].used_bytes() - (2.0 * 732.0 + 64.0)).abs() < 1e-9, "and sizes");
    // Filled here at 0 for 30 s; the other should have been filled anew at 20 s.
    for (at_ms, key, sum) in
        [(29_000, 1, 3), (29_500, 2, 4), (30_000, 1, 4), (30_002, 2, 4), (59_999, 1, 5)]
    {
        trials.request(&request(at_ms, key, What::Read));
        assert_eq!(hits(&trials), sum, "{at_ms}");
    }
}

#[test]
fn a_key_that_nobody_writes_has_the_size_that_was_learned() {
    let mut trials = Trials::new(settings(Policy::AllkeysLru, 100), &[]);
    trials.request(&request(0, 1, What::Read));
    trials.learn(mix64(2), 900);
    assert!((trials.servers[0].used_bytes() - 964.0).abs() < 1e-9);
    trials.learn(mix64(2), 1);
    trials.learn(mix64(3), 500);
    trials.request(&request(0, 2, What::Read));
    assert!((trials.servers[0].used_bytes() - 1464.0).abs() < 1e-9);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn whatever_is_asked_ratios_are_ratios(
        steps in prop::collection::vec((0_u64..50, 0_u8..5, 0_u64..4000, 0_u32..5000), 1..500),
        rate in -0.5_f64..1.5,
    ) {
        let present = Settings { rate, ..settings(Policy::AllkeysLru, 20) };
        let others = Policy::ALL.map(|policy| settings(policy, 30));
        let mut trials = Trials::new(present, &others);
        let mut at_ms = 0;
        for (key, what, wait, bytes) in steps {
            at_ms += wait;
            let expiry = match bytes % 3 {
                0 => Expiry::Never,
                1 => [Expiry::Keep, Expiry::After(u64::from(bytes))][(bytes % 2) as usize],
                _ => Expiry::At(START_MS + at_ms + u64::from(bytes)),
            };
            let what = match what {
                0 => What::Delete,
                1 => What::Expire(expiry),
                2 => What::Write { bytes, expiry },
                _ => What::Read,
            };
            trials.request(&request(at_ms, key, what));
        }
        if trials.residual(0, 0.5).is_none() {
            prop_assert_eq!(trials.compare(0, 0.5, &NONE), Err(Withheld::NoReads));
            return Ok(());
        }
        for compared in trials.compared(0, &Priors::default()) {
            prop_assert!((0.0..=1.0).contains(&compared.hit_ratio), "{compared:?}");
            prop_assert!(compared.low <= compared.delta && compared.delta <= compared.high);
            prop_assert!(compared.low.is_finite() && compared.high.is_finite());
            prop_assert!(trials.compare(0, f64::NAN, &NONE).is_err());
        }
    }
}
