//! Many rounds with one seed: the long form.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::fault::Fault;
use super::plan::{Abilities, Shape, Step, Target};
use super::round;
use super::tally::Tally;

/// How long a campaign is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Faults of all rounds together, at least.
    pub faults: usize,
    /// Faults of one round.
    pub per_round: usize,
}

/// The engine does nothing for half a minute, once in a campaign.
const LONG_PAUSE: Step = Step {
    target: Target::Engine,
    after: Duration::from_secs(1),
    fault: Fault::Pause(Duration::from_secs(30)),
};
/// How far a clock is behind that makes all samples late: rollups of ten minutes are computed a minute after their end.
const PAST_MS: i64 = -40 * 60_000;

/// Two collectors and four agents: one whose samples are all late, one on a small disk, one in a network namespace, one plain.
pub fn shape() -> Shape {
    let past = Abilities { clock: Some(PAST_MS), ..Abilities::default() };
    let disk = Abilities { disk: true, ..Abilities::default() };
    let namespace = Abilities { namespace: true, ..Abilities::default() };
    Shape { collectors: 2, agents: vec![past, disk, namespace, Abilities::default()] }
}

/// Plays rounds until there were enough faults. Gives what happened, with the table of each round on standard error.
///
/// # Errors
/// When a round fails; the message names its seed.
pub async fn run(seed: u64, size: Size) -> Result<Tally> {
    let mut all = Tally::default();
    let mut round = 0_u64;
    while all.fault_count() < size.faults as u64 {
        // Far apart, so that neighbouring seeds of campaigns share no round.
        let round_seed = seed.wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let left = size.faults - all.fault_count() as usize;
        say(&format!("\nround {round}, seed {round_seed}"));
        let first: &[Step] = if round == 0 { &[LONG_PAUSE] } else { &[] };
        let tally = round::run(round_seed, &shape(), size.per_round.min(left), first).await;
        let tally = tally.with_context(|| format!("round {round} of seed {seed}"))?;
        all.add(&tally);
        let (faults, samples) = (all.fault_count(), &all.samples);
        say(&format!("so far: {faults} faults in {} s, {samples}", all.time.as_secs()));
        round += 1;
    }
    Ok(all)
}

/// For people; may be lost.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}
