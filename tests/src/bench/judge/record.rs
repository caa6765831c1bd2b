//! What a real Redis did, and long random pieces of it put together anew.
//!
//! *Stationary bootstrap* (Politis, Romano 1994): the record is read on from a random second, and in
//! each second with a small probability from another one, round to its beginning. Blocks of five
//! minutes on average keep what neighbouring windows share; single seconds drawn at random
//! would be as good as independent, which real hit ratios are not.

use std::sync::OnceLock;

use super::noise::Random;

/// Lines of requests and hits by server; how it was recorded is said at its head.
const RECORD: &str = include_str!("recorded.txt");
/// Mean length of a block, seconds.
const BLOCK: f64 = 300.0;
const SECONDS_OF_WINDOW: usize = 10;

/// One server's record.
#[derive(Debug)]
pub(super) struct Server {
    /// Load and policy.
    pub(super) name: String,
    /// Requests and hits of each second.
    pub(super) seconds: Vec<(u64, u64)>,
}

/// All servers.
pub(super) fn servers() -> &'static [Server] {
    static SERVERS: OnceLock<Vec<Server>> = OnceLock::new();
    SERVERS.get_or_init(|| parse(RECORD))
}

/// Lines that begin with `#` are for people, the first other one has names.
fn parse(text: &str) -> Vec<Server> {
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let names = lines.next().unwrap_or_default().split_whitespace();
    let mut servers: Vec<Server> =
        names.map(|name| Server { name: name.to_owned(), seconds: Vec::new() }).collect();
    for line in lines {
        let numbers: Vec<u64> = line.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        assert_eq!(numbers.len(), 2 * servers.len(), "two numbers for each server: {line}");
        for (server, pair) in servers.iter_mut().zip(numbers.chunks(2)) {
            server.seconds.push((pair[0], pair[1]));
        }
    }
    servers
}

impl Server {
    /// So many windows of 10 s: requests and hits.
    pub(super) fn resampled(&self, random: &mut Random, windows: usize) -> Vec<(u64, u64)> {
        let n = self.seconds.len();
        let mut at = 0;
        (0..windows * SECONDS_OF_WINDOW)
            .map(|second| {
                let jumps = second == 0 || random.unit() < 1.0 / BLOCK;
                at = if jumps { (random.unit() * n as f64) as usize % n } else { (at + 1) % n };
                self.seconds[at]
            })
            .collect::<Vec<_>>()
            .chunks(SECONDS_OF_WINDOW)
            .map(|seconds| seconds.iter().fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1)))
            .collect()
    }

    /// Mean misses as a share of all requests, and deviation of a window in shares of them.
    pub(super) fn noise(&self) -> (f64, f64) {
        let sums = self.seconds.iter().fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
        let misses = 1.0 - sums.1 as f64 / sums.0 as f64;
        let windows = self.seconds.chunks_exact(SECONDS_OF_WINDOW).map(|seconds| {
            let sums = seconds.iter().fold((0, 0), |sum, s| (sum.0 + s.0, sum.1 + s.1));
            1.0 - sums.1 as f64 / sums.0 as f64
        });
        let squares: Vec<f64> = windows.map(|share| (share - misses).powi(2)).collect();
        let variance = squares.iter().sum::<f64>() / squares.len() as f64;
        (misses, variance.sqrt() / misses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_keep_what_the_record_has() {
        for server in servers() {
            assert!(server.seconds.len() >= 600, "{}", server.name);
            assert!(server.seconds.iter().all(|(requests, hits)| hits <= requests));
            let (misses, noise) = server.noise();
            assert!(misses > 0.02 && noise > 0.005, "{}: {misses} {noise}", server.name);
            let piece = server.resampled(&mut Random::new(7), 4_000);
            let sums = piece.iter().fold((0, 0), |sum, w| (sum.0 + w.0, sum.1 + w.1));
            let there = 1.0 - sums.1 as f64 / sums.0 as f64;
            assert!((there / misses - 1.0).abs() < 0.15, "{}: {there} of {misses}", server.name);
        }
    }
}
