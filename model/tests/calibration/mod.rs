//! The judge's error rates on made-up and recorded noise. Shared by a test with few runs and an example
//! with many.
#![allow(dead_code, reason = "the test takes a part of it, the example another")]

pub(crate) mod growth;
pub(crate) mod noise;
pub(crate) mod rollouts;
pub(crate) mod whole;

use flyball_model::judge::{Judgement, Trial, Verdict, judge};

/// Verdicts on many trials, on so many threads, in the order of their seeds.
pub(crate) fn verdicts(
    trial: &(dyn Fn(u64) -> (Trial, i64) + Sync),
    runs: u64,
    threads: u64,
) -> Vec<Verdict> {
    per_seed(runs, threads, &|seed| {
        let (trial, until) = trial(seed);
        judge(&trial, until)
    })
}

/// One result for each seed, on so many threads.
pub(crate) fn per_seed<T: Send>(runs: u64, threads: u64, of: &(dyn Fn(u64) -> T + Sync)) -> Vec<T> {
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

/// Share of the verdicts that say so, and their median windows.
pub(crate) fn share(verdicts: &[Verdict], result: Judgement) -> (f64, u32) {
    let mut windows: Vec<u32> =
        verdicts.iter().filter(|v| v.result == result).map(|v| v.windows).collect();
    windows.sort_unstable();
    let share = windows.len() as f64 / verdicts.len() as f64;
    (share, windows.get(windows.len() / 2).copied().unwrap_or_default())
}
