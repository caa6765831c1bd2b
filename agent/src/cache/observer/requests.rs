//! What requests tell: which keys are hot, and what other policies would hit. Only where the settings let them be read.
//!
//! Two kinds of reading, each on a thread of its own beside the worker. A *burst* of half a second counts keys. A *session* goes on for as long as emulated servers need to settle,
//! and a while more in which they are compared with the real one; it is for servers with few requests only, since each costs the server 3.6 microseconds. Where the emulated present
//! server is not what the real one is nothing is said of others ([`MOST_RESIDUAL`](flyball_model::emulate::MOST_RESIDUAL)).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use flyball_model::backoff::Backoff;
use flyball_model::emulate::{Compared, Policy, Priors, Request, Settings, Trials, What};
use flyball_model::reuse::Present;
use flyball_proto::steering::{KeyFinding, PolicyEstimate};
use parking_lot::Mutex;

use super::hot::Hot;
use super::look::{Look, Since};
use super::schedule::Ledger;
use crate::cache::config::{Monitor, ObserveConfig};
use crate::cache::monitor::{Burst, End};
use crate::cache::now_ms;
use crate::cache::parse::Told;
use crate::cache::source::RequestSource;
use crate::recorder::overhead;
use crate::redis::{Error, Instance};

/// Time between two bursts, and between two sessions.
const BURST_EVERY: Duration = Duration::from_mins(5);
const SESSION_EVERY: Duration = Duration::from_hours(1);
/// Requests a second above which a session would take more than a hundredth of a core.
const MOST_PER_SECOND: f64 = 2_800.0;
/// Keys of the server that an emulation holds, about.
const KEYS: f64 = 16_384.0;
/// Reports for which emulated servers are compared.
const COMPARED: u32 = 12;
/// How long estimates are told.
const KEPT_MS: i64 = 6 * 3_600_000;
/// Share of commands that may be unknown.
const MOST_UNKNOWN: f64 = 0.05;
/// Pauses after something was refused.
const REFUSED: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// Time between two looks at the buffer in a session.
const SESSION_LOOK: Duration = Duration::from_millis(200);
/// Policies that are compared with the present one.
const POLICIES: [Policy; 3] = [Policy::AllkeysLru, Policy::AllkeysLfu, Policy::AllkeysRandom];

/// See the module.
#[derive(Debug)]
pub(super) struct Requests {
    mode: Monitor,
    instance: Instance,
    source: Arc<dyn RequestSource>,
    reading: Option<Reading>,
    burst_due: Instant,
    session_due: Instant,
    backoff: Backoff,
    longest: Duration,
    compared_ms: u64,
    hot: Vec<KeyFinding>,
    policies: Vec<PolicyEstimate>,
    at_ms: i64,
    reason: String,
    hot_reason: String,
}

/// A thread that reads.
#[derive(Debug)]
struct Reading {
    thread: JoinHandle<Result<End, Error>>,
    stop: Arc<AtomicBool>,
    fed: Arc<Mutex<Fed>>,
    accounted: u64,
    is_session: bool,
    /// Since when emulated servers are compared, and hits and misses of the real one since then.
    compared: Option<(u64, f64, f64)>,
}

/// What the thread feeds.
#[derive(Debug, Default)]
struct Fed {
    commands: u64,
    known: u64,
    unknown: u64,
    hot: Hot,
    trials: Option<(Trials, Vec<Policy>)>,
}

impl Fed {
    fn command(&mut self, told: Told, requests: &[Request]) {
        self.commands += 1;
        self.known += u64::from(told == Told::Known);
        self.unknown += u64::from(told == Told::Unknown);
        for request in requests {
            if request.what == What::Read {
                self.hot.count(request.key_hash);
            }
            if let Some((trials, _)) = &mut self.trials {
                trials.request(request);
            }
        }
    }
}

impl Requests {
    pub(super) fn new(
        instance: Instance,
        source: Arc<dyn RequestSource>,
        config: &ObserveConfig,
    ) -> Self {
        let (mode, now) = (instance.config().monitor, Instant::now());
        let never = match mode {
            Monitor::Never => "no request is read (monitor = \"never\")",
            Monitor::Guarded | Monitor::Always => "requests were not read yet",
        };
        let never = never.to_owned();
        Self {
            mode,
            instance,
            source,
            reading: None,
            burst_due: now,
            session_due: now,
            backoff: Backoff::new(REFUSED.0, REFUSED.1).expect("0 < floor <= cap"),
            longest: config.longest_window.0,
            compared_ms: (config.report.0 * COMPARED).as_millis() as u64,
            hot: Vec::new(),
            policies: Vec::new(),
            at_ms: 0,
            hot_reason: never.clone(),
            reason: never,
        }
    }

