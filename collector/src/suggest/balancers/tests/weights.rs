//! Weights.

use super::*;

const KIND: &str = "balancer.weights";

#[test]
fn a_slow_backend_gets_less_at_every_balancer() {
    let view = Truth::default().view();
    let proposal = suggested(&view, KIND);
    assert_eq!(proposal.check(), Ok(()));
    assert_eq!(
        (proposal.target.id.0.as_str(), proposal.target.kind.as_str()),
        ("pool:app", "pool")
    );
    assert_eq!(proposal.members.len(), 4);
    for member in &proposal.members {
        assert!(member.target.id.0.starts_with("haproxy:lb-"), "{}", member.target.id);
        let weight = |name: &str| {
            let parameter = format!("weight:app/{name}");
            let change = member.change.iter().find(|one| one.parameter == parameter).unwrap();
            assert_eq!(change.from, "100");
            change.to.parse::<f64>().unwrap()
        };
        let half = weight("app2") / weight("app0");
        assert!((half - 0.5).abs() < 0.05, "{half}");
        assert_eq!(member.steps().unwrap().len(), 1, "at once");
    }
    let p = &proposal.prediction;
    assert_eq!(p.metric, "balancer.latency_ms");
    assert!(p.low < p.after && p.after < p.high && p.after < p.before, "{p:?}");
    let details = crate::suggest::draft::Details::of(&proposal).unwrap();
    let over = |name: &str| details.evidence.iter().find(|one| one.name == name).unwrap().value;
    assert!(over("busiest backend over the mean") > 1.5);
    assert!(over("the same, predicted") < 1.1);
    assert!(details.lower_is_better && !details.by_hand);
}

#[test]
fn where_weights_are_no_help_it_says_why() {
    let with = |truth: Truth| refused(&truth.view(), KIND);
    let like = Truth { capacities: vec![300.0; 3], ..Truth::default() };
    let reason = with(like);
    assert!(reason.contains("of one class"), "{reason}");
    let idle = Truth { rate: 60.0, ..Truth::default() };
    let reason = with(idle);
    assert!(reason.contains("nothing is busy"), "{reason}");
    let few = Truth { rate: 12.0, ..Truth::default() };
    // In the twelfth window enough would have been gathered.
    let reason = refused(&view_of(&few.watched(11), true), KIND);
    assert!(reason.contains("requests") && reason.contains("are needed"), "{reason}");
    let maps = Truth { algorithm: WeightMeaning::DrainOnly, ..Truth::default() };
    assert!(with(maps).contains("weights mean nothing under"));
    let least = Truth { algorithm: WeightMeaning::WhenBusy, balancers: 1, ..Truth::default() };
    let reason = with(least);
    assert!(reason.contains("least connections"), "{reason}");
    let right = Truth { weights: vec![256, 256, 128], ..Truth::default() };
    let reason = with(right);
    assert!(reason.contains("as they should be"), "{reason}");
}

#[test]
fn nothing_is_suggested_before_enough_windows() {
    let view = view_of(&Truth::default().watched(5), true);
    let reason = refused(&view, KIND);
    assert!(reason.contains("are needed") || reason.contains("still move"), "{reason}");
}

#[test]
fn one_balancer_moves_a_fifth_of_its_traffic_at_most() {
    let truth = Truth {
        balancers: 1,
        capacities: vec![900.0, 100.0, 100.0],
        rate: 280.0,
        ..Truth::default()
    };
    let proposal = suggested(&truth.view(), KIND);
    let weights: Vec<f64> = proposal.change().iter().map(|one| one.to.parse().unwrap()).collect();
    let sum: f64 = weights.iter().sum();
    let moved: f64 = weights.iter().map(|weight| (weight / sum - 1.0 / 3.0).max(0.0)).sum();
    assert!(moved <= 0.21 && moved > 0.1, "{moved} by {weights:?}");
    let details = crate::suggest::draft::Details::of(&proposal).unwrap();
    assert_eq!(details.risk.level, crate::suggest::draft::RiskLevel::Medium);
}

#[test]
fn what_cannot_be_steered_or_heard_is_left_out_or_refused() {
    let pools = Truth::default().watched(12);
    let reason = refused(&view_of(&pools, false), KIND);
    assert!(reason.contains("steer is not set"), "{reason}");
    let mut view = view_of(&pools, true);
    view.reach.remove("haproxy:lb-2:edge");
    let proposal = suggested(&view, KIND);
    assert_eq!(proposal.members.len(), 3);
    let details = crate::suggest::draft::Details::of(&proposal).unwrap();
    assert!(details.risk.reasons.iter().any(|one| one.contains("left out: haproxy:lb-2:edge")));
    let late = Truth { age: Duration::from_secs(30), ..Truth::default() };
    for kind in ["balancer.weights", "balancer.drain", "balancer.limits"] {
        let reason = refused(&late.view(), kind);
        assert!(reason.contains("silent for 30.0 s"), "{reason}");
    }
    let gone = Truth { state: BalancerState::Unreachable, ..Truth::default() };
    gone.go_on(&pools, 1);
    let reason = refused(&view_of(&pools, true), KIND);
    assert!(reason.contains("unreachable"), "{reason}");
    let mut stale = Truth::default().view();
    Arc::make_mut(&mut stale.estimate).end_ms -= 60_000;
    Arc::make_mut(&mut stale.estimate).start_ms -= 60_000;
    assert!(refused(&stale, KIND).contains("nothing was heard of it for 61 s"));
}

#[test]
fn a_drained_backend_keeps_its_state_and_no_other_is_lost() {
    let mut truth = Truth::default();
    truth.capacities.push(400.0);
    truth.weights.push(0);
    truth.errors.push(0.0);
    let proposal = refused(&truth.view(), KIND);
    assert!(proposal.contains("not all backends were measured"), "{proposal}");
    let _ = BackendState::Drain;
}
