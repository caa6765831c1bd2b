//! A look at a server: how it is, what is in force, and what it has done since the look before.
//!
//! One INFO each time, and CONFIG GET now and then: nearly all that changes by itself is in INFO. Neither is a lookup of a key.

use std::time::{Duration, Instant};

use flyball_proto::steering::{CacheCounters, CacheFacts, Settings};

use crate::redis::{Connection, Error, Info, Instance, Number, Reply, Role};
use crate::steer::redis::PATTERNS;
use crate::steer::redis::host::Host;

/// Looks after which all settings are asked for again.
const SETTINGS_EVERY: u32 = 6;
/// Parameters that are told, where the server has them.
const TOLD: [&str; 6] = [
    "activedefrag",
    "lfu-decay-time",
    "lfu-log-factor",
    "maxmemory",
    "maxmemory-policy",
    "maxmemory-samples",
];

/// Looks at one server again and again.
#[derive(Debug)]
pub(super) struct Looker {
    instance: Instance,
    host: Host,
    connection: Option<Connection>,
    settings: Settings,
    settings_in: u32,
    last: Option<Counted>,
}

/// What was seen.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// What INFO says.
    pub(super) info: Info,
    /// What is in force.
    pub(super) settings: Settings,
    /// What is told of it.
    pub(super) facts: CacheFacts,
    /// What it has done since the look before; `None` at the first look and after its counters began again.
    pub(super) since: Option<Since>,
}

/// What decides which keys are there. Where it changes, what was learned before is of another server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Regime {
    /// `maxmemory`.
    pub(super) maxmemory: u64,
    /// `maxmemory-policy`.
    pub(super) policy: String,
    /// `maxmemory-samples`.
    pub(super) samples: String,
}

/// What a server has done in some time, own lookups subtracted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Since {
    pub(super) seconds: f64,
    pub(super) hits: f64,
    pub(super) misses: f64,
    pub(super) evicted: f64,
    pub(super) expired: f64,
    /// Processor time of its process, in seconds.
    pub(super) cpu_s: f64,
}

/// Counters at a moment.
#[derive(Debug, Clone)]
struct Counted {
    at: Instant,
    run_id: String,
    numbers: [i64; 6],
}

impl Looker {
    /// Nothing is connected before the first look.
    pub(super) fn new(instance: Instance, host: Host) -> Self {
        let settings = Settings::new();
        Self { instance, host, connection: None, settings, settings_in: 0, last: None }
    }

    /// The connection of the last look.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut()
    }

    /// Looks.
    ///
    /// # Errors
    /// When the server cannot be reached, does not answer in time, or refuses INFO.
    pub(super) fn look(&mut self) -> Result<Look, Error> {
        let result = self.try_look();
        if result.as_ref().is_err_and(Error::is_broken) {
            (self.connection, self.settings_in) = (None, 0);
        }
        result
    }

    fn try_look(&mut self) -> Result<Look, Error> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::open(&self.instance)?),
        };
        let reply = connection.call(&[b"INFO"])?;
        let at = Instant::now();
        let mut info = Info::default();
        info.read(reply.text().ok_or(Error::Protocol("INFO is no text"))?);
        let number = |number| info.get(number).unwrap_or(0).max(0) as u64;
        let maxmemory = number(Number::MaxMemory);
        let regime = (maxmemory.to_string(), info.eviction_policy.clone());
        let is_changed = self.settings.get("maxmemory") != Some(&regime.0)
            || self.settings.get("maxmemory-policy") != Some(&regime.1);
        if self.settings_in == 0 || is_changed {
            self.settings = settings(connection)?;
            // What may not be read is told as far as INFO has it.
            self.settings.insert("maxmemory".to_owned(), regime.0);
            self.settings.insert("maxmemory-policy".to_owned(), regime.1);
            self.settings_in = SETTINGS_EVERY;
        }
        self.settings_in -= 1;
        let is_local = connection.is_local();
        let since = self.since(&info, at);
        let facts = self.facts(&info, since.as_ref(), is_local);
        Ok(Look { info, settings: self.settings.clone(), facts, since })
    }

    fn since(&mut self, info: &Info, at: Instant) -> Option<Since> {
        let own = self.instance.probes().get();
        let of = |number| info.get(number).unwrap_or(0);
        let numbers = [
            of(Number::Hits) - own.0 as i64,
            of(Number::Misses) - own.1 as i64,
            of(Number::Evicted),
            of(Number::Expired),
            of(Number::CpuSys) + of(Number::CpuUser),
            0,
        ];
        let now = Counted { at, run_id: info.run_id.clone(), numbers };
        let last = self.last.replace(now)?;
        let seconds = at.saturating_duration_since(last.at).as_secs_f64();
        let delta: [f64; 6] = std::array::from_fn(|i| (numbers[i] - last.numbers[i]) as f64);
        // A lookup of ours may be counted on one side only for a moment.
        let is_sound = last.run_id == info.run_id
            && seconds > 0.0
            && delta[2..].iter().all(|delta| *delta >= 0.0)
            && delta[..2].iter().all(|delta| *delta >= -1000.0);
        let [hits, misses, evicted, expired, cpu_us, _] = delta.map(|delta| delta.max(0.0));
        is_sound.then_some(Since { seconds, hits, misses, evicted, expired, cpu_s: cpu_us / 1e6 })
    }

    fn facts(&self, info: &Info, since: Option<&Since>, is_local: bool) -> CacheFacts {
        let positive = |number| info.get(number).and_then(|value| u64::try_from(value).ok());
        let number = |number| positive(number).unwrap_or(0);
        let (keys, expires) = info.keys();
        let per_second = |of: fn(&Since) -> f64| since.map(|since| of(since) / since.seconds);
        let pid = positive(Number::ProcessId).and_then(|pid| u32::try_from(pid).ok());
        let memory = is_local.then(|| self.host.memory(pid)).flatten();
        CacheFacts {
            used_bytes: number(Number::Used).saturating_sub(number(Number::NotEvictable)),
            max_bytes: number(Number::MaxMemory),
            rss_bytes: positive(Number::Resident),
            keys: keys.max(0) as u64,
            keys_with_ttl: expires.max(0) as u64,
            hits_per_second: per_second(|since| since.hits),
            misses_per_second: per_second(|since| since.misses),
            evictions_per_second: per_second(|since| since.evicted),
            expirations_per_second: per_second(|since| since.expired),
            fragmentation: positive(Number::Fragmentation).map(|ratio| ratio as f64 / 100.0),
            host_memory_bytes: memory
                .map(|memory| memory.total_bytes)
                .or_else(|| positive(Number::HostMemory)),
            host_available_bytes: memory.map(|memory| memory.available_bytes),
            replicas: u32::try_from(number(Number::Replicas)).unwrap_or(0),
        }
    }
}

