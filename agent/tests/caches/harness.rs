//! A Redis of its own for each test, and the sampler with all that it has published.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use flyball_agent::redis::{Connection, Instance, Limits, RedisConfig, Reply};
use flyball_agent::sense::readings::Change;
use flyball_agent::sense::{MemcachedServer, Readings, Sampler, servers};
use flyball_proto::series::Series;
use parking_lot::Mutex;
use rand::RngExt as _;
use rustix::process::{Pid, Signal, kill_process};

/// Longest that anything in these tests may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// How long a reading waits for an answer, so that a busy machine does not make one late.
const PATIENCE: Duration = Duration::from_secs(30);

/// A Redis server. It ends with the value.
pub(crate) struct Server {
    pub(crate) port: u16,
    pub(crate) dir: tempfile::TempDir,
    child: Option<Child>,
    options: Vec<String>,
    has_tls: bool,
}

impl Server {
    pub(crate) fn start(options: &[&str]) -> Self {
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let dir = tempfile::tempdir().unwrap();
        let mut server = Self { port: free_port(), dir, child: None, options, has_tls: false };
        server.restart();
        server
    }

    /// A server that takes TLS connections only, and asks clients for a certificate. Its directory has `ca.pem`, and `client.pem` and `client.key`.
    pub(crate) fn start_tls() -> Self {
        let dir = tempfile::tempdir().unwrap();
        certificates(dir.path());
        let file = |name: &str| dir.path().join(name).display().to_string();
        let options = ["--tls-ca-cert-file", "--tls-cert-file", "--tls-key-file"].into_iter();
        let options = options.zip(["ca.pem", "server.pem", "server.key"].map(file));
        let options = options.flat_map(|(option, file)| [option.to_owned(), file]).collect();
        let mut server = Self { port: free_port(), dir, child: None, options, has_tls: true };
        server.restart();
        server
    }

    /// A server with this configuration file, which it may rewrite.
    pub(crate) fn start_with_file(file: &Path) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = vec![file.display().to_string()];
        let mut server = Self { port: free_port(), dir, child: None, options, has_tls: false };
        server.restart();
        server
    }

    /// Starts it again on its port, and waits until it takes connections.
    pub(crate) fn restart(&mut self) {
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        // A file of settings comes first.
        let (files, options): (Vec<_>, Vec<_>) =
            self.options.iter().partition(|option| Path::new(option).is_file());
        let is_first = self.options.first().is_some_and(|first| files.first() == Some(&first));
        let (files, options) =
            if is_first { (files, options) } else { (Vec::new(), self.options.iter().collect()) };
        command.args(files);
        let listen = if self.has_tls {
            ["--port", "0", "--tls-port"]
        } else {
            ["--loglevel", "notice", "--port"]
        };
        command.args(listen).args([&port, "--bind", "127.0.0.1", "--save", ""]);
        command.arg("--dir").arg(self.dir.path()).args(options);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("redis-server is installed"));
        until("redis to listen", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends its process in order, so that it saves.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(self.child.as_ref().unwrap()), signal).unwrap();
    }

    pub(crate) fn add_option(&mut self, option: &[&str]) {
        self.options.extend(option.iter().map(|word| (*word).to_owned()));
    }

    /// Settings for it.
    pub(crate) fn config(&self, name: &str) -> RedisConfig {
        let url = format!("redis://127.0.0.1:{}", self.port);
        RedisConfig { name: name.to_owned(), url, ..RedisConfig::default() }
    }

    /// The instance, with its files in the server's directory.
    pub(crate) fn instance(&self, name: &str) -> Instance {
        self.instance_of(self.config(name))
    }

    pub(crate) fn instance_of(&self, config: RedisConfig) -> Instance {
        Instance::new(config, self.dir.path()).unwrap()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(&self.instance("test")).unwrap()
    }

    /// A file that holds a password.
    pub(crate) fn password(&self, password: &str) -> PathBuf {
        let path = self.dir.path().join("password");
        std::fs::write(&path, format!("{password}\n")).unwrap();
        path
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be stopped, or have ended.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Bounds that a test waits for.
pub(crate) fn short(config: RedisConfig, dir: &Path) -> Instance {
    let request = Duration::from_millis(300);
    let limits = Limits { connect: request, request, ..Limits::default() };
    Instance::with_limits(config, dir, limits).unwrap()
}

pub(crate) fn run(connection: &mut Connection, words: &[&str]) -> Reply {
    let words: Vec<_> = words.iter().map(|word| word.as_bytes()).collect();
    connection.call(&words).unwrap()
}

/// One value: raw, and whether its counter started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) raw: i64,
    pub(crate) reset: bool,
}

