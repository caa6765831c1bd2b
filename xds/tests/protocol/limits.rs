//! Limits, and what a caller learns about clients.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use flyball_xds::snapshot::MAX_NAME_BYTES;
use flyball_xds::{Confirmation, Error, Kind, MAX_MESSAGE_BYTES, Settings};
use tonic::Code;

use crate::client::{DeltaClient, StateClient, request};
use crate::support::{PATIENCE, Running, cluster, eventually, snapshot};

#[tokio::test]
async fn streams_beyond_the_limit_are_refused_and_a_closed_one_makes_room() {
    let settings = Settings { max_streams: 1, ..Settings::default() };
    let running = Running::start(settings).await;
    running.publish(snapshot("1", &[cluster("a", &[])], &[]));
    let mut first = StateClient::connect(running.address).await;
    first.fetch(Kind::Cluster, &[]).await;
    let refused = StateClient::try_connect(running.address).await.err().unwrap();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    drop(first);
    eventually("room", || running.server.metrics().streams_closed == 1).await;
    StateClient::connect(running.address).await.fetch(Kind::Cluster, &[]).await;
    let metrics = running.server.metrics();
    assert_eq!((metrics.streams_refused, metrics.streams_opened), (1, 2));
}

#[tokio::test]
async fn too_many_names_end_the_stream() {
    let settings = Settings { max_names: 2, ..Settings::default() };
    let running = Running::start(settings).await;
    let mut client = StateClient::connect(running.address).await;
    client.ask(Kind::Endpoint, &["a", "b", "c"]).await;
    assert_eq!(client.try_next().await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(running.server.metrics().subscriptions_over_limit, 1);
}

#[tokio::test]
async fn a_name_that_is_too_long_ends_the_stream() {
    let running = Running::start(Settings::default()).await;
    running.publish(snapshot("1", &[cluster("a", &[])], &[]));
    let longest = "x".repeat(MAX_NAME_BYTES);
    let long = format!("{longest}x");
    let mut client = StateClient::connect(running.address).await;
    client.ask(Kind::Endpoint, &[&longest]).await;
    client.fetch(Kind::Cluster, &[]).await;
    client.ask(Kind::Endpoint, &[&long]).await;
    let status = client.try_next().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("256 bytes"), "{status}");
    let mut client = DeltaClient::connect(running.address).await;
    client.resume(Kind::Cluster, &[], &[("a", &long)]).await;
    assert_eq!(client.try_next().await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(running.server.metrics().subscriptions_over_limit, 2);
}

#[tokio::test]
async fn a_request_that_is_too_large_ends_the_stream() {
    let settings = Settings { max_message_bytes: 1_000, ..Settings::default() };
    let running = Running::start(settings).await;
    let mut client = StateClient::connect(running.address).await;
    client.ask(Kind::Endpoint, &[&"x".repeat(2_000)]).await;
    assert_eq!(client.try_next().await.unwrap_err().code(), Code::OutOfRange);
    eventually("the count", || running.server.metrics().requests_unreadable == 1).await;
}

#[tokio::test]
async fn a_snapshot_that_is_too_large_is_refused() {
    let running = Running::start(Settings { max_response_bytes: 200, ..Settings::default() }).await;
    let Err(Error::Snapshot(error)) =
        running.server.publish(snapshot("1", &[cluster("a", &[]), cluster("b", &[])], &[]))
    else {
        panic!("accepted")
    };
    assert!(error.problem.contains("at most 200"), "{error}");
}

#[tokio::test]
async fn clients_wait_for_the_first_snapshot() {
    let running = Running::start(Settings::default()).await;
    let mut client = StateClient::connect(running.address).await;
    client.ask(Kind::Cluster, &[]).await;
    eventually("a client", || running.server.clients().len() == 1).await;
    running.publish(snapshot("1", &[cluster("a", &[])], &[]));
    assert_eq!(client.next().await.names, ["a"]);
}

#[tokio::test]
async fn a_version_is_confirmed_when_all_clients_acknowledged_it() {
    let running = Running::start(Settings::default()).await;
    running.publish(snapshot("1", &[cluster("a", &[])], &[]));
    let nobody = running.server.confirm("1", Duration::from_millis(1)).await;
    assert_eq!(nobody, Confirmation::TimedOut { acknowledged: 0, missing: Vec::new() });
    let mut one = StateClient::connect(running.address).await;
    let mut two = StateClient::connect(running.address).await;
    one.fetch(Kind::Cluster, &[]).await;
    two.ask(Kind::Cluster, &[]).await;
    let got = two.next().await;
    eventually("both", || running.server.metrics().acks == 1).await;
    let half = running.server.confirm("1", Duration::from_millis(1)).await;
    let missing = vec![running.server.clients()[1].id];
    assert_eq!(half, Confirmation::TimedOut { acknowledged: 1, missing });
    let server = running.server.clone();
    let waiting = tokio::spawn(async move { server.confirm("1", PATIENCE).await });
    two.ack(&got, &[]).await;
    assert_eq!(waiting.await.unwrap(), Confirmation::Acknowledged { clients: 2 });
}

#[tokio::test]
async fn a_rejection_is_reported_at_once_with_a_short_message() {
    let running = Running::start(Settings::default()).await;
    running.publish(snapshot("1", &[cluster("a", &[])], &[]));
    let mut client = StateClient::connect(running.address).await;
    client.ask(Kind::Cluster, &[]).await;
    let got = client.next().await;
    client.nack(&got, &[], "", &"é".repeat(MAX_MESSAGE_BYTES)).await;
    let Confirmation::Rejected { node_id, kind, nack, .. } =
        running.server.confirm("1", PATIENCE).await
    else {
        panic!("not rejected")
    };
    assert_eq!((node_id.as_str(), kind, nack.code), ("raw", Kind::Cluster, 13));
    assert_eq!(nack.message.len(), MAX_MESSAGE_BYTES);
    running.publish(snapshot("2", &[cluster("b", &[])], &[]));
    assert_eq!(running.server.confirm("1", PATIENCE).await, Confirmation::Superseded);
    let got = client.next().await;
    client.ack(&got, &[]).await;
    let confirmed = running.server.confirm("2", PATIENCE).await;
    assert_eq!(confirmed, Confirmation::Acknowledged { clients: 1 });
    let kept = running.server.clients()[0].kinds[0].nack.clone();
    assert_eq!(kept.map(|nack| nack.version), Some("1".into()), "the last rejection is remembered");
}

#[tokio::test]
async fn confirmation_of_a_version_does_not_count_what_was_acknowledged_before() {
    let running = Running::start(Settings::default()).await;
    running.publish(snapshot("1", &[cluster("a", &[])], &[]));
    let mut client = StateClient::connect(running.address).await;
    client.fetch(Kind::Cluster, &[]).await;
    running.server.confirm("1", PATIENCE).await;
    for version in 2..100 {
        let version = version.to_string();
        running.publish(snapshot(&version, &[cluster(&format!("a{version}"), &[])], &[]));
        let early = running.server.confirm(&version, Duration::ZERO).await;
        assert!(matches!(early, Confirmation::TimedOut { acknowledged: 0, .. }), "{early:?}");
        let got = client.next().await;
        client.ack(&got, &[]).await;
        let confirmed = running.server.confirm(&version, PATIENCE).await;
        assert_eq!(confirmed, Confirmation::Acknowledged { clients: 1 });
    }
}

#[tokio::test]
async fn long_texts_of_a_client_are_cut() {
    let running = Running::start(Settings::default()).await;
    let client = StateClient::connect(running.address).await;
    let node = crate::client::node(&"n".repeat(1_000));
    let asked = request(Kind::Cluster, &[], "", "");
    client.send(DiscoveryRequest { node: Some(node), ..asked }).await;
    eventually("a client", || running.server.clients().len() == 1).await;
    assert_eq!(running.server.clients()[0].node_id.len(), 256);
}

#[tokio::test]
async fn a_server_that_stops_ends_its_streams() {
    let running = Running::start(Settings::default()).await;
    running.publish(snapshot("1", &[cluster("a", &[])], &[]));
    let mut client = StateClient::connect(running.address).await;
    client.fetch(Kind::Cluster, &[]).await;
    let server = running.server.clone();
    running.stop().await;
    assert_eq!(client.try_next().await.unwrap_err().code(), Code::Unavailable);
    eventually("no client", || server.clients().is_empty()).await;
}
