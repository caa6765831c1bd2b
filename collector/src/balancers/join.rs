//! Which backend of one balancer is the same server as a backend of another one: those at the same address.
//!
//! An address of the loopback, or of a socket in the file system, means something on its own machine only. A backend whose address is not known is the same as no
//! other. Groups of one name belong together when they have a backend in common, directly or through other groups (union-find).

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::pool::Known;

/// Where requests go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// An address that means the same everywhere.
    Address(String),
    /// One that means something on this machine only.
    Local(String, String),
    /// Not known: a backend of this balancer by its name.
    Unknown(String, String),
}

impl Place {
    /// Of a backend of a balancer, by its name and address.
    pub(super) fn of(known: &Known, name: &str, address: &str) -> Self {
        Self::at(&known.machine, || known.id(), name, address)
    }

    /// Of a backend of the balancer of this id on a machine.
    pub(super) fn at(
        machine: &str,
        balancer: impl FnOnce() -> String,
        name: &str,
        address: &str,
    ) -> Self {
        if address.is_empty() {
            return Self::Unknown(balancer(), name.to_owned());
        }
        let (text, is_local) = match split(address) {
            Some((Host::Ip(ip), port)) => (SocketAddr::new(ip, port).to_string(), is_local(ip)),
            Some((Host::Name(host), port)) => {
                let is_local = host == "localhost";
                (format!("{host}:{port}"), is_local)
            }
            // A socket in the file system, or something that only the balancer can read.
            None => (address.to_owned(), true),
        };
        if is_local { Self::Local(text, machine.to_owned()) } else { Self::Address(text) }
    }

    /// As it is shown; not unique when several machines have the same.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Address(text) | Self::Local(text, _) | Self::Unknown(_, text) => text,
        }
    }

    /// What tells it from another one that is shown alike.
    pub(super) fn whose(&self) -> &str {
        match self {
            Self::Address(_) => "",
            Self::Local(_, whose) | Self::Unknown(whose, _) => whose,
        }
    }
}

/// The host of an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Host {
    Ip(IpAddr),
    /// In lower case.
    Name(String),
}

/// Host and port of `ADDRESS:PORT`, `[ADDRESS]:PORT` or `NAME:PORT`.
pub(super) fn split(address: &str) -> Option<(Host, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let port = port.parse().ok()?;
    Some((self::host(host)?, port))
}

/// A host by its name or address, with or without brackets.
pub(super) fn host(text: &str) -> Option<Host> {
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Some(Host::Ip(ip.to_canonical()));
    }
    // Sockets in the file system have paths.
    let is_name = !bare.is_empty() && !bare.contains(['/', '@', ' ', ':']);
    is_name.then(|| Host::Name(bare.to_ascii_lowercase()))
}

/// True when an address means something on its own machine only.
pub(super) fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || ip.is_unspecified()
}

/// Parts of `sets` that have a place in common, directly or through others: indexes, each part and the parts in ascending order.
pub(super) fn parts(sets: &[Vec<Place>]) -> Vec<Vec<usize>> {
    let mut parent: Vec<usize> = (0..sets.len()).collect();
    let mut first: BTreeMap<&Place, usize> = BTreeMap::new();
    for (index, places) in sets.iter().enumerate() {
        for place in places {
            let other = *first.entry(place).or_insert(index);
            let (a, b) = (root(&mut parent, index), root(&mut parent, other));
            // The smaller one leads, so that parts come in order.
            parent[a.max(b)] = a.min(b);
        }
    }
    let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for index in 0..sets.len() {
        let lead = root(&mut parent, index);
        parts.entry(lead).or_default().push(index);
    }
    parts.into_values().collect()
}

fn root(parent: &mut [usize], mut of: usize) -> usize {
    while parent[of] != of {
        parent[of] = parent[parent[of]];
        of = parent[of];
    }
    of
}
