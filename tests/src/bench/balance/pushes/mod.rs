//! From a policy that the collector sends to its being in force, and to the requests that follow it: a real HAProxy, a real Envoy and a real gRPC client (`grpcio`), each with the shipped agent between.
//!
//! The collector's own service for policies runs in this process, so that the moment at which a policy is wanted is known. In force is what HAProxy's runtime socket or Envoy's
//! admin server says, asked again and again. A gRPC client cannot be asked: for it the agent's word counts that the client has acknowledged, with its way back to the collector. Requests go on
//! meanwhile, and none may fail.
//!
//! Weights that are served by xDS go out alone once a second at most, and every ten seconds to gRPC clients, whose requests nobody counts (`docs/xds.md`, pace): so there are fewer of those pushes, and each
//! comes when it is due. The many are pushes of weights with a drain of another backend or its end, which go out at once.

mod policies;

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use flyball_proto::steering::{Settings, Target};
use tokio::time::{Instant, sleep};

use self::policies::Policies;
use super::scene::servers;
use super::{Options, say};
use crate::balance::{
    AgentOf, Algorithm, Backends, Cluster, Envoy, EnvoyFleet, GROUP, GrpcBackends, GrpcClient,
    Haproxy, HaproxyFleet, Load, Source, Spec,
};
use crate::bench::table::{Bar, Table, percentile};
use crate::bench::temporary;
use crate::port;
use crate::wait::until;

/// Milliseconds from a policy to its being in force.
const BAR: f64 = 50.0;
const PATIENCE: Duration = Duration::from_secs(30);
/// Quick backends: what is measured is not theirs.
const SPECS: [Spec; 4] = [Spec::new(8, 2); 4];
/// Requests a second meanwhile.
const RATE: f64 = 300.0;
/// Requests in a row to one backend, which a draw would hardly give.
const IN_A_ROW: usize = 6;
/// One in so many pushes is followed by its requests.
const FOLLOWED: usize = 10;
/// So many fewer pushes of weights alone, and the time between two.
const ENVOY: (usize, Duration) = (40, Duration::from_millis(1_200));
const GRPC: (usize, Duration) = (200, Duration::from_millis(10_200));
/// The backend that is drained in every other push of a series with drains.
const DRAINED: usize = 3;

/// What is pushed to.
enum Plane {
    Haproxy(Haproxy),
    Envoy(Envoy),
    Grpc,
}

/// Who makes requests, and who is asked whom they picked.
enum Clients {
    Http(Load),
    Grpc(Box<GrpcClient>, GrpcBackends),
}

/// A data plane and its clients.
struct Ground<'a> {
    plane: &'a Plane,
    // As the plane names them.
    backends: Vec<String>,
    favourite: u32,
    clients: Clients,
}

/// Pushes of one kind.
struct Series {
    /// What figures are called.
    name: &'static str,
    pushes: usize,
    /// Time before each.
    pace: Duration,
    has_drains: bool,
}

/// `options.pushes` policies to each plane, round by round.
pub(super) async fn run(table: &mut Table, options: &Options) -> Result<()> {
    for round in 0..options.rounds {
        say(&format!("pushes: round {} of {}", round + 1, options.rounds));
        haproxy(table, options.pushes).await.context("HAProxy")?;
        envoy(table, options.pushes).await.context("Envoy")?;
        grpc(table, options.pushes).await.context("gRPC")?;
    }
    Ok(())
}

async fn haproxy(table: &mut Table, pushes: usize) -> Result<()> {
    let (dir, backends) = (temporary()?, Backends::start(&SPECS, false).await?);
    let servers = servers(&backends, &SPECS, &[128; 4]);
    let mut fleet =
        HaproxyFleet::start(dir.path(), "lb", 1, Algorithm::RoundRobin, &servers).await?;
    let one = fleet.0.pop().context("one was started")?;
    let mut policies = Policies::serve(Target::new("haproxy", &one.name)).await?;
    let agent = policies.agent(&AgentOf::from(&one).settings(), dir.path())?;
    let clients = Clients::Http(Load::start(&[one.address], RATE, 1));
    let plane = Plane::Haproxy(one);
    let names = (0..SPECS.len()).map(|number| format!("b{number}")).collect();
    let mut ground = Ground { plane: &plane, backends: names, favourite: 256, clients };
    policies.connected().await.with_context(|| agent.log())?;
    let series = [Series { name: "HAProxy", pushes, pace: Duration::ZERO, has_drains: false }];
    ground.push_all(table, &mut policies, &series).await.with_context(|| agent.log())
}

