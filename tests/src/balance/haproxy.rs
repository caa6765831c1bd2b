//! Real HAProxys: a fleet of small ones in front of the same servers, each with its own runtime socket.
//!
//! A reload is what packages do without a master process: a new process takes over the listening sockets from the old one (`-x`), tells it to finish (`-sf`), and begins with the
//! configured weights again.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::Command;

use super::GROUP;
use crate::port;
use crate::process::Process;
use crate::wait::{SOON, until};

/// Connections that one takes: memory is set aside for them.
const CONNECTIONS: u32 = 1_000;
/// Megabytes of address space that one may have; the program and its libraries take two thirds.
const MEMORY_MB: u32 = 160;

/// How an HAProxy shares requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// In turn, in proportion to weights.
    RoundRobin,
    /// To the server with the fewest requests under way for its weight.
    LeastConn,
    /// Two are drawn by weight, and the one with fewer requests under way is taken.
    Random,
}

/// A server of the group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: SocketAddr,
    /// Configured weight, 0 to 256.
    pub weight: u32,
    /// Requests that it is given at once by one HAProxy; 0: no limit.
    pub limit: u32,
}

/// One HAProxy. Dropping it kills it.
#[derive(Debug)]
pub struct Haproxy {
    /// Name of it and of its files.
    pub name: String,
    /// Where clients connect.
    pub address: SocketAddr,
    /// Its runtime socket, with the rights of an administrator.
    pub socket: PathBuf,
    process: Process,
    // Those that a reload has told to finish.
    leaving: Vec<Process>,
    dir: PathBuf,
}

/// HAProxys in front of the same servers.
#[derive(Debug)]
pub struct HaproxyFleet(pub Vec<Haproxy>);

impl Algorithm {
    /// As the configuration spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RoundRobin => "roundrobin",
            Self::LeastConn => "leastconn",
            Self::Random => "random(2)",
        }
    }
}

impl HaproxyFleet {
    /// Starts so many with their files in `dir` and waits until they answer. They are named `PREFIX0` and so on.
    ///
    /// # Errors
    /// When one does not come up.
    pub async fn start(
        dir: &Path,
        prefix: &str,
        count: usize,
        algorithm: Algorithm,
        servers: &[Server],
    ) -> Result<Self> {
        let mut all = Vec::new();
        for number in 0..count {
            let name = format!("{prefix}{number}");
            all.push(Haproxy::start(dir, &name, algorithm, servers)?);
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

    /// Sets these weights everywhere, as a person would.
    ///
    /// # Errors
    /// When one refuses.
    pub async fn set_weights(&self, weights: &[(String, u32)]) -> Result<()> {
        for one in &self.0 {
            one.set_weights(weights).await?;
        }
        Ok(())
    }
}

impl Haproxy {
    fn start(dir: &Path, name: &str, algorithm: Algorithm, servers: &[Server]) -> Result<Self> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        let socket = dir.join(format!("{name}.sock"));
        let file = dir.join(format!("{name}.cfg"));
        std::fs::write(&file, configuration(address, &socket, algorithm, servers))?;
        let process = Process::start(name, command(&file), dir)?;
        let (name, dir) = (name.to_owned(), dir.to_owned());
        Ok(Self { name, address, socket, process, leaving: Vec::new(), dir })
    }

    async fn wait_up(&mut self) -> Result<()> {
        let (socket, process) = (self.socket.clone(), &mut self.process);
        let (pid, address) = (process.pid(), self.address);
        until(&format!("{} to answer", self.name), SOON, || {
            let running = process.check_running();
            let socket = socket.clone();
            async move {
                running?;
                TcpStream::connect(address).await?;
                let info = ask(&socket, "show info").await?;
                // While one takes over from another both may answer.
                let line = format!("Pid: {}\n", pid.context("it is running")?);
                ensure!(info.contains(&line), "{info}");
                Ok(())
            }
        })
        .await
        .with_context(|| self.process.log())
    }

    /// Process id.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pid(&self) -> Result<u32> {
        self.process.pid().with_context(|| format!("{} is gone", self.name))
    }

    /// What the runtime socket answers.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ask(&self, command: &str) -> Result<String> {
        ask(&self.socket, command).await
    }

    /// Weights in force, by the names of servers; zero while one is drained.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn weights(&self) -> Result<HashMap<String, u32>> {
        Self::weights_at(&self.socket).await
    }

    /// The same, of the one with this runtime socket.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn weights_at(socket: &Path) -> Result<HashMap<String, u32>> {
        let text = ask(socket, &format!("show servers state {GROUP}")).await?;
        weights(&text).with_context(|| text.clone())
    }

    /// Sets these weights, as a person would.
    ///
    /// # Errors
    /// When it refuses.
    pub async fn set_weights(&self, weights: &[(String, u32)]) -> Result<()> {
        for (server, weight) in weights {
            let command = format!("set server {GROUP}/{server} weight {weight}");
            let answer = self.ask(&command).await?;
            ensure!(answer.trim().is_empty(), "{command}: {answer}");
        }
        Ok(())
    }

    /// Reloads it: the configured weights are in force again until somebody sets others.
    ///
    /// # Errors
    /// When the new process does not come up.
    pub async fn reload(&mut self) -> Result<()> {
        let mut next = command(&self.dir.join(format!("{}.cfg", self.name)));
        next.arg("-x").arg(&self.socket).arg("-sf").arg(self.pid()?.to_string());
        let process = Process::start(&self.name, next, &self.dir)?;
        let old = std::mem::replace(&mut self.process, process);
        self.leaving.push(old);
        self.wait_up().await
    }

    /// Kills it and starts it again on the same port.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(SOON).await?;
        let next = command(&self.dir.join(format!("{}.cfg", self.name)));
        self.process = Process::start(&self.name, next, &self.dir)?;
        self.wait_up().await
    }

    /// Stops answering until [`Haproxy::resume`]: neither clients nor the runtime socket.
    ///
    /// # Errors
    /// When it is gone.
    pub fn pause(&self) -> Result<()> {
        self.process.signal(Signal::STOP)
    }

    /// Goes on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> Result<()> {
        self.process.signal(Signal::CONT)
    }
}

