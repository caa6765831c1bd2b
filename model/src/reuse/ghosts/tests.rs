//! The properties of ghosts.

use proptest::prelude::*;

use super::*;
use crate::mix::next_unit;

#[derive(Debug, Clone, Copy)]
enum Step {
    Gone(u64, Cause),
    Missed(u64),
    Learn(u64, u32, Expiry),
    Silence(u64),
    Block,
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let cause = prop_oneof![Just(Cause::Evicted), Just(Cause::Expired), Just(Cause::Invalidated)];
    let expiry =
        prop_oneof![Just(Expiry::Never), (0_u64..50_000).prop_map(|at| Expiry::At(1_000_000 + at))];
    let key = 0_u64..300;
    prop_oneof![
        6 => (key.clone(), cause).prop_map(|(key, cause)| Step::Gone(key, cause)),
        6 => key.clone().prop_map(Step::Missed),
        3 => (key, any::<u32>(), expiry).prop_map(|(key, bytes, expiry)| Step::Learn(key, bytes, expiry)),
        1 => (0_u64..5000).prop_map(Step::Silence),
        1 => Just(Step::Block),
        4 => (0_u64..2000).prop_map(Step::Wait),
    ]
}

fn play(ghosts: &mut Ghosts, steps: &[Step], now_ms: &mut u64) {
    for step in steps {
        match *step {
            Step::Gone(key, cause) => ghosts.gone(key, cause, *now_ms),
            Step::Missed(key) => ghosts.missed(key, *now_ms),
            Step::Learn(key, bytes, expiry) => ghosts.learn(key, bytes, expiry, *now_ms),
            Step::Silence(ms) => {
                ghosts.close(*now_ms);
                *now_ms += ms;
                ghosts.open(*now_ms);
            }
            Step::Block => ghosts.next_block(*now_ms),
            Step::Wait(ms) => *now_ms += ms,
        }
    }
}

fn open(max_keys: usize) -> Ghosts {
    let mut ghosts = Ghosts::new(Sampling { max_keys, max_rate: 1.0 });
    ghosts.open(1_000_000);
    ghosts
}

/// Time under watch and events, over all blocks and causes.
fn watched(ghosts: &Ghosts, now_ms: u64) -> (f64, f64) {
    let mut sum = Block::default();
    ghosts.blocks(now_ms).iter().for_each(|block| sum.merge(block));
    let events = sum.tails.iter().map(Tail::events).sum();
    (sum.span_ms as f64, events)
}

proptest! {
    #[test]
    fn never_more_keys_than_allowed_and_the_limit_never_rises(
        steps in prop::collection::vec(step(), 0..600)
    ) {
        let (mut ghosts, mut now_ms) = (open(64), 1_000_000);
        for step in steps {
            let before = ghosts.sampling_rate();
            play(&mut ghosts, &[step], &mut now_ms);
            prop_assert!(ghosts.keys() <= 64);
            prop_assert!(ghosts.sampling_rate() <= before && ghosts.sampling_rate() > 0.0);
            prop_assert!(ghosts.blocks(now_ms).iter().all(|b| b.tails.iter().all(Tail::is_sound)));
        }
    }

    #[test]
    fn after_decoding_it_goes_on_as_if_nothing_had_been(
        steps in prop::collection::vec(step(), 0..300), more in prop::collection::vec(step(), 0..100)
    ) {
        let (mut ghosts, mut now_ms) = (open(128), 1_000_000);
        play(&mut ghosts, &steps, &mut now_ms);
        let mut other = Ghosts::decode(&ghosts.encode(), now_ms).unwrap();
        // What was heard up to now is the same; so is a silence of no length.
        ghosts.close(now_ms);
        prop_assert_eq!(&ghosts, &other);
        let mut at = now_ms;
        ghosts.open(now_ms);
        play(&mut ghosts, &more, &mut at);
        other.open(now_ms);
        play(&mut other, &more, &mut now_ms);
        prop_assert_eq!(ghosts, other);
    }

    #[test]
    fn damaged_state_is_refused_or_sound(cut in 0_usize..400, at in 0_usize..400, byte: u8) {
        let (mut ghosts, mut now_ms) = (open(64), 1_000_000);
        let steps: Vec<_> = (0..40).flat_map(|key| {
            [Step::Gone(key, Cause::Evicted), Step::Wait(10), Step::Missed(key / 2)]
        }).collect();
        play(&mut ghosts, &steps, &mut now_ms);
        let mut bytes = ghosts.encode();
        bytes.truncate(bytes.len() - cut.min(bytes.len()));
        if let Some(changed) = bytes.get_mut(at) {
            *changed = byte;
        }
        if let Ok(mut ghosts) = Ghosts::decode(&bytes, now_ms) {
            ghosts.open(now_ms);
            play(&mut ghosts, &steps, &mut now_ms);
            prop_assert!(ghosts.keys() <= 1 << 22);
        }
    }
}

