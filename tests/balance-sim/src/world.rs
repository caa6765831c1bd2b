//! Virtual time: requests, queues, windows.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use flyball_model::balance::eject::{self, Evidence, Sight};
use flyball_model::balance::law::{BackendWindow, shares};
use flyball_model::balance::limits::{self, Flow};

use crate::collector::{Collector, Weights, name};
use crate::measure::{Outcome, Recorder, Seen};
use crate::pick::Balancer;
use crate::random::Random;
use crate::scenario::{BACKENDS, Fault, ONE, SERVICE_S, STEPPED, Scenario, WORKERS};

/// Part of a backend that something else uses in [`Fault::Antagonist`].
const ANTAGONIST: f64 = 0.3;
/// Part of reports that are missing in [`Fault::MissingReports`].
const MISSING: f64 = 0.2;
/// Time of a failed answer in [`Fault::FastFailing`].
const FAILURE_S: f64 = 0.001;
/// Part of the capacity that is left in [`Fault::Hung`] and [`Fault::Waits`].
const HUNG: f64 = 0.02;
/// Windows for which the collector is gone in [`Fault::Restart`].
const GONE: usize = 6;
/// How long a new backend is cold, and the part of its capacity that it then has.
const COLD: (f64, f64) = (30.0, 0.25);

#[derive(Debug, Clone, Copy)]
struct Request {
    arrived_s: f64,
    balancer: usize,
}

/// The end of a request.
#[derive(Debug)]
struct Done {
    at_s: f64,
    number: u64,
    backend: usize,
    request: Request,
    failed: bool,
}

impl PartialEq for Done {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}
impl Eq for Done {}
impl PartialOrd for Done {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Done {
    /// The earliest is the greatest: a heap gives that first.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at_s.total_cmp(&self.at_s).then(other.number.cmp(&self.number))
    }
}

#[derive(Debug, Default)]
struct Backend {
    queue: VecDeque<Request>,
    busy: u32,
    /// Worker-seconds in use of this window, up to `since_s`.
    used_s: f64,
    /// Seconds that requests waited in the queue in this window, up to `since_s`.
    queued_s: f64,
    since_s: f64,
    done: u64,
    errors: u64,
    latency_s: f64,
}

impl Backend {
    fn note(&mut self, now_s: f64) {
        self.used_s += f64::from(self.busy) * (now_s - self.since_s);
        self.queued_s += self.queue.len() as f64 * (now_s - self.since_s);
        self.since_s = now_s;
    }
}

/// A pool, its balancers and its collector.
pub(crate) struct World<'a> {
    scenario: &'a Scenario,
    random: Random,
    noise: Random,
    backends: Vec<Backend>,
    balancers: Vec<Balancer>,
    collector: Collector,
    /// What balancers do now, as shares.
    shares: Vec<f64>,
    weights: Weights,
    under_way: VecDeque<(f64, Weights)>,
    ends: BinaryHeap<Done>,
    next_arrival_s: f64,
    number: u64,
    /// The window that runs.
    window: usize,
    rate: f64,
    recorder: Recorder,
    /// Requests and errors of the window, by backend and balancer.
    sights: Vec<Vec<(u64, u64)>>,
    ejections: eject::State,
    /// Ejected at present.
    out: Vec<bool>,
    /// Was ejected and has come back.
    returned: Vec<bool>,
    /// Least mean latency of a window, by backend.
    quiet_ms: Vec<f64>,
}

/// Requests a second at full use, without fault.
fn full(backend: usize) -> f64 {
    f64::from(WORKERS) / SERVICE_S[backend % SERVICE_S.len()]
}

impl<'a> World<'a> {
    pub(crate) fn new(scenario: &'a Scenario) -> Self {
        let mut random = Random::new(scenario.seed);
        let balancers =
            (0..scenario.balancers).map(|_| Balancer::new(BACKENDS, &mut random)).collect();
        let all = 0..BACKENDS;
        let start: Vec<f64> =
            all.clone().map(|at| if scenario.equal_start { 1.0 } else { full(at) }).collect();
        let mut weights = flyball_model::balance::law::quantise(&start);
        if scenario.fault == Fault::ColdBackend {
            weights[ONE] = 0;
        }
        let mut world = Self {
            scenario,
            noise: Random::new(scenario.seed ^ 0xa5a5),
            backends: all.clone().map(|_| Backend::default()).collect(),
            balancers,
            collector: Collector::new(scenario.control.clone(), weights.clone(), scenario.band),
            shares: shares(weights.iter().copied()),
            weights,
            under_way: VecDeque::new(),
            ends: BinaryHeap::new(),
            next_arrival_s: 0.0,
            number: 0,
            window: 0,
            rate: scenario.load * all.map(full).sum::<f64>(),
            recorder: Recorder::new(scenario),
            sights: vec![vec![(0, 0); scenario.balancers]; BACKENDS],
            ejections: eject::State::default(),
            out: vec![false; BACKENDS],
            returned: vec![false; BACKENDS],
            quiet_ms: vec![f64::INFINITY; BACKENDS],
            random,
        };
        // The first weights are configured, so what knows everything begins with what it knows.
        if let crate::scenario::Control::Ideal = scenario.control {
            world.decide(0.0, &[], false);
            world.weights =
                world.under_way.pop_front().map_or(world.weights, |(_, weights)| weights);
            world.shares = shares(world.weights.iter().copied());
        }
        world
    }

