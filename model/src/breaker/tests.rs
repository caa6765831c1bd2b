//! The properties of the circuit breaker, over random sequences of events.

use proptest::prelude::*;

use super::*;

const SLOW: Duration = Duration::from_millis(100);

#[derive(Debug, Clone, Copy)]
enum Event {
    Ask,
    /// Ask when the breaker said to.
    AskLater,
    Wait(u64),
    /// The call that was made so many before the last one ends.
    Succeed(usize, bool),
    Fail(usize),
    Abandon(usize),
    /// The ticket is lost.
    Lose(usize),
}

#[derive(Debug)]
struct Call {
    ticket: Ticket,
    probe: bool,
    life: u64,
}

/// Drives a breaker and knows by itself, written the long way, what it must do.
struct Driver {
    breaker: Breaker,
    settings: Settings,
    now: Instant,
    calls: Vec<Call>,
    /// Whether each result of this life was bad, and whether it was a failure.
    results: Vec<(bool, bool)>,
    lost_probes: u32,
    retry_at: Option<Instant>,
}

impl Driver {
    fn new(settings: Settings, seed: u64) -> Self {
        let breaker = Breaker::new(settings, seed).unwrap();
        let now = Instant::now();
        let (calls, results) = (Vec::new(), Vec::new());
        Self { breaker, settings, now, calls, results, lost_probes: 0, retry_at: None }
    }

    fn life(&self) -> u64 {
        let counters = self.breaker.counters();
        counters.opened + counters.half_opened + counters.closed
    }

    /// Of this life and without a result, as far as anyone knows.
    fn probes_out(&self) -> u32 {
        let present = |call: &&Call| call.probe && call.life == self.life();
        self.calls.iter().filter(present).count() as u32 + self.lost_probes
    }

    fn step(&mut self, event: Event) {
        let life = self.life();
        let opened = self.breaker.counters().opened;
        match event {
            Event::Ask => self.ask(),
            Event::AskLater => {
                self.now = self.now.max(self.retry_at.take().unwrap_or(self.now));
                self.ask();
            }
            Event::Wait(ms) => self.now += Duration::from_millis(ms),
            Event::Succeed(back, slow) => self.end(back, Some((slow, false))),
            Event::Fail(back) => self.end(back, Some((true, true))),
            Event::Abandon(back) => self.end(back, None),
            Event::Lose(back) => self.lose(back),
        }
        if self.life() != life {
            self.results.clear();
            self.lost_probes = 0;
        }
        if self.breaker.counters().opened != opened {
            let State::Open { until } = self.breaker.state() else { panic!("opened") };
            let wait = until - self.now;
            assert!(wait >= self.settings.open_floor / 2 && wait <= self.settings.open_cap);
        }
        assert!(self.probes_out() <= self.settings.probes);
    }

    fn ask(&mut self) {
        let (before, out) = (self.breaker.state(), self.probes_out());
        match self.breaker.permit(self.now) {
            Permit::Yes(ticket) => {
                assert_eq!(before, State::Closed);
                self.calls.push(Call { ticket, probe: false, life: self.life() });
            }
            Permit::Probe(ticket) => {
                match before {
                    State::Closed => panic!("a probe while closed"),
                    State::Open { until } => assert!(self.now >= until),
                    State::HalfOpen { .. } => assert!(out < self.settings.probes),
                }
                self.calls.push(Call { ticket, probe: true, life: self.life() });
            }
            Permit::No { retry_at } => {
                assert!(retry_at > self.now);
                match before {
                    State::Closed => panic!("refused while closed"),
                    State::Open { until } => assert!(self.now < until && retry_at == until),
                    State::HalfOpen { .. } => assert_eq!(out, self.settings.probes),
                }
                self.retry_at = Some(retry_at);
            }
        }
    }

    fn take(&mut self, back: usize) -> Option<Call> {
        let place = self.calls.len().checked_sub(back + 1)?;
        Some(self.calls.remove(place))
    }

