//! The rules for Redis and Valkey: in which order, in how large steps, and what not.
//!
//! Room is made first and taken last. A limit that falls evicts at once, 200,000 keys in a second, so it falls by a share at a time and what is too much is waited for; memory
//! that is not in use is given up in one step. Properties, each a test: a plan ends at its goal; from there it is empty; a step makes the limit smaller by the
//! largest share at most; a limit never grows beyond the goal; what is too much is evicted under that policy of the old and the new one that gives up more; and
//! no change ends with a full server that cannot evict any more.

use flyball_proto::steering::Settings;

use super::MAXMEMORY;
use crate::steer::actuator::{Law, Memory, Purpose, Reading, Step, differing};
use crate::steer::config::SteerConfig;

/// Which keys are given up for room.
const POLICY: &str = "maxmemory-policy";
/// The policy that gives up none.
const NO_EVICTION: &str = "noeviction";

/// Use of the limit from which on a server is as good as full: the next writes reach it.
const FULL: f64 = 0.95;

/// What a server can give up under a policy, from the least.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Gives {
    Nothing,
    /// What expires, and there is something that does.
    Volatile,
    Any,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct RedisLaw {
    settings: SteerConfig,
}

/// A change of the limit. `u64::MAX` stands for no limit, which Redis writes as 0.
#[derive(Debug, Clone, Copy)]
struct Limit {
    found: u64,
    now: u64,
    goal: u64,
}

impl RedisLaw {
    /// Rules with these guard rails.
    pub const fn new(settings: SteerConfig) -> Self {
        Self { settings }
    }

    /// Refuses what goes beyond the guard rails.
    fn guard(
        &self,
        changes: &Settings,
        limit: Option<Limit>,
        reading: &Reading,
    ) -> Result<(), String> {
        if changes.is_empty() {
            return Ok(());
        }
        if reading.facts.is_replica {
            return Err("it is a replica: its primary decides what is evicted".to_owned());
        }
        let Some(limit) = limit else { return guard_policy(changes, None, reading) };
        let factor = self.settings.largest_growth;
        if limit.goal > limit.now {
            if limit.goal as f64 > limit.found as f64 * factor {
                return Err(format!(
                    "{MAXMEMORY} would grow from {} to {}, by more than a factor of {factor}",
                    limit.found, limit.goal
                ));
            }
            self.guard_memory(limit.goal, reading)?;
            return guard_policy(changes, Some(limit.goal), reading);
        }
        let basis = if limit.found == u64::MAX { reading.facts.used_bytes } else { limit.found };
        if (limit.goal as f64) < basis as f64 / factor {
            return Err(format!(
                "{MAXMEMORY} would fall from {basis} to {}, by more than a factor of {factor}",
                limit.goal
            ));
        }
        guard_eviction(changes, limit.goal, reading)?;
        guard_policy(changes, Some(limit.goal), reading)
    }

    /// More memory must be there.
    fn guard_memory(&self, goal: u64, reading: &Reading) -> Result<(), String> {
        let Some(Memory { total_bytes, available_bytes: available }) = reading.facts.memory else {
            let reason = "it is not known how much memory is available where the server runs";
            return Err(reason.to_owned());
        };
        let most = self.settings.most_bytes(total_bytes);
        if goal > most {
            return Err(format!("{MAXMEMORY} {goal} is above the most, {most}"));
        }
        let share = self.settings.max_memory_share;
        let (more, most) =
            (goal.saturating_sub(reading.facts.used_bytes), available as f64 * share);
        let promised = reading.facts.promised_bytes;
        if more.saturating_add(promised) as f64 > most {
            return Err(format!(
                "{more} bytes more would be used, {promised} are promised to other servers here and {available} are available, of which a share of {share} may be taken"
            ));
        }
        Ok(())
    }

    /// The limits on the way down, from the first below `now` to `goal`.
    fn descent(&self, now: u64, goal: u64, used: u64) -> Vec<Step> {
        let mut limits = Vec::new();
        // What is not in use is given up at once.
        let mut limit = now.min(used.max(goal));
        if limit < now {
            limits.push(limit);
        }
        while limit > goal {
            let part = (limit as f64 * self.settings.largest_shrink) as u64;
            limit = (limit - part.max(1)).max(goal);
            limits.push(limit);
        }
        let step = |limit: u64| Step {
            parameter: MAXMEMORY.to_owned(),
            value: limit.to_string(),
            settles: limit < used,
        };
        limits.into_iter().map(step).collect()
    }
}

