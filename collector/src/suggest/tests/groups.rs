//! Like servers in one suggestion.

use std::collections::BTreeSet;

use flyball_model::rollout::canary::Wave;
use flyball_model::rollout::{Limits, Plan, TargetId};
use proptest::prelude::*;

use super::*;
use crate::suggest::group::alike;

/// What is suggested for a cache of a name and size on each of these nodes.
fn suggested(caches: &[(&str, &str, u64)]) -> Vec<Proposal> {
    let views: Vec<CacheView> = caches
        .iter()
        .map(|(node, name, size)| {
            let mut view = view(Truth { most: 0.95, scale: *size as f64 }, *size);
            view.node = NodeName::new(node).unwrap();
            view.report.target.name = (*name).to_owned();
            view
        })
        .collect();
    advise(&views, &context(&[]), &State::default()).proposals
}

fn targets(of: &Proposal) -> Vec<&str> {
    of.members.iter().map(|member| member.target.id.0.as_str()).collect()
}

#[test]
fn what_is_to_grow_by_the_same_factor_goes_together() {
    let all =
        [("a", "s", 64 * MIB), ("b", "s", 256 * MIB), ("c", "s", 64 * MIB), ("a", "t", 64 * MIB)];
    let joined = alike(suggested(&all), 7);
    let found: Vec<_> = joined.iter().map(targets).collect();
    assert_eq!(found, [vec!["redis:a:s", "redis:b:s", "redis:c:s"], vec!["redis:a:t"]]);
    let group = &joined[0];
    is_complete(group);
    assert_eq!((group.target.id.0.as_str(), group.target.node.as_str()), ("redis:*:s", ""));
    assert!(group.title.ends_with(", and 2 more like it"), "{}", group.title);
    assert!(!group.undo.contains("67108864"), "each has its own way back: {}", group.undo);
    let back: Vec<_> =
        group.members.iter().map(|member| member.revert_to()["maxmemory"].clone()).collect();
    assert_eq!(back, [64, 256, 64].map(|size| (size * MIB).to_string()));
    // The canary is one, and compared with one that has not changed yet.
    let plan = Plan::new(&group.id.rollout(), group, &Limits::default()).unwrap();
    let sizes = |wave: &Wave| (wave.members.len(), wave.controls.len());
    assert_eq!(plan.waves.iter().map(sizes).collect::<Vec<_>>(), [(1, 1), (1, 1), (1, 0)]);
    let same = alike(suggested(&[("a", "s", 64 * MIB), ("b", "s", 64 * MIB)]), 7);
    assert_eq!(same[0].title, "Grow s from 64 MiB to 128 MiB on 2 nodes");
    assert_ne!(
        same[0].id,
        alike(suggested(&[("a", "s", 64 * MIB), ("b", "s", 64 * MIB)]), 8)[0].id
    );
}

#[test]
fn what_is_done_by_hand_or_otherwise_goes_alone() {
    let mut both = suggested(&[("a", "s", 64 * MIB), ("b", "s", 64 * MIB)]);
    both[1].members[0].change[0].to = (96 * MIB).to_string();
    assert_eq!(alike(both.clone(), 7), both, "another factor");
    let mut by_hand = suggested(&[("a", "s", 64 * MIB), ("b", "s", 64 * MIB)]);
    for proposal in &mut by_hand {
        proposal.details["by_hand"] = true.into();
    }
    assert_eq!(alike(by_hand.clone(), 7), by_hand);
}

#[test]
fn the_mean_is_over_the_requests() {
    let mut both = suggested(&[("a", "s", 64 * MIB), ("b", "s", 64 * MIB)]);
    for (proposal, (traffic, value)) in both.iter_mut().zip([(300.0, 0.4), (100.0, 0.8)]) {
        proposal.members[0].traffic = traffic;
        let p = &mut proposal.prediction;
        (p.before, p.after, p.low, p.high) = (value, value + 0.1, value + 0.05, value + 0.15);
    }
    let mean = alike(both.clone(), 7).remove(0).prediction;
    let found = [mean.before, mean.after, mean.low, mean.high];
    for (found, expected) in found.into_iter().zip([0.5, 0.6, 0.55, 0.65]) {
        assert!((found - expected).abs() < 1e-12, "{mean:?}");
    }
    for proposal in &mut both {
        proposal.members[0].traffic = 0.0;
    }
    assert!((alike(both, 7)[0].prediction.before - 0.6).abs() < 1e-12);
}

proptest! {
    #[test]
    fn everyone_is_in_one_suggestion_in_whatever_order_they_come(
        caches in prop::collection::btree_set((0..6_usize, 0..2_usize, 0..3_usize), 1..12),
        order in any::<u64>(),
    ) {
        let nodes = ["a", "b", "c", "d", "e", "f"];
        let caches: Vec<_> = caches
            .into_iter()
            .map(|(node, name, size)| (nodes[node], ["s", "t"][name], (64 * MIB) << size))
            .collect();
        // A cache once: the last size counts for none of the others of its name and node.
        let mut seen = BTreeSet::new();
        let caches: Vec<_> =
            caches.into_iter().filter(|(node, name, _)| seen.insert((*node, *name))).collect();
        let mut proposals = suggested(&caches);
        let before: BTreeSet<TargetId> = proposals.iter().map(|p| p.target.id.clone()).collect();
        let joined = alike(proposals.clone(), 7);
        let members = joined.iter().flat_map(|p| &p.members).map(|m| m.target.id.clone());
        let members: Vec<TargetId> = members.collect();
        prop_assert_eq!(members.len(), before.len());
        prop_assert_eq!(members.into_iter().collect::<BTreeSet<_>>(), before);
        for proposal in &joined {
            prop_assert_eq!(proposal.check(), Ok(()));
            let nodes: BTreeSet<_> = proposal.members.iter().map(|m| &m.target.node).collect();
            prop_assert_eq!(nodes.len(), proposal.members.len());
        }
        let half = (order % proposals.len() as u64) as usize;
        proposals.rotate_left(half);
        prop_assert_eq!(alike(proposals, 7), joined);
    }
}