/// The sampler, and the values of its last reading by series.
pub(crate) struct Observed {
    sampler: Box<dyn Sampler>,
    readings: Readings,
    series: BTreeMap<usize, Series>,
    pub(crate) values: BTreeMap<String, Value>,
}

impl Observed {
    pub(crate) fn new(instances: &[Instance]) -> Self {
        Self::of(servers(instances, &[], &[], PATIENCE))
    }

    pub(crate) fn memcached(all: &[MemcachedServer]) -> Self {
        Self::of(servers(&[], all, &[], PATIENCE))
    }

    fn of(mut samplers: Vec<Box<dyn Sampler>>) -> Self {
        let sampler = samplers.pop().unwrap();
        let (readings, series) = (Readings::default(), BTreeMap::new());
        Self { sampler, readings, series, values: BTreeMap::new() }
    }

    /// Takes a reading.
    pub(crate) fn read(&mut self) {
        self.readings.clear();
        self.sampler.sample(&mut self.readings).unwrap();
        for change in self.readings.changes() {
            match change {
                Change::Defined(handle, series) => {
                    let described =
                        |metric: &&flyball_agent::sense::Metric| metric.name == series.metric;
                    let metric = self.sampler.metrics().iter().find(described).expect("described");
                    let keys: Vec<&str> = series.attributes.iter().map(|(key, _)| &**key).collect();
                    assert_eq!(keys, metric.attributes, "{}", metric.name);
                    series.check().unwrap();
                    self.series.insert(handle.index(), series.clone());
                }
                Change::Retired(handle) => drop(self.series.remove(&handle.index())),
            }
        }
        self.values.clear();
        for value in self.readings.values() {
            let series = &self.series[&value.handle.index()];
            let now = Value { raw: value.raw, reset: value.reset };
            let before = self.values.insert(label(series), now);
            assert!(before.is_none(), "{} twice", label(series));
        }
    }

    /// Takes readings until one is as it should be.
    pub(crate) fn read_until(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) {
        until(what, || {
            self.read();
            condition(self)
        });
    }

    /// Takes readings until the cache is in this state.
    pub(crate) fn read_until_state(&mut self, cache: &str, state: &str) {
        self.read_until(&format!("{cache} to be {state}"), |o| o.state(cache) == Some(state));
    }

    pub(crate) fn state(&self, cache: &str) -> Option<&'static str> {
        let kind = self.sampler.name();
        let mut states = ["up", "unreachable", "slow", "loading", "denied"].into_iter();
        let state = states.find(|state| {
            self.get(&format!("flyball.{kind}.state{{cache={cache},state={state}}}")) == Some(1)
        })?;
        let is_up = self.raw(&format!("flyball.{kind}.up{{cache={cache}}}"));
        assert_eq!(is_up, i64::from(state == "up"));
        Some(state)
    }

    pub(crate) fn get(&self, label: &str) -> Option<i64> {
        self.values.get(label).map(|value| value.raw)
    }

    pub(crate) fn raw(&self, label: &str) -> i64 {
        let names: Vec<_> = self.values.keys().collect();
        self.get(label).unwrap_or_else(|| panic!("no {label} among {names:#?}"))
    }

    /// CPU time that threads of the sampler have spent since the last call.
    pub(crate) fn take_cpu(&mut self) -> Duration {
        self.sampler.take_cpu_elsewhere()
    }
}

fn label(series: &Series) -> String {
    let value = |(key, value): &(String, String)| format!("{key}={value}");
    let attributes: Vec<String> = series.attributes.iter().map(value).collect();
    format!("{}{{{}}}", series.metric, attributes.join(","))
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    let (_open, nothing) = channel::<()>();
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        let _ = nothing.recv_timeout(Duration::from_millis(5));
    }
}

fn certificates(dir: &Path) {
    let write = |name: &str, text: String| std::fs::write(dir.join(name), text).unwrap();
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    // Another name than that of the certificates it signs.
    ca.distinguished_name.push(rcgen::DnType::CommonName, "authority");
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let issuer = rcgen::Issuer::new(ca, ca_key);
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        write(&format!("{name}.pem"), params.signed_by(&key, &issuer).unwrap().pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
}

/// A port below those that the system gives to outgoing connections, so that it stays free while a server is down; another one each time.
pub(crate) fn free_port() -> u16 {
    // Whoever asked before may not listen yet.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let (mut random, mut given) = (rand::rng(), GIVEN.lock());
    (0..1_000)
        .map(|_| random.random_range(10_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port))
        .expect("one of a thousand ports is free")
}