    fn lose(&mut self, back: usize) {
        if let Some(call) = self.take(back) {
            self.lost_probes += u32::from(call.probe && call.life == self.life());
        }
    }

    /// A call ends: bad, failed; `None` says nothing.
    fn end(&mut self, back: usize, result: Option<(bool, bool)>) {
        let Some(call) = self.take(back) else { return };
        let (before, counters) = (self.breaker.state(), self.breaker.counters());
        let present = call.life == self.life();
        match result {
            None => self.breaker.abandoned(call.ticket),
            Some((_, true)) => self.breaker.failed(call.ticket, self.now),
            Some((true, false)) => self.breaker.succeeded(call.ticket, self.now, SLOW * 2),
            Some((false, false)) => self.breaker.succeeded(call.ticket, self.now, SLOW),
        }
        if !present {
            let stale = counters.stale + 1;
            assert_eq!(self.breaker.state(), before);
            assert_eq!(self.breaker.counters(), Counters { stale, ..counters });
            return;
        }
        assert_eq!(self.breaker.counters().stale, counters.stale);
        self.results.extend(result);
        let after = self.breaker.state();
        match before {
            State::Closed => assert_eq!(after == State::Closed, !self.must_open()),
            State::HalfOpen { .. } => {
                let bad = result.is_some_and(|r| r.0);
                let enough = self.results.len() as u32 == self.settings.successes_to_close;
                assert_eq!(matches!(after, State::Open { .. }), bad);
                assert_eq!(after == State::Closed, result.is_some() && !bad && enough);
            }
            State::Open { .. } => panic!("a present call while open"),
        }
    }

    fn must_open(&self) -> bool {
        let row = self.results.iter().rev().take_while(|r| r.1).count();
        let last = self.results.iter().rev().take(self.settings.window);
        let (calls, bad) = (last.clone().count(), last.filter(|r| r.0).count());
        let share = bad as f64 / calls.max(1) as f64;
        row as u32 >= self.settings.failures_in_a_row
            || calls >= self.settings.min_calls && share > self.settings.bad_share
    }
}

fn settings() -> impl Strategy<Value = Settings> {
    (1_u32..8, 1_usize..20, 0.0_f64..1.0, 0_u8..=4, 1_u32..4, 1_u32..5, 1_u64..5000).prop_map(
        |(row, window, min, quarters, probes, successes_to_close, floor_ms)| Settings {
            failures_in_a_row: row,
            window,
            min_calls: 1 + (min * (window - 1) as f64) as usize,
            bad_share: f64::from(quarters) / 4.0,
            slow: SLOW,
            probes,
            successes_to_close,
            probe_timeout: Duration::from_millis(700),
            open_floor: Duration::from_millis(floor_ms),
            open_cap: Duration::from_millis(floor_ms * 10),
        },
    )
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        6 => Just(Event::Ask),
        2 => Just(Event::AskLater),
        1 => (0_u64..3000).prop_map(Event::Wait),
        6 => (0_usize..6, prop::bool::weighted(0.2)).prop_map(|(b, slow)| Event::Succeed(b, slow)),
        3 => (0_usize..6).prop_map(Event::Fail),
        1 => (0_usize..6).prop_map(Event::Abandon),
        1 => (0_usize..6).prop_map(Event::Lose),
    ];
    prop::collection::vec(event, 1..400)
}

proptest! {
    #[test]
    fn whatever_happens_it_does_what_was_promised(
        settings in settings(), seed: u64, events in events(),
    ) {
        let mut driver = Driver::new(settings, seed);
        for event in events {
            driver.step(event);
        }
        let counters = driver.breaker.counters();
        prop_assert!(counters.opened >= counters.half_opened);
        prop_assert!(counters.half_opened >= counters.closed);
        while !driver.calls.is_empty() {
            driver.step(Event::Lose(0));
        }
        let mut asked = 0;
        while driver.breaker.state() != State::Closed {
            driver.step(Event::AskLater);
            driver.step(Event::Succeed(0, false));
            asked += 1;
            prop_assert!(asked < 20, "does not close: {:?}", driver.breaker);
        }
    }
}

