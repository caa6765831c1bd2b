//! One run: builds the world of a plan, lets it go wrong, heals it, and judges what is left.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;
use std::time::Duration;

use flyball_agent::spool::memory_disk::Faults;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::time::{Instant, sleep, sleep_until};

use crate::agent::{Agent, Death};
use crate::collector::Collector;
use crate::journal::{Account, SharedJournal};
use crate::net::{Cut, Network};
use crate::plan::{Fault, Plan};
use crate::store::{Database, Mode, Weather};
use crate::{kernel, trace};

/// Time between two checks while the world runs.
const CHECK: Duration = Duration::from_millis(500);
/// Time until a process that could not start tries again.
const RESTART: Duration = Duration::from_secs(1);
/// So long after all faults an agent has found its collector again: the longest wait for a connection that says nothing and the longest backoff.
const RECOVER: Duration = Duration::from_secs(80);
/// Then a frame is stored within this time and two intervals.
const LIVE_LAG: Duration = Duration::from_secs(4);
/// A healed world has stored everything within this time: the longest waits of agent and collector, twice, and the longest request.
const SETTLE: Duration = Duration::from_mins(3);
/// Most violations that are told.
const TOLD: usize = 10;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) virtual_time: Duration,
    pub(crate) faults: usize,
    pub(crate) frames: usize,
    pub(crate) account: Account,
    pub(crate) deduplicated: u64,
    pub(crate) repeated_rows: u64,
    pub(crate) broken: Vec<String>,
}

/// See the module.
struct World {
    plan: Plan,
    network: Network,
    database: Database,
    journal: SharedJournal,
    agents: Vec<Agent>,
    collectors: Vec<Collector>,
    due: BinaryHeap<Reverse<(Instant, u64, Action)>>,
    number: u64,
    /// What was changed for a time, and by which action it ends: a later change of the same thing outlives an earlier one.
    until: BTreeMap<Thing, u64>,
}

/// What is to be done at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Action {
    Fault(usize),
    StartAgent(usize),
    StartCollector(usize),
    Heal(Thing),
    Check,
}

/// What a fault changes for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Thing {
    Way(usize, usize),
    /// An agent's disk, and whether its process ends with it.
    Disk(usize, bool),
    Latency,
    DatabaseMode,
    Weather,
}

/// Runs the world that `seed` stands for.
pub(crate) async fn run(seed: u64) -> Report {
    let plan = Plan::new(seed);
    kernel::enter(plan.wall_ms);
    trace::line("plan", format_args!("{:?} {:?} {:?}", plan.length, plan.ingest, plan.agents));
    let mut world = World::new(plan);
    world.start();
    world.go_wrong().await;
    world.heal();
    world.recover().await;
    world.settle().await;
    world.judge().await
}

impl World {
    fn new(plan: Plan) -> Self {
        let mut seeds = StdRng::seed_from_u64(!plan.seed);
        let (network, database) = (Network::new(seeds.random()), Database::new(seeds.random()));
        network.set_latency_ms(plan.latency_ms.0, plan.latency_ms.1);
        let journal = SharedJournal::default();
        let agent =
            |setup| Agent::new(setup, seeds.random(), network.clone(), Arc::clone(&journal));
        let agents = plan.agents.iter().cloned().map(agent).collect();
        let collector =
            |name| Collector::new(name, plan.ingest.clone(), network.clone(), database.clone());
        let collectors = plan.collectors.iter().cloned().map(collector).collect();
        let (due, until) = (BinaryHeap::new(), BTreeMap::new());
        Self { plan, network, database, journal, agents, collectors, due, number: 0, until }
    }

    fn start(&mut self) {
        for collector in &mut self.collectors {
            collector.start();
        }
        for agent in &mut self.agents {
            agent.start();
        }
        for index in 0..self.plan.faults.len() {
            self.after(self.plan.faults[index].0, Action::Fault(index));
        }
        self.after(CHECK, Action::Check);
    }

    fn after(&mut self, time: Duration, action: Action) -> u64 {
        self.number += 1;
        self.due.push(Reverse((Instant::now() + time, self.number, action)));
        self.number
    }

    /// Injects the plan's faults and ends them.
    async fn go_wrong(&mut self) {
        self.run_for(self.plan.length).await;
    }

