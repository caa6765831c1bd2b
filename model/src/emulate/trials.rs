//! Several servers beside each other on the same requests: what is, and what could be.
//!
//! The differences between them are paired: the same requests for the same keys at the same time. So
//! they are known far better than the level of any of them, and what is predicted is what was
//! measured plus a difference. The first server is the present one, and how far it is from what INFO
//! says is how far the emulation can be trusted ([`Trials::residual`]).
//!
//! Clients are taken to be cache-aside: who reads and finds nothing writes. The write that follows a
//! read that really missed is that of a real server; an emulated one that hits would not have seen
//! it, and one that misses where the real one did not is filled at once, with the size and the time
//! to live that the key was last written with. As long as it was not written that time is a guess; the
//! first write tells it, also to the servers that have the key.
//!
//! Of sampled keys only: hits are corrected for hot keys that are, or are not, in the sample by adding
//! what is missing of the expected number of reads (SHARDS-adj, Waldspurger et al., FAST 2015).
//!
//! Intervals are those of 90 %: blocks of time drawn again (moving blocks, Künsch 1989), groups of
//! keys left out where not all are sampled, and how far such predictions were off before.

use std::collections::HashMap;

use super::{Expiry, MiniRedis, NEVER, Policy, Request, Settings, What};
use crate::mix::{mix64, next_unit};

/// Servers at most beside the present one.
pub const MOST: usize = 7;
/// A write so long after a read of the same key fills what the read missed.
const FILL_MS: u64 = 1000;
/// Length of a block, and how many are kept: an hour.
const BLOCK_MS: u64 = 5000;
const MOST_BLOCKS: usize = 720;
/// Blocks that are drawn together.
const TOGETHER: usize = 3;
/// Groups of keys.
const GROUPS: usize = 16;
const RESAMPLES: usize = 200;
/// The normal law's 90 %.
const Z: f64 = 1.645;
/// Counts of use have settled after so many of their minutes.
const DECAYS: u64 = 3;
/// A present server that is off by more is not the one that runs.
pub const MOST_RESIDUAL: f64 = 0.01;
const SALT: u64 = 0x7e1a_15ed_0000_5eed;
const SEED: u64 = 0xb007;

/// Emulated servers. A request takes 100 ns for each of them (measured).
#[derive(Debug)]
pub struct Trials {
    servers: Vec<MiniRedis>,
    settings: Vec<Settings>,
    rate: f64,
    limit: u64,
    known: HashMap<u64, Known>,
    /// Sum of sizes that keys were last written with, of so many.
    sizes: (f64, f64),
    blocks: Vec<Block>,
    groups: [Group; GROUPS],
    started_ms: u64,
}

/// What is known of a key.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// 0 as long as it was not written.
    bytes: u32,
    /// As it was last written; `None` as long as it was not.
    expiry: Option<Expiry>,
    read_ms: u64,
    /// Servers that missed it then.
    missed: u8,
    /// Servers that have it for a time that is a guess, and since when they do.
    guessed: u8,
    guessed_ms: u64,
}

/// Reads of a time.
#[derive(Debug, Clone, Copy, Default)]
struct Block {
    start_ms: u64,
    reads: f64,
    sampled: f64,
    hits: [f64; MOST + 1],
}

/// Hits on some of the keys since the start.
#[derive(Debug, Clone, Copy, Default)]
struct Group {
    reads: f64,
    hits: [f64; MOST + 1],
}

/// How far predictions were off before, as standard deviations of the difference of hit ratios.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Priors {
    /// Of other sizes.
    pub size_sd: f64,
    /// Of other policies.
    pub policy_sd: f64,
}

/// Why nothing is said of other servers.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
pub enum Withheld {
    /// Nobody read anything.
    #[error("there were no reads")]
    NoReads,
    /// The emulated present server hits so much more or less than the real one.
    #[error("the emulation is off by {0:+.4} of all reads")]
    Residual(f64),
}

/// One server beside the present one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Compared {
    /// The server.
    pub settings: Settings,
    /// Its hit ratio, as emulated.
    pub hit_ratio: f64,
    /// How much higher that is than the present one's.
    pub delta: f64,
    /// Ends of the 90 % interval of the difference.
    pub low: f64,
    /// The other end.
    pub high: f64,
}