/// Keys that are missed after times of an exponential law, evicted 50 a second.
fn clocks(ghosts: &mut Ghosts, seconds: u64, mean_ms: f64, is_silent: impl Fn(u64) -> bool) -> u64 {
    let mut random = 5;
    let mut due = std::collections::BTreeMap::new();
    let start = 1_000_000;
    ghosts.open(start);
    for i in 0..seconds * 50 {
        let now_ms = start + i * 20;
        let age_ms = -mean_ms * (1.0 - next_unit(&mut random)).ln();
        due.insert((now_ms + age_ms as u64, i), i);
        if is_silent(i / 50) {
            ghosts.close(now_ms);
        } else {
            ghosts.open(now_ms);
        }
        ghosts.gone(i, Cause::Evicted, now_ms);
        let later = due.split_off(&(now_ms + 1, 0));
        for ((at_ms, _), key) in std::mem::replace(&mut due, later) {
            ghosts.missed(key, at_ms.max(now_ms - 20));
        }
    }
    start + seconds * 1000
}

fn gained(ghosts: &Ghosts, now_ms: u64, age_ms: f64) -> f64 {
    let mut sum = Block::default();
    ghosts.blocks(now_ms).iter().for_each(|block| sum.merge(block));
    let steps = sum.tails[1].survival(1.0);
    steps.iter().find(|step| step.age_ms >= age_ms).unwrap().gained
}

#[test]
fn a_sample_of_the_keys_tells_what_all_of_them_do() {
    for (max_keys, close) in [(1 << 16, 0.02), (512, 0.08)] {
        let mut ghosts = open(max_keys);
        let now_ms = clocks(&mut ghosts, 200, 20_000.0, |_| false);
        let share = gained(&ghosts, now_ms, 20_000.0);
        assert!((share - 0.64).abs() < close, "{max_keys}: {share}");
        assert_eq!(ghosts.blocks(now_ms)[0].gone[0], 10_000, "those not sampled count too");
    }
}

#[test]
fn a_silence_adds_no_event_and_no_time() {
    let mut ghosts = open(1 << 16);
    let now_ms = clocks(&mut ghosts, 400, 20_000.0, |second| second % 100 >= 70);
    let share = gained(&ghosts, now_ms, 20_000.0);
    assert!((share - 0.64).abs() < 0.03, "{share}");
    let (span_ms, _) = watched(&ghosts, now_ms);
    assert!((span_ms - 280_000.0).abs() < 5000.0, "{span_ms}");
}

#[test]
fn a_short_silence_keeps_old_ghosts_and_a_long_one_none() {
    for (silence, kept) in [(1000, 1), (1002, 0)] {
        let mut ghosts = open(64);
        ghosts.gone(1, Cause::Evicted, 1_000_000);
        ghosts.close(1_099_000);
        ghosts.missed(1, 1_099_500);
        ghosts.open(1_099_000 + silence);
        assert_eq!(ghosts.keys(), kept, "{silence}");
        ghosts.missed(1, 1_099_000 + silence);
        assert!((watched(&ghosts, 1_200_000).1 - kept as f64).abs() < 1e-9);
        let time: f64 = ghosts.blocks(1_200_000).iter().map(|b| b.tails[1].watched_ms()).sum();
        assert!((time - 99_000.0).abs() < 1.0, "the silence is no time under watch: {time}");
    }
}

