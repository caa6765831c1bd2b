//! Predictions and truths on disk, a line for each, predictions before truths.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};

use super::scenario::Scenario;

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
}

/// What servers then did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    pub(super) scenario: String,
    pub(super) half: f64,
    pub(super) same: f64,
    pub(super) twice: f64,
    pub(super) lfu: f64,
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
            Change::Half => self.half,
            Change::Twice => self.twice,
            Change::Lfu => self.lfu - self.same,
        }
    }
}

impl Records {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        ensure!(dir.is_dir(), "{} is no directory", dir.display());
        Ok(Self { dir: dir.to_owned() })
    }

    pub(super) fn is_done(&self, scenario: &Scenario) -> bool {
        self.find::<Found>("truths", &scenario.to_string()).is_some()
    }

    pub(super) fn predicted(&self, scenario: &Scenario, mut predicted: Predicted) -> Result<()> {
        predicted.scenario = scenario.to_string();
        self.append("predictions", &predicted)
    }

    pub(super) fn found(&self, scenario: &Scenario, mut found: Found) -> Result<()> {
        found.scenario = scenario.to_string();
        self.append("truths", &found)
    }

    /// Scenarios that are done.
    pub(super) fn all(&self, scenarios: &[Scenario]) -> Vec<(Scenario, Predicted, Found)> {
        let of = |scenario: &Scenario| {
            let name = scenario.to_string();
            Some((*scenario, self.find("predictions", &name)?, self.find("truths", &name)?))
        };
        scenarios.iter().filter_map(of).collect()
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
