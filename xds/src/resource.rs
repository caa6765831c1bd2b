//! Resources as the protocol knows them: named, versioned, grouped by type.
//!
//! A resource's own version is the hash of its bytes, so that it means the same content after a
//! restart of the server too (delta clients come back with the versions they hold). A type's
//! version is the version of the snapshot which last changed that type, so that a change of weights
//! is not a change of clusters. The endpoints' version moves with the clusters as well: a client
//! that warms a changed cluster must get its endpoints again.

use std::collections::BTreeMap;
use std::sync::Arc;

use envoy_types::pb::envoy::config::{cluster::v3 as cds, endpoint::v3 as eds};
use envoy_types::pb::envoy::config::{listener::v3 as lds, route::v3 as rds};
use envoy_types::pb::google::protobuf::Any;
use prost::Name as _;
use twox_hash::XxHash3_64;

use crate::encode;
use crate::snapshot::{Bind, Snapshot, SnapshotError};

/// The types that are served, in the order in which they are pushed (make before break).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// CDS.
    Cluster,
    /// EDS.
    Endpoint,
    /// LDS.
    Listener,
    /// RDS.
    Route,
}

impl Kind {
    pub(crate) const ALL: [Self; 4] = [Self::Cluster, Self::Endpoint, Self::Listener, Self::Route];

    /// The type in requests and responses.
    pub fn type_url(self) -> String {
        match self {
            Self::Cluster => cds::Cluster::type_url(),
            Self::Endpoint => eds::ClusterLoadAssignment::type_url(),
            Self::Listener => lds::Listener::type_url(),
            Self::Route => rds::RouteConfiguration::type_url(),
        }
    }

    pub(crate) fn from_type_url(url: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.type_url() == url)
    }

    /// A response in state of the world is the complete state, and clients may ask for all names.
    pub(crate) fn complete(self) -> bool {
        matches!(self, Self::Cluster | Self::Listener)
    }

    /// The type whose resource of the same name a client fetches anew when this one changes.
    pub(crate) fn child(self) -> Option<Self> {
        match self {
            Self::Cluster => Some(Self::Endpoint),
            Self::Listener => Some(Self::Route),
            Self::Endpoint | Self::Route => None,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Resource {
    pub(crate) name: Arc<str>,
    /// Hash of the body.
    pub(crate) version: String,
    pub(crate) body: Any,
    /// Given to clients that ask for all names, too.
    pub(crate) wildcard: bool,
}

impl Resource {
    /// What a client says that it holds: the body is not known.
    pub(crate) fn claimed(name: &str, version: &str) -> Arc<Self> {
        let (name, version) = (name.into(), version.to_owned());
        Arc::new(Self { name, version, body: Any::default(), wildcard: true })
    }

    pub(crate) fn is_claimed(&self) -> bool {
        self.body.type_url.is_empty()
    }
}

pub(crate) type Resources = BTreeMap<Arc<str>, Arc<Resource>>;

#[derive(Debug, Default)]
pub(crate) struct Set {
    pub(crate) version: String,
    pub(crate) resources: Resources,
}

/// A checked snapshot, encoded.
#[derive(Debug)]
pub(crate) struct Catalogue {
    pub(crate) snapshot: Arc<Snapshot>,
    sets: [Set; 4],
}

impl Catalogue {
    /// The snapshot after another.
    pub(crate) fn after(
        before: Option<&Self>,
        snapshot: Snapshot,
        max_bytes: usize,
    ) -> Result<Self, SnapshotError> {
        snapshot.check()?;
        let mut sets: [Set; 4] = std::array::from_fn(|_| Set::default());
        for cluster in &snapshot.clusters {
            sets[Kind::Cluster as usize].put(&cluster.name, encode::cluster(cluster), true);
            sets[Kind::Endpoint as usize].put(&cluster.name, encode::endpoints(cluster), true);
        }
        for listener in &snapshot.listeners {
            let socket = matches!(listener.bind, Bind::Socket { .. });
            sets[Kind::Listener as usize].put(&listener.name, encode::listener(listener), socket);
            sets[Kind::Route as usize].put(&listener.name, encode::routes(listener), true);
        }
        for kind in Kind::ALL {
            let bytes: usize = sets[kind as usize].resources.values().map(bytes).sum();
            if bytes > max_bytes {
                let problem = format!("{bytes} bytes of {kind:?} resources, at most {max_bytes}");
                return Err(SnapshotError { field: "snapshot".into(), problem });
            }
        }
        let mut kept = [false; 4];
        for kind in Kind::ALL {
            let parent = kind == Kind::Endpoint && !kept[Kind::Cluster as usize];
            let old = before.map(|before| before.set(kind));
            let same = old.filter(|old| !parent && old.same(&sets[kind as usize]));
            kept[kind as usize] = same.is_some();
            sets[kind as usize].version =
                same.map_or_else(|| snapshot.version.clone(), |old| old.version.clone());
        }
        Ok(Self { snapshot: Arc::new(snapshot), sets })
    }

    pub(crate) fn set(&self, kind: Kind) -> &Set {
        &self.sets[kind as usize]
    }

    /// The types whose version differs.
    pub(crate) fn changed(&self, before: Option<&Self>) -> Vec<Kind> {
        let differs = |kind: &Kind| {
            before.is_none_or(|before| before.set(*kind).version != self.set(*kind).version)
        };
        Kind::ALL.into_iter().filter(differs).collect()
    }
}

impl Set {
    fn put(&mut self, name: &str, body: Any, wildcard: bool) {
        let name: Arc<str> = name.into();
        let version = format!("{:016x}", XxHash3_64::oneshot(&body.value));
        let resource = Resource { name: Arc::clone(&name), version, body, wildcard };
        self.resources.insert(name, Arc::new(resource));
    }

    fn same(&self, other: &Self) -> bool {
        let versions = |set: &Self| -> Vec<(Arc<str>, String)> {
            set.resources.values().map(|r| (Arc::clone(&r.name), r.version.clone())).collect()
        };
        versions(self) == versions(other)
    }
}

/// Size within a response, with what names, types and versions add.
fn bytes(resource: &Arc<Resource>) -> usize {
    resource.body.value.len() + resource.body.type_url.len() + resource.name.len() + 64
}