    /// True while requests are read.
    pub(super) const fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Hot keys.
    ///
    /// # Errors
    /// Why they are not known, in words.
    pub(super) fn hot(&self) -> Result<&[KeyFinding], &str> {
        if self.hot_reason.is_empty() { Ok(&self.hot) } else { Err(&self.hot_reason) }
    }

    /// What other policies would hit.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub(super) fn policies(&self) -> Result<&[PolicyEstimate], &str> {
        let is_new = !self.policies.is_empty() && now_ms() as i64 - self.at_ms < KEPT_MS;
        if is_new { Ok(&self.policies) } else { Err(&self.reason) }
    }

    /// The size of a key as INFO's sums have it.
    pub(super) fn learn(&self, hash: u64, bytes: u32) {
        let Some(reading) = self.reading.as_ref().filter(|reading| reading.is_session) else {
            return;
        };
        if let Some((trials, _)) = &mut reading.fed.lock().trials {
            trials.learn(hash, bytes);
        }
    }

    /// What was learned is of another server, or of this one under other settings.
    pub(super) fn forget(&mut self) {
        self.stop();
        self.policies.clear();
        self.hot.clear();
        self.session_due = Instant::now();
        if self.mode != Monitor::Never {
            "requests were not read since the settings were changed".clone_into(&mut self.reason);
        }
    }

    /// Ends what runs.
    pub(super) fn stop(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.stop.store(true, Ordering::Relaxed);
            // It ends within a hundredth of a second, or when its call has.
            let _ = reading.thread.join();
        }
    }

    /// Ends a reading that is over, and begins to read where that is due. `is_free`: nothing else is being heard.
    pub(super) fn look(
        &mut self,
        look: &Look,
        present: Option<Present>,
        ledger: &mut Ledger,
        is_free: bool,
    ) {
        if self.mode == Monitor::Never {
            return;
        }
        let Some(since) = look.since else { return };
        if self.reading.as_ref().is_some_and(|reading| reading.thread.is_finished()) {
            self.finish();
        }
        let now = Instant::now();
        if self.reading.is_none() && is_free && ledger.debt_s <= 0.0 {
            if now >= self.session_due && self.begin_session(look, present, &since) {
                self.session_due = now + SESSION_EVERY;
            } else if now >= self.burst_due {
                self.burst_due = now + BURST_EVERY;
                self.begin(None);
            }
        }
    }

    /// Takes what was read since the look before.
    pub(super) fn account(&mut self, since: &Since, ledger: &mut Ledger) {
        let Some(reading) = &mut self.reading else { return };
        let fed = reading.fed.lock();
        let commands = fed.commands - std::mem::replace(&mut reading.accounted, fed.commands);
        ledger.read(commands, self.source.command_s());
        let Some((trials, _)) = &fed.trials else { return };
        match &mut reading.compared {
            Some((from_ms, hits, misses)) => {
                (*hits, *misses) = (*hits + since.hits, *misses + since.misses);
                if now_ms() - *from_ms > self.compared_ms {
                    reading.stop.store(true, Ordering::Relaxed);
                }
            }
            none if trials.settled_ms().is_some_and(|settled| settled <= now_ms()) => {
                *none = Some((now_ms(), 0.0, 0.0));
            }
            _ => {}
        }
    }

    /// True when emulated servers are fed from now on.
    fn begin_session(&mut self, look: &Look, present: Option<Present>, since: &Since) -> bool {
        if self.mode != Monitor::Always {
            "a full server is not read, and where nothing is evicted no policy decides anything (monitor = \"guarded\")".clone_into(&mut self.reason);
            return false;
        }
        let rate = since.requests() / since.seconds;
        if rate > MOST_PER_SECOND {
            self.reason = format!(
                "{rate:.0} requests a second are too many to read: each costs the server 3.6 microseconds"
            );
            return false;
        }
        let Some(watched) = present else {
            "where its memory goes is not known yet".clone_into(&mut self.reason);
            return false;
        };
        let Some(present) = settings(look, &watched) else {
            self.reason = format!("{} is not emulated", look.info.eviction_policy);
            return false;
        };
        if since.evicted <= 0.0 {
            "nothing is evicted, so no policy decides anything".clone_into(&mut self.reason);
            return false;
        }
        let others: Vec<_> =
            POLICIES.into_iter().filter(|policy| *policy != present.policy).collect();
        let of = |policy: &Policy| Settings { policy: *policy, ..present };
        let trials = Trials::new(present, &others.iter().map(of).collect::<Vec<_>>());
        "requests are being read".clone_into(&mut self.reason);
        self.begin(Some((trials, others)))
    }

    fn begin(&mut self, trials: Option<(Trials, Vec<Policy>)>) -> bool {
        let is_session = trials.is_some();
        let fed = Arc::new(Mutex::new(Fed { trials, ..Fed::default() }));
        let stop = Arc::new(AtomicBool::new(false));
        let mut bounds = Burst::default();
        if self.mode == Monitor::Always {
            // That it is full is known and allowed.
            bounds.most_used = f64::INFINITY;
        }
        if is_session {
            (bounds.longest, bounds.look_every) = (self.longest, SESSION_LOOK);
        }
        let (source, own, is_over) =
            (Arc::clone(&self.source), Arc::clone(&fed), Arc::clone(&stop));
        let name = format!("read-{}", self.instance.name());
        let thread = std::thread::Builder::new().name(name).stack_size(super::STACK_BYTES).spawn(
            move || {
                let mut each = |told, requests: &[Request]| own.lock().command(told, requests);
                let result = source.read(&bounds, &is_over, &mut each);
                // All that this thread has done.
                let mut counted = Duration::ZERO;
                overhead::amortize(&mut counted);
                result
            },
        );
        match thread {
            Ok(thread) => {
                let (accounted, compared) = (0, None);
                self.reading = Some(Reading { thread, stop, fed, accounted, is_session, compared });
                true
            }
            Err(error) => {
                self.reason = error.to_string();
                false
            }
        }
    }

    fn finish(&mut self) {
        let Some(reading) = self.reading.take() else { return };
        let result = reading.thread.join();
        match result {
            Ok(Ok(End::Time)) => self.backoff.reset(),
            Ok(Ok(end)) => {
                self.instance.observed().guarded();
                let why = match end {
                    End::Full => "the server is nearly full",
                    _ => "the server's buffer for them grew",
                };
                self.reason = format!("requests were not read, or not to the end: {why}");
            }
            Ok(Err(error)) => {
                self.instance.observed().refused();
                self.reason = error.to_string();
                let pause = self.backoff.next_delay(rand::random());
                self.session_due = self.session_due.max(Instant::now() + pause);
                self.burst_due = self.burst_due.max(Instant::now() + pause);
            }
            Err(_) => "reading requests has failed".clone_into(&mut self.reason),
        }
        let fed = std::mem::take(&mut *reading.fed.lock());
        match fed.hot.found() {
            Some(found) => (self.hot, self.hot_reason) = (found, String::new()),
            None if self.hot.is_empty() => self.hot_reason.clone_from(&self.reason),
            None => {}
        }
        if reading.is_session {
            self.compare(&fed, reading.compared);
        }
    }

    fn compare(&mut self, fed: &Fed, compared: Option<(u64, f64, f64)>) {
        let (known, unknown) = (fed.known as f64, fed.unknown as f64);
        let (Some((from_ms, hits, misses)), Some((trials, others))) = (compared, &fed.trials)
        else {
            self.reason = format!("{known:.0} requests were read, and that was not long enough");
            return;
        };
        if unknown > MOST_UNKNOWN * (known + unknown) {
            self.reason = format!("{unknown:.0} of the commands cannot be emulated");
            return;
        }
        let measured = hits / (hits + misses);
        match trials.compare(from_ms, measured, &Priors::default()) {
            Ok(all) => {
                self.policies = all
                    .iter()
                    .zip(others)
                    .filter_map(|(c, policy)| estimate(c, *policy, measured))
                    .collect();
                self.at_ms = now_ms() as i64;
            }
            Err(withheld) => self.reason = withheld.to_string(),
        }
    }
}

