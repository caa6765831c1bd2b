//! The actuator of Redis and Valkey: reads with CONFIG GET and INFO, sets with CONFIG SET.
//!
//! Of all that CONFIG SET could do only what bears on caching may be set, one parameter at a time, because servers before 7.0 take no more. A reading costs four
//! commands, 0.17 ms of CPU time here and 0.20 ms there (benches/caches.rs), every five seconds and only while a policy is followed.

pub(crate) mod host;
mod law;

use std::collections::BTreeMap;

use flyball_proto::steering::{Bounds, Capability, Growth, Settings, Target};

use super::actuator::{Actuator, Facts, Law, Reading, Step, Trouble};
use super::config::SteerConfig;
use crate::cache::events::{SETTING_NAME, is_same};
use crate::redis::{Connection, Error, Instance, Refusal, Reply, State};
use crate::sense::HostPaths;
use host::Host;
pub use law::RedisLaw;

/// The kind of target.
pub const KIND: &str = "redis";
/// The limit of a server's memory.
pub(crate) const MAXMEMORY: &str = "maxmemory";
/// The least that it may be set to: an empty server takes about as much.
const LEAST_MAXMEMORY: u64 = 1024 * 1024;
/// How eviction policies are called.
const POLICIES: [&str; 8] = [
    "allkeys-lfu",
    "allkeys-lru",
    "allkeys-random",
    "noeviction",
    "volatile-lfu",
    "volatile-lru",
    "volatile-random",
    "volatile-ttl",
];
/// Numbers that may be set, and their bounds.
const NUMBERS: [(&str, u64, u64); 3] =
    [("lfu-decay-time", 0, 1_440), ("lfu-log-factor", 0, 255), ("maxmemory-samples", 1, 64)];
/// Patterns of CONFIG GET that cover everything that may be set.
pub(crate) const PATTERNS: [&str; 3] = ["maxmemory*", "lfu-*", "activedefrag"];
/// Memory above the limit that is taken for the noise of buffers, as a share of the limit.
const SLACK: f64 = 0.01;

/// One server.
#[derive(Debug)]
pub struct RedisActuator {
    target: Target,
    capability: Capability,
    law: RedisLaw,
    instance: Instance,
    /// The agent's other instances.
    others: Vec<Instance>,
    /// Memory in use when it was last read.
    used_bytes: u64,
    connection: Option<Connection>,
    host: Host,
}

impl RedisActuator {
    /// An instance within the guard rails of `settings`.
    pub fn new(instance: Instance, settings: &SteerConfig, paths: &HostPaths) -> Self {
        let target = target(&instance);
        let host = Host { proc: paths.proc.clone(), sys: paths.sys.clone() };
        let total = host.memory(None).map_or(0, |memory| memory.total_bytes);
        let capability = Capability {
            target: target.clone(),
            parameters: parameters(settings.most_bytes(total)),
            may_persist: settings.allow_rewrite,
            reason: String::new(),
            largest_growth: Growth::new(settings.largest_growth),
        };
        let law = RedisLaw::new(settings.clone());
        Self {
            target,
            capability,
            law,
            instance,
            others: Vec::new(),
            used_bytes: 0,
            connection: None,
            host,
        }
    }

    /// Counts what these of the same host may still take as taken. `all` may hold the instance itself.
    #[must_use]
    pub fn beside(mut self, all: &[Instance]) -> Self {
        let others = all.iter().filter(|other| other.name() != self.instance.name());
        self.others = others.cloned().collect();
        self
    }

    /// An instance that may not be steered. What was begun before that was so can be put back.
    pub fn barred(instance: Instance, settings: &SteerConfig, paths: &HostPaths) -> Self {
        let mut barred = Self::new(instance, settings, paths);
        barred.capability.parameters.clear();
        barred.capability.may_persist = false;
        barred.capability.largest_growth = None;
        let reason = "the agent's configuration does not allow it: steer = true is not set";
        reason.clone_into(&mut barred.capability.reason);
        barred
    }