impl Law for RedisLaw {
    fn plan(
        &self,
        goal: &Settings,
        found: &Settings,
        reading: &Reading,
        purpose: Purpose,
    ) -> Result<Vec<Step>, String> {
        let changes = differing(goal, &reading.in_force);
        let limit = match changes.get(MAXMEMORY) {
            Some(wanted) => Some(limit(wanted, found, reading)?),
            None => None,
        };
        if purpose != Purpose::PutBack {
            self.guard(&changes, limit, reading)?;
        }
        let mut steps = Vec::new();
        let (room, taking) = match limit {
            Some(Limit { now, goal, .. }) if goal > now => {
                let value = changes[MAXMEMORY].clone();
                let step = Step { parameter: MAXMEMORY.to_owned(), value, settles: false };
                (vec![step], Vec::new())
            }
            Some(Limit { now, goal, .. }) => {
                (Vec::new(), self.descent(now, goal, reading.facts.used_bytes))
            }
            None => (Vec::new(), Vec::new()),
        };
        let policy = changes.get(POLICY);
        let comes_last = policy.is_some_and(|policy| is_stricter(policy, reading));
        let set = |parameter: &str, value: &String| Step {
            parameter: parameter.to_owned(),
            value: value.clone(),
            settles: false,
        };
        steps.extend(room);
        let others = changes.iter().filter(|(p, _)| ![MAXMEMORY, POLICY].contains(&p.as_str()));
        steps.extend(others.map(|(parameter, value)| set(parameter, value)));
        steps.extend(policy.filter(|_| !comes_last).map(|p| set(POLICY, p)));
        steps.extend(taking);
        steps.extend(policy.filter(|_| comes_last).map(|p| set(POLICY, p)));
        Ok(steps)
    }

    fn is_on_the_way(&self, parameter: &str, from: &str, to: &str, value: &str) -> bool {
        if parameter != MAXMEMORY {
            return value == from || value == to;
        }
        let (Some(from), Some(to), Some(value)) = (bytes(from), bytes(to), bytes(value)) else {
            return false;
        };
        (from.min(to)..=from.max(to)).contains(&value)
    }
}

/// What is in use above the limit must be evictable.
fn guard_eviction(changes: &Settings, goal: u64, reading: &Reading) -> Result<(), String> {
    if goal >= reading.facts.used_bytes {
        return Ok(());
    }
    let policy = evicting_policy(changes, reading);
    if policy == NO_EVICTION {
        return Err(format!(
            "{} bytes are in use, and under {NO_EVICTION} writes would be refused",
            reading.facts.used_bytes
        ));
    }
    if gives(policy, reading) == Gives::Nothing {
        return Err(format!("under {policy} nothing could be evicted: no key expires"));
    }
    Ok(())
}

/// A full server must go on evicting. `limit`: the new one, if there is one.
fn guard_policy(changes: &Settings, limit: Option<u64>, reading: &Reading) -> Result<(), String> {
    let Some(policy) = changes.get(POLICY) else { return Ok(()) };
    let limit = limit.or_else(|| bytes(reading.in_force.get(MAXMEMORY)?)).unwrap_or(u64::MAX);
    let used = reading.facts.used_bytes.min(limit);
    let is_full = used as f64 > limit as f64 * FULL;
    if is_full && is_stricter(policy, reading) && gives(policy, reading) == Gives::Nothing {
        return Err(format!(
            "{used} bytes of {limit} are in use, and under {policy} nothing could be evicted: writes would be refused"
        ));
    }
    Ok(())
}

/// True when a policy gives up less than the present one.
fn is_stricter(policy: &str, reading: &Reading) -> bool {
    gives(policy, reading) < gives(present(reading), reading)
}

fn gives(policy: &str, reading: &Reading) -> Gives {
    match policy {
        NO_EVICTION => Gives::Nothing,
        _ if policy.starts_with("allkeys-") => Gives::Any,
        _ if reading.facts.has_volatile => Gives::Volatile,
        _ => Gives::Nothing,
    }
}

fn present(reading: &Reading) -> &str {
    reading.in_force.get(POLICY).map_or("", String::as_str)
}

