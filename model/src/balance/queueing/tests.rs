//! Formulas against known values, and what is predicted against what was measured and simulated.

use proptest::prelude::*;

use super::backend::erlang_c;
use super::*;

fn load(requests_per_second: f64, balancers: u32, algorithm: Algorithm) -> Load {
    Load { requests_per_second, balancers, algorithm }
}

/// The pool of the measurements: 16 backends of 4 workers at 20, 20, 40 and 60 ms, with ideal shares.
fn measured() -> Vec<Server> {
    let capacity = |at: usize| 4.0 / [0.020, 0.020, 0.040, 0.060][at % 4];
    let capacities: Vec<f64> = (0..16).map(capacity).collect();
    let shares = ideal_shares(&capacities);
    let server = |(capacity, share): (&f64, f64)| Server {
        capacity_per_second: *capacity,
        workers: 4,
        share,
    };
    capacities.iter().zip(shares).map(server).collect()
}

fn total(servers: &[Server]) -> f64 {
    servers.iter().map(|server| server.capacity_per_second).sum()
}

#[test]
fn erlang_c_is_that_of_the_tables() {
    // One worker: C = utilisation. Two at 0.5: 1/3. Ten at 8 erlang: 0.4092.
    assert!((erlang_c(0.7, 1) - 0.7).abs() < 1e-12);
    assert!((erlang_c(1.0, 2) - 1.0 / 3.0).abs() < 1e-12);
    assert!((erlang_c(8.0, 10) - 0.4092).abs() < 1e-4);
}

#[test]
fn one_worker_is_exponential() {
    // M/M/1: sojourn is exponential with rate m - l: mean 1/30 s, p99 ln(100)/30 s.
    let one = [Server { capacity_per_second: 100.0, workers: 1, share: 1.0 }];
    let forecast = forecast(&one, &load(70.0, 1, Algorithm::RoundRobin)).unwrap();
    assert!((forecast.mean_ms.value - 1_000.0 / 30.0).abs() < 1e-6);
    assert!((forecast.p99_ms.value - 100.0_f64.ln() / 30.0 * 1_000.0).abs() < 0.01);
    assert!((forecast.worst_utilization - 0.7).abs() < 1e-12);
    assert!((forecast.max_over_mean - 1.0).abs() < 1e-12);
    assert!(forecast.p99_ms.low < forecast.p99_ms.value);
    assert!(forecast.p99_ms.high.unwrap() > forecast.p99_ms.value);
}

#[test]
fn ideal_weights_are_predicted_as_simulated() {
    // `make simulate`, ideal weights: p99 169, 179 and 225 ms with 8 balancers; a balancer's rounds are more even than chance.
    let servers = measured();
    for (part, simulated) in [(0.5, 169.0), (0.7, 179.0), (0.85, 225.0)] {
        let load = load(part * total(&servers), 8, Algorithm::RoundRobin);
        let p99 = forecast(&servers, &load).unwrap().p99_ms;
        assert!((p99.value / simulated - 1.0).abs() < 0.12, "{part}: {p99:?} for {simulated}");
        assert!(p99.low * 0.98 <= simulated && simulated <= p99.high.unwrap(), "{part}: {p99:?}");
    }
}

#[test]
fn what_looks_at_requests_under_way_is_predicted_as_simulated() {
    let servers = measured();
    let p99 = |part: f64, balancers, algorithm| {
        let load = load(part * total(&servers), balancers, algorithm);
        forecast(&servers, &load).unwrap().p99_ms.value
    };
    // `make simulate`, load and balancers: least connections, two choices by weights.
    let simulated = [
        (0.7, 1, 171.0, 170.0),
        (0.7, 8, 205.0, 180.0),
        (0.7, 64, 633.0, 197.0),
        (0.85, 8, 212.0, 201.0),
        (0.95, 8, 236.0, 252.0),
    ];
    for (part, balancers, least, random2) in simulated {
        let predicted = p99(part, balancers, Algorithm::LeastConnections);
        assert!((predicted / least - 1.0).abs() < 0.3, "{part} {balancers}: {predicted} {least}");
        let predicted = p99(part, balancers, Algorithm::Random2);
        assert!(
            (predicted / random2 - 1.0).abs() < 0.15,
            "{part} {balancers}: {predicted} {random2}"
        );
    }
}

#[test]
fn advice_says_where_least_connections_already_wins() {
    let servers = measured();
    let at = |part: f64, balancers: u32| {
        let load = load(part * total(&servers), balancers, Algorithm::RoundRobin);
        advise(&servers, &load).unwrap()
    };
    let many = at(0.7, 64);
    assert_eq!(many.better, Better::Weights);
    assert!(
        many.words.starts_with("weights win: each of 64 balancers sees too few"),
        "{}",
        many.words
    );
    let one = at(0.9, 1);
    assert_eq!(one.better, Better::LeastConnections);
    assert!(one.words.contains("the one balancer sees what is under way"), "{}", one.words);
    assert_eq!(at(0.5, 1).better, Better::Same);
}

#[test]
fn equal_shares_of_unlike_backends_saturate() {
    let mut servers = measured();
    for server in &mut servers {
        server.share = 1.0 / 16.0;
    }
    let error = forecast(&servers, &load(0.7 * total(&servers), 1, Algorithm::RoundRobin));
    let Err(Unpredictable::Saturated { backend: 3, utilization }) = error else {
        panic!("{error:?}")
    };
    assert!(utilization > 1.4, "{utilization}");
}

proptest! {
    #[test]
    fn forecasts_are_ordered_and_finite(
        servers in prop::collection::vec((1.0..500.0_f64, 1..64_u32), 1..12),
        part in 0.01..0.94_f64,
        balancers in 1..100_u32,
        algorithm in prop::sample::select(vec![Algorithm::RoundRobin, Algorithm::LeastConnections, Algorithm::Random2]),
    ) {
        let capacities: Vec<f64> = servers.iter().map(|server| server.0).collect();
        let servers: Vec<Server> = (servers.iter().zip(ideal_shares(&capacities)))
            .map(|((capacity_per_second, workers), share)| Server { capacity_per_second: *capacity_per_second, workers: *workers, share })
            .collect();
        let rate = part * total(&servers);
        let forecast = forecast(&servers, &load(rate, balancers, algorithm)).unwrap();
        for of in [forecast.mean_ms, forecast.p99_ms] {
            let high = of.high.unwrap();
            prop_assert!(of.low > 0.0 && of.low <= of.value * (1.0 + 1e-9) && of.value <= high * (1.0 + 1e-9) && high.is_finite(), "{of:?}");
        }
        prop_assert!(forecast.mean_ms.value <= forecast.p99_ms.value);
        prop_assert!((forecast.max_over_mean - 1.0).abs() < 1e-9);
        let busier = super::forecast(&servers, &load(rate * 1.05, balancers, Algorithm::RoundRobin)).unwrap();
        let calmer = super::forecast(&servers, &load(rate, balancers, Algorithm::RoundRobin)).unwrap();
        prop_assert!(busier.p99_ms.value >= calmer.p99_ms.value * (1.0 - 1e-9));
    }

    #[test]
    fn junk_is_refused(capacity in any::<f64>(), share in any::<f64>(), rate in any::<f64>(), workers in 0..3_u32, balancers in 0..3_u32) {
        let servers = [Server { capacity_per_second: capacity, workers, share }];
        if let Ok(forecast) = forecast(&servers, &load(rate, balancers, Algorithm::RoundRobin)) {
            prop_assert!(forecast.p99_ms.value.is_finite() && forecast.mean_ms.value > 0.0);
        }
    }
}
