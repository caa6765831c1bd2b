//! What of a policy an agent is offered: all of it that it may set, and that it has not refused.
//!
//! The same rule as in the agent, applied before anything is sent: what the agent has not offered to set is refused here, with the same reason. A target that has refused this revision, or put it
//! back, is left out for as long as the revision stays; for an agent what is left out stays as it is.

use flyball_proto::steering::{
    AgentPolicy, Capability, MAX_REASON_BYTES, PolicyOutcome, PolicyResult, Settings, TargetPolicy,
    clip,
};

/// What an agent is offered, and what is refused on its behalf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) policy: AgentPolicy,
    pub(super) refused: Vec<PolicyOutcome>,
}

/// Divides a policy. `outcomes`: what the agent has told.
pub(super) fn offer(
    wanted: &AgentPolicy,
    capabilities: &[Capability],
    outcomes: &[PolicyOutcome],
) -> Offer {
    let (mut targets, mut refused) = (Vec::new(), Vec::new());
    for policy in &wanted.targets {
        let is_refusal = |outcome: &PolicyOutcome| {
            outcome.target == policy.target
                && outcome.revision == wanted.revision
                && outcome.result.is_refusal()
        };
        if outcomes.iter().any(is_refusal) {
            continue;
        }
        match check(policy, capabilities) {
            Ok(persist) => targets.push(TargetPolicy { persist, ..policy.clone() }),
            Err(reason) => refused.push(refusal(wanted, policy, &reason)),
        }
    }
    let policy = AgentPolicy {
        journal: wanted.journal.clone(),
        revision: wanted.revision,
        targets,
        renew: None,
        acked_sequence: 0,
    };
    Offer { policy, refused }
}

/// Whether it may be made permanent. That is asked for where the agent allows it and left out where it
/// does not: the values stay as long as the server runs, which is what was judged.
fn check(policy: &TargetPolicy, capabilities: &[Capability]) -> Result<bool, String> {
    let capability = capabilities.iter().find(|capability| capability.target == policy.target);
    let capability = capability.ok_or_else(|| format!("{}: no such target", policy.target))?;
    let persist = policy.persist && capability.may_persist;
    // What is wanted without a lease was tried before, or is what was before: that may be put back whatever it is, and only the agent knows what it was.
    if policy.canary.is_none() {
        return Ok(persist);
    }
    // Zero is often no limit at all. Whether it may be set depends on whether it was before, which the agent knows.
    let is_plain = |(parameter, value): &(&String, &String)| {
        *value != "0" || !capability.parameters.contains_key(*parameter)
    };
    let settings = policy.settings.iter().filter(is_plain);
    let settings = settings.map(|(parameter, value)| (parameter.clone(), value.clone())).collect();
    let policy = TargetPolicy { settings, persist, ..policy.clone() };
    capability.check(&policy).map_err(|invalid| invalid.to_string())?;
    Ok(persist)
}

