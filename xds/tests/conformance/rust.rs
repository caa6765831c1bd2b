//! The Rust client of gRPC (`tonic-xds`), within the test process.

use envoy_types::pb::envoy::service::ratelimit::v3::RateLimitRequest;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_service_client::RateLimitServiceClient;
use flyball_xds::snapshot::{Cluster, Health};
use flyball_xds::{Confirmation, Settings};
use serde_json::json;
use tonic_xds::{BootstrapConfig, XdsChannelBuilder, XdsChannelConfig, XdsUri};

use crate::support::backend::Backend;
use crate::support::{BATCHES, PATIENCE, Running, api, cluster, snapshot};

fn echo(backends: &[Backend]) -> Cluster {
    let ports: Vec<_> = backends.iter().map(|backend| (backend.port, 1)).collect();
    cluster("echo", &ports)
}

async fn push(running: &Running, version: &str, cluster: Cluster) {
    running.publish(snapshot(version, &[cluster], &[api("echo", "echo")]));
    let confirmed = running.server.confirm(version, PATIENCE).await;
    assert_eq!(confirmed, Confirmation::Acknowledged { clients: 1 });
}

#[tokio::test]
async fn it_takes_endpoints_and_drains_and_rejects_nothing() {
    let running = Running::start(Settings::default()).await;
    let backends = [Backend::grpc().await, Backend::grpc().await];
    running.publish(snapshot("1", &[echo(&backends)], &[api("echo", "echo")]));
    let bootstrap = json!({
        "xds_servers": [{
            "server_uri": format!("http://{}", running.address),
            "channel_creds": [{"type": "insecure"}],
        }],
        "node": {"id": "rust-1"},
    });
    let bootstrap = BootstrapConfig::from_json(&bootstrap.to_string()).unwrap();
    let config = XdsChannelConfig::new(XdsUri::parse("xds:///echo").unwrap());
    let channel = XdsChannelBuilder::new(config.with_bootstrap(bootstrap));
    let mut client = RateLimitServiceClient::new(channel.build_grpc_channel().unwrap());
    let mut calls = async |count: usize| {
        for _ in 0..count {
            let call = client.should_rate_limit(RateLimitRequest::default());
            tokio::time::timeout(PATIENCE, call).await.expect("an answer").unwrap();
        }
        [backends[0].take(), backends[1].take()]
    };
    let mut until = async |done: fn([u64; 2]) -> bool| {
        for _ in 0..BATCHES {
            if done(calls(20).await) {
                return;
            }
        }
        panic!("the calls do not follow");
    };
    until(|hits| !hits.contains(&0)).await;
    let mut drained = echo(&backends);
    drained.endpoints[0].health = Health::Drain;
    push(&running, "2", drained).await;
    // It applies an update a moment after it acknowledged it.
    until(|hits| hits[0] == 0).await;
    until(|hits| hits == [0, 20]).await;
    push(&running, "3", echo(&backends)).await;
    until(|hits| !hits.contains(&0)).await;
    let clients = running.server.clients();
    assert_eq!(clients[0].node_id, "rust-1");
    assert_eq!(running.server.metrics().nacks, 0);
}
