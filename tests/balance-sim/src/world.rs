//! Virtual time: requests, queues, windows.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};

use flyball_model::balance::law::{BackendWindow, shares};

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
    since_s: f64,
    done: u64,
    errors: u64,
    latency_s: f64,
}

impl Backend {
    fn note(&mut self, now_s: f64) {
        self.used_s += f64::from(self.busy) * (now_s - self.since_s);
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
            collector: Collector::new(scenario.control.clone(), weights.clone()),
            shares: shares(weights.iter().copied()),
            weights,
            under_way: VecDeque::new(),
            ends: BinaryHeap::new(),
            next_arrival_s: 0.0,
            number: 0,
            window: 0,
            rate: scenario.load * all.map(full).sum::<f64>(),
            recorder: Recorder::new(scenario),
            random,
        };
        // The first weights are configured, so what knows everything begins with what it knows.
        if let crate::scenario::Control::Ideal = scenario.control {
            world.decide(0.0, &[]);
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
            _ => 1.0 - self.background(backend),
        }
    }

    fn failing(&self, backend: usize) -> bool {
        backend == ONE && self.fault() == Some(Fault::FastFailing)
    }

    /// Shares that make all equally busy, whatever it is that uses them.
    fn ideal(&self, now_s: f64) -> Vec<f64> {
        let capacity = |backend: usize| {
            let there = self.present(backend) && !self.failing(backend);
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
        let control = &self.scenario.control;
        let own = &mut self.balancers[balancer];
        let backend = own.pick(control, &self.shares, &mut self.random);
        own.under_way[backend] += 1;
        let request = Request { arrived_s: now_s, balancer };
        if self.backends[backend].busy < WORKERS {
            self.serve(backend, request, now_s);
        } else {
            self.backends[backend].queue.push_back(request);
        }
    }

    fn serve(&mut self, backend: usize, request: Request, now_s: f64) {
        let failed = self.failing(backend);
        let served_s = SERVICE_S[backend % SERVICE_S.len()] / self.speed(backend, now_s);
        let mean_s = if failed { FAILURE_S } else { served_s };
        let at_s = now_s + self.random.exponential(mean_s);
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
        if !done.failed {
            self.recorder.request(self.window, latency_s);
        }
        if let Some(next) = self.backends[done.backend].queue.pop_front() {
            self.serve(done.backend, next, done.at_s);
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
            (kept.used_s, kept.done, kept.errors, kept.latency_s) = (0.0, 0, 0, 0.0);
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
        self.decide(now_s, &windows);
    }

    fn decide(&mut self, now_s: f64, windows: &[Option<BackendWindow>]) {
        self.window += 1;
        let ideal = self.ideal(now_s);
        self.window -= 1;
        if let Some(weights) = self.collector.decide(windows, &ideal, (now_s * 1_000.0) as i64) {
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
        let backend = &self.backends[at];
        let window_ms = (self.scenario.window_s * 1_000.0) as u64;
        let stale = missing && lost.1 < 0.5;
        Some(BackendWindow {
            id: name(at),
            requests: backend.done,
            errors: backend.errors,
            utilization: (!missing).then(|| (used * noise).max(0.001)),
            latency_ms: (backend.done > 0)
                .then(|| backend.latency_s / backend.done.max(1) as f64 * 1_000.0),
            age_ms: if stale { 2 * window_ms } else { 0 },
            is_new: self.scenario.fault == Fault::ColdBackend && at == ONE,
        })
    }
}
