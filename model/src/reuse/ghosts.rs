//! Ghosts: keys that are no longer there, until somebody asks for them again.
//!
//! A key that is evicted starts a clock; a miss of the same key stops it. How long the clocks run
//! is how much longer the key would have had to be kept for a hit. So from the distribution of that
//! time alone, without any clock of the server and without a model of its requests:
//!
//! - misses saved by keeping keys `u` longer: evictions for each miss, times the share asked for
//!   again within `u`;
//! - keys that are kept for it: evictions a second, times the mean time waited up to `u`.
//!
//! Misses that no memory saves (first requests, keys that had expired or were deleted) are in
//! neither, so the curve flattens where it must. Keys that expired and keys that were deleted start
//! clocks of their own; with those the causes of all misses are told apart.
//!
//! A key that is evicted with some of its time to live left can be hit during that time only. What
//! is [learned](Ghosts::learn) of keys while they are there says when that is, and how large they
//! are. A larger server does not fill a key whose miss it saves, so there the time runs on from the
//! fill before, through as many misses as it saves. Ghosts of which no time is known are counted
//! apart; which keys are learned must have nothing to do with their times.
//!
//! Keys are sampled by a hash: all events of a key count or none. There are never more than
//! `max_keys`; when one more comes those with the highest hashes go, and their ghosts are censored,
//! which has nothing to do with their future. The hash must be salted, so that what is kept does
//! not tell keys.
//!
//! When nothing is heard for a while, ghosts would be missed unseen. Those for which the silence
//! was a hundredth of their age or less come in again late; all others are censored at its start.
//!
//! Properties, each a test:
//! - (a) never more than `max_keys` keys are held, and the limit of hashes never rises;
//! - (b) after encoding and decoding it goes on as if nothing had been;
//! - (c) sampling by hash changes no expectation;
//! - (d) a silence adds no event and no time under watch.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::codec::{self, DecodeError};
use super::flow::Flow;
use super::survival::{End, Tail, Worth};
use crate::mix::mix64;

/// Blocks that are kept apart, so that they can be compared; the oldest goes first.
pub const BLOCKS: usize = 12;
/// A second miss within this time belongs to the first: the key is being filled.
const REFILL_MS: u64 = 1000;
/// Of a miss saved at the end of a key's time to live so much comes back: 0.06 to 0.18 by workload and
/// size (measured in process). All of it is doubted.
const BACK: f64 = 0.12;
/// A silence of this share of a ghost's age does no harm.
const SILENCE_SHARE: u64 = 100;
/// Places where other modules mix the same hash must not coincide with ours.
const SALT: u64 = 0x9057_0000_0ea5_1d3b;
const KEYS: std::ops::RangeInclusive<usize> = 64..=1 << 22;
const UNKNOWN: u64 = 0;

/// Why a key is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    /// There was no room for it.
    Evicted,
    /// Its time to live was over.
    Expired,
    /// It was deleted, renamed or moved.
    Invalidated,
}

/// When a key expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Not.
    Never,
    /// At this time, in milliseconds since the Unix epoch.
    At(u64),
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Keys at most, there or gone; from 64 to 4 million, what is outside is clamped. The error of a
    /// share of misses is about `1 / sqrt(max_keys)`.
    pub max_keys: usize,
    /// Share of the keys to sample at first, above 0 to 1; anything else is taken for 1.
    pub max_rate: f64,
}

/// Clocks of keys that are gone. About 70 bytes for each of `max_keys`, and at most 21 KiB for each
/// of [`BLOCKS`] blocks. An event takes 5 ns where the key is not sampled and 115 ns where it is
/// (measured).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ghosts {
    sampling: Sampling,
    limit: u64,
    /// By mixed hash; none above the limit.
    keys: BTreeMap<u64, Entry>,
    blocks: VecDeque<Block>,
    /// When nothing is heard, since when.
    silent_since_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Entry {
    state: State,
    /// Size; 0 unknown.
    bytes: u32,
    /// When it expires where its misses are saved; 0 unknown, the greatest number never.
    dies_ms: u64,
    /// Time to live that it was given; 0 unknown.
    ttl_ms: u64,
    /// Beginning of the state.
    since_ms: u64,
    /// Beginning of the watch.
    seen_ms: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum State {
    Resident,
    Gone(Cause),
    /// Missed once since it was gone, at this age.
    Missed(Cause, u64),
}

/// Sums over a time that events were heard in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Block {
    /// Clocks of evicted keys whose expiry is known, of those without, of expired and of
    /// invalidated keys.
    pub(super) tails: [Tail; 4],
    /// Keys that went, by cause, sampled or not.
    pub(super) gone: [u64; 3],
    /// Misses, sampled or not.
    pub(super) misses: u64,
    /// Time heard.
    pub(super) span_ms: u64,
    /// When keys came and went.
    pub(super) flow: Flow,
    since_ms: u64,
}

