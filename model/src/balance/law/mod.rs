//! Law R: the weights of a pool from what its backends did in one window.
//!
//! For backend `i` and a window of `T` seconds, summed over all balancers:
//!
//! | symbol | unit | what |
//! |---|---|---|
//! | `n` | requests | ended in the window, with an error or without |
//! | `q` | 1/s | `n / T` |
//! | `e` | 0 to 1 | share of `n` that failed for the backend's fault (5xx, no connection, time-out; not 4xx) |
//! | `u` | 0 to 1 | share of the backend in use: the larger one of processor and workers, else in-flight over its limit |
//! | `L` | ms | mean latency |
//! | `N` | | requests under way, mean of the window |
//! | `R` | s | time in the backend, `N / q` by Little's law; `R0` what is usual: the geometric average of windows in which it does not hang, from 1 to 64 times the median of the pool |
//! | `z` | ln(1/s) | capacity, as the window says |
//! | `s`, `mad` | ln | capacity as believed, and how much windows scatter about it |
//! | `w` | | wanted weight, the largest of the pool is 1 |
//!
//! ```text
//! valid    : the report is younger than 2 T, u is a number above 0; windows are summed until n >= 50
//! bound    : u >= 0.7 and surely fewer than half of its share of what the pool ended (Poisson, 1 in 1,000): z as if n were that sure most
//! hanging  : surely ended less than a quarter of its share, N >= 2 R0 share / T, and N - R0 share / T >= a quarter of what is missing of its share:
//!            z as if n were that sure most and u = 1, a bound as well; then in each window until R < 8 R0 -> w = floor, R0 stays
//! collapsed: bound < max(s, what w says) - ln 8, over 2 s or longer  -> w = floor at once, s = bound
//! failing  : e >= 0.5, and 0.25 above the median of the pool           -> w = floor at once, s forgotten
//! z        = ln( q / (max(u, 0.02) + 1.0 e) )                          gRFC A58 with its error penalty
//! z       -= b ln( clamp(L / median L, 1/4, 4) )                       b = min(trim, (1-U) / 2U), U = mean of u; off unless set
//! x        = z - s - m,  m = median of the last z - s of each          innovation
//! gate     = max(0.25, 4 mad)
//! s       += x      if x < -gate                                       fast down, at once
//!          += x      if x > gate, the second time in a row             confirmed up
//!          += g x    otherwise, g = min(0.3, max(0.1, 0.02 / mad)) ; mad += 0.1 (min(|x|, 2 gate) - mad)
//! d        = (s - ln w) - median of that over all that were measured within 3 minutes
//! step     = 0 if |d| < clamp(mad/2, 0.05, 0.15), else clamp(d, -0.70, 0.25)
//! w       := max(w exp(step), 0.03 max w)
//! wanted   = w max(0.1, age / 60 s)                                    slow start of a new backend
//! weight   = round(256 wanted / max wanted), at least 1
//! ```
//!
//! `q / u` is the estimate of gRFC A58 (weighted round robin). Both factors are of the same window, so the delay until a weight acts is not part of the loop,
//! and with `u = u0 + q/c` its linear pole is `1 - (q/c)/u`: stable for every load. A law on `1/latency` has none of that: `d ln(1/L) / d ln w = -u/(1-u)` for
//! M/M/1, which is below -1 from half load on (it is in the simulation as a control that must fail). Averaging harder is no way out of noise: at high
//! load what a slow average costs while a queue builds up is more than noise costs. Hence the gate: change detection, and an average of what is left. What is a
//! change is not counted as noise, else the gate would open and the average slow down just when something has happened.
//!
//! What is common to all backends is the load's and moves no weight. It is taken as a median: with the mean, two of 16 that lose half take everybody else 9 % up,
//! which then is averaged in slowly.
//!
//! What is not valid *holds*: its weight stays what it was beside those of others. After three minutes without a reading it moves to the median of others,
//! by the same steps (A58's expiry), provided that at least half of the pool was measured in that time: where nobody is measured nobody is moved.
//!
//! A window with few requests is not thrown away but summed with the next, until there are 50. A backend that is overloaded ends few requests; if it held for that
//! reason, nothing would ever relieve it (in the simulation the 99th percentile went from 0.2 to 13 s). Both factors of `q/u` are sums of the same windows, so it is the same estimate.
//!
//! Few requests are evidence downwards, though: a backend that is full and ends far fewer than its share can do no more than it did. That needs no 50 requests: their
//! number has a sure bound (Wilson's interval of a Poisson count), and a bound below the gate is believed at once. One that is below an eighth of what the weight
//! stands for is a *collapse*, and no step of half in each window is fast enough for it. Its share is part of the evidence, since a backend that is full of something else while
//! hardly anybody asks, or whose agent is wrong about it, ends what it is given. It lasts 2 s at least: a pause of a second is over before a weight could act.
//! At the floor it is measured like any other, and comes back by confirmed steps.
//!
//! A push is due when a weight moved by at least 3 % of the one in force and by at least three quarters of a unit, and the last push is a second ago or more. The
//! second bound is for small weights: one unit of 8 is 12 %, but a weight that hovers between 8 and 9 has not moved. Half a unit is rounding, so a
//! weight must move a quarter of a unit beyond to be sent, and half a unit back to be taken back.
//!
//! Properties, each a test:
//! - (a) other traffic with the same shares and utilisations gives the same weights;
//! - (b) the order of backends does not matter, and renaming them renames the outcome;
//! - (c) weights are from 1 to 256 and the largest is 256, for any input;
//! - (d) no number of the outcome or the state is NaN or infinite, for any input;
//! - (e) with the same windows again and again it comes to rest, within hysteresis and rounding of what capacities say;
//! - (f) continuing from a stored state gives the same outcomes.

