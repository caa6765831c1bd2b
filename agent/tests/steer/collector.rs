//! A collector that wants what the test says, and the agent as a process of its own.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use flyball_proto::steering::{
    AgentPolicy, AgentSteering, BalancerReport, CacheReport, Canary, PolicyOutcome, PolicyResult,
    Revision, Settings, SteeringHello, Target, TargetPolicy,
};
use flyball_proto::v1;
use flyball_proto::v1::steering_server::{Steering, SteeringServer};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Request, Response, Status, Streaming};

use crate::harness::{Server, free_port};

/// Nothing here takes longer.
pub(crate) const DEADLINE: Duration = Duration::from_mins(1);
/// Lease of the canaries here.
pub(crate) const LEASE: Duration = Duration::from_millis(900);

/// Sends what is wanted and again at a third of the lease. It ends with the value, and the agent finds nobody.
pub(crate) struct Collector {
    address: SocketAddr,
    wanted: watch::Sender<AgentPolicy>,
    told: mpsc::Receiver<AgentSteering>,
    serving: tokio::task::JoinHandle<Option<Result<(), tonic::transport::Error>>>,
    stop: DropGuard,
}

struct Service {
    wanted: watch::Receiver<AgentPolicy>,
    told: mpsc::Sender<AgentSteering>,
    stop: CancellationToken,
}

#[tonic::async_trait]
impl Steering for Service {
    type WatchStream =
        Pin<Box<dyn tokio_stream::Stream<Item = Result<v1::AgentPolicy, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<Streaming<v1::AgentSteering>>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (mut inbound, told) = (request.into_inner(), self.told.clone());
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                if told.send(message.try_into().unwrap()).await.is_err() {
                    return;
                }
            }
        });
        let (answers, stream) = mpsc::channel(1);
        let (mut wanted, stop) = (self.wanted.clone(), self.stop.clone());
        tokio::spawn(stop.run_until_cancelled_owned(async move {
            loop {
                let policy = wanted.borrow_and_update().clone();
                if answers.send(Ok(policy.into())).await.is_err() {
                    return;
                }
                // Whichever comes first; it is sent again in any case.
                let _ = timeout(LEASE / 3, wanted.changed()).await;
            }
        }));
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }
}

impl Collector {
    /// At a port that it can come back to.
    pub(crate) fn start() -> Self {
        Self::at((Ipv4Addr::LOCALHOST, free_port()).into())
    }

    /// A collector at an address that an agent knows.
    pub(crate) fn at(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(16).unwrap();
        let address = listener.local_addr().unwrap();
        let (wanted, stop) = (watch::Sender::default(), CancellationToken::new());
        let (sender, told) = mpsc::channel(1_000);
        let service =
            Service { wanted: wanted.subscribe(), told: sender, stop: stop.child_token() };
        let server = tonic::transport::Server::builder()
            .add_service(SteeringServer::new(service))
            .serve_with_incoming(TcpListenerStream::new(listener));
        // Cut off, as by the end of its process.
        let serving = tokio::spawn(stop.clone().run_until_cancelled_owned(server));
        Self { address, wanted, told, serving, stop: stop.drop_guard() }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it. Its address, which nobody listens at then.
    pub(crate) async fn end(self) -> SocketAddr {
        drop(self.stop);
        assert!(self.serving.await.unwrap().is_none(), "it was serving until now");
        self.address
    }

    pub(crate) fn want(&self, policy: AgentPolicy) {
        self.wanted.send_replace(policy);
    }

    /// The next Hello of the agent.
    pub(crate) async fn hello(&mut self) -> SteeringHello {
        loop {
            if let AgentSteering::Hello(hello) = self.next().await {
                return hello;
            }
        }
    }

    /// The next outcome of this result for this revision.
    pub(crate) async fn outcome(&mut self, revision: u64, result: PolicyResult) -> PolicyOutcome {
        let wait = async {
            loop {
                match self.next().await {
                    AgentSteering::Outcome(o) if o.revision.0 == revision && o.result == result => {
                        return o;
                    }
                    AgentSteering::Outcome(o) if o.result == PolicyResult::Rejected => {
                        panic!("rejected: {}", o.reason)
                    }
                    _ => {}
                }
            }
        };
        // An agent that reports caches is never silent.
        let found = timeout(DEADLINE * 3, wait).await;
        found.unwrap_or_else(|_| panic!("{revision} is not told to be {result:?}"))
    }

    /// The next outcome of any kind.
    pub(crate) async fn any_outcome(&mut self) -> PolicyOutcome {
        loop {
            if let AgentSteering::Outcome(outcome) = self.next().await {
                return outcome;
            }
        }
    }

    /// The next report of `sessions` that is as it should be.
    pub(crate) async fn report(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&CacheReport) -> bool,
    ) -> CacheReport {
        let mut last = None;
        let wait = async {
            loop {
                if let Some(AgentSteering::Cache(report)) = self.told.recv().await {
                    if is_so(&report) {
                        return *report;
                    }
                    last = Some(report);
                }
            }
        };
        // What is reported is measured over some time, on a machine that may be busy.
        let found = timeout(DEADLINE * 3, wait).await;
        found.unwrap_or_else(|_| panic!("{what} is not reported, the last one was {last:#?}"))
    }

