//! What a person may not do, and what is said instead.

use super::super::*;
use super::world::*;

fn by(world: &mut World, what: &str, id: &str) -> Result<Decision, Refusal> {
    let (rollout, by, note) = (RolloutId(id.to_owned()), ana(), String::new());
    world.event(&match what {
        "pause" => Event::Pause { rollout, by, note },
        "resume" => Event::Resume { rollout, by, note },
        "roll back" => Event::RollBack { rollout, by, note },
        _ => Event::Rejected { suggestion: SuggestionId(id.to_owned()), by, note },
    })
}

fn no(refused: Result<Decision, Refusal>, class: RefusalClass) -> String {
    let refusal = refused.unwrap_err();
    assert_eq!(refusal.class(), class, "{refusal}");
    refusal.to_string()
}

fn conflict(refused: Result<Decision, Refusal>) -> String {
    no(refused, RefusalClass::Conflict)
}

fn proposed() -> World {
    let mut world = World::new();
    world.propose("s-1", &[1], 100, 150);
    world
}

#[test]
fn a_suggestion_is_decided_once() {
    let mut world = proposed();
    world.confirm("s-1").unwrap();
    assert_eq!(conflict(world.confirm("s-1")), "suggestion s-1 is confirmed");
    assert_eq!(conflict(by(&mut world, "reject", "s-1")), "suggestion s-1 is confirmed");
    let again = Event::Proposed(Box::new(proposal("s-1", &[1], 100, 150)));
    assert_eq!(conflict(world.event(&again)), "there is a suggestion s-1 already");

    world.propose("s-2", &[2], 100, 150);
    by(&mut world, "reject", "s-2").unwrap();
    assert_eq!(conflict(world.confirm("s-2")), "suggestion s-2 is rejected");
    let unknown = no(world.confirm("s-3"), RefusalClass::NotFound);
    assert_eq!(unknown, "there is no suggestion s-3");
}

#[test]
fn what_a_person_proposes_is_that_persons_in_the_journal() {
    let mut world = World::new();
    let by = Actor { name: "ada".into(), address: "10.0.0.1".into() };
    let proposal = Box::new(proposal("s-1", &[1], 100, 150));
    let event = Event::ProposedBy { proposal, by: by.clone(), note: "a trial".into() };
    let made = world.event(&event).unwrap().transitions.remove(0);
    assert_eq!((made.actor, made.reason.as_str()), (by, "a trial"));
    assert_eq!(conflict(world.event(&event)), "there is a suggestion s-1 already");
    world.confirm("s-1").unwrap();
}

#[test]
fn an_expired_one_cannot_be_confirmed_even_if_nobody_has_ticked() {
    let mut world = proposed();
    world.now += DAY;
    assert_eq!(conflict(world.confirm("s-1")), "suggestion s-1 is expired");
    let mut world = proposed();
    world.now += DAY - 1;
    world.confirm("s-1").unwrap();
}

#[test]
fn a_target_has_one_rollout() {
    let mut world = proposed();
    world.propose("s-2", &[0, 1], 100, 150);
    world.confirm("s-1").unwrap();
    let busy = conflict(world.confirm("s-2"));
    assert_eq!(busy, "rollout r-1 is changing target node-1/redis/main");
}

#[test]
fn a_suggestion_about_values_that_have_changed_is_stale() {
    let mut world = proposed();
    let suggestion = SuggestionId("s-1".into());
    let in_force = vec![(target(2).id, values(1)), (target(1).id, values(120))];
    let (note, absent, nodes_up) = (String::new(), Vec::new(), None);
    let confirm = Event::Confirmed { suggestion, by: ana(), note, in_force, absent, nodes_up };
    let stale = conflict(world.event(&confirm));
    assert_eq!(stale, "maxmemory of target node-1/redis/main is 120 and no longer 100");

    world.propose("s-2", &[1], 100, 150);
    world.confirm("s-1").unwrap();
    world.obey(1);
    world.wait(world.limits.hold_ms);
    world.wait(world.limits.validate_min_ms);
    world.judge("r-1", Judgement::Pass);
    world.obey(1);
    let stale = conflict(world.confirm("s-2"));
    assert_eq!(stale, "maxmemory of target node-1/redis/main is 150 and no longer 100");
}

#[test]
fn a_change_does_not_begin_without_its_agent() {
    let mut world = proposed();
    let mut confirm = confirmed("s-1");
    if let Event::Confirmed { absent, .. } = &mut confirm {
        *absent = vec!["node-0".into(), "node-1".into()];
    }
    assert_eq!(conflict(world.event(&confirm)), "the agent of node-1 is not heard at present");
    assert_eq!(world.state().targets().count(), 0);
}