    fn call(&mut self, words: &[&str]) -> Result<Reply, Trouble> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                // Who is not let in is told so, but that may change any time: it is no answer to a wish.
                let opened = Connection::open(&self.instance);
                none.insert(opened.map_err(|error| Trouble::Away(error.to_string()))?)
            }
        };
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        connection.call(&words).map_err(|error| {
            if error.is_broken() {
                self.connection = None;
            }
            trouble(&error)
        })
    }

    fn note_promise(&self, limit: u64) {
        let is_local = self.connection.as_ref().is_some_and(Connection::is_local);
        self.instance.promised().set(if is_local { limit } else { 0 }, self.used_bytes);
    }

    fn config(&mut self) -> Result<Settings, Trouble> {
        let mut settings = Settings::new();
        for pattern in PATTERNS {
            let reply = self.call(&["CONFIG", "GET", pattern])?;
            let texts: Vec<String> = reply.parts().iter().map(text).collect();
            for pair in texts.chunks_exact(2) {
                if may_be_set(&pair[0]) {
                    settings.insert(pair[0].clone(), pair[1].clone());
                }
            }
        }
        Ok(settings)
    }
}

/// How an instance is called as a target.
fn target(instance: &Instance) -> Target {
    Target::new(KIND, instance.name())
}

/// A refusal that passes by itself is no answer.
fn trouble(error: &Error) -> Trouble {
    let passes = |refusal: &Refusal| {
        refusal.state() != State::Denied
            || ["NOAUTH", "WRONGPASS", "MASTERDOWN"].contains(&refusal.code.as_str())
    };
    match error {
        Error::Refused(refusal) if !passes(refusal) => Trouble::Refused(refusal.text.clone()),
        error => Trouble::Away(error.to_string()),
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(reply.text().unwrap_or_default()).into_owned()
}

fn may_be_set(parameter: &str) -> bool {
    [MAXMEMORY, "maxmemory-policy", "activedefrag"].contains(&parameter)
        || NUMBERS.iter().any(|(name, ..)| *name == parameter)
}

/// What may be set when the limit may be `most_bytes` at most.
fn parameters(most_bytes: u64) -> BTreeMap<String, Bounds> {
    let words = |words: &[&str]| Bounds::OneOf(words.iter().map(|&w| w.to_owned()).collect());
    let mut parameters: BTreeMap<_, _> = NUMBERS
        .iter()
        .map(|&(parameter, least, most)| (parameter.to_owned(), Bounds::Number(least, most)))
        .collect();
    let most = most_bytes.max(LEAST_MAXMEMORY);
    parameters.insert(MAXMEMORY.to_owned(), Bounds::Number(LEAST_MAXMEMORY, most));
    parameters.insert("maxmemory-policy".to_owned(), words(&POLICIES));
    parameters.insert("activedefrag".to_owned(), words(&["no", "yes"]));
    parameters
}

impl Actuator for RedisActuator {
    fn target(&self) -> &Target {
        &self.target
    }

    fn capability(&self) -> Capability {
        self.capability.clone()
    }

    fn law(&self) -> Box<dyn Law> {
        Box::new(self.law.clone())
    }

    fn read(&mut self) -> Result<Reading, Trouble> {
        let in_force = self.config()?;
        let info = text(&self.call(&["INFO"])?);
        let limit = in_force.get(MAXMEMORY).and_then(|limit| limit.parse().ok()).unwrap_or(0_u64);
        let mut reading = parse(&info, limit);
        let is_local = self.connection.as_ref().is_some_and(Connection::is_local);
        let pid = field(&info, "process_id").and_then(|pid| pid.parse().ok());
        reading.facts.memory = is_local.then(|| self.host.memory(pid)).flatten();
        reading.facts.promised_bytes =
            self.others.iter().map(|other| other.promised().get()).fold(0, u64::saturating_add);
        self.used_bytes = reading.facts.used_bytes;
        self.note_promise(limit);
        reading.in_force = in_force;
        Ok(reading)
    }

    fn apply_step(&mut self, step: &Step) -> Result<(), Trouble> {
        if step.parameter == MAXMEMORY
            && let Ok(limit) = step.value.parse::<u64>()
        {
            // Before it is so: whoever is about to do the same has to see it.
            self.note_promise(limit);
        }
        self.call(&["CONFIG", "SET", &step.parameter, &step.value]).map(|_| ())
    }

    fn persist(&mut self) -> Result<(), Trouble> {
        let instance = self.instance.clone();
        // The observer waits as long; what happens to keys in that time it does not hear.
        let borrowed = instance.borrowed().lock();
        let reply = self.call(&["CONFIG", "GET", SETTING_NAME])?;
        let present = reply.parts().get(1).map(text).unwrap_or_default();
        let borrowed = borrowed.as_ref().filter(|(_, set)| is_same(set, &present));
        if let Some((before, _)) = borrowed {
            self.call(&["CONFIG", "SET", SETTING_NAME, before])?;
        }
        let written = self.call(&["CONFIG", "REWRITE"]);
        if let Some((_, set)) = borrowed {
            self.call(&["CONFIG", "SET", SETTING_NAME, set])?;
        }
        written.map(|_| ())
    }

    fn on_trial(&self, before: Option<&Settings>) {
        self.instance.trial().set(before);
    }
}

/// What INFO says, for a limit of so many bytes.
fn parse(info: &str, limit: u64) -> Reading {
    let number = |name| field(info, name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let used_bytes = number("used_memory").saturating_sub(number("mem_not_counted_for_evict"));
    let expires = |line: &str| {
        let count = line.split(',').find_map(|part| part.strip_prefix("expires="));
        line.starts_with("db") && count.is_some_and(|count| count != "0")
    };
    let facts = Facts {
        is_replica: field(info, "role") == Some("slave"),
        used_bytes,
        has_volatile: info.lines().any(expires),
        ..Facts::default()
    };
    Reading {
        in_force: Settings::new(),
        identity: field(info, "run_id").unwrap_or_default().to_owned(),
        is_settled: limit == 0 || used_bytes as f64 <= limit as f64 * (1.0 + SLACK),
        facts,
        ..Reading::default()
    }
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = "# Server\r\nrun_id:abc\r\nprocess_id:12\r\n# Memory\r\nused_memory:1500\r\n\
        mem_not_counted_for_evict:500\r\nrole:master\r\n# Keyspace\r\ndb0:keys=4,expires=0,avg_ttl=0\r\n\
        db3:keys=1,expires=1,avg_ttl=9\r\n";

    #[test]
    fn what_info_says_is_read() {
        let reading = parse(INFO, 1_000);
        assert_eq!((reading.identity.as_str(), reading.facts.used_bytes), ("abc", 1_000));
        assert!(reading.is_settled && reading.facts.has_volatile && !reading.facts.is_replica);
        assert!(!parse(INFO, 900).is_settled);
        assert!(parse(INFO, 0).is_settled, "there is no limit");
        let replica = INFO.replace("role:master", "role:slave").replace("expires=1", "expires=0");
        let reading = parse(&replica, 1_000);
        assert!(reading.facts.is_replica && !reading.facts.has_volatile);
    }

    #[test]
    fn only_what_bears_on_caching_may_be_set() {
        let parameters = parameters(1 << 30);
        let names: Vec<_> = parameters.keys().map(String::as_str).collect();
        let all = [
            "activedefrag",
            "lfu-decay-time",
            "lfu-log-factor",
            MAXMEMORY,
            "maxmemory-policy",
            "maxmemory-samples",
        ];
        assert_eq!(names, all);
        assert!(all.into_iter().all(may_be_set) && !may_be_set("maxmemory-clients"));
        assert_eq!(parameters[MAXMEMORY], Bounds::Number(LEAST_MAXMEMORY, 1 << 30));
    }
}
