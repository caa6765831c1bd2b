//! Watches an instance for a while and feeds the estimators: one thread, two connections.
//!
//! Between events it draws keys, and looks at some of the keys that have just been filled, for their
//! size and what time they were given. Those are chosen by hash, so that all fills of a key are looked
//! at or none: were it by turns, keys that never expire would become known one after the other, and
//! those that do would be forgotten again. In blocks of time it reads the sums of INFO, so that traffic,
//! ages and ghosts are those of the same time.
//!
//! Events cost the server 3 to 5 microseconds each: a cache that misses and evicts 10,000 times a
//! second pays 4 to 10 % of a core while it is watched. [`Plan::turnover`] says how long that needs to be.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use flyball_model::emulate::Policy;
use flyball_model::reuse::{
    Ages, BLOCKS, Curve, Drawn, Expiry, Ghosts, Lifetime, Memory, Misses, Present, Priors, Refused,
    Sampling, Traffic, curve,
};

use super::events::{Event, Events, Lease, What};
use super::hash::KeyHasher;
use super::prefix::{self, Given};
use super::probe::{BATCH, Counted, Prober};
use super::{LEAST_WAIT, now_ms};
use crate::redis::{Error, Info, Instance, Number, Reply};

/// A missed key has been filled by then, if it is filled at all.
const FILLED: Duration = Duration::from_millis(200);
/// Keys that wait to be looked at.
const MOST_FILLS: usize = 256;
/// What a server spends on the histogram of a command's times, from its first use on (measured, Redis
/// 7.0). `used_memory` has it and nothing tells it; a dozen of ours are 0.3 MB.
const HISTOGRAM_BYTES: f64 = 24_688.0;
/// What is believed of bytes of INFO for each byte of `MEMORY USAGE`.
const SCALES: std::ops::RangeInclusive<f64> = 0.9..=1.2;
/// Longest wait for an event: a deadline is looked at so often.
const PATIENCE: Duration = Duration::from_millis(100);

/// How closely to watch.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Keys drawn a second.
    pub draws_per_second: f64,
    /// Keys looked at a second after they were filled.
    pub fills_per_second: f64,
    /// Length of a block; [`BLOCKS`] are kept.
    pub block: Duration,
    /// Databases that are heard.
    pub databases: Vec<u32>,
    /// How many ghosts are kept.
    pub sampling: Sampling,
    /// Where the setting of events is kept that was there before.
    pub lease_file: PathBuf,
}

/// What an instance did in one block, without our own lookups.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Block {
    /// Its length.
    pub seconds: f64,
    /// Reads that found their key.
    pub hits: f64,
    /// Reads that did not.
    pub misses: f64,
    /// Keys evicted.
    pub evicted: f64,
    /// Keys expired.
    pub expired: f64,
}

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
    blocks: VecDeque<Block>,
    last: Option<(Info, Settings)>,
    /// Bytes of INFO for each byte of `MEMORY USAGE`.
    scale: Option<f64>,
    /// Keys whose fills are looked at have no larger hash (ghosts mix it before they choose, so one
    /// has nothing to do with the other); `None` before the first block.
    looked_at: Option<u64>,
}

/// Settings that decide what is evicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Settings {
    policy: Option<Policy>,
    samples: u32,
}

/// What runs during one watch.
struct Running {
    prober: Prober,
    events: Events,
    begun: Instant,
    info: Info,
    counted: Counted,
    draw_due: Instant,
    fill_due: Instant,
    fills: VecDeque<(Instant, Event)>,
    /// Misses of sampled keys in this block.
    missed: u64,
    expires: bool,
}

impl Plan {
    /// Fifty keys a second of each kind and blocks of ten seconds.
    pub fn new(lease_file: PathBuf) -> Self {
        Self {
            draws_per_second: 50.0,
            fills_per_second: 50.0,
            block: Duration::from_secs(10),
            databases: vec![0],
            sampling: Sampling::default(),
            lease_file,
        }
    }

