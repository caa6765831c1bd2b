//! Which of a node's alerts fire, decided from its reports: pure, and time is an argument.
//!
//! Properties, each tested below:
//!
//! 1. A gap fires when two reports in a row have one, and is over with the first report that has none.
//! 2. What an agent only counts up (shed, damaged segments, clock steps) fires when the count grows, and is over when it has not grown for
//!    [`QUIET_MS`]. A first report with samples shed fires too: nobody knows whether anybody was told.
//! 3. A count that falls means that the node began anew: it is the new basis and fires nothing.
//! 4. The spool's alert fires at [`FILLING`] of its limit and is over below [`EMPTYING`], so that it does not flutter.
//! 5. The same report without a gap again changes nothing.

use super::alert::{Finding, Kind};
use super::report::Accounting;

/// What was counted up is over after so much time without growth, in milliseconds.
const QUIET_MS: i64 = 600_000;
/// Share of the spool's limit from which samples may soon be shed.
const FILLING: f64 = 0.8;
/// Share of the spool's limit below which that is over.
const EMPTYING: f64 = 0.6;

/// What is remembered of a node between two reports.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Watch {
    /// There was a report.
    is_known: bool,
    /// Reports in a row that had a gap.
    gaps: u32,
    shed: Growth,
    corrupt: Growth,
    clock: Growth,
    is_filling: bool,
}

/// A count that only grows, and what it was before it last began to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Growth {
    last: u64,
    /// The count before it began to grow, and when it last grew.
    since: Option<(u64, i64)>,
}

impl Growth {
    /// Takes over the newest count. Gives by how much it grew since it began to; 0 when it is quiet.
    fn advance(&mut self, count: u64, now_ms: i64) -> u64 {
        if count < self.last {
            *self = Self { last: count, since: None };
        } else if count > self.last {
            let (base, _) = self.since.unwrap_or((self.last, now_ms));
            *self = Self { last: count, since: Some((base, now_ms)) };
        }
        self.grown(now_ms)
    }

    fn grown(&mut self, now_ms: i64) -> u64 {
        if self.since.is_some_and(|(_, grew_ms)| now_ms - grew_ms >= QUIET_MS) {
            self.since = None;
        }
        self.since.map_or(0, |(base, _)| self.last - base)
    }
}

impl Watch {
    /// Takes a report and says of each alert whether it fires.
    pub(super) fn report(&mut self, report: &Accounting) -> Vec<Finding> {
        let now_ms = report.reported_ms;
        if !std::mem::replace(&mut self.is_known, true) {
            // Samples shed before the first report count as growth; the others are history.
            self.corrupt.last = report.corrupt_segments;
            self.clock.last = steps(report);
        }
        self.gaps = if report.gap == 0 { 0 } else { self.gaps.saturating_add(1) };
        let share = report.spool_bytes as f64 / report.spool_limit_bytes.max(1) as f64;
        let limit = if self.is_filling { EMPTYING } else { FILLING };
        self.is_filling = report.spool_limit_bytes > 0 && share >= limit;
        let shed = self.shed.advance(report.shed_total(), now_ms);
        let corrupt = self.corrupt.advance(report.corrupt_segments, now_ms);
        let clock = self.clock.advance(steps(report), now_ms);
        vec![
            Finding::of(Kind::AccountingGap, self.gaps >= 2, || gap_text(report)),
            Finding::of(Kind::SamplesShed, shed > 0, || shed_text(shed, report)),
            Finding::of(Kind::SpoolCorrupt, corrupt > 0, || corrupt_text(corrupt)),
            Finding::of(Kind::ClockStep, clock > 0, || clock_text(clock, report)),
            Finding::of(Kind::SpoolFilling, self.is_filling, || filling_text(share, report)),
            Finding::of(Kind::SpoolUnwritable, report.unspooled > 0, || unspooled_text(report)),
        ]
    }

    /// Says which alerts are over because nothing happened for long, without a report.
    pub(super) fn tick(&mut self, now_ms: i64) -> Vec<Finding> {
        let growths = [
            (Kind::SamplesShed, &mut self.shed),
            (Kind::SpoolCorrupt, &mut self.corrupt),
            (Kind::ClockStep, &mut self.clock),
        ];
        let over = growths.into_iter().filter_map(|(kind, growth)| {
            let was_growing = growth.since.is_some();
            (was_growing && growth.grown(now_ms) == 0).then(|| Finding::over(kind))
        });
        over.collect()
    }
}

fn steps(report: &Accounting) -> u64 {
    report.clock_steps.forward.saturating_add(report.clock_steps.backward)
}

fn gap_text(report: &Accounting) -> String {
    let Accounting { produced, stored, in_flight, gap, .. } = report;
    let what = if *gap > 0 {
        format!("{gap} samples were produced and are neither stored, nor in flight, nor shed")
    } else {
        format!("{} samples more are accounted for than were produced", gap.unsigned_abs())
    };
    let shed = report.shed_total();
    format!("{what}: produced {produced}, stored {stored}, in flight {in_flight}, shed {shed}")
}

fn shed_text(grown: u64, report: &Accounting) -> String {
    let reasons: Vec<_> = report.shed.iter().map(|(reason, n)| format!("{reason} {n}")).collect();
    format!("the agent gave up {grown} samples; in all, by reason: {}", reasons.join(", "))
}

