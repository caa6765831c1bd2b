//! Looks at keys without using them: age, size, time to live.
//!
//! Keys are drawn by `SCAN` from a random cursor: any bucket of the table is as likely as any other,
//! and all keys of it are taken. `RANDOMKEY` prefers keys in sparse parts of the table, which are
//! also those that eviction samples most and that are therefore young: ages drawn with it are 2 % too
//! young, which is a point of hit ratio at half the size. It is used where a cursor cannot be random
//! (clusters) or is not allowed.
//!
//! Commands go out 25 keys at a time. Redis counts one lookup among its hits or misses for each
//! `OBJECT IDLETIME` and `PTTL` (7.0; none for `SCAN`, `RANDOMKEY` and `MEMORY USAGE`); all are told to
//! [`Probes`](crate::redis::Probes), so that the sampler takes them off. 500 keys a second cost the
//! server 0.3 % of a core.

use std::collections::VecDeque;

use rand::RngExt as _;

use super::{connect, now_ms};
use crate::redis::{Connection, Error, Instance, Reply};

/// Keys that are asked for at once.
pub const BATCH: usize = 25;
/// A bucket with more keys is that of a table that is far too small.
const MOST_IN_BUCKET: usize = 64;
/// Keys of so many bytes are asked for their type.
const LARGE_BYTES: u32 = 1 << 20;
/// Types that a server may name.
const TYPES: [&str; 6] = ["string", "list", "set", "zset", "hash", "stream"];
/// Lookups of keys that were gone, which the server tells as misses: so long they are remembered.
const OWN_MISS_MS: u64 = 2000;

/// A key that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Look {
    /// The key. It is to be hashed and forgotten.
    pub key: Vec<u8>,
    /// Seconds since its last use; `None` where the server does not tell, with LFU.
    pub idle_s: Option<u64>,
    /// Its size.
    pub bytes: u32,
    /// Milliseconds until it expires.
    pub ttl_ms: Option<u64>,
    /// Its type, of large keys; else empty.
    pub data_type: &'static str,
}

/// How keys are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Draw {
    Scan,
    RandomKey,
}

/// Lookups that the server has counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// As hits.
    pub hits: u64,
    /// As misses.
    pub misses: u64,
}

/// Looks at the keys of one instance.
#[derive(Debug)]
pub struct Prober {
    connection: Connection,
    instance: Instance,
    draw: Draw,
    counted: Counted,
    /// Keys that were gone when their time to live was asked for, and when that was.
    own_misses: VecDeque<(Vec<u8>, u64)>,
}

impl Prober {
    /// Connects.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses us.
    pub fn open(instance: &Instance, is_cluster: bool) -> Result<Self, Error> {
        let draw = if is_cluster { Draw::RandomKey } else { Draw::Scan };
        let (instance, connection) = (instance.clone(), connect(instance)?);
        let (counted, own_misses) = (Counted::default(), VecDeque::new());
        Ok(Self { connection, instance, draw, counted, own_misses })
    }

    /// The connection, for other commands.
    pub fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Lookups of this prober so far.
    pub fn counted(&self) -> Counted {
        self.counted
    }

