//! The journal, read from its beginning when all is over.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use flyball_collector::steer::journal::Journal;
use flyball_collector::store::Store;
use flyball_model::journal::Log;
use flyball_model::rollout::{Move, RolloutId, RolloutState, Transition};

use super::person::Ended;

/// What a change may do once.
const ONCE: [&str; 7] =
    ["started", "sealing", "restoring", "promoted", "rolled back", "failed", "validating"];

/// Checks the journal against how the changes ended. Gives the number of its rows.
pub(super) async fn journal(store: &Store, ended: &[Ended]) -> Result<usize> {
    let journal = Journal::new(store);
    let verified = journal.verify().await?;
    ensure!(verified.intact && verified.first == 1, "{verified:?}");
    let mut rows = Vec::new();
    loop {
        let (page, more) = journal.page(rows.len() as u64 + 1).await?;
        rows.extend(page);
        if !more {
            break;
        }
    }
    ensure!(rows.len() as u64 == verified.last, "{} rows of {}", rows.len(), verified.last);
    let (log, odd) = Log::replay(&rows)?;
    ensure!(odd.is_empty(), "odd rows: {odd:?}");
    let mut counts: BTreeMap<(RolloutId, String), usize> = BTreeMap::new();
    for row in &rows {
        let what = Transition::try_from(row)?.what;
        if let Some((rollout, step)) = of_rollout(&what) {
            *counts.entry((rollout, step)).or_default() += 1;
        }
    }
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    ensure!(twice.is_empty(), "happened more than once: {twice:?}");
    for end in ended {
        let id = RolloutId(end.id.clone());
        let found = log.state().rollout(&id).map(|rollout| rollout.state);
        let is_it = found.is_some_and(|state: RolloutState| state.name() == end.state);
        ensure!(is_it, "{id} is {found:?} in the journal and was told to be {}", end.state);
    }
    let going = log.state().rollouts().filter(|rollout| !rollout.state.is_final()).count();
    ensure!(going == 0, "{going} changes have not ended");
    Ok(rows.len())
}

/// A move that may happen once to a change, with what tells it from others.
fn of_rollout(what: &Move) -> Option<(RolloutId, String)> {
    match what {
        Move::Started { rollout, .. }
        | Move::Validating { rollout, .. }
        | Move::Sealing { rollout, .. }
        | Move::Restoring { rollout, .. }
        | Move::Promoted { rollout }
        | Move::RolledBack { rollout }
        | Move::Failed { rollout } => {
            debug_assert!(ONCE.contains(&what.name()));
            Some((rollout.clone(), what.name().to_owned()))
        }
        Move::Stepped { rollout, wave, step, .. } => {
            Some((rollout.clone(), format!("step {wave}/{step}")))
        }
        _ => None,
    }
}