impl Cause {
    pub(super) const fn index(self) -> usize {
        match self {
            Self::Evicted => 0,
            Self::Expired => 1,
            Self::Invalidated => 2,
        }
    }
}

impl Entry {
    /// Misses that a larger server would save with this one. There the key expires earlier than
    /// here, where it is filled anew; now and then it would have been hit in between.
    fn worth(&self, cause: Cause, now_ms: u64) -> Worth {
        if cause != Cause::Evicted || self.ttl_ms == 0 {
            return Worth { gain: 1.0, doubt: 0.0 };
        }
        let left = self.dies_ms.saturating_sub(now_ms) as f64 / self.ttl_ms as f64;
        let back = BACK * (1.0 - left.min(1.0));
        Worth { gain: 1.0 - back, doubt: back }
    }

    /// A larger server still has it: it was missed here since, and not there.
    fn is_spared(&self, now_ms: u64) -> bool {
        matches!(self.state, State::Missed(Cause::Evicted, _)) && self.dies_ms > now_ms
    }
}

impl Default for Sampling {
    /// 16,384 keys, all of them while they are fewer: 1.2 MB.
    fn default() -> Self {
        Self { max_keys: 1 << 14, max_rate: 1.0 }
    }
}

impl Block {
    pub(super) fn merge(&mut self, other: &Self) {
        self.tails.iter_mut().zip(&other.tails).for_each(|(tail, more)| tail.merge(more));
        self.gone.iter_mut().zip(other.gone).for_each(|(gone, more)| *gone += more);
        self.misses += other.misses;
        self.span_ms += other.span_ms;
    }

    /// Counts the time for which an entry was a ghost under watch.
    fn count(&mut self, entry: &Entry, now_ms: u64, end: End) {
        let State::Gone(cause) = entry.state else { return };
        let tail = tail_of(cause, entry.dies_ms);
        let from = entry.seen_ms.saturating_sub(entry.since_ms);
        // What is evicted cannot outlive its time; what has expired has done so already.
        let is_dead = tail == 0 && entry.dies_ms <= now_ms;
        let (until_ms, end) = if is_dead { (entry.dies_ms, End::Lost) } else { (now_ms, end) };
        let until = until_ms.saturating_sub(entry.since_ms);
        if until >= from {
            self.tails[tail].add(from, until, end, entry.bytes);
            // One that was dead before it was evicted died nobody knows when there.
            if is_dead && until > 0 {
                self.flow.died(until_ms);
            }
        }
    }
}

impl Ghosts {
    /// Nothing is known, and nothing is heard before [`Ghosts::open`].
    pub fn new(sampling: Sampling) -> Self {
        let max_keys = sampling.max_keys.clamp(*KEYS.start(), *KEYS.end());
        let sampling = Sampling { max_keys, ..sampling };
        let is_share = sampling.max_rate > 0.0 && sampling.max_rate < 1.0;
        let limit = if is_share { (sampling.max_rate * 2_f64.powi(64)) as u64 } else { u64::MAX };
        Self {
            sampling,
            limit,
            keys: BTreeMap::new(),
            blocks: VecDeque::new(),
            silent_since_ms: Some(0),
        }
    }

    /// Events are heard from now on.
    pub fn open(&mut self, now_ms: u64) {
        let Some(since_ms) = self.silent_since_ms.take() else { return };
        let silence = now_ms.saturating_sub(since_ms);
        self.keys.retain(|_, entry| {
            entry.seen_ms = now_ms;
            silence.saturating_mul(SILENCE_SHARE) <= now_ms.saturating_sub(entry.since_ms)
        });
        self.push_block(now_ms);
    }

    /// Nothing is heard any more.
    pub fn close(&mut self, now_ms: u64) {
        if self.silent_since_ms.is_none() {
            self.finish_block(now_ms);
            self.silent_since_ms = Some(now_ms);
        }
    }

