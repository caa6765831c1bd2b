//! What one stream has been told, and what it must be told next. Pure: requests and snapshots go
//! in, responses come out.
//!
//! Both variants of the protocol share one idea: for each type there is what the client *shall*
//! hold (the target), what it was told last, and what it acknowledged. Whatever differs between
//! target and told is sent, in the order CDS, EDS, LDS, RDS, with these rules:
//!
//! * A name that was just asked for is answered whether it differs or not.
//! * A cluster that is sent changed takes its endpoints out of what was told: they follow at once,
//!   because a client that warms the cluster waits for them (Envoy 15 s). Likewise a listener its
//!   routes.
//! * Make before break: listeners and routes wait until clusters are acknowledged (Envoy withholds
//!   that until they are warm) or rejected, and after a rejection only what was asked for is
//!   answered; clusters and endpoints that went away are taken from a client after it acknowledged
//!   the routes that no longer name them. From one that asks for clusters by name, as gRPC does for
//!   those in its routes, they are not taken at all: it stops asking when no call is left that was
//!   routed there before, and a call whose cluster is taken away waits until its deadline.
//! * A rejected difference is not sent again until a snapshot changes the type: the target falls
//!   back to what was acknowledged.
//! * Without an answer to the last response of a type nothing more is pushed (state of the world),
//!   or nothing more of that name (delta); snapshots which come meanwhile are skipped but for the
//!   newest. So what waits for a client is bounded by the snapshot itself.

mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::clients::Protocol;
use crate::resource::{Catalogue, Kind, Resource, Resources, Set};
pub(crate) use subscription::{Answered, DeltaRequest};
use subscription::{Flight, Subscription};

/// One response of either variant.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) kind: Kind,
    pub(crate) version: String,
    pub(crate) nonce: String,
    pub(crate) resources: Vec<Arc<Resource>>,
    /// Delta alone.
    pub(crate) removed: Vec<Arc<str>>,
}

/// Why a stream must end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OverLimit {
    /// Too many names, responses without an answer, or names of which something was rejected.
    Many,
    /// A name that is too long.
    Long,
}

/// What a request did.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It subscribed, or said nothing new.
    Request,
    /// Its nonce is not known: in state of the world it changed nothing.
    Stale,
    /// It answered a response. In state of the world its names count only if that was the newest.
    Answered(Answered),
}

/// Where a client stands with the newest snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) in_sync: bool,
    pub(crate) refuses: bool,
}

/// One type at a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KindState {
    pub(crate) kind: Kind,
    pub(crate) sent: Option<String>,
    pub(crate) acked: Option<String>,
    pub(crate) state: State,
}

#[derive(Debug)]
pub(crate) struct Session {
    protocol: Protocol,
    stream: u64,
    nonces: u64,
    max_names: usize,
    kinds: [Subscription; 4],
}

impl Session {
    pub(crate) fn new(protocol: Protocol, stream: u64, max_names: usize) -> Self {
        Self { protocol, stream, nonces: 0, max_names, kinds: Default::default() }
    }

    fn of(&self, kind: Kind) -> &Subscription {
        &self.kinds[kind as usize]
    }

    fn of_mut(&mut self, kind: Kind) -> &mut Subscription {
        &mut self.kinds[kind as usize]
    }

    /// Applies a request of state of the world: `names` are all that the client wants.
    pub(crate) fn request_state(
        &mut self,
        kind: Kind,
        names: &[String],
        nonce: &str,
        rejected: bool,
    ) -> Result<Outcome, OverLimit> {
        let max = self.max_names;
        self.of_mut(kind).request_state(kind, names, nonce, rejected, max)
    }

    /// Applies a delta request.
    pub(crate) fn request_delta(
        &mut self,
        kind: Kind,
        request: &DeltaRequest<'_>,
    ) -> Result<Outcome, OverLimit> {
        let max = self.max_names;
        self.of_mut(kind).request_delta(kind, request, max)
    }

