//! Raw clients of both variants, which say exactly what a test wants said.

use std::collections::HashMap;
use std::net::SocketAddr;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
};
use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status as RpcStatus;
use flyball_xds::Kind;
use prost::Message as _;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming, transport::Channel};

use crate::support::PATIENCE;

/// A response of either variant.
#[derive(Clone, Debug)]
pub(crate) struct Got {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    pub(crate) nonce: String,
    /// Names of the resources, sorted.
    pub(crate) names: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// Versions of the resources by name; delta alone.
    pub(crate) versions: HashMap<String, String>,
    pub(crate) bodies: Vec<Any>,
}

impl Got {
    /// Type and names, in short.
    pub(crate) fn what(&self) -> (Kind, Vec<&str>) {
        (self.kind, self.names.iter().map(String::as_str).collect())
    }
}

async fn connect(address: SocketAddr) -> AggregatedDiscoveryServiceClient<Channel> {
    AggregatedDiscoveryServiceClient::connect(format!("http://{address}"))
        .await
        .expect("a connection")
}

async fn read<M>(responses: &mut Streaming<M>) -> Result<M, Status> {
    let message = tokio::time::timeout(PATIENCE, responses.message()).await;
    let message = message.expect("no response came");
    message.and_then(|message| message.ok_or_else(|| Status::ok("end of stream")))
}

pub(crate) fn strings(names: &[&str]) -> Vec<String> {
    names.iter().map(ToString::to_string).collect()
}

fn name_of(body: &Any) -> String {
    #[derive(Clone, PartialEq, prost::Message)]
    struct Named {
        #[prost(string, tag = "1")]
        name: String,
    }
    Named::decode(body.value.as_slice()).expect("a name").name
}

pub(crate) fn kind_of(url: &str) -> Kind {
    let kinds = [Kind::Cluster, Kind::Endpoint, Kind::Listener, Kind::Route];
    kinds.into_iter().find(|kind| kind.type_url() == url).expect("a known type")
}

fn sorted(mut names: Vec<String>) -> Vec<String> {
    names.sort();
    names
}

/// A client of state of the world.
pub(crate) struct StateClient {
    requests: mpsc::Sender<DiscoveryRequest>,
    responses: Streaming<DiscoveryResponse>,
    barriers: usize,
}

impl StateClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        Self::try_connect(address).await.expect("a stream")
    }

    pub(crate) async fn try_connect(address: SocketAddr) -> Result<Self, Status> {
        let (requests, receiver) = mpsc::channel(64);
        let stream = ReceiverStream::new(receiver);
        let responses = connect(address).await.stream_aggregated_resources(stream).await?;
        Ok(Self { requests, responses: responses.into_inner(), barriers: 0 })
    }

    pub(crate) async fn send(&self, request: DiscoveryRequest) {
        self.requests.send(request).await.expect("a stream");
    }

    /// Asks for names, as the first request of a type.
    pub(crate) async fn ask(&self, kind: Kind, names: &[&str]) {
        self.send(request(kind, names, "", "")).await;
    }

    /// Acknowledges, asking for these names.
    pub(crate) async fn ack(&self, got: &Got, names: &[&str]) {
        self.send(request(got.kind, names, &got.version, &got.nonce)).await;
    }

    /// Rejects, asking for these names.
    pub(crate) async fn nack(&self, got: &Got, names: &[&str], last_good: &str, message: &str) {
        let error_detail = RpcStatus { code: 13, message: message.into(), details: Vec::new() };
        let request = request(got.kind, names, last_good, &got.nonce);
        self.send(DiscoveryRequest { error_detail: Some(error_detail), ..request }).await;
    }

    pub(crate) async fn next(&mut self) -> Got {
        self.try_next().await.expect("a response")
    }

    pub(crate) async fn try_next(&mut self) -> Result<Got, Status> {
        let response = read(&mut self.responses).await?;
        Ok(Got {
            kind: kind_of(&response.type_url),
            version: response.version_info,
            nonce: response.nonce,
            names: sorted(response.resources.iter().map(name_of).collect()),
            removed: Vec::new(),
            versions: HashMap::new(),
            bodies: response.resources,
        })
    }

    /// Asks for names, takes the answer and acknowledges it.
    pub(crate) async fn fetch(&mut self, kind: Kind, names: &[&str]) -> Got {
        self.ask(kind, names).await;
        let got = self.next().await;
        assert_eq!(got.kind, kind);
        self.ack(&got, names).await;
        got
    }

    /// Shows that the server has nothing more to say: it takes requests of a stream in turn, so an
    /// answer to all that was said would come before the answer to this. Asks for an unknown name
    /// of a type that the test must not use otherwise.
    pub(crate) async fn quiet(&mut self, spare: Kind) {
        self.barriers += 1;
        let name = format!("barrier-{}", self.barriers);
        self.ask(spare, &[&name]).await;
        let got = self.next().await;
        assert_eq!(got.what(), (spare, vec![]), "an answer that should not be");
        self.ack(&got, &[&name]).await;
    }
}

