//! Servers and workloads for tests: what the estimators are shown comes from a mini-Redis, and so
//! does what they should have said.

use super::{Ages, Cause, Drawn, Expiry, Ghosts, Lifetime, Present, Rates, Sampling, Traffic};
use crate::emulate::{MiniRedis, NEVER, Policy, Settings};
use crate::mix::{mix64, next_unit};

pub(super) const START_MS: u64 = 1_700_000_000_000;
const BASE_BYTES: u64 = 900_000;
const MINUTE_MS: u64 = 60_000;

/// Requests of cache-aside clients.
#[derive(Debug, Clone)]
pub(super) struct Workload {
    pub(super) kind: Kind,
    pub(super) per_second: f64,
    cumulated: Vec<f64>,
    random: u64,
    sessions: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    /// Zipf's law that does not change.
    Still,
    /// A third of the requests go to keys that come and go.
    Drifting,
    /// Keys expire after times that depend on the key.
    Expiring,
    /// The same, and a fifth of them at each full minute.
    Together,
    /// Sizes from 50 bytes to 20 kB; what is used more is smaller.
    Sized,
}

pub(super) struct Request {
    pub(super) key: u64,
    pub(super) bytes: u32,
}

impl Workload {
    pub(super) fn new(kind: Kind, keys: u32, per_second: f64, seed: u64) -> Self {
        let mut sum = 0.0;
        let add = |rank: u32| {
            sum += f64::from(rank).powf(-0.99);
            sum
        };
        let cumulated = (1..=keys).map(add).collect();
        Self { kind, per_second, cumulated, random: seed, sessions: 0.0 }
    }

    fn unit(&mut self) -> f64 {
        next_unit(&mut self.random)
    }

    pub(super) fn next(&mut self) -> Request {
        let keys = self.cumulated.len() as f64;
        if self.kind == Kind::Drifting && self.unit() < 0.35 {
            self.sessions += 1.0 / 12.0;
            let back = -(1.0 - self.unit()).ln() * keys / 40.0;
            let id = (self.sessions - back).floor() as i64 as u64;
            let key = mix64(id ^ 0xface_0000_0000_0000);
            return Request { key, bytes: 190 + (key % 200) as u32 };
        }
        let drawn = self.unit() * self.cumulated.last().unwrap();
        let rank = self.cumulated.partition_point(|sum| *sum <= drawn) as u64;
        let key = mix64(rank + 1);
        let mut bytes = 190 + (key % 200) as u32;
        if self.kind == Kind::Sized {
            let mut own = key;
            let noise: f64 = (0..4).map(|_| next_unit(&mut own) - 0.5).sum::<f64>() * 1.7;
            let popular = ((rank + 1) as f64 / keys).ln() * 0.3;
            bytes = ((6.5 + popular + 1.2 * noise).exp().clamp(50.0, 20_000.0)) as u32 + 90;
        }
        Request { key, bytes }
    }

    /// Time to live that a key is given, if it is always the same.
    fn ttl_ms(&self, key: u64) -> Option<u64> {
        match (self.kind, key % 5) {
            (Kind::Expiring | Kind::Together, 0) => Some(20_000),
            (Kind::Expiring | Kind::Together, 1) => Some(60_000),
            (Kind::Expiring, 2 | 3) | (Kind::Together, 2) => Some(300_000),
            _ => None,
        }
    }

    /// When a key expires that is filled now.
    fn dies_ms(&self, key: u64, now_ms: u64) -> u64 {
        if self.kind == Kind::Together && key % 5 == 3 {
            return (now_ms / MINUTE_MS + 1) * MINUTE_MS;
        }
        self.ttl_ms(key).map_or(NEVER, |ttl| now_ms + ttl)
    }
}

/// A server under a workload, from its start on.
pub(super) struct Lab {
    pub(super) server: MiniRedis,
    settings: Settings,
    workload: Workload,
    now: f64,
    rates: Rates,
}

/// What estimators were shown.
pub(super) struct Seen {
    pub(super) present: Present,
    pub(super) ages: Ages,
    pub(super) ghosts: Ghosts,
    pub(super) now_ms: u64,
}

impl Lab {
    pub(super) fn new(workload: Workload, policy: Policy, bytes: u64) -> Self {
        Self::of(workload, Settings::new(policy, bytes))
    }

    pub(super) fn of(workload: Workload, settings: Settings) -> Self {
        let settings = Settings { base_bytes: BASE_BYTES, ..settings };
        Self {
            server: MiniRedis::new(settings),
            settings,
            workload,
            now: START_MS as f64,
            rates: Rates::default(),
        }
    }

    /// Serves so many requests a second from now on.
    pub(super) fn pace(&mut self, per_second: f64) {
        self.workload.per_second = per_second;
    }