async fn envoy(table: &mut Table, pushes: usize) -> Result<()> {
    let (dir, backends) = (temporary()?, Backends::start(&SPECS, true).await?);
    let (admin, xds) = (free()?, free()?);
    let endpoints: Vec<_> = backends.0.iter().map(|one| (one.address, 4)).collect();
    let names = endpoints.iter().map(|(address, _)| address.to_string()).collect();
    let cluster = Cluster { policy: "ROUND_ROBIN", endpoints };
    let mut policies = Policies::serve(Target::new("envoy", "edge")).await?;
    let settings = AgentOf::Envoy { name: "edge".into(), admin, xds, cluster }.settings();
    let agent = policies.agent(&settings, dir.path())?;
    let source = Source::Xds(xds);
    let fleet = EnvoyFleet::start_with_admin(dir.path(), "envoy", 1, &source, admin).await;
    let one = fleet.with_context(|| agent.log())?.0.pop().context("one was started")?;
    let clients = Clients::Http(Load::start(&[one.address], RATE, 1));
    let plane = Plane::Envoy(one);
    let mut ground = Ground { plane: &plane, backends: names, favourite: 16, clients };
    policies.connected().await.with_context(|| agent.log())?;
    policies.counted().await.with_context(|| agent.log())?;
    let series = paced(["Envoy, weights", "Envoy, weights and a drain"], pushes, ENVOY);
    ground.push_all(table, &mut policies, &series).await.with_context(|| agent.log())
}

async fn grpc(table: &mut Table, pushes: usize) -> Result<()> {
    let (dir, backends) = (temporary()?, GrpcBackends::start(SPECS.len() as u16).await?);
    let xds = free()?;
    let mut policies = Policies::serve(Target::new("envoy", "grpc")).await?;
    let agent = policies.agent(&backends.settings("grpc", xds, 4), dir.path())?;
    policies.connected().await.with_context(|| agent.log())?;
    let client = GrpcClient::start(dir.path(), xds, RATE).await.with_context(|| agent.log())?;
    let names = backends.addresses.iter().map(SocketAddr::to_string).collect();
    let clients = Clients::Grpc(Box::new(client), backends);
    let mut ground = Ground { plane: &Plane::Grpc, backends: names, favourite: 256, clients };
    let series = paced(["gRPC, weights", "gRPC, weights and a drain"], pushes, GRPC);
    ground.push_all(table, &mut policies, &series).await.with_context(|| agent.log())
}

fn free() -> Result<SocketAddr> {
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?)))
}

/// A few pushes of weights alone, each when it is due, and then the many that go out at once.
fn paced(
    [alone, drains]: [&'static str; 2],
    pushes: usize,
    (fewer, pace): (usize, Duration),
) -> [Series; 2] {
    let few = pushes.div_ceil(fewer);
    [
        Series { name: alone, pushes: few, pace, has_drains: false },
        Series { name: drains, pushes, pace: Duration::ZERO, has_drains: true },
    ]
}

impl Plane {
    const fn name(&self) -> &'static str {
        match self {
            Self::Haproxy(_) => "HAProxy",
            Self::Envoy(_) => "Envoy",
            Self::Grpc => "gRPC",
        }
    }

    /// How it is known that a policy is in force.
    const fn in_force(&self) -> &'static str {
        match self {
            Self::Haproxy(_) | Self::Envoy(_) => "in force",
            Self::Grpc => "acknowledged by the client, as the collector hears",
        }
    }

    /// Weights in force and the time between two questions; `None`: it cannot be asked.
    async fn weights(&self) -> Result<Option<(HashMap<String, u32>, Duration)>> {
        Ok(match self {
            Self::Haproxy(one) => Some((one.weights().await?, Duration::from_millis(1))),
            Self::Envoy(one) => Some((one.weights().await?, Duration::from_millis(2))),
            Self::Grpc => None,
        })
    }
}

impl Clients {
    /// Whom requests went to that were due, or that had come, after a moment, in their order.
    fn picks(&self, from: Instant) -> Vec<(Instant, Option<u16>)> {
        match self {
            Self::Http(load) => {
                let mut samples = load.samples(from, Instant::now());
                samples.sort_by_key(|sample| sample.due);
                samples.iter().map(|sample| (sample.due, sample.backend)).collect()
            }
            Self::Grpc(_, backends) => {
                backends.calls(from).into_iter().map(|(at, number)| (at, Some(number))).collect()
            }
        }
    }

    /// Waits for the last answers: requests, and those that failed.
    async fn finish(&mut self, begun: Instant) -> Result<(usize, usize)> {
        match self {
            Self::Http(load) => {
                load.set_rate(0.0);
                until("the last answers", PATIENCE, || async {
                    ensure!(load.under_way() == 0, "{} are open", load.under_way());
                    Ok(())
                })
                .await?;
                let samples = load.samples(begun, Instant::now());
                let failed = samples.iter().filter(|sample| !sample.is_good()).count();
                Ok((samples.len(), failed))
            }
            Self::Grpc(client, _) => {
                let tally = client.finish().await?;
                if tally.failed > 0 {
                    say(&format!("gRPC: the first failure: {}", tally.first_error));
                }
                Ok((tally.calls, tally.failed))
            }
        }
    }
}

