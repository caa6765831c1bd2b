//! The track record of predictions: what each promised, and what was then observed.
//!
//! A [`Trial`] is one change that was carried out. Its *score* is how far the observed value lay
//! from the predicted one, in half-widths of the predicted interval: 1 is at its end. Intervals of
//! the next prediction are widened by the conformal quantile of the scores (Vovk et al. 2005, split
//! conformal prediction with normalized scores): of `n` trials that can be exchanged with the next
//! one, the `ceil((n + 1) * confidence)` smallest score is an end that the next value stays within
//! as often as promised, whatever the distribution is. With too few trials for that rank the
//! largest score is taken. An interval is never made narrower than its own method says.
//!
//! Scores are of the intervals as they were before widening, else a widened interval would excuse
//! the next one: narrow, wide, narrow and so on.
//!
//! Who promises too much again and again is muted: the last [`IN_A_ROW`] trials all ended below
//! what was promised, or half of the last [`WINDOW`]. More than was promised is no reason.
//!
//! Properties, each a test:
//! - (a) the factor is at least 1 and at most [`MOST_WIDENING`];
//! - (b) with exchangeable scores the widened interval holds the next value as often as promised;
//! - (c) a trial that fits better never makes the factor larger, and order changes nothing;
//! - (d) a factor that was applied before does not change the next one;
//! - (e) values that are no number, and trials without an observation, count as not judged;
//! - (f) muted only for promising too much, and not for ever.

/// Largest factor. A record that asks for more is one of a method that does not work; it is muted
/// anyway.
pub const MOST_WIDENING: f64 = 20.0;
/// So many trials in a row that promised too much mute a method.
pub const IN_A_ROW: usize = 3;
/// So do half of the last ones, of so many.
pub const WINDOW: usize = 10;
/// Time after the last trial for which a method is muted, milliseconds: 30 days.
pub const MUTED_FOR_MS: i64 = 30 * 24 * 3_600_000;
/// A half-width below this is taken for this: an interval without width cannot be widened.
const LEAST_HALF_WIDTH: f64 = 1e-9;

/// Which way a metric gets better.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Like a hit ratio.
    Higher,
    /// Like a latency.
    Lower,
}

/// One change that was carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct Trial {
    /// Kind of the suggestion, for example `cache.size`.
    pub kind: String,
    /// Id of the target.
    pub target: String,
    /// When it ended, epoch milliseconds.
    pub ended_at_ms: i64,
    /// What was promised.
    pub predicted: f64,
    /// Lower end of the interval that was published.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// The factor by which that interval had been widened; 1: not at all.
    pub widened_by: f64,
    /// What was then seen, if it could be judged.
    pub observed: Option<f64>,
    /// Which way is better.
    pub better: Better,
    /// Whether the change stayed.
    pub promoted: bool,
}

/// The record of some trials in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Summary {
    /// Changes that were carried out to an end.
    pub tried: usize,
    /// Those that stayed.
    pub promoted: usize,
    /// Those whose effect was observed.
    pub judged: usize,
    /// Of those, the ones whose published interval held what was seen.
    pub covered: usize,
    /// Mean distance between what was promised and what was seen; `None` without any.
    pub mean_abs_error: Option<f64>,
}

/// The record of a kind at a target, and of the kind everywhere.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Records {
    /// Of this target.
    pub here: Summary,
    /// Of all targets.
    pub everywhere: Summary,
}

impl Trial {
    /// The observation, when all numbers are numbers.
    fn seen(&self) -> Option<f64> {
        let numbers = [self.predicted, self.low, self.high, self.widened_by, self.observed?];
        numbers.iter().all(|number| number.is_finite()).then_some(numbers[4])
    }

    /// Distance from the prediction in half-widths of the interval before it was widened.
    fn score(&self) -> Option<f64> {
        let seen = self.seen()?;
        let off = seen - self.predicted;
        let end = if off < 0.0 { self.predicted - self.low } else { self.high - self.predicted };
        let half = (end / self.widened_by.max(1.0)).max(LEAST_HALF_WIDTH);
        Some(off.abs() / half)
    }

    fn is_covered(&self) -> bool {
        self.seen().is_some_and(|seen| (self.low..=self.high).contains(&seen))
    }

    /// Whether it promised more than came.
    fn fell_short(&self) -> bool {
        self.seen().is_some_and(|seen| match self.better {
            Better::Higher => seen < self.low,
            Better::Lower => seen > self.high,
        })
    }
}