/// Asks at once or when told to, and fails that call.
fn fail_once(driver: &mut Driver) -> Duration {
    let opened = driver.breaker.counters().opened;
    while driver.breaker.counters().opened == opened {
        driver.step(Event::AskLater);
        driver.step(Event::Fail(0));
    }
    let State::Open { until } = driver.breaker.state() else { panic!("it opened") };
    until - driver.now
}

fn close(driver: &mut Driver) {
    while driver.breaker.state() != State::Closed {
        driver.step(Event::AskLater);
        driver.step(Event::Succeed(0, false));
    }
}

#[test]
fn open_times_grow_until_it_is_well_for_a_window() {
    let settings = Settings { slow: SLOW, ..Settings::default() };
    let mut driver = Driver::new(settings, 3);
    let mut ceiling = settings.open_floor;
    for _ in 0..10 {
        let wait = fail_once(&mut driver);
        assert!(wait >= ceiling / 2 && wait <= ceiling, "{wait:?} of {ceiling:?}");
        ceiling = (ceiling * 2).min(settings.open_cap);
        close(&mut driver);
    }
    for _ in 0..settings.window {
        driver.step(Event::Ask);
        driver.step(Event::Succeed(0, false));
    }
    assert!(fail_once(&mut driver) <= settings.open_floor);
}

#[test]
fn two_breakers_do_not_try_again_at_the_same_time() {
    let mut waits: Vec<_> =
        (0..20).map(|seed| fail_once(&mut Driver::new(Settings::default(), seed))).collect();
    waits.sort();
    waits.dedup();
    assert_eq!(waits.len(), 20);
}

#[test]
fn a_lost_probe_counts_as_bad_after_its_time() {
    let settings = Settings { probes: 2, ..Settings::default() };
    let mut driver = Driver::new(settings, 3);
    fail_once(&mut driver);
    driver.step(Event::Ask);
    driver.step(Event::AskLater);
    driver.step(Event::Wait(1000));
    driver.step(Event::Ask);
    assert_eq!(driver.breaker.state(), State::HalfOpen { out: 2, successes: 0 });
    driver.step(Event::Ask);
    assert_eq!(driver.retry_at, Some(driver.now + settings.probe_timeout));
    driver.step(Event::AskLater);
    assert!(matches!(driver.breaker.state(), State::Open { .. }));
    assert_eq!(driver.breaker.counters().opened, 2);
    driver.step(Event::Succeed(0, false));
    assert_eq!(driver.breaker.counters().stale, 1, "it came too late");
}

#[test]
fn settings_out_of_their_limits_are_refused_by_name() {
    let good = Settings::default();
    let bad = [
        ("failures_in_a_row", Settings { failures_in_a_row: 0, ..good }),
        ("window", Settings { window: 0, ..good }),
        ("min_calls", Settings { min_calls: 101, ..good }),
        ("bad_share", Settings { bad_share: f64::NAN, ..good }),
        ("probes", Settings { probes: 0, ..good }),
        ("successes_to_close", Settings { successes_to_close: 0, ..good }),
        ("probe_timeout", Settings { probe_timeout: Duration::ZERO, ..good }),
        ("open_floor", Settings { open_floor: Duration::ZERO, ..good }),
        ("open_cap", Settings { open_cap: Duration::MAX, ..good }),
    ];
    for (name, settings) in bad {
        assert_eq!(Breaker::new(settings, 1).unwrap_err().setting, name);
    }
    let shown = Breaker::new(Settings { probes: 0, ..good }, 1).unwrap_err().to_string();
    assert_eq!(shown, "probes of a circuit breaker must be at least 1");
}
