//! Which keys are asked for, how large they are and when they expire.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rand_distr::{Distribution as _, Exp1, StandardNormal, Zipf};

/// Exponent of the law of popularity.
const EXPONENT: f64 = 0.99;
/// Share of requests for sessions.
const SESSIONS: f64 = 0.35;
/// Requests for a session, on average.
const PER_SESSION: f64 = 12.0;
/// Sessions back from the newest that are asked for, on average, as a share of the other keys.
const RECENT: f64 = 0.025;
/// Logarithm of the middle size, and the spread of logarithms, of sized values.
const SIZE: (f64, f64) = (6.0, 1.1);
/// How much of the spread is popularity.
const POPULAR: f64 = 0.4;

/// A kind of workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// A: nothing changes.
    Still,
    /// B: sessions come and go.
    Drifting,
    /// C: keys expire.
    Expiring,
    /// D: sizes differ.
    Sized,
}

/// A workload at a rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// What it is like.
    pub kind: Kind,
    /// Keys, without sessions.
    pub keys: u64,
    /// Reads a second.
    pub per_second: f64,
    /// Decides on the order of requests.
    pub seed: u64,
}

/// One read, and how its key is filled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The key.
    pub key: String,
    /// Bytes of its value.
    pub value_len: usize,
    /// When the value expires.
    pub expiry: Expiry,
}

/// When a value expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Not.
    Never,
    /// So many seconds after it was written.
    After(u64),
    /// At the next full minute.
    Minute,
}

/// Requests without end.
#[derive(Debug)]
pub struct Workload {
    load: Load,
    random: StdRng,
    zipf: Zipf<f64>,
    newest: f64,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 4] = [Self::Still, Self::Drifting, Self::Expiring, Self::Sized];

    /// Its letter.
    pub const fn letter(self) -> &'static str {
        match self {
            Self::Still => "A",
            Self::Drifting => "B",
            Self::Expiring => "C",
            Self::Sized => "D",
        }
    }
}

impl Workload {
    /// The requests of a load.
    ///
    /// # Panics
    /// When there are no keys.
    pub fn new(load: Load) -> Self {
        let zipf = Zipf::new(load.keys as f64, EXPONENT).expect("there are keys");
        Self { load, random: StdRng::seed_from_u64(load.seed), zipf, newest: 0.0 }
    }

    /// The next request.
    pub fn next_request(&mut self) -> Request {
        if self.load.kind == Kind::Drifting && self.random.random_bool(SESSIONS) {
            self.newest += 1.0 / PER_SESSION;
            let back: f64 = Exp1.sample(&mut self.random);
            let id = (self.newest - back * RECENT * self.load.keys as f64).floor() as i64;
            let value_len = value_len(id as u64);
            return Request { key: format!("session:{id}"), value_len, expiry: Expiry::Never };
        }
        let rank = self.zipf.sample(&mut self.random) as u64;
        match self.load.kind {
            Kind::Still | Kind::Drifting => Request {
                key: format!("item:{rank}"),
                value_len: value_len(rank),
                expiry: Expiry::Never,
            },
            Kind::Expiring => {
                let (prefix, expiry) = match scatter(rank) % 5 {
                    0 => ("page", Expiry::After(15)),
                    1 => ("user", Expiry::After(60)),
                    2 => ("list", Expiry::After(300)),
                    3 => ("rates", Expiry::Minute),
                    _ => ("item", Expiry::Never),
                };
                Request { key: format!("{prefix}:{rank}"), value_len: value_len(rank), expiry }
            }
            Kind::Sized => Request {
                key: format!("item:{rank}"),
                value_len: sized(rank, self.load.keys),
                expiry: Expiry::Never,
            },
        }
    }
}

/// Bits that look random (Steele et al., SplitMix).
const fn scatter(number: u64) -> u64 {
    let x = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// 100 to 299 bytes.
const fn value_len(id: u64) -> usize {
    100 + (scatter(id) % 200) as usize
}

/// 50 bytes to 20 kB.
fn sized(rank: u64, keys: u64) -> usize {
    let own: f64 = StandardNormal.sample(&mut StdRng::seed_from_u64(scatter(rank)));
    // From -1.7 for the most popular key to 1.7 for the least.
    let popular = (2.0 * (rank as f64).ln() / (keys as f64).ln() - 1.0) * 1.7;
    let both = POPULAR * popular + (1.0 - POPULAR * POPULAR).sqrt() * own;
    (SIZE.0 + SIZE.1 * both).exp().clamp(50.0, 20_000.0) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    fn requests(kind: Kind, seed: u64, count: usize) -> Vec<Request> {
        let load = Load { kind, keys: 10_000, per_second: 1000.0, seed };
        let mut workload = Workload::new(load);
        (0..count).map(|_| workload.next_request()).collect()
    }

    #[test]
    fn a_seed_decides_on_the_order_and_on_nothing_else() {
        for kind in Kind::ALL {
            assert_eq!(requests(kind, 1, 100), requests(kind, 1, 100));
            let (one, other) = (requests(kind, 1, 20_000), requests(kind, 2, 20_000));
            assert_ne!(one, other);
            let known: HashMap<_, _> =
                one.iter().map(|r| (&r.key, (r.value_len, r.expiry))).collect();
            let shared =
                other.iter().filter_map(|r| Some((known.get(&r.key)?, (r.value_len, r.expiry))));
            assert!(shared.clone().count() > 5000);
            assert!(shared.into_iter().all(|(known, told)| *known == told), "{kind:?}");
        }
    }

    #[test]
    fn kinds_are_what_they_say() {
        let share = |requests: &[Request], is: &dyn Fn(&Request) -> bool| {
            requests.iter().filter(|request| is(request)).count() as f64 / requests.len() as f64
        };
        let still = requests(Kind::Still, 3, 20_000);
        assert!((share(&still, &|r| r.key == "item:1") - 0.1).abs() < 0.02);
        assert!(still.iter().all(|r| (100..300).contains(&r.value_len)));
        let drifting = requests(Kind::Drifting, 3, 20_000);
        assert!((share(&drifting, &|r| r.key.starts_with("session")) - 0.35).abs() < 0.02);
        let first: Vec<_> = drifting[..2000].iter().map(|r| &r.key).collect();
        let late = &drifting[18_000..];
        let sessions = late.iter().filter(|r| r.key.starts_with("session"));
        assert!(sessions.filter(|r| first.contains(&&r.key)).count() < 100, "they come and go");
        let expiring = requests(Kind::Expiring, 3, 20_000);
        for expiry in [Expiry::Never, Expiry::After(15), Expiry::After(300), Expiry::Minute] {
            assert!(share(&expiring, &|r| r.expiry == expiry) > 0.05, "{expiry:?}");
        }
        let sized = requests(Kind::Sized, 3, 20_000);
        assert!(sized.iter().all(|r| (50..=20_000).contains(&r.value_len)));
        let mean = sized.iter().map(|r| r.value_len as f64).sum::<f64>() / 20_000.0;
        let keys: HashMap<_, _> = sized.iter().map(|r| (&r.key, r.value_len as f64)).collect();
        let by_key = keys.values().sum::<f64>() / keys.len() as f64;
        assert!(mean < 0.8 * by_key, "popular ones are smaller: {mean} {by_key}");
    }
}
