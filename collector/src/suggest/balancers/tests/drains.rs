//! Drains and limits.

use super::*;

#[test]
fn a_backend_that_fails_at_several_balancers_is_drained() {
    let truth = Truth {
        capacities: vec![400.0; 6],
        weights: vec![100; 6],
        errors: vec![0.0, 0.5, 0.0, 0.0, 0.0, 0.0],
        rate: 900.0,
        ..Truth::default()
    };
    let proposal = suggested(&truth.view(), "balancer.drain");
    assert_eq!(proposal.check(), Ok(()));
    assert_eq!(proposal.members.len(), 4);
    let change = &proposal.members[0].change[0];
    assert_eq!(
        (change.parameter.as_str(), change.from.as_str(), change.to.as_str()),
        ("state:app/app1", "ready", "drain")
    );
    let p = &proposal.prediction;
    assert!(p.metric == "balancer.error_ratio" && p.before > 0.05 && p.high < 0.02, "{p:?}");
    let alone = Truth { balancers: 1, ..truth.clone() };
    assert!(refused(&alone.view(), "balancer.drain").contains("2 are needed"));
    let busy = Truth { rate: 1_800.0, ..truth.clone() };
    let reason = refused(&busy.view(), "balancer.drain");
    assert!(reason.contains("may be"), "{reason}");
    let all = Truth { errors: vec![0.5; 6], ..truth };
    assert!(refused(&all.view(), "balancer.drain").contains("at the others too"));
}

#[test]
fn limits_are_for_backends_in_which_requests_queue() {
    let truth = Truth { rate: 300.0, ..Truth::default() };
    let pools = truth.watched(80);
    let reason = refused(&view_of(&pools, true), "balancer.limits");
    assert!(reason.contains("nothing queues within it"), "{reason}");
    Truth { rate: 580.0, ..truth }.go_on(&pools, 2);
    let proposal = suggested(&view_of(&pools, true), "balancer.limits");
    assert_eq!(proposal.check(), Ok(()));
    let of = |name: &str| -> u64 {
        let changes = proposal.members.iter().flat_map(|member| &member.change);
        let parts = changes.filter(|one| one.parameter == format!("maxconn:app/{name}"));
        parts.map(|one| one.to.parse::<u64>().unwrap()).sum()
    };
    assert!((8..40).contains(&of("app2")), "{}", of("app2"));
}