    fn fault(&self) -> Option<Fault> {
        let always = matches!(self.scenario.fault, Fault::Antagonist | Fault::MissingReports);
        (always || self.window >= self.scenario.fault_at()).then_some(self.scenario.fault)
    }

    fn present(&self, backend: usize) -> bool {
        self.scenario.fault != Fault::ColdBackend
            || backend != ONE
            || self.window >= self.scenario.fault_at()
    }

    /// Part of its capacity that is used by something else.
    fn background(&self, backend: usize) -> f64 {
        match self.fault() {
            // One of each four, and not always of the same speed.
            Some(Fault::Antagonist) if (backend + backend / 4).is_multiple_of(4) => ANTAGONIST,
            _ => 0.0,
        }
    }

    /// Part of its speed that is left.
    fn speed(&self, backend: usize, now_s: f64) -> f64 {
        let begun_s = self.scenario.fault_at() as f64 * self.scenario.window_s;
        match self.fault() {
            Some(Fault::Step | Fault::Restart) if STEPPED.contains(&backend) => 0.5,
            Some(Fault::ColdBackend) if backend == ONE && now_s < begun_s + COLD.0 => COLD.1,
            Some(Fault::Hung(_) | Fault::Waits(_)) if self.hung(backend) => HUNG,
            _ => 1.0 - self.background(backend),
        }
    }

    fn hung(&self, backend: usize) -> bool {
        let Some(windows) = self.scenario.fault.hangs() else { return false };
        let begun = self.scenario.fault_at();
        let end = begun.saturating_add(windows);
        backend == ONE && (begun..end).contains(&self.window)
    }

    /// How long a request that begins now waits for a backend that does nothing at all.
    fn pause_s(&self, backend: usize, now_s: f64) -> f64 {
        let Fault::Pause(seconds) = self.scenario.fault else { return 0.0 };
        let begun_s = self.scenario.fault_at() as f64 * self.scenario.window_s;
        let is_in = backend == ONE && (begun_s..begun_s + seconds).contains(&now_s);
        if is_in { begun_s + seconds - now_s } else { 0.0 }
    }

    fn failing(&self, backend: usize) -> bool {
        backend == ONE && self.fault() == Some(Fault::FastFailing)
    }

    /// Shares that make all equally busy, whatever it is that uses them.
    fn ideal(&self, now_s: f64) -> Vec<f64> {
        let capacity = |backend: usize| {
            let there = self.present(backend) && !self.failing(backend) && !self.hung(backend);
            let speed = self.speed(backend, now_s) + self.background(backend);
            if there { full(backend) * speed } else { 0.0 }
        };
        let all = || 0..BACKENDS;
        let used: f64 = all().map(|at| capacity(at) * self.background(at)).sum();
        let level = (self.rate + used) / all().map(capacity).sum::<f64>();
        let wanted: Vec<f64> =
            all().map(|at| capacity(at) * (level - self.background(at)).max(0.0)).collect();
        let sum: f64 = wanted.iter().sum();
        wanted.into_iter().map(|share| share / sum).collect()
    }

    pub(crate) fn run(mut self) -> Outcome {
        for window in 0..self.scenario.windows {
            self.window = window;
            let end_s = (window + 1) as f64 * self.scenario.window_s;
            self.until(end_s);
            self.close(end_s);
        }
        self.recorder.finish()
    }