#[test]
fn what_would_have_expired_is_not_hit() {
    let mut ghosts = open(64);
    for (key, dies) in [(1, 1_005_000), (2, 1_020_000)] {
        ghosts.learn(key, 100, Expiry::At(dies), 1_000_000);
        ghosts.gone(key, Cause::Evicted, 1_001_000);
        ghosts.missed(key, 1_010_000);
    }
    let block = &ghosts.blocks(1_010_000)[0];
    assert!((block.tails[0].events() - 1.0).abs() < 1e-9, "only the second one");
    assert_eq!((block.gone, block.misses), ([2, 0, 0], 2));
}

#[test]
fn where_a_miss_is_saved_the_time_of_the_fill_before_runs_on() {
    let mut ghosts = open(64);
    let events = |ghosts: &Ghosts, at| ghosts.blocks(at)[0].tails[0].events();
    ghosts.learn(1, 100, Expiry::At(1_060_000), 1_000_000);
    for (gone, missed, sum) in [
        (1_010_000, 1_030_000, 1.0),
        (1_040_000, 1_055_000, 2.0),
        // The fill here would last until 1,115,000. There nobody has filled it since the first one.
        (1_061_000, 1_070_000, 2.0),
        // That was a miss there too, and so a new time.
        (1_080_000, 1_110_000, 3.0),
    ] {
        ghosts.gone(1, Cause::Evicted, gone);
        ghosts.missed(1, missed);
        ghosts.learn(1, 100, Expiry::At(missed + 60_000), missed + 1);
        assert!((events(&ghosts, missed) - sum).abs() < 1e-9, "{missed}");
    }
}

#[test]
fn what_never_expires_is_known_no_oftener_than_what_does() {
    let mut ghosts = open(64);
    ghosts.learn(1, 100, Expiry::Never, 1_000_000);
    for at in [1_001_000, 1_003_000] {
        ghosts.gone(1, Cause::Evicted, at);
        ghosts.missed(1, at + 1000);
    }
    let block = &ghosts.blocks(1_010_000)[0];
    let events = [&block.tails[0], &block.tails[1]].map(Tail::events);
    assert_eq!(events.map(|events| events as u32), [1, 1], "the second fill was not looked at");
}

#[test]
fn a_part_of_the_time_that_is_over_comes_back_as_a_miss() {
    let entry = |ttl_ms| Entry {
        state: State::Gone(Cause::Evicted),
        bytes: 0,
        dies_ms: 2000,
        ttl_ms,
        since_ms: 0,
        seen_ms: 0,
    };
    let worth = entry(1000).worth(Cause::Evicted, 1750);
    let back = 0.75 * BACK;
    assert!((worth.gain - 1.0 + back).abs() < 1e-9 && (worth.doubt - back).abs() < 1e-9);
    for (entry, cause) in [(entry(0), Cause::Evicted), (entry(1000), Cause::Expired)] {
        assert!((entry.worth(cause, 1750).gain - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_second_miss_within_the_refill_is_one_more_and_a_later_one_is_cold() {
    let mut ghosts = open(64);
    ghosts.gone(1, Cause::Evicted, 1_000_000);
    for at in [1_005_000, 1_005_400, 1_008_000, 1_008_100] {
        ghosts.missed(1, at);
    }
    assert!((ghosts.blocks(1_010_000)[0].tails[1].events() - 1.0).abs() < 1e-9);
    assert_eq!(ghosts.keys(), 0);
}

#[test]
fn an_expired_key_has_been_gone_since_its_time_was_over() {
    let mut ghosts = open(64);
    for key in 0..64 {
        ghosts.learn(key, 100, Expiry::At(1_010_000), 1_000_000);
        ghosts.gone(key, Cause::Expired, 1_030_000);
        ghosts.missed(key, 1_030_000);
    }
    let last = *ghosts.blocks(1_030_000)[0].tails[2].survival(1.0).last().unwrap();
    assert!((18_000.0..24_000.0).contains(&last.age_ms), "{last:?}");
}

#[test]
fn other_formats_and_cut_ones_are_told_apart() {
    let bytes = open(64).encode();
    assert_eq!(Ghosts::decode(&[], 0), Err(DecodeError::Damaged));
    assert_eq!(Ghosts::decode(&bytes[..bytes.len() - 1], 0), Err(DecodeError::Damaged));
    assert_eq!(Ghosts::decode(&[9, 9, 9], 0), Err(DecodeError::Format));
}
