//! One cache under observation: looks, draws, hears and reports, all on one thread.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_model::backoff::Backoff;
use flyball_model::reuse::Sampling;
use flyball_proto::steering::{
    CacheReport, CacheState, HitCurve, MAX_REASON_BYTES, Settings, Target, clip,
};

use super::Stop;
use super::estimate::{self, Change};
use super::findings::Findings;
use super::look::{Look, Looker, Regime};
use super::requests::Requests;
use super::schedule::{Heard, Ledger, Limits};
use super::state::{self, Saved};
use crate::cache::config::{Observe, ObserveConfig};
use crate::cache::hash::KeyHasher;
use crate::cache::source::MonitorSource;
use crate::cache::watch::{Looked, Plan, Running, Watch};
use crate::cache::{events, now_ms};
use crate::recorder::overhead;
use crate::redis::{Error, Instance, State};
use crate::steer::outbox::Outbox;
use crate::steer::redis::KIND;
use crate::steer::redis::host::Host;

mod report;
mod window;

use report::{Known, SAVE_EVERY};
use window::Window;

/// Pauses between two attempts to reach a server.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Pauses before something is tried again that was refused.
const REFUSED: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(1));
/// Looks for each block of ages, and for each while a trial runs.
const BLOCK_LOOKS: (u32, u32) = (6, 1);
/// Weight of a look in what a request is believed to take.
const NEW: f64 = 0.2;

/// One way of learning, and whether it may be used.
#[derive(Debug)]
struct Tap {
    watch: Watch,
    running: Option<Running>,
    /// Refused, until then.
    pause: Option<Instant>,
    reason: String,
    backoff: Backoff,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Worker {
    instance: Instance,
    level: Observe,
    limits: Limits,
    report_every: Duration,
    outbox: Arc<Outbox>,
    target: Target,
    files: (PathBuf, PathBuf),
    looker: Looker,
    ages: Tap,
    events: Tap,
    window: Option<Window>,
    ledger: Ledger,
    /// The run and the regime that all that is known is of, and since when.
    of: Option<(String, Regime, Instant)>,
    saved: Option<Saved>,
    /// What a request takes of the server's time, in seconds.
    request_s: f64,
    known: Known,
    findings: Findings,
    requests: Requests,
    resting: &'static str,
    ages_curve: Result<HitCurve, String>,
    ages_ended: u64,
    /// Keys are as old as the traffic makes them, under the present settings.
    is_ripe: bool,
    backoff: Backoff,
    look_due: Instant,
    looked_at: Instant,
    save_due: Instant,
    state: Option<CacheState>,
}

impl Tap {
    fn new(watch: Watch) -> Self {
        let backoff = Backoff::new(REFUSED.0, REFUSED.1).expect("0 < floor <= cap");
        Self { watch, running: None, pause: None, reason: String::new(), backoff }
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.pause.is_some_and(|until| now < until)
    }

    fn refused(&mut self, error: &Error) {
        self.reason = error.to_string();
        self.pause = Some(Instant::now() + self.backoff.next_delay(rand::random()));
    }

