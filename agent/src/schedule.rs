//! When to sample: on the wall clock's multiples of the interval, so that the frames of all nodes share their timestamps.
//!
//! A tick is *scheduled* at a multiple of the interval and that is its timestamp. It fires when the wall clock has reached it; the difference is its
//! jitter. One that could only fire more than half an interval late is missed: it is counted and never made up for, so a frame's timestamp is always
//! within half an interval of its measurement. Each tick is found from the clock, not by adding to the last one's firing, so nothing drifts.
//!
//! The wall clock may be set. A second, monotonic clock shows it: when the two moved apart by more than half an interval since the last tick, the clock
//! *stepped*; the schedule starts again at the next multiple and no tick counts as missed. Times that come again by that are told apart by
//! [`crate::stamps`].
//!
//! Properties, each a test: fired ticks are multiples of the interval and increase, but for a step back; a tick never fires before its time nor
//! more than half an interval after it; between two steps, fired + missed ticks are all the multiples that went by.

use std::time::Duration;

/// Both clocks at one instant, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Since the Unix epoch. Can be set by people and daemons.
    pub wall_ns: i64,
    /// Since some fixed instant. Never steps.
    pub monotonic_ns: i64,
}

/// One time to sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// Scheduled time in milliseconds since the Unix epoch, a multiple of the interval.
    pub scheduled_ms: i64,
    /// How long after the scheduled time it fired.
    pub jitter: Duration,
    /// Ticks before this one that went by unused.
    pub missed: u64,
    /// How the wall clock stepped since the last tick; of several steps the last one.
    pub step: Option<Step>,
}

/// Where a clock was set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// To a later time.
    Forward,
    /// To an earlier time: times come again.
    Backward,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Nothing for this long; ask again then.
    Wait(Duration),
    /// Sample.
    Fire(Tick),
}

/// The ticks of one agent.
#[derive(Debug)]
pub struct Schedule {
    interval_ns: i64,
    /// Scheduled time of the last tick, or the multiple before the first one.
    last_ns: i64,
    /// Clocks when the schedule last looked at them.
    seen: Now,
    step: Option<Step>,
}

impl Schedule {
    /// Starts a schedule: its first tick is the first multiple of the interval after `now`.
    ///
    /// # Panics
    /// When the interval is not at least one whole millisecond.
    pub fn new(interval: Duration, now: Now) -> Self {
        let interval_ns = interval.as_nanos() as i64;
        assert!(
            interval_ns > 0 && interval_ns % 1_000_000 == 0,
            "an interval is whole milliseconds"
        );
        Self { interval_ns, last_ns: floor(now.wall_ns, interval_ns), seen: now, step: None }
    }

    /// Waits or fires, by the clocks.
    pub fn next(&mut self, now: Now) -> Next {
        self.notice_step(now);
        let due_ns = self.last_ns + self.interval_ns;
        if now.wall_ns < due_ns {
            return Next::Wait(Duration::from_nanos((due_ns - now.wall_ns) as u64));
        }
        // The first multiple that is not yet half an interval old: the one nearest to now.
        let nearest_ns =
            floor(now.wall_ns + (self.interval_ns - 1) / 2, self.interval_ns).max(due_ns);
        let missed = ((nearest_ns - due_ns) / self.interval_ns) as u64;
        if nearest_ns > now.wall_ns {
            return Next::Wait(Duration::from_nanos((nearest_ns - now.wall_ns) as u64));
        }
        self.last_ns = nearest_ns;
        Next::Fire(Tick {
            scheduled_ms: nearest_ns / 1_000_000,
            jitter: Duration::from_nanos((now.wall_ns - nearest_ns) as u64),
            missed,
            step: self.step.take(),
        })
    }

    /// Starts again at the clock's place when the wall clock and the monotonic one have moved apart.
    fn notice_step(&mut self, now: Now) {
        let wall = now.wall_ns - self.seen.wall_ns;
        let monotonic = now.monotonic_ns - self.seen.monotonic_ns;
        self.seen = now;
        if (wall - monotonic).abs() > self.interval_ns / 2 {
            self.step = Some(if wall > monotonic { Step::Forward } else { Step::Backward });
            self.last_ns = floor(now.wall_ns, self.interval_ns);
        }
    }
}