fn refusal(wanted: &AgentPolicy, policy: &TargetPolicy, reason: &str) -> PolicyOutcome {
    PolicyOutcome {
        revision: wanted.revision,
        target: policy.target.clone(),
        result: PolicyResult::Rejected,
        reason: clip(reason, MAX_REASON_BYTES),
        in_force: Settings::new(),
        expected: Settings::new(),
        rollout_id: policy.rollout_id.clone(),
        sequence: 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use flyball_proto::steering::{Bounds, Canary, Revision, Target};

    use super::*;

    fn wanted(revision: u64, limits: &[(&str, &str)]) -> AgentPolicy {
        let target = |(name, limit): &(&str, &str)| TargetPolicy {
            target: Target::new("redis", *name),
            settings: [("maxmemory".to_owned(), (*limit).to_owned())].into(),
            rollout_id: "r".to_owned(),
            canary: Some(Canary { lease: Duration::from_mins(1), revert_to: Settings::new() }),
            persist: false,
        };
        let targets = limits.iter().map(target).collect();
        AgentPolicy { revision: Revision(revision), targets, ..AgentPolicy::default() }
    }

    fn capability(name: &str) -> Capability {
        Capability {
            target: Target::new("redis", name),
            parameters: [("maxmemory".to_owned(), Bounds::Number(1, 100))].into(),
            may_persist: false,
            reason: String::new(),
            largest_growth: None,
        }
    }

    fn names(policy: &AgentPolicy) -> Vec<&str> {
        policy.targets.iter().map(|target| target.target.name.as_str()).collect()
    }

    #[test]
    fn what_may_not_be_set_is_refused_here_and_the_rest_is_offered() {
        let wanted = wanted(7, &[("a", "100"), ("b", "101"), ("c", "1")]);
        let offer = offer(&wanted, &[capability("a"), capability("b")], &[]);
        assert_eq!(names(&offer.policy), ["a"]);
        let refused: Vec<_> =
            offer.refused.iter().map(|o| (o.target.name.as_str(), o.reason.as_str())).collect();
        let reasons = ["maxmemory: 101 is not from 1 to 100", "redis/c: no such target"];
        assert_eq!(refused, [("b", reasons[0]), ("c", reasons[1])]);
        assert!(offer.refused.iter().all(|o| o.revision.0 == 7 && o.rollout_id == "r"));
    }

    #[test]
    fn what_is_to_be_permanent_is_so_where_the_agent_allows_it() {
        let mut wanted = wanted(7, &[("a", "5")]);
        wanted.targets[0].persist = true;
        for may_persist in [false, true] {
            let capability = Capability { may_persist, ..capability("a") };
            let offer = offer(&wanted, &[capability], &[]);
            assert_eq!(offer.policy.targets[0].persist, may_persist);
            assert!(offer.refused.is_empty());
        }
    }

    #[test]
    fn whether_what_was_before_may_be_set_again_is_left_to_the_agent() {
        let mut wanted = wanted(7, &[("a", "101")]);
        wanted.targets[0].canary = None;
        let barred = Capability { parameters: [].into(), reason: "off".into(), ..capability("a") };
        for capability in [capability("a"), barred] {
            assert_eq!(names(&offer(&wanted, &[capability], &[]).policy), ["a"]);
        }
        assert_eq!(names(&offer(&wanted, &[], &[]).policy), [""; 0]);
    }

    #[test]
    fn whether_zero_may_be_set_is_left_to_the_agent() {
        let capabilities = [capability("a")];
        assert_eq!(names(&offer(&wanted(7, &[("a", "0")]), &capabilities, &[]).policy), ["a"]);
        let mut other = wanted(7, &[("a", "0")]);
        other.targets[0].settings = [("save".to_owned(), "0".to_owned())].into();
        assert_eq!(names(&offer(&other, &capabilities, &[]).policy), [""; 0]);
    }

    #[test]
    fn a_refused_revision_is_not_offered_again_to_that_target() {
        let capabilities = [capability("a"), capability("b")];
        for (result, is_offered) in [
            (PolicyResult::Rejected, false),
            (PolicyResult::Reverted, false),
            (PolicyResult::Applied, true),
            (PolicyResult::Applying, true),
            (PolicyResult::Drifted, true),
        ] {
            let wanted_now = wanted(7, &[("a", "9"), ("b", "9")]);
            let outcome =
                PolicyOutcome { result, ..refusal(&wanted_now, &wanted_now.targets[0], "") };
            let offered = offer(&wanted_now, &capabilities, std::slice::from_ref(&outcome));
            assert_eq!(names(&offered.policy).contains(&"a"), is_offered, "{result:?}");
            assert!(names(&offered.policy).contains(&"b"));
            let next = offer(&wanted(8, &[("a", "8")]), &capabilities, &[outcome]);
            assert_eq!(names(&next.policy), ["a"], "another revision is another matter");
        }
    }
}
