//! One type on one stream: what the client asked for, was told, and acknowledged.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::{Outcome, OverLimit, State};
use crate::resource::{Kind, Resource, Resources};
use crate::snapshot::MAX_NAME_BYTES;

const WILDCARD: &str = "*";

/// A response without an answer.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) nonce: String,
    /// The version that was sent.
    pub(super) label: String,
    /// The version of the type in the snapshot.
    pub(super) set_version: String,
    /// What it says about each name; `None` = it does not exist.
    pub(super) changes: BTreeMap<Arc<str>, Option<Arc<Resource>>>,
}

/// What a client rejected of one version of a type: names with the versions of their resources,
/// `None` where it was told that there is none. Of a name there are as many as there are contents
/// that it may be sent: that of the snapshot, and the one that it falls back to.
#[derive(Debug)]
struct Refused {
    set_version: String,
    changes: BTreeMap<Arc<str>, BTreeSet<Option<String>>>,
}

/// The answer to a response.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answered {
    /// The version that was sent.
    pub(crate) version: String,
    pub(crate) rejected: bool,
}

/// A delta request, but for its type.
#[derive(Debug)]
pub(crate) struct DeltaRequest<'a> {
    pub(crate) subscribe: &'a [String],
    pub(crate) unsubscribe: &'a [String],
    pub(crate) initial: &'a HashMap<String, String>,
    pub(crate) nonce: &'a str,
    pub(crate) rejected: bool,
}

/// What requests came so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Asked {
    #[default]
    Nothing,
    /// Only such without names, which means all names.
    Unnamed,
    /// One with names: from then on no name means nothing.
    Named,
}

#[derive(Debug, Default)]
pub(super) struct Subscription {
    asked: Asked,
    wildcard: bool,
    names: BTreeSet<Arc<str>>,
    /// Names to answer whether they differ or not.
    pub(super) fresh: BTreeSet<Arc<str>>,
    /// An answer is due even if it is empty.
    pub(super) answer: bool,
    /// What the client was told last. What it was told not to exist is not in here.
    pub(super) told: Resources,
    /// What it acknowledged.
    held: Resources,
    pub(super) flights: Vec<Flight>,
    pub(super) last_nonce: String,
    /// Of the type's present version; older ones go with the next [`Self::note`].
    refused: Vec<Refused>,
    pub(super) sent: Option<String>,
    pub(super) acked: Option<String>,
    pub(super) state: State,
}

impl Subscription {
    /// Whether a request came.
    pub(super) fn asked(&self) -> bool {
        self.asked != Asked::Nothing
    }

    /// Whether it is of resources by name and not of all.
    pub(super) fn is_by_name(&self) -> bool {
        self.asked() && !self.wildcard
    }

    pub(super) fn request_state(
        &mut self,
        kind: Kind,
        names: &[String],
        nonce: &str,
        rejected: bool,
        max_names: usize,
    ) -> Result<Outcome, OverLimit> {
        fitting(names)?;
        let first = !self.asked();
        let answered = self.answered(nonce, rejected);
        if !first && !nonce.is_empty() && nonce != self.last_nonce {
            return Ok(answered.map_or(Outcome::Stale, Outcome::Answered));
        }
        // While a response is under way the client may just not have seen its nonce yet.
        if !first && nonce.is_empty() && self.flights.is_empty() {
            self.start_over();
        }
        let star = names.iter().any(|name| name == WILDCARD);
        let legacy = names.is_empty() && kind.complete() && self.asked != Asked::Named;
        if first || !names.is_empty() {
            self.asked = if names.is_empty() { Asked::Unnamed } else { Asked::Named };
        }
        let explicit: BTreeSet<Arc<str>> = names
            .iter()
            .filter(|name| *name != WILDCARD)
            .map(|name| name.as_str().into())
            .collect();
        if explicit.len() > max_names {
            return Err(OverLimit::Many);
        }
        let newly_all = (star || legacy) && !self.wildcard;
        self.wildcard = star || legacy;
        self.fresh.retain(|name| explicit.contains(name));
        self.fresh.extend(explicit.difference(&self.names).cloned());
        self.answer |= kind.complete() && (newly_all || !self.fresh.is_empty());
        self.names = explicit;
        self.forget_unwanted();
        if self.refused_names() > max_names {
            return Err(OverLimit::Many);
        }
        Ok(answered.map_or(Outcome::Request, Outcome::Answered))
    }

