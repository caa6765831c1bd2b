//! The agents' own record: what each process has produced, and what it says became of it.
//!
//! Everything is checked against this, never against what the product believes.

use std::collections::BTreeSet;
use std::sync::Arc;

use flyball_proto::series::Series;
use parking_lot::Mutex;

use crate::store::{Database, Found, key_of};

/// One sample as it was produced.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// What [`key_of`] gives for its series.
    pub(crate) key: Arc<str>,
    pub(crate) raw: i64,
    pub(crate) scale: i8,
}

/// One frame as it was produced.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) seq: u64,
    pub(crate) ts_ms: i64,
    pub(crate) samples: Vec<Sample>,
}

/// One process of an agent.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) agent: String,
    frames: Vec<Frame>,
    /// Frames before this index have been checked as acknowledged.
    checked: usize,
    /// Samples of those that are not stored.
    missing_acked: u64,
    end: Option<End>,
}

/// What a process said when it ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct End {
    /// Samples given up.
    pub(crate) shed: u64,
    /// Samples that died with it.
    pub(crate) lost: u64,
}

/// All processes of all agents, and every timestamp ever given.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    processes: Vec<Process>,
    identities: BTreeSet<(Arc<str>, i64)>,
    pub(crate) broken: Vec<String>,
}

/// The journal as agents and checks share it.
pub(crate) type SharedJournal = Arc<Mutex<Journal>>;

/// The key of an agent's series.
pub(crate) fn key(agent: &str, series: &Series) -> Arc<str> {
    key_of(agent, &series.metric, &series.attributes).into()
}

impl Journal {
    /// A process begins. Gives its number.
    pub(crate) fn begin(&mut self, agent: &str) -> usize {
        self.processes.push(Process {
            agent: agent.to_owned(),
            frames: Vec::new(),
            checked: 0,
            missing_acked: 0,
            end: None,
        });
        self.processes.len() - 1
    }

    /// A frame was produced.
    pub(crate) fn produced(&mut self, process: usize, frame: Frame) {
        for sample in &frame.samples {
            if !self.identities.insert((Arc::clone(&sample.key), frame.ts_ms)) {
                self.broken.push(format!("{} was produced twice for {}", sample.key, frame.ts_ms));
            }
        }
        self.processes[process].frames.push(frame);
    }

    /// A process ended.
    pub(crate) fn ended(&mut self, process: usize, end: End) {
        self.processes[process].end = Some(end);
    }

    /// Frames produced so far.
    pub(crate) fn frames(&self) -> usize {
        self.processes.iter().map(|process| process.frames.len()).sum()
    }

    /// Samples of a process.
    pub(crate) fn samples_of(&self, process: usize) -> u64 {
        self.processes[process].frames.iter().map(|frame| frame.samples.len() as u64).sum()
    }

    /// Checks that what a process takes for stored is stored, but for `shed` samples at most.
    pub(crate) fn check_acked(
        &mut self,
        process: usize,
        acked_seq: u64,
        shed: u64,
        database: &Database,
    ) {
        let Self { processes, broken, .. } = self;
        let process = &mut processes[process];
        while let Some(frame) = process.frames.get(process.checked).filter(|f| f.seq <= acked_seq) {
            process.missing_acked += missing(frame, database, broken);
            process.checked += 1;
            if process.missing_acked > shed {
                broken.push(format!(
                    "{} was told that frame {} is stored: {} samples are missing, {shed} were given up",
                    process.agent, frame.seq, process.missing_acked
                ));
            }
        }
    }

    /// Checks, when everything has ended, that nothing is missing that was not given up, and that nothing is stored that was not produced.
    pub(crate) fn check_all(&mut self, database: &Database) -> Account {
        let Self { processes, broken, identities } = self;
        let mut account = Account { produced: identities.len() as u64, ..Account::default() };
        for process in processes.iter() {
            let mut gone = 0;
            let mut first = None;
            for frame in &process.frames {
                let count = missing(frame, database, broken);
                if count > 0 && first.is_none() {
                    first = Some(frame.seq);
                }
                gone += count;
            }
            let Some(End { shed, lost }) = process.end else {
                broken.push(format!("a process of {} never ended", process.agent));
                continue;
            };
            account.missing += gone;
            account.shed += shed;
            account.lost += lost;
            if gone > shed + lost {
                broken.push(format!(
                    "{} lost {gone} samples from frame {first:?} on, and gave up {shed} and died with {lost} of {}",
                    process.agent,
                    process.frames.iter().map(|frame| frame.samples.len()).sum::<usize>()
                ));
            }
        }
        let stored = database.tables(|tables| tables.samples()) as u64;
        account.stored = stored;
        if stored + account.missing != account.produced {
            broken.push(format!("{account:?} does not add up: stored is not produced - missing"));
        }
        account
    }
}

/// What became of all samples.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) produced: u64,
    pub(crate) stored: u64,
    pub(crate) missing: u64,
    /// Given up, as the agents say.
    pub(crate) shed: u64,
    /// In the memory of an agent that was killed.
    pub(crate) lost: u64,
}

fn missing(frame: &Frame, database: &Database, broken: &mut Vec<String>) -> u64 {
    let mut missing = 0;
    for Sample { key, raw, scale } in &frame.samples {
        match database.tables(|tables| tables.find(key, frame.ts_ms, *raw, *scale)) {
            Found::Same => {}
            Found::Nothing => missing += 1,
            Found::Other { raw: other, scale: other_scale } => broken.push(format!(
                "{key} at {} is {raw} ({scale}) and stored as {other} ({other_scale})",
                frame.ts_ms
            )),
        }
    }
    missing
}
