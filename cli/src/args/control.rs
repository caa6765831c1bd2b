//! Flags of `flyball balancers control`, `freeze`, `unfreeze` and `kill`, with their examples.

use clap::{Args, Subcommand};

pub(super) const CONTROL_EXAMPLES: &str = "\
Examples:
  flyball balancers control
      pools whose weights are adjusted by themselves since a promotion, and why they are not now
  flyball balancers freeze web --note 'load test'
      nothing is pushed for now; what is in force stays
  flyball balancers unfreeze web
      it goes on
  flyball balancers kill web --note 'latency alarm'
      the weights from before come back at every load balancer at once, and control ends";

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

/// `flyball balancers`
#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    /// What is to be done.
    #[command(subcommand)]
    pub command: ControlCommand,
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
