//! Tests of one window, of pools that real reports make.

use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_model::rollout::{Control, Envelope, Hold, LastPush, RolloutId, Target};
use flyball_proto::series::NodeName;
use flyball_proto::steering::{
    BackendGroup, BackendServer, BalancerReport, BalancerState, Target as Server,
    UtilizationSource, WeightMeaning,
};

use super::*;
use crate::balancers::settings::{BalanceSettings, Objective};
use crate::balancers::watch::{NoLoads, PoolWatch};
use crate::steer::watch::Balancer;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Requests of each balancer within a window.
const REQUESTS: f64 = 3_000.0;

/// Balancers with the weights of their backends, and what of their requests each backend could do at all.
struct World<'a> {
    weights: &'a [[u32; 3]],
    capacities: [f64; 3],
    /// Of the three.
    backends: usize,
}

fn id(at: usize) -> TargetId {
    TargetId(format!("haproxy:lb-{at}:edge"))
}

fn name(at: usize) -> String {
    format!("weight:web/{}", NAMES[at])
}

impl World<'_> {
    fn report(&self, at: usize, at_ms: i64) -> BalancerReport {
        let weights = &self.weights[at][..self.backends];
        let share = |weights: &[u32], at: usize| {
            f64::from(weights[at])
                / weights[..self.backends].iter().map(|w| f64::from(*w)).sum::<f64>()
        };
        let server = |(server, weight): (usize, &u32)| {
            let all: f64 = self.weights.iter().map(|weights| share(weights, server)).sum();
            let used = all / self.weights.len() as f64 / self.capacities[server];
            BackendServer {
                requests: (REQUESTS * share(weights, server)) as u64,
                utilization: Some((used.min(1.0), UtilizationSource::Orca)),
                ..BackendServer::new(NAMES[server], format!("10.0.0.{server}:80"), *weight)
            }
        };
        let mut report =
            BalancerReport::new(Server::new("haproxy", "edge"), BalancerState::Up, at_ms);
        report.window_ms = 5_000;
        report.groups = vec![BackendGroup {
            name: "web".into(),
            limit: None,
            algorithm: "roundrobin".into(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: weights.iter().enumerate().map(server).collect(),
        }];
        report
    }

    /// After four windows, in each of which the law went on from what is in force.
    fn estimate(&self) -> Arc<PoolEstimate> {
        let pools = PoolWatch::new(&BalanceSettings::default(), Objective::default());
        let mut now = Instant::now();
        for window in 1..=4 {
            now += Duration::from_secs(5);
            let of = |at: usize| {
                let report = Arc::new(self.report(at, window * 5_000));
                let node = NodeName::new(&format!("lb-{at}")).unwrap();
                Balancer { node, whole: Some(Arc::clone(&report)), report, received: now }
            };
            if let Some(estimate) = pools.latest("web") {
                pools.held(&estimate);
            }
            pools.take(&(0..self.weights.len()).map(of).collect::<Vec<_>>());
            pools.close(&NoLoads, window * 5_000, now);
        }
        pools.latest("web").unwrap()
    }

    /// All of them under control, but for these backends of these balancers.
    fn control(&self, without: &[(usize, usize)]) -> Control {
        let member = |(at, weights): (usize, &[u32; 3])| Controlled {
            target: Target {
                id: id(at),
                node: format!("lb-{at}"),
                kind: "haproxy".into(),
                name: "edge".into(),
            },
            values: (0..self.backends)
                .filter(|server| !without.contains(&(at, *server)))
                .map(|server| (name(server), weights[server].to_string()))
                .collect(),
            configured: Values::new(),
            hold: Hold::Standing,
        };
        let bounds = (0..3).map(|server| (name(server), (0, 256))).collect();
        Control {
            rollout: RolloutId("r-1".into()),
            pool: Target {
                id: TargetId("pool:web".into()),
                node: String::new(),
                kind: "pool".into(),
                name: "web".into(),
            },
            envelope: Envelope { bounds, largest_shift: 0.2, push_ms: 1_000 }.into(),
            members: self.weights.iter().enumerate().map(member).collect(),
            frozen: None,
            killed: None,
            pushes: 1,
            last: Some(LastPush { at_ms: 0, window_ms: 0, sequence: 7 }),
            since_ms: 0,
        }
    }

    fn all(&self) -> Vec<TargetId> {
        (0..self.weights.len()).map(id).collect()
    }

    fn pushed(&self, without: &[(usize, usize)], aim: Option<&Weights>) -> Pushing {
        match step(&self.control(without), &self.estimate(), self.all(), aim) {
            Step::Push(pushing) => *pushing,
            Step::Wait { why, .. } => panic!("{why}"),
            Step::Panic { reason, .. } => panic!("{reason}"),
        }
    }

    fn waits(&self, heard: Vec<TargetId>, aim: Option<&Weights>) -> (&'static str, bool) {
        match step(&self.control(&[]), &self.estimate(), heard, aim) {
            Step::Wait { kind, is_restrained, .. } => (kind, is_restrained),
            Step::Push(pushing) => panic!("{:?}", pushing.push),
            Step::Panic { reason, .. } => panic!("{reason}"),
        }
    }
}