#[test]
fn only_a_share_of_the_fleet_is_on_trial_at_once() {
    let mut world = World::new();
    for n in 0..5 {
        world.propose(&format!("s-{n}"), &[n], 100, 150);
    }
    let confirm = |world: &mut World, n: usize, up: usize| {
        let mut event = confirmed(&format!("s-{n}"));
        if let Event::Confirmed { nodes_up, .. } = &mut event {
            *nodes_up = Some(up);
        }
        world.event(&event)
    };
    confirm(&mut world, 0, 1).unwrap();
    assert_eq!(conflict(confirm(&mut world, 1, 5)), "1 targets are on trial, and 1 may be at once");
    confirm(&mut world, 1, 6).unwrap();
    assert!(matches!(confirm(&mut world, 2, 8), Err(Refusal::Crowded { on_trial: 2, most: 2 })));
    // One that goes back is still on trial until it is back.
    by(&mut world, "roll back", "r-0").unwrap();
    assert!(confirm(&mut world, 2, 8).is_err());
    world.obey(0);
    confirm(&mut world, 2, 8).unwrap();
    // Not known how many there are: nothing is refused for it.
    world.confirm("s-3").unwrap();
}

#[test]
fn a_rollout_is_steered_only_while_it_goes_forward() {
    let mut world = proposed();
    let unknown = no(by(&mut world, "pause", "r-1"), RefusalClass::NotFound);
    assert_eq!(unknown, "there is no rollout r-1");
    world.confirm("s-1").unwrap();
    assert_eq!(conflict(by(&mut world, "resume", "r-1")), "rollout r-1 is not paused");
    by(&mut world, "pause", "r-1").unwrap();
    assert_eq!(conflict(by(&mut world, "pause", "r-1")), "rollout r-1 is paused");
    by(&mut world, "roll back", "r-1").unwrap();
    assert_eq!(world.rollout("r-1").reason, "ana wants the old values back: ");
    for what in ["pause", "resume", "roll back"] {
        let restoring = conflict(by(&mut world, what, "r-1"));
        assert_eq!(restoring, "rollout r-1 is restoring the old values");
    }
    world.obey(1);
    for what in ["pause", "resume", "roll back"] {
        assert_eq!(conflict(by(&mut world, what, "r-1")), "rollout r-1 is rolled_back");
    }
}

#[test]
fn only_a_locked_target_can_be_unlocked() {
    let mut world = proposed();
    let unlock = Event::Unlock { target: target(1).id, by: ana(), note: String::new() };
    let unknown = no(world.event(&unlock), RefusalClass::NotFound);
    assert_eq!(unknown, "no rollout has ever touched a target node-1/redis/main");
    world.confirm("s-1").unwrap();
    let not_locked = "target node-1/redis/main is not locked, and its agent has rejected nothing";
    assert_eq!(conflict(world.event(&unlock)), not_locked);
}

#[test]
fn proposals_that_cannot_be_carried_out_are_refused() {
    let refused = |change: fn(&mut Proposal)| {
        let mut proposal = proposal("s-1", &[1, 2], 100, 150);
        change(&mut proposal);
        no(World::new().event(&Event::Proposed(Box::new(proposal))), RefusalClass::Invalid)
    };
    let out = refused(|proposal| proposal.members[1].change[0].to = "20000".into());
    assert_eq!(
        out,
        "the proposal is refused: maxmemory: of node-2/redis/main: 20000 is not within 50 to 10000"
    );
    refused(|proposal| proposal.members.clear());
    refused(|proposal| proposal.members[1] = proposal.members[0].clone());
    refused(|proposal| proposal.members[0].change.clear());
    refused(|proposal| proposal.members[0].size = f64::NAN);
    refused(|proposal| proposal.prediction.low = f64::NEG_INFINITY);
    refused(|proposal| {
        let change = proposal.members[0].change[0].clone();
        proposal.members[0].change.push(change);
    });
}

#[test]
fn limits_that_make_no_sense_confirm_nothing() {
    let mut world = proposed();
    world.limits.attempts = 0;
    let refusal = world.confirm("s-1").unwrap_err();
    assert!(refusal.to_string().contains("attempts of a rollout must be from 1 to 3"), "{refusal}");
}

#[test]
fn reports_about_nothing_change_nothing() {
    let mut world = proposed();
    world.confirm("s-1").unwrap();
    let rows = world.rows.len();
    let good = world.outcome(1, Applied::Rejected("why".into()), Values::new());
    let foreign: [fn(&mut Outcome); 5] = [
        |outcome| outcome.rollout = RolloutId("r-2".into()),
        |outcome| outcome.node = "node-2".into(),
        |outcome| outcome.name = "other".into(),
        |outcome| outcome.kind = "memcached".into(),
        |outcome| outcome.revision = 1,
    ];
    for change in foreign {
        let mut outcome = good.clone();
        change(&mut outcome);
        world.ok(&Event::Outcome(outcome));
    }
    world.report(1, Applied::Applying, Values::new());
    world.judge("r-1", Judgement::Pass);
    world.judge("r-2", Judgement::Harm);
    let below = world.limits.silent_ms - 1;
    world.ok(&Event::AgentSilent { node: "node-1".into(), silent_ms: below });
    world.ok(&Event::AgentSilent { node: "node-2".into(), silent_ms: DAY });
    assert_eq!(world.rows.len(), rows);
    let back = world.ok(&Event::AgentBack { node: "node-1".into() });
    assert_eq!(back.actions, [Action::Offer(world.state().policy("node-1"))]);
    world.ok(&Event::Outcome(good));
    assert!(world.rows.len() > rows);
}