impl Summary {
    /// Of these trials.
    pub fn of<'a>(trials: impl IntoIterator<Item = &'a Trial>) -> Self {
        let (mut summary, mut errors) = (Self::default(), 0.0);
        for trial in trials {
            summary.tried += 1;
            summary.promoted += usize::from(trial.promoted);
            if let Some(seen) = trial.seen() {
                summary.judged += 1;
                summary.covered += usize::from(trial.is_covered());
                errors += (seen - trial.predicted).abs();
            }
        }
        summary.mean_abs_error = (summary.judged > 0).then(|| errors / summary.judged as f64);
        summary
    }
}

/// The record of a kind at one target and everywhere.
pub fn records(trials: &[Trial], kind: &str, target: &str) -> Records {
    let of_kind = || trials.iter().filter(|trial| trial.kind == kind);
    Records {
        here: Summary::of(of_kind().filter(|trial| trial.target == target)),
        everywhere: Summary::of(of_kind()),
    }
}

/// The factor for the next interval of a kind at a target. A target with enough trials of its own
/// speaks for itself, else those of all targets do. `confidence` is that of the interval, above 0
/// and below 1.
pub fn widening(trials: &[Trial], kind: &str, target: &str, confidence: f64) -> f64 {
    let scores = |own: bool| {
        let of_kind = trials.iter().filter(|trial| trial.kind == kind);
        let chosen = of_kind.filter(|trial| !own || trial.target == target);
        let mut scores: Vec<f64> = chosen.filter_map(Trial::score).collect();
        scores.sort_by(f64::total_cmp);
        scores
    };
    let own = scores(true);
    let scores = if rank(own.len(), confidence) <= own.len() { own } else { scores(false) };
    let at = rank(scores.len(), confidence).min(scores.len());
    let score = at.checked_sub(1).map_or(1.0, |at| scores[at]);
    score.clamp(1.0, MOST_WIDENING)
}

/// Place of the quantile among `count` sorted scores, from 1; above `count`: too few.
fn rank(count: usize, confidence: f64) -> usize {
    // A hair less, so that ten times nine tenths is nine.
    ((count + 1) as f64 * confidence.clamp(0.0, 1.0) - 1e-9).ceil().max(1.0) as usize
}

