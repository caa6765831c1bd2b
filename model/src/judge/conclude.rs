//! From looks to the verdict.

use super::look::{Look, history, looks, worst_first};
use super::trial::{Role, Trial};
use super::verdict::{Effect, Judgement, Verdict};
use super::words;

/// The verdict on what was measured up to `until_ms`.
pub fn judge(trial: &Trial, until_ms: i64) -> Verdict {
    conclude(trial, &history(trial, until_ms))
}

/// The verdict that looks lead to, the earliest first, as [`history`] gives them.
///
/// The first harm counts, wherever it is; else the first pass; else what the latest look shows.
pub fn conclude(trial: &Trial, looks: &[Look]) -> Verdict {
    if let Some(problem) = trial.problem() {
        return bare(format!("cannot be judged: {problem}"));
    }
    let last = is_last(trial, looks);
    if let Some((look, effect)) = looks.iter().find_map(|look| Some((look, harmed(look)?))) {
        return verdict(Judgement::Harm, look, effect, last, words::harm(trial, look, effect));
    }
    if let Some((look, effect)) = looks.iter().find_map(|look| Some((look, passed(trial, look)?))) {
        return verdict(Judgement::Pass, look, effect, last, words::pass(trial, look, effect));
    }
    let Some(look) = looks.last() else {
        return bare(words::too_early(trial));
    };
    let open =
        |reason: String| if last { format!("{reason}; {}", words::TIME_IS_UP) } else { reason };
    if let Some((metric, why)) = look.gaps.first() {
        let reason = open(format!("not decided: {metric}: {why}"));
        let windows = look.windows;
        return Verdict { metric: metric.clone(), windows, last, ..bare(reason) }.with(look);
    }
    match hinders(look) {
        Some(effect) => {
            let reason = open(words::open(trial, look, effect));
            verdict(Judgement::Inconclusive, look, effect, last, reason)
        }
        None => Verdict { last, ..bare(open("not decided".into())) },
    }
}

/// The most harmed of what is.
fn harmed(look: &Look) -> Option<&Effect> {
    look.effects.iter().filter(|e| e.result == Judgement::Harm).min_by(|a, b| worst_first(a, b))
}

/// The effect to name when all pass: a gained target, else the one that came closest to not passing.
fn passed<'a>(trial: &Trial, look: &'a Look) -> Option<&'a Effect> {
    let clean = !look.held && look.gaps.is_empty();
    if !clean || look.effects.iter().any(|effect| effect.result != Judgement::Pass) {
        return None;
    }
    if trial.metrics.iter().any(|metric| metric.role == Role::Target) {
        return look.effects.iter().find(|effect| effect.gained == Some(true));
    }
    look.effects.iter().max_by(|a, b| room(a).total_cmp(&room(b)))
}

/// What stands in the way: an obstacle, else the effect that may be furthest beyond its margin, else a
/// gain that is not proven.
fn hinders(look: &Look) -> Option<&Effect> {
    let effects = &look.effects;
    let undecided = effects.iter().filter(|e| e.result != Judgement::Pass);
    effects
        .iter()
        .find(|effect| effect.obstacle.is_some())
        .or_else(|| undecided.max_by(|a, b| room(a).total_cmp(&room(b))))
        .or_else(|| effects.iter().find(|effect| effect.gained == Some(false)))
        .or_else(|| effects.first())
}

/// Upper end of the harm in units of the margin.
fn room(effect: &Effect) -> f64 {
    effect.harm.high / effect.margin.max(f64::MIN_POSITIVE)
}

fn is_last(trial: &Trial, seen: &[Look]) -> bool {
    let end = looks(&trial.limits).last().copied();
    seen.last().is_some_and(|look| !look.held && Some(look.windows) == end)
}

fn verdict(result: Judgement, look: &Look, effect: &Effect, last: bool, reason: String) -> Verdict {
    Verdict {
        result,
        metric: effect.metric.clone(),
        expected: Some(effect.expected),
        observed: Some(effect.observed),
        samples: effect.samples,
        windows: look.windows,
        last,
        reason: reason + &words::without(look),
        effects: look.effects.clone(),
    }
}

/// Inconclusive, about nothing.
fn bare(reason: String) -> Verdict {
    Verdict {
        result: Judgement::Inconclusive,
        metric: String::new(),
        expected: None,
        observed: None,
        samples: 0,
        windows: 0,
        last: false,
        reason,
        effects: Vec::new(),
    }
}

impl Verdict {
    fn with(self, look: &Look) -> Self {
        let reason = self.reason + &words::without(look);
        Self { reason, effects: look.effects.clone(), ..self }
    }
}
