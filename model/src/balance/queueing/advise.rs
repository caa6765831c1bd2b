//! Where central weights win, and where least connections on one balancer does already.

use super::{Algorithm, Load, Server, Unpredictable, forecast, ideal_shares};

/// Which is better at the 99th percentile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Better {
    /// Least connections alone is as good.
    LeastConnections,
    /// Central weights, with round robin or two random choices.
    Weights,
    /// They differ by less than a prediction can tell.
    Same,
}

/// A comparison in numbers and in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Advice {
    /// Which is better.
    pub better: Better,
    /// 99th percentile with weights in proportion to capacity and round robin.
    pub weights_p99_ms: f64,
    /// 99th percentile with least connections and no weights.
    pub least_connections_p99_ms: f64,
    /// The answer for people.
    pub words: String,
}

/// Differences below this part are not told apart.
const TELLING: f64 = 0.15;

/// Says whether weights are worth it beside least connections. Shares of the servers and the algorithm of the load do not matter.
///
/// # Errors
/// When a number is impossible, or the whole pool is saturated: no share helps then.
pub fn advise(servers: &[Server], load: &Load) -> Result<Advice, Unpredictable> {
    let capacities: Vec<f64> = servers.iter().map(|server| server.capacity_per_second).collect();
    let servers: Vec<Server> = (servers.iter().zip(ideal_shares(&capacities)))
        .map(|(server, share)| Server { share, ..*server })
        .collect();
    let p99 = |algorithm| {
        forecast(&servers, &Load { algorithm, ..*load }).map(|forecast| forecast.p99_ms.value)
    };
    let weights = p99(Algorithm::RoundRobin)?;
    let least = p99(Algorithm::LeastConnections)?;
    let better = if least > weights * (1.0 + TELLING) {
        Better::Weights
    } else if weights > least * (1.0 + TELLING) {
        Better::LeastConnections
    } else {
        Better::Same
    };
    let balancers = load.balancers;
    let numbers = format!("p99 {weights:.0} ms with weights, {least:.0} ms with least connections");
    let words = match better {
        Better::Weights => format!(
            "weights win: each of {balancers} balancers sees too few requests under way to tell backends apart; {numbers}"
        ),
        Better::LeastConnections => format!(
            "least connections is better here: {} sees what is under way and avoids a busy backend at once, which weights of a window cannot; {numbers}; weights are \
             worth it only together with it, or for equal utilisation, cost or locality",
            if balancers == 1 { "the one balancer" } else { "each balancer" },
        ),
        Better::Same => format!(
            "no difference that a prediction can tell: {numbers}; least connections needs no controller"
        ),
    };
    Ok(Advice { better, weights_p99_ms: weights, least_connections_p99_ms: least, words })
}
