//! When events are heard, for how long, and how many keys are drawn: what watching costs is bounded.
//!
//! A server pays for each event that it publishes and for each key that it is asked about. It pays at
//! most a share of the processor time that it takes itself, on average. So a window is a debt: what it
//! has cost beyond that share is rested off before the next one begins. A window should last until
//! twice the present size is known ([`Plan::turnover`](crate::cache::watch::Plan::turnover)), and is
//! shorter where that could not be rested off in time for the curve to be of use.
//!
//! What an event costs is believed to be four microseconds at first, and then what the server's own
//! clock of processor time says it was.
//!
//! Properties, each a test:
//! - (a) over any time the cost is at most the share of it and that of one window;
//! - (b) a window is never shorter or longer than the settings say;
//! - (c) dearer events never make a window longer, and neither does a smaller share;
//! - (d) what is no number, negative or nothing begins no window.

use std::time::Duration;

/// Cost of an event, of a key that is asked for, and of INFO with its settings, in seconds.
const EVENT_S: f64 = 4e-6;
const KEY_S: f64 = 6e-6;
const LOOK_S: f64 = 200e-6;
/// What an event may be believed to cost.
const EVENT_COSTS: std::ops::RangeInclusive<f64> = 3e-6..=20e-6;
/// Share of a core that is nobody's loss, also where a server takes next to nothing itself.
const FREE: f64 = 1e-4;
/// Part of what may be spent that goes to drawing keys; the rest is for events.
const FOR_DRAWS: f64 = 0.3;
/// Keys a second without which nothing is ever known.
const LEAST_DRAWS: f64 = 5.0;
/// Part of what may be spent that is left for events, whatever else is spent.
const LEAST_SPARE: f64 = 0.3;
/// How long events are heard where nothing is evicted: for the reasons of misses.
const FOR_REASONS: Duration = Duration::from_mins(1);
/// Turnovers that are heard in one window.
const TURNOVERS: f64 = 1.6;

/// What the settings allow.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Share of the server's own processor time.
    pub cpu_share: f64,
    /// Shortest window.
    pub shortest: Duration,
    /// Longest window.
    pub longest: Duration,
    /// Time in which a window has to be rested off.
    pub longest_rest: Duration,
    /// Keys drawn a second at most.
    pub most_draws: f64,
}

/// What a server does at present.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Seen {
    /// Processor time that it takes, as a share of a core.
    pub cpu: f64,
    /// Keys.
    pub keys: f64,
    /// Misses, evictions and expirations a second.
    pub events_per_second: f64,
    /// Evictions a second.
    pub evictions_per_second: f64,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Next {
    /// Hear events for this long.
    Watch(Duration),
    /// Hear none for about so long, for this reason.
    Rest(Duration, &'static str),
}

/// What watching has cost and what an event costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ledger {
    /// Seconds of processor time that have been taken and not been rested off.
    pub debt_s: f64,
    /// Cost of an event, in seconds.
    pub event_s: f64,
}

/// What was measured of a time in which events were heard.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Heard {
    /// How long, in seconds.
    pub seconds: f64,
    /// Events.
    pub events: f64,
    /// Requests served meanwhile.
    pub requests: f64,
    /// Processor time that the server took, in seconds.
    pub cpu_s: f64,
    /// What a request took before, in seconds; 0 when that is not known.
    pub request_s: f64,
}

impl Limits {
    /// Share of a core that may be spent on a server that takes `cpu` of one.
    pub fn budget(&self, cpu: f64) -> f64 {
        let share = self.cpu_share * cpu;
        if share.is_finite() { share.max(FREE) } else { FREE }
    }

    /// Keys to draw a second.
    pub fn draws_per_second(&self, cpu: f64) -> f64 {
        let affordable = self.budget(cpu) * FOR_DRAWS / KEY_S;
        affordable.max(LEAST_DRAWS).min(self.most_draws.max(1.0))
    }

    /// What is left of the budget for events, beside draws and a look each `report`.
    pub fn spare(&self, cpu: f64, report: Duration) -> f64 {
        let budget = self.budget(cpu);
        let looks = LOOK_S / report.as_secs_f64().max(1.0);
        (budget - self.draws_per_second(cpu) * KEY_S - looks).max(budget * LEAST_SPARE)
    }
}

impl Default for Ledger {
    fn default() -> Self {
        Self { debt_s: 0.0, event_s: EVENT_S }
    }
}

