//! Rules 1 to 14: state of the world.

use std::collections::HashSet;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use flyball_xds::snapshot::{Listener, Route};
use flyball_xds::{Error, Kind, Settings, Snapshot};

use crate::client::{Got, StateClient, request};
use crate::support::{Running, api, cluster, eventually, snapshot, socket};

/// Clusters `a` and `b`, and a listener of Envoy and one of gRPC that route to `a`.
fn base(version: &str) -> Snapshot {
    snapshot(
        version,
        &[cluster("a", &[(1, 10), (2, 20)]), cluster("b", &[(3, 30)])],
        &[socket("front", 4, "a"), api("grpc", "a")],
    )
}

/// The same with another weight in `a`.
fn weighted(version: &str, weight: u32) -> Snapshot {
    let mut snapshot = base(version);
    snapshot.clusters[0].endpoints[0].weight = weight;
    snapshot
}

async fn running(snapshot: Snapshot) -> (Running, StateClient) {
    let running = Running::start(Settings::default()).await;
    running.publish(snapshot);
    let client = StateClient::connect(running.address).await;
    (running, client)
}

/// Waits until the server took in as many acknowledgements.
async fn acked(running: &Running, count: u64) {
    eventually("acknowledgements", || running.server.metrics().acks == count).await;
}

#[tokio::test]
async fn rule_1_the_node_is_remembered_from_the_first_request() {
    let (running, mut client) = running(base("1")).await;
    client.ask(Kind::Cluster, &[]).await;
    let got = client.next().await;
    let without = DiscoveryRequest { node: None, ..request(Kind::Cluster, &[], "1", &got.nonce) };
    client.send(without).await;
    acked(&running, 1).await;
    let clients = running.server.clients();
    assert_eq!((clients[0].node_id.as_str(), clients[0].user_agent.as_str()), ("raw", "raw"));
}

#[tokio::test]
async fn rule_2_state_is_kept_for_each_type() {
    let (running, mut client) = running(base("1")).await;
    client.ask(Kind::Cluster, &[]).await;
    let clusters = client.next().await;
    let endpoints = client.fetch(Kind::Endpoint, &["a"]).await;
    assert_ne!(clusters.nonce, endpoints.nonce);
    acked(&running, 1).await;
    let status = &running.server.clients()[0];
    let kinds: Vec<_> =
        status.kinds.iter().map(|kind| (kind.kind, kind.acked.as_deref())).collect();
    assert_eq!(kinds, [(Kind::Cluster, None), (Kind::Endpoint, Some("1"))]);
    client.ack(&clusters, &[]).await;
    acked(&running, 2).await;
    assert!(running.server.clients()[0].in_sync());
}

#[tokio::test]
async fn rule_3_a_stale_nonce_is_not_answered() {
    let (running, mut client) = running(base("1")).await;
    let first = client.fetch(Kind::Endpoint, &["a"]).await;
    acked(&running, 1).await;
    running.publish(weighted("2", 11));
    let second = client.next().await;
    client.ack(&first, &["a", "b"]).await;
    client.ack(&Got { nonce: "9.9".into(), ..first.clone() }, &["a", "b"]).await;
    client.quiet(Kind::Listener).await;
    assert_eq!(running.server.metrics().requests_stale, 2);
    client.ack(&second, &["a", "b"]).await;
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["b"]));
}

#[tokio::test]
async fn rule_3_nonces_are_unique_over_types_and_streams() {
    let (running, mut client) = running(base("1")).await;
    let mut other = StateClient::connect(running.address).await;
    let mut nonces = HashSet::new();
    for kind in [Kind::Cluster, Kind::Listener] {
        nonces.insert(client.fetch(kind, &[]).await.nonce);
        nonces.insert(other.fetch(kind, &[]).await.nonce);
    }
    assert_eq!(nonces.len(), 4);
}

#[tokio::test]
async fn rule_4_an_error_alone_means_rejection() {
    let (running, mut client) = running(base("1")).await;
    client.ask(Kind::Cluster, &[]).await;
    let got = client.next().await;
    client.send(request(Kind::Cluster, &[], "something else", &got.nonce)).await;
    acked(&running, 1).await;
    client.ask(Kind::Endpoint, &["a"]).await;
    let got = client.next().await;
    let error_detail = Some(RpcStatus { code: 3, message: "no".into(), details: Vec::new() });
    let with_new_version = request(Kind::Endpoint, &["a"], "1", &got.nonce);
    client.send(DiscoveryRequest { error_detail, ..with_new_version }).await;
    eventually("a rejection", || running.server.metrics().nacks == 1).await;
    let status = &running.server.clients()[0];
    let (kind, nack) = status.refuses().unwrap();
    assert_eq!((kind, nack.code, nack.message.as_str()), (Kind::Endpoint, 3, "no"));
}

