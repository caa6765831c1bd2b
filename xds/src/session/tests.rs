//! Any interleaving of snapshots, subscriptions, acknowledgements and rejections, against a model
//! of a client:
//!
//! * once it acknowledges, the client holds exactly what the snapshot wants of it, and nothing more
//!   is sent;
//! * what it rejected does not come again without a new version of the type;
//! * a client of all types that rejects no cluster never holds a route to a cluster that it does
//!   not hold, nor a listener without its routes' clusters;
//! * a cluster that changed is followed by its endpoints;
//! * responses are bounded by what changed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;
use crate::resource::Catalogue;
use crate::snapshot::{Bind, Cluster, Endpoint, Listener, Route, Snapshot};

const MAX_NAMES: usize = 1_000;
const NAMES: [&str; 3] = ["a", "b", "c"];

/// Type and version of a response, and names and versions of its resources.
type Content = (usize, String, Vec<(Arc<str>, String)>);

/// One step of a run.
#[derive(Clone, Debug)]
enum Step {
    /// Clusters with their connect timeout and weight, and the cluster of the one listener, if any.
    Publish(Vec<(usize, u64, u32)>, Option<usize>),
    /// The client takes the oldest response that it has not looked at, and answers.
    Answer { reject: bool },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cluster = (0..NAMES.len(), 1..3_u64, 1..4_u32);
    let clusters = prop::collection::vec(cluster, 0..4);
    let publish = (clusters, prop::option::of(0..NAMES.len()))
        .prop_map(|(clusters, route)| Step::Publish(clusters, route));
    let answer = prop::bool::weighted(0.15).prop_map(|reject| Step::Answer { reject });
    prop::collection::vec(prop_oneof![1 => publish, 2 => answer], 1..60)
}

fn snapshot(clusters: &[(usize, u64, u32)], route: Option<usize>, port: u16) -> Snapshot {
    let clusters: BTreeMap<_, _> =
        clusters.iter().map(|(name, timeout, weight)| (*name, (*timeout, *weight))).collect();
    let listeners = route.filter(|route| clusters.contains_key(route)).map(|route| Listener {
        name: "front".into(),
        bind: Bind::Socket { address: Ipv4Addr::LOCALHOST.into(), port },
        routes: vec![Route {
            timeout: Some(std::time::Duration::from_secs(port.into())),
            ..Route::all(NAMES[route])
        }],
    });
    let clusters = clusters.iter().map(|(name, (timeout, weight))| {
        let endpoints = vec![Endpoint::new(Ipv4Addr::LOCALHOST, 1, *weight)];
        let connect_timeout = std::time::Duration::from_secs(*timeout);
        Cluster { connect_timeout, ..Cluster::new(NAMES[*name], endpoints) }
    });
    Snapshot {
        version: String::new(),
        clusters: clusters.collect(),
        listeners: listeners.into_iter().collect(),
    }
}

/// A client that subscribes as Envoy does: all clusters and listeners, endpoints of its clusters,
/// routes of its listeners.
struct Client {
    protocol: Protocol,
    session: Session,
    unread: VecDeque<Response>,
    held: [Resources; 4],
    nonces: [String; 4],
    /// Clusters that changed and have not seen endpoints since.
    warming: BTreeSet<Arc<str>>,
    /// What was rejected, by type and version of the type.
    rejected: BTreeSet<Content>,
    /// Type, name and version of every resource that it ever accepted.
    accepted: BTreeSet<(usize, Arc<str>, String)>,
    responses: usize,
}

impl Client {
    fn new(protocol: Protocol) -> Self {
        let mut client = Self {
            protocol,
            session: Session::new(protocol, 1, MAX_NAMES),
            unread: VecDeque::new(),
            held: Default::default(),
            nonces: Default::default(),
            warming: BTreeSet::new(),
            rejected: BTreeSet::new(),
            accepted: BTreeSet::new(),
            responses: 0,
        };
        for kind in [Kind::Cluster, Kind::Listener] {
            client.request(kind, "", false);
        }
        client
    }

    /// The names that it wants of a type by name.
    fn names(&self, kind: Kind) -> Vec<String> {
        let parent = match kind {
            Kind::Endpoint => Kind::Cluster,
            Kind::Route => Kind::Listener,
            Kind::Cluster | Kind::Listener => return Vec::new(),
        };
        self.held[parent as usize].keys().map(ToString::to_string).collect()
    }

    fn request(&mut self, kind: Kind, nonce: &str, rejected: bool) {
        let names = self.names(kind);
        let outcome = match self.protocol {
            Protocol::StateOfTheWorld => self.session.request_state(kind, &names, nonce, rejected),
            Protocol::Delta => {
                let initial = std::collections::HashMap::new();
                let request = DeltaRequest {
                    subscribe: &[],
                    unsubscribe: &[],
                    initial: &initial,
                    nonce,
                    rejected,
                };
                self.session.request_delta(kind, &request)
            }
        };
        outcome.unwrap();
    }

