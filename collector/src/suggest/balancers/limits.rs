//! Limits of requests under way at a backend, split over its balancers.
//!
//! Only where they are missed: a backend without a limit, or with one far above what it can do, in which requests *have* queued, where no balancer could send them elsewhere:
//! six windows of the last hour or more took 1.5 times what quiet ones take. The limit is [Little's law with room](flyball_model::balance::limits) with the latency of quiet
//! windows and the backend's peak rate of that hour, so that what is normal is not held up; all balancers must be such as may be set, since a limit of a part of them bounds
//! nothing.
//!
//! Each HAProxy gets its part at each such backend (`maxconn:`), above which requests wait at the balancer. An Envoy has one limit for all backends of a cluster (`max_requests:`), above which they fail
//! at once: it gets [more room](flyball_model::balance::limits::cluster) than the sum of its parts.
//!
//! It is suggested when requests do not queue: agents refuse a limit without a quarter of room above what is under way, and while requests queue more is under way than the limit
//! will be. Until what is under way leaves that room at each balancer it says `wait`, with the figures. It promises no lower latency: what would have waited in the backend
//! waits at the balancer, goes to another backend, or fails.

mod outlook;

use flyball_model::balance::limits::{Settings, cluster, least_above};
use flyball_model::rollout::{Candidate, Change, State};
use flyball_proto::steering::BackendState;
use serde_json::{Value, json};

use self::outlook::{Outlook, Past, near};
use super::predict::latency;
use super::view::{PoolView, Wanted};
use super::{Advisor, PoolDraft};
use crate::balancers::pool::Backend;
use crate::suggest::Context;
use crate::suggest::draft::{Evidence, Risk, RiskLevel};
use crate::suggest::estimate::Estimate;

#[cfg(test)]
pub(super) use self::outlook::under_way;

const KIND: &str = "balancer.limits";
/// What is promised stays within this share.
const STAYS: f64 = 0.1;
/// Backends and balancers that evidence shows, of each.
const SHOWN: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Limits;

/// What a balancer is limited by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// Each server by itself: what is above waits.
    Servers,
    /// All servers of a cluster together: what is above fails.
    Cluster,
}

/// Limit of a cluster, as one balancer needs it.
#[derive(Debug)]
struct OfCluster {
    place: usize,
    from: u32,
    wanted: u32,
}

/// All that a pool needs.
#[derive(Debug)]
struct Needs<'a> {
    by: Vec<By>,
    /// Backends in which requests have queued, and that may be limited now.
    backends: Vec<Outlook<'a>>,
    /// Of the balancers whose limit in force is far above.
    clusters: Vec<OfCluster>,
}

impl Advisor for Limits {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn advise(
        &self,
        view: &PoolView,
        context: &Context<'_>,
        _: &State,
    ) -> Result<Vec<PoolDraft>, String> {
        view.usable(context.now_ms)?;
        let by = limited_by(view)?;
        let (mut backends, mut others, mut why) = (Vec::new(), Vec::new(), Vec::new());
        for backend in &view.estimate.pool.backends {
            let outlook = Outlook::of(view, backend, &by);
            let reason = match outlook {
                Ok(outlook) => match outlook.is_due(&by) {
                    Ok(()) => {
                        why.extend(outlook.near.clone());
                        backends.push(outlook);
                        continue;
                    }
                    Err(reason) => {
                        others.push(outlook);
                        reason
                    }
                },
                Err(reason) => reason,
            };
            why.push(format!("{}: {reason}", backend.id));
        }
        if backends.is_empty() {
            return Err(why.join("; "));
        }
        let all: Vec<&Outlook<'_>> = backends.iter().chain(&others).collect();
        let mut clusters = Vec::new();
        for place in (0..by.len()).filter(|place| by[*place] == By::Cluster) {
            let one = of_cluster(view, place, &all)?;
            let near = near(u64::from(one.from), u64::from(one.wanted));
            let Some(near) = near else {
                has_room(view, &one, &all)?;
                clusters.push(one);
                continue;
            };
            why.push(format!("{}: {near}", view.estimate.pool.members[place].id()));
        }
        let needs = Needs { by, backends, clusters };
        let members: Vec<Candidate> = (0..needs.by.len())
            .filter_map(|place| view.candidate(place, needs.changes(view, place)))
            .collect();
        if members.is_empty() {
            return Err(why.join("; "));
        }
        let latency_ms = latency(view).ok_or("its latency is not known")?;
        Ok(vec![draft(view, context, &needs, (members, latency_ms))])
    }
}

