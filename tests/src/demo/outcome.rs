//! What came of a way to share requests, as people see it in a terminal: a table, and p99 of each second as a row of bars.

use super::picture::Curve;
use crate::balance::Figures;

/// Bars from low to high.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const NAMES: [&str; 3] = ["before", "just after", "then"];

/// What came of one way.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    /// p99 of each second.
    pub(super) curve: Curve,
    phases: [Figures; 3],
    open: u64,
}

impl Outcome {
    /// Of the way with this name; `open` requests have no answer.
    pub(super) fn new(
        name: &str,
        points: Vec<(f64, f64)>,
        phases: [Figures; 3],
        open: u64,
    ) -> Self {
        Self { curve: Curve { name: name.to_owned(), points }, phases, open }
    }

    /// In a sentence.
    pub(super) fn words(&self) -> String {
        let requests: usize = self.phases.iter().map(|phase| phase.requests).sum();
        let failed: usize = self.phases.iter().map(|phase| phase.failed).sum();
        let [before, _, then] = &self.phases;
        let open = if self.open > 0 {
            format!(", {} have no answer yet", self.open)
        } else {
            String::new()
        };
        format!(
            "p99 {:.0} ms before and {:.0} ms in the end; {failed} of {requests} requests failed{open}.",
            before.p99_ms, then.p99_ms
        )
    }
}

/// All of them in lines: figures of each phase, whose lengths are given in seconds, and the bars.
pub(super) fn table(outcomes: &[Outcome], phases: &[u64; 3]) -> Vec<String> {
    let head = |(name, seconds): (&&str, &u64)| {
        let text = format!("{name} ({seconds} s)");
        format!("{text:>24}")
    };
    let heads: String = NAMES.iter().zip(phases).map(head).collect();
    let columns = format!("{:>9}{:>8}{:>7}", "p50 ms", "p99 ms", "util").repeat(3);
    let mut lines = vec![format!("{:12}{heads}", ""), format!("{:12}{columns}", "")];
    for Outcome { curve, phases, .. } in outcomes {
        let of = |phase: &Figures| {
            format!("{:>9.0}{:>8.0}{:>7.2}", phase.p50_ms, phase.p99_ms, phase.imbalance())
        };
        lines.push(format!("{:12}{}", curve.name, phases.iter().map(of).collect::<String>()));
    }
    lines.push("util: utilisation of the busiest backend over the mean of all; 1 is equal".into());
    lines.push(String::new());
    lines.extend(bars(outcomes, phases[0]));
    lines
}

/// p99 of each second between the lowest and the highest of all, logarithmic; a stroke where a backend slows down.
fn bars(outcomes: &[Outcome], slows: u64) -> Vec<String> {
    let all = || outcomes.iter().flat_map(|outcome| &outcome.curve.points).map(|point| point.1);
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    if !(low > 0.0 && low < high) {
        return Vec::new();
    }
    let bar = |(_, value): &(f64, f64)| {
        let up = (value / low).ln() / (high / low).ln();
        BARS[((up * BARS.len() as f64) as usize).min(BARS.len() - 1)]
    };
    let (least, most) = (BARS[0], BARS[BARS.len() - 1]);
    let mut lines = vec![format!(
        "p99 of each second, logarithmic from {low:.0} ms ({least}) to {high:.0} ms ({most}); a backend slows down at the stroke:"
    )];
    for Outcome { curve, .. } in outcomes {
        let half = curve.points.partition_point(|point| point.0 < slows as f64);
        let (before, after) = curve.points.split_at(half);
        let row = |points: &[(f64, f64)]| points.iter().map(bar).collect::<String>();
        lines.push(format!("{:12}{}|{}", curve.name, row(before), row(after)));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, p99s: [f64; 3]) -> Outcome {
        let points = p99s.iter().enumerate().map(|(at, p99)| (at as f64 + 0.5, *p99)).collect();
        let phases = p99s.map(|p99_ms| Figures {
            requests: 100,
            failed: 1,
            p50_ms: 10.0,
            p99_ms,
            utilization: vec![0.9, 0.3],
            ..Figures::default()
        });
        Outcome::new(name, points, phases, 2)
    }

    #[test]
    fn ways_stand_below_each_other() {
        let all = [outcome("a", [10.0, 100.0, 1_000.0]), outcome("b", [10.0, 12.0, 11.0])];
        let lines = table(&all, &[1, 5, 8]);
        assert!(lines[..4].iter().all(|line| line.len() == lines[0].len()), "{lines:#?}");
        assert!(lines[0].ends_with("just after (5 s)              then (8 s)"), "{lines:#?}");
        assert!(lines[1].ends_with("p50 ms  p99 ms   util"), "{lines:#?}");
        assert!(lines[2].starts_with('a') && lines[2].ends_with("10    1000   1.50"), "{lines:#?}");
        let bars = &lines[lines.len() - 2..];
        assert_eq!(bars, ["a           ▁|▅█", "b           ▁|▁▁"]);
    }

    #[test]
    fn what_failed_and_what_is_open_is_told() {
        let words = outcome("a", [10.0, 100.0, 1_000.0]).words();
        assert_eq!(
            words,
            "p99 10 ms before and 1000 ms in the end; 3 of 300 requests failed, 2 have no answer yet."
        );
        // Nothing to draw between.
        assert!(bars(&[outcome("a", [10.0; 3])], 1).is_empty());
    }
}