fn corrupt_text(grown: u64) -> String {
    let segments = if grown == 1 { "segment" } else { "segments" };
    format!("{grown} {segments} of the spool could not be read in whole; check the host's disk")
}

fn clock_text(grown: u64, report: &Accounting) -> String {
    let steps = report.clock_steps;
    let times = if grown == 1 { "once".to_owned() } else { format!("{grown} times") };
    format!(
        "the host's clock jumped {times}; in all {} forward, {} backward; check its time service",
        steps.forward, steps.backward
    )
}

fn filling_text(share: f64, report: &Accounting) -> String {
    format!(
        "the spool is {:.0} % full, {} samples wait; when it is full the oldest are given up",
        share * 100.0,
        report.in_flight
    )
}

fn unspooled_text(report: &Accounting) -> String {
    format!(
        "the spool's disk cannot be written: {} samples are in memory only and would not survive the end of the agent",
        report.unspooled
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::account::report::ClockSteps;

    fn at(reported_ms: i64) -> Accounting {
        Accounting { reported_ms, spool_limit_bytes: 100, ..Accounting::default() }
    }

    fn firing(findings: &[Finding]) -> Vec<Kind> {
        findings.iter().filter(|f| f.text.is_some()).map(|f| f.kind).collect()
    }

    fn shed(reported_ms: i64, samples: u64) -> Accounting {
        Accounting { shed: BTreeMap::from([("full".to_owned(), samples)]), ..at(reported_ms) }
    }

    #[test]
    fn a_gap_fires_when_it_stays_and_is_over_when_it_closes() {
        let mut watch = Watch::default();
        let gap = |ms, gap| Accounting { gap, ..at(ms) };
        assert_eq!(firing(&watch.report(&gap(1, 5))), []);
        assert_eq!(firing(&watch.report(&gap(2, 0))), []);
        assert_eq!(firing(&watch.report(&gap(3, 5))), []);
        assert_eq!(firing(&watch.report(&gap(4, -2))), [Kind::AccountingGap]);
        assert_eq!(firing(&watch.report(&gap(5, -2))), [Kind::AccountingGap]);
        assert_eq!(firing(&watch.report(&gap(6, 0))), []);
    }

    #[test]
    fn shed_samples_fire_while_they_grow_and_until_it_was_quiet_for_long() {
        let mut watch = Watch::default();
        assert_eq!(firing(&watch.report(&shed(0, 7))), [Kind::SamplesShed], "who was told?");
        let quiet = watch.report(&shed(QUIET_MS - 1, 7));
        assert_eq!(firing(&quiet), [Kind::SamplesShed]);
        assert_eq!(firing(&watch.report(&shed(QUIET_MS, 7))), []);
        let again = watch.report(&shed(QUIET_MS + 1, 9));
        assert_eq!(firing(&again), [Kind::SamplesShed]);
        assert!(again[1].text.as_ref().unwrap().contains("gave up 2 samples"), "{again:?}");
        assert_eq!(watch.tick(2 * QUIET_MS), []);
        assert_eq!(watch.tick(2 * QUIET_MS + 1), [Finding::over(Kind::SamplesShed)]);
        assert_eq!(watch.tick(2 * QUIET_MS + 2), []);
    }

    #[test]
    fn old_steps_and_damage_are_history_and_new_ones_fire() {
        let mut watch = Watch::default();
        let report = |ms, forward, corrupt_segments| Accounting {
            clock_steps: ClockSteps { forward, backward: 1 },
            corrupt_segments,
            ..at(ms)
        };
        assert_eq!(firing(&watch.report(&report(0, 3, 2))), []);
        assert_eq!(firing(&watch.report(&report(1, 4, 2))), [Kind::ClockStep]);
        assert_eq!(firing(&watch.report(&report(2, 4, 3))), [Kind::SpoolCorrupt, Kind::ClockStep]);
    }

    #[test]
    fn a_node_that_begins_anew_fires_nothing() {
        let mut watch = Watch::default();
        watch.report(&shed(0, 100));
        assert_eq!(firing(&watch.report(&at(1))), []);
        assert_eq!(firing(&watch.report(&shed(2, 1))), [Kind::SamplesShed]);
    }

    #[test]
    fn a_filling_spool_does_not_flutter() {
        let mut watch = Watch::default();
        let spool = |ms, spool_bytes| Accounting { spool_bytes, ..at(ms) };
        for (bytes, expected) in [(79, false), (80, true), (61, true), (59, false), (79, false)] {
            let fires = firing(&watch.report(&spool(1, bytes))) == [Kind::SpoolFilling];
            assert_eq!(fires, expected, "{bytes} %");
        }
        let unlimited = Accounting { spool_bytes: 5, spool_limit_bytes: 0, ..at(2) };
        assert_eq!(firing(&watch.report(&unlimited)), []);
    }

    #[test]
    fn the_same_report_again_changes_nothing() {
        let mut watch = Watch::default();
        let report = Accounting { spool_bytes: 90, unspooled: 4, ..shed(5, 3) };
        let first = watch.report(&report);
        let state = watch.clone();
        assert_eq!(watch.report(&report), first);
        assert_eq!(watch, state);
        assert_eq!(firing(&first), [Kind::SamplesShed, Kind::SpoolFilling, Kind::SpoolUnwritable]);
    }
}
