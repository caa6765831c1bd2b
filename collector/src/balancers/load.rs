//! How much of its capacity a backend uses, 0 to 1, from the best source that is known.
//!
//! 1. Its own word (ORCA `application_utilization`), as any agent or balancer heard it.
//! 2. The larger of the CPU of its host and of the requests under way over their limit, summed over all balancers. Requests under way that no balancer counts are
//!    `q * L` (Little's law). Why the larger: a backend that is stuck has an idle CPU and would be given more requests; one without a limit is seen by its CPU only.
//!
//! What is no finite number is not known; what is above 1 is 1.

use flyball_proto::steering::UtilizationSource;

use super::join::{self, Host, Place};
use super::pool::{HostLoad, Inputs, OrcaWord, Placement};

/// A backend's own word counts for this long, in milliseconds.
pub(super) const WORD_MS: u64 = 10_000;

/// Utilisation of a backend at `place`, by those of its placements that are fresh, with the requests per second of each.
pub(super) fn utilization(
    inputs: &Inputs<'_>,
    place: &Place,
    fresh: &[(&Placement, f64)],
) -> Option<(f64, UtilizationSource)> {
    let orca = own_word(inputs.words, place).or_else(|| told(fresh, UtilizationSource::Orca));
    if let Some(orca) = orca {
        return Some((orca, UtilizationSource::Orca));
    }
    let limit = over_limit(fresh).or_else(|| told(fresh, UtilizationSource::Limit));
    let host = cpu(inputs.hosts, place).or_else(|| told(fresh, UtilizationSource::Host));
    larger(limit, host)
}

/// The larger of what limits and hosts tell, and which that is.
pub(super) fn larger(limit: Option<f64>, host: Option<f64>) -> Option<(f64, UtilizationSource)> {
    match (limit, host) {
        (Some(limit), Some(host)) if host > limit => Some((host, UtilizationSource::Host)),
        (Some(limit), _) => Some((limit, UtilizationSource::Limit)),
        (None, Some(host)) => Some((host, UtilizationSource::Host)),
        (None, None) => None,
    }
}

/// Whether a word about `host` and `port`, heard on `machine`, is about a backend at this place.
pub(super) fn is_about(place: &Place, (host, port): (&str, u16), machine: &str) -> bool {
    let Some((text, whose)) = known(place) else { return false };
    let Some((own_host, own_port)) = join::split(text) else { return false };
    own_port == port
        && join::host(host).as_ref() == Some(&own_host)
        && whose.is_none_or(|whose| whose == machine)
}

/// Whether a host has the address of this place.
pub(super) fn is_on(place: &Place, host: &HostLoad) -> bool {
    let Some((text, whose)) = known(place) else { return false };
    let Some((at, _)) = join::split(text) else { return false };
    match (whose, at) {
        (Some(machine), _) => host.machine == *machine,
        (None, Host::Ip(ip)) => host.addresses.contains(&ip),
        (None, Host::Name(_)) => false,
    }
}

/// The address of a place, with the machine on which it means something.
fn known(place: &Place) -> Option<(&str, Option<&str>)> {
    match place {
        Place::Address(text) => Some((text, None)),
        Place::Local(text, machine) => Some((text, Some(machine))),
        Place::Unknown(..) => None,
    }
}

/// The newest word of the backend.
fn own_word(words: &[OrcaWord], place: &Place) -> Option<f64> {
    let is_of = |word: &&OrcaWord| {
        word.age_ms < WORD_MS && is_about(place, (&word.host, word.port), &word.machine)
    };
    let newest = words.iter().filter(is_of).filter(|word| word.utilization.is_finite());
    newest.min_by_key(|word| word.age_ms).map(|word| word.utilization.clamp(0.0, 1.0))
}

/// What balancers say themselves, the largest.
fn told(fresh: &[(&Placement, f64)], wanted: UtilizationSource) -> Option<f64> {
    let of = |(placement, _): &(&Placement, f64)| placement.server.utilization;
    let said = fresh.iter().filter_map(of).filter(|(_, source)| *source == wanted);
    largest(said.map(|(share, _)| share))
}

/// Requests under way over their limit, over all balancers; nothing when one of them that sends requests has no limit.
fn over_limit(fresh: &[(&Placement, f64)]) -> Option<f64> {
    let (mut under_way, mut limit) = (0.0, 0.0);
    for (placement, per_second) in fresh {
        let server = &placement.server;
        let little = server.latency_ms.map(|latency_ms| per_second * latency_ms / 1_000.0);
        under_way += match (server.in_flight, little) {
            (Some(counted), _) => counted,
            (None, Some(little)) => little,
            (None, None) if server.requests == 0 => 0.0,
            (None, None) => return None,
        };
        limit += f64::from(server.limit.filter(|limit| *limit > 0)?);
    }
    let share = under_way / limit;
    share.is_finite().then(|| share.clamp(0.0, 1.0))
}

/// CPU of the host that has the address.
fn cpu(hosts: &[HostLoad], place: &Place) -> Option<f64> {
    // Several agents of one machine see the same CPU; an address that two hosts share is that of a load balancer in front of them.
    largest(hosts.iter().filter(|host| is_on(place, host)).filter_map(|host| host.cpu))
}

fn largest(shares: impl Iterator<Item = f64>) -> Option<f64> {
    shares.filter(|share| share.is_finite()).map(|share| share.clamp(0.0, 1.0)).reduce(f64::max)
}
