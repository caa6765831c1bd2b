//! Rules 15 to 18, and 1 to 14 where delta has its own way.

use flyball_xds::{Kind, Settings, Snapshot};

use crate::client::DeltaClient;
use crate::support::{Running, api, cluster, eventually, snapshot, socket};

fn base(version: &str) -> Snapshot {
    snapshot(
        version,
        &[cluster("a", &[(1, 10), (2, 20)]), cluster("b", &[(3, 30)])],
        &[socket("front", 4, "a"), api("grpc", "a")],
    )
}

fn weighted(version: &str, weight: u32) -> Snapshot {
    let mut snapshot = base(version);
    snapshot.clusters[0].endpoints[0].weight = weight;
    snapshot
}

async fn running(snapshot: Snapshot) -> (Running, DeltaClient) {
    let running = Running::start(Settings::default()).await;
    running.publish(snapshot);
    let client = DeltaClient::connect(running.address).await;
    (running, client)
}

async fn acked(running: &Running, count: u64) {
    eventually("acknowledgements", || running.server.metrics().acks == count).await;
}

#[tokio::test]
async fn rule_15_subscriptions_count_whatever_the_nonce() {
    let (running, mut client) = running(base("1")).await;
    let first = client.fetch(Kind::Endpoint, &["a"]).await;
    let mut stale = crate::client::delta(Kind::Endpoint, &["b"], &[]);
    stale.response_nonce.clone_from(&first.nonce);
    client.send(stale).await;
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["b"]));
    assert_eq!(running.server.metrics().requests_stale, 1);
}

#[tokio::test]
async fn rule_15_an_error_rejects_the_response_of_its_nonce() {
    let (running, mut client) = running(base("1")).await;
    client.subscribe(Kind::Endpoint, &["a", "b"]).await;
    let (one, two) = (client.next().await, client.next().await);
    client.nack(&one, "no").await;
    client.ack(&two).await;
    eventually("both answers", || {
        let metrics = running.server.metrics();
        (metrics.nacks, metrics.acks) == (1, 1)
    })
    .await;
    client.quiet(Kind::Listener).await;
    let clients = running.server.clients();
    let (kind, nack) = clients[0].refuses().unwrap();
    assert_eq!((kind, nack.version.as_str(), nack.message.as_str()), (Kind::Endpoint, "1", "no"));
    // A new version of the rejected one.
    running.publish(weighted("2", 11));
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["a"]));
}

#[tokio::test]
async fn rule_16_a_subscription_is_answered_even_if_it_is_current() {
    let (_running, mut client) = running(base("1")).await;
    client.fetch(Kind::Endpoint, &["a"]).await;
    client.fetch(Kind::Endpoint, &["a"]).await;
    client.subscribe(Kind::Endpoint, &["nope"]).await;
    let got = client.next().await;
    assert_eq!((got.names.len(), got.removed.as_slice()), (0, &["nope".to_owned()][..]));
}

#[tokio::test]
async fn rule_16_unsubscribing_is_answered_only_under_a_wildcard() {
    let (running, mut client) = running(base("1")).await;
    client.fetch(Kind::Cluster, &[]).await;
    client.unsubscribe(Kind::Cluster, &["a"]).await;
    let still = client.next().await;
    assert_eq!(still.what(), (Kind::Cluster, vec!["a"]));
    client.ack(&still).await;
    client.fetch(Kind::Endpoint, &["a"]).await;
    client.unsubscribe(Kind::Endpoint, &["a", "phantom"]).await;
    client.quiet(Kind::Listener).await;
    running.publish(weighted("2", 11));
    client.quiet(Kind::Listener).await;
}

#[tokio::test]
async fn rule_16_a_wildcard_ends_by_name() {
    let (running, mut client) = running(base("1")).await;
    let got = client.fetch(Kind::Cluster, &["*", "b"]).await;
    assert_eq!(got.names, ["a", "b"]);
    client.unsubscribe(Kind::Cluster, &["*"]).await;
    client.quiet(Kind::Listener).await;
    let mut changed = base("2");
    changed.clusters.iter_mut().for_each(|cluster| cluster.http2 = true);
    running.publish(changed);
    assert_eq!(client.next().await.what(), (Kind::Cluster, vec!["b"]));
}