#[tokio::test]
async fn rule_5_a_rejected_version_is_not_sent_again() {
    let (running, mut client) = running(base("1")).await;
    client.fetch(Kind::Endpoint, &["a"]).await;
    acked(&running, 1).await;
    running.publish(weighted("2", 11));
    let second = client.next().await;
    client.nack(&second, &["a"], "1", "bad").await;
    client.quiet(Kind::Listener).await;
    // A new name does not bring the rejected one back.
    client.nack(&second, &["a", "b"], "1", "bad").await;
    let got = client.next().await;
    assert_eq!((got.what(), got.version.as_str()), ((Kind::Endpoint, vec!["b"]), "2~"));
    client.ack(&got, &["a", "b"]).await;
    // A snapshot that leaves the type alone does not either, a new version does.
    let mut listeners = weighted("3", 11);
    listeners.listeners.pop();
    running.publish(listeners);
    client.quiet(Kind::Listener).await;
    assert_eq!(running.server.metrics().nacks, 1);
    running.publish(weighted("4", 12));
    let got = client.next().await;
    assert_eq!((got.what(), got.version.as_str()), ((Kind::Endpoint, vec!["a"]), "4"));
}

#[tokio::test]
async fn rule_5_the_last_good_state_is_served_beside_a_rejected_one() {
    let (running, mut client) = running(base("1")).await;
    let good = client.fetch(Kind::Cluster, &["a"]).await;
    acked(&running, 1).await;
    let mut changed = base("2");
    changed.clusters[0].http2 = true;
    running.publish(changed);
    let bad = client.next().await;
    client.nack(&bad, &["a", "b"], "1", "bad").await;
    let got = client.next().await;
    assert_eq!((got.what(), got.version.as_str()), ((Kind::Cluster, vec!["a", "b"]), "2~"));
    assert_eq!(got.bodies[0], good.bodies[0], "the rejected cluster came again");
}

#[tokio::test]
async fn rule_6_new_names_are_answered_and_acknowledgements_are_not() {
    let (running, mut client) = running(base("1")).await;
    let first = client.fetch(Kind::Endpoint, &["a"]).await;
    client.quiet(Kind::Listener).await;
    client.ack(&first, &["a", "b"]).await;
    let second = client.next().await;
    assert_eq!(second.what(), (Kind::Endpoint, vec!["b"]));
    client.ack(&second, &["b"]).await;
    client.quiet(Kind::Listener).await;
    // Sent before, unchanged, unsubscribed since: sent again.
    client.ack(&second, &["a", "b"]).await;
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["a"]));
    drop(running);
}

#[tokio::test]
async fn rule_7_endpoints_follow_a_changed_cluster_though_unchanged() {
    let (running, mut client) = running(base("1")).await;
    let clusters = client.fetch(Kind::Cluster, &[]).await;
    let endpoints = client.fetch(Kind::Endpoint, &["a", "b"]).await;
    acked(&running, 2).await;
    let mut changed = base("2");
    changed.clusters[0].http2 = true;
    running.publish(changed);
    let got = client.next().await;
    assert_eq!(got.what(), (Kind::Cluster, vec!["a", "b"]));
    // The client says what looks like an acknowledgement of the old endpoints; it warms the
    // cluster.
    client.ack(&endpoints, &["a", "b"]).await;
    let again = client.next().await;
    assert_eq!((again.what(), again.version.as_str()), ((Kind::Endpoint, vec!["a"]), "2"));
    client.ack(&again, &["a", "b"]).await;
    client.ack(&got, &[]).await;
    client.quiet(Kind::Listener).await;
    assert_ne!(clusters.nonce, got.nonce);
}