/// What each balancer is limited by.
fn limited_by(view: &PoolView) -> Result<Vec<By>, String> {
    let (group, members) = (&view.estimate.pool.group, &view.estimate.pool.members);
    let (mut all, mut barred) = (Vec::new(), Vec::new());
    for (place, member) in members.iter().enumerate() {
        let servers = view.may_set(place, &format!("maxconn:{group}/x"));
        let cluster = view.may_set(place, &format!("max_requests:{group}"));
        match (servers, cluster) {
            (Ok(()), _) => all.push(By::Servers),
            (_, Ok(())) => all.push(By::Cluster),
            (_, Err(why)) if member.target.kind == "envoy" => barred.push(why),
            (Err(why), _) => barred.push(why),
        }
    }
    if barred.is_empty() {
        return Ok(all);
    }
    Err(format!("a limit must be set at all balancers: {}", barred.join("; ")))
}

/// Limit of a balancer that has one for all backends together.
fn of_cluster(view: &PoolView, place: usize, all: &[&Outlook<'_>]) -> Result<OfCluster, String> {
    let member = &view.estimate.pool.members[place];
    let id = member.id();
    let is_own = |one: &&Backend| one.placements.iter().any(|placement| placement.member == place);
    let is_ready = |one: &&Backend| one.state == BackendState::Ready;
    let is_known = |one: &Backend| all.iter().any(|outlook| outlook.backend.id == one.id);
    let mut own = view.estimate.pool.backends.iter().filter(is_own).filter(is_ready);
    if let Some(unknown) = own.find(|one| !is_known(one)) {
        let unknown = &unknown.id;
        return Err(format!(
            "{id} has one limit for all backends, and that of {unknown} is not known"
        ));
    }
    let (_, base, parts) = of_member(place, all);
    let wanted = cluster(&Settings::default(), base, parts);
    let wanted = wanted.ok_or_else(|| format!("{id} had no requests"))?;
    let from = member.limit.ok_or_else(|| format!("what limit {id} has is not known"))?;
    Ok(OfCluster { place, from, wanted })
}

/// What a balancer has under way, would have at the peak when nothing waits, and its parts, over all backends.
fn of_member(place: usize, all: &[&Outlook<'_>]) -> (f64, f64, u32) {
    let own = all.iter().filter_map(|outlook| outlook.of_member(place));
    own.reduce(|a, b| (a.0 + b.0, a.1 + b.1, a.2.saturating_add(b.2))).unwrap_or_default()
}

/// Whether the agent of a balancer would take the limit of its cluster now. It rounds what is under way up, since what is above fails.
fn has_room(view: &PoolView, of: &OfCluster, all: &[&Outlook<'_>]) -> Result<(), String> {
    let (now, ..) = of_member(of.place, all);
    let (wanted, least) = (of.wanted, least_above(now.ceil()));
    if u64::from(wanted) >= least {
        return Ok(());
    }
    let id = view.estimate.pool.members[of.place].id();
    Err(format!(
        "wait until less is under way: the limit of {id} would be {wanted}, where {now:.1} are under way and {least} is the least that its agent takes"
    ))
}

impl Needs<'_> {
    /// Changes of one balancer.
    fn changes(&self, view: &PoolView, place: usize) -> Vec<Change> {
        let group = &view.estimate.pool.group;
        let far = self.backends.iter().filter(|one| one.near.is_none());
        let servers = far.flat_map(|one| one.servers(&self.by));
        let servers = servers.filter(|(placement, ..)| placement.member == place);
        let servers = servers.map(|(placement, _, part)| {
            let from = placement.server.limit.unwrap_or(0);
            (format!("maxconn:{group}/{}", placement.server.name), from, part)
        });
        let cluster = self.clusters.iter().filter(|one| one.place == place);
        let cluster = cluster.map(|one| (format!("max_requests:{group}"), one.from, one.wanted));
        let change = |(parameter, from, to): (String, u32, u32)| {
            view.change(place, &parameter, &from.to_string(), &Wanted::Limit(u64::from(to)))
        };
        servers.chain(cluster).filter_map(change).collect()
    }
}

fn draft(
    view: &PoolView,
    context: &Context<'_>,
    needs: &Needs<'_>,
    (members, latency_ms): (Vec<Candidate>, f64),
) -> PoolDraft {
    let widened_by = context.widening(KIND, &view.target());
    let (low, high) = (latency_ms * (1.0 - STAYS), latency_ms * (1.0 + STAYS));
    let after = Estimate { value: latency_ms, low, high };
    let (backends, balancers) = (needs.backends.len(), members.len());
    let clusters = needs.clusters.iter().map(|one| {
        json!({ "balancer": view.estimate.pool.members[one.place].id(), "limit": one.wanted })
    });
    PoolDraft {
        kind: KIND,
        title: format!(
            "Limit requests under way at {backends} backends of {}, split over {balancers} balancers",
            view.estimate.pool.name
        ),
        members,
        metric: super::weights::LATENCY,
        unit: "ms",
        before: latency_ms,
        after: after.widened(widened_by).within(0.0, f64::MAX),
        widened_by,
        evidence: evidence(view, needs),
        risk: risk(needs),
        undo: "Set the limits of each balancer back to what they were.".to_owned(),
        inputs: json!({
            "limits": needs.backends.iter().map(inputs).collect::<Vec<_>>(),
            "clusters": clusters.collect::<Vec<_>>(),
        }),
    }
}

fn risk(needs: &Needs<'_>) -> Risk {
    let mut risk = Risk::low("limits are read back, and the old ones come back at once");
    if needs.by.contains(&By::Servers) {
        let waits = "where all backends are at their limits requests wait at the balancer";
        risk = risk.and(RiskLevel::Medium, waits);
    }
    let clusters = needs.clusters.len();
    if clusters > 0 {
        risk = risk.and(RiskLevel::Medium, format!(
            "at {clusters} balancers with one limit for a whole cluster (max_requests) what is above it fails at once, with a 503"
        ));
    }
    for one in needs.backends.iter().filter(|one| one.limit.exceeds) {
        let (id, total) = (&one.backend.id, one.limit.total);
        risk.reasons.push(format!(
            "{id} can have more than {total} under way all the same: each balancer needs the least"
        ));
    }
    risk
}

/// What shows that backends need a limit, and which.
fn evidence(view: &PoolView, needs: &Needs<'_>) -> Vec<Evidence> {
    let estimate = &view.estimate;
    let window_ms = view.past.first().map_or(estimate.start_ms, |first| first.start_ms);
    let window_ms = estimate.end_ms - window_ms;
    let query = format!("GET /api/performance/balancers (pools, name {})", estimate.pool.name);
    let one = |(name, value, unit): (String, f64, &str)| {
        Evidence::over(&name, value, unit, window_ms, query.clone())
    };
    let backends = needs.backends.iter().take(SHOWN).flat_map(|one| {
        let id = &one.backend.id;
        let Past { queued, quiet_ms, peak_per_second, .. } = one.past;
        [
            (format!("{id} requests under way at most"), f64::from(one.limit.total), "requests"),
            (format!("{id} windows in which requests queued"), queued as f64, "windows"),
            (format!("{id} latency of quiet windows"), quiet_ms, "ms"),
            (format!("{id} requests at its peak"), peak_per_second, "1/s"),
        ]
    });
    let clusters = needs.clusters.iter().take(SHOWN).map(|one| {
        let id = estimate.pool.members[one.place].id();
        (format!("{id} requests under way at most"), f64::from(one.wanted), "requests")
    });
    backends.chain(clusters).map(one).collect()
}

fn inputs(of: &Outlook<'_>) -> Value {
    let Past { windows, queued, quiet_ms, peak_per_second } = of.past;
    json!({
        "backend": of.backend.id, "limit": of.limit.total, "parts": of.limit.parts,
        "windows": windows, "queued": queued, "quiet_ms": quiet_ms,
        "peak_per_second": peak_per_second,
    })
}