impl Ledger {
    /// Time has passed in which `spare` of a core could have been spent.
    pub fn rest(&mut self, time: Duration, spare: f64) {
        let paid = time.as_secs_f64() * spare;
        if paid.is_finite() {
            self.debt_s = (self.debt_s - paid).max(0.0);
        }
    }

    /// Events were heard.
    pub fn heard(&mut self, heard: &Heard) {
        let measured = (heard.cpu_s - heard.requests * heard.request_s) / heard.events;
        if heard.request_s > 0.0 && heard.events >= 1.0 && measured.is_finite() {
            let measured = measured.clamp(*EVENT_COSTS.start(), *EVENT_COSTS.end());
            self.event_s = f64::midpoint(self.event_s, measured);
        }
        let cost = heard.events * self.event_s;
        if cost.is_finite() {
            self.debt_s += cost.max(0.0);
        }
    }

    /// So many commands were read, each of which costs the server so many seconds.
    pub fn read(&mut self, commands: u64, command_s: f64) {
        self.debt_s += commands as f64 * command_s;
    }

    /// What to do next with a server that could be watched.
    pub fn next(&self, limits: &Limits, seen: &Seen, report: Duration) -> Next {
        let spare = limits.spare(seen.cpu, report);
        if self.debt_s > 0.0 {
            let rest = Duration::try_from_secs_f64(self.debt_s / spare).unwrap_or(Duration::MAX);
            return Next::Rest(
                rest.min(limits.longest_rest),
                "events are heard again when the last ones have been made up for",
            );
        }
        // What is no number is not above 0 either.
        if !(seen.events_per_second > 0.0 && seen.events_per_second.is_finite()) {
            return Next::Rest(report, "nothing is missed, evicted or expires");
        }
        let wanted = match seen.keys / seen.evictions_per_second {
            turnover if turnover.is_finite() => {
                Duration::try_from_secs_f64(TURNOVERS * turnover).unwrap_or(limits.longest)
            }
            _ => FOR_REASONS,
        };
        let while_on = seen.events_per_second * self.event_s;
        let affordable = spare * limits.longest_rest.as_secs_f64() / while_on;
        let affordable = Duration::try_from_secs_f64(affordable).unwrap_or(limits.longest);
        if affordable < limits.shortest {
            return Next::Rest(limits.longest_rest, "events would cost the server too much");
        }
        Next::Watch(wanted.clamp(limits.shortest, limits.longest).min(affordable))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const REPORT: Duration = Duration::from_secs(10);

    fn limits(cpu_share: f64) -> Limits {
        Limits {
            cpu_share,
            shortest: Duration::from_secs(10),
            longest: Duration::from_hours(1),
            longest_rest: Duration::from_hours(5),
            most_draws: 50.0,
        }
    }

    fn length(ledger: Ledger, limits: &Limits, seen: &Seen) -> Duration {
        match ledger.next(limits, seen, REPORT) {
            Next::Watch(length) => length,
            Next::Rest(..) => Duration::ZERO,
        }
    }

    /// The server of the notes: 40,000 reads a second of which one in six misses.
    const BUSY: Seen = Seen {
        cpu: 0.11,
        keys: 220_000.0,
        events_per_second: 12_800.0,
        evictions_per_second: 6_400.0,
    };

    #[test]
    fn a_busy_server_is_watched_for_a_turnover_and_rests_for_most_of_an_hour() {
        let (limits, mut ledger) = (limits(0.01), Ledger::default());
        let Next::Watch(window) = ledger.next(&limits, &BUSY, REPORT) else { panic!() };
        assert_eq!(window, Duration::from_secs(55));
        let seconds = window.as_secs_f64();
        ledger.heard(&Heard { seconds, events: 12_800.0 * seconds, ..Heard::default() });
        let Next::Rest(rest, _) = ledger.next(&limits, &BUSY, REPORT) else { panic!() };
        assert!((3_000..6_000).contains(&rest.as_secs()), "{rest:?}");
        assert!((limits.draws_per_second(0.11) - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_window_that_could_not_be_rested_off_is_shorter_or_none() {
        let slow = Seen { keys: 2e7, ..BUSY };
        let short = length(Ledger::default(), &limits(0.01), &slow);
        assert!((Duration::from_secs(100)..Duration::from_secs(400)).contains(&short), "{short:?}");
        let tight = Limits { longest_rest: Duration::from_mins(1), ..limits(0.01) };
        let next = Ledger::default().next(&tight, &slow, REPORT);
        assert_eq!(next, Next::Rest(tight.longest_rest, "events would cost the server too much"));
    }

    #[test]
    fn a_quiet_server_is_watched_nearly_all_the_time() {
        let quiet =
            Seen { cpu: 0.002, keys: 1e4, events_per_second: 4.0, evictions_per_second: 2.0 };
        let (limits, mut ledger) = (limits(0.01), Ledger::default());
        let window = length(ledger, &limits, &quiet);
        assert_eq!(window, limits.longest);
        let seconds = window.as_secs_f64();
        ledger.heard(&Heard { seconds, events: 4.0 * seconds, ..Heard::default() });
        ledger.rest(window, limits.spare(0.002, REPORT));
        assert!(ledger.debt_s <= 0.0, "{ledger:?}");
    }

    #[test]
    fn what_an_event_costs_is_learned_from_the_servers_clock() {
        let mut ledger = Ledger::default();
        let heard =
            Heard { seconds: 10.0, events: 1e5, requests: 4e5, cpu_s: 2.2, request_s: 2.75e-6 };
        (0..9).for_each(|_| ledger.heard(&heard));
        assert!((ledger.event_s - 11e-6).abs() < 1e-7, "{ledger:?}");
        let odd = Heard { cpu_s: f64::NAN, ..heard };
        ledger.heard(&odd);
        ledger.heard(&Heard { events: 0.0, ..heard });
        assert!((ledger.event_s - 11e-6).abs() < 1e-7);
        (0..9).for_each(|_| ledger.heard(&Heard { cpu_s: 0.0, ..heard }));
        assert!(ledger.event_s >= 3e-6);
    }

    proptest! {
        #[test]
        fn whatever_the_server_does_the_cost_is_bounded(
            loads in prop::collection::vec((0.001_f64..1.0, 1e3_f64..1e7, 0.0_f64..2e4, 0.0_f64..1.0), 1..80),
            share in 0.001_f64..0.2,
        ) {
            let (limits, mut ledger) = (limits(share), Ledger::default());
            let (mut spent, mut allowed, mut largest) = (0.0, 0.0, 0.0_f64);
            for (cpu, keys, events_per_second, evicted) in loads {
                let evictions_per_second = events_per_second * evicted;
                let seen = Seen { cpu, keys, events_per_second, evictions_per_second };
                let spare = limits.spare(cpu, REPORT);
                let (time, events) = match ledger.next(&limits, &seen, REPORT) {
                    Next::Watch(length) => {
                        prop_assert!(length >= limits.shortest && length <= limits.longest);
                        (length, events_per_second * length.as_secs_f64())
                    }
                    Next::Rest(time, _) => (time, 0.0),
                };
                ledger.heard(&Heard { seconds: time.as_secs_f64(), events, ..Heard::default() });
                ledger.rest(time, spare);
                spent += events * ledger.event_s;
                allowed += time.as_secs_f64() * spare;
                largest = largest.max(events * ledger.event_s);
                prop_assert!(spent <= allowed + largest + 1e-9, "{spent} {allowed} {largest}");
                prop_assert!(limits.draws_per_second(cpu) * KEY_S <= limits.budget(cpu) * 0.31);
            }
        }

        #[test]
        fn dearer_events_and_a_smaller_share_make_no_window_longer(
            events in 1.0_f64..1e5, evicted in 0.0_f64..1.0, keys in 1.0_f64..1e8, cpu in 0.0_f64..1.0,
        ) {
            let seen = Seen { cpu, keys, events_per_second: events, evictions_per_second: events * evicted };
            let dear = Ledger { event_s: 10e-6, ..Ledger::default() };
            let of = |ledger, share| length(ledger, &limits(share), &seen);
            prop_assert!(of(dear, 0.01) <= of(Ledger::default(), 0.01));
            prop_assert!(of(dear, 0.001) <= of(dear, 0.01));
        }

        #[test]
        fn what_is_no_number_begins_no_window(odd in prop::sample::select(vec![f64::NAN, f64::NEG_INFINITY, f64::INFINITY, 0.0, -1.0])) {
            let seen = Seen { events_per_second: odd, ..BUSY };
            prop_assert_eq!(length(Ledger::default(), &limits(0.01), &seen), Duration::ZERO);
            for seen in [Seen { cpu: odd, ..BUSY }, Seen { keys: odd, ..BUSY }, Seen { evictions_per_second: odd, ..BUSY }] {
                let length = length(Ledger::default(), &limits(0.01), &seen);
                prop_assert!(length <= Duration::from_hours(1));
            }
        }
    }
}