impl Ground<'_> {
    /// All series, one after the other; then what their requests came to.
    async fn push_all(
        &mut self,
        table: &mut Table,
        policies: &mut Policies,
        series: &[Series],
    ) -> Result<()> {
        let (begun, name) = (Instant::now(), self.plane.name());
        for one in series {
            self.push_series(table, policies, one).await.context(one.name)?;
        }
        let (requests, failed) = self.clients.finish(begun).await?;
        let pushes: usize = series.iter().map(|one| one.pushes).sum();
        let row = format!("{name}: requests failed in {pushes} pushes");
        table.add(&row, failed as f64, Some(Bar::Never));
        table.add(&format!("{name}: requests meanwhile"), requests as f64, None);
        Ok(())
    }

    /// The favourite changes with each push.
    async fn push_series(
        &self,
        table: &mut Table,
        policies: &mut Policies,
        series: &Series,
    ) -> Result<()> {
        let (mut in_force, mut follows) = (Vec::new(), Vec::new());
        let Series { name, pushes, .. } = *series;
        for push in 0..pushes {
            if push % 100 == 0 {
                say(&format!("pushes: {name}, {push} of {pushes}"));
            }
            sleep(series.pace).await;
            let favourite = push % 2;
            let drained = (series.has_drains && push % 2 == 0).then_some(DRAINED);
            let (wanted, time) = self.push(policies, favourite, drained, series.has_drains).await?;
            in_force.push(time.as_secs_f64() * 1e3);
            // Requests tell it later than the plane itself, in proportion to their rate.
            if push % FOLLOWED == 0 || !series.pace.is_zero() {
                follows.push(self.followed(wanted, favourite as u16).await?);
            }
        }
        let first = format!("{name}: policy leaves -> first of {IN_A_ROW} requests in a row");
        let known = format!("{name}: policy leaves -> {}", self.plane.in_force());
        for (what, mut times, bar) in [(known, in_force, Some(BAR)), (first, follows, None)] {
            times.sort_by(f64::total_cmp);
            table.add(&format!("{what}, median, ms"), percentile(&times, 0.5), None);
            let bar = bar.map(Bar::AtMost);
            table.add(&format!("{what}, p99, ms"), percentile(&times, 0.99), bar);
        }
        Ok(())
    }

    /// Wants one of the first two backends to have most of the requests; when, and the time until it is known to be so.
    async fn push(
        &self,
        policies: &mut Policies,
        favourite: usize,
        drained: Option<usize>,
        has_states: bool,
    ) -> Result<(Instant, Duration)> {
        let weight = |number| if number == favourite { self.favourite } else { 1 };
        let mut settings = Settings::new();
        for (number, name) in self.backends.iter().enumerate() {
            settings.insert(format!("weight:{GROUP}/{name}"), weight(number).to_string());
        }
        if has_states {
            let state = if drained.is_some() { "drain" } else { "ready" };
            let name = &self.backends[DRAINED];
            settings.insert(format!("state:{GROUP}/{name}"), state.to_owned());
        }
        let mut wanted = policies.want(settings)?;
        let is_so = |found: &HashMap<String, u32>| {
            self.backends.iter().enumerate().all(|(number, name)| {
                let weight = if drained == Some(number) { 0 } else { weight(number) };
                found.get(name) == Some(&weight)
            })
        };
        loop {
            let Some((found, poll)) = self.plane.weights().await? else {
                let time = wanted.applied().await.with_context(|| policies.told())?;
                return Ok((wanted.at, time));
            };
            let time = wanted.at.elapsed();
            if is_so(&found) {
                return Ok((wanted.at, time));
            }
            ensure!(time < PATIENCE, "{found:?} are in force; {}", policies.told());
            sleep(poll).await;
        }
    }

    /// Milliseconds from `wanted` until the first of several requests in a row that go to the favourite.
    async fn followed(&self, wanted: Instant, favourite: u16) -> Result<f64> {
        let first = until("requests that follow", PATIENCE, || async {
            let picks = self.clients.picks(wanted);
            let is_his =
                |of: &[(Instant, Option<u16>)]| of.iter().all(|one| one.1 == Some(favourite));
            let found = picks.windows(IN_A_ROW).find(|of| is_his(of)).map(|of| of[0].0);
            found.context("not yet")
        })
        .await?;
        Ok(first.duration_since(wanted).as_secs_f64() * 1e3)
    }
}