    fn until(&mut self, end_s: f64) {
        loop {
            let ends_s = self.ends.peek().map_or(f64::INFINITY, |done| done.at_s);
            let push_s = self.under_way.front().map_or(f64::INFINITY, |push| push.0);
            let next_s = self.next_arrival_s.min(ends_s).min(push_s);
            if next_s > end_s {
                return;
            }
            if push_s <= next_s {
                let (_, weights) = self.under_way.pop_front().expect("it was peeked");
                self.shares = shares(weights.iter().copied());
                self.weights = weights;
            } else if ends_s <= next_s {
                let done = self.ends.pop().expect("it was peeked");
                self.end(&done);
            } else {
                self.arrive(next_s);
                self.next_arrival_s = next_s + self.random.exponential(1.0 / self.rate);
            }
        }
    }

    fn arrive(&mut self, now_s: f64) {
        let balancer = self.random.below(self.balancers.len());
        self.send(Request { arrived_s: now_s, balancer }, now_s);
    }

    fn send(&mut self, request: Request, now_s: f64) {
        let control = &self.scenario.control;
        let own = &mut self.balancers[request.balancer];
        let (picked, throttled) = own.pick_open(control, &self.shares, &mut self.random);
        if !own.limits.is_empty() {
            self.recorder.limited(throttled);
        }
        let Some(backend) = picked else {
            own.waiting.push_back(request.arrived_s);
            return;
        };
        own.under_way[backend] += 1;
        if backend == ONE {
            let kept = &self.backends[ONE];
            self.recorder.at_one(self.window, kept.busy as usize + kept.queue.len() + 1);
        }
        if self.backends[backend].busy < WORKERS {
            self.serve(backend, request, now_s);
        } else {
            self.backends[backend].note(now_s);
            self.backends[backend].queue.push_back(request);
        }
    }

    fn serve(&mut self, backend: usize, request: Request, now_s: f64) {
        let failed = self.failing(backend);
        let served_s = SERVICE_S[backend % SERVICE_S.len()] / self.speed(backend, now_s);
        let mean_s = if failed { FAILURE_S } else { served_s };
        let at_s = now_s + self.pause_s(backend, now_s) + self.random.exponential(mean_s);
        self.backends[backend].note(now_s);
        self.backends[backend].busy += 1;
        self.number += 1;
        self.ends.push(Done { at_s, number: self.number, backend, request, failed });
    }

    fn end(&mut self, done: &Done) {
        let latency_s = done.at_s - done.request.arrived_s;
        self.balancers[done.request.balancer].under_way[done.backend] -= 1;
        let backend = &mut self.backends[done.backend];
        backend.note(done.at_s);
        backend.busy -= 1;
        backend.done += 1;
        backend.errors += u64::from(done.failed);
        backend.latency_s += latency_s;
        let sight = &mut self.sights[done.backend][done.request.balancer];
        *sight = (sight.0 + 1, sight.1 + u64::from(done.failed));
        if done.failed {
            self.recorder.failure();
        } else {
            self.recorder.request(self.window, latency_s);
        }
        if let Some(next) = self.backends[done.backend].queue.pop_front() {
            self.serve(done.backend, next, done.at_s);
        }
        let balancer = done.request.balancer;
        if let Some(arrived_s) = self.balancers[balancer].waiting.pop_front() {
            self.send(Request { arrived_s, balancer }, done.at_s);
        }
    }

    /// Ejects and restores; whether anything has changed.
    fn eject(&mut self, now_s: f64) -> bool {
        if !self.scenario.ejects {
            return false;
        }
        let sight = |(balancer, &(requests, errors)): (usize, &(u64, u64))| Sight {
            balancer: format!("lb{balancer}"),
            requests,
            errors,
        };
        let evidence = self.sights.iter().enumerate().map(|(at, sights)| Evidence {
            id: name(at),
            capacity_per_second: None,
            sights: sights.iter().enumerate().map(sight).collect(),
        });
        let evidence: Vec<Evidence> = evidence.collect();
        let now_ms = (now_s * 1_000.0) as i64;
        let settings = eject::Settings::default();
        let decision = eject::decide(&settings, &mut self.ejections, &evidence, now_ms);
        for at in 0..BACKENDS {
            let id = name(at);
            if decision.eject.iter().any(|one| one.id == id) {
                (self.out[at], self.returned[at]) = (true, false);
            }
            if decision.restore.contains(&id) {
                (self.out[at], self.returned[at]) = (false, true);
            }
        }
        !decision.eject.is_empty() || !decision.restore.is_empty()
    }

