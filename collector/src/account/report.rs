//! What an agent says of its samples, and the equation that must hold.
//!
//! ```text
//! produced = stored + in flight + shed        gap = produced - (stored + in flight + shed)
//! ```
//!
//! All four are counted by the agent at different places and over the whole life of its spool: nothing is computed by subtraction there, so the
//! equation can fail. A gap above zero are samples that nobody knows the whereabouts of; one below zero were counted twice.

use std::collections::BTreeMap;

use flyball_proto::v1;
use serde::Serialize;
use utoipa::ToSchema;

/// Most different reasons that are kept of one report; the samples of further ones are counted as [`OTHER_REASON`].
const MAX_REASONS: usize = 16;
/// Longest reason, in bytes.
const MAX_REASON_BYTES: usize = 64;
/// Samples shed for a reason that was not kept.
const OTHER_REASON: &str = "other";

/// Where the samples of one agent are: its last report. Totals are over the whole life of the node's spool.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct Accounting {
    /// When the collector got the report, milliseconds since the Unix epoch.
    pub reported_ms: i64,
    /// Samples that the agent encoded into frames.
    pub produced: u64,
    /// Samples that a collector acknowledged as stored.
    pub stored: u64,
    /// Samples that wait in the agent for their acknowledgement.
    pub in_flight: u64,
    /// Samples that the agent gave up, by reason.
    #[schema(example = json!({"full": 1200}))]
    pub shed: BTreeMap<String, u64>,
    /// produced - (stored + in flight + shed): 0 when every sample is accounted for.
    pub gap: i64,
    /// Bytes in the agent's spool.
    pub spool_bytes: u64,
    /// Bytes that the spool may hold before it sheds.
    pub spool_limit_bytes: u64,
    /// Segments of the spool that wait to be sent after the live frames.
    pub backlog_segments: u64,
    /// Segments that were found damaged and skipped.
    pub corrupt_segments: u64,
    /// Times that the host's clock jumped.
    pub clock_steps: ClockSteps,
    /// Time of the oldest frame that is not acknowledged, milliseconds since the Unix epoch; null when there is none.
    pub oldest_unacked_ms: Option<i64>,
    /// Of the samples in flight, those that are in the agent's memory only because its disk cannot be written.
    pub unspooled: u64,
}

/// Times that a host's clock jumped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct ClockSteps {
    /// Ahead: a stretch of time has no samples.
    pub forward: u64,
    /// Back: samples of the repeated stretch keep times of their own.
    pub backward: u64,
}

/// Sums over the agents that have reported.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccountingTotals {
    /// Nodes whose agent has reported.
    pub nodes: u32,
    /// Nodes whose samples do not add up.
    pub nodes_with_gap: u32,
    /// Samples that the agents encoded into frames.
    pub produced: u64,
    /// Samples that were acknowledged as stored.
    pub stored: u64,
    /// Samples that wait in the agents.
    pub in_flight: u64,
    /// Samples that the agents gave up.
    pub shed: u64,
    /// Sum of the nodes' gaps, each without its sign.
    pub gap: u64,
}

impl Accounting {
    /// Takes over a report that came at `reported_ms`.
    pub fn of(report: v1::Report, reported_ms: i64) -> Self {
        let accounting = Self {
            reported_ms,
            produced: report.produced,
            stored: report.stored,
            in_flight: report.in_flight,
            shed: reasons(report.shed.into_iter().map(|shed| (shed.reason, shed.samples))),
            gap: 0,
            spool_bytes: report.spool_bytes,
            spool_limit_bytes: report.spool_limit_bytes,
            backlog_segments: report.backlog_segments,
            corrupt_segments: report.corrupt_segments,
            clock_steps: ClockSteps {
                forward: report.clock_steps_forward,
                backward: report.clock_steps_backward,
            },
            oldest_unacked_ms: (report.oldest_unacked_ms > 0).then_some(report.oldest_unacked_ms),
            unspooled: report.unspooled,
        };
        accounting.checked()
    }

    /// Samples given up for any reason.
    pub fn shed_total(&self) -> u64 {
        self.shed.values().fold(0, |sum, samples| sum.saturating_add(*samples))
    }

    /// Computes the gap and bounds the reasons.
    #[must_use]
    fn checked(mut self) -> Self {
        let known = [self.stored, self.in_flight, self.shed_total()];
        let gap = i128::from(self.produced) - known.map(i128::from).iter().sum::<i128>();
        self.gap = gap.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
        self
    }
}