impl Default for Priors {
    /// Half a point for sizes and six tenths for policies, as long as nothing is known: nine in ten
    /// are then within a point.
    fn default() -> Self {
        Self { size_sd: 0.005, policy_sd: 0.006 }
    }
}

impl Trials {
    /// The present server and others, [`MOST`] at most; the rest is left out. They are fed with the
    /// share of the keys that the present one's settings say.
    pub fn new(present: Settings, others: &[Settings]) -> Self {
        let is_share = present.rate > 0.0 && present.rate < 1.0;
        let rate = if is_share { present.rate } else { 1.0 };
        let others = others.iter().take(MOST).map(|other| Settings { rate, ..*other });
        let settings: Vec<_> = [Settings { rate, ..present }].into_iter().chain(others).collect();
        Self {
            servers: settings.iter().map(|settings| MiniRedis::new(*settings)).collect(),
            settings,
            rate,
            limit: if is_share { (rate * 2_f64.powi(64)) as u64 } else { u64::MAX },
            known: HashMap::new(),
            sizes: (0.0, 0.0),
            blocks: Vec::new(),
            groups: [Group::default(); GROUPS],
            started_ms: 0,
        }
    }

    /// Keys that something is known of: 60 bytes each, and as many for each server that holds it.
    pub fn keys(&self) -> usize {
        self.known.len()
    }

    /// A key that is there takes so many bytes. For keys that nobody writes, since they are always
    /// hit.
    pub fn learn(&mut self, key_hash: u64, bytes: u32) {
        let place = mix64(key_hash ^ SALT);
        if place > self.limit || bytes == 0 {
            return;
        }
        let known = self.known.entry(place).or_default();
        if known.bytes == 0 {
            known.bytes = bytes;
            self.sizes.0 += f64::from(bytes);
            self.sizes.1 += 1.0;
            for server in &mut self.servers {
                if let Some(dies_ms) = server.dies_ms(place) {
                    server.amend(place, bytes, dies_ms);
                }
            }
        }
    }

    /// Serves a request.
    pub fn request(&mut self, request: &Request) {
        let Request { at_ms, key_hash, what } = *request;
        let is_read = what == What::Read;
        if self.started_ms == 0 {
            self.started_ms = at_ms;
        }
        if is_read {
            self.block(at_ms).reads += 1.0;
        }
        let place = mix64(key_hash ^ SALT);
        if place > self.limit {
            return;
        }
        match what {
            What::Read => self.read(place, at_ms),
            What::Write { bytes, expiry } => self.write(place, bytes, expiry, at_ms),
            What::Delete => {
                self.servers.iter_mut().for_each(|server| server.delete(place, at_ms));
            }
            What::Expire(expiry) => self.expire(place, expiry, at_ms),
        }
    }

    /// Since when all servers are what they would be after a long time, as far as that can be told:
    /// each has evicted as many keys as it holds, or has had time to fill, and counts of use have had
    /// some of their minutes.
    pub fn settled_ms(&self) -> Option<u64> {
        let is_turned = |server: &MiniRedis| server.counts().evicted >= server.keys() as u64;
        if !self.servers.iter().all(is_turned) {
            return None;
        }
        let decay = self.settings.iter().filter(|settings| settings.policy.is_lfu());
        let minutes =
            decay.map(|settings| u64::from(settings.lfu_decay_minutes)).max().unwrap_or(0);
        Some(self.started_ms + minutes * DECAYS * 60_000)
    }

    /// Changes size and policy of a running server, as [`MiniRedis::set`] does: 0 is the present one.
    /// What it then does is how a real one would come to its new hit ratio.
    pub fn set(&mut self, server: usize, policy: Policy, maxmemory_bytes: u64) {
        if let (Some(settings), Some(running)) =
            (self.settings.get_mut(server), self.servers.get_mut(server))
        {
            (settings.policy, settings.maxmemory_bytes) = (policy, maxmemory_bytes);
            running.set(policy, maxmemory_bytes);
        }
    }