    /// All responses that are due, given the newest snapshot.
    pub(crate) fn due(&mut self, catalogue: &Catalogue) -> Result<Vec<Response>, OverLimit> {
        let mut responses = Vec::new();
        for kind in Kind::ALL {
            if self.held_back(kind, catalogue) && !self.refuses_clusters(catalogue) {
                continue;
            }
            let target = self.target(kind, catalogue);
            let names = self.names_due(kind, catalogue, &target);
            if names.is_empty() && !self.of(kind).answer {
                continue;
            }
            let label = self.label(kind, catalogue.set(kind), &target);
            match self.protocol {
                Protocol::StateOfTheWorld if kind.complete() => {
                    let gone = self.of(kind).told.keys().filter(|name| !target.contains_key(*name));
                    let names = gone.chain(target.keys()).cloned().collect();
                    responses.extend(self.send(kind, &label, catalogue, &names, &target, true));
                }
                Protocol::Delta if kind == Kind::Endpoint => {
                    for name in names {
                        let one = BTreeSet::from([name]);
                        responses.extend(self.send(kind, &label, catalogue, &one, &target, false));
                    }
                }
                Protocol::StateOfTheWorld | Protocol::Delta => {
                    let empty = self.of(kind).answer && self.protocol == Protocol::Delta;
                    responses.extend(self.send(kind, &label, catalogue, &names, &target, empty));
                }
            }
            let subscription = self.of_mut(kind);
            subscription.fresh.clear();
            subscription.answer = false;
            if subscription.flights.len() > self.max_names {
                return Err(OverLimit::Many);
            }
        }
        for kind in Kind::ALL {
            let state = self.state(kind, catalogue);
            self.of_mut(kind).note(state, &catalogue.set(kind).version);
        }
        Ok(responses)
    }

    /// One response about these names; `None` if there is nothing to say and an empty one is not
    /// wanted.
    fn send(
        &mut self,
        kind: Kind,
        label: &str,
        catalogue: &Catalogue,
        names: &BTreeSet<Arc<str>>,
        target: &Resources,
        empty: bool,
    ) -> Option<Response> {
        let delta = self.protocol == Protocol::Delta;
        let (mut resources, mut removed) = (Vec::new(), Vec::new());
        let mut changes: BTreeMap<Arc<str>, Option<Arc<Resource>>> = BTreeMap::new();
        for name in names {
            match target.get(name) {
                Some(resource) if resource.is_claimed() => continue,
                Some(resource) => resources.push(Arc::clone(resource)),
                None if delta => removed.push(Arc::clone(name)),
                None => {}
            }
            changes.insert(Arc::clone(name), target.get(name).cloned());
        }
        let changed = self.of_mut(kind).tell(&changes);
        if let Some(child) = kind.child() {
            for name in &changed {
                self.of_mut(child).told.remove(name);
            }
        }
        if resources.is_empty() && removed.is_empty() && !empty {
            return None;
        }
        self.nonces += 1;
        let nonce = format!("{}.{}", self.stream, self.nonces);
        let set_version = catalogue.set(kind).version.clone();
        self.of_mut(kind).flights.push(Flight {
            nonce: nonce.clone(),
            label: label.to_owned(),
            set_version,
            changes,
        });
        self.of_mut(kind).last_nonce.clone_from(&nonce);
        self.of_mut(kind).sent = Some(label.to_owned());
        Some(Response { kind, version: label.to_owned(), nonce, resources, removed })
    }

    /// The names to speak about now: those just asked for, and those that differ unless they must
    /// wait.
    fn names_due(
        &self,
        kind: Kind,
        catalogue: &Catalogue,
        target: &Resources,
    ) -> BTreeSet<Arc<str>> {
        let subscription = self.of(kind);
        let busy = self.protocol == Protocol::StateOfTheWorld && !subscription.flights.is_empty();
        let mut names = BTreeSet::new();
        if !busy && !self.held_back(kind, catalogue) {
            names.extend(subscription.differences(target));
            names.retain(|name| !subscription.in_flight(name));
        }
        names.extend(subscription.fresh.iter().cloned());
        names
    }