mod quantise;
mod reading;
mod settings;
mod state;
mod step;
mod words;

pub use quantise::{quantise, shares};
pub use reading::Gathered;
pub use settings::{InvalidSettings, Settings};
pub use state::{BackendState, PoolState};

/// What one backend did in a window, summed over all balancers of the pool.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendWindow {
    /// Name of the backend within the pool, the same in every window.
    pub id: String,
    /// Requests that ended in the window, failed ones included.
    pub requests: u64,
    /// Those of them that failed for the backend's fault: 5xx, no connection, time-out; not 4xx. More than `requests` counts as all.
    pub errors: u64,
    /// Share of the backend in use, 0 to 1 (above counts as 1). `None`, or not a number: not known, then the backend holds.
    pub utilization: Option<f64>,
    /// Mean latency; used by the trim alone.
    pub latency_ms: Option<f64>,
    /// Requests under way, mean of the window. `None`, or not a number: not known, then a backend that hangs while its utilisation is low or unknown is not found.
    pub in_flight: Option<f64>,
    /// Age of the oldest report that this is summed from.
    pub age_ms: u64,
    /// It has just come into the pool, or come back. Slow start begins when this becomes true; it may stay so for as long as is convenient.
    pub is_new: bool,
}

/// Why a backend's weight stays as it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Hold {
    /// Fewer requests than needed to measure anything; they are gathered.
    FewRequests {
        /// Requests since it was last measured.
        requests: u64,
        /// Requests needed.
        needed: u64,
    },
    /// The report is too old.
    Stale {
        /// Its age.
        age_ms: u64,
        /// The age that is too old.
        limit_ms: u64,
    },
    /// Utilisation is not known, no number, or 0 with requests.
    NoUtilization,
}

/// What was done with a backend, and by which rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rule {
    /// Its first valid window: believed as it is.
    First,
    /// Capacity fell by more than noise: believed at once.
    FastDown,
    /// Capacity rose by more than noise, the first time: not believed yet.
    Unconfirmed,
    /// Capacity rose by more than noise twice in a row: believed.
    ConfirmedUp,
    /// Within noise: averaged.
    Averaged,
    /// Most of its requests fail: to the floor at once.
    Failing,
    /// It is full and can do next to nothing beside its weight: to the floor at once.
    Collapsed,
    /// Its requests stay and next to none of its share end, however idle it looks: to the floor at once, and there until they take less than eight times as long as usual.
    Hanging,
    /// Not measured: stays.
    Held(Hold),
    /// Not measured for so long that what is known of it is out of date: moves to the median.
    Expired(Hold),
}