    /// Hit ratio of the present server as emulated, less what was measured at the same time.
    pub fn residual(&self, from_ms: u64, measured: f64) -> Option<f64> {
        let sum = self.sum(from_ms);
        (sum.reads > 0.0).then(|| sum.hit_ratio(0, self.rate) - measured)
    }

    /// The others beside the present one, from reads since `from_ms`, in which the real server had
    /// the hit ratio `measured`.
    ///
    /// # Errors
    /// When there were no reads, or the emulation is not what the real server does.
    pub fn compare(
        &self,
        from_ms: u64,
        measured: f64,
        priors: &Priors,
    ) -> Result<Vec<Compared>, Withheld> {
        let residual = self.residual(from_ms, measured).ok_or(Withheld::NoReads)?;
        // What is no number is not close.
        if residual.abs() <= MOST_RESIDUAL {
            Ok(self.compared(from_ms, priors))
        } else {
            Err(Withheld::Residual(residual))
        }
    }

    fn compared(&self, from_ms: u64, priors: &Priors) -> Vec<Compared> {
        let sum = self.sum(from_ms);
        let blocks: Vec<&Block> =
            self.blocks.iter().filter(|block| block.start_ms >= from_ms).collect();
        let of = |server: usize| {
            let delta = sum.delta(server, self.rate);
            let time = bootstrap(&blocks, server, self.rate);
            let keys = self.key_sd(server) * (1.0 - self.rate).sqrt();
            let is_size = self.settings[server].policy == self.settings[0].policy;
            let prior_sd = if is_size { priors.size_sd } else { priors.policy_sd };
            let half = Z * (time.powi(2) + keys.powi(2) + prior_sd.powi(2)).sqrt();
            Compared {
                settings: self.settings[server],
                hit_ratio: sum.hit_ratio(server, self.rate),
                delta,
                low: delta - half,
                high: delta + half,
            }
        };
        (1..self.servers.len()).map(of).collect()
    }

    fn read(&mut self, key: u64, at_ms: u64) {
        let mean = if self.sizes.1 > 0.0 { self.sizes.0 / self.sizes.1 } else { 0.0 };
        let known = self.known.entry(key).or_default();
        known.read_ms = at_ms;
        known.missed = 0;
        let bytes = if known.bytes == 0 { mean as u32 } else { known.bytes };
        // Who writes at a time of the clock writes the same one until that is over.
        let told = known.expiry.filter(|expiry| !matches!(expiry, Expiry::At(ms) if *ms <= at_ms));
        let dies_ms = told.map_or(NEVER, |expiry| expiry.dies_ms(at_ms, NEVER));
        let mut hits = [0.0; MOST + 1];
        for (i, server) in self.servers.iter_mut().enumerate() {
            if server.read(key, at_ms) {
                hits[i] = 1.0;
            } else {
                known.missed |= 1 << i;
                server.write(key, bytes, dies_ms, at_ms);
            }
        }
        if told.is_some() {
            known.guessed &= !known.missed;
        } else if known.missed != 0 {
            (known.guessed, known.guessed_ms) = (known.guessed | known.missed, at_ms);
        }
        let group = &mut self.groups[(key % GROUPS as u64) as usize];
        group.reads += 1.0;
        let block = self.blocks.last_mut().expect("a read begins with a block");
        block.sampled += 1.0;
        for (i, hit) in hits.into_iter().enumerate() {
            block.hits[i] += hit;
            group.hits[i] += hit;
        }
    }