#[tokio::test]
async fn rule_7_endpoints_follow_a_cluster_that_went_and_came_back() {
    let (running, mut client) = running(base("1")).await;
    client.fetch(Kind::Cluster, &[]).await;
    client.fetch(Kind::Endpoint, &["a", "b"]).await;
    acked(&running, 2).await;
    let mut without = base("2");
    without.clusters.pop();
    running.publish(without);
    let got = client.next().await;
    assert_eq!(got.what(), (Kind::Cluster, vec!["a"]));
    client.ack(&got, &[]).await;
    acked(&running, 3).await;
    running.publish(base("3"));
    assert_eq!(client.next().await.what(), (Kind::Cluster, vec!["a", "b"]));
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["b"]));
}

#[tokio::test]
async fn rule_8_no_names_means_all_only_until_a_name_was_sent() {
    let (running, mut client) = running(base("1")).await;
    let all = client.fetch(Kind::Cluster, &[]).await;
    assert_eq!(all.names, ["a", "b"]);
    client.ack(&all, &["a"]).await;
    let one = client.next().await;
    assert_eq!(one.names, ["a"]);
    client.ack(&one, &[]).await;
    acked(&running, 2).await;
    running.publish(snapshot("2", &[cluster("a", &[]), cluster("c", &[])], &[]));
    client.quiet(Kind::Listener).await;
    client.ack(&one, &["*", "c"]).await;
    let both = client.next().await;
    assert_eq!(both.names, ["a", "c"]);
    client.ack(&both, &["*", "c"]).await;
    // Types without a wildcard: no names, nothing.
    client.ask(Kind::Endpoint, &[]).await;
    client.quiet(Kind::Listener).await;
}

#[tokio::test]
async fn rule_8_listeners_of_grpc_are_given_by_name_alone() {
    let (running, mut client) = running(base("1")).await;
    assert_eq!(client.fetch(Kind::Listener, &[]).await.names, ["front"]);
    let mut other = StateClient::connect(running.address).await;
    assert_eq!(other.fetch(Kind::Listener, &["grpc"]).await.names, ["grpc"]);
}

#[tokio::test]
async fn rule_9_clusters_are_complete_and_endpoints_are_not() {
    let (running, mut client) = running(base("1")).await;
    client.fetch(Kind::Cluster, &[]).await;
    client.fetch(Kind::Endpoint, &["a", "b"]).await;
    acked(&running, 2).await;
    running.publish(weighted("2", 11));
    let got = client.next().await;
    assert_eq!(got.what(), (Kind::Endpoint, vec!["a"]), "the unchanged cluster's endpoints");
    client.ack(&got, &["a", "b"]).await;
    acked(&running, 3).await;
    running.publish(snapshot("3", &[], &[]));
    assert_eq!(client.next().await.what(), (Kind::Cluster, vec![]), "all are deleted");
}

#[tokio::test]
async fn rule_10_names_are_unique_and_types_are_set() {
    let (_running, mut client) = running(base("1")).await;
    for (kind, names) in [(Kind::Cluster, vec!["a", "*", "a"]), (Kind::Endpoint, vec!["b", "b"])] {
        let got = client.fetch(kind, &names).await;
        let unique: HashSet<_> = got.names.iter().collect();
        assert_eq!(unique.len(), got.names.len());
        assert!(got.bodies.iter().all(|body| body.type_url == kind.type_url()));
    }
    client.send(DiscoveryRequest::default()).await;
    assert_eq!(client.try_next().await.unwrap_err().code(), tonic::Code::InvalidArgument);
}

#[tokio::test]
async fn rule_10_unknown_types_are_left_without_an_answer() {
    let (running, mut client) = running(base("1")).await;
    let type_url = "type.googleapis.com/envoy.service.runtime.v3.Runtime".into();
    client.send(DiscoveryRequest { type_url, ..request(Kind::Cluster, &[], "", "") }).await;
    assert_eq!(client.fetch(Kind::Cluster, &[]).await.names, ["a", "b"]);
    assert_eq!(running.server.metrics().requests_unknown_type, 1);
}

#[tokio::test]
async fn rule_11_unknown_names_are_sent_when_they_come_into_existence() {
    let (running, mut client) = running(base("1")).await;
    client.ask(Kind::Endpoint, &["c"]).await;
    client.ask(Kind::Route, &["later"]).await;
    client.quiet(Kind::Listener).await;
    running.publish(snapshot("2", &[cluster("c", &[(5, 5)])], &[api("later", "c")]));
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["c"]));
    assert_eq!(client.next().await.what(), (Kind::Route, vec!["later"]));
}

