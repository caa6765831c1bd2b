//! How a balancer picks a backend.

use std::collections::VecDeque;

use crate::random::Random;
use crate::scenario::Control;

/// One balancer: what it has under way, and its turn.
#[derive(Debug, Clone)]
pub(crate) struct Balancer {
    /// Requests under way by backend.
    pub(crate) under_way: Vec<u32>,
    turn: Vec<f64>,
    /// Most requests under way by backend; empty: no limit.
    pub(crate) limits: Vec<u32>,
    /// When requests came that wait for any backend.
    pub(crate) waiting: VecDeque<f64>,
}

impl Balancer {
    /// Turns start anywhere: balancers do not go in step.
    pub(crate) fn new(backends: usize, random: &mut Random) -> Self {
        let turn = (0..backends).map(|_| random.unit()).collect();
        let waiting = VecDeque::new();
        Self { under_way: vec![0; backends], turn, limits: Vec::new(), waiting }
    }

    fn is_full(&self, backend: usize) -> bool {
        self.limits.get(backend).is_some_and(|limit| self.under_way[backend] >= *limit)
    }

    /// A backend that is not full, and whether one that is was passed over; no backend: all are full.
    pub(crate) fn pick_open(
        &mut self,
        control: &Control,
        weights: &[f64],
        random: &mut Random,
    ) -> (Option<usize>, bool) {
        let first = self.pick(control, weights, random);
        if !self.is_full(first) {
            return (Some(first), false);
        }
        let open = weights.iter().enumerate();
        let open: Vec<f64> =
            open.map(|(at, weight)| if self.is_full(at) { 0.0 } else { *weight }).collect();
        if open.iter().all(|weight| *weight <= 0.0) {
            return (None, true);
        }
        (Some(self.pick(control, &open, random)), true)
    }

    fn pick(&mut self, control: &Control, weights: &[f64], random: &mut Random) -> usize {
        match control {
            Control::LeastConnections => self.least(weights, random),
            Control::LawRandom2(..) => {
                let (first, second) = (draw(weights, random), draw(weights, random));
                if self.under_way[second] < self.under_way[first] { second } else { first }
            }
            _ => self.in_turn(weights),
        }
    }

    /// Smooth weighted round robin, as nginx and HAProxy do it. Weights are shares.
    fn in_turn(&mut self, weights: &[f64]) -> usize {
        let mut best = 0;
        let mut furthest = f64::NEG_INFINITY;
        for (at, (turn, weight)) in self.turn.iter_mut().zip(weights).enumerate() {
            *turn += weight;
            if *weight > 0.0 && *turn > furthest {
                (best, furthest) = (at, *turn);
            }
        }
        self.turn[best] -= 1.0;
        best
    }

    /// Idle backends rank equal, whatever their weights; chance decides among equals.
    fn least(&self, weights: &[f64], random: &mut Random) -> usize {
        let open = || (0..weights.len()).filter(|&at| weights[at] > 0.0);
        let least = open().map(|at| self.under_way[at]).min().unwrap_or(0);
        let count = open().filter(|&at| self.under_way[at] == least).count().max(1);
        let drawn = random.below(count);
        open().filter(|&at| self.under_way[at] == least).nth(drawn).unwrap_or(0)
    }
}

fn draw(weights: &[f64], random: &mut Random) -> usize {
    let mut left = random.unit() * weights.iter().sum::<f64>();
    for (at, weight) in weights.iter().enumerate() {
        left -= weight;
        if left < 0.0 {
            return at;
        }
    }
    weights.iter().rposition(|weight| *weight > 0.0).unwrap_or(0)
}