impl AccountingTotals {
    /// Adds a node.
    pub fn add(&mut self, node: &Accounting) {
        self.nodes += 1;
        self.nodes_with_gap += u32::from(node.gap != 0);
        for (sum, samples) in [
            (&mut self.produced, node.produced),
            (&mut self.stored, node.stored),
            (&mut self.in_flight, node.in_flight),
            (&mut self.shed, node.shed_total()),
            (&mut self.gap, node.gap.unsigned_abs()),
        ] {
            *sum = sum.saturating_add(samples);
        }
    }
}

impl From<&Accounting> for v1::Accounting {
    fn from(accounting: &Accounting) -> Self {
        let shed = |(reason, samples): (&String, &u64)| v1::Shed {
            reason: reason.clone(),
            samples: *samples,
        };
        Self {
            reported_ms: accounting.reported_ms,
            produced: accounting.produced,
            stored: accounting.stored,
            in_flight: accounting.in_flight,
            shed: accounting.shed.iter().map(shed).collect(),
            gap: accounting.gap,
            spool_bytes: accounting.spool_bytes,
            spool_limit_bytes: accounting.spool_limit_bytes,
            backlog_segments: accounting.backlog_segments,
            corrupt_segments: accounting.corrupt_segments,
            clock_steps_forward: accounting.clock_steps.forward,
            clock_steps_backward: accounting.clock_steps.backward,
            oldest_unacked_ms: accounting.oldest_unacked_ms,
            unspooled: accounting.unspooled,
        }
    }
}

impl From<AccountingTotals> for v1::AccountingTotals {
    fn from(totals: AccountingTotals) -> Self {
        let AccountingTotals { nodes, nodes_with_gap, produced, stored, in_flight, shed, gap } =
            totals;
        Self { nodes, nodes_with_gap, produced, stored, in_flight, shed, gap }
    }
}

/// Sums samples by reason; what comes after the bound is counted as other.
fn reasons(shed: impl IntoIterator<Item = (String, u64)>) -> BTreeMap<String, u64> {
    let mut by_reason = BTreeMap::<String, u64>::new();
    for (reason, samples) in shed {
        let is_usable = !reason.is_empty()
            && reason.len() <= MAX_REASON_BYTES
            && !reason.contains(char::is_control);
        let has_room = by_reason.len() < MAX_REASONS || by_reason.contains_key(&reason);
        let key = if is_usable && has_room { reason } else { OTHER_REASON.to_owned() };
        let sum = by_reason.entry(key).or_default();
        *sum = sum.saturating_add(samples);
    }
    by_reason
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(shed: &[(&str, u64)]) -> v1::Report {
        let shed =
            shed.iter().map(|&(reason, samples)| v1::Shed { reason: reason.into(), samples });
        v1::Report {
            produced: 100,
            stored: 80,
            in_flight: 5,
            shed: shed.collect(),
            ..Default::default()
        }
    }

    #[test]
    fn the_gap_is_what_nobody_knows_the_whereabouts_of_and_has_a_sign() {
        assert_eq!(Accounting::of(report(&[("full", 10), ("refused", 5)]), 1).gap, 0);
        assert_eq!(Accounting::of(report(&[("full", 10)]), 1).gap, 5);
        assert_eq!(Accounting::of(report(&[("full", 22)]), 1).gap, -7);
        let absurd = v1::Report { stored: u64::MAX, in_flight: u64::MAX, ..Default::default() };
        assert_eq!(Accounting::of(absurd, 1).gap, i64::MIN);
    }

    #[test]
    fn reasons_are_bounded_and_no_sample_is_left_out() {
        let names: Vec<_> = (0..40).map(|n| format!("reason{n:02}")).collect();
        let mut shed: Vec<_> = names.iter().map(|name| (name.as_str(), 2)).collect();
        let long = "x".repeat(65);
        shed.extend([("", 1), ("a\nb", 1), (long.as_str(), 1), ("reason00", 1)]);
        let accounting = Accounting::of(report(&shed), 1);
        assert_eq!(accounting.shed_total(), 84);
        assert_eq!(accounting.shed.len(), MAX_REASONS + 1);
        assert_eq!((accounting.shed["reason00"], accounting.shed["other"]), (3, 51));
    }

    #[test]
    fn totals_count_gaps_of_both_signs() {
        let mut totals = AccountingTotals::default();
        for shed in [10, 22, 15] {
            totals.add(&Accounting::of(report(&[("full", shed)]), 1));
        }
        assert_eq!((totals.nodes, totals.nodes_with_gap, totals.gap), (3, 2, 12));
        assert_eq!((totals.produced, totals.shed), (300, 47));
    }
}
