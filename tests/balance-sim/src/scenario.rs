//! What is simulated.

use flyball_model::balance::{envelope, law};

/// Backends of every pool, and workers of each.
pub(crate) const BACKENDS: usize = 16;
/// Workers of each backend.
pub(crate) const WORKERS: u32 = 4;
/// Mean service times by backend, in turn.
pub(crate) const SERVICE_S: [f64; 4] = [0.020, 0.020, 0.040, 0.060];
/// Backends whose capacity falls in [`Fault::Step`]: one fast, one slow.
pub(crate) const STEPPED: [usize; 2] = [4, 7];
/// The backend that fails, leaves or comes in other faults.
pub(crate) const ONE: usize = 5;

/// Who decides.
#[derive(Debug, Clone, PartialEq)]
pub enum Control {
    /// Law R within the envelope, both as shipped, with round robin.
    Law(law::Settings, envelope::Settings),
    /// Law R without its envelope.
    Unguarded(law::Settings),
    /// gRFC A58's `q / (u + e)` of the last window, with round robin.
    Raw,
    /// The inverse of latency, which must fail: the negative control.
    InverseLatency,
    /// Equal weights, round robin.
    Equal,
    /// Weights that make all equally busy, known without measuring, round robin.
    Ideal,
    /// Fewest requests under way at the balancer, no weights.
    LeastConnections,
    /// Law R within the envelope, with two choices drawn by weights.
    LawRandom2(law::Settings, envelope::Settings),
}

impl Control {
    /// Law R and its envelope with the defaults, for windows of this length.
    pub fn shipped(window_s: f64) -> Self {
        let settings =
            law::Settings { window_ms: (window_s * 1_000.0) as u64, ..law::Settings::default() };
        Self::Law(settings, envelope::Settings::default())
    }

    /// Name in tables.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Law(..) => "law R and envelope",
            Self::Unguarded(_) => "law R alone",
            Self::Raw => "A58 raw",
            Self::InverseLatency => "1/latency",
            Self::Equal => "equal weights",
            Self::Ideal => "ideal weights",
            Self::LeastConnections => "least connections",
            Self::LawRandom2(..) => "law R, random(2)",
        }
    }
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Two of 16 backends lose half of their capacity.
    Step,
    /// Something else uses 30 % of a quarter of all backends, all the time.
    Antagonist,
    /// A fifth of all reports is missing: half of them altogether, half without utilisation.
    MissingReports,
    /// One backend fails everything within a millisecond.
    FastFailing,
    /// One backend keeps 2 % of its capacity and answers without errors, for as many windows, or to the end.
    Hung(Option<usize>),
    /// The same, and its processor is idle meanwhile: it waits for something else.
    Waits(Option<usize>),
    /// One backend does nothing for so many seconds.
    Pause(f64),
    /// The agent of one backend says that it is full, in one window.
    WrongReport,
    /// The collector is gone for six windows and comes back with its stored state, while two backends lose half of their capacity.
    Restart,
    /// One backend is not there at first, and comes with a quarter of its capacity for 30 s (cold caches).
    ColdBackend,
}

impl Fault {
    /// For how many windows one backend hangs, if it does; the largest number is to the end.
    pub(crate) fn hangs(self) -> Option<usize> {
        match self {
            Self::Hung(windows) | Self::Waits(windows) => Some(windows.unwrap_or(usize::MAX)),
            _ => None,
        }
    }
}

/// One run.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Seed of everything random.
    pub seed: u64,
    /// Who decides.
    pub control: Control,
    /// Balancers.
    pub balancers: usize,
    /// Requests over capacity of the pool, below 1.
    pub load: f64,
    /// Length of a window.
    pub window_s: f64,
    /// Time from the end of a window until weights of it are in force, in windows.
    pub delay_windows: f64,
    /// Standard deviation of the measured utilisation, as part of it.
    pub noise: f64,
    /// What goes wrong, from a third of the windows on.
    pub fault: Fault,
    /// Windows.
    pub windows: usize,
    /// Failing backends are ejected.
    pub ejects: bool,
    /// From the fault on each balancer has a limit of requests under way at each backend.
    pub limits: bool,
    /// Weights that were confirmed, least and most, of every backend.
    pub band: Option<(u16, u16)>,
    /// Weights start equal; else as configured for capacities without fault.
    pub equal_start: bool,
}

impl Scenario {
    /// Eight balancers, windows of five seconds with half a second of delay, load 0.7, noise of 5 %, no fault.
    pub fn new(seed: u64, control: Control) -> Self {
        Self {
            seed,
            control,
            balancers: 8,
            load: 0.7,
            window_s: 5.0,
            delay_windows: 0.1,
            noise: 0.05,
            fault: Fault::None,
            windows: 60,
            ejects: false,
            limits: false,
            band: None,
            equal_start: false,
        }
    }

    /// The window with which the fault begins.
    pub fn fault_at(&self) -> usize {
        self.windows / 3
    }

    /// The first window of what counts as steady state.
    pub fn steady_from(&self) -> usize {
        match self.fault.hangs() {
            // Coming back takes its time.
            Some(windows) if windows < usize::MAX => self.windows * 3 / 4,
            _ => self.windows / 2,
        }
    }
}