    /// Begins another block. As many as [`BLOCKS`] are kept: their differences tell how much what
    /// is estimated changes with time.
    pub fn next_block(&mut self, now_ms: u64) {
        if self.silent_since_ms.is_none() {
            self.finish_block(now_ms);
            self.keys.values_mut().for_each(|entry| entry.seen_ms = now_ms);
            self.push_block(now_ms);
        }
    }

    /// Whether anything of this key is kept: only then is it worth looking at.
    pub fn is_sampled(&self, key_hash: u64) -> bool {
        mix64(key_hash ^ SALT) <= self.limit
    }

    /// Share of the keys that is sampled at present, above 0 to 1.
    pub fn sampling_rate(&self) -> f64 {
        (self.limit as f64 + 1.0) / 2_f64.powi(64)
    }

    /// Keys that something is kept of.
    pub fn keys(&self) -> usize {
        self.keys.len()
    }

    /// The key has just been filled, is so large (0 when that is not known), and expires then.
    pub fn learn(&mut self, key_hash: u64, bytes: u32, expiry: Expiry, now_ms: u64) {
        let place = mix64(key_hash ^ SALT);
        if place > self.limit || self.silent_since_ms.is_some() {
            return;
        }
        let dies_ms = match expiry {
            Expiry::Never => u64::MAX,
            Expiry::At(at_ms) => at_ms.max(1),
        };
        let before = self.keys.get(&place).copied();
        if let Some(entry @ Entry { state: State::Gone(_), .. }) = before {
            // It has come back without a miss.
            self.block().count(&entry, now_ms, End::Lost);
        }
        let ttl_ms = if expiry == Expiry::Never { 0 } else { dies_ms.saturating_sub(now_ms) };
        let spared = before.filter(|entry| entry.is_spared(now_ms) && entry.dies_ms < dies_ms);
        let (dies_ms, ttl_ms) =
            spared.map_or((dies_ms, ttl_ms), |entry| (entry.dies_ms, entry.ttl_ms));
        let state = State::Resident;
        let entry = Entry { state, bytes, dies_ms, ttl_ms, since_ms: now_ms, seen_ms: now_ms };
        self.put(place, entry, now_ms);
    }

    /// The key is gone.
    pub fn gone(&mut self, key_hash: u64, cause: Cause, now_ms: u64) {
        if self.silent_since_ms.is_some() {
            return;
        }
        self.block().gone[cause.index()] += 1;
        if cause != Cause::Evicted {
            self.block().flow.gone(now_ms);
        }
        let place = mix64(key_hash ^ SALT);
        if place > self.limit {
            return;
        }
        let before = self.keys.get(&place).copied();
        let (mut bytes, mut dies_ms, mut ttl_ms) = (0, UNKNOWN, 0);
        if let Some(entry) = before {
            // One that was gone already had come back without a miss, nobody knows when.
            self.block().count(&entry, now_ms, End::Lost);
            (bytes, ttl_ms) = (entry.bytes, entry.ttl_ms);
            // Of its last fill only: were it enough that it never expired before, those that do would
            // be known less often than those that do not.
            dies_ms = if entry.state == State::Resident { entry.dies_ms } else { UNKNOWN };
        }
        // The server may notice late that a time is over; a request would have made it notice.
        let is_late = cause == Cause::Expired && dies_ms != UNKNOWN && dies_ms < now_ms;
        let since_ms = if is_late { dies_ms } else { now_ms };
        let state = State::Gone(cause);
        let seen_ms = since_ms;
        self.put(place, Entry { state, bytes, dies_ms, ttl_ms, since_ms, seen_ms }, now_ms);
    }

    /// Somebody asked for the key and it was not there.
    pub fn missed(&mut self, key_hash: u64, now_ms: u64) {
        if self.silent_since_ms.is_some() {
            return;
        }
        self.block().misses += 1;
        self.block().flow.missed(now_ms);
        let place = mix64(key_hash ^ SALT);
        let Some(entry) = self.keys.get(&place).copied().filter(|_| place <= self.limit) else {
            return;
        };
        match entry.state {
            State::Gone(cause) => self.ask_for(place, entry, cause, now_ms),
            State::Missed(cause, age_ms) if now_ms.saturating_sub(entry.since_ms) <= REFILL_MS => {
                let tail = tail_of(cause, entry.dies_ms);
                self.block().tails[tail].add_gain(age_ms);
            }
            // It has gone without our hearing of it.
            State::Resident | State::Missed(..) => {
                self.keys.remove(&place);
            }
        }
    }