    /// Serves for so long; `watch` is told what is seen of it. The hit ratio.
    pub(super) fn run(&mut self, seconds: f64, watch: &mut dyn FnMut(&mut MiniRedis, Told)) -> f64 {
        let before = self.server.counts();
        let requests = (seconds * self.workload.per_second) as u64;
        for _ in 0..requests {
            self.now += 1000.0 / self.workload.per_second;
            let (now, request) = (self.now as u64, self.workload.next());
            let is_hit = self.server.read(request.key, now);
            self.tell(now, watch);
            if !is_hit {
                watch(&mut self.server, Told::Missed(request.key, now));
                let dies = self.workload.dies_ms(request.key, now);
                self.server.write(request.key, request.bytes, dies, now);
                self.tell(now, watch);
                watch(&mut self.server, Told::Filled(request.key, request.bytes, dies, now));
            }
        }
        self.rates.add(self.now as u64, seconds, requests as f64);
        let after = self.server.counts();
        (after.hits - before.hits) as f64 / requests as f64
    }

    fn tell(&mut self, now: u64, watch: &mut dyn FnMut(&mut MiniRedis, Told)) {
        for (key, is_evicted) in std::mem::take(&mut self.server.gone) {
            let cause = if is_evicted { Cause::Evicted } else { Cause::Expired };
            watch(&mut self.server, Told::Gone(key, cause, now));
        }
    }

    /// Shows everything to the estimators for so long.
    pub(super) fn watch(
        &mut self,
        seconds: f64,
        draws_per_second: f64,
        sampling: Sampling,
    ) -> Seen {
        let (mut ages, mut ghosts) = (Ages::default(), Ghosts::new(sampling));
        ghosts.open(self.now as u64);
        let (blocks, before) = (6, self.server.counts());
        let (mut hits, mut drawn, mut keys, mut expiring) = (0.0, 0.0, 0.0, 0.0);
        let learn_below = u64::MAX / 10;
        let workload = self.workload.clone();
        for _ in 0..blocks {
            let begun = self.now;
            let (mut draws, mut block_keys) = (0.0_f64, 0.0);
            let ratio = self.run(seconds / f64::from(blocks), &mut |server, told| match told {
                Told::Gone(key, cause, now) => ghosts.gone(key, cause, now),
                Told::Missed(key, now) => {
                    ghosts.missed(key, now);
                    let due = (now as f64 - begun) / 1000.0 * draws_per_second;
                    while draws < due {
                        draws += 1.0;
                        let Some((key, idle_s, bytes, dies)) = server.draw(now) else { break };
                        expiring += f64::from(u8::from(dies != NEVER));
                        // One that has expired is deleted when it is looked at.
                        if dies <= now {
                            continue;
                        }
                        let lifetime = match dies {
                            NEVER => Lifetime::Forever,
                            dies => Lifetime::Left(dies - now, workload.ttl_ms(key)),
                        };
                        ages.observe(Drawn { idle_s, bytes, lifetime });
                        block_keys += server.keys() as f64;
                    }
                }
                Told::Filled(key, bytes, dies, now) if mix64(key) < learn_below => {
                    let expiry = if dies == NEVER { Expiry::Never } else { Expiry::At(dies) };
                    ghosts.learn(key, bytes, expiry, now);
                }
                Told::Filled(..) => {}
            });
            let touches_per_second = self.workload.per_second;
            let traffic = Traffic { keys: block_keys / draws, touches_per_second };
            let block_s = (self.now - begun) / 1000.0;
            ages.finish_block_at(traffic, &self.rates, self.now as u64, block_s);
            ghosts.next_block(self.now as u64);
            hits += ratio / f64::from(blocks);
            drawn += draws;
            keys += block_keys;
        }
        let evicted = self.server.counts().evicted - before.evicted;
        let present = Present {
            maxmemory_bytes: self.settings.maxmemory_bytes as f64,
            used_bytes: self.server.used_bytes(),
            startup_bytes: BASE_BYTES as f64,
            buffer_bytes: 0.0,
            keys: self.server.keys() as f64,
            expiring_keys: keys / drawn * expiring / drawn,
            hit_ratio: hits,
            requests: seconds * self.workload.per_second,
            requests_per_second: self.workload.per_second,
            evictions_per_second: evicted as f64 / seconds,
            policy: Some(self.settings.policy),
            samples: 5,
        };
        Seen { present, ages, ghosts, now_ms: self.now as u64 }
    }
}

/// What is seen of a server.
pub(super) enum Told {
    Gone(u64, Cause, u64),
    Missed(u64, u64),
    Filled(u64, u32, u64, u64),
}

/// The hit ratio that a server of this size has after a while.
pub(super) fn truth(workload: Workload, policy: Policy, bytes: u64, seconds: f64) -> f64 {
    truth_of(workload, Settings::new(policy, bytes), seconds)
}

/// The same of a server with other settings.
pub(super) fn truth_of(workload: Workload, settings: Settings, seconds: f64) -> f64 {
    let mut lab = Lab::of(workload, settings);
    let mut nothing = |_: &mut MiniRedis, _: Told| {};
    lab.run(seconds, &mut nothing);
    lab.run(seconds, &mut nothing)
}
