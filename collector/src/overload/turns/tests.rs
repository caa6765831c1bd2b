//! The properties of the turns, over made-up times, and the queue itself.

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);
const STANDING_MS: u32 = STANDING.as_millis() as u32;

/// A store that takes `answer` milliseconds for each query; `arrivals` a millisecond come.
struct Load {
    crowd: Crowd<()>,
    start: Instant,
    /// Milliseconds since the start.
    t: u32,
    /// Of each that runs: when it came and began.
    running: Vec<(Instant, u32)>,
    /// Of each that was served: when it came and how many milliseconds passed until it had its answer.
    served: Vec<(u32, u32)>,
}

impl Load {
    fn new(running: usize, waiting: usize, usual: Duration) -> Self {
        let start = Instant::now();
        let mut crowd = Crowd::new(running, waiting);
        assert_eq!(crowd.arrive(start, ()), Arrival::Runs);
        crowd.leave(start, start + usual, usual);
        Self { crowd, start, t: 0, running: Vec::new(), served: Vec::new() }
    }

    /// Goes on for so many milliseconds; returns how many were refused in each.
    fn go_on(&mut self, ms: u32, arrivals: u32, answer: u32) -> Vec<u32> {
        (0..ms).map(|_| self.tick(arrivals, answer)).collect()
    }

    fn tick(&mut self, arrivals: u32, answer: u32) -> u32 {
        let (t, now) = (self.t, self.start + MS * self.t);
        self.t += 1;
        let (done, running): (Vec<_>, Vec<_>) =
            self.running.drain(..).partition(|&(_, began)| began + answer <= t);
        self.running = running;
        for (came, began) in done {
            self.crowd.leave(came, now, MS * (t - began));
            let came = (came - self.start).as_millis() as u32;
            self.served.push((came, t - came));
            while let Some(next) = self.crowd.next(now) {
                self.running.push((next.came, t));
            }
        }
        let mut refused = 0;
        for _ in 0..arrivals {
            match self.crowd.arrive(now, ()) {
                Arrival::Runs => self.running.push((now, t)),
                Arrival::Waits(_) => {}
                Arrival::Refused => refused += 1,
            }
        }
        refused
    }

    /// The longest that one waited of those that came in these milliseconds and were served.
    fn slowest(&self, came: std::ops::Range<u32>) -> u32 {
        self.served.iter().filter(|(at, _)| came.contains(at)).map(|(_, ms)| *ms).max().unwrap()
    }
}

proptest! {
    #[test]
    fn never_more_than_the_bounds_run_and_wait(
        running in 1_usize..8, waiting in 0_usize..80,
        steps in prop::collection::vec((0_u64..100, 0_u8..4, 0_u64..500), 1..500),
    ) {
        let mut crowd = Crowd::new(running, waiting);
        let mut now = Instant::now();
        let mut came = Vec::new();
        for (gap, what, took) in steps {
            now += Duration::from_millis(gap);
            if what > 1 {
                if crowd.arrive(now, ()) == Arrival::Runs {
                    came.push(now);
                }
            } else if what == 1 && crowd.came > 0 {
                crowd.give_up(took % crowd.came + 1);
            } else if let Some(one) = came.pop() {
                crowd.leave(one, now, Duration::from_millis(took));
                came.extend(std::iter::from_fn(|| crowd.next(now)).map(|next| next.came));
            }
            prop_assert_eq!(came.len(), crowd.running);
            prop_assert!(crowd.running <= running);
            // A burst, and those that the limit allows beside it.
            prop_assert!(crowd.waiting.len() <= waiting + running + waiting.min(running));
            prop_assert!(crowd.limit() >= (running / 2).max(1));
            prop_assert!(crowd.limit() <= running + waiting);
            prop_assert!(crowd.running > 0 || crowd.waiting.is_empty(), "somebody waits for nobody");
        }
    }

    #[test]
    fn a_burst_is_never_refused_and_served_in_its_order(
        running in 1_usize..8, waiting in 0_usize..80,
    ) {
        let mut crowd = Crowd::new(running, waiting);
        let now = Instant::now();
        for number in 0..running + waiting {
            prop_assert!(crowd.arrive(now, number) != Arrival::Refused);
        }
        prop_assert_eq!(crowd.arrive(now, 0), Arrival::Refused);
        let soon = now + AGEING / 2;
        for number in running..running + waiting {
            crowd.leave(now, soon, MS);
            prop_assert_eq!(crowd.next(soon).map(|next| next.ticket), Some(number));
        }
    }

    #[test]
    fn a_burst_is_served_to_the_last_one_however_slow_the_store_is(
        waiting in 0_usize..80, answer in 1_u32..400,
    ) {
        let mut load = Load::new(4, waiting, MS * 10);
        let burst = 4 + waiting as u32;
        prop_assert_eq!(load.tick(burst, answer), 0);
        load.go_on((burst / 4 + 2) * answer, 0, answer);
        prop_assert_eq!(load.served.len(), burst as usize);
    }
}

