//! Flags of `flyball balancers control`, `freeze`, `unfreeze` and `kill`.

use clap::{Args, Subcommand};

/// What is to be done about standing control.
#[derive(Debug, Subcommand)]
pub(crate) enum ControlCommand {
    /// Pools under control, and the newest pushes.
    Control,
    /// Push nothing to a pool for now; what is in force stays.
    Freeze(PoolArgs),
    /// Have control of a pool go on.
    Unfreeze(PoolArgs),
    /// Have the configured weights put back, and let the pool go.
    Kill(PoolArgs),
}

/// A pool, and what is said about it.
#[derive(Debug, Args)]
pub(crate) struct PoolArgs {
    /// Its name.
    #[arg(value_name = "POOL")]
    pub pool: String,
    /// Why; it is written down with the decision.
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub note: String,
}
