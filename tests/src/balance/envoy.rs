//! Real Envoys with one worker each, in front of endpoints that their own file or an xDS server gives them.
//!
//! The listener and its route stand in the file in both cases, for all Envoys of a fleet hear of the same clusters while each has a port of its own.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::process::Command;

use super::GROUP;
use super::tools::tool;
use crate::port;
use crate::process::Process;
use crate::wait::{SOON, until};

/// Where endpoints and their weights come from.
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// The file, for good.
    File(Cluster),
    /// The xDS server at this address, by ADS.
    Xds(SocketAddr),
}

/// Endpoints, and how an Envoy picks one.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// `ROUND_ROBIN`, `LEAST_REQUEST` or `RANDOM`.
    pub policy: &'static str,
    /// Addresses with their weights, 1 or more.
    pub endpoints: Vec<(SocketAddr, u32)>,
}

/// One Envoy. Dropping it kills it.
#[derive(Debug)]
pub struct Envoy {
    /// Name of it, of its files and of its xDS node.
    pub name: String,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Its admin server.
    pub admin: SocketAddr,
    process: Process,
    dir: PathBuf,
}

/// Envoys in front of the same endpoints.
#[derive(Debug)]
pub struct EnvoyFleet(pub Vec<Envoy>);

impl EnvoyFleet {
    /// Starts so many with their files in `dir` and waits until they serve. Those that ask an xDS server serve when it has told them their endpoints, so it must run.
    ///
    /// # Errors
    /// When there is no Envoy, or one does not come up.
    pub async fn start(dir: &Path, prefix: &str, count: usize, source: &Source) -> Result<Self> {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        Self::start_with_admin(dir, prefix, count, source, admin).await
    }

    /// The same, with the admin server of the first one at this address, so that an agent may know it before.
    ///
    /// # Errors
    /// When there is no Envoy, or one does not come up.
    pub async fn start_with_admin(
        dir: &Path,
        prefix: &str,
        count: usize,
        source: &Source,
        admin: SocketAddr,
    ) -> Result<Self> {
        let mut all = Vec::new();
        for number in 0..count {
            let any = || anyhow::Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?)));
            let admin = if number == 0 { admin } else { any()? };
            all.push(Envoy::start(dir, &format!("{prefix}{number}"), source, admin)?);
        }
        for one in &mut all {
            one.wait_up().await?;
        }
        Ok(Self(all))
    }

    /// Where clients connect.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|one| one.address).collect()
    }
}

impl Envoy {
    fn start(dir: &Path, name: &str, source: &Source, admin: SocketAddr) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let file = dir.join(format!("{name}.json"));
        let text = serde_json::to_string_pretty(&bootstrap(name, address, admin, source))?;
        std::fs::write(&file, text)?;
        let process = Process::start(name, command(&file)?, dir)?;
        Ok(Self { name: name.to_owned(), address, admin, process, dir: dir.to_owned() })
    }

    async fn wait_up(&mut self) -> Result<()> {
        let (admin, process) = (self.admin, &mut self.process);
        until(&format!("{} to serve", self.name), SOON, || {
            let running = process.check_running();
            async move {
                running?;
                let weights = weights(admin).await?;
                ensure!(!weights.is_empty(), "no endpoints yet");
                Ok(())
            }
        })
        .await
        .with_context(|| self.process.log())
    }

    /// Weights in force, by the addresses of endpoints; zero while one is not given requests.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn weights(&self) -> Result<HashMap<String, u32>> {
        weights(self.admin).await
    }

    /// Process id.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pid(&self) -> Result<u32> {
        self.process.pid().with_context(|| format!("{} is gone", self.name))
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// When it is gone already.
    pub async fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(SOON).await?;
        Ok(())
    }

    /// Starts one that was killed again, on the same ports. It serves a little later.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_again(&mut self) -> Result<()> {
        let file = self.dir.join(format!("{}.json", self.name));
        self.process = Process::start(&self.name, command(&file)?, &self.dir)?;
        Ok(())
    }

    /// Kills it and starts it again on the same ports.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.kill().await?;
        self.start_again()?;
        self.wait_up().await
    }
}

/// Envoy's program: where `scripts/need.sh` puts it, or of the path.
fn command(file: &Path) -> Result<Command> {
    let ours = tool("envoy")?;
    let mut command = Command::new(if ours.exists() { ours } else { "envoy".into() });
    command.arg("-c").arg(file).args(["--concurrency", "1", "--disable-hot-restart"]);
    command.args(["-l", "warning"]);
    Ok(command)
}

async fn weights(admin: SocketAddr) -> Result<HashMap<String, u32>> {
    let url = format!("http://{admin}/clusters?format=json");
    let text = reqwest::get(url).await?.error_for_status()?.text().await?;
    in_force(&serde_json::from_str(&text)?)
}