    /// Tells the server that names came or went.
    fn resubscribe(&mut self, kind: Kind, before: &[String]) {
        let names = self.names(kind);
        if names == before {
            return;
        }
        if self.protocol == Protocol::StateOfTheWorld {
            let nonce = self.nonces[kind as usize].clone();
            return self.request(kind, &nonce, false);
        }
        let gone: Vec<_> = before.iter().filter(|name| !names.contains(name)).cloned().collect();
        let new: Vec<_> = names.iter().filter(|name| !before.contains(name)).cloned().collect();
        let initial = std::collections::HashMap::new();
        let request = DeltaRequest {
            subscribe: &new,
            unsubscribe: &gone,
            initial: &initial,
            nonce: "",
            rejected: false,
        };
        self.session.request_delta(kind, &request).unwrap();
    }

    /// Takes what is due into the queue.
    fn receive(&mut self, catalogue: &Catalogue) -> Result<(), TestCaseError> {
        for response in self.session.due(catalogue).unwrap() {
            self.responses += 1;
            let kind = response.kind;
            let content = Self::content(&response);
            // What it accepted once may come again with its cluster, as its last good state.
            let accepted = |(name, version): &(Arc<str>, String)| {
                self.accepted.contains(&(kind as usize, Arc::clone(name), version.clone()))
            };
            if !content.2.iter().all(accepted) {
                prop_assert!(!self.rejected.contains(&content), "{content:?} was rejected");
            }
            self.unread.push_back(response);
        }
        Ok(())
    }

    fn content(response: &Response) -> Content {
        let resources = response.resources.iter();
        let content = resources.map(|one| (Arc::clone(&one.name), one.version.clone())).collect();
        (response.kind as usize, response.version.trim_end_matches(['+', '~']).to_owned(), content)
    }

    fn answer(&mut self, reject: bool) -> Result<(), TestCaseError> {
        let Some(response) = self.unread.pop_front() else { return Ok(()) };
        let kind = response.kind;
        self.nonces[kind as usize].clone_from(&response.nonce);
        // Nobody rejects an empty response: there is nothing wrong in it.
        if reject && !response.resources.is_empty() {
            self.rejected.insert(Self::content(&response));
            self.request(kind, &response.nonce, true);
            return Ok(());
        }
        let child = kind.child();
        let before = child.map(|child| self.names(child)).unwrap_or_default();
        self.apply(&response);
        self.check()?;
        self.request(kind, &response.nonce, false);
        if let Some(child) = child {
            self.resubscribe(child, &before);
        }
        Ok(())
    }

    fn apply(&mut self, response: &Response) {
        let kind = response.kind;
        let mut held = std::mem::take(&mut self.held[kind as usize]);
        if self.protocol == Protocol::StateOfTheWorld && kind.complete() {
            let names: BTreeSet<_> = response.resources.iter().map(|one| &one.name).collect();
            held.retain(|name, _| names.contains(name));
        }
        for name in &response.removed {
            held.remove(name);
        }
        for resource in &response.resources {
            let (name, version) = (Arc::clone(&resource.name), resource.version.clone());
            self.accepted.insert((kind as usize, name, version));
            let old = held.insert(Arc::clone(&resource.name), Arc::clone(resource));
            if kind == Kind::Cluster && old.is_none_or(|old| old.version != resource.version) {
                self.warming.insert(Arc::clone(&resource.name));
            }
            if kind == Kind::Endpoint {
                self.warming.remove(&resource.name);
            }
        }
        self.held[kind as usize] = held;
        let (clusters, warming) = (&self.held[Kind::Cluster as usize], &mut self.warming);
        warming.retain(|name| clusters.contains_key(name));
        // A client drops the endpoints of clusters and the routes of listeners that it does not
        // hold.
        for (parent, child) in [(Kind::Cluster, Kind::Endpoint), (Kind::Listener, Kind::Route)] {
            let names: Vec<_> = self.held[parent as usize].keys().cloned().collect();
            self.held[child as usize].retain(|name, _| names.contains(name));
        }
    }

    /// Make before break.
    fn check(&self) -> Result<(), TestCaseError> {
        use envoy_types::pb::envoy::config::route::v3 as rds;
        use prost::Message as _;
        if self.rejected.iter().any(|(kind, ..)| *kind == Kind::Cluster as usize) {
            return Ok(());
        }
        for routes in self.held[Kind::Route as usize].values() {
            let routes = rds::RouteConfiguration::decode(routes.body.value.as_slice()).unwrap();
            for route in &routes.virtual_hosts[0].routes {
                let Some(rds::route::Action::Route(action)) = &route.action else { continue };
                let Some(rds::route_action::ClusterSpecifier::Cluster(name)) =
                    &action.cluster_specifier
                else {
                    continue;
                };
                let clusters = &self.held[Kind::Cluster as usize];
                prop_assert!(clusters.contains_key(name.as_str()), "a route to no cluster {name}");
            }
        }
        Ok(())
    }
}