impl Look {
    /// It reads its data from the disk.
    pub(super) fn is_loading(&self) -> bool {
        self.info.get(Number::Loading) == Some(1)
    }

    /// It copies another server, which decides what is evicted.
    pub(super) fn is_replica(&self) -> bool {
        self.info.role == Some(Role::Replica)
    }

    /// What the server has counted. One that counts errors does not name a kind that it has not seen.
    pub(super) fn counters(&self) -> CacheCounters {
        let count = |number| self.info.get(number).and_then(|count| u64::try_from(count).ok());
        let errors = count(Number::Errors);
        let refused = self.info.out_of_memory.and_then(|count| u64::try_from(count).ok());
        CacheCounters {
            run_id: self.info.run_id.clone(),
            commands: count(Number::Commands).unwrap_or(0),
            errors,
            out_of_memory: refused.or(errors.map(|_| 0)),
            rejected_connections: count(Number::RejectedConnections),
        }
    }

    /// What decides which keys are there.
    pub(super) fn regime(&self) -> Regime {
        let setting = |name: &str| self.settings.get(name).cloned().unwrap_or_default();
        Regime {
            maxmemory: self.facts.max_bytes,
            policy: self.info.eviction_policy.clone(),
            samples: setting("maxmemory-samples"),
        }
    }
}

impl Regime {
    /// The same with other settings.
    pub(super) fn with(&self, settings: &Settings) -> Self {
        let mut other = self.clone();
        if let Some(bytes) = settings.get("maxmemory").and_then(|text| text.parse().ok()) {
            other.maxmemory = bytes;
        }
        if let Some(policy) = settings.get("maxmemory-policy") {
            other.policy.clone_from(policy);
        }
        if let Some(samples) = settings.get("maxmemory-samples") {
            other.samples.clone_from(samples);
        }
        other
    }
}

impl Since {
    /// Hits and misses.
    pub(super) fn requests(&self) -> f64 {
        self.hits + self.misses
    }

    /// How long it was.
    pub(super) fn time(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default()
    }
}

/// What is in force of what is told. Empty where that may not be read.
fn settings(connection: &mut Connection) -> Result<Settings, Error> {
    let mut all = Settings::new();
    for pattern in PATTERNS {
        let reply = match connection.call(&[b"CONFIG", b"GET", pattern.as_bytes()]) {
            Ok(reply) => reply,
            Err(Error::Refused(_)) => continue,
            Err(error) => return Err(error),
        };
        for pair in reply.parts().chunks_exact(2) {
            let text =
                |reply: &Reply| reply.text().map(|text| String::from_utf8_lossy(text).into_owned());
            if let (Some(name), Some(value)) = (text(&pair[0]), text(&pair[1]))
                && TOLD.contains(&name.as_str())
            {
                all.insert(name, value);
            }
        }
    }
    Ok(all)
}