#[tokio::test]
async fn rule_11_newer_requests_supersede_older_ones() {
    let (_running, mut client) = running(base("1")).await;
    client.ask(Kind::Endpoint, &["a"]).await;
    client.ask(Kind::Endpoint, &["a", "b"]).await;
    let (first, second) = (client.next().await, client.next().await);
    assert_eq!((first.names[0].as_str(), second.names[0].as_str()), ("a", "b"));
    // The older answer's names are those of an older request.
    client.ack(&first, &["a"]).await;
    client.ack(&second, &["a", "b"]).await;
    client.quiet(Kind::Listener).await;
}

#[tokio::test]
async fn rule_12_a_new_stream_gets_everything() {
    let (running, mut client) = running(base("1")).await;
    let got = client.fetch(Kind::Cluster, &[]).await;
    drop(client);
    let mut again = StateClient::connect(running.address).await;
    again.send(request(Kind::Cluster, &[], &got.version, &got.nonce)).await;
    let got = again.next().await;
    assert_eq!((got.names.len(), got.version.as_str()), (2, "1"));
    eventually("the old stream to end", || running.server.clients().len() == 1).await;
}

/// A client of all types that holds version 1.
async fn full(running: &Running, client: &mut StateClient) -> [Got; 4] {
    let got = [
        client.fetch(Kind::Cluster, &[]).await,
        client.fetch(Kind::Endpoint, &["a", "b"]).await,
        client.fetch(Kind::Listener, &[]).await,
        client.fetch(Kind::Route, &["front"]).await,
    ];
    acked(running, 4).await;
    got
}

/// Everything moves from clusters `a` and `b` to `c`.
fn moved(version: &str) -> Snapshot {
    let clusters = [cluster("b", &[(3, 30)]), cluster("c", &[(9, 90)])];
    let front = socket("front", 4, "c");
    let other = Listener { routes: vec![Route::all("b")], ..socket("other", 5, "b") };
    snapshot(version, &clusters, &[front, other])
}

#[tokio::test]
async fn rule_13_make_before_break() {
    let (running, mut client) = running(base("1")).await;
    full(&running, &mut client).await;
    running.publish(moved("2"));
    // The new cluster first, the one in use stays.
    let clusters = client.next().await;
    assert_eq!(clusters.what(), (Kind::Cluster, vec!["a", "b", "c"]));
    assert_eq!(clusters.version, "2+");
    client.ask(Kind::Endpoint, &["a", "b", "c"]).await;
    let endpoints = client.next().await;
    assert_eq!(endpoints.what().0, Kind::Endpoint);
    assert!(endpoints.names.contains(&"c".into()));
    client.ack(&endpoints, &["a", "b", "c"]).await;
    // Listeners and routes wait until the clusters are acknowledged, thus warm.
    acked(&running, 5).await;
    assert_eq!(running.server.metrics().responses, 6);
    client.ack(&clusters, &[]).await;
    let listeners = client.next().await;
    assert_eq!(listeners.what(), (Kind::Listener, vec!["front", "other"]));
    let routes = client.next().await;
    assert_eq!(routes.what(), (Kind::Route, vec!["front"]));
    assert!(!running.server.clients()[0].in_sync());
    // What is not in use any more goes last.
    client.ack(&listeners, &[]).await;
    client.ack(&routes, &["front"]).await;
    let last = client.next().await;
    assert_eq!((last.what(), last.version.as_str()), ((Kind::Cluster, vec!["b", "c"]), "2"));
    client.ack(&last, &[]).await;
    eventually("version 2", || running.server.clients()[0].in_sync()).await;
}