fn versions(resources: &Resources) -> Vec<(String, String)> {
    resources.values().map(|one| (one.name.to_string(), one.version.clone())).collect()
}

fn run(protocol: Protocol, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut client = Client::new(protocol);
    let mut catalogue: Option<Catalogue> = None;
    let publish = |catalogue: &mut Option<Catalogue>, number: usize, snapshot: Snapshot| {
        let snapshot = Snapshot { version: number.to_string(), ..snapshot };
        *catalogue = Some(Catalogue::after(catalogue.as_ref(), snapshot, usize::MAX).unwrap());
    };
    for (number, step) in steps.iter().enumerate() {
        match step {
            Step::Publish(clusters, route) => {
                publish(&mut catalogue, number, snapshot(clusters, *route, 80));
            }
            Step::Answer { reject } => client.answer(*reject)?,
        }
        if let Some(catalogue) = &catalogue {
            client.receive(catalogue)?;
        }
    }
    // From here on it acknowledges; first what is under way, then a snapshot that changes every
    // cluster, which it has not rejected.
    let settle = |client: &mut Client, catalogue: &Catalogue| {
        let before = client.responses;
        client.receive(catalogue)?;
        while !client.unread.is_empty() {
            client.answer(false)?;
            client.receive(catalogue)?;
            prop_assert!(client.responses - before < 100, "it does not come to rest");
        }
        Ok(())
    };
    if let Some(catalogue) = &catalogue {
        settle(&mut client, catalogue)?;
    }
    let last = [(0, 100, 100), (1, 100, 100), (2, 100, 100)];
    publish(&mut catalogue, steps.len(), snapshot(&last, Some(1), 81));
    settle(&mut client, catalogue.as_ref().expect("published"))?;
    // The clusters once more, their endpoints unchanged.
    let last = last.map(|(name, _, weight)| (name, 101, weight));
    publish(&mut catalogue, steps.len() + 1, snapshot(&last, Some(1), 81));
    let catalogue = catalogue.expect("published");
    settle(&mut client, &catalogue)?;
    for kind in Kind::ALL {
        let (held, wanted) = (&client.held[kind as usize], &catalogue.set(kind).resources);
        prop_assert_eq!(versions(held), versions(wanted), "{:?}", kind);
    }
    prop_assert!(client.warming.is_empty(), "no endpoints for {:?}", client.warming);
    prop_assert!(client.session.status().all(|kind| kind.state.in_sync));
    prop_assert!(client.session.due(&catalogue).unwrap().is_empty(), "it says something again");
    Ok(())
}

/// A client that rejects each answer and asks again, for the same name or always for another one.
fn rejects(rounds: usize, name: impl Fn(usize) -> String) -> (usize, Result<Outcome, OverLimit>) {
    let first = Snapshot { version: "1".into(), ..snapshot(&[(0, 1, 1)], None, 80) };
    let catalogue = Catalogue::after(None, first, usize::MAX).unwrap();
    let mut session = Session::new(Protocol::Delta, 1, MAX_NAMES);
    let initial = std::collections::HashMap::new();
    for round in 0..rounds {
        let names = [name(round)];
        let request = DeltaRequest {
            subscribe: &names,
            unsubscribe: &[],
            initial: &initial,
            nonce: "",
            rejected: false,
        };
        session.request_delta(Kind::Endpoint, &request).unwrap();
        let sent = session.due(&catalogue).unwrap();
        let nonce = sent[0].nonce.as_str();
        let request =
            DeltaRequest { subscribe: &[], unsubscribe: &names, nonce, rejected: true, ..request };
        if let Err(limit) = session.request_delta(Kind::Endpoint, &request) {
            return (round, Err(limit));
        }
    }
    (session.of(Kind::Endpoint).refused_contents(), Ok(Outcome::Request))
}

#[test]
fn what_is_remembered_of_rejections_is_bounded() {
    let (contents, outcome) = rejects(3 * MAX_NAMES, |_| "a".to_owned());
    assert!(outcome.is_ok() && contents <= 2, "{contents} contents of one name");
    let (round, outcome) = rejects(3 * MAX_NAMES, |round| format!("name-{round}"));
    assert_eq!((round, outcome), (MAX_NAMES, Err(OverLimit::Many)), "of one name too many");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_client_of_state_of_the_world_comes_to_hold_the_snapshot(steps in steps()) {
        run(Protocol::StateOfTheWorld, &steps)?;
    }

    #[test]
    fn a_delta_client_comes_to_hold_the_snapshot(steps in steps()) {
        run(Protocol::Delta, &steps)?;
    }
}
