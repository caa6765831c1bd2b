//! Guard rails that the rules of all load balancers share.
//!
//! *Shift*: a change may put no more than a share of a group's requests upon servers in addition to what they have. What a server that comes back takes is not counted:
//! nobody is overloaded by it. *Limit*: one that is lowered stays above what is under way, with a quarter on top, and falls by no more than half at once.
//!
//! Properties, each a test: a change that puts nothing upon anybody always passes, as does one that raises a limit or lifts it; a limit that passes is above what is under way.

use std::collections::BTreeMap;

use flyball_model::balance::limits::{least_above, least_step};

/// Room for rounding when shares are compared.
const ROUNDING: f64 = 1e-9;

/// A server of a group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Server {
    /// Its weight.
    pub(super) weight: f64,
    /// It is given requests.
    pub(super) serves: bool,
}

/// The servers of a group, by name.
pub(super) type Group<'a> = BTreeMap<&'a str, Server>;

/// Holds a change of a group to the largest shift.
///
/// # Errors
/// How much would be put upon servers, and how much may be.
pub(super) fn guard_shift(
    name: &str,
    before: &Group<'_>,
    after: &Group<'_>,
    largest: f64,
) -> Result<(), String> {
    let more = changes(before, after)
        .filter(|(was_serving, _)| *was_serving)
        .map(|(_, added)| added.max(0.0))
        .sum::<f64>();
    if more > largest + ROUNDING {
        return Err(format!(
            "{:.0} % of the requests of group {name} would move at once, more than {:.0} %: take a smaller step, or allow more by steer.largest_shift in the agent's configuration",
            more * 100.0,
            largest * 100.0
        ));
    }
    Ok(())
}

/// Share of a group's requests that go elsewhere.
pub(super) fn moved(before: &Group<'_>, after: &Group<'_>) -> f64 {
    changes(before, after).map(|(_, added)| added.abs()).sum::<f64>() / 2.0
}

/// Of each server whether it served before, and what is added to its share of the requests.
fn changes(before: &Group<'_>, after: &Group<'_>) -> impl Iterator<Item = (bool, f64)> {
    let total = |group: &Group<'_>| -> f64 { group.values().copied().map(Server::takes).sum() };
    let (was, is) = (total(before), total(after));
    let share = |takes: f64, total: f64| if total > 0.0 { takes / total } else { 0.0 };
    after.iter().map(move |(name, then)| {
        let now = before.get(name).copied().map_or(0.0, Server::takes);
        (now > 0.0, share(then.takes(), is) - share(now, was))
    })
}

impl Server {
    fn takes(self) -> f64 {
        if self.serves { self.weight.max(0.0) } else { 0.0 }
    }
}

