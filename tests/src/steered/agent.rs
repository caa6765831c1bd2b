//! The stream `Steering.Watch` of such an agent: says what may be set, reports, and does what is wanted.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    AgentPolicy, AgentSteering, Bounds, Capability, PolicyOutcome, PolicyResult, Revision,
    Settings, SteeringHello, Target,
};
use flyball_proto::v1;
use flyball_proto::v1::steering_client::SteeringClient;
use tokio::sync::mpsc;
use tokio::time::interval;
use tokio_stream::wrappers::ReceiverStream;

use super::{MIB, Server, report};

/// Time between two reports.
const PERIOD: Duration = Duration::from_millis(500);

/// Follows what is wanted until the collector ends the stream.
pub(super) async fn run(grpc: SocketAddr, server: Arc<Server>) -> Result<()> {
    let mut client = SteeringClient::new(super::channel(grpc).await?);
    let (send, stream) = mpsc::channel::<v1::AgentSteering>(16);
    send.send(AgentSteering::Hello(hello(&server)?).into()).await?;
    let mut policies = client.watch(ReceiverStream::new(stream)).await?.into_inner();
    let mut reports = interval(PERIOD);
    let (mut sequence, mut done) = (0, Revision(0));
    loop {
        tokio::select! {
            _ = reports.tick() => {
                let report = AgentSteering::Cache(Box::new(report::of(&server)));
                send.send(report.into()).await.context("the stream has ended")?;
            }
            policy = policies.message() => {
                let policy = policy?.context("the collector ended the stream")?;
                let policy = AgentPolicy::try_from(policy)?;
                if policy.revision == done {
                    continue;
                }
                done = policy.revision;
                for outcome in obey(&server, &policy, &mut sequence) {
                    send.send(AgentSteering::Outcome(outcome).into()).await?;
                }
            }
        }
    }
}

/// Sets all that is wanted at once.
fn obey(server: &Server, policy: &AgentPolicy, sequence: &mut u64) -> Vec<PolicyOutcome> {
    let outcome = |wanted: &flyball_proto::steering::TargetPolicy| {
        server.settings.lock().extend(wanted.settings.clone());
        *sequence += 1;
        PolicyOutcome {
            revision: policy.revision,
            target: wanted.target.clone(),
            result: PolicyResult::Applied,
            reason: String::new(),
            in_force: server.settings.lock().clone(),
            expected: Settings::new(),
            rollout_id: wanted.rollout_id.clone(),
            sequence: *sequence,
        }
    };
    policy.targets.iter().map(outcome).collect()
}

fn hello(server: &Server) -> Result<SteeringHello> {
    let words = ["allkeys-lru", "allkeys-lfu"].map(str::to_owned).to_vec();
    let parameters = [
        ("maxmemory".to_owned(), Bounds::Number(MIB, 1 << 30)),
        ("maxmemory-policy".to_owned(), Bounds::OneOf(words)),
    ];
    Ok(SteeringHello {
        node: NodeName::new(&server.node)?,
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: rand::random(),
        revision: Revision(0),
        journal: String::new(),
        capabilities: vec![Capability {
            target: Target::new("redis", &server.name),
            parameters: parameters.into(),
            may_persist: false,
            reason: String::new(),
            largest_growth: None,
        }],
    })
}