fn command(file: &Path) -> Command {
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-m").arg(MEMORY_MB.to_string()).arg("-f").arg(file);
    command
}

fn configuration(
    address: SocketAddr,
    socket: &Path,
    algorithm: Algorithm,
    servers: &[Server],
) -> String {
    let socket = socket.display();
    let mut text = format!(
        "global\n  maxconn {CONNECTIONS}\n  nbthread 1\n  hard-stop-after 20s\n\
         \x20 stats socket {socket} mode 600 level admin expose-fd listeners\n  stats timeout 1h\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n\
         \x20 timeout queue 60s\n  timeout http-keep-alive 60s\n  retries 2\n  option redispatch\n\
         frontend web\n  bind {address}\n  default_backend {GROUP}\n\
         backend {GROUP}\n  balance {}\n",
        algorithm.as_str()
    );
    for Server { name, address, weight, limit } in servers {
        let limit = if *limit > 0 { format!(" maxconn {limit}") } else { String::new() };
        writeln!(text, "  server {name} {address} weight {weight}{limit}")
            .expect("a String takes any text");
    }
    text
}

/// What a runtime socket answers to one command.
async fn ask(socket: &Path, command: &str) -> Result<String> {
    let answer = async {
        let mut stream = UnixStream::connect(socket).await?;
        stream.write_all(format!("{command}\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
    answer.with_context(|| format!("{}: no answer to {command}", socket.display()))?
}

/// Weights of `show servers state`: columns are found by their names.
fn weights(text: &str) -> Option<HashMap<String, u32>> {
    // Bits of srv_admin_state that take a server out: maintenance (1, 2, 4, 32) and drain (8, 16).
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let header = lines.find_map(|line| line.strip_prefix("# "))?;
    let column = |name: &str| header.split(' ').position(|one| one == name);
    let (name, weight) = (column("srv_name")?, column("srv_uweight")?);
    let admin = column("srv_admin_state")?;
    let of = |line: &str| {
        let fields: Vec<_> = line.split(' ').collect();
        let is_out = fields.get(admin)?.parse::<u32>().ok()? != 0;
        let weight = fields.get(weight)?.parse().ok()?;
        Some(((*fields.get(name)?).to_owned(), if is_out { 0 } else { weight }))
    };
    lines.map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::{Backends, Load, Spec};

    fn servers(backends: &Backends) -> Vec<Server> {
        let of = |(number, backend): (usize, &crate::balance::Backend)| Server {
            name: format!("b{number}"),
            address: backend.address,
            weight: 100,
            limit: 0,
        };
        backends.0.iter().enumerate().map(of).collect()
    }

    #[tokio::test]
    async fn weights_are_set_shared_by_and_lost_on_a_reload_without_a_failed_request() -> Result<()>
    {
        let dir = tempfile::tempdir()?;
        let backends = Backends::start(&[Spec::new(8, 1); 2], false).await?;
        let algorithm = Algorithm::RoundRobin;
        let servers = servers(&backends);
        let mut fleet = HaproxyFleet::start(dir.path(), "lb", 2, algorithm, &servers).await?;
        fleet.set_weights(&[("b0".into(), 30), ("b1".into(), 10)]).await?;
        assert_eq!(fleet.0[1].weights().await?["b0"], 30);
        let load = Load::start(&fleet.addresses(), 400.0, 1);
        until("requests", SOON, || async {
            ensure!(load.ended() >= 200, "{}", load.ended());
            Ok(())
        })
        .await?;
        let now = tokio::time::Instant::now();
        let samples = load.samples(now - SOON, now);
        let first = samples.iter().filter(|sample| sample.backend == Some(0)).count();
        let share = first as f64 / samples.len() as f64;
        assert!((0.72..=0.78).contains(&share), "{share} of {}", samples.len());

        for one in &mut fleet.0 {
            one.reload().await?;
        }
        assert_eq!(fleet.0[0].weights().await?["b0"], 100, "the configured weight");
        let before = load.ended();
        until("requests after a reload", SOON, || async {
            ensure!(load.ended() >= before + 200, "{}", load.ended());
            Ok(())
        })
        .await?;
        let now = tokio::time::Instant::now();
        let bad: Vec<_> =
            load.samples(now - SOON, now).into_iter().filter(|sample| !sample.is_good()).collect();
        assert!(bad.is_empty(), "{bad:?}");
        Ok(())
    }

    #[test]
    fn a_drained_server_has_no_weight() {
        let text = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state srv_uweight srv_iweight\n\
                    3 app 1 b0 127.0.0.1 2 0 77 100\n3 app 2 b1 127.0.0.1 2 8 50 100\n";
        let weights = weights(text).unwrap();
        assert_eq!((weights["b0"], weights["b1"]), (77, 0));
    }
}