    fn works(&mut self) {
        (self.pause, self.reason) = (None, String::new());
        self.backoff.reset();
    }
}

impl Worker {
    pub(super) fn new(
        instance: Instance,
        config: &ObserveConfig,
        hasher: KeyHasher,
        dir: &Path,
        host: Host,
        outbox: Arc<Outbox>,
    ) -> Self {
        let name = instance.name();
        let (lease, file) = (super::lease_file(dir, name), state::file(dir, name));
        let saved = state::load(&file);
        let sampling = Sampling { max_keys: config.most_keys as usize, max_rate: 1.0 };
        let databases = vec![instance.endpoint().database()];
        let plan = Plan { databases, sampling, ..Plan::new(lease.clone()) };
        let watch = || Watch::new(instance.clone(), hasher, plan.clone(), None);
        let mut ledger = Ledger::default();
        if let Some(saved) = &saved {
            ledger = Ledger { debt_s: saved.debt_s, event_s: saved.event_s };
            // Nobody knows what could have been spent meanwhile; something, in any case.
            let away = Duration::from_millis(now_ms().saturating_sub(saved.at_ms));
            ledger.rest(away, config.limits().spare(0.0, config.report.0));
        }
        let source = MonitorSource::new(instance.clone(), hasher);
        let now = Instant::now();
        Self {
            level: instance.config().observe,
            limits: config.limits(),
            report_every: config.report.0,
            outbox,
            target: Target::new(KIND, name),
            files: (lease, file),
            looker: Looker::new(instance.clone(), host),
            ages: Tap::new(watch()),
            events: Tap::new(watch()),
            window: None,
            ledger,
            of: None,
            saved,
            request_s: 0.0,
            known: Known::default(),
            findings: Findings::default(),
            requests: Requests::new(instance.clone(), Arc::new(source), config),
            resting: "events were not heard yet",
            ages_curve: Err("no keys were drawn yet".to_owned()),
            ages_ended: 0,
            is_ripe: false,
            backoff: Backoff::new(RETRY.0, RETRY.1).expect("0 < floor <= cap"),
            look_due: now,
            looked_at: now,
            save_due: now + SAVE_EVERY,
            state: None,
            instance,
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self, stop: &Stop) {
        if self.level != Observe::Off {
            self.instance.observed().begin();
        }
        let mut cpu = Duration::ZERO;
        while !stop.is_set() {
            overhead::amortize(&mut cpu);
            if Instant::now() >= self.look_due {
                self.look();
            }
            if self.level == Observe::Off && !self.files.0.exists() {
                return;
            }
            self.draw();
            self.listen();
            if Instant::now() >= self.save_due {
                self.save();
            }
            if self.window.is_none() {
                stop.wait_until(self.due());
            }
        }
        self.requests.stop();
        self.close_window();
        self.save();
    }

    /// When there is something to do next.
    fn due(&self) -> Instant {
        let ages = self.ages.running.as_ref().map(|running| self.ages.watch.due(running));
        ages.map_or(self.look_due, |ages| ages.min(self.look_due))
    }

    fn look(&mut self) {
        let result = self.looker.look();
        let now = Instant::now();
        let passed = now.saturating_duration_since(std::mem::replace(&mut self.looked_at, now));
        match result {
            Ok(look) if look.is_loading() => {
                self.down(CacheState::Loading, "it reads its data from the disk");
            }
            Ok(look) => {
                self.backoff.reset();
                self.look_due = now + self.report_every;
                self.up(&look, passed);
            }
            Err(error) => self.down(state_of(error.state()), &error.to_string()),
        }
    }

    /// The server is not to be had.
    fn down(&mut self, state: CacheState, reason: &str) {
        self.close_window();
        self.requests.stop();
        self.ages.running = None;
        self.look_due = Instant::now() + self.backoff.next_delay(rand::random());
        let mut report = CacheReport::new(self.target.clone(), state, now_ms() as i64);
        report.reason = clip(reason, MAX_REASON_BYTES);
        self.publish(report);
    }

    fn up(&mut self, look: &Look, passed: Duration) {
        self.give_back_old_lease();
        self.recognize(look);
        let cpu = self.account(look, passed);
        if self.level == Observe::Off {
            return;
        }
        let trial = self.trial(look);
        self.decide(look, cpu, trial.as_ref());
        self.report(look, trial.as_ref());
    }

    /// What an agent before this one has borrowed, or what could not be given back.
    fn give_back_old_lease(&mut self) {
        if self.window.is_some() || !self.files.0.exists() {
            return;
        }
        let Some(connection) = self.looker.connection() else { return };
        match events::restore(connection, &self.files.0) {
            Ok(true) => {
                tracing::info!(
                    cache = self.instance.name(),
                    "notify-keyspace-events was given back"
                );
            }
            Ok(false) => {}
            Err(error) => {
                self.instance.observed().refused();
                tracing::debug!(cache = self.instance.name(), %error, "notify-keyspace-events cannot be given back");
            }
        }
    }

    /// Forgets what was learned of another server, or of this one under other settings.
    fn recognize(&mut self, look: &Look) {
        let (run, regime, now) = (&look.info.run_id, look.regime(), Instant::now());
        match &self.of {
            Some((known_run, known, _)) if known_run == run && *known == regime => return,
            Some((known_run, known, _)) => {
                let is_same_regime = *known == regime;
                tracing::debug!(
                    cache = self.instance.name(),
                    is_same_run = known_run == run,
                    is_same_regime,
                    "what was learned is of another server"
                );
                self.close_window();
                self.ages.watch.forget();
                self.events.watch.forget();
                self.requests.forget();
                (self.ages.running, self.is_ripe) = (None, false);
                self.ages_curve = Err("keys are drawn since the settings were changed".to_owned());
                if !is_same_regime {
                    self.known = Known::default();
                    self.instance.attribution().set(None);
                }
            }
            None => self.remember(run, &regime),
        }
        self.of = Some((run.clone(), regime, now));
    }

    /// What an agent before this one has learned.
    fn remember(&mut self, run: &str, regime: &Regime) {
        let Some(saved) = self.saved.take().filter(|saved| saved.regime == *regime) else { return };
        if let Some(report) = saved.report {
            self.known.curve = report.curve;
            self.known.misses = report.misses.map(|misses| (misses, report.measured_at_ms));
            if let Some(misses) = &report.misses {
                self.attribute(misses);
            }
        }
        if saved.run_id == run {
            if let Some(ghosts) = saved.ghosts {
                self.events.watch.ghosts = ghosts;
            }
            let [of_window, of_all] = saved.ages;
            self.events.watch.ages = of_window.unwrap_or_default();
            self.ages.watch.ages = of_all.unwrap_or_default();
        }
    }

    /// What was spent and what was earned since the look before. Returns the processor time that the server takes for others, as a share of a core.
    fn account(&mut self, look: &Look, passed: Duration) -> f64 {
        let Some(since) = &look.since else { return 0.0 };
        for tap in [&mut self.ages, &mut self.events] {
            tap.watch.served(since.seconds, since.requests());
        }
        let heard = self.events.watch.heard();
        let before = self.ledger.debt_s;
        self.requests.account(since, &mut self.ledger);
        let is_read = self.ledger.debt_s > before;
        match &mut self.window {
            Some(window) => {
                let events = (heard - std::mem::replace(&mut window.heard, heard)) as f64;
                let (requests, request_s) = (since.requests(), self.request_s);
                let (seconds, cpu_s) = (since.seconds, since.cpu_s);
                self.ledger.heard(&Heard { seconds, events, requests, cpu_s, request_s });
                self.instance.observed().heard(events as u64, since.time());
            }
            None if since.requests() >= 1.0 && !is_read => {
                let each = since.cpu_s / since.requests();
                let is_first = self.request_s <= 0.0;
                self.request_s =
                    if is_first { each } else { (1.0 - NEW) * self.request_s + NEW * each };
            }
            None => {}
        }
        let own_s = self.ledger.debt_s - before;
        let cpu = ((since.cpu_s - own_s) / since.seconds).max(0.0);
        let spare = self.limits.spare(cpu, self.report_every);
        self.ledger.rest(passed, spare);
        if self.ledger.debt_s > spare * self.limits.longest_rest.as_secs_f64() {
            // There is more to hear than was expected.
            self.close_window();
        }
        cpu
    }

    /// The settings before the trial that runs, and how they differ.
    fn trial(&self, look: &Look) -> Option<(Settings, Change, u64)> {
        let before = self.instance.trial().get()?;
        let (now, old) = (look.regime(), look.regime().with(&before));
        Some((before, Change::of(&old, &now), old.maxmemory))
    }

    /// Begins what may be begun and is not.
    fn decide(&mut self, look: &Look, cpu: f64, trial: Option<&(Settings, Change, u64)>) {
        let now = Instant::now();
        if look.is_replica() {
            self.close_window();
            self.ages.running = None;
            return;
        }
        let draws = self.limits.draws_per_second(cpu);
        let looks = if trial.is_some() { BLOCK_LOOKS.1 } else { BLOCK_LOOKS.0 };
        self.ages.watch.pace(draws, self.report_every * looks);
        if self.ages.running.is_none() && !self.ages.is_paused(now) {
            match self.ages.watch.start(false) {
                Ok(running) => self.ages.running = Some(running),
                Err(error) => self.trouble(&error, true),
            }
        }
        let is_free = self.window.is_none() && trial.is_none();
        let present = self.ages.watch.present();
        self.requests.look(look, present, &mut self.ledger, is_free);
        let is_told_by_ages =
            trial.is_some_and(|(_, change, _)| matches!(change, Change::Grown | Change::Other(_)));
        let is_free = self.window.is_none() && !self.requests.is_reading();
        let may_hear = self.level == Observe::Events && !is_told_by_ages && is_free;
        if let Some(since) = look.since.filter(|_| may_hear && !self.events.is_paused(now)) {
            self.decide_window(look, &since, cpu, draws);
        }
    }

    /// Draws keys where that is due.
    fn draw(&mut self) {
        let Some(running) = &mut self.ages.running else { return };
        let mut all: Vec<Looked> = Vec::new();
        let result = self.ages.watch.step(running, Instant::now(), &mut |look| all.push(look));
        for looked in all {
            if let Some(bytes) = self.ages.watch.in_sums(looked.bytes) {
                self.requests.learn(looked.hash, bytes);
            }
            self.findings.take(looked, Instant::now());
        }
        match result {
            Ok(()) => self.ages.works(),
            Err(error) => self.trouble(&error, true),
        }
        let ended = self.ages.watch.ended();
        if ended > std::mem::replace(&mut self.ages_ended, ended) {
            self.ages_curve = estimate::curve(&self.ages.watch);
        }
    }

    /// Something did not work: a part is refused, or the whole server is away.
    fn trouble(&mut self, error: &Error, is_of_ages: bool) {
        if is_of_ages {
            self.ages.running = None;
        } else {
            self.close_window();
        }
        let tap = if is_of_ages { &mut self.ages } else { &mut self.events };
        let is_refusal = error.state() == State::Denied;
        if is_refusal {
            let is_news = tap.reason.is_empty();
            tap.refused(error);
            self.instance.observed().refused();
            if is_news {
                let part = if is_of_ages { "ages" } else { "events" };
                tracing::info!(cache = self.instance.name(), part, %error, "redis refuses a part of what is observed");
            }
        } else {
            // Whoever looks now sees how the server is.
            tap.pause = Some(Instant::now() + self.report_every);
            self.look_due = Instant::now() + RETRY.0;
        }
    }
}

const fn state_of(state: State) -> CacheState {
    match state {
        State::Up => CacheState::Up,
        State::Unreachable => CacheState::Unreachable,
        State::Slow => CacheState::Slow,
        State::Loading => CacheState::Loading,
        State::Denied => CacheState::Denied,
    }
}
