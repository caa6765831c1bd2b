//! The collector of the simulation: from windows to weights.

use std::collections::BTreeMap;

use flyball_model::balance::envelope::{self, Band, Facts};
use flyball_model::balance::law::{self, BackendWindow, Law, PoolState, quantise};

use crate::scenario::Control;

/// Weights by backend; one that is not in the pool has 0.
pub(crate) type Weights = Vec<u16>;

/// Who decides, with its memory.
#[derive(Debug)]
pub(crate) struct Collector {
    control: Control,
    state: PoolState,
    weights: Weights,
    facts: Facts,
}

pub(crate) fn name(backend: usize) -> String {
    format!("b{backend:02}")
}

impl Collector {
    pub(crate) fn new(control: Control, weights: Weights, band: Option<(u16, u16)>) -> Self {
        let names: Vec<String> = (0..weights.len()).map(name).collect();
        let members = names.iter().zip(&weights).filter(|(_, weight)| **weight > 0);
        let state = PoolState::new(members.map(|(id, weight)| (id.as_str(), *weight)), 0);
        let bands = names.iter().filter_map(|id| {
            let (least, most) = band?;
            Some((id.clone(), Band { least, most }))
        });
        let facts = Facts { bands: bands.collect(), ..Facts::default() };
        Self { control, state, weights, facts }
    }

    /// What it wants to be in force.
    pub(crate) fn weights(&self) -> Weights {
        self.weights.clone()
    }

    /// It stops and starts again with what it has stored.
    pub(crate) fn restart(&mut self) {
        let stored = serde_json::to_vec(&self.state).expect("a state is plain data");
        self.state = serde_json::from_slice(&stored).expect("what was stored reads back");
        self.state.restarted();
    }

    /// What is to be in force after a window; `None`: nothing changes. `windows` has `None` for a backend that is not in the pool; `ideal` are the weights that one who knows all would set.
    pub(crate) fn decide(
        &mut self,
        windows: &[Option<BackendWindow>],
        ideal: &[f64],
        now_ms: i64,
    ) -> Option<Weights> {
        let present: Vec<BackendWindow> = windows.iter().flatten().cloned().collect();
        match self.control.clone() {
            Control::Law(law, envelope) | Control::LawRandom2(law, envelope) => {
                let outcome = Law::step(&law, &mut self.state, &present, now_ms);
                let verdict = envelope::guard(&envelope, &self.state, &outcome, &self.facts);
                self.state.settle(&verdict, now_ms);
                let weights = verdict.weights?;
                Some(self.take(&weights))
            }
            Control::Unguarded(law) => {
                let outcome = Law::step(&law, &mut self.state, &present, now_ms);
                if !matches!(outcome.push, law::Push::Due { .. }) {
                    return None;
                }
                let weights: BTreeMap<String, u16> =
                    outcome.backends.iter().map(|one| (one.id.clone(), one.weight)).collect();
                let verdict = envelope::Verdict {
                    weights: Some(weights.clone()),
                    reasons: Vec::new(),
                    shift: 0.0,
                    utilization: None,
                };
                self.state.settle(&verdict, now_ms);
                Some(self.take(&weights))
            }
            Control::Raw => Some(self.by(windows, |window| {
                let errors = window.errors as f64 / window.requests as f64;
                Some(window.requests as f64 / (window.utilization?.max(0.02) + errors))
            })),
            Control::InverseLatency => {
                Some(self.by(windows, |window| Some(1.0 / window.latency_ms?)))
            }
            Control::Ideal => {
                let weights = quantise(ideal);
                let weights = weights
                    .into_iter()
                    .zip(ideal)
                    .map(|(w, share)| if *share > 0.0 { w } else { 0 });
                self.weights = weights.collect();
                Some(self.weights.clone())
            }
            Control::Equal | Control::LeastConnections => {
                self.weights = windows.iter().map(|w| u16::from(w.is_some()) * 256).collect();
                Some(self.weights.clone())
            }
        }
    }

    fn take(&mut self, weights: &BTreeMap<String, u16>) -> Weights {
        self.weights = (0..self.weights.len())
            .map(|backend| weights.get(&name(backend)).copied().unwrap_or(0))
            .collect();
        self.weights.clone()
    }

    /// Weights in proportion to a number of each window; who has none keeps its weight.
    fn by(
        &mut self,
        windows: &[Option<BackendWindow>],
        number: impl Fn(&BackendWindow) -> Option<f64>,
    ) -> Weights {
        let numbers: Vec<Option<f64>> = windows
            .iter()
            .map(|window| number(window.as_ref()?).filter(|number| number.is_finite()))
            .collect();
        let most = numbers.iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
        let wanted: Vec<f64> = (numbers.iter().zip(&self.weights))
            .map(|(number, weight)| number.map_or(f64::from(*weight) / 256.0, |n| n / most))
            .collect();
        let weights = quantise(&wanted).into_iter().zip(windows);
        self.weights =
            weights.map(|(weight, window)| window.as_ref().map_or(0, |_| weight)).collect();
        self.weights.clone()
    }
}