    /// What the client shall hold of a type.
    fn target(&self, kind: Kind, catalogue: &Catalogue) -> Resources {
        let set = catalogue.set(kind);
        let mut target = if self.keeps(kind, catalogue) {
            self.of(kind).select_and_keep(&set.resources)
        } else {
            self.wanted(kind, catalogue)
        };
        self.of(kind).fall_back(&set.version, &mut target);
        target
    }

    /// Whether clusters that went away stay with this client until it asks for them no more.
    fn lingers(&self, kind: Kind) -> bool {
        let routed = self.of(Kind::Listener).asked() || self.of(Kind::Route).asked();
        matches!(kind, Kind::Cluster | Kind::Endpoint)
            && routed
            && self.of(Kind::Cluster).is_by_name()
    }

    /// What of a snapshot the client shall come to hold.
    fn wanted(&self, kind: Kind, catalogue: &Catalogue) -> Resources {
        let set = &catalogue.set(kind).resources;
        if self.lingers(kind) {
            self.of(kind).select_and_keep(set)
        } else {
            self.of(kind).select(set)
        }
    }

    /// Whether what went away is kept for now, because listeners or routes that may name it are not
    /// changed yet.
    fn keeps(&self, kind: Kind, catalogue: &Catalogue) -> bool {
        let pending = |kind: Kind| {
            let target = self.of(kind).select(&catalogue.set(kind).resources);
            self.of(kind).asked() && !self.settled(kind, catalogue, &target)
        };
        matches!(kind, Kind::Cluster | Kind::Endpoint)
            && (pending(Kind::Listener) || pending(Kind::Route))
    }

    /// Whether changes of a type wait for clusters.
    fn held_back(&self, kind: Kind, catalogue: &Catalogue) -> bool {
        let clusters = self.of(Kind::Cluster);
        let target = clusters.select_and_keep(&catalogue.set(Kind::Cluster).resources);
        matches!(kind, Kind::Listener | Kind::Route)
            && clusters.asked()
            && !self.settled(Kind::Cluster, catalogue, &target)
    }

    /// Whether the client works on with clusters that are not those of the snapshot, and will not
    /// take these.
    fn refuses_clusters(&self, catalogue: &Catalogue) -> bool {
        self.of(Kind::Cluster).refuses(&catalogue.set(Kind::Cluster).version)
    }

    /// Whether the client acknowledged this target.
    fn settled(&self, kind: Kind, catalogue: &Catalogue, target: &Resources) -> bool {
        let subscription = self.of(kind);
        subscription.flights.is_empty()
            && !subscription.refuses(&catalogue.set(kind).version)
            && subscription.differences(target).next().is_none()
    }

    /// The version to send: marked when the content is not exactly that of the snapshot.
    fn label(&self, kind: Kind, set: &Set, target: &Resources) -> String {
        let subscription = self.of(kind);
        let kept = kind.complete() && target.keys().any(|name| !set.resources.contains_key(name));
        match (subscription.refuses(&set.version), kept) {
            (true, _) => format!("{}~", set.version),
            (false, true) => format!("{}+", set.version),
            (false, false) => set.version.clone(),
        }
    }

    fn state(&self, kind: Kind, catalogue: &Catalogue) -> State {
        let target = self.wanted(kind, catalogue);
        State {
            in_sync: self.settled(kind, catalogue, &target),
            refuses: self.of(kind).refuses(&catalogue.set(kind).version),
        }
    }

    /// The types asked for, with versions sent and acknowledged.
    pub(crate) fn status(&self) -> impl Iterator<Item = KindState> + '_ {
        Kind::ALL.into_iter().filter(|kind| self.of(*kind).asked()).map(|kind| {
            let subscription = self.of(kind);
            KindState {
                kind,
                sent: subscription.sent.clone(),
                acked: subscription.acked.clone(),
                state: subscription.state,
            }
        })
    }
}

#[cfg(test)]
mod tests;