    fn ask_for(&mut self, place: u64, entry: Entry, cause: Cause, now_ms: u64) {
        self.block().count(&entry, now_ms, End::Event(entry.worth(cause, now_ms)));
        if cause == Cause::Evicted && entry.dies_ms != UNKNOWN && entry.dies_ms <= now_ms {
            self.keys.remove(&place);
            return;
        }
        let state = State::Missed(cause, now_ms.saturating_sub(entry.since_ms));
        self.keys.insert(place, Entry { state, since_ms: now_ms, ..entry });
    }

    /// Everything so far in blocks, oldest first; ghosts that still wait are censored now.
    pub(super) fn blocks(&self, now_ms: u64) -> Vec<Block> {
        let mut blocks: Vec<Block> = self.blocks.iter().cloned().collect();
        if let Some(last) = blocks.last_mut().filter(|_| self.silent_since_ms.is_none()) {
            last.span_ms = now_ms.saturating_sub(last.since_ms);
            self.keys.values().for_each(|entry| last.count(entry, now_ms, End::Censored));
        }
        blocks
    }

    /// The state as bytes, about 25 for each key.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// The state of [`Ghosts::encode`]. Nothing was heard since `silent_since_ms`, when it was
    /// written.
    ///
    /// # Errors
    /// When it is not such a state.
    pub fn decode(bytes: &[u8], silent_since_ms: u64) -> Result<Self, DecodeError> {
        let mut ghosts: Self = codec::decode(bytes)?;
        let is_sound = ghosts.blocks.len() <= BLOCKS
            && KEYS.contains(&ghosts.sampling.max_keys)
            && ghosts.keys.len() <= ghosts.sampling.max_keys
            && ghosts.keys.keys().all(|place| *place <= ghosts.limit)
            && ghosts.blocks.iter().all(|block| block.flow.is_sound())
            && ghosts.blocks.iter().flat_map(|block| &block.tails).all(Tail::is_sound);
        if !is_sound {
            return Err(DecodeError::Damaged);
        }
        ghosts.close(silent_since_ms);
        Ok(ghosts)
    }

    fn block(&mut self) -> &mut Block {
        if self.blocks.is_empty() {
            self.blocks.push_back(Block::default());
        }
        let last = self.blocks.len() - 1;
        &mut self.blocks[last]
    }

    fn push_block(&mut self, now_ms: u64) {
        if self.blocks.len() == BLOCKS {
            self.blocks.pop_front();
        }
        let flow = Flow::new(now_ms);
        self.blocks.push_back(Block { since_ms: now_ms, flow, ..Block::default() });
    }

    fn finish_block(&mut self, now_ms: u64) {
        let keys = std::mem::take(&mut self.keys);
        let block = self.block();
        block.span_ms = now_ms.saturating_sub(block.since_ms);
        for entry in keys.values() {
            block.count(entry, now_ms, End::Censored);
        }
        self.keys = keys;
    }

    fn put(&mut self, place: u64, entry: Entry, now_ms: u64) {
        self.keys.insert(place, entry);
        let most = self.sampling.max_keys;
        if self.keys.len() <= most {
            return;
        }
        self.keys.retain(|_, entry| !matches!(entry.state, State::Missed(..)));
        if self.keys.len() > most - most / 8 {
            self.lower_limit(now_ms);
        }
    }

    /// Drops the eighth of the keys with the highest hashes.
    fn lower_limit(&mut self, now_ms: u64) {
        let kept = self.sampling.max_keys - self.sampling.max_keys / 8;
        let Some(first) = self.keys.keys().nth(kept).copied() else { return };
        let dropped = self.keys.split_off(&first);
        let block = self.block();
        for entry in dropped.values() {
            block.count(entry, now_ms, End::Censored);
        }
        self.limit = first - 1;
    }
}

/// Where a ghost is counted.
fn tail_of(cause: Cause, dies_ms: u64) -> usize {
    match cause {
        Cause::Evicted => usize::from(dies_ms == UNKNOWN),
        Cause::Expired => 2,
        Cause::Invalidated => 3,
    }
}

#[cfg(test)]
mod tests;
