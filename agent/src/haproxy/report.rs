//! From readings to reports: counts of a window, requests under way, what weights mean.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use flyball_proto::steering::{
    BackendGroup, BackendServer, BackendState, BalancerReport, BalancerState, MAX_BACKENDS,
    MAX_GROUPS, MAX_MISSING, MAX_NAME_BYTES, MAX_REASON_BYTES, Target, clip,
};

use super::meaning::{meaning, name};
use super::snapshot::{Line, Snapshot};
use super::{HaproxyError, KIND};
use crate::balance::{Counts, Mean, Window};

/// A backend and a server of it.
type Key = (String, String);

/// What was seen of one HAProxy so far.
#[derive(Debug)]
pub(super) struct Reports {
    target: Target,
    /// Counters of the last reading, when and of which process that was.
    last: Option<(Instant, String, HashMap<Key, Counts>)>,
    means: BTreeMap<Key, Mean>,
}

impl Reports {
    pub(super) fn new(name: &str) -> Self {
        Self { target: Target::new(KIND, name), last: None, means: BTreeMap::new() }
    }

    /// Takes note of requests under way at a server.
    pub(super) fn note(&mut self, group: &str, server: &str, in_flight: u32, at: Instant) {
        let key = (group.to_owned(), server.to_owned());
        self.means.entry(key).or_default().note(f64::from(in_flight), at);
    }

    /// What a reading says, in a report.
    pub(super) fn up(&mut self, snapshot: &Snapshot, at: Instant, now_ms: i64) -> BalancerReport {
        let before = self.last.take();
        let length = before.as_ref().map_or(Duration::ZERO, |(last, ..)| at - *last);
        let earlier = before.filter(|(_, process, _)| *process == snapshot.identity);
        let earlier = earlier.map(|(_, _, counts)| counts).unwrap_or_default();
        let mut counts = HashMap::new();
        let mut missing: Vec<String> = snapshot
            .missing
            .iter()
            .map(|group| format!("group {group}: HAProxy has no such backend"))
            .collect();
        let mut groups = Vec::new();
        let mut room = MAX_BACKENDS;
        for (backend, servers) in snapshot.groups() {
            let fits = groups.len() < MAX_GROUPS && servers.len() <= room;
            if servers.is_empty() || !fits || backend.proxy.len() > MAX_NAME_BYTES {
                if !servers.is_empty() {
                    missing.push(format!("group {}: more than is reported", backend.proxy));
                }
                continue;
            }
            room -= servers.len();
            let backends = servers.iter().map(|line| {
                let key = (line.proxy.clone(), line.service.clone());
                let now = line.counts();
                let window = Window {
                    counts: now.since(earlier.get(&key).copied().unwrap_or_default()),
                    length,
                    in_flight: self.means.get_mut(&key).and_then(Mean::take),
                    own_latency_ms: line.get("ttime").map(|ms| ms as f64).filter(|ms| *ms > 0.0),
                };
                counts.insert(key, now);
                server(line, &window)
            });
            groups.push(group(backend, backends.collect()));
        }
        if groups.iter().any(|group: &BackendGroup| group.algorithm.is_empty()) {
            let what = "algorithms: a socket of level user is not told, give it level operator";
            missing.insert(0, what.to_owned());
        }
        self.means.retain(|key, _| counts.contains_key(key));
        self.last = Some((at, snapshot.identity.clone(), counts));
        missing.truncate(MAX_MISSING);
        BalancerReport {
            version: clip(&snapshot.version, MAX_NAME_BYTES),
            process: clip(&snapshot.identity, MAX_NAME_BYTES),
            window_ms: length.as_millis().try_into().unwrap_or(u32::MAX),
            groups,
            missing,
            ..BalancerReport::new(self.target.clone(), BalancerState::Up, now_ms)
        }
    }

    /// A report that there is nothing, and why.
    pub(super) fn away(&mut self, error: &HaproxyError, now_ms: i64) -> BalancerReport {
        // Counts begin with the next reading: nobody knows what was between.
        self.last = None;
        self.means.clear();
        BalancerReport {
            reason: clip(&error.to_string(), MAX_REASON_BYTES),
            ..BalancerReport::new(self.target.clone(), error.state(), now_ms)
        }
    }
}

fn group(backend: &Line, backends: Vec<BackendServer>) -> BackendGroup {
    let (weights, note) = meaning(&backend.algorithm);
    BackendGroup {
        name: backend.proxy.clone(),
        limit: None,
        algorithm: clip(name(&backend.algorithm), MAX_NAME_BYTES),
        weights,
        weights_note: note.to_owned(),
        queue: number(backend, "qcur"),
        latency: None,
        backends,
    }
}

fn server(line: &Line, window: &Window) -> BackendServer {
    let known = line.server;
    let weight = known.map_or_else(|| number(line, "weight"), |known| known.weight);
    let mut backend = BackendServer {
        state: match known {
            Some(known) if known.is_maint() => BackendState::Maint,
            Some(known) if known.is_drained() => BackendState::Drain,
            Some(known) if !known.is_running => BackendState::Down,
            _ => BackendState::Ready,
        },
        weight_configured: known.map_or(weight, |known| known.weight_configured),
        queue: number(line, "qcur"),
        limit: line.limit(),
        ..BackendServer::new(&line.service, &line.address, weight)
    };
    window.fill(&mut backend);
    backend
}

fn number(line: &Line, column: &str) -> u32 {
    line.get(column).and_then(|number| number.try_into().ok()).unwrap_or(0)
}