    pub(super) fn request_delta(
        &mut self,
        kind: Kind,
        request: &DeltaRequest<'_>,
        max_names: usize,
    ) -> Result<Outcome, OverLimit> {
        let claims = request.initial.iter().flat_map(|(name, version)| [name, version]);
        fitting(request.subscribe.iter().chain(request.unsubscribe).chain(claims))?;
        let first = !self.asked();
        self.asked = Asked::Named;
        let answered = self.answered(request.nonce, request.rejected);
        let stale = !first && !request.nonce.is_empty() && answered.is_none();
        let legacy = first && request.subscribe.is_empty() && kind.complete();
        if legacy || request.subscribe.iter().any(|name| name == WILDCARD) {
            self.answer |= !self.wildcard;
            self.wildcard = true;
        }
        for name in request.subscribe.iter().filter(|name| *name != WILDCARD) {
            let name: Arc<str> = name.as_str().into();
            self.names.insert(Arc::clone(&name));
            self.fresh.insert(name);
        }
        for name in request.unsubscribe {
            if name == WILDCARD {
                self.wildcard = false;
            } else {
                self.names.remove(name.as_str());
                self.fresh.remove(name.as_str());
                if self.wildcard {
                    self.fresh.insert(name.as_str().into());
                }
            }
        }
        if first {
            self.claims(request.initial);
        }
        self.forget_unwanted();
        let counts =
            [self.names.len(), self.fresh.len(), request.initial.len(), self.refused_names()];
        if counts.into_iter().any(|count| count > max_names) {
            return Err(OverLimit::Many);
        }
        Ok(match answered {
            Some(answered) => Outcome::Answered(answered),
            None if stale => Outcome::Stale,
            None => Outcome::Request,
        })
    }

    /// What a client that comes back says that it holds: only differences are sent then.
    fn claims(&mut self, initial: &HashMap<String, String>) {
        for (name, version) in initial {
            let resource = Resource::claimed(name, version);
            self.fresh.remove(name.as_str());
            self.told.insert(Arc::clone(&resource.name), Arc::clone(&resource));
            self.held.insert(Arc::clone(&resource.name), resource);
        }
    }

    /// Takes the answer to a response in flight.
    fn answered(&mut self, nonce: &str, rejected: bool) -> Option<Answered> {
        let index = self.flights.iter().position(|flight| flight.nonce == nonce)?;
        let flight = self.flights.remove(index);
        if rejected {
            self.reject(&flight);
        } else {
            self.acked = Some(flight.label.clone());
            for (name, change) in &flight.changes {
                match change {
                    Some(resource) => self.held.insert(Arc::clone(name), Arc::clone(resource)),
                    None => self.held.remove(name),
                };
            }
        }
        Some(Answered { version: flight.label, rejected })
    }

    fn reject(&mut self, flight: &Flight) {
        let set_version = &flight.set_version;
        let known = self.refused.iter().position(|refused| refused.set_version == *set_version);
        let known = known.unwrap_or_else(|| {
            let (set_version, changes) = (set_version.clone(), BTreeMap::new());
            self.refused.push(Refused { set_version, changes });
            self.refused.len() - 1
        });
        for (name, change) in &flight.changes {
            let version = change.as_ref().map(|resource| resource.version.clone());
            let told = self.told.get(name).map(|resource| resource.version.clone());
            // Taken out since because its cluster changed, or told anew: that stays.
            if told == version {
                match self.held.get(name) {
                    Some(held) => self.told.insert(Arc::clone(name), Arc::clone(held)),
                    None => self.told.remove(name),
                };
            }
            self.refused[known].changes.entry(Arc::clone(name)).or_default().insert(version);
        }
    }

    /// Names of which something was rejected.
    pub(super) fn refused_names(&self) -> usize {
        self.refused.iter().map(|refused| refused.changes.len()).sum()
    }

