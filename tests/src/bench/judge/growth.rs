//! A single cache that is made larger, or switched to another eviction policy, as measured on a real
//! Redis: the miss ratio falls from 0.163 to 0.087 while it fills, or rises for two minutes and then
//! falls by 1.8 points. Neighbouring windows resemble each other with a correlation of 0.6, their
//! deviation is 0.002. It is compared with its own past.

use flyball_collector::steer::driver::{Asked, JudgeSettings, trial_of};
use flyball_model::judge::{Arm, Trial};
use flyball_model::rollout::{Limits, Planned, Prediction, Target};

use super::noise::{Random, Shape};
use super::rollouts::{ALL, BEGAN, SPAN, counted, measured, promise, until_ms};

const REQUESTS: u64 = 200_000;
const MISSES: f64 = 0.163;
const GAIN: f64 = 0.076;
const DEVIATION: f64 = 0.002;
const MIB: u64 = 1 << 20;
const OLD_BYTES: u64 = 64 * MIB;
const NEW_BYTES: u64 = 128 * MIB;
/// Windows until the new room is filled: ten minutes.
const FILLS: f64 = 60.0;

/// What happens after the change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Course {
    /// Misses fall as promised, at first faster than the room fills.
    Kept,
    /// They fall by four fifths of what was promised.
    Nearly,
    /// They fall by half of it.
    Half,
    /// They fall as promised, but only when all of the room is filled.
    Late,
    /// They fall with the room, which takes three hours to fill.
    Slow,
    /// Nothing falls, and the room takes three hours to fill.
    SlowNothing,
    /// The new room is filled and changes nothing.
    Nothing,
    /// Misses rise by two points.
    Worse,
    /// Another policy: a dip of 3 points that heals in two minutes, then a gain of 1.8 points.
    Dip,
    /// Another policy: the dip, and no gain but a lasting loss of 2 points.
    Loss,
}

/// Those of a growing cache.
pub(super) const GROWING: [Course; 8] = [
    Course::Kept,
    Course::Nearly,
    Course::Half,
    Course::Late,
    Course::Slow,
    Course::SlowNothing,
    Course::Nothing,
    Course::Worse,
];
/// Those of a changed policy.
pub(super) const SWITCHED: [Course; 2] = [Course::Dip, Course::Loss];

impl Course {
    /// For tables.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Kept => "growth: as promised, filled in 10 minutes",
            Self::Nearly => "growth: four fifths of it",
            Self::Half => "growth: half of it",
            Self::Late => "growth: as promised, all of it once filled",
            Self::Slow => "growth: as promised, filled in 3 hours",
            Self::SlowNothing => "growth: nothing, filled in 3 hours",
            Self::Nothing => "growth: nothing, filled in 10 minutes",
            Self::Worse => "growth: 2 points lost",
            Self::Dip => "LFU: dips by 3 points, then gains 1.8",
            Self::Loss => "LFU: dips by 3 points, 2 of them for good",
        }
    }

    /// Share of the new room in use after so many windows.
    fn filled(self, windows: f64) -> f64 {
        let slow = matches!(self, Self::Slow | Self::SlowNothing);
        (windows / if slow { 18.0 * FILLS } else { FILLS }).min(1.0)
    }

    fn misses(self, windows: f64) -> f64 {
        let filled = self.filled(windows);
        let early = 1.0 - (1.0 - filled).powi(2);
        let dip = 0.03 * (1.0 - windows / 12.0).max(0.0);
        MISSES
            + match self {
                Self::Kept => -GAIN * early,
                Self::Nearly => -0.8 * GAIN * early,
                Self::Half => -0.5 * GAIN * early,
                Self::Late if filled < 1.0 => 0.0,
                Self::Late => -GAIN,
                Self::Slow => -GAIN * filled,
                Self::SlowNothing | Self::Nothing => 0.0,
                Self::Worse => 0.02,
                Self::Dip if windows >= 12.0 => -0.018,
                Self::Dip => dip,
                Self::Loss => dip.max(0.02),
            }
    }

    fn is_switch(self) -> bool {
        SWITCHED.contains(&self)
    }

    /// What is changed, and what is promised: of another policy no gain for sure.
    fn asked(self) -> (&'static str, String, String, Prediction) {
        let before = 1.0 - MISSES;
        if self.is_switch() {
            let (old, new) = ("allkeys-lru".to_owned(), "allkeys-lfu".to_owned());
            return ("maxmemory-policy", old, new, promise(before, before + 0.002, 0.004));
        }
        let (old, new) = (OLD_BYTES.to_string(), NEW_BYTES.to_string());
        ("maxmemory", old, new, promise(before, before + GAIN, 0.005))
    }
}

/// The rollout of a seed as the driver has it, and until when it was measured.
pub(super) fn rollout(course: Course, seed: u64) -> (Trial, i64) {
    let mut random = Random::new(seed);
    let noise = Shape::Autoregressive(0.6).series(&mut random, ALL);
    let since = |t: usize| t.checked_sub(BEGAN).map(|windows| windows as f64);
    let counts = noise.iter().enumerate().map(|(t, x)| {
        let level = since(t).map_or(MISSES, |windows| course.misses(windows));
        counted(1.0 - level - DEVIATION * x, REQUESTS + t as u64 % 7, &mut random)
    });
    let counts: Vec<(u64, u64)> = counts.collect();
    let mut seen = measured(0, Arm::Treated, &counts);
    let room = if course.is_switch() { 0 } else { NEW_BYTES - OLD_BYTES };
    for (t, tick) in seen.ticks.iter_mut().enumerate() {
        let filled = since(t).map_or(0.0, |windows| course.filled(windows));
        tick.used_bytes = OLD_BYTES + (filled * room as f64) as u64;
    }
    let (parameter, old, new, prediction) = course.asked();
    let target = Target {
        id: seen.target.clone(),
        node: "node-0".to_owned(),
        kind: "redis".to_owned(),
        name: "main".to_owned(),
    };
    let values = |value| [(parameter.to_owned(), value)].into();
    let members = [Planned { target, steps: vec![values(new)], revert_to: values(old) }];
    let asked = Asked {
        span: SPAN,
        prediction: &prediction,
        members: &members,
        validate_max_ms: Limits::default().validate_max_ms,
    };
    (trial_of(&asked, &[seen], &JudgeSettings::default()), until_ms())
}