pub(crate) fn request(kind: Kind, names: &[&str], version: &str, nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        node: Some(node("raw")),
        version_info: version.into(),
        resource_names: strings(names),
        type_url: kind.type_url(),
        response_nonce: nonce.into(),
        ..Default::default()
    }
}

pub(crate) fn node(id: &str) -> Node {
    Node { id: id.into(), user_agent_name: "raw".into(), ..Default::default() }
}

/// A delta client.
pub(crate) struct DeltaClient {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    barriers: usize,
}

impl DeltaClient {
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let (requests, receiver) = mpsc::channel(64);
        let stream = ReceiverStream::new(receiver);
        let responses =
            connect(address).await.delta_aggregated_resources(stream).await.expect("a stream");
        Self { requests, responses: responses.into_inner(), barriers: 0 }
    }

    pub(crate) async fn send(&self, request: DeltaDiscoveryRequest) {
        self.requests.send(request).await.expect("a stream");
    }

    pub(crate) async fn subscribe(&self, kind: Kind, names: &[&str]) {
        self.send(delta(kind, names, &[])).await;
    }

    pub(crate) async fn unsubscribe(&self, kind: Kind, names: &[&str]) {
        self.send(delta(kind, &[], names)).await;
    }

    /// Subscribes as a client that comes back and holds these versions.
    pub(crate) async fn resume(&self, kind: Kind, names: &[&str], held: &[(&str, &str)]) {
        let held = held.iter().map(|(name, version)| ((*name).into(), (*version).into()));
        let initial_resource_versions = held.collect();
        let request = delta(kind, names, &[]);
        self.send(DeltaDiscoveryRequest { initial_resource_versions, ..request }).await;
    }

    pub(crate) async fn ack(&self, got: &Got) {
        let request = delta(got.kind, &[], &[]);
        self.send(DeltaDiscoveryRequest { response_nonce: got.nonce.clone(), ..request }).await;
    }

    pub(crate) async fn nack(&self, got: &Got, message: &str) {
        let error_detail =
            Some(RpcStatus { code: 13, message: message.into(), details: Vec::new() });
        let response_nonce = got.nonce.clone();
        let request = delta(got.kind, &[], &[]);
        self.send(DeltaDiscoveryRequest { response_nonce, error_detail, ..request }).await;
    }

    pub(crate) async fn next(&mut self) -> Got {
        self.try_next().await.expect("a response")
    }

    pub(crate) async fn try_next(&mut self) -> Result<Got, Status> {
        let response = read(&mut self.responses).await?;
        let versions =
            response.resources.iter().map(|one| (one.name.clone(), one.version.clone())).collect();
        let names = response.resources.iter().map(|one| one.name.clone()).collect();
        let bodies = response.resources.into_iter().filter_map(|one| one.resource).collect();
        Ok(Got {
            kind: kind_of(&response.type_url),
            version: response.system_version_info,
            nonce: response.nonce,
            names: sorted(names),
            removed: sorted(response.removed_resources),
            versions,
            bodies,
        })
    }

    pub(crate) async fn fetch(&mut self, kind: Kind, names: &[&str]) -> Got {
        self.subscribe(kind, names).await;
        let got = self.next().await;
        assert_eq!(got.kind, kind);
        self.ack(&got).await;
        got
    }

    /// Shows that the server has nothing more to say, see [`StateClient::quiet`].
    pub(crate) async fn quiet(&mut self, spare: Kind) {
        self.barriers += 1;
        let name = format!("barrier-{}", self.barriers);
        self.subscribe(spare, &[&name]).await;
        let got = self.next().await;
        assert_eq!(got.removed, [name], "an answer that should not be: {got:?}");
        self.ack(&got).await;
    }
}

pub(crate) fn delta(kind: Kind, subscribe: &[&str], unsubscribe: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        node: Some(node("raw")),
        type_url: kind.type_url(),
        resource_names_subscribe: strings(subscribe),
        resource_names_unsubscribe: strings(unsubscribe),
        ..Default::default()
    }
}