/// Weights of the group in what the admin server says of clusters.
fn in_force(answer: &Value) -> Result<HashMap<String, u32>> {
    let clusters = answer["cluster_statuses"].as_array().context("cluster_statuses")?;
    let Some(group) = clusters.iter().find(|cluster| cluster["name"] == GROUP) else {
        return Ok(HashMap::new());
    };
    let hosts = group["host_statuses"].as_array().map_or(&[] as &[_], Vec::as_slice);
    let of = |host: &Value| {
        let socket = &host["address"]["socket_address"];
        let (ip, port) = (socket["address"].as_str()?, socket["port_value"].as_u64()?);
        let health = host["health_status"]["eds_health_status"].as_str().unwrap_or("HEALTHY");
        let weight = host["weight"].as_u64().unwrap_or(1) as u32;
        Some((format!("{ip}:{port}"), if health == "HEALTHY" { weight } else { 0 }))
    };
    hosts.iter().map(|host| of(host).with_context(|| host.to_string())).collect()
}

fn bootstrap(name: &str, address: SocketAddr, admin: SocketAddr, source: &Source) -> Value {
    let http = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "web",
        "route_config": {
            "validate_clusters": false,
            "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": [{
                "match": { "prefix": "/" },
                "route": { "cluster": GROUP, "timeout": "60s" },
            }] }],
        },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
        }],
    });
    let listener = json!({
        "name": "web",
        "address": socket(address),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": http,
        }] }],
    });
    let mut all = json!({
        "node": { "id": name, "cluster": GROUP },
        "admin": { "address": socket(admin) },
        "static_resources": { "listeners": [listener], "clusters": [] },
    });
    match source {
        Source::File(cluster) => {
            all["static_resources"]["clusters"] = json!([of_file(cluster)]);
        }
        Source::Xds(server) => {
            all["static_resources"]["clusters"] = json!([of_server(*server)]);
            all["dynamic_resources"] = json!({
                "ads_config": {
                    "api_type": "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{ "envoy_grpc": { "cluster_name": "xds" } }],
                },
                "cds_config": { "ads": {}, "resource_api_version": "V3" },
            });
        }
    }
    all
}

fn socket(address: SocketAddr) -> Value {
    let (ip, port) = (address.ip().to_string(), address.port());
    json!({ "socket_address": { "address": ip, "port_value": port } })
}

fn of_file(cluster: &Cluster) -> Value {
    let endpoint = |(address, weight): &(SocketAddr, u32)| json!({ "endpoint": { "address": socket(*address) }, "load_balancing_weight": weight });
    let endpoints: Vec<_> = cluster.endpoints.iter().map(endpoint).collect();
    json!({
        "name": GROUP,
        "type": "STATIC",
        "connect_timeout": "5s",
        "lb_policy": cluster.policy,
        "load_assignment": { "cluster_name": GROUP, "endpoints": [{ "lb_endpoints": endpoints }] },
    })
}

fn of_server(server: SocketAddr) -> Value {
    json!({
        "name": "xds",
        "type": "STATIC",
        "connect_timeout": "5s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": { "http2_protocol_options": {} },
            },
        },
        "load_assignment": { "cluster_name": "xds", "endpoints": [{
            "lb_endpoints": [{ "endpoint": { "address": socket(server) } }],
        }] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{Backends, Load, Spec};

    #[tokio::test]
    async fn an_envoy_shares_by_the_weights_of_its_file_and_serves_again_after_a_kill() -> Result<()>
    {
        let dir = tempfile::tempdir()?;
        let backends = Backends::start(&[Spec::new(8, 1); 2], true).await?;
        let endpoints =
            backends.0.iter().zip([30, 10]).map(|(one, weight)| (one.address, weight)).collect();
        let source = Source::File(Cluster { policy: "ROUND_ROBIN", endpoints });
        let mut fleet = EnvoyFleet::start(dir.path(), "envoy", 1, &source).await?;
        let weights = fleet.0[0].weights().await?;
        assert_eq!(weights[&backends.0[0].address.to_string()], 30, "{weights:?}");
        fleet.0[0].restart().await?;
        let load = Load::start(&fleet.addresses(), 400.0, 1);
        until("requests", SOON, || async {
            ensure!(load.ended() >= 200, "{}", load.ended());
            Ok(())
        })
        .await?;
        let now = tokio::time::Instant::now();
        let samples = load.samples(now - SOON, now);
        assert!(samples.iter().all(crate::balance::Sample::is_good), "{samples:?}");
        let first = samples.iter().filter(|sample| sample.backend == Some(0)).count();
        let share = first as f64 / samples.len() as f64;
        assert!((0.72..=0.78).contains(&share), "{share} of {}", samples.len());
        Ok(())
    }
}