/// The policy under which what is too much is evicted: the new one unless that gives up less, since then it comes last.
fn evicting_policy<'a>(changes: &'a Settings, reading: &'a Reading) -> &'a str {
    let new = changes.get(POLICY).map(String::as_str);
    new.filter(|policy| !is_stricter(policy, reading)).unwrap_or(present(reading))
}

fn limit(wanted: &str, found: &Settings, reading: &Reading) -> Result<Limit, String> {
    let number = |text: Option<&String>| text.and_then(|text| bytes(text));
    let goal = bytes(wanted).ok_or_else(|| format!("{MAXMEMORY} {wanted:?} is no number"))?;
    let now = number(reading.in_force.get(MAXMEMORY));
    let now = now.ok_or_else(|| format!("{MAXMEMORY} was not read"))?;
    Ok(Limit { found: number(found.get(MAXMEMORY)).unwrap_or(now), now, goal })
}

/// A limit in bytes; none is larger than every other.
fn bytes(text: &str) -> Option<u64> {
    match text.parse() {
        Ok(0) => Some(u64::MAX),
        Ok(bytes) => Some(bytes),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::steer::actuator::Facts;

    const POLICIES: [&str; 4] = ["noeviction", "allkeys-lru", "allkeys-lfu", "volatile-lru"];

    fn settings(pairs: &[(&str, String)]) -> Settings {
        pairs.iter().map(|(parameter, value)| ((*parameter).to_owned(), value.clone())).collect()
    }

    fn reading(limit: u64, policy: &str, used_bytes: u64) -> Reading {
        let facts = Facts {
            used_bytes,
            has_volatile: true,
            memory: Some(Memory { total_bytes: 1 << 41, available_bytes: 1 << 40 }),
            ..Facts::default()
        };
        let in_force = settings(&[(MAXMEMORY, limit.to_string()), (POLICY, policy.to_owned())]);
        Reading { in_force, facts, is_settled: true, ..Reading::default() }
    }

    fn law(shrink: f64) -> RedisLaw {
        let settings =
            SteerConfig { largest_shrink: shrink, largest_growth: 4.0, ..SteerConfig::default() };
        RedisLaw::new(settings)
    }

    /// Takes a step as a server would that evicts what it can at once.
    fn take(reading: &mut Reading, step: &Step) {
        reading.in_force.insert(step.parameter.clone(), step.value.clone());
        let limit = bytes(&reading.in_force[MAXMEMORY]).unwrap();
        if gives(&reading.in_force[POLICY], reading) != Gives::Nothing {
            reading.facts.used_bytes = reading.facts.used_bytes.min(limit);
        }
    }

    prop_compose! {
        fn states()(
            limit in prop_oneof![Just(0_u64), 1_000_u64..1 << 34],
            policy in prop::sample::select(POLICIES.to_vec()),
            fill in 0.0..1.2,
            has_volatile: bool,
        ) -> Reading {
            let room = if limit == 0 { 1 << 34 } else { limit };
            let mut reading = reading(limit, policy, (room as f64 * fill) as u64);
            reading.facts.has_volatile = has_volatile;
            reading
        }
    }

    prop_compose! {
        fn goals()(
            limit in prop_oneof![Just(0_u64), 1_000_u64..1 << 34],
            policy in prop::sample::select(POLICIES.to_vec()),
            (with_limit, with_policy, samples) in any::<(bool, bool, Option<u8>)>(),
        ) -> Settings {
            let mut goal = Settings::new();
            with_limit.then(|| goal.insert(MAXMEMORY.to_owned(), limit.to_string()));
            with_policy.then(|| goal.insert(POLICY.to_owned(), policy.to_owned()));
            samples.map(|n| goal.insert("maxmemory-samples".to_owned(), n.to_string()));
            goal
        }
    }

    proptest! {
        #[test]
        fn a_plan_ends_at_its_goal_and_is_empty_there(
            start in states(), goal in goals(), shrink in 0.005..0.5, back: bool,
        ) {
            let purpose = if back { Purpose::PutBack } else { Purpose::Change };
            let law = law(shrink);
            let plan = law.plan(&goal, &start.in_force, &start, purpose);
            prop_assert!(plan.is_ok() || !back, "what was before may always be put back");
            let Ok(steps) = plan else { return Ok(()) };
            let mut reading = start.clone();
            let top = [bytes(&start.in_force[MAXMEMORY]), goal.get(MAXMEMORY).and_then(|g| bytes(g))];
            for step in &steps {
                let before = bytes(&reading.in_force[MAXMEMORY]).unwrap();
                let policy = reading.in_force[POLICY].clone();
                let used = reading.facts.used_bytes;
                take(&mut reading, step);
                let after = bytes(&reading.in_force[MAXMEMORY]).unwrap();
                prop_assert!(Some(after) <= top.into_iter().max().flatten());
                if after < before {
                    let least = (used.min(before) as f64 * (1.0 - shrink)) as u64;
                    prop_assert!(after + 1 >= least.min(before), "{before} to {after} at {used}");
                    let most = start.in_force[POLICY].clone();
                    let most = [Some(&most), goal.get(POLICY)].into_iter().flatten();
                    let most = most.map(|policy| gives(policy, &start)).max();
                    prop_assert!(after >= used || Some(gives(&policy, &start)) == most);
                    prop_assert!(back || after >= used || most != Some(Gives::Nothing));
                    prop_assert_eq!(step.settles, after < start.facts.used_bytes);
                }
                let (from, to) = (&start.in_force[MAXMEMORY], goal.get(MAXMEMORY));
                let value = &reading.in_force[MAXMEMORY];
                prop_assert!(law.is_on_the_way(MAXMEMORY, from, to.unwrap_or(from), value));
            }
            let gives_none = gives(&reading.in_force[POLICY], &reading) == Gives::Nothing;
            let limit = bytes(&reading.in_force[MAXMEMORY]).unwrap();
            let is_full = reading.facts.used_bytes as f64 > limit as f64 * FULL;
            let was_so = gives(&start.in_force[POLICY], &start) == Gives::Nothing;
            prop_assert!(back || !gives_none || !is_full || was_so);
            let left = law.plan(&goal, &start.in_force, &reading, purpose);
            prop_assert_eq!(left, Ok(Vec::new()));
        }

        #[test]
        fn a_plan_made_anew_after_each_step_goes_the_same_way(
            start in states(), goal in goals(), shrink in 0.01..0.5,
        ) {
            let law = law(shrink);
            let Ok(steps) = law.plan(&goal, &start.in_force, &start, Purpose::Change) else {
                return Ok(());
            };
            let mut reading = start.clone();
            let mut count = 0;
            while let Some(step) =
                law.plan(&goal, &start.in_force, &reading, Purpose::Change).unwrap().first()
            {
                take(&mut reading, step);
                count += 1;
                prop_assert!(count <= steps.len() + 1);
            }
            prop_assert_eq!(count, steps.len());
        }
    }

    fn refusal(law: &RedisLaw, goal: &[(&str, &str)], reading: &Reading) -> String {
        let pairs: Vec<_> = goal.iter().map(|(p, v)| (*p, (*v).to_owned())).collect();
        let goal = settings(&pairs);
        law.plan(&goal, &reading.in_force, reading, Purpose::Change).expect_err("it is refused")
    }

    #[test]
    fn every_guard_rail_holds() {
        let law = RedisLaw::new(SteerConfig::default());
        let memory = |available_bytes| Some(Memory { total_bytes: 12_500, available_bytes });
        let at = |limit, used| {
            let mut reading = reading(limit, "allkeys-lru", used);
            reading.facts.memory = memory(12_000);
            reading
        };
        let mut replica = at(1_000, 500);
        replica.facts.is_replica = true;
        assert!(refusal(&law, &[("maxmemory-samples", "7")], &replica).contains("replica"));
        assert!(refusal(&law, &[(MAXMEMORY, "2001")], &at(1_000, 500)).contains("factor of 2"));
        assert!(refusal(&law, &[(MAXMEMORY, "499")], &at(1_000, 500)).contains("factor of 2"));
        assert!(refusal(&law, &[(MAXMEMORY, "499")], &at(0, 1_000)).contains("factor of 2"));
        assert!(refusal(&law, &[(MAXMEMORY, "10001")], &at(9_000, 500)).contains("above the most"));
        assert!(refusal(&law, &[(MAXMEMORY, "0")], &at(9_000, 500)).contains("factor of 2"));
        let mut scarce = at(1_000, 900);
        scarce.facts.memory = memory(1_000);
        assert!(refusal(&law, &[(MAXMEMORY, "1701")], &scarce).contains("1000 are available"));
        let goal = settings(&[(MAXMEMORY, "1699".to_owned())]);
        assert!(law.plan(&goal, &scarce.in_force, &scarce, Purpose::Change).is_ok());
        scarce.facts.promised_bytes = 2;
        let refused = refusal(&law, &[(MAXMEMORY, "1699")], &scarce);
        assert!(refused.contains("2 are promised to other servers"), "{refused}");
        scarce.facts.memory = None;
        assert!(refusal(&law, &[(MAXMEMORY, "1001")], &scarce).contains("not known"));
        let full = reading(1_000, "noeviction", 1_000);
        assert!(refusal(&law, &[(MAXMEMORY, "999")], &full).contains("writes would be refused"));
        let mut lasting = reading(1_000, "volatile-lru", 1_000);
        lasting.facts.has_volatile = false;
        assert!(refusal(&law, &[(MAXMEMORY, "999")], &lasting).contains("no key expires"));
    }

    #[test]
    fn a_full_server_goes_on_evicting() {
        let law = law(0.5);
        let mut full = reading(1_000, "allkeys-lru", 960);
        full.facts.has_volatile = false;
        for policy in ["noeviction", "volatile-ttl"] {
            assert!(refusal(&law, &[(POLICY, policy)], &full).contains("nothing could be evicted"));
            let both = [(MAXMEMORY, "800"), (POLICY, policy)];
            assert!(refusal(&law, &both, &full).contains("writes would be refused"));
            let roomy = settings(&[(MAXMEMORY, "2000".to_owned()), (POLICY, policy.to_owned())]);
            assert!(law.plan(&roomy, &full.in_force, &full, Purpose::Change).is_ok());
        }
        let volatile = settings(&[(POLICY, "volatile-ttl".to_owned())]);
        full.facts.has_volatile = true;
        assert!(law.plan(&volatile, &full.in_force, &full, Purpose::Change).is_ok());
        // Nothing is lost where nothing could be evicted before.
        let stuck = reading(1_000, "noeviction", 1_000);
        assert!(law.plan(&volatile, &stuck.in_force, &stuck, Purpose::Change).is_ok());
    }

    #[test]
    fn room_is_made_first_and_taken_last() {
        let law = law(0.5);
        let order = |goal: &[(&str, &str)], reading: &Reading| -> Vec<String> {
            let pairs: Vec<_> = goal.iter().map(|(p, v)| (*p, (*v).to_owned())).collect();
            let plan =
                law.plan(&settings(&pairs), &reading.in_force, reading, Purpose::PutBack).unwrap();
            plan.into_iter().map(|step| format!("{} {}", step.parameter, step.value)).collect()
        };
        let full = reading(1_000, "noeviction", 1_000);
        assert_eq!(
            order(&[(MAXMEMORY, "2000"), (POLICY, "allkeys-lru")], &full),
            ["maxmemory 2000", "maxmemory-policy allkeys-lru"]
        );
        assert_eq!(
            order(&[(MAXMEMORY, "500"), (POLICY, "allkeys-lru")], &full),
            ["maxmemory-policy allkeys-lru", "maxmemory 500"]
        );
        let evicting = reading(1_000, "allkeys-lru", 1_000);
        let smaller = [(MAXMEMORY, "400"), (POLICY, "noeviction")];
        assert_eq!(
            order(&smaller, &evicting),
            ["maxmemory 500", "maxmemory 400", "maxmemory-policy noeviction"]
        );
        // Keys that do not expire can be given up under the old policy only.
        let smaller = [(MAXMEMORY, "400"), (POLICY, "volatile-lru")];
        assert_eq!(
            order(&smaller, &evicting),
            ["maxmemory 500", "maxmemory 400", "maxmemory-policy volatile-lru"]
        );
        let expiring = reading(1_000, "volatile-lru", 1_000);
        assert_eq!(
            order(&[(MAXMEMORY, "400"), (POLICY, "allkeys-lru")], &expiring),
            ["maxmemory-policy allkeys-lru", "maxmemory 500", "maxmemory 400"]
        );
        let empty = reading(1_000, "allkeys-lru", 10);
        assert_eq!(order(&[(MAXMEMORY, "400")], &empty), ["maxmemory 400"]);
    }
}