    /// How long a watch must be to know twice the size: about 1.6 times the time in which as many
    /// keys are evicted as there are. `None` when nothing is evicted.
    pub fn turnover(present: &Present) -> Option<Duration> {
        let seconds = 1.6 * present.keys / present.evictions_per_second;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

impl Watch {
    /// Nothing is asked yet. `ghosts` is what an earlier agent has left, if anything.
    pub fn new(instance: Instance, hasher: KeyHasher, plan: Plan, ghosts: Option<Ghosts>) -> Self {
        let ghosts = ghosts.unwrap_or_else(|| Ghosts::new(plan.sampling));
        let (ages, given, blocks) = (Ages::default(), Given::default(), VecDeque::new());
        let (last, scale, looked_at) = (None, None, None);
        Self { instance, hasher, plan, ghosts, ages, given, blocks, last, scale, looked_at }
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
        let mut prober = Prober::open(&self.instance, false)?;
        let info = read_info(&mut prober)?;
        if info.mode == "cluster" {
            prober = Prober::open(&self.instance, true)?;
        }
        let events = Events::subscribe(&self.instance, &self.plan.databases)?;
        let lease = Lease::take(prober.connection(), self.plan.lease_file.clone())?;
        let now = Instant::now();
        let mut running = Running {
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
        };
        self.ghosts.open(now_ms());
        let result = self.go_on(&mut running, &mut is_over, &mut looked);
        self.ghosts.close(now_ms());
        let given_back = lease.give_back(running.prober.connection());
        result.and(given_back)
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

    fn go_on(
        &mut self,
        running: &mut Running,
        is_over: &mut impl FnMut() -> bool,
        looked: &mut impl FnMut(u64, u32),
    ) -> Result<(), Error> {
        let mut is_last = false;
        while !is_last {
            is_last = is_over();
            let now = Instant::now();
            if is_last || now >= running.begun + self.plan.block {
                self.end_block(running)?;
            }
            if now >= running.draw_due {
                self.draw(running, looked)?;
            }
            self.look_at_fills(running, looked)?;
            let due = running.draw_due.min(running.begun + self.plan.block);
            let wait = due.saturating_duration_since(Instant::now());
            let mut patience = wait.clamp(LEAST_WAIT, PATIENCE);
            // All that has come, then back to what is due.
            while let Some(event) = running.events.next(patience)? {
                self.hear(running, event);
                patience = LEAST_WAIT;
                if Instant::now() >= due {
                    break;
                }
            }
        }
        Ok(())
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
                if event.database != 0 || !self.ghosts.is_sampled(hash) {
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
        looked: &mut impl FnMut(u64, u32),
    ) -> Result<(), Error> {
        let now = Instant::now();
        let due = running.fills.iter().take_while(|(due, _)| *due <= now).count();
        if due == 0 {
            return Ok(());
        }
        let keys: Vec<Vec<u8>> = running.fills.drain(..due).map(|(_, event)| event.key).collect();
        for batch in keys.chunks(BATCH) {
            for look in running.prober.look(batch, false, running.expires)? {
                let (hash, at_ms) = (self.hasher.of(0, &look.key), now_ms());
                let kind = self.hasher.of(0, prefix::of(&look.key));
                let expiry = look.ttl_ms.map_or(Expiry::Never, |left| Expiry::At(at_ms + left));
                if let Some(left_ms) = look.ttl_ms {
                    self.given.learn(kind, left_ms);
                }
                self.ghosts.learn(hash, look.bytes, expiry, at_ms);
                self.tell(hash, look.bytes, looked);
            }
        }
        Ok(())
    }

    fn draw(
        &mut self,
        running: &mut Running,
        looked: &mut impl FnMut(u64, u32),
    ) -> Result<(), Error> {
        let late = running.draw_due + PATIENCE < Instant::now();
        running.draw_due += interval(BATCH as f64, self.plan.draws_per_second);
        if late {
            // What could not be drawn in time is not made up for all at once.
            running.draw_due = running.draw_due.max(Instant::now());
        }
        for look in running.prober.draw(BATCH, running.expires)? {
            self.tell(self.hasher.of(0, &look.key), look.bytes, looked);
            let Some(idle_s) = look.idle_s else { continue };
            let lifetime = look.ttl_ms.map_or(Lifetime::Forever, |left_ms| {
                let kind = self.hasher.of(0, prefix::of(&look.key));
                Lifetime::Left(left_ms, self.given.get(kind))
            });
            self.ages.observe(Drawn { idle_s, bytes: look.bytes, lifetime });
        }
        Ok(())
    }

    fn tell(&self, hash: u64, bytes: u32, looked: &mut impl FnMut(u64, u32)) {
        if let Some(scale) = self.scale {
            looked(hash, (f64::from(bytes) * scale) as u32);
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
        // Counters that have begun again tell nothing of this block.
        let is_sound = block.hits >= 0.0 && block.misses >= 0.0 && block.evicted >= 0.0;
        if is_sound {
            if self.blocks.len() == BLOCKS {
                self.blocks.pop_front();
            }
            self.blocks.push_back(block);
        }
        let live = |info: &Info| {
            let (keys, expiring) = info.keys();
            let stale = info.get(Number::Stale).unwrap_or(0) as f64 / 10_000.0;
            keys as f64 - expiring as f64 * stale
        };
        let touches_per_second = if is_sound { (block.hits + block.misses) / seconds } else { 0.0 };
        let keys = f64::midpoint(live(&running.info), live(&info));
        self.ages.finish_block(Traffic { keys, touches_per_second });
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

/// What INFO says at present.
fn read_info(prober: &mut Prober) -> Result<Info, Error> {
    let mut info = Info::default();
    for section in ["default", "latencystats"] {
        let reply = prober.connection().call(&[b"INFO", section.as_bytes()])?;
        info.read(reply.text().unwrap_or_default());
    }
    Ok(info)
}

fn read_settings(prober: &mut Prober, info: &Info) -> Result<Settings, Error> {
    let reply = prober.connection().call(&[b"CONFIG", b"GET", b"maxmemory-samples"])?;
    let samples = reply.parts().get(1).and_then(Reply::integer).unwrap_or(0);
    let samples = u32::try_from(samples).unwrap_or(0);
    Ok(Settings { policy: Policy::parse(&info.eviction_policy), samples })
}

/// Time between things of which so many are due each second.
fn interval(things: f64, per_second: f64) -> Duration {
    Duration::try_from_secs_f64(things / per_second).unwrap_or(Duration::MAX / 4)
}