/// The share of a backend by these weights.
fn share(values: &Values, at: usize) -> f64 {
    let weight = |value: &String| value.parse::<f64>().unwrap();
    weight(&values[&name(at)]) / values.values().map(weight).sum::<f64>()
}

#[test]
fn a_minority_computes_nothing() {
    let weights = [[100, 100, 0]; 2];
    let world = World { weights: &weights, capacities: [0.3, 0.9, 0.0], backends: 2 };
    assert!(is_majority(2, world.control(&[]).standing().count()));
    assert!(!is_majority(1, world.control(&[]).standing().count()), "half is none");
    assert!(!is_majority(0, 0));
    assert_eq!(world.waits(vec![id(0)], None), ("minority", true), "the law is told");
}

#[test]
fn a_window_in_which_too_little_was_measured_pushes_nothing() {
    let weights = [[100, 100, 0]; 2];
    let world = World { weights: &weights, capacities: [0.3, 0.9, 0.0], backends: 2 };
    let mut estimate = world.estimate().as_ref().clone();
    estimate.invalid = Some("1 of its 2 balancers do not count".to_owned());
    let step = step(&world.control(&[]), &estimate, world.all(), None);
    let Step::Wait { kind, why, is_restrained } = step else { panic!("it pushes") };
    assert_eq!((kind, is_restrained), ("invalid", true));
    assert!(why.contains("do not count"));
}

#[test]
fn all_get_the_same_weights() {
    let weights = [[100, 100, 0]; 3];
    let world = World { weights: &weights, capacities: [0.4, 0.9, 0.0], backends: 2 };
    let pushing = world.pushed(&[], None);
    assert!(pushing.left_out.is_empty() && pushing.verdict.is_some());
    let values: Vec<&Values> = pushing.push.values.values().collect();
    assert_eq!(values.len(), 3);
    assert!(values.iter().all(|one| *one == values[0]) && share(values[0], 0) < 0.42, "{values:?}");
}

#[test]
fn where_a_step_would_be_too_large_only_that_balancer_goes_a_part_of_the_way() {
    // The first balancer was left out while the others went on.
    let weights = [[200, 100, 0], [60, 200, 0], [60, 200, 0], [60, 200, 0]];
    let world = World { weights: &weights, capacities: [0.22, 0.9, 0.0], backends: 2 };
    let pushing = world.pushed(&[], None);
    assert!(pushing.left_out.is_empty(), "{:?}", pushing.left_out);
    let first = share(&pushing.push.values[&id(0)], 0);
    assert!((first - (2.0 / 3.0 - 0.2)).abs() < 0.01, "{first}");
    let others = share(&pushing.push.values[&id(1)], 0);
    assert!(others < 0.3, "{others}");
    assert_eq!(pushing.push.values.len(), 4);
}

