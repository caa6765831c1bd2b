//! Predictions and truths on disk, a line for each, predictions before truths.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::scenario::Scenario;
use crate::load::cache::Pace;

/// What a server is changed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Change {
    /// Half the size.
    Half,
    /// Twice the size.
    Twice,
    /// LFU at the same size; what is predicted is the difference.
    Lfu,
}

/// What a prediction comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) enum Source {
    /// Ages or clocks of evicted keys.
    Reuse,
    /// The mini-Redis.
    Emulation,
}

/// A prediction, in shares of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Prediction {
    pub(super) change: Change,
    pub(super) source: Source,
    /// Hit ratio that was measured at the present size.
    pub(super) present: f64,
    /// Hit ratio, or its difference; none where only bounds are told.
    pub(super) value: Option<f64>,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// What was predicted of a server, and what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Predicted {
    pub(super) scenario: String,
    pub(super) predictions: Vec<Prediction>,
    /// Emulated hit ratio of the present server, less the measured one.
    pub(super) residual: Option<f64>,
    /// The server's processor time, as a share of a core: alone, watched, with `MONITOR` too.
    pub(super) cpu: [f64; 3],
    pub(super) pace: Pace,
}

/// What servers then did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) scenario: String,
    pub(super) half: Served,
    pub(super) same: Served,
    pub(super) twice: Served,
    pub(super) lfu: Served,
}

/// What one of them did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Served {
    pub(super) hit_ratio: f64,
    pub(super) keys: f64,
    pub(super) used_bytes: f64,
    pub(super) pace: Pace,
}

/// The files.
#[derive(Debug)]
pub(super) struct Records {
    dir: PathBuf,
}

impl Found {
    /// What a prediction of this should have been.
    pub(super) fn of(&self, change: Change) -> f64 {
        match change {
            Change::Half => self.half.hit_ratio,
            Change::Twice => self.twice.hit_ratio,
            Change::Lfu => self.lfu.hit_ratio - self.same.hit_ratio,
        }
    }

    /// Whether all clients kept to their schedules; where they did not, this is no truth.
    pub(super) fn is_valid(&self) -> bool {
        [self.half, self.same, self.twice, self.lfu].iter().all(|served| served.pace.is_kept())
    }
}

impl Predicted {
    /// Whether the clients kept to their schedule; where they did not, this was not foreseeable.
    pub(super) fn is_valid(&self) -> bool {
        self.pace.is_kept()
    }
}

impl Records {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        ensure!(dir.is_dir(), "{} is no directory", dir.display());
        Ok(Self { dir: dir.to_owned() })
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether both are there and the load was what it should be.
    pub(super) fn is_done(&self, scenario: &Scenario) -> bool {
        let name = scenario.to_string();
        let predicted = self.find::<Predicted>("predictions", &name);
        let found = self.find::<Found>("truths", &name);
        predicted.is_some_and(|it| it.is_valid()) && found.is_some_and(|it| it.is_valid())
    }

    pub(super) fn predicted(&self, scenario: &Scenario, mut predicted: Predicted) -> Result<()> {
        predicted.scenario = scenario.to_string();
        self.append("predictions", &predicted)
    }

    pub(super) fn found(&self, scenario: &Scenario, mut found: Found) -> Result<()> {
        found.scenario = scenario.to_string();
        self.append("truths", &found)
    }

    /// Scenarios that are done. Those in which clients were late are not.
    pub(super) fn all(&self, scenarios: &[Scenario]) -> Vec<(Scenario, Predicted, Found)> {
        let done = scenarios.iter().filter(|scenario| self.is_done(scenario));
        let of = |scenario: &Scenario| {
            let name = scenario.to_string();
            Some((*scenario, self.find("predictions", &name)?, self.find("truths", &name)?))
        };
        done.filter_map(of).collect()
    }

    /// The last line of a scenario.
    fn find<T: for<'de> Deserialize<'de> + Named>(&self, file: &str, scenario: &str) -> Option<T> {
        let text = fs::read_to_string(self.path(file)).ok()?;
        let mut lines = text.lines().filter_map(|line| serde_json::from_str::<T>(line).ok());
        lines.rfind(|line| line.name() == scenario)
    }

    fn append(&self, file: &str, line: &impl Serialize) -> Result<()> {
        let mut file = File::options().create(true).append(true).open(self.path(file))?;
        Ok(file.write_all(format!("{}\n", serde_json::to_string(line)?).as_bytes())?)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.join(format!("{file}.jsonl"))
    }
}

/// A line of a scenario.
trait Named {
    fn name(&self) -> &str;
}

impl Named for Predicted {
    fn name(&self) -> &str {
        &self.scenario
    }
}

impl Named for Found {
    fn name(&self) -> &str {
        &self.scenario
    }
}