/// What the law says of one backend. All logarithms are natural.
#[derive(Debug, Clone, PartialEq)]
pub struct BackendOutcome {
    /// Name of the backend.
    pub id: String,
    /// Requests a second of the window.
    pub requests_per_second: f64,
    /// Share of requests that failed.
    pub error_ratio: f64,
    /// Utilisation that was used, 0.02 to 1, over all windows since it was last measured.
    pub utilization: Option<f64>,
    /// Requests a second that it could do at full use, errors and latency counted against it: `exp(z)`. `None`: not measured in this window.
    pub capacity_per_second: Option<f64>,
    /// The rule that applied.
    pub rule: Rule,
    /// How far the window is from what was believed; logarithm. 0 when it was not measured.
    pub innovation: f64,
    /// The innovation that would have been more than noise.
    pub gate: f64,
    /// The step of the logarithm of its weight; 0 within hysteresis.
    pub step: f64,
    /// Slow start's factor, 0.1 to 1.
    pub ramp: f64,
    /// Wanted weight before rounding, above 0 and up to 1; the largest of the pool is 1.
    pub wanted: f64,
    /// Wanted weight, 1 to 256; the largest of the pool is 256.
    pub weight: u16,
    /// Weight in force as last told by [`PoolState::settle`] or [`PoolState::in_force`].
    pub in_force: u16,
    /// Its weight is the floor: it gets what is needed to see whether it has recovered.
    pub at_floor: bool,
}

impl BackendOutcome {
    /// Whether it was measured with this window.
    pub fn valid(&self) -> bool {
        !matches!(self.rule, Rule::Held(_) | Rule::Expired(_))
    }

    /// Whether what is sent to it is lost: it fails, has collapsed or hangs.
    pub fn is_dead(&self) -> bool {
        matches!(self.rule, Rule::Failing | Rule::Collapsed | Rule::Hanging)
    }

    /// Whether nothing is known of it at present. Who has too few requests for one window, and will have enough, is not lost.
    pub fn lost(&self) -> bool {
        !self.valid() && !matches!(self.rule, Rule::Held(Hold::FewRequests { .. }))
    }
}

/// Whether the wanted weights should be pushed.
#[derive(Debug, Clone, PartialEq)]
pub enum Push {
    /// Yes.
    Due {
        /// The backend whose weight moved most.
        backend: String,
        /// Its weight in force, on a scale where the largest is 256.
        from: f64,
        /// What is wanted.
        to: u16,
    },
    /// No: no weight moved enough.
    Unmoved,
    /// No: the last push is too fresh.
    TooSoon {
        /// Time until it may be pushed.
        wait_ms: u64,
    },
    /// No: there are no backends, or none was ever measured.
    Nothing,
}

/// What the law says of a pool.
#[derive(Debug, Clone, PartialEq)]
pub struct LawOutcome {
    /// By name.
    pub backends: Vec<BackendOutcome>,
    /// How many of them were measured in this window.
    pub valid: usize,
    /// Their mean utilisation; 0 when there are none.
    pub mean_utilization: f64,
    /// Exponent of latency that was used: the trim within its stability bound.
    pub trim: f64,
    /// Whether to push, and why or why not.
    pub push: Push,
}

/// Law R. See the module.
#[derive(Debug, Clone, Copy)]
pub struct Law;

impl Law {
    /// One window. `now_ms` is any clock that goes on over restarts, milliseconds since the epoch; one that goes back only makes time stand still.
    ///
    /// The state learns what the window says. Weights count as in force only when [`PoolState::settle`] says so. Of windows with the same id the last counts. A
    /// backend that is not among them is not in the pool at present; what is known of it is kept for [`Settings::expiry_ms`].
    pub fn step(
        settings: &Settings,
        state: &mut PoolState,
        windows: &[BackendWindow],
        now_ms: i64,
    ) -> LawOutcome {
        step::step(settings, state, windows, now_ms)
    }
}

#[cfg(test)]
mod tests;
