//! A laboratory of load balancers: real HAProxys and Envoys, backends whose capacity is known, and clients that keep to a schedule.
//!
//! Backends are served by this process: a worker of one is a timer and not a core, so a fleet of them with a known capacity fits beside everything else on two cores. Requests are
//! due at times that a Poisson process has fixed beforehand (open loop), and their latency counts from then, so that a balancer which stalls is not spared what it makes wait.
//! What is measured is the clients' own latency and the true share of time that workers were busy, never what a balancer or Flyball says of itself.

mod backend;
mod client;
mod envoy;
mod fleet;
mod ground;
mod grpc;
mod haproxy;
mod load;
mod shares;
mod tools;
mod watch;
mod wire;
mod workers;

pub use self::backend::{Backend, Backends, Counts, PROBE, Spec};
pub use self::envoy::{Cluster, Envoy, EnvoyFleet, Source};
pub use self::fleet::{AgentOf, Flyball};
pub use self::ground::{Begin, Validity};
pub use self::grpc::{GrpcBackends, GrpcClient, Tally};
pub use self::haproxy::{Algorithm, Haproxy, HaproxyFleet, Server};
pub use self::load::{Load, Sample};
pub use self::shares::{as_shares, is_right};
pub use self::watch::{Figures, History, Snapshot};

/// Group that all balancers here share, and so the name of the pool.
pub const GROUP: &str = "app";

/// How the real servers and clients here are asked for their versions, by their names.
///
/// # Errors
/// Without a home directory.
pub fn versions() -> anyhow::Result<Vec<(&'static str, std::process::Command)>> {
    let mut haproxy = std::process::Command::new("haproxy");
    haproxy.arg("-v");
    let mut envoy = std::process::Command::new(tools::tool("envoy")?);
    envoy.arg("--version");
    let mut grpcio = std::process::Command::new(tools::tool("python")?);
    grpcio.args(["-c", "import grpc; print(grpc.__version__)"]);
    Ok(vec![("HAProxy", haproxy), ("Envoy", envoy), ("grpcio", grpcio)])
}
