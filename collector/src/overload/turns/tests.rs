//! The properties of the turns, over made-up times, and the queue itself.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// A store that takes `answer` for each query and runs `running` at once; `arrivals` a millisecond come for `ms`. Returns how many were refused in each
/// millisecond.
fn overload(crowd: &mut Crowd, from: Instant, ms: u32, arrivals: u32, answer: u32) -> Vec<u32> {
    let mut inside: std::collections::VecDeque<(u32, Option<u32>)> =
        (0..crowd.inside).map(|_| (0, None)).collect();
    let mut refusals = Vec::new();
    for t in 0..ms {
        let now = from + MS * t;
        while let Some(&(came, Some(began))) = inside.front()
            && began + answer <= t
        {
            inside.pop_front();
            crowd.leave(now, Some((MS * (t - came), MS * (t - began))));
        }
        let refused = (0..arrivals).filter(|_| match crowd.arrive(now) {
            Ok(()) => {
                inside.push_back((t, None));
                false
            }
            Err(Crowded) => true,
        });
        refusals.push(refused.count() as u32);
        for query in inside.iter_mut().take(crowd.running) {
            query.1.get_or_insert(t);
        }
    }
    refusals
}

fn learned(running: usize, waiting: usize, now: Instant, usual: Duration) -> Crowd {
    let mut crowd = Crowd::new(running, waiting);
    crowd.arrive(now).unwrap();
    crowd.leave(now + usual, Some((usual, usual)));
    crowd
}

proptest! {
    #[test]
    fn never_more_than_the_bounds_are_inside(
        running in 1_usize..8, waiting in 0_usize..80,
        steps in prop::collection::vec((0_u64..100, any::<bool>(), 0_u64..500), 1..500),
    ) {
        let mut crowd = Crowd::new(running, waiting);
        let mut now = Instant::now();
        for (gap, arrives, took) in steps {
            now += Duration::from_millis(gap);
            if arrives {
                let before = crowd.inside;
                let accepted = crowd.arrive(now).is_ok();
                prop_assert_eq!(accepted, before < crowd.limit());
            } else if crowd.inside > 0 {
                let took = Duration::from_millis(took);
                crowd.leave(now, Some((took, took)));
            }
            prop_assert!(crowd.inside <= running + waiting);
            prop_assert!(crowd.limit() >= (running / 2).max(1));
            prop_assert!(crowd.limit() <= running + waiting);
        }
    }

    #[test]
    fn a_burst_is_never_refused(running in 1_usize..8, waiting in 0_usize..80, took in 1_u64..1_000) {
        let mut crowd = Crowd::new(running, waiting);
        let now = Instant::now();
        for _ in 0..running + waiting {
            prop_assert!(crowd.arrive(now).is_ok());
        }
        prop_assert_eq!(crowd.arrive(now), Err(Crowded));
        let took = Duration::from_millis(took);
        for _ in 0..running + waiting {
            crowd.leave(now + took, Some((took, took)));
        }
        prop_assert!(crowd.arrive(now + took * 2).is_ok());
    }
}

#[test]
fn a_queue_that_stands_is_cut_down_and_what_is_served_waits_little() {
    let start = Instant::now();
    let mut crowd = learned(4, 64, start, MS * 10);
    let refusals = overload(&mut crowd, start + STANDING, 2_000, 4, 10);
    assert!(refusals[..10].iter().all(|&refused| refused == 0), "a burst waits");
    // Four at once and 10 ms each: four of forty are served.
    let late: u32 = refusals[1_000..].iter().sum();
    assert!((3_500..=3_700).contains(&late), "{late}");
    assert!((2..=6).contains(&crowd.limit()), "{}", crowd.limit());
}

#[test]
fn slow_answers_shrink_the_limit_and_quick_ones_let_it_grow() {
    let start = Instant::now();
    let mut crowd = learned(4, 64, start, MS * 10);
    let begin = start + STANDING;
    overload(&mut crowd, begin, 3_000, 4, 40);
    assert_eq!(crowd.limit(), 2, "not below half");
    // The same load with answers as quick as they were: the crowd inside is served first.
    overload(&mut crowd, begin + MS * 3_000, 2_000, 4, 5);
    assert!(crowd.limit() > 4, "{}", crowd.limit());
}

#[test]
fn without_refusals_everything_is_as_before() {
    let start = Instant::now();
    let mut crowd = learned(4, 64, start, MS * 10);
    overload(&mut crowd, start, 1_000, 4, 10);
    assert!(crowd.limit() < 10);
    let inside = crowd.inside;
    let later = start + MS * 1_000 + STANDING;
    for _ in 0..inside {
        crowd.leave(later, None);
    }
    crowd.arrive(later).unwrap();
    assert_eq!(crowd.limit(), 68);
}

#[test]
fn nothing_may_run_or_wait_where_nothing_is_allowed() {
    let mut crowd = Crowd::new(0, 0);
    assert_eq!(crowd.arrive(Instant::now()), Err(Crowded));
}

#[tokio::test]
async fn a_turn_passes_on_and_one_who_leaves_the_queue_makes_room() {
    let turns = Turns::new(1, 1);
    let first = turns.enter().await.unwrap();
    let mut second = Box::pin(turns.enter());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert_eq!(turns.enter().await.unwrap_err(), Crowded);
    drop(second);
    let mut third = Box::pin(turns.enter());
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(first);
    let third = third.await.unwrap();
    assert_eq!((turns.metrics.inside.get(), turns.metrics.refused.get()), (1, 1));
    drop(third);
    assert_eq!(turns.metrics.inside.get(), 0);
}