/// The largest multiple of `interval` that is not after `time`.
fn floor(time: i64, interval: i64) -> i64 {
    time.div_euclid(interval) * interval
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND_NS: i64 = 1_000_000_000;
    const START_NS: i64 = 1_700_000_000 * SECOND_NS + 123_456_789;

    /// Two clocks that move together until one is set.
    struct Clocks(Now);

    impl Clocks {
        fn new() -> Self {
            Self(Now { wall_ns: START_NS, monotonic_ns: 7 })
        }

        fn pass(&mut self, ns: i64) {
            self.0.wall_ns += ns;
            self.0.monotonic_ns += ns;
        }

        /// Waits as told until the next tick, waking `late_ns` after each time.
        fn until_tick(&mut self, schedule: &mut Schedule, late_ns: i64) -> Tick {
            for _ in 0..100 {
                match schedule.next(self.0) {
                    Next::Wait(time) => self.pass(time.as_nanos() as i64 + late_ns),
                    Next::Fire(tick) => return tick,
                }
            }
            panic!("no tick in 100 waits");
        }
    }

    fn schedule(clocks: &Clocks) -> Schedule {
        Schedule::new(Duration::from_secs(1), clocks.0)
    }

    #[test]
    fn ticks_are_on_the_second_without_drift() {
        let mut clocks = Clocks::new();
        let mut schedule = schedule(&clocks);
        for second in 1..=1000 {
            let tick = clocks.until_tick(&mut schedule, 60_000);
            assert_eq!(tick.scheduled_ms, (1_700_000_000 + second) * 1000);
            assert_eq!(tick.jitter, Duration::from_micros(60));
            assert_eq!((tick.missed, tick.step), (0, None));
        }
    }

    #[test]
    fn more_than_half_an_interval_late_is_missed_and_counted() {
        let mut clocks = Clocks::new();
        let mut schedule = schedule(&clocks);
        let first = clocks.until_tick(&mut schedule, 0);
        clocks.pass(SECOND_NS + SECOND_NS / 2);
        let late = clocks.until_tick(&mut schedule, 0);
        assert_eq!(late.scheduled_ms, first.scheduled_ms + 1000);
        assert_eq!((late.missed, late.jitter), (0, Duration::from_millis(500)));
        clocks.pass(SECOND_NS / 2 + 3 * SECOND_NS + SECOND_NS / 2 + 1);
        let after = clocks.until_tick(&mut schedule, 0);
        assert_eq!(after.scheduled_ms, late.scheduled_ms + 5000);
        assert_eq!((after.missed, after.jitter, after.step), (4, Duration::ZERO, None));
    }

    #[test]
    fn a_clock_that_is_set_starts_the_schedule_again() {
        for step_s in [-3600, -2, 2, 3600] {
            let mut clocks = Clocks::new();
            let mut schedule = schedule(&clocks);
            let before = clocks.until_tick(&mut schedule, 0);
            clocks.0.wall_ns += step_s * SECOND_NS + 300_000_000;
            let after = clocks.until_tick(&mut schedule, 0);
            let step = if step_s > 0 { Step::Forward } else { Step::Backward };
            assert_eq!(after.step, Some(step), "{step_s}");
            assert_eq!(after.missed, 0, "{step_s}");
            assert_eq!(after.scheduled_ms, before.scheduled_ms + (step_s + 1) * 1000, "{step_s}");
            let next = clocks.until_tick(&mut schedule, 0);
            assert_eq!((next.step, next.scheduled_ms), (None, after.scheduled_ms + 1000));
        }
    }

    #[test]
    fn a_step_during_the_wait_is_noticed_when_it_ends() {
        let mut clocks = Clocks::new();
        let mut schedule = schedule(&clocks);
        let before = clocks.until_tick(&mut schedule, 0);
        let Next::Wait(time) = schedule.next(clocks.0) else { panic!("the tick has fired") };
        clocks.pass(time.as_nanos() as i64);
        clocks.0.wall_ns -= 10 * SECOND_NS;
        let after = clocks.until_tick(&mut schedule, 0);
        assert_eq!(after.step, Some(Step::Backward));
        assert_eq!(after.scheduled_ms, before.scheduled_ms - 8000);
    }

    proptest! {
        #[test]
        fn every_multiple_is_fired_on_time_or_counted_as_missed(
            interval_ms in 100_i64..60_000, naps in prop::collection::vec((0_i64..300, 0_i64..50), 1..60),
        ) {
            let mut clocks = Clocks::new();
            let interval_ns = interval_ms * 1_000_000;
            let mut schedule = Schedule::new(Duration::from_millis(interval_ms as u64), clocks.0);
            let mut last_ms = floor(START_NS, interval_ns) / 1_000_000;
            for (nap_percent, late_percent) in naps {
                clocks.pass(interval_ns / 100 * nap_percent);
                let tick = clocks.until_tick(&mut schedule, interval_ns / 100 * late_percent);
                prop_assert_eq!(tick.scheduled_ms % interval_ms, 0);
                prop_assert!(tick.jitter.as_nanos() as i64 <= interval_ns / 2);
                prop_assert_eq!(clocks.0.wall_ns - tick.jitter.as_nanos() as i64, tick.scheduled_ms * 1_000_000);
                prop_assert_eq!(tick.scheduled_ms, last_ms + (tick.missed as i64 + 1) * interval_ms);
                prop_assert_eq!(tick.step, None);
                last_ms = tick.scheduled_ms;
            }
        }
    }
}