#[tokio::test]
async fn rule_17_a_client_that_comes_back_gets_the_differences() {
    let (running, mut client) = running(base("1")).await;
    let clusters = client.fetch(Kind::Cluster, &[]).await;
    let endpoints = client.fetch(Kind::Endpoint, &["a"]).await;
    drop(client);
    running.publish(weighted("2", 11));
    let mut again = DeltaClient::connect(running.address).await;
    let (a, b) = (clusters.versions["a"].as_str(), clusters.versions["b"].as_str());
    again.resume(Kind::Cluster, &[], &[("a", a), ("b", b), ("gone", "x")]).await;
    let got = again.next().await;
    assert_eq!((got.names.len(), got.removed.as_slice()), (0, &["gone".to_owned()][..]));
    let held = endpoints.versions["a"].as_str();
    again.resume(Kind::Endpoint, &["a", "b"], &[("a", held), ("b", "old")]).await;
    let (one, two) = (again.next().await, again.next().await);
    assert_eq!((one.names, two.names), (vec!["a".to_owned()], vec!["b".to_owned()]));
    let mut current = DeltaClient::connect(running.address).await;
    let (one, two) = (one.versions["a"].as_str(), two.versions["b"].as_str());
    current.resume(Kind::Endpoint, &["a", "b"], &[("a", one), ("b", two)]).await;
    current.quiet(Kind::Listener).await;
}

#[tokio::test]
async fn rule_17_versions_mean_the_same_content_after_a_restart() {
    let (first, mut client) = running(base("1")).await;
    let got = client.fetch(Kind::Endpoint, &["a"]).await;
    first.stop().await;
    let (_second, mut client) = running(base("another")).await;
    client.resume(Kind::Endpoint, &["a"], &[("a", got.versions["a"].as_str())]).await;
    client.quiet(Kind::Listener).await;
}

#[tokio::test]
async fn rule_17_each_cluster_has_a_response_of_its_own() {
    let (running, mut client) = running(base("1")).await;
    client.subscribe(Kind::Endpoint, &["a", "b"]).await;
    let (one, two) = (client.next().await, client.next().await);
    assert_eq!((one.names.len(), two.names.len()), (1, 1));
    assert_ne!(one.nonce, two.nonce);
    drop(running);
}

#[tokio::test]
async fn rule_7_endpoints_follow_a_changed_cluster_in_delta_too() {
    let (running, mut client) = running(base("1")).await;
    client.fetch(Kind::Cluster, &[]).await;
    client.fetch(Kind::Endpoint, &["a"]).await;
    acked(&running, 2).await;
    let mut changed = base("2");
    changed.clusters[0].http2 = true;
    running.publish(changed);
    assert_eq!(client.next().await.what(), (Kind::Cluster, vec!["a"]));
    assert_eq!(client.next().await.what(), (Kind::Endpoint, vec!["a"]));
}

#[tokio::test]
async fn rule_13_make_before_break_in_delta_too() {
    let (running, mut client) = running(base("1")).await;
    client.fetch(Kind::Cluster, &[]).await;
    client.fetch(Kind::Listener, &[]).await;
    client.fetch(Kind::Route, &["front"]).await;
    acked(&running, 3).await;
    let clusters = [cluster("b", &[(3, 30)]), cluster("c", &[(9, 90)])];
    running.publish(snapshot("2", &clusters, &[socket("front", 4, "c")]));
    let added = client.next().await;
    assert_eq!((added.what(), added.removed.len()), ((Kind::Cluster, vec!["c"]), 0));
    client.ack(&added).await;
    let routes = client.next().await;
    assert_eq!(routes.what(), (Kind::Route, vec!["front"]));
    client.ack(&routes).await;
    let last = client.next().await;
    assert_eq!((last.kind, last.removed.as_slice()), (Kind::Cluster, &["a".to_owned()][..]));
}

#[tokio::test]
async fn rule_18_types_interleave_and_pushes_coalesce() {
    let (running, mut client) = running(base("1")).await;
    client.fetch(Kind::Endpoint, &["a"]).await;
    acked(&running, 1).await;
    running.publish(weighted("2", 12));
    let second = client.next().await;
    for version in 3..=50 {
        running.publish(weighted(&version.to_string(), version));
    }
    // Another type is served while the endpoints wait for their answer.
    assert_eq!(client.fetch(Kind::Cluster, &[]).await.names, ["a", "b"]);
    client.ack(&second).await;
    let newest = client.next().await;
    assert_eq!(newest.version, "50");
    client.ack(&newest).await;
    client.quiet(Kind::Listener).await;
}
