//! Reasons in plain words with their numbers.

use std::collections::{BTreeMap, BTreeSet};

use super::arms::some_of;
use super::look::{Look, looks};
use super::trial::{Arm, Trial};
use super::verdict::{Effect, Facet};

/// What is added when nothing was decided up to the last look.
pub(super) const TIME_IS_UP: &str = "the time is up";

/// Why harm.
pub(super) fn harm(trial: &Trial, look: &Look, effect: &Effect) -> String {
    let (worse, surely) = (size(effect, effect.harm.value), size(effect, effect.harm_at_least));
    let held = if look.held { " even while it warms up" } else { "" };
    if effect.facet == Facet::Promise {
        return format!(
            "{} does not keep what was promised: the new room is filled, and {surely} of a gain of {} are \
             missing beyond doubt, where half of it is asked for; {}",
            effect.metric,
            size(effect, effect.margin * 2.0),
            seen(trial, look, effect),
        );
    }
    format!(
        "{} is {worse} worse, beyond doubt more than {surely}, where {} is allowed{held}; {}",
        name(effect),
        size(effect, effect.margin),
        seen(trial, look, effect),
    )
}

/// Why pass.
pub(super) fn pass(trial: &Trial, look: &Look, effect: &Effect) -> String {
    let confidence = 100.0 * (1.0 - 2.0 * trial.limits.pass_alpha);
    let range = match (effect.harm.low < 0.0, effect.harm.high < 0.0) {
        (_, true) => format!(
            "{} to {} better",
            size(effect, effect.harm.high),
            size(effect, effect.harm.low)
        ),
        (true, false) => format!(
            "between {} better and {} worse",
            size(effect, effect.harm.low),
            size(effect, effect.harm.high)
        ),
        (false, false) => {
            format!("{} to {} worse", size(effect, effect.harm.low), size(effect, effect.harm.high))
        }
    };
    let others = look.effects.len() - 1;
    let rest = match others {
        0 => String::new(),
        1 => "; the other comparison is within its margin".into(),
        n => format!("; the other {n} comparisons are within their margins"),
    };
    format!(
        "{} is {range} with {confidence:.0} % confidence, where {} worse is allowed; {}{rest}",
        name(effect),
        size(effect, effect.margin),
        seen(trial, look, effect),
    )
}

/// Why not decided.
pub(super) fn open(trial: &Trial, look: &Look, effect: &Effect) -> String {
    let seen = seen(trial, look, effect);
    let name = name(effect);
    if let Some(obstacle) = &effect.obstacle {
        return format!("not decided: {name}: {obstacle}; {seen}");
    }
    if look.held {
        return format!("not decided while it warms up: {name} shows no harm beyond doubt; {seen}");
    }
    if effect.harm.high < effect.margin {
        let best = size(effect, effect.harm.value.abs());
        let way = if effect.harm.value < 0.0 { "better" } else { "worse" };
        return format!("not decided: {name} is {best} {way}, no gain beyond doubt; {seen}");
    }
    format!(
        "not decided: {name} may be up to {} worse where {} is allowed; {seen}",
        size(effect, effect.harm.high),
        size(effect, effect.margin),
    )
}

/// Which units were hardly measured, by metric; empty when there are none.
pub(super) fn without(look: &Look) -> String {
    let mut named: BTreeMap<&str, BTreeSet<(Arm, &str, &str)>> = BTreeMap::new();
    for effect in &look.effects {
        let units = effect.left_out.iter().map(|out| (out.arm, &*out.unit, &*out.why));
        named.entry(&effect.metric).or_default().extend(units);
    }
    let of = |(metric, units): (&str, BTreeSet<(Arm, &str, &str)>)| {
        let units: Vec<String> =
            units.into_iter().map(|(_, unit, why)| format!("{unit} ({why})")).collect();
        if units.is_empty() {
            return String::new();
        }
        format!("; hardly measured for {metric}: {}", some_of(&units))
    };
    named.into_iter().map(of).collect()
}

/// Before the first look.
pub(super) fn too_early(trial: &Trial) -> String {
    let first = looks(&trial.limits).first().copied().unwrap_or_default();
    let hold = trial.hold.map_or(0, |hold| hold.windows);
    let width = f64::from(trial.window_ms) / 1000.0;
    if hold == 0 {
        format!("not decided: the first look is after {first} windows of {width} s")
    } else {
        format!(
            "not decided: the first look is after {first} windows of {width} s and {hold} to warm up"
        )
    }
}

fn name(effect: &Effect) -> String {
    match effect.facet {
        Facet::Mean | Facet::Promise => effect.metric.clone(),
        facet => format!("{} ({})", effect.metric, facet.name()),
    }
}

/// What was seen and with what it was compared.
fn seen(trial: &Trial, look: &Look, effect: &Effect) -> String {
    let width = f64::from(trial.window_ms) / 1000.0;
    let word = if effect.facet == Facet::Promise { "promised" } else { "expected" };
    let (observed, expected) = (number(effect.observed.value), number(effect.expected.value));
    let of = if effect.windows == look.windows {
        format!("{}", look.windows)
    } else {
        format!("{} of {}", effect.windows, look.windows)
    };
    format!("seen {observed}, {word} {expected}, in {of} windows of {width} s")
}

/// A difference without its sign: in percent where the comparison is relative.
fn size(effect: &Effect, value: f64) -> String {
    match effect.facet {
        Facet::Mean | Facet::Promise => number(value.abs()),
        _ => format!("{} %", number(100.0 * value.abs())),
    }
}

/// Three digits that say something.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 1e-12 {
        return "0".into();
    }
    let digits = (2 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    format!("{value:.digits$}")
}