#[tokio::test]
async fn rule_13_clusters_stay_while_a_client_asks_for_them_by_name() {
    let (running, mut client) = running(base("1")).await;
    // As gRPC asks: for what its routes name, and for as long as calls go there.
    client.fetch(Kind::Listener, &["grpc"]).await;
    client.fetch(Kind::Route, &["grpc"]).await;
    let clusters = client.fetch(Kind::Cluster, &["a"]).await;
    let endpoints = client.fetch(Kind::Endpoint, &["a"]).await;
    acked(&running, 4).await;
    running.publish(snapshot("2", &[cluster("c", &[(9, 90)])], &[api("grpc", "c")]));
    let routes = client.next().await;
    assert_eq!(routes.what(), (Kind::Route, vec!["grpc"]));
    client.ack(&routes, &["grpc"]).await;
    client.ack(&clusters, &["a", "c"]).await;
    let clusters = client.next().await;
    assert_eq!((clusters.what(), &*clusters.version), ((Kind::Cluster, vec!["a", "c"]), "2+"));
    client.ack(&endpoints, &["a", "c"]).await;
    let endpoints = client.next().await;
    assert_eq!(endpoints.what(), (Kind::Endpoint, vec!["c"]));
    client.ack(&clusters, &["a", "c"]).await;
    client.ack(&endpoints, &["a", "c"]).await;
    // A call that is still on its way keeps nobody waiting.
    eventually("version 2", || running.server.clients()[0].in_sync()).await;
    // It has ended, and what is asked for anew is not there.
    client.ack(&clusters, &["c"]).await;
    client.ack(&clusters, &["c", "a"]).await;
    let clusters = client.next().await;
    assert_eq!((clusters.what(), &*clusters.version), ((Kind::Cluster, vec!["c"]), "2"));
}

#[tokio::test]
async fn rule_13_listeners_asked_for_wait_until_clusters_are_acknowledged() {
    let (running, mut client) = running(base("1")).await;
    client.ask(Kind::Cluster, &[]).await;
    let clusters = client.next().await;
    client.ask(Kind::Listener, &[]).await;
    client.ask(Kind::Endpoint, &["a"]).await;
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["a"]));
    client.ack(&clusters, &[]).await;
    assert_eq!(client.next().await.what(), (Kind::Listener, vec!["front"]));
    drop(running);
}

#[tokio::test]
async fn rule_13_rejected_clusters_hold_routes_back() {
    let (running, mut client) = running(base("1")).await;
    let got = full(&running, &mut client).await;
    running.publish(moved("2"));
    let clusters = client.next().await;
    client.nack(&clusters, &[], "1", "bad cluster").await;
    eventually("a rejection", || running.server.metrics().nacks == 1).await;
    client.ack(&got[3], &["front", "unknown"]).await;
    client.ack(&got[1], &["a", "b"]).await;
    // The last answer of a type that is always answered: nothing came before it.
    client.ack(&got[2], &["front"]).await;
    assert_eq!(client.next().await.what(), (Kind::Listener, vec!["front"]));
}

#[tokio::test]
async fn rule_14_an_inconsistent_snapshot_is_refused_and_the_old_one_stays() {
    let (running, mut client) = running(base("1")).await;
    let mut broken = base("2");
    broken.listeners[0].routes[0].cluster = "nope".into();
    let Err(Error::Snapshot(error)) = running.server.publish(broken) else { panic!("accepted") };
    assert_eq!(error.to_string(), "listeners[front].routes[0].cluster: no cluster nope");
    assert_eq!(client.fetch(Kind::Cluster, &[]).await.version, "1");
    assert_eq!(running.server.snapshot().unwrap().version, "1");
    assert!(running.server.publish(weighted("1", 99)).is_err(), "a version with another content");
    assert_eq!(running.server.publish(base("1")).unwrap().changed, []);
    assert_eq!(running.server.metrics().snapshots_refused, 2);
}

#[tokio::test]
async fn rule_14_a_version_that_changes_nothing_is_acknowledged_without_a_response() {
    let (running, mut client) = running(base("1")).await;
    full(&running, &mut client).await;
    assert_eq!(running.server.publish(base("2")).unwrap().changed, []);
    let weights = running.server.publish(weighted("3", 11)).unwrap();
    assert_eq!(weights.changed, [Kind::Endpoint]);
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["a"]));
    client.quiet(Kind::Cluster).await;
}

#[tokio::test]
async fn rule_18_pushes_coalesce_while_a_response_is_unanswered() {
    let (running, mut client) = running(base("1")).await;
    client.fetch(Kind::Endpoint, &["a"]).await;
    acked(&running, 1).await;
    running.publish(weighted("2", 12));
    let second = client.next().await;
    for version in 3..=100 {
        running.publish(weighted(&version.to_string(), version));
    }
    client.ack(&second, &["a"]).await;
    let newest = client.next().await;
    assert_eq!(newest.version, "100");
    client.ack(&newest, &["a"]).await;
    client.quiet(Kind::Listener).await;
    assert_eq!(running.server.metrics().snapshots_overtaken, 98);
}
