//! Many rollouts on all cores, and what can be said of a rate from so many of them.

/// One result for each seed, on so many threads, in their order.
pub(super) fn per_seed<T: Send>(runs: u64, threads: u64, of: &(dyn Fn(u64) -> T + Sync)) -> Vec<T> {
    let mut results: Vec<(u64, T)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let seeds = (0..runs).filter(move |seed| seed % threads == worker);
                scope.spawn(move || seeds.map(|seed| (seed, of(seed))).collect::<Vec<_>>())
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("no worker panics")).collect()
    });
    results.sort_by_key(|(seed, _)| *seed);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Some of many independent runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Share {
    /// Those that are meant.
    pub(super) of: u64,
    /// All.
    pub(super) all: u64,
}

impl Share {
    /// Those for which it holds.
    pub(super) fn count<T>(all: &[T], holds: impl Fn(&T) -> bool) -> Self {
        let of = all.iter().filter(|one| holds(one)).count() as u64;
        Self { of, all: all.len() as u64 }
    }

    /// Both together.
    pub(super) fn plus(self, other: Self) -> Self {
        Self { of: self.of + other.of, all: self.all + other.all }
    }

    /// As it is; 0 of nothing.
    pub(super) fn value(self) -> f64 {
        if self.all == 0 { 0.0 } else { self.of as f64 / self.all as f64 }
    }

    /// Upper limit of the true share, exceeded with a probability of 5 % (Clopper, Pearson 1934).
    pub(super) fn at_most(self) -> f64 {
        if self.of >= self.all {
            return 1.0;
        }
        // The share with which so few come about once in twenty.
        let (mut low, mut high) = (self.value(), 1.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if self.as_few(middle) > 0.05 {
                low = middle;
            } else {
                high = middle;
            }
        }
        high
    }

    /// Lower limit of the true share, missed with a probability of 5 %.
    pub(super) fn at_least(self) -> f64 {
        let rest = Self { of: self.all - self.of, all: self.all };
        1.0 - rest.at_most()
    }

    /// Probability of so few or fewer if the true share is `p`.
    fn as_few(self, p: f64) -> f64 {
        let n = self.all as f64;
        let mut logarithm = n * (-p).ln_1p();
        let mut sum = logarithm.exp();
        for k in 1..=self.of {
            let k = k as f64;
            logarithm += ((n - k + 1.0) / k).ln() + p.ln() - (-p).ln_1p();
            sum += logarithm.exp();
        }
        sum
    }
}

/// The middle one; `None` of nothing.
pub(super) fn median(mut values: Vec<u32>) -> Option<u32> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_those_of_the_tables() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 2e-4, "{a} is not {b}");
        close(Share { of: 0, all: 299 }.at_most(), 0.009_97);
        close(Share { of: 0, all: 10_000 }.at_most(), 0.000_3);
        close(Share { of: 5, all: 100 }.at_most(), 0.102_26);
        close(Share { of: 95, all: 100 }.at_least(), 0.897_74);
        close(Share { of: 7, all: 7 }.at_most(), 1.0);
        close(Share { of: 7, all: 7 }.at_least(), 0.651_8);
        close(Share::default().at_most(), 1.0);
    }
}