#[test]
fn a_queue_that_stands_is_cut_down_and_what_is_served_waits_little_from_the_beginning() {
    let mut load = Load::new(4, 64, MS * 10);
    // Four at once and 10 ms each: of forty that come four are served.
    let refusals = load.go_on(STANDING_MS + 2_500, 4, 10);
    assert!(refusals[..10].iter().all(|&refused| refused == 0), "a burst waits");
    let begin = STANDING_MS as usize + 500;
    let late: u32 = refusals[begin..begin + 1_000].iter().sum();
    assert!((3_500..=3_700).contains(&late), "{late}");
    assert!((2..=6).contains(&load.crowd.limit()), "{}", load.crowd.limit());
    let aged = AGEING.as_millis() as u32;
    assert!(load.slowest(0..aged) > 20, "those of the burst that aged had to wait");
    let slowest = load.slowest(aged..STANDING_MS + 2_000);
    assert!(slowest <= 20, "{slowest} ms of 10");
    let waited = load.served.iter().filter(|(_, ms)| *ms > 20).count();
    assert!(waited <= 4 * aged as usize / 10, "{waited} of the burst were served late");
    // Many were served: it was not that nobody was.
    let served = load.served.iter().filter(|(came, _)| *came >= aged).count();
    assert!(served > 1_000, "{served}");
}

#[test]
fn slow_answers_shrink_the_limit_and_quick_ones_let_it_grow() {
    let mut load = Load::new(4, 64, MS * 10);
    load.go_on(STANDING_MS + 3_000, 4, 40);
    assert_eq!(load.crowd.limit(), 2, "not below half");
    load.go_on(2_000, 4, 5);
    assert!(load.crowd.limit() > 4, "{}", load.crowd.limit());
}

#[test]
fn without_refusals_everything_is_as_before() {
    let mut load = Load::new(4, 64, MS * 10);
    load.go_on(STANDING_MS + 1_500, 4, 10);
    assert!(load.crowd.limit() < 10);
    assert!(!load.crowd.waiting.is_empty(), "a burst was passed over");
    load.go_on(STANDING_MS + 400, 0, 10);
    load.tick(1, 10);
    assert_eq!(load.crowd.limit(), 68);
    assert!(load.crowd.waiting.is_empty(), "who waited was served when there was room");
}

#[test]
fn nothing_may_run_or_wait_where_nothing_is_allowed() {
    let mut crowd = Crowd::new(0, 0);
    assert_eq!(crowd.arrive(Instant::now(), ()), Arrival::Refused);
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
    assert_eq!((turns.0.metrics.inside.get(), turns.0.metrics.refused.get()), (1, 1));
    drop(third);
    assert_eq!(turns.0.metrics.inside.get(), 0);
}

#[tokio::test]
async fn who_goes_when_its_turn_has_come_passes_it_on() {
    let turns = Turns::new(1, 2);
    let first = turns.enter().await.unwrap();
    let mut second = Box::pin(turns.enter());
    let mut third = Box::pin(turns.enter());
    assert!(futures_util::poll!(&mut second).is_pending());
    assert!(futures_util::poll!(&mut third).is_pending());
    drop(first);
    // It has its turn by now and does not know it.
    drop(second);
    let third = third.await.unwrap();
    assert_eq!(turns.0.metrics.inside.get(), 1);
    drop(third);
    assert_eq!(turns.0.metrics.inside.get(), 0);
}

#[tokio::test]
async fn nobody_waits_for_ever() {
    let turns = Turns::new(1, 1);
    let _first = turns.enter().await.unwrap();
    let came = Instant::now();
    assert_eq!(turns.enter().await.unwrap_err(), Crowded);
    assert!(came.elapsed() >= PATIENCE);
    assert_eq!((turns.0.metrics.inside.get(), turns.0.metrics.refused.get()), (1, 1));
}