    /// Contents that were rejected, over all names.
    #[cfg(test)]
    pub(super) fn refused_contents(&self) -> usize {
        self.refused.iter().flat_map(|refused| refused.changes.values()).map(BTreeSet::len).sum()
    }

    /// The client began again on the same stream: it holds nothing that we know of.
    fn start_over(&mut self) {
        self.told.clear();
        self.names.clear();
        self.wildcard = false;
    }

    fn forget_unwanted(&mut self) {
        if !self.wildcard {
            self.told.retain(|name, _| self.names.contains(name));
            self.held.retain(|name, _| self.names.contains(name));
        }
    }

    /// Notes what the client is told now; returns the names that this changes.
    pub(super) fn tell(
        &mut self,
        changes: &BTreeMap<Arc<str>, Option<Arc<Resource>>>,
    ) -> Vec<Arc<str>> {
        let mut changed = Vec::new();
        for (name, change) in changes {
            let before = match change {
                Some(resource) => self.told.insert(Arc::clone(name), Arc::clone(resource)),
                None => self.told.remove(name),
            };
            let version = |resource: &Option<Arc<Resource>>| {
                resource.as_ref().map(|resource| resource.version.clone())
            };
            if version(&before) != version(change) {
                changed.push(Arc::clone(name));
            }
        }
        changed
    }

    /// The resources of a snapshot that the client asked for.
    pub(super) fn select(&self, set: &Resources) -> Resources {
        let wanted = |resource: &Resource| {
            (self.wildcard && resource.wildcard) || self.names.contains(&resource.name)
        };
        let selected = set.iter().filter(|(_, resource)| wanted(resource));
        selected.map(|(name, resource)| (Arc::clone(name), Arc::clone(resource))).collect()
    }

    /// The same, and what the client was told before that the snapshot does not hold.
    pub(super) fn select_and_keep(&self, set: &Resources) -> Resources {
        let mut selected = self.select(set);
        for (name, resource) in &self.told {
            selected.entry(Arc::clone(name)).or_insert_with(|| Arc::clone(resource));
        }
        selected
    }

    /// Puts what was acknowledged into the place of what was rejected.
    pub(super) fn fall_back(&self, set_version: &str, target: &mut Resources) {
        let refused = self.refused.iter().filter(|refused| refused.set_version == set_version);
        for (name, versions) in refused.flat_map(|refused| &refused.changes) {
            if !versions.contains(&target.get(name).map(|resource| resource.version.clone())) {
                continue;
            }
            match self.held.get(name) {
                Some(held) => target.insert(Arc::clone(name), Arc::clone(held)),
                None => target.remove(name),
            };
        }
    }

    pub(super) fn refuses(&self, set_version: &str) -> bool {
        self.refused.iter().any(|refused| refused.set_version == set_version)
    }

    /// The names for which the client was told something else than the target says.
    pub(super) fn differences<'a>(
        &'a self,
        target: &'a Resources,
    ) -> impl Iterator<Item = Arc<str>> + 'a {
        let gone = self.told.keys().filter(|name| !target.contains_key(*name));
        let differs = target.iter().filter(|(name, resource)| {
            self.told.get(*name).is_none_or(|told| told.version != resource.version)
        });
        gone.chain(differs.map(|(name, _)| name)).cloned()
    }

    pub(super) fn in_flight(&self, name: &Arc<str>) -> bool {
        self.flights.iter().any(|flight| flight.changes.contains_key(name))
    }

    /// Notes where the client stands; a version that asks nothing of it counts as acknowledged.
    pub(super) fn note(&mut self, state: State, set_version: &str) {
        self.state = state;
        self.refused.retain(|refused| refused.set_version == set_version);
        if state.in_sync && self.sent.is_some() {
            self.sent = Some(set_version.to_owned());
            self.acked = Some(set_version.to_owned());
        }
    }
}

/// Refuses texts that are longer than a name of ours can be: nothing of that name will ever exist.
fn fitting<'a>(texts: impl IntoIterator<Item = &'a String>) -> Result<(), OverLimit> {
    let fits = |text: &String| text.len() <= MAX_NAME_BYTES;
    if texts.into_iter().all(fits) { Ok(()) } else { Err(OverLimit::Long) }
}
