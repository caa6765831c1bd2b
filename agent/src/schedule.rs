//! When to sample: on the wall clock's multiples of the interval, so that the frames of all nodes share their timestamps.
//!
//! A tick is *scheduled* at a multiple of the interval and that is its timestamp. It fires when the wall clock has reached it; the difference is its
//! jitter. One that could only fire more than half an interval late is missed: it is counted and never made up for, so a frame's timestamp is always
//! within half an interval of its measurement. Each tick is found from the clock, not by adding to the last one's firing, so nothing drifts.
//!
//! The wall clock may be set. A second, monotonic clock shows it: when the two moved apart by more than half an interval since the last tick, the clock
//! *stepped*; the schedule starts again at the next multiple and no tick counts as missed.
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
    /// The wall clock stepped since the last tick.
    pub stepped: bool,
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
    stepped: bool,
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
        Self { interval_ns, last_ns: floor(now.wall_ns, interval_ns), seen: now, stepped: false }
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
            stepped: std::mem::take(&mut self.stepped),
        })
    }

    /// Starts again at the clock's place when the wall clock and the monotonic one have moved apart.
    fn notice_step(&mut self, now: Now) {
        let wall = now.wall_ns - self.seen.wall_ns;
        let monotonic = now.monotonic_ns - self.seen.monotonic_ns;
        self.seen = now;
        if (wall - monotonic).abs() > self.interval_ns / 2 {
            self.stepped = true;
            self.last_ns = floor(now.wall_ns, self.interval_ns);
        }
    }
}

/// The largest multiple of `interval` that is not after `time`.
fn floor(time: i64, interval: i64) -> i64 {
    time.div_euclid(interval) * interval
}