    async fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        while let Some(Reverse((at, number, action))) = self.due.pop() {
            if at > end {
                self.due.push(Reverse((at, number, action)));
                break;
            }
            sleep_until(at).await;
            self.act(number, action).await;
        }
        sleep_until(end).await;
    }

    async fn act(&mut self, number: u64, action: Action) {
        match action {
            Action::Fault(index) => {
                let fault = self.plan.faults[index].1.clone();
                trace::line("!!", &fault);
                self.inject(fault).await;
            }
            Action::StartAgent(index) => {
                let agent = &mut self.agents[index];
                if !agent.is_running() && !agent.start() {
                    self.after(RESTART, Action::StartAgent(index));
                }
            }
            Action::StartCollector(index) => {
                let collector = &mut self.collectors[index];
                if !collector.is_running() && !collector.start() {
                    self.after(RESTART, Action::StartCollector(index));
                }
            }
            Action::Heal(thing) if self.until.get(&thing) == Some(&number) => {
                self.until.remove(&thing);
                self.mend(thing);
            }
            Action::Heal(_) => {}
            Action::Check => {
                self.check();
                self.after(CHECK, Action::Check);
            }
        }
    }

    async fn inject(&mut self, fault: Fault) {
        match fault {
            Fault::Cut { agent, cut } => {
                for collector in &self.collectors {
                    self.network.cut(self.agents[agent].name(), &collector.name, cut);
                }
            }
            Fault::Hold { agent, collector, time } => {
                let (client, server) =
                    (self.agents[agent].name(), &self.collectors[collector].name);
                self.network.hold(client, server, true);
                self.heal_after(time, Thing::Way(agent, collector));
            }
            Fault::Slow { longest_ms, time } => {
                self.network.set_latency_ms(0, longest_ms);
                self.heal_after(time, Thing::Latency);
            }
            Fault::KillCollector { collector, cut, time } => {
                self.collectors[collector].kill(cut);
                self.after(time, Action::StartCollector(collector));
            }
            Fault::StopCollector { collector, patience, time } => {
                self.collectors[collector].stop(patience);
                self.after(patience + time, Action::StartCollector(collector));
            }
            Fault::KillAgent { agent, death, cut, time } => {
                self.agents[agent].kill(death, cut);
                self.after(time, Action::StartAgent(agent));
            }
            Fault::Disk { agent, faults, time } => {
                self.agents[agent].set_disk_faults(faults);
                self.heal_after(time, Thing::Disk(agent, faults.calls_left.is_some()));
            }
            Fault::StopAgent { agent, time } => {
                self.agents[agent].stop().await;
                self.after(time, Action::StartAgent(agent));
            }
            Fault::KillDatabase { time } => self.database_for(Mode::Down, time),
            Fault::PauseDatabase { time } => self.database_for(Mode::Paused, time),
            Fault::Weather { weather, time } => {
                self.database.set_weather(weather);
                self.heal_after(time, Thing::Weather);
            }
            Fault::StepClock { agent, by_ms } => self.agents[agent].step_clock(by_ms),
        }
    }

    fn database_for(&mut self, mode: Mode, time: Duration) {
        self.database.set_mode(mode);
        self.heal_after(time, Thing::DatabaseMode);
    }

    fn heal_after(&mut self, time: Duration, thing: Thing) {
        let number = self.after(time, Action::Heal(thing));
        self.until.insert(thing, number);
    }

    fn mend(&mut self, thing: Thing) {
        trace::line("ok", format_args!("{thing:?}"));
        match thing {
            Thing::Way(agent, collector) => {
                self.network.hold(
                    self.agents[agent].name(),
                    &self.collectors[collector].name,
                    false,
                );
            }
            Thing::Latency => {
                self.network.set_latency_ms(self.plan.latency_ms.0, self.plan.latency_ms.1);
            }
            Thing::Disk(agent, false) => self.agents[agent].set_disk_faults(Faults::default()),
            // The process was to end in the midst of a call; if it made too few, it ends here. One that had ended before could not.
            Thing::Disk(agent, true) if !self.agents[agent].is_running() => {
                self.agents[agent].set_disk_faults(Faults::default());
            }
            Thing::Disk(agent, true) => {
                self.agents[agent].kill(Death::Killed, Cut::Now);
                self.after(RESTART, Action::StartAgent(agent));
            }
            Thing::DatabaseMode => self.database.set_mode(Mode::Up),
            Thing::Weather => self.database.set_weather(Weather::default()),
        }
    }

    /// Ends all faults.
    fn heal(&mut self) {
        trace::line("ok", "everything is healed");
        self.due.clear();
        for thing in std::mem::take(&mut self.until).into_keys() {
            self.mend(thing);
        }
        for index in 0..self.collectors.len() {
            self.after(Duration::ZERO, Action::StartCollector(index));
        }
        for index in 0..self.agents.len() {
            self.after(Duration::ZERO, Action::StartAgent(index));
        }
        self.after(CHECK, Action::Check);
    }

    /// Lets the healed world run until what is measured now must be stored at once, whatever waits from before.
    async fn recover(&mut self) {
        self.run_for(RECOVER).await;
        for agent in &self.agents {
            let most = LIVE_LAG + agent.setup.interval * 2;
            let lag = agent.live_lag();
            if lag.is_none_or(|lag| lag > most) {
                let text = format!(
                    "{} stored nothing new for {lag:?}, {RECOVER:?} after all faults",
                    agent.name()
                );
                self.journal.lock().broken.push(text);
            }
        }
    }

    /// Lets agents sample no more and waits until everything is stored.
    async fn settle(&mut self) {
        for agent in &self.agents {
            agent.quiesce();
        }
        let end = Instant::now() + SETTLE;
        while Instant::now() < end && !self.agents.iter().all(Agent::is_drained) {
            sleep(CHECK).await;
            self.check();
        }
        for agent in self.agents.iter().filter(|agent| !agent.is_drained()) {
            let text = format!("{} has not got rid of its frames within {SETTLE:?}", agent.name());
            self.journal.lock().broken.push(text);
        }
    }

    fn check(&self) {
        for agent in &self.agents {
            agent.check(&self.database);
        }
        for collector in &self.collectors {
            collector.check(&mut self.journal.lock().broken);
        }
    }

    async fn judge(mut self) -> Report {
        self.check();
        for agent in &mut self.agents {
            agent.stop().await;
        }
        for collector in &mut self.collectors {
            collector.kill(Cut::Now);
        }
        let mut journal = self.journal.lock();
        let account = journal.check_all(&self.database);
        let mut broken = std::mem::take(&mut journal.broken);
        let (deduplicated, repeated_rows) = self.database.tables(|tables| {
            broken.append(&mut tables.broken);
            (tables.deduplicated, tables.repeated_rows)
        });
        broken.truncate(TOLD);
        for text in &broken {
            trace::line("BAD", text);
        }
        let (hash, events) = trace::digest();
        Report {
            hash,
            events,
            virtual_time: kernel::elapsed(),
            faults: self.plan.faults.len(),
            frames: journal.frames(),
            account,
            deduplicated,
            repeated_rows,
            broken,
        }
    }
}