/// Why a kind is not suggested at a target for now, in words; `None`: it may be.
pub fn muted(trials: &[Trial], kind: &str, target: &str, now_ms: i64) -> Option<String> {
    let judged = |own: bool| {
        let of_kind = trials.iter().filter(|trial| trial.kind == kind && trial.seen().is_some());
        let mut chosen: Vec<_> = of_kind.filter(|trial| !own || trial.target == target).collect();
        chosen.sort_by_key(|trial| std::cmp::Reverse(trial.ended_at_ms));
        chosen
    };
    let (own, all) = (judged(true), judged(false));
    let is_recent = |trials: &[&Trial]| {
        let last = trials.first().map_or(i64::MIN, |trial| trial.ended_at_ms);
        now_ms < last.saturating_add(MUTED_FOR_MS)
    };
    let short = |trials: &[&Trial]| trials.iter().filter(|trial| trial.fell_short()).count();
    let last = &own[..own.len().min(IN_A_ROW)];
    if last.len() == IN_A_ROW && short(last) == IN_A_ROW && is_recent(last) {
        return Some(format!("the last {IN_A_ROW} changes of this kind promised too much here"));
    }
    let last = &all[..all.len().min(WINDOW)];
    let missed = short(last);
    if last.len() == WINDOW && missed * 2 >= WINDOW && is_recent(last) {
        return Some(format!(
            "{missed} of the last {WINDOW} changes of this kind promised too much"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trial(observed: f64, widened_by: f64) -> Trial {
        let half = 0.01 * widened_by;
        Trial {
            kind: "cache.size".to_owned(),
            target: "a".to_owned(),
            ended_at_ms: 0,
            predicted: 0.9,
            low: 0.9 - half,
            high: 0.9 + half,
            widened_by,
            observed: Some(observed),
            better: Better::Higher,
            promoted: true,
        }
    }

    fn factor(trials: &[Trial]) -> f64 {
        widening(trials, "cache.size", "a", 0.9)
    }

    proptest! {
        #[test]
        fn the_factor_is_bounded_and_a_better_fit_never_widens(
            offs in prop::collection::vec(-0.5..0.5_f64, 0..30),
            which: prop::sample::Index,
            closer in 0.0..1.0_f64,
        ) {
            let mut trials: Vec<_> = offs.iter().map(|off| trial(0.9 + off, 1.0)).collect();
            let before = factor(&trials);
            prop_assert!((1.0..=MOST_WIDENING).contains(&before));
            trials.reverse();
            prop_assert!((factor(&trials) - before).abs() < 1e-12);
            if !trials.is_empty() {
                let chosen = which.index(trials.len());
                let off = trials[chosen].observed.unwrap() - 0.9;
                trials[chosen].observed = Some(0.9 + off * closer);
                prop_assert!(factor(&trials) <= before + 1e-9);
            }
        }

        #[test]
        fn a_factor_that_was_applied_does_not_change_the_next(
            offs in prop::collection::vec((-0.5..0.5_f64, 1.0..10.0_f64), 1..30),
        ) {
            let plain: Vec<_> = offs.iter().map(|(off, _)| trial(0.9 + off, 1.0)).collect();
            let wide: Vec<_> = offs.iter().map(|(off, by)| trial(0.9 + off, *by)).collect();
            prop_assert!((factor(&plain) - factor(&wide)).abs() < 1e-6);
        }
    }

    /// A number in [0, 1) that only looks random.
    fn noise(seed: u64) -> f64 {
        (crate::mix::mix64(seed) >> 11) as f64 / (1_u64 << 53) as f64
    }

    #[test]
    fn what_is_widened_holds_the_next_value_as_often_as_promised() {
        // The method's own intervals hold the truth in a third of the cases only.
        for trials_before in [9, 20, 40] {
            let (mut held, mut drawn) = (0, 0);
            for round in 0..4_000_u64 {
                let off = |i: u64| (noise(round * 64 + i) - 0.5) * 0.06;
                let before: Vec<_> = (0..trials_before).map(|i| trial(0.9 + off(i), 1.0)).collect();
                let next = trial(0.9 + off(63), 1.0);
                held += usize::from(next.score().unwrap() <= factor(&before));
                drawn += 1;
            }
            let coverage = f64::from(held as u32) / f64::from(drawn);
            assert!((0.88..0.95).contains(&coverage), "{trials_before}: {coverage}");
        }
    }

    #[test]
    fn an_own_record_counts_once_it_is_long_enough() {
        let far = |i: usize| Trial { target: format!("t{i}"), ..trial(0.95, 1.0) };
        let mut trials: Vec<_> = (0..9).map(far).collect();
        assert!((factor(&trials) - 5.0).abs() < 1e-6, "others' trials stand in");
        trials.extend(vec![trial(0.9, 1.0); 8]);
        assert!((factor(&trials) - 5.0).abs() < 1e-6, "eight are too few for nine in ten");
        trials.push(trial(0.9, 1.0));
        assert!((factor(&trials) - 1.0).abs() < 1e-12);
        let unknown = widening(&trials, "cache.ttl", "a", 0.9);
        assert!((unknown - 1.0).abs() < 1e-12, "nothing known of the kind");
    }

    #[test]
    fn what_is_no_number_is_not_judged() {
        let mut trials = vec![trial(f64::NAN, 1.0), trial(0.9, f64::INFINITY)];
        trials.push(Trial { observed: None, promoted: false, ..trial(0.9, 1.0) });
        trials.push(trial(0.88, 1.0));
        let Records { here, everywhere } = records(&trials, "cache.size", "a");
        assert_eq!(here, everywhere);
        assert_eq!((here.tried, here.promoted, here.judged, here.covered), (4, 3, 1, 0));
        assert!((here.mean_abs_error.unwrap() - 0.02).abs() < 1e-9);
        assert_eq!(records(&trials, "cache.size", "b").here, Summary::default());
    }

    #[test]
    fn promising_too_much_is_muted_and_not_for_ever() {
        let muted_at = |trials: &[Trial], now_ms| muted(trials, "cache.size", "a", now_ms);
        let at = |ended_at_ms, observed| Trial { ended_at_ms, ..trial(observed, 1.0) };
        let short: Vec<_> = (1..=3).map(|t| at(t, 0.85)).collect();
        assert!(muted_at(&short[..2], 10).is_none());
        assert!(muted_at(&short, 10).unwrap().contains("here"));
        assert!(muted_at(&short, 3 + MUTED_FOR_MS).is_none());
        assert!(muted(&short, "cache.size", "b", 10).is_none());
        let more: Vec<_> = (1..=20).map(|t| at(t, 0.95)).collect();
        assert!(muted_at(&more, 30).is_none(), "more than was promised");
        let mut better = short.clone();
        better.push(at(4, 0.9));
        assert!(muted_at(&better, 10).is_none());
        // Each target by itself has too few.
        let fleet: Vec<_> = (0..10)
            .map(|t| Trial {
                target: format!("t{t}"),
                ..at(t, if t % 2 == 0 { 0.85 } else { 0.9 })
            })
            .collect();
        assert!(muted_at(&fleet, 20).unwrap().contains("5 of the last 10"));
        assert!(muted_at(&fleet[1..], 20).is_none());
    }

    #[test]
    fn a_lower_latency_is_better() {
        let slow = Trial { better: Better::Lower, ..trial(0.95, 1.0) };
        assert!(slow.fell_short());
        let fast = Trial { better: Better::Lower, ..trial(0.85, 1.0) };
        assert!(!fast.fell_short());
    }
}
