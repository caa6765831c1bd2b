//! The service on a free port, and agents whose every message the test decides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use flyball_collector::live::Live;
use flyball_collector::steer::watch::{PolicyTable, Steering};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, Bounds, Canary, Capability, PolicyOutcome, PolicyResult, Revision,
    Settings, SteeringHello, Target, TargetPolicy,
};
use flyball_proto::v1;
use flyball_proto::v1::steering_client::SteeringClient;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Endpoint;
use tonic::transport::server::TcpIncoming;
use tonic::{Status, Streaming};

/// Nothing here takes longer.
pub const DEADLINE: Duration = Duration::from_mins(2);
/// Silence for this long is taken for silence.
const SILENCE: Duration = Duration::from_millis(150);

/// The service.
pub struct Server {
    pub address: SocketAddr,
    pub policies: PolicyTable,
    pub steering: Steering,
    pub live: Live,
    pub shutdown: CancellationToken,
    _stop: DropGuard,
}

/// An agent on a stream.
pub struct Agent {
    requests: mpsc::Sender<v1::AgentSteering>,
    answers: Streaming<v1::AgentPolicy>,
}

impl Server {
    pub async fn start() -> Self {
        Self::with_room_for(100).await
    }

    pub async fn with_room_for(agents: usize) -> Self {
        let (policies, live) = (PolicyTable::default(), Live::new(100));
        let shutdown = CancellationToken::new();
        let table = Arc::new(policies.clone());
        let steering = Steering::new(table, live.clone(), agents, shutdown.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tonic::transport::Server::builder()
            .add_service(steering.service())
            .serve_with_incoming_shutdown(
                TcpIncoming::from(listener),
                stop.clone().cancelled_owned(),
            );
        tokio::spawn(server);
        Self { address, policies, steering, live, shutdown, _stop: stop.drop_guard() }
    }

    /// An agent that has said nothing yet.
    pub async fn dial(&self) -> Agent {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let mut client = SteeringClient::new(endpoint.connect().await.unwrap());
        let (requests, stream) = mpsc::channel(16);
        let answers = client.watch(ReceiverStream::new(stream)).await.unwrap().into_inner();
        Agent { requests, answers }
    }

    /// An agent with one Redis, `a`.
    pub async fn agent(&self, node: &str) -> Agent {
        let agent = self.dial().await;
        agent.send(AgentSteering::Hello(hello(node))).await;
        agent
    }

    pub fn want(&self, node: &str, policy: AgentPolicy) {
        self.policies.set(&name(node), policy).unwrap();
    }
}

impl Agent {
    pub async fn send(&self, message: AgentSteering) {
        self.send_raw(message.into()).await;
    }

    pub async fn send_raw(&self, message: v1::AgentSteering) {
        self.requests.send(message).await.unwrap();
    }

    pub async fn tell(&self, outcome: PolicyOutcome) {
        self.send(AgentSteering::Outcome(outcome)).await;
    }

    /// The next policy.
    pub async fn policy(&mut self) -> AgentPolicy {
        let answer = timeout(DEADLINE, self.answers.message()).await.expect("nothing comes");
        answer.unwrap().expect("the stream has ended").try_into().unwrap()
    }

    /// The next policy of this revision.
    pub async fn revision(&mut self, revision: u64) -> AgentPolicy {
        loop {
            let policy = self.policy().await;
            if policy.revision.0 == revision {
                return policy;
            }
        }
    }

    /// How the stream ends.
    pub async fn end(&mut self) -> Status {
        let end = async {
            loop {
                match self.answers.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("it ended without a status"),
                    Err(status) => return status,
                }
            }
        };
        timeout(DEADLINE, end).await.expect("it does not end")
    }

    pub async fn is_silent(&mut self) -> bool {
        timeout(SILENCE, self.answers.message()).await.is_err()
    }
}

pub fn name(node: &str) -> NodeName {
    NodeName::new(node).unwrap()
}

pub fn target() -> Target {
    Target::new("redis", "a")
}

pub fn hello(node: &str) -> SteeringHello {
    let capability = Capability {
        target: target(),
        parameters: [("maxmemory".to_owned(), Bounds::Number(1, 1_000))].into(),
        may_persist: false,
        reason: String::new(),
        largest_growth: None,
    };
    SteeringHello {
        node: name(node),
        agent_version: "0.1.0".to_owned(),
        epoch: [7; 16],
        revision: Revision(0),
        journal: String::new(),
        capabilities: vec![capability],
    }
}

/// A policy that sets the limit of `a`, as a canary with this lease or for good.
pub fn policy(revision: u64, limit: u64, lease: Option<Duration>) -> AgentPolicy {
    let target = TargetPolicy {
        target: target(),
        settings: [("maxmemory".to_owned(), limit.to_string())].into(),
        rollout_id: "r-1".to_owned(),
        canary: lease.map(|lease| Canary { lease, revert_to: Settings::new() }),
        persist: false,
    };
    let (journal, targets) = ("j".to_owned(), vec![target]);
    AgentPolicy { journal, revision: Revision(revision), targets, ..AgentPolicy::default() }
}

pub fn outcome(revision: u64, result: PolicyResult, sequence: u64) -> PolicyOutcome {
    PolicyOutcome {
        revision: Revision(revision),
        target: target(),
        result,
        reason: String::new(),
        in_force: [("maxmemory".to_owned(), "200".to_owned())].into(),
        expected: Settings::new(),
        rollout_id: "r-1".to_owned(),
        sequence,
    }
}

/// Waits until the condition holds.
pub async fn eventually(mut condition: impl FnMut() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, wait).await.expect("the condition does not come true");
}
