//! What was known of backends besides what their balancers tell: their own word (ORCA) and the CPU of their hosts, in windows.
//!
//! Both are stored samples, asked for like any other: the answers come out of memory or the cache. Who has an address is known of now only, so the past of a
//! backend is that of the host that it is on now; a host whose agent is silent is left out.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::gather::{self, ORCA_METRIC};
use super::join::{Place, split};
use super::load::{is_about, is_on};
use super::pool::{HostLoad, Pool};
use crate::live::{FleetStatus, Live, now_ms};
use crate::query::{MetricsAsk, Querier, QueryError, SeriesAnswer, Violations};

/// Metric of the CPU, with the modes in which it does nothing.
const CPU_METRIC: &str = "system.cpu.utilization";
const MODE: &str = "cpu.mode";
const IDLE_MODES: [&str; 2] = ["idle", "iowait"];
/// Attributes of a backend's own word.
const HOST: &str = "server.address";
const PORT: &str = "server.port";
const NODE: &str = "node";
/// Most nodes and ports that a question names.
const MOST_NAMED: usize = 500;

/// Shares of 0 to 1 by the start of their window, epoch milliseconds.
type Windows = HashMap<i64, f64>;

/// What was known of one backend.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Told {
    /// Its own word.
    pub words: Windows,
    /// CPU of its host.
    pub hosts: Windows,
}

/// Who is asked, and about when.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Answers.
    pub querier: &'a Querier,
    /// Knows hosts.
    pub live: &'a Live,
    /// From and to, epoch milliseconds.
    pub range_ms: (i64, i64),
    /// Length of a window, milliseconds.
    pub step_ms: i64,
}

/// Of each backend of the pool, in their order.
///
/// # Errors
/// When the store cannot be asked. What would be too much to ask for is not known.
pub async fn read(asked: Asked<'_>, pool: &Pool) -> Result<Vec<Told>, QueryError> {
    let fleet = asked.live.status(&[]);
    let places: Vec<Place> = pool.places(|node| gather::machine(&fleet, node));
    let mut told = vec![Told::default(); places.len()];
    for series in asked.words(&places).await? {
        take_word(&mut told, &places, &fleet, &series);
    }
    let hosts: BTreeMap<&str, HostLoad> = (fleet.nodes.iter())
        .filter(|node| node.cpu_utilization.is_some())
        .map(|node| (node.node.as_str(), gather::load(node)))
        .filter(|(_, host)| places.iter().any(|place| is_on(place, host)))
        .take(MOST_NAMED)
        .collect();
    let cpu = asked.cpu(hosts.keys().copied()).await?;
    let busy = busy(&cpu);
    for (place, told) in places.iter().zip(&mut told) {
        for (node, _) in hosts.iter().filter(|(_, host)| is_on(place, host)) {
            for (start_ms, share) in busy.get(*node).into_iter().flatten() {
                let known = told.hosts.entry(*start_ms).or_insert(*share);
                *known = known.max(*share);
            }
        }
    }
    Ok(told)
}

impl Asked<'_> {
    async fn words(&self, places: &[Place]) -> Result<Vec<SeriesAnswer>, QueryError> {
        let ports = places.iter().filter_map(|place| split(place.text()));
        let ports: BTreeSet<u16> = ports.map(|(_, port)| port).collect();
        if ports.is_empty() || ports.len() > MOST_NAMED {
            return Ok(Vec::new());
        }
        self.ask(MetricsAsk {
            metric: Some(ORCA_METRIC.to_owned()),
            by: [NODE, HOST, PORT].map(str::to_owned).into(),
            filter: ports.into_iter().map(|port| format!("{PORT}={port}")).collect(),
            ..MetricsAsk::default()
        })
        .await
    }

    async fn cpu(
        &self,
        nodes: impl Iterator<Item = &str>,
    ) -> Result<Vec<SeriesAnswer>, QueryError> {
        let nodes: Vec<String> = nodes.map(str::to_owned).collect();
        if nodes.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(MetricsAsk {
            metric: Some(CPU_METRIC.to_owned()),
            nodes,
            by: [NODE, MODE].map(str::to_owned).into(),
            filter: IDLE_MODES.map(|mode| format!("{MODE}={mode}")).into(),
            ..MetricsAsk::default()
        })
        .await
    }

    /// Nothing where nobody ever told, or where it would be too much.
    async fn ask(&self, ask: MetricsAsk) -> Result<Vec<SeriesAnswer>, QueryError> {
        let ask = MetricsAsk {
            from_ms: Some(self.range_ms.0),
            to_ms: Some(self.range_ms.1),
            step_ms: Some(self.step_ms),
            agg: Some("avg".to_owned()),
            ..ask
        };
        match self.querier.answer(ask, Violations::default(), now_ms()).await {
            Ok(answered) => Ok(answered.answer.series().collect()),
            Err(QueryError::NotFound(_) | QueryError::TooExpensive(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

fn take_word(told: &mut [Told], places: &[Place], fleet: &FleetStatus, series: &SeriesAnswer) {
    let of = |name: &str| series.attributes.get(name).map(String::as_str).unwrap_or_default();
    let Ok(port) = of(PORT).parse() else { return };
    let machine = gather::machine(fleet, of(NODE));
    let about = |(place, _): &(&Place, &mut Told)| is_about(place, (of(HOST), port), &machine);
    for (_, told) in places.iter().zip(told).filter(about) {
        // Whoever heard it heard the same.
        told.words.extend(known(series));
    }
}

/// CPU in use by node: what is neither idle nor waiting for disks.
fn busy(all: &[SeriesAnswer]) -> HashMap<&str, Windows> {
    let mut idle: HashMap<&str, Windows> = HashMap::new();
    let mut waiting: HashMap<&str, Windows> = HashMap::new();
    for series in all {
        let of = |name: &str| series.attributes.get(name).map(String::as_str).unwrap_or_default();
        let kind = if of(MODE) == IDLE_MODES[0] { &mut idle } else { &mut waiting };
        kind.entry(of(NODE)).or_default().extend(known(series));
    }
    for (node, windows) in &mut idle {
        for (start_ms, share) in windows {
            let waiting = waiting.get(node).and_then(|of| of.get(start_ms)).unwrap_or(&0.0);
            *share = (1.0 - *share - waiting).clamp(0.0, 1.0);
        }
    }
    idle
}

/// Points that are known.
fn known(series: &SeriesAnswer) -> impl Iterator<Item = (i64, f64)> {
    let points = series.points.iter();
    points.filter_map(|(start_ms, value)| Some((*start_ms, value.filter(|v| v.is_finite())?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(node: &str, mode: &str, points: &[(i64, Option<f64>)]) -> SeriesAnswer {
        let attributes = [(NODE, node), (MODE, mode)].map(|(k, v)| (k.to_owned(), v.to_owned()));
        SeriesAnswer { attributes: attributes.into(), points: points.to_vec() }
    }

    #[test]
    fn a_host_is_busy_where_it_is_neither_idle_nor_waits_for_disks() {
        let all = [
            series("app-1", "idle", &[(0, Some(0.5)), (5_000, None), (10_000, Some(0.75))]),
            series("app-1", "iowait", &[(0, Some(0.25)), (5_000, Some(0.1)), (10_000, None)]),
            series("app-2", "iowait", &[(0, Some(0.25))]),
        ];
        let found = busy(&all);
        assert_eq!(found["app-1"], Windows::from([(0, 0.25), (10_000, 0.25)]));
        assert!(!found.contains_key("app-2"), "without idle time nothing is known");
    }
}
