//! Watches an instance for a while and feeds the estimators: one thread, two connections.
//!
//! Between events it draws keys, and looks at some of the keys that have just been filled, for their
//! size and what time they were given. Those are chosen by hash, so that all fills of a key are looked
//! at or none: were it by turns, keys that never expire would become known one after the other, and
//! those that do would be forgotten again. In blocks of time it reads the sums of INFO, so that traffic,
//! ages and ghosts are those of the same time. It can do without events, on one connection: then it
//! draws keys only, which touches no setting of the server.
//!
//! Events cost the server 3 to 5 microseconds each: a cache that misses and evicts 10,000 times a
//! second pays 4 to 10 % of a core while it is watched. [`Plan::turnover`] says how long that needs to be.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use flyball_model::reuse::{
    Ages, BLOCKS, Curve, Drawn, Expiry, Ghosts, Lifetime, Memory, Misses, Present, Priors, Rates,
    Refused, Traffic, curve,
};

use super::events::{Event, Events, Lease, What};
use super::hash::KeyHasher;
use super::prefix::{self, Given};
use super::probe::{BATCH, Counted, Look, Prober};
use super::{LEAST_WAIT, now_ms};
use crate::redis::{Error, Info, Instance, Number};

mod parts;

pub use parts::{Block, Looked, Plan};
use parts::{HISTOGRAM_BYTES, SCALES, Settings, interval, read_info, read_settings};

/// A missed key has been filled by then, if it is filled at all.
const FILLED: Duration = Duration::from_millis(200);
/// Keys that wait to be looked at.
const MOST_FILLS: usize = 256;
/// Keys are counted at most so often beside the draws. Where many expire at once their number goes up
/// and down within a block, and ages are shares of what it was when they were drawn.
const COUNT_EVERY: Duration = Duration::from_secs(1);
/// Longest wait for an event: a deadline is looked at so often.
const PATIENCE: Duration = Duration::from_millis(100);

/// Watches one instance. Kept between watches, so that blocks add up.
#[derive(Debug)]
pub struct Watch {
    instance: Instance,
    hasher: KeyHasher,
    plan: Plan,
    /// Clocks of keys that are gone.
    pub ghosts: Ghosts,
    /// Ages of keys that are there.
    pub ages: Ages,
    given: Given,
    rates: Rates,
    blocks: VecDeque<Block>,
    last: Option<(Info, Settings)>,
    /// Bytes of INFO for each byte of `MEMORY USAGE`.
    scale: Option<f64>,
    /// Events heard and blocks ended so far.
    counts: (u64, u64),
    /// Keys whose fills are looked at have no larger hash (ghosts mix it before they choose, so one
    /// has nothing to do with the other); `None` before the first block.
    looked_at: Option<u64>,
}

/// A watch that goes on.
#[derive(Debug)]
pub struct Running {
    prober: Prober,
    /// What is heard, and the setting that it needs.
    events: Option<(Events, Lease)>,
    begun: Instant,
    info: Info,
    counted: Counted,
    draw_due: Instant,
    fill_due: Instant,
    fills: VecDeque<(Instant, Event)>,
    /// Misses of sampled keys in this block.
    missed: u64,
    /// Sum of counts of keys in this block, how many there were, and when the next one is due.
    keys: (f64, f64),
    count_due: Instant,
    expires: bool,
}

impl Watch {
    /// Nothing is asked yet. `ghosts` is what an earlier agent has left, if anything.
    pub fn new(instance: Instance, hasher: KeyHasher, plan: Plan, ghosts: Option<Ghosts>) -> Self {
        let ghosts = ghosts.unwrap_or_else(|| Ghosts::new(plan.sampling));
        let (ages, given, blocks) = (Ages::default(), Given::default(), VecDeque::new());
        let counts = (0, 0);
        let (last, scale, looked_at) = (None, None, None);
        let rates = Rates::default();
        Self {
            instance,
            hasher,
            plan,
            ghosts,
            ages,
            given,
            rates,
            blocks,
            last,
            scale,
            counts,
            looked_at,
        }
    }

    /// Watches until `is_over` says so; it is asked at least ten times a second. `looked` is told the
    /// hash and the size of each key that was looked at, from the second block on: the size is that
    /// of INFO's sums then, of which `MEMORY USAGE` says a few percent less.
    ///
    /// # Errors
    /// When the server cannot be reached, breaks off or refuses. What was heard before counts.
    pub fn run(
        &mut self,
        mut is_over: impl FnMut() -> bool,
        mut looked: impl FnMut(u64, u32),
    ) -> Result<(), Error> {
        let mut running = self.start(true)?;
        let mut all = Vec::new();
        while !is_over() {
            let result =
                self.step(&mut running, Instant::now() + PATIENCE, &mut |look| all.push(look));
            for look in all.drain(..) {
                if let Some(bytes) = self.in_sums(look.bytes) {
                    looked(look.hash, bytes);
                }
            }
            if let Err(error) = result {
                // What stops a watch need not keep the setting from being given back.
                let _ = self.end(running);
                return Err(error);
            }
        }
        self.end(running)
    }

