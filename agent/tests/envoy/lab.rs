//! A real Envoy, backends that say who they are, and policies for it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flyball_proto::steering::{AgentPolicy, Canary, Revision, Target, TargetPolicy};
use parking_lot::Mutex;

use crate::collector::{Agent, Collector, LEASE, settings};
use crate::harness::free_port;

/// Weight of each endpoint as it is configured.
pub(crate) const CONFIGURED: u64 = 100;

/// Weights by port.
pub(crate) type Weights = BTreeMap<u16, u64>;

/// A program of the environment with Envoy and gRPC that `scripts/need.sh pip:...` makes.
pub(crate) fn tool(name: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap()).join(".cache");
    let cache = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from);
    let path = cache.join("flyball/tools/python/bin").join(name);
    assert!(path.exists(), "{} is missing: see need.sh in scripts/test.sh", path.display());
    path
}

/// How a backend answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    Fine,
    NotFound,
    Failing,
}

/// A backend that answers with its port. Its threads end with the test's process.
pub(crate) struct Backend {
    pub(crate) port: u16,
    pub(crate) mood: Arc<Mutex<Mood>>,
    pub(crate) load: Arc<Mutex<String>>,
    served: Arc<AtomicU64>,
}

impl Backend {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mood, load) = (Arc::new(Mutex::new(Mood::Fine)), Arc::new(Mutex::new(String::new())));
        let served = Arc::new(AtomicU64::new(0));
        let backend = Self { port, mood, load, served };
        let (mood, load) = (Arc::clone(&backend.mood), Arc::clone(&backend.load));
        let served = Arc::clone(&backend.served);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mood, load) = (Arc::clone(&mood), Arc::clone(&load));
                let (stream, served) = (stream.unwrap(), Arc::clone(&served));
                std::thread::spawn(move || answer(&stream, port, &mood, &load, &served));
            }
        });
        backend
    }

    pub(crate) fn name(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

fn answer(
    stream: &TcpStream,
    port: u16,
    mood: &Mutex<Mood>,
    load: &Mutex<String>,
    served: &AtomicU64,
) {
    stream.set_nodelay(true).unwrap();
    let mut lines = BufReader::new(stream).lines();
    while let Some(Ok(first)) = lines.next() {
        if first.is_empty() {
            continue;
        }
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        served.fetch_add(1, Ordering::Relaxed);
        let status = match *mood.lock() {
            Mood::Fine => "200 OK",
            Mood::NotFound => "404 Not Found",
            Mood::Failing => "500 Oh",
        };
        let load = match load.lock().as_str() {
            "" => String::new(),
            load => format!("endpoint-load-metrics: {load}\r\n"),
        };
        let body = port.to_string();
        let head = format!("HTTP/1.1 {status}\r\n{load}content-length: {}\r\n\r\n", body.len());
        if (&mut &*stream).write_all(format!("{head}{body}").as_bytes()).is_err() {
            return;
        }
    }
}

/// Ports and backends of one test, and its Envoy. It ends with the value.
pub(crate) struct Lab {
    pub(crate) backends: Vec<Backend>,
    pub(crate) admin: u16,
    pub(crate) xds: u16,
    pub(crate) listen: u16,
    dir: tempfile::TempDir,
    child: Option<Child>,
}

impl Lab {
    /// So many backends, and no Envoy yet.
    pub(crate) fn new(backends: usize) -> Self {
        Self {
            backends: (0..backends).map(|_| Backend::start()).collect(),
            admin: free_port(),
            xds: free_port(),
            listen: free_port(),
            dir: tempfile::tempdir().unwrap(),
            child: None,
        }
    }

    /// Starts Envoy, which finds the agent by itself.
    pub(crate) fn start_envoy(&mut self) {
        let socket = |port| serde_json::json!({"socket_address": {"address": "127.0.0.1", "port_value": port}});
        let ads = serde_json::json!({"ads": {}, "resource_api_version": "V3"});
        let endpoint =
            serde_json::json!({"lb_endpoints": [{"endpoint": {"address": socket(self.xds)}}]});
        let bootstrap = serde_json::json!({
            "node": {"id": "envoy-1", "cluster": "edge"},
            "admin": {"address": socket(self.admin)},
            "dynamic_resources": {
                "ads_config": {"api_type": "GRPC", "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "flyball"}}]},
                "lds_config": ads, "cds_config": ads,
            },
            "static_resources": {"clusters": [{
                "name": "flyball", "connect_timeout": "1s",
                "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}}}},
                "load_assignment": {"cluster_name": "flyball", "endpoints": [endpoint]},
            }]},
        });
        let path = self.dir.path().join("envoy.json");
        std::fs::write(&path, bootstrap.to_string()).unwrap();
        let mut command = Command::new(tool("envoy"));
        command.arg("-c").arg(path).args(["--concurrency", "1", "--disable-hot-restart"]);
        command.args(["-l", "error"]).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    pub(crate) fn kill_envoy(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Settings of an agent for this lab.
    pub(crate) fn settings(&self, more: &str) -> String {
        let endpoint = |backend: &Backend| {
            format!("{{ address = '{}', weight = {CONFIGURED} }}", backend.name())
        };
        let endpoints: Vec<String> = self.backends.iter().map(endpoint).collect();
        format!(
            "[[envoy]]\nname = 'edge'\nadmin = 'http://127.0.0.1:{}'\nxds_listen = '127.0.0.1:{}'\nsteer = true\n\
             [[envoy.clusters]]\nname = 'web'\nendpoints = [{}]\n\
             [[envoy.listeners]]\nname = 'in'\ncluster = 'web'\naddress = '127.0.0.1:{}'\n{more}",
            self.admin,
            self.xds,
            endpoints.join(", "),
            self.listen,
        )
    }

    /// An agent and an Envoy that it serves.
    pub(crate) async fn start(&mut self, collector: &Collector) -> Agent {
        let mut agent = Agent::of(collector, &self.settings(""));
        agent.start();
        self.start_envoy();
        self.serving().await;
        agent
    }

    /// Waits until requests are answered.
    pub(crate) async fn serving(&self) {
        crate::collector::eventually("envoy to serve", || self.get().is_some()).await;
    }

    /// One request on a connection of its own: who answered, of those that did with 200.
    pub(crate) fn get(&self) -> Option<u16> {
        let body = get(self.listen, "/")?;
        body.parse().ok()
    }

    /// So many requests on one connection: how many each backend answered by its own account.
    pub(crate) fn drive(&self, requests: usize) -> Vec<u64> {
        let before: Vec<u64> = self.backends.iter().map(Backend::served).collect();
        let mut stream = TcpStream::connect(("127.0.0.1", self.listen)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        for _ in 0..requests {
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
            let mut length = 0;
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            reader.read_exact(&mut vec![0; length]).unwrap();
        }
        let after = self.backends.iter().map(Backend::served);
        after.zip(before).map(|(after, before)| after - before).collect()
    }

    /// Weights in force in Envoy, by its own account; none while it does not have the cluster.
    pub(crate) fn weights(&self) -> Option<Weights> {
        let clusters: serde_json::Value =
            serde_json::from_str(&get(self.admin, "/clusters?format=json")?).ok()?;
        let all = clusters["cluster_statuses"].as_array()?;
        let web = all.iter().find(|cluster| cluster["name"] == "web")?;
        let of = |host: &serde_json::Value| {
            let port = host["address"]["socket_address"]["port_value"].as_u64()? as u16;
            Some((port, host["weight"].as_u64()?))
        };
        web["host_statuses"].as_array()?.iter().map(of).collect()
    }

    /// Waits until these weights are in force, in the order of the backends.
    pub(crate) async fn weighs(&self, weights: &[u64]) {
        let ports = self.backends.iter().map(|backend| backend.port);
        let wanted: Weights = ports.zip(weights.iter().copied()).collect();
        let what = format!("weights {weights:?}");
        crate::collector::eventually(&what, || self.weights().as_ref() == Some(&wanted)).await;
    }

    /// `weight:web/...` of a backend.
    pub(crate) fn weight(&self, backend: usize) -> String {
        format!("weight:web/{}", self.backends[backend].name())
    }

    /// `state:web/...` of a backend.
    pub(crate) fn state(&self, backend: usize) -> String {
        format!("state:web/{}", self.backends[backend].name())
    }

    /// Settings that give the backends these weights.
    pub(crate) fn weighted(&self, weights: &[u64]) -> Vec<(String, String)> {
        let of = |(backend, weight): (usize, &u64)| (self.weight(backend), weight.to_string());
        weights.iter().enumerate().map(of).collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.kill_envoy();
    }
}

/// The body of an answer of 200.
pub(crate) fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    if !head.starts_with("HTTP/1.1 200") {
        return None;
    }
    if !head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        return Some(body.to_owned());
    }
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            break;
        }
        whole.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    Some(whole)
}

/// What is wanted of `edge`, for good.
pub(crate) fn permanent(revision: u64, wanted: &[(String, String)]) -> AgentPolicy {
    let wanted: Vec<(&str, &str)> = wanted.iter().map(|(p, v)| (&**p, &**v)).collect();
    let target = TargetPolicy {
        target: Target::new("envoy", "edge"),
        settings: settings(&wanted),
        rollout_id: format!("r-{revision}"),
        canary: None,
        persist: false,
    };
    AgentPolicy {
        journal: "j".to_owned(),
        revision: Revision(revision),
        targets: vec![target],
        renew: Some(LEASE / 3),
        acked_sequence: 0,
    }
}

/// The same on trial.
pub(crate) fn canary(revision: u64, wanted: &[(String, String)]) -> AgentPolicy {
    let mut policy = permanent(revision, wanted);
    let revert_to = std::collections::BTreeMap::new();
    policy.targets[0].canary = Some(Canary { lease: LEASE, revert_to });
    policy
}