/// Holds a change of a limit to what is under way, and to half of what it was. `None`: there is no limit, and it is not known what is under way. What that is, a mean or a look at the
/// moment, is for each kind of balancer to know: it depends on whether what is above a limit waits there or fails.
///
/// # Errors
/// What the least is that may be set now.
pub(super) fn guard_limit(
    parameter: &str,
    from: Option<u64>,
    to: Option<u64>,
    under_way: Option<f64>,
) -> Result<(), String> {
    let Some(to) = to else { return Ok(()) };
    if from.is_some_and(|from| to >= from) {
        return Ok(());
    }
    if let Some(from) = from.filter(|from| to < least_step(*from)) {
        return Err(format!(
            "{parameter}: from {from} to {to} is a cut of more than half at once: {} is the least in this step",
            least_step(from)
        ));
    }
    let least = under_way.map(|now| (now, least_above(now)));
    match least.filter(|(_, least)| to < *least) {
        Some((now, least)) => Err(format!(
            "{parameter}: {} are under way and {to} leaves no room above that: {least} is the least",
            (now * 10.0).round() / 10.0
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use flyball_model::balance::limits::ROOM;
    use proptest::prelude::*;

    use super::*;

    fn group(servers: &[(&'static str, f64, bool)]) -> Group<'static> {
        servers
            .iter()
            .map(|(name, weight, serves)| (*name, Server { weight: *weight, serves: *serves }))
            .collect()
    }

    #[test]
    fn what_is_put_upon_servers_counts_and_what_comes_back_does_not() {
        let even = group(&[("a", 10.0, true), ("b", 10.0, true), ("c", 10.0, false)]);
        let one = group(&[("a", 10.0, true), ("b", 10.0, false), ("c", 10.0, false)]);
        let all = group(&[("a", 10.0, true), ("b", 10.0, true), ("c", 10.0, true)]);
        assert_eq!(guard_shift("web", &even, &one, 0.5), Ok(()));
        let refused = guard_shift("web", &even, &one, 0.4).unwrap_err();
        assert!(refused.contains("50 % of the requests of group web"), "{refused}");
        assert!(refused.contains("more than 40 %") && refused.contains("steer.largest_shift"));
        assert_eq!(guard_shift("web", &one, &all, 0.01), Ok(()), "c and b take it from a");
        assert!((moved(&one, &all) - 2.0 / 3.0).abs() < 1e-9);
        let none = group(&[]);
        assert_eq!((guard_shift("web", &none, &none, 0.1), moved(&none, &none)), (Ok(()), 0.0));
    }

    #[test]
    fn limits_stay_above_what_is_under_way_and_fall_by_half_at_most() {
        let guard = |from, to, now| guard_limit("maxconn:web/a", from, to, now);
        assert_eq!(guard(Some(100), Some(50), Some(40.0)), Ok(()));
        let cut = guard(Some(100), Some(49), None).unwrap_err();
        assert!(cut.contains("from 100 to 49") && cut.contains("50 is the least"), "{cut}");
        let below = guard(Some(100), Some(60), Some(50.0)).unwrap_err();
        assert!(below.contains("50 are under way") && below.contains("63 is the least"), "{below}");
        assert!(guard(None, Some(60), Some(50.0)).is_err(), "there was none");
        assert_eq!(guard(None, Some(2), Some(1.6)), Ok(()), "a mean");
        let above = guard(None, Some(2), Some(1.633_333)).unwrap_err();
        assert!(above.contains("1.6 are under way") && above.contains("3 is the least"), "{above}");
        assert_eq!(guard(None, Some(1), None), Ok(()));
        for (from, to) in [(3, 2), (2, 1), (1, 0), (5, 3)] {
            assert_eq!(guard(Some(from), Some(to), None), Ok(()), "{from} to {to}");
        }
        assert!(guard(Some(5), Some(2), None).is_err());
    }

    proptest! {
        #[test]
        fn a_limit_that_is_raised_or_lifted_passes_and_one_that_passes_has_room(
            from in prop::option::of(0_u64..1_000), to in prop::option::of(0_u64..1_000), now in 0.0..1_000.0_f64,
        ) {
            let guarded = guard_limit("l", from, to, Some(now));
            let is_lowered = to.is_some_and(|to| from.is_none_or(|from| to < from));
            prop_assert!(guarded.is_ok() || is_lowered);
            if let (Ok(()), true, Some(to)) = (guarded, is_lowered, to) {
                prop_assert!(to as f64 >= now * ROOM);
                prop_assert!(from.is_none_or(|from| to * 2 >= from || to + 1 == from));
            }
        }

        #[test]
        fn who_gets_nothing_more_is_no_reason_to_refuse(
            weights in prop::collection::vec(1_u32..256, 1..6), more in 0_u32..256,
        ) {
            let names = ["a", "b", "c", "d", "e"];
            let before: Group<'_> = names.into_iter().zip(&weights)
                .map(|(name, weight)| (name, Server { weight: f64::from(*weight), serves: true }))
                .collect();
            let mut after = before.clone();
            after.insert("new", Server { weight: f64::from(more), serves: true });
            prop_assert_eq!(guard_shift("web", &before, &after, 0.0), Ok(()));
        }
    }
}