#[test]
fn weights_that_are_not_under_control_stay_and_count() {
    let weights = [[100, 100, 100]; 3];
    let world = World { weights: &weights, capacities: [0.2, 0.6, 0.6], backends: 3 };
    let pushing = world.pushed(&[(0, 2)], None);
    let others = &pushing.push.values[&id(1)];
    let own = &pushing.push.values[&id(0)];
    assert!(!own.contains_key(&name(2)) && others.contains_key(&name(2)));
    assert_eq!(pushing.push.beside[&id(0)], Values::from([(name(2), "100".to_owned())]));
    assert!(pushing.push.beside[&id(1)].is_empty());
    let mut whole = own.clone();
    whole.insert(name(2), "100".to_owned());
    for at in 0..3 {
        assert!((share(&whole, at) - share(others, at)).abs() < DISTORTION, "{own:?} {others:?}");
    }
}

#[test]
fn one_that_cannot_share_as_is_wanted_is_left_out_and_the_others_go_on() {
    // The third backend does little, and has the largest weight at the first balancer, where it is not under control.
    let weights = [[200, 200, 256], [200, 200, 200], [200, 200, 200]];
    let world = World { weights: &weights, capacities: [0.6, 0.6, 0.25], backends: 3 };
    let pushing = world.pushed(&[(0, 2)], None);
    let [left_out] = pushing.left_out.as_slice() else { panic!("{:?}", pushing.left_out) };
    assert_eq!(left_out.kind, "distorted");
    assert!(left_out.why.contains("haproxy:lb-0:edge"), "{}", left_out.why);
    let told: Vec<&TargetId> = pushing.push.values.keys().collect();
    assert_eq!(told, [&id(1), &id(2)]);
}

#[test]
fn who_was_left_out_gets_what_the_others_have_when_the_law_is_at_rest() {
    let mut weights = [[85, 100, 0]; 10];
    weights[0] = [100, 100, 0];
    let world = World { weights: &weights, capacities: [0.85, 1.0, 0.0], backends: 2 };
    assert_eq!(
        world.waits(world.all(), None),
        ("unmoved", false),
        "it is not known what they have"
    );
    let aim: Weights = [("10.0.0.0:80".to_owned(), 218), ("10.0.0.1:80".to_owned(), 256)].into();
    let pushing = world.pushed(&[], Some(&aim));
    assert!(pushing.verdict.is_none(), "the law is not told: it is read back");
    let own = Values::from([(name(0), "218".to_owned()), (name(1), "256".to_owned())]);
    assert_eq!(pushing.push.values, [(id(0), own)].into(), "nobody else gets anything");
    assert_eq!(pushing.aim, aim);
    weights[0] = [85, 100, 0];
    let world = World { weights: &weights, capacities: [0.85, 1.0, 0.0], backends: 2 };
    assert_eq!(world.waits(world.all(), Some(&aim)), ("unmoved", false));
}

#[test]
fn a_balancer_that_reports_elsewhere_gets_weights_by_the_names_of_its_backends() {
    let weights = [[100, 100, 0]; 3];
    let world = World { weights: &weights, capacities: [0.4, 0.9, 0.0], backends: 2 };
    let estimate = world.estimate();
    let mut control = world.control(&[]);
    let elsewhere = TargetId("haproxy:lb-9:edge".into());
    control.members[2].target.id = elsewhere.clone();
    control.members[2].target.node = "lb-9".into();
    let heard = vec![id(0), id(1), elsewhere.clone()];
    let Step::Push(pushing) = step(&control, &estimate, heard.clone(), None) else { panic!() };
    assert_eq!(pushing.push.values[&elsewhere], pushing.push.values[&id(0)]);
    assert_eq!(pushing.push.heard, [id(0), id(1)].into(), "what it sees is not known here");
    // A backend that nobody here knows: its weights stay.
    control.members[2].values.insert("weight:web/z".into(), "100".into());
    let Step::Push(pushing) = step(&control, &estimate, heard, None) else { panic!() };
    assert_eq!(pushing.push.values[&elsewhere], Values::new());
}