    /// Begins to watch; with `hears` events are heard as well.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn start(&mut self, hears: bool) -> Result<Running, Error> {
        let mut prober = Prober::open(&self.instance, false)?;
        let info = read_info(&mut prober)?;
        if info.mode == "cluster" {
            prober = Prober::open(&self.instance, true)?;
        }
        let events = if hears {
            let events = Events::subscribe(&self.instance, &self.plan.databases)?;
            let mut borrowed = self.instance.borrowed().lock();
            let lease = Lease::take(prober.connection(), self.plan.lease_file.clone())?;
            *borrowed = lease.changed().cloned();
            drop(borrowed);
            self.ghosts.open(now_ms());
            Some((events, lease))
        } else {
            None
        };
        let now = Instant::now();
        Ok(Running {
            counted: prober.counted(),
            expires: info.keys().1 > 0,
            info,
            prober,
            events,
            begun: now,
            draw_due: now,
            fill_due: now,
            fills: VecDeque::new(),
            missed: 0,
            keys: (0.0, 0.0),
            count_due: now,
        })
    }

    /// Does what is due, and hears events until then. Without events it returns at once: there is
    /// nothing to do before [`Watch::due`]. `looked` is told each key that was looked at.
    ///
    /// # Errors
    /// When the server breaks off or refuses. The watch has to be ended all the same.
    pub fn step(
        &mut self,
        running: &mut Running,
        until: Instant,
        looked: &mut impl FnMut(Looked),
    ) -> Result<(), Error> {
        loop {
            let now = Instant::now();
            if now >= running.begun + self.plan.block {
                self.end_block(running)?;
            }
            if now >= running.draw_due {
                self.draw(running, looked)?;
            }
            self.look_at_fills(running, looked)?;
            let now = Instant::now();
            if running.events.is_none() || now >= until {
                return Ok(());
            }
            self.listen(running, until.min(self.due(running)))?;
        }
    }

    /// When there is something to do next.
    pub fn due(&self, running: &Running) -> Instant {
        let due = running.draw_due.min(running.begun + self.plan.block);
        running.fills.front().map_or(due, |(fill, _)| due.min(*fill))
    }

    /// Ends the watch with the block that has begun, and gives the setting of events back.
    ///
    /// # Errors
    /// When that is not possible now; [`super::events::restore`] does it later.
    pub fn end(&mut self, mut running: Running) -> Result<(), Error> {
        let is_long = running.begun.elapsed() >= self.plan.block / 4;
        let ended = if is_long { self.end_block(&mut running) } else { Ok(()) };
        let Some((events, lease)) = running.events.take() else { return ended };
        self.ghosts.close(now_ms());
        drop(events);
        let mut borrowed = self.instance.borrowed().lock();
        let given_back = lease.give_back(running.prober.connection());
        if given_back.is_ok() {
            *borrowed = None;
        }
        ended.and(given_back)
    }

    /// Changes how closely it watches, from the next thing on that is due: as many fills are looked at
    /// as keys are drawn.
    pub fn pace(&mut self, keys_per_second: f64, block: Duration) {
        (self.plan.draws_per_second, self.plan.block) = (keys_per_second, block);
        self.plan.fills_per_second = keys_per_second;
    }

    /// Forgets everything but times to live and rates of requests: the server is not the one that it
    /// was.
    pub fn forget(&mut self) {
        self.ghosts = Ghosts::new(self.plan.sampling);
        self.ages = Ages::default();
        self.blocks.clear();
        (self.last, self.scale, self.looked_at) = (None, None, None);
    }

    /// Events heard so far.
    pub const fn heard(&self) -> u64 {
        self.counts.0
    }

    /// Blocks ended so far.
    pub const fn ended(&self) -> u64 {
        self.counts.1
    }

    /// What `MEMORY USAGE` says as bytes of INFO's sums; `None` as long as that is not known.
    pub fn in_sums(&self, bytes: u32) -> Option<u32> {
        self.scale.map(|scale| (f64::from(bytes) * scale) as u32)
    }

    /// What was measured over the blocks so far; `None` before the first one.
    pub fn present(&self) -> Option<Present> {
        let (info, settings) = self.last.as_ref()?;
        let sum = |of: fn(&Block) -> f64| self.blocks.iter().map(of).sum::<f64>();
        let (hits, requests) = (sum(|b| b.hits), sum(|b| b.hits + b.misses));
        let seconds = sum(|b| b.seconds);
        let number = |number| info.get(number).unwrap_or(0) as f64;
        let (keys, expiring) = info.keys();
        Some(Present {
            maxmemory_bytes: number(Number::MaxMemory),
            used_bytes: number(Number::Used) - number(Number::NotEvictable),
            startup_bytes: number(Number::Startup),
            buffer_bytes: number(Number::NormalClients)
                + info.percentiles.len() as f64 * HISTOGRAM_BYTES,
            keys: keys as f64,
            expiring_keys: expiring as f64,
            hit_ratio: hits / requests,
            requests,
            requests_per_second: requests / seconds,
            evictions_per_second: sum(|b| b.evicted) / seconds,
            policy: settings.policy,
            samples: settings.samples,
        })
    }

    /// Blocks so far, oldest first.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.blocks.iter()
    }

    /// The hit ratio at other sizes.
    ///
    /// # Errors
    /// When nothing can be said of it.
    pub fn curve(&self, priors: &Priors) -> Result<Curve, Refused> {
        let present = self.present().ok_or(Refused::NoRequests)?;
        curve(&present, &self.ages, &self.ghosts, now_ms(), priors)
    }

    /// Why keys are missed; `None` before the first miss.
    pub fn misses(&self) -> Option<Misses> {
        Misses::of(&self.ghosts, &self.present()?, now_ms())
    }

    /// Hears what has come and what comes until then.
    fn listen(&mut self, running: &mut Running, until: Instant) -> Result<(), Error> {
        let wait = until.saturating_duration_since(Instant::now());
        let mut patience = wait.clamp(LEAST_WAIT, PATIENCE);
        loop {
            let Some((events, _)) = &mut running.events else { return Ok(()) };
            let Some(event) = events.next(patience)? else { return Ok(()) };
            self.counts.0 += 1;
            self.hear(running, event);
            patience = LEAST_WAIT;
            if Instant::now() >= until {
                return Ok(());
            }
        }
    }

    fn hear(&mut self, running: &mut Running, event: Event) {
        let hash = self.hasher.of(event.database, &event.key);
        match event.what {
            What::Gone(cause) => self.ghosts.gone(hash, cause, event.at_ms),
            What::Missed => {
                if running.prober.is_own_miss(&event.key, event.at_ms) {
                    return;
                }
                self.ghosts.missed(hash, event.at_ms);
                if event.database != self.database() || !self.ghosts.is_sampled(hash) {
                    return;
                }
                running.missed += 1;
                let now = Instant::now();
                if self.is_looked_at(running, hash, now) && running.fills.len() < MOST_FILLS {
                    running.fills.push_back((now + FILLED, event));
                }
            }
        }
    }

    /// Whether the fill of this key is to be looked at. As long as nothing is known of how many there
    /// are, so many a second are.
    fn is_looked_at(&self, running: &mut Running, hash: u64, now: Instant) -> bool {
        if let Some(limit) = self.looked_at {
            return hash <= limit;
        }
        let is_due = now >= running.fill_due;
        if is_due {
            let next = running.fill_due.max(now.checked_sub(FILLED).unwrap_or(now));
            running.fill_due = next + interval(1.0, self.plan.fills_per_second);
        }
        is_due
    }

    /// Looks at keys that were missed a while ago.
    fn look_at_fills(
        &mut self,
        running: &mut Running,
        looked: &mut impl FnMut(Looked),
    ) -> Result<(), Error> {
        let now = Instant::now();
        let due = running.fills.iter().take_while(|(due, _)| *due <= now).count();
        if due == 0 {
            return Ok(());
        }
        let keys: Vec<Vec<u8>> = running.fills.drain(..due).map(|(_, event)| event.key).collect();
        for batch in keys.chunks(BATCH) {
            for look in running.prober.look(batch, false, running.expires)? {
                let (hash, at_ms) = (self.hash(&look.key), now_ms());
                let kind = self.hash(prefix::of(&look.key));
                let expiry = look.ttl_ms.map_or(Expiry::Never, |left| Expiry::At(at_ms + left));
                if let Some(left_ms) = look.ttl_ms {
                    self.given.learn(kind, left_ms);
                }
                self.ghosts.learn(hash, look.bytes, expiry, at_ms);
                looked(self.seen(&look, false));
            }
        }
        Ok(())
    }

    fn draw(
        &mut self,
        running: &mut Running,
        looked: &mut impl FnMut(Looked),
    ) -> Result<(), Error> {
        let late = running.draw_due + PATIENCE < Instant::now();
        running.draw_due += interval(BATCH as f64, self.plan.draws_per_second);
        if late {
            // What could not be drawn in time is not made up for all at once.
            running.draw_due = running.draw_due.max(Instant::now());
        }
        if running.count_due <= Instant::now() {
            running.count_due = Instant::now() + COUNT_EVERY;
            running.count_keys()?;
        }
        for look in running.prober.draw(BATCH, running.expires)? {
            let seen = self.seen(&look, true);
            looked(seen);
            let Some(idle_s) = look.idle_s else { continue };
            let lifetime = seen
                .left_ms
                .map_or(Lifetime::Forever, |left_ms| Lifetime::Left(left_ms, seen.given_ms));
            self.ages.observe(Drawn { idle_s, bytes: look.bytes, lifetime });
        }
        Ok(())
    }

    /// The database of the connection.
    fn database(&self) -> u32 {
        self.instance.endpoint().database()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.of(self.database(), key)
    }

    fn seen(&self, look: &Look, is_drawn: bool) -> Looked {
        let kind = self.hash(prefix::of(&look.key));
        Looked {
            hash: self.hash(&look.key),
            kind,
            bytes: look.bytes,
            data_type: look.data_type,
            idle_s: look.idle_s,
            left_ms: look.ttl_ms,
            given_ms: look.ttl_ms.and_then(|_| self.given.get(kind)),
            is_drawn,
        }
    }

    fn end_block(&mut self, running: &mut Running) -> Result<(), Error> {
        let info = read_info(&mut running.prober)?;
        let settings = read_settings(&mut running.prober, &info)?;
        let now = Instant::now();
        let seconds = (now - running.begun).as_secs_f64();
        let counted = running.prober.counted();
        let own = |of: fn(&Counted) -> u64| (of(&counted) - of(&running.counted)) as f64;
        let delta = |number| {
            let of = |info: &Info| info.get(number).unwrap_or(0) as f64;
            of(&info) - of(&running.info)
        };
        let block = Block {
            seconds,
            hits: delta(Number::Hits) - own(|counted| counted.hits),
            misses: delta(Number::Misses) - own(|counted| counted.misses),
            evicted: delta(Number::Evicted),
            expired: delta(Number::Expired),
        };
        self.counts.1 += 1;
        // Counters that have begun again tell nothing of this block.
        let is_sound = block.hits >= 0.0 && block.misses >= 0.0 && block.evicted >= 0.0;
        if is_sound {
            if self.blocks.len() == BLOCKS {
                self.blocks.pop_front();
            }
            self.blocks.push_back(block);
        }
        let touches_per_second = if is_sound { (block.hits + block.misses) / seconds } else { 0.0 };
        if running.keys.1 < 1.0 {
            running.count_keys()?;
        }
        let keys = running.keys.0 / running.keys.1;
        running.keys = (0.0, 0.0);
        let traffic = Traffic { keys, touches_per_second };
        self.ages.finish_block_at(traffic, &self.rates, now_ms(), seconds);
        self.ghosts.next_block(now_ms());
        if running.missed > 0 {
            let share = self.plan.fills_per_second * seconds / running.missed as f64;
            self.looked_at = Some((share.clamp(0.0, 1.0) * u64::MAX as f64) as u64);
        }
        running.missed = 0;
        running.expires = info.keys().1 > 0;
        (running.begun, running.counted, running.info) = (now, counted, info.clone());
        self.last = Some((info, settings));
        let memory = self.present().as_ref().and_then(Memory::new);
        let scale =
            memory.zip(self.ages.mean_bytes()).map(|(memory, mean)| memory.key_bytes() / mean);
        self.scale = scale.filter(|scale| SCALES.contains(scale));
        Ok(())
    }
}

impl Running {
    /// Counts the keys that are there and have not expired.
    fn count_keys(&mut self) -> Result<(), Error> {
        let reply = self.prober.connection().call(&[b"INFO", b"keyspace"])?;
        let mut info = Info::default();
        info.read(reply.text().unwrap_or_default());
        let (keys, expiring) = info.keys();
        let stale = self.info.get(Number::Stale).unwrap_or(0) as f64 / 10_000.0;
        self.keys.0 += keys as f64 - expiring as f64 * stale;
        self.keys.1 += 1.0;
        Ok(())
    }
}