    /// The next report of a balancer that is as it should be.
    pub(crate) async fn balancer(
        &mut self,
        what: &str,
        mut is_so: impl FnMut(&BalancerReport) -> bool,
    ) -> BalancerReport {
        let mut last = None;
        let wait = async {
            loop {
                if let Some(AgentSteering::Balancer(report)) = self.told.recv().await {
                    if is_so(&report) {
                        return *report;
                    }
                    last = Some(report);
                }
            }
        };
        let found = timeout(DEADLINE, wait).await;
        found.unwrap_or_else(|_| panic!("{what} is not reported, the last one was {last:#?}"))
    }

    pub(crate) async fn next(&mut self) -> AgentSteering {
        timeout(DEADLINE, self.told.recv()).await.expect("the agent says nothing").unwrap()
    }
}

/// The agent's program with its directory; the process comes and goes.
pub(crate) struct Agent {
    pub(crate) dir: tempfile::TempDir,
    collector: SocketAddr,
    child: Option<Child>,
}

impl Agent {
    /// An agent that steers `server` as `sessions`, with further lines of settings.
    pub(crate) fn new(collector: &Collector, server: &Server, more: &str) -> Self {
        let settings = format!(
            "{more}\n[[redis]]\nname = 'sessions'\nurl = 'redis://127.0.0.1:{}'\nsteer = true\n",
            server.port
        );
        Self::of(collector, &settings)
    }

    /// An agent with these settings.
    pub(crate) fn of(collector: &Collector, settings: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("agent.toml"), settings).unwrap();
        Self { dir, collector: collector.address(), child: None }
    }

    /// Other settings, from the next start on.
    pub(crate) fn set(&self, settings: &str) {
        std::fs::write(self.dir.path().join("agent.toml"), settings).unwrap();
    }

    pub(crate) fn started(collector: &Collector, server: &Server, more: &str) -> Self {
        let mut agent = Self::new(collector, server, more);
        agent.start();
        agent
    }

    pub(crate) fn start(&mut self) {
        assert!(self.child.is_none(), "one at a time");
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball-agent"));
        command.arg("--config").arg(self.dir.path().join("agent.toml"));
        command.arg("--data-dir").arg(self.dir.path().join("data"));
        command.arg("--collector").arg(format!("http://{}", self.collector));
        command.args(["--node", "web-1"]).stdin(Stdio::null());
        self.child = Some(command.spawn().unwrap());
    }

    /// True when somebody has killed it.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| child.try_wait().unwrap().is_some())
    }

    /// `kill -9`
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Ends it in order.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// The record of the target.
    pub(crate) fn record(&self) -> PathBuf {
        self.dir.path().join("data/steer/redis.sessions.json")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn settings(pairs: &[(&str, &str)]) -> Settings {
    pairs.iter().map(|(parameter, value)| ((*parameter).into(), (*value).into())).collect()
}

/// What is wanted of `sessions`.
pub(crate) fn permanent(revision: u64, wanted: &[(&str, &str)]) -> AgentPolicy {
    let target = TargetPolicy {
        target: Target::new("redis", "sessions"),
        settings: settings(wanted),
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

/// The same on trial, decided on when `before` was in force.
pub(crate) fn canary(
    revision: u64,
    wanted: &[(&str, &str)],
    before: &[(&str, &str)],
) -> AgentPolicy {
    let mut policy = permanent(revision, wanted);
    policy.targets[0].canary = Some(Canary { lease: LEASE, revert_to: settings(before) });
    policy
}

/// What a server has in force, as anybody else would ask it.
pub(crate) fn in_force(server: &Server, parameter: &str) -> String {
    let mut connection = server.connect();
    let words = ["CONFIG", "GET", parameter].map(str::as_bytes);
    let reply = connection.call(&words).unwrap();
    String::from_utf8(reply.parts()[1].text().unwrap().to_vec()).unwrap()
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("{what} does not come true"));
}

/// Files in a directory, for messages.
pub(crate) fn files(dir: &Path) -> Arc<[String]> {
    let entries = std::fs::read_dir(dir).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}
