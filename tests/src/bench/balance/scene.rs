//! Backends, a fleet of HAProxys before them and clients; what a run of them gave.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, sleep};

use super::arm::Arm;
use super::{Options, say};
use crate::balance::{
    Algorithm, Backends, Begin, Figures, HaproxyFleet, History, Load, Server, Spec, Validity,
};
use crate::bench::table::Table;

/// Two normal backends, one three times slower, one with half the workers.
const BACKENDS: [Spec; 4] =
    [Spec::new(4, 20), Spec::new(4, 20), Spec::new(4, 60), Spec::new(2, 20)];
/// Time between two looks at what is still open.
const LOOK: Duration = Duration::from_millis(100);
/// Longest time that is waited for the answers of requests that were measured.
const REST: Duration = Duration::from_mins(1);

/// What stands there before anything is measured.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scene {
    /// How figures are called.
    pub(super) name: &'static str,
    /// Balancers.
    pub(super) balancers: usize,
    /// They are Envoys.
    pub(super) are_envoys: bool,
    /// What the backends can do.
    pub(super) specs: Vec<Spec>,
}

/// Everything of it, running.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) load: Load,
    pub(super) history: History,
    pub(super) fleet: HaproxyFleet,
    pub(super) backends: Arc<Backends>,
}

/// What was measured, and whether it counts.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) what: String,
    pub(super) figures: Figures,
    pub(super) validity: Validity,
}

impl Scene {
    pub(super) fn many() -> Self {
        let (name, specs) = ("16 HAProxys", BACKENDS.to_vec());
        Self { name, balancers: 16, are_envoys: false, specs }
    }

    pub(super) fn envoys() -> Self {
        let (name, specs) = ("8 Envoys", BACKENDS.to_vec());
        Self { name, balancers: 8, are_envoys: true, specs }
    }

    pub(super) fn one() -> Self {
        let (name, specs) = ("1 HAProxy", BACKENDS.to_vec());
        Self { name, balancers: 1, are_envoys: false, specs }
    }

    /// What an arm is called here.
    pub(super) const fn called(&self, arm: Arm) -> &'static str {
        if self.are_envoys { arm.name_of_envoy() } else { arm.name() }
    }

    /// Requests a second at this share of the capacity.
    pub(super) fn rate(&self, load: f64) -> f64 {
        Backends::capacity(&self.specs) * load
    }

    /// Starts everything, with files in `dir`.
    pub(super) async fn set(
        &self,
        dir: &Path,
        algorithm: Algorithm,
        weights: &[u32],
        load: f64,
    ) -> Result<Stage> {
        let backends = Arc::new(Backends::start(&self.specs, true).await?);
        let servers = servers(&backends, &self.specs, weights);
        let fleet = HaproxyFleet::start(dir, "lb", self.balancers, algorithm, &servers).await?;
        let load = Load::start(&fleet.addresses(), self.rate(load), rand::random());
        let history = History::start(&backends);
        Ok(Stage { load, history, fleet, backends })
    }
}

/// Servers of an HAProxy: each is given at once as many requests as it has workers, which people know of theirs.
pub(super) fn servers(backends: &Backends, specs: &[Spec], weights: &[u32]) -> Vec<Server> {
    let all = backends.0.iter().zip(specs).zip(weights).enumerate();
    let of = |(number, ((backend, spec), weight)): (usize, ((_, &Spec), &u32))| {
        let backend: &crate::balance::Backend = backend;
        let (name, address) = (format!("b{number}"), backend.address);
        Server { name, address, weight: *weight, limit: spec.workers as u32 }
    };
    all.map(of).collect()
}

impl Stage {
    /// Measures for so long, ends the load and waits for the answers of what was due.
    pub(super) async fn measure(&self, what: &str, time: Duration) -> Result<Run> {
        let from = Begin::now()?;
        super::wait(what, time).await;
        self.measured(what, from).await
    }

    /// What was measured since then. Ends the load and waits for the answers of what was due.
    pub(super) async fn measured(&self, what: &str, from: Begin) -> Result<Run> {
        let to = Instant::now();
        // Before the rest, which is quiet.
        let busy = from.busy()?;
        self.load.set_rate(0.0);
        let end = Instant::now() + REST;
        while self.load.under_way() > 0 && Instant::now() < end {
            sleep(LOOK).await;
        }
        let counts = self.history.between(from.at, to).unwrap_or_default();
        let samples = self.load.samples(from.at, to);
        let figures = Figures::of(&samples, &counts, self.load.under_way());
        let validity = Validity::of(&figures, busy);
        Ok(Run { what: what.to_owned(), figures, validity })
    }
}

/// The figures of a run that counts; one that does not is told and counted as void.
pub(super) fn counted<'a>(
    table: &mut Table,
    name: &str,
    options: &Options,
    run: &'a Run,
) -> Option<&'a Figures> {
    if run.validity.counts() {
        return Some(&run.figures);
    }
    let reasons = run.validity.reasons.join(", ");
    if options.even_if_busy {
        say(&format!("{}: counts all the same, though {reasons}", run.what));
        count(table, &format!("{name}: runs that are void and are in here"));
        return Some(&run.figures);
    }
    say(&format!("{}: void, {reasons}", run.what));
    count(table, &format!("{name}: void runs"));
    None
}

/// One more of these.
fn count(table: &mut Table, what: &str) {
    match table.0.iter_mut().find(|figure| figure.what == what) {
        Some(figure) => figure.values[0] += 1.0,
        None => table.add(what, 1.0, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_void_run_is_counted_and_in_no_figure_unless_it_is_wanted() {
        let mut options = Options {
            cases: Vec::new(),
            arms: Vec::new(),
            rounds: 1,
            seconds: Duration::ZERO,
            warm: Duration::ZERO,
            load: 0.8,
            pushes: 0,
            even_if_busy: false,
        };
        let run = Run {
            what: "a test".into(),
            figures: Figures::default(),
            validity: Validity { reasons: vec!["busy".into()] },
        };
        let mut table = Table::default();
        for _ in 0..2 {
            assert!(counted(&mut table, "h", &options, &run).is_none());
        }
        assert_eq!(
            (table.0[0].what.as_str(), table.0[0].values.as_slice()),
            ("h: void runs", &[2.0][..])
        );
        options.even_if_busy = true;
        assert!(counted(&mut table, "h", &options, &run).is_some());
        let valid = Run { validity: Validity::default(), ..run };
        options.even_if_busy = false;
        assert!(counted(&mut table, "h", &options, &valid).is_some());
    }
}