/// What is predicted is what was measured plus the paired difference.
fn estimate(compared: &Compared, policy: Policy, measured: f64) -> Option<PolicyEstimate> {
    let delta = |value: f64| value.clamp(-1.0, 1.0);
    let level = |delta: f64| (measured + delta).clamp(0.0, 1.0);
    let Compared { delta: paired, low, high, .. } = *compared;
    let is_sound = [paired, low, high, measured].into_iter().all(f64::is_finite);
    is_sound.then(|| PolicyEstimate {
        policy: policy.as_str().to_owned(),
        hit_ratio: level(paired),
        low: level(low),
        high: level(high),
        paired_delta: delta(paired),
        delta_low: delta(low),
        delta_high: delta(high),
    })
}

/// The server as it is emulated; `None` for policies that are not.
fn settings(look: &Look, watched: &Present) -> Option<Settings> {
    let policy = Policy::parse(&look.info.eviction_policy)?;
    if !POLICIES.contains(&policy) || look.facts.max_bytes == 0 {
        return None;
    }
    let setting = |name: &str| look.settings.get(name)?.parse::<u32>().ok();
    let plain = Settings::new(policy, look.facts.max_bytes);
    Some(Settings {
        base_bytes: (watched.startup_bytes + watched.buffer_bytes) as u64,
        samples: setting("maxmemory-samples").map_or(plain.samples, |samples| samples as usize),
        lfu_log_factor: setting("lfu-log-factor").map_or(plain.lfu_log_factor, f64::from),
        lfu_decay_minutes: setting("lfu-decay-time").unwrap_or(plain.lfu_decay_minutes),
        rate: (KEYS / look.facts.keys.max(1) as f64).min(1.0),
        ..plain
    })
}

