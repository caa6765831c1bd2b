//! How much of a balancer's traffic a push moves, and how far one may go that would move too much.
//!
//! ```text
//! shift = 1/2 sum over backends of | w' / sum w' - w / sum w |        the largest of all groups
//! ```
//!
//! Of all weights of a group, also of those that are not under control and stay: with them a backend
//! whose weight does not change gets another share.

use std::collections::BTreeMap;

use super::ids::Values;

/// Parameters that control sets.
pub(super) const WEIGHT: &str = "weight:";
/// Halvings of the way in which the farthest point is looked for: to a thousandth of it.
const HALVINGS: u32 = 10;

/// The largest share of a group's traffic that moves between its backends. What `new` does not name
/// stays as it is in `old`.
pub fn shift(old: &Values, new: &Values) -> f64 {
    let mut groups: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for (name, old) in old.iter().filter(|(name, _)| name.starts_with(WEIGHT)) {
        let group = name.rsplit_once('/').map_or(name.as_str(), |(group, _)| group);
        let new = new.get(name).unwrap_or(old);
        groups.entry(group).or_default().push((weight(old), weight(new)));
    }
    let moved = |weights: &Vec<(f64, f64)>| {
        let old: f64 = weights.iter().map(|(old, _)| old).sum();
        let new: f64 = weights.iter().map(|(_, new)| new).sum();
        let share = |weight: f64, sum: f64| if sum > 0.0 { weight / sum } else { 0.0 };
        weights.iter().map(|(a, b)| (share(*a, old) - share(*b, new)).abs()).sum::<f64>() / 2.0
    };
    groups.values().map(moved).fold(0.0, f64::max)
}

/// As far from `old` towards `new` as `may` lets it, in whole weights; `None` when not even a part of
/// the way may be gone.
pub fn part_of_the_way(
    old: &Values,
    new: &Values,
    may: impl Fn(&Values) -> bool,
) -> Option<Values> {
    if may(new) {
        return Some(new.clone());
    }
    let at = |part: f64| -> Values {
        let between = |(name, new): (&String, &String)| {
            let (from, to) = (weight(old.get(name).unwrap_or(new)), weight(new));
            (name.clone(), ((to - from).mul_add(part, from).round() as u64).to_string())
        };
        new.iter().map(between).collect()
    };
    let (mut near, mut far) = (0.0, 1.0);
    for _ in 0..HALVINGS {
        let middle = f64::midpoint(near, far);
        if may(&at(middle)) { near = middle } else { far = middle }
    }
    let values = at(near);
    let moves = values.iter().any(|(name, value)| old.get(name) != Some(value));
    (moves && may(&values)).then_some(values)
}

fn weight(text: &str) -> f64 {
    text.parse::<u64>().unwrap_or(0) as f64
}