    fn write(&mut self, key: u64, bytes: u32, expiry: Expiry, at_ms: u64) {
        let known = self.known.entry(key).or_default();
        self.sizes.0 += f64::from(bytes) - f64::from(known.bytes);
        self.sizes.1 += f64::from(u8::from(known.bytes == 0));
        known.bytes = bytes;
        if expiry != Expiry::Keep {
            known.expiry = Some(expiry);
        }
        let is_fill = known.read_ms > 0 && at_ms.saturating_sub(known.read_ms) <= FILL_MS;
        let Known { missed, guessed, guessed_ms, .. } = *known;
        // The next write is one of its own.
        (known.read_ms, known.missed, known.guessed) = (0, 0, 0);
        for (i, server) in self.servers.iter_mut().enumerate() {
            let before = server.dies_ms(key).unwrap_or(NEVER);
            let dies_ms = expiry.dies_ms(at_ms, before);
            if !is_fill {
                server.write(key, bytes, dies_ms, at_ms);
            } else if missed & (1 << i) != 0 {
                server.amend(key, bytes, dies_ms);
            } else if guessed & (1 << i) != 0 {
                let since_then = expiry.dies_ms(guessed_ms, before);
                server.amend(key, bytes, if since_then > at_ms { since_then } else { dies_ms });
            }
        }
    }

    fn expire(&mut self, key: u64, expiry: Expiry, at_ms: u64) {
        for server in &mut self.servers {
            if let Some(before) = server.dies_ms(key) {
                server.expire(key, expiry.dies_ms(at_ms, before), at_ms);
            }
        }
    }

    fn block(&mut self, at_ms: u64) -> &mut Block {
        let start_ms = at_ms / BLOCK_MS * BLOCK_MS;
        // A clock that goes back stays in its block.
        if self.blocks.last().is_none_or(|block| block.start_ms < start_ms) {
            if self.blocks.len() == MOST_BLOCKS {
                self.blocks.remove(0);
            }
            self.blocks.push(Block { start_ms, ..Block::default() });
        }
        self.blocks.last_mut().expect("one was pushed")
    }

    fn sum(&self, from_ms: u64) -> Block {
        let mut sum = Block::default();
        for block in self.blocks.iter().filter(|block| block.start_ms >= from_ms) {
            sum.add(block);
        }
        sum
    }

    /// Standard deviation of a difference by leaving out a group of keys at a time.
    fn key_sd(&self, server: usize) -> f64 {
        let delta = |group: &Group| group.hits[server] - group.hits[0];
        let reads: f64 = self.groups.iter().map(|group| group.reads).sum();
        let all: f64 = self.groups.iter().map(delta).sum();
        let left_out: Vec<f64> = self
            .groups
            .iter()
            .map(|group| (all - delta(group)) / (reads - group.reads).max(1.0))
            .collect();
        let count = GROUPS as f64;
        let mean = left_out.iter().sum::<f64>() / count;
        let squares: f64 = left_out.iter().map(|value| (value - mean).powi(2)).sum();
        (squares * (count - 1.0) / count).sqrt()
    }
}

impl Block {
    fn add(&mut self, other: &Self) {
        self.reads += other.reads;
        self.sampled += other.sampled;
        for (hits, more) in self.hits.iter_mut().zip(other.hits) {
            *hits += more;
        }
    }

    fn hit_ratio(&self, server: usize, rate: f64) -> f64 {
        let expected = self.reads * rate;
        ((self.hits[server] + expected - self.sampled) / expected).clamp(0.0, 1.0)
    }

    fn delta(&self, server: usize, rate: f64) -> f64 {
        (self.hits[server] - self.hits[0]) / (self.reads * rate)
    }
}

/// Standard deviation of a difference over blocks drawn again, several that follow each other at a
/// time. 0 when there are too few.
fn bootstrap(blocks: &[&Block], server: usize, rate: f64) -> f64 {
    if blocks.len() < 2 * TOGETHER {
        return 0.0;
    }
    let mut random = SEED;
    let starts = blocks.len() - TOGETHER + 1;
    let deltas: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let mut sum = Block::default();
            for _ in 0..blocks.len().div_ceil(TOGETHER) {
                let start = (next_unit(&mut random) * starts as f64) as usize;
                blocks[start..start + TOGETHER].iter().for_each(|block| sum.add(block));
            }
            sum.delta(server, rate)
        })
        .collect();
    let mean = deltas.iter().sum::<f64>() / RESAMPLES as f64;
    let squares: f64 = deltas.iter().map(|delta| (delta - mean).powi(2)).sum();
    (squares / (RESAMPLES as f64 - 1.0)).sqrt()
}

#[cfg(test)]
mod tests;