    /// Limits by what was measured up to now, for all that follows.
    fn limit(&mut self) {
        let settings = limits::Settings::default();
        for at in 0..BACKENDS {
            let rate = self.sights[at].iter().map(|sight| sight.0).sum::<u64>() as f64;
            let rate = rate / self.scenario.window_s;
            let total = limits::limit(&settings, rate, self.quiet_ms[at]);
            let flows = self.sights[at].iter().enumerate().map(|(balancer, sight)| Flow {
                balancer: format!("lb{balancer}"),
                under_way: sight.0 as f64,
            });
            let flows: Vec<Flow> = flows.collect();
            let split = limits::split(&settings, total.unwrap_or(settings.most), &flows);
            for (balancer, (_, part)) in self.balancers.iter_mut().zip(split.parts) {
                balancer.limits.push(part);
            }
        }
    }

    /// The end of a window: what was seen, and what follows from it.
    fn close(&mut self, now_s: f64) {
        let mut windows = Vec::new();
        let mut utilization = Vec::new();
        for at in 0..BACKENDS {
            self.backends[at].note(now_s);
            let room = self.scenario.window_s * f64::from(WORKERS);
            let background = self.background(at);
            let used = background + (1.0 - background) * self.backends[at].used_s / room;
            utilization.push(used);
            windows.push(self.report(at, used));
            let kept = &mut self.backends[at];
            (kept.used_s, kept.queued_s, kept.done, kept.errors, kept.latency_s) =
                (0.0, 0.0, 0, 0, 0.0);
        }
        for (quiet, window) in self.quiet_ms.iter_mut().zip(&windows) {
            let latency_ms = window.as_ref().and_then(|window| window.latency_ms);
            *quiet = quiet.min(latency_ms.unwrap_or(f64::INFINITY));
        }
        let is_other = self.eject(now_s);
        if self.scenario.limits && self.window + 1 == self.scenario.fault_at() {
            self.limit();
        }
        for sight in self.sights.iter_mut().flatten() {
            *sight = (0, 0);
        }
        for (at, window) in windows.iter_mut().enumerate() {
            if self.out[at] {
                *window = None;
            } else if let Some(window) = window {
                window.is_new |= self.returned[at];
            }
        }
        let ideal = self.ideal(now_s);
        self.recorder.window(Seen { shares: self.shares.clone(), ideal, utilization });
        let begun = self.scenario.fault_at();
        if self.scenario.fault == Fault::Restart {
            if (begun..begun + GONE).contains(&self.window) {
                return;
            }
            if self.window == begun + GONE {
                self.collector.restart();
            }
        }
        // What the next window will be is what is decided for.
        self.decide(now_s, &windows, is_other);
    }

    fn decide(&mut self, now_s: f64, windows: &[Option<BackendWindow>], is_other: bool) {
        self.window += 1;
        let ideal = self.ideal(now_s);
        self.window -= 1;
        let decided = self.collector.decide(windows, &ideal, (now_s * 1_000.0) as i64);
        if let Some(mut weights) = decided.or_else(|| is_other.then(|| self.collector.weights())) {
            for (weight, _) in weights.iter_mut().zip(&self.out).filter(|(_, out)| **out) {
                *weight = 0;
            }
            let delay_s = self.scenario.delay_windows * self.scenario.window_s;
            self.under_way.push_back((now_s + delay_s, weights));
        }
    }

    fn report(&mut self, at: usize, used: f64) -> Option<BackendWindow> {
        // It is known as soon as it is there, so that it gets a weight for its first window.
        let comes = self.window + 1 >= self.scenario.fault_at();
        if !self.present(at) && !comes {
            return None;
        }
        let noise = 1.0 + self.scenario.noise * self.noise.normal();
        let lost = (self.noise.unit(), self.noise.unit());
        let missing = self.fault() == Some(Fault::MissingReports) && lost.0 < MISSING;
        // Who waits for something else has a processor that does as little as it ends.
        let waits = matches!(self.scenario.fault, Fault::Waits(_)) && self.hung(at);
        let used = if waits { used * HUNG } else { used };
        let backend = &self.backends[at];
        let window_ms = (self.scenario.window_s * 1_000.0) as u64;
        let stale = missing && lost.1 < 0.5;
        let is_wrong = self.scenario.fault == Fault::WrongReport
            && at == ONE
            && self.window == self.scenario.fault_at();
        Some(BackendWindow {
            id: name(at),
            requests: backend.done,
            errors: backend.errors,
            utilization: (!missing).then(|| if is_wrong { 1.0 } else { (used * noise).max(0.001) }),
            latency_ms: (backend.done > 0)
                .then(|| backend.latency_s / backend.done.max(1) as f64 * 1_000.0),
            in_flight: Some((backend.used_s + backend.queued_s) / self.scenario.window_s),
            age_ms: if stale { 2 * window_ms } else { 0 },
            is_new: self.scenario.fault == Fault::ColdBackend && at == ONE,
        })
    }
}