impl Drop for Requests {
    fn drop(&mut self) {
        self.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::redis::RedisConfig;

    /// Requests as they were written down, and a command that nobody knows.
    #[derive(Debug)]
    struct Recorded(Vec<Request>);

    impl RequestSource for Recorded {
        fn command_s(&self) -> f64 {
            0.5
        }

        fn read(
            &self,
            _: &Burst,
            is_over: &AtomicBool,
            each: &mut (dyn FnMut(Told, &[Request]) + Send),
        ) -> Result<End, Error> {
            for request in self.0.iter().take_while(|_| !is_over.load(Ordering::Relaxed)) {
                each(Told::Known, std::slice::from_ref(request));
            }
            each(Told::Unknown, &[]);
            Ok(End::Time)
        }
    }

    fn since() -> Since {
        Since { seconds: 1.0, hits: 0.0, misses: 0.0, evicted: 0.0, expired: 0.0, cpu_s: 0.0 }
    }

    #[test]
    fn requests_of_any_source_tell_hot_keys_and_what_they_cost() {
        let config = RedisConfig { monitor: Monitor::Guarded, ..RedisConfig::default() };
        let config = RedisConfig { url: "redis://h".to_owned(), ..config };
        let instance = Instance::new(config, Path::new("/nonexistent")).unwrap();
        // One key in ten requests is written, which does not make it hot.
        let request = |i: u64| Request {
            at_ms: i,
            key_hash: if i.is_multiple_of(2) { 7 } else { 1_000 + i },
            what: if i.is_multiple_of(10) { What::Delete } else { What::Read },
        };
        let source = Recorded((0..2_000).map(request).collect());
        let mut requests = Requests::new(instance, Arc::new(source), &ObserveConfig::default());
        assert_eq!(requests.hot(), Err("requests were not read yet"));
        assert!(requests.begin(None) && requests.is_reading());
        let reading = requests.reading.as_mut().unwrap();
        while !reading.thread.is_finished() {
            std::thread::yield_now();
        }
        let mut ledger = Ledger::default();
        requests.account(&since(), &mut ledger);
        assert!((ledger.debt_s - 2_001.0 / 2.0).abs() < 1e-9, "{}", ledger.debt_s);
        requests.account(&since(), &mut ledger);
        assert!((ledger.debt_s - 2_001.0 / 2.0).abs() < 1e-9, "nothing is paid for twice");
        requests.finish();
        let hot = requests.hot().unwrap();
        assert_eq!((hot.len(), &*hot[0].key_hash), (1, "0000000000000007"));
        assert!((hot[0].share_of_requests - 800.0 / 1_800.0).abs() < 0.01, "{hot:?}");
        assert!(!requests.is_reading());
    }
}