    /// Draws about so many keys. With `asks_ttl` their times to live are asked for.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn draw(&mut self, keys: usize, asks_ttl: bool) -> Result<Vec<Look>, Error> {
        let mut looks = Vec::with_capacity(keys);
        while looks.len() < keys {
            let drawn = match self.draw_keys(BATCH.min(keys - looks.len())) {
                Err(Error::Refused(_)) if self.draw == Draw::Scan => {
                    self.draw = Draw::RandomKey;
                    continue;
                }
                drawn => drawn?,
            };
            if drawn.is_empty() {
                break;
            }
            for batch in drawn.chunks(BATCH) {
                looks.extend(self.look(batch, true, asks_ttl)?);
            }
        }
        Ok(looks)
    }

    /// Looks at these keys; what is not there is left out.
    ///
    /// # Errors
    /// When the server does not answer or refuses.
    pub fn look(
        &mut self,
        keys: &[Vec<u8>],
        asks_age: bool,
        asks_ttl: bool,
    ) -> Result<Vec<Look>, Error> {
        for key in keys {
            self.connection.queue(&[b"MEMORY", b"USAGE", key]);
            if asks_age {
                self.connection.queue(&[b"OBJECT", b"IDLETIME", key]);
            }
            if asks_ttl {
                self.connection.queue(&[b"PTTL", key]);
            }
        }
        let announced = (keys.len() * (usize::from(asks_age) + usize::from(asks_ttl))) as u64;
        self.instance.probes().announce(announced);
        let before = self.counted;
        let looks = self.look_at(keys, asks_age, asks_ttl);
        let (hits, misses) = (self.counted.hits - before.hits, self.counted.misses - before.misses);
        self.instance.probes().settle(announced, hits, misses);
        looks
    }

    fn look_at(
        &mut self,
        keys: &[Vec<u8>],
        asks_age: bool,
        asks_ttl: bool,
    ) -> Result<Vec<Look>, Error> {
        self.connection.flush()?;
        let (mut looks, mut failed) = (Vec::with_capacity(keys.len()), None);
        // Every answer is taken, or the next ones would be those of others.
        for key in keys {
            match self.receive(key, asks_age, asks_ttl) {
                Ok(look) => looks.extend(look),
                Err(error) if error.is_broken() => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        for look in looks.iter_mut().filter(|look| look.bytes >= LARGE_BYTES) {
            look.data_type = self.data_type(&look.key)?;
        }
        failed.map_or(Ok(looks), Err)
    }

    /// The type of a key; empty when it is gone, or may not be asked for.
    fn data_type(&mut self, key: &[u8]) -> Result<&'static str, Error> {
        let reply = match self.connection.call(&[b"TYPE", key]) {
            Ok(reply) => reply,
            Err(error) if error.is_broken() => return Err(error),
            Err(_) => return Ok(""),
        };
        let name = reply.text().unwrap_or_default();
        let known = TYPES.into_iter().find(|known| known.as_bytes() == name);
        if name == b"none" {
            self.counted.misses += 1;
        } else {
            self.counted.hits += 1;
        }
        Ok(known.unwrap_or("other"))
    }

    /// Whether a miss that the server tells of is one of ours.
    pub fn is_own_miss(&mut self, key: &[u8], at_ms: u64) -> bool {
        while self.own_misses.front().is_some_and(|(_, own_ms)| own_ms + OWN_MISS_MS < at_ms) {
            self.own_misses.pop_front();
        }
        let place = self.own_misses.iter().position(|(own, _)| own == key);
        place.and_then(|place| self.own_misses.remove(place)).is_some()
    }

    fn draw_keys(&mut self, count: usize) -> Result<Vec<Vec<u8>>, Error> {
        let mut random = rand::rng();
        for _ in 0..count {
            match self.draw {
                Draw::Scan => {
                    let cursor = random.random::<u64>().to_string();
                    self.connection.queue(&[b"SCAN", cursor.as_bytes(), b"COUNT", b"1"]);
                }
                Draw::RandomKey => self.connection.queue(&[b"RANDOMKEY"]),
            }
        }
        self.connection.flush()?;
        let (mut keys, mut failed) = (Vec::with_capacity(2 * count), None);
        for _ in 0..count {
            match self.connection.receive() {
                Ok(Reply::Text(key)) => keys.push(key),
                Ok(Reply::Array(parts)) => {
                    let found = parts.get(1).map_or(&[][..], Reply::parts);
                    let found = found.iter().take(MOST_IN_BUCKET).filter_map(Reply::text);
                    keys.extend(found.map(<[u8]>::to_vec));
                }
                Ok(_) => {}
                Err(error) if error.is_broken() => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(keys), Err)
    }

    /// Takes the answers for one key; `None` when it was gone.
    fn receive(
        &mut self,
        key: &[u8],
        asks_age: bool,
        asks_ttl: bool,
    ) -> Result<Option<Look>, Error> {
        let size = self.connection.receive();
        let age = if asks_age { Some(self.connection.receive()) } else { None };
        let ttl = if asks_ttl { Some(self.connection.receive()) } else { None };
        let idle_s = match age {
            Some(Ok(Reply::Integer(seconds))) => {
                self.counted.hits += 1;
                u64::try_from(seconds).ok()
            }
            Some(Ok(_)) => {
                self.counted.misses += 1;
                None
            }
            // The key is there, and the policy is one that keeps no ages.
            Some(Err(Error::Refused(refusal))) if refusal.code == "ERR" => {
                self.counted.hits += 1;
                None
            }
            Some(Err(error)) => return Err(error),
            None => None,
        };
        let left = ttl.transpose()?.and_then(|reply| reply.integer());
        match left {
            Some(-2) => {
                self.counted.misses += 1;
                self.own_misses.push_back((key.to_vec(), now_ms()));
            }
            Some(_) => self.counted.hits += 1,
            None => {}
        }
        let bytes = size?.integer().map(|bytes| u32::try_from(bytes).unwrap_or(u32::MAX));
        let ttl_ms = left.and_then(|left| u64::try_from(left).ok());
        let is_gone = left == Some(-2);
        Ok(bytes.filter(|_| !is_gone).map(|bytes| Look {
            key: key.to_vec(),
            idle_s,
            bytes,
            ttl_ms,
            data_type: "",
        }))
    }
}
