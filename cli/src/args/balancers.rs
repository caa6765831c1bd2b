//! Flags of `flyball balancers`, with its examples.

use clap::Args;

use super::ControlCommand;

pub(super) const BALANCERS_EXAMPLES: &str = "\
Examples:
  flyball balancers
      every group of every load balancer, those in trouble first, then the pools that they make
  flyball balancers --node lb-1
      those of one node
  flyball balancers --pool web
      one pool: each backend over all load balancers, with its weight at each of them
  flyball --output json balancers --pool web | jq '.pool.backends[] | {id, share, capacity_share, utilization}'
      for programs: what the API answers
  flyball balancers control
      pools whose weights are adjusted by themselves since a promotion, and why they are not now
  flyball balancers freeze web --note 'load test'
      nothing is pushed for now; what is in force stays
  flyball balancers unfreeze web
      it goes on
  flyball balancers kill web --note 'latency alarm'
      the weights from before come back at every load balancer at once, and control ends

A pool is the groups of one name over all load balancers whose backends have addresses in common. WEIGHTS says what a
change of weights does there: exact (requests are shared in proportion), when busy (only while backends are busy: idle
ones rank equal), draw (chances of a draw, of which the less loaded is taken), drain only (nothing but zero makes a
difference) or none. SHARE is what a backend gets of the pool's requests, ASKED what the weights ask for, CAPACITY what
it could serve of all that the pool can, from requests per second over utilisation. IN USE ends in where it is known
from: orca (the backend's own word), limit (requests under way over their limit) or host (the CPU of its host).
WEIGHT is configured → in force, with what Flyball wants behind it where that differs.";

/// `flyball balancers`
#[derive(Debug, Default, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct BalancersArgs {
    /// Only those of these nodes.
    #[arg(long, value_name = "NODE")]
    pub node: Vec<String>,
    /// One pool in full, by its name.
    #[arg(long, value_name = "POOL", conflicts_with = "node")]
    pub pool: Option<String>,
    /// About control of pools, instead.
    #[command(subcommand)]
    pub control: Option<ControlCommand>,
}
