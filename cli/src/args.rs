//! Flags and commands. The help teaches by examples and is compared with a recorded copy.

mod balancers;
mod control;
mod steering;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use flyball_service::config::Sources;
use flyball_service::logging::LogFormat;

pub(crate) use self::balancers::BalancersArgs;
pub(crate) use self::control::{ControlCommand, PoolArgs};
pub(crate) use self::steering::{
    AuditArgs, CacheSort, CachesArgs, DecideArgs, OptimizeArgs, PoliciesArgs, ProposeArgs,
    RolloutsArgs, ShowArgs, SuggestionsArgs, UnlockArgs, WatchedArgs,
};
use crate::config::Output;
use crate::sort::SortKey;

const EVERYWHERE: &str = "Options of every command";

const EXAMPLES: &str = "\
Examples:
  flyball status
      is the collector ready, how is the fleet
  flyball nodes --sort memory
      every node, the fullest first
  flyball alerts
      what is wrong
  flyball metrics
      what is measured
  flyball metrics system.cpu.utilization --node web-1 --by cpu.mode --from -30m
      one metric over time
  flyball top
      the fleet, live; enter opens a node
  flyball caches sessions
      one cache: hit ratio by size, why requests miss
  flyball balancers --pool web
      one pool of backends over all load balancers: weights, shares, latency, what is in use
  flyball optimize, then flyball show ID and flyball confirm ID --watch
      what would do it good; why; and have it done, judged, and taken back if it does harm
  flyball propose sessions maxmemory=128mb --note 'for the sale'
      a change of your own, which goes the same way
  flyball --output json nodes | jq -r '.nodes[] | select(.up | not) | .node'
      for programs: what the API answers

Every option of every command is also a key in the file of --config (section [cli]) and an environment
variable, FLYBALL_CLI_SERVER and so on. Flags win over the environment, the environment over the file.
NO_COLOR turns colours off; without a terminal there are none.

Exit codes: 0 done, 1 failed (or, for status, not ready; with --watch, taken back; with --verify, not whole),
2 wrong usage or configuration.";

const STATUS_EXAMPLES: &str = "\
Examples:
  flyball status
      a summary for people
  flyball status >/dev/null || echo 'mend it'
      exit code 0 only when the collector is reachable and ready
  flyball --output json status | jq .status.totals
      all answers as they are: {\"server\", \"readyz\", \"status\", \"alerts\"}";

const NODES_EXAMPLES: &str = "\
Examples:
  flyball nodes
      every node, by name
  flyball nodes --sort cpu
      the busiest first; unknown values come last
  flyball nodes 'web-*' --state down
      those of the web nodes that are down

SAMPLES says where a node's samples are: ok when every one is stored or on its way; shed ones were given up by the
agent, missing ones are accounted for nowhere. A value that is not known is shown as \u{2013}, which is not 0.";

const ALERTS_EXAMPLES: &str = "\
Examples:
  flyball alerts
      what is wrong now, the worst first, then what was lately
  flyball alerts --state firing --node web-1
      what is wrong on one node
  flyball --output json alerts | jq -r '.alerts[] | select(.severity == \"critical\") | .text'
      for programs: what the API answers

Names: accounting.gap samples do not add up; samples.shed an agent gave up samples; spool.filling, spool.corrupt,
spool.unwritable an agent's disk; clock.step a host's clock jumped; series.overflow, catalog.full more series than
the caps allow, kept as sums; series.refused ClickHouse refuses what some series are; journal.broken the log of
decisions is not whole; clocks.differ those of collectors do; target.locked changes failed too often, look and then
`flyball unlock`; rollout.asks it waits for you; control.frozen
control of a pool has frozen by itself: `flyball balancers control`.";

const METRICS_EXAMPLES: &str = "\
Examples:
  flyball metrics
      every metric with its unit, kind and attributes
  flyball metrics 'system.disk.*' --node db-1
      those of the disks that db-1 reports
  flyball metrics system.cpu.utilization --node web-1 --filter cpu.mode=user
      the last hour of one series
  flyball metrics system.network.io --by node,network.io.direction --from -6h --step 5m
      bytes per second of all interfaces; counters give rates unless --agg says otherwise
  flyball metrics system.memory.utilization --from 2026-08-01T12:00:00Z --to 2026-08-01T13:00:00Z
      a range in absolute time
  flyball --output json metrics system.uptime
      the API's answer as it is: {\"metric\", \"unit\", \"step_ms\", \"series\"}

LAST is the newest value that is known, MIN, MAX and AVG are those of the points. In TREND each cell is a part of the
range between MIN and MAX; a gap is time without samples.";

const TOP_EXAMPLES: &str = "\
Keys:
  up, down, page up, page down, home, end    choose a node
  enter                                      open the node: CPU by mode, memory, disks, network, processes
  esc                                        back
  s, S                                       next or previous sort key
  ?                                          help
  q, ctrl-c                                  quit

Examples:
  flyball top
      the fleet, the busiest first
  flyball top web-1
      one node at once
  flyball top | cat
      without a terminal, or with --output json: one snapshot";

/// The operator's command line of Flyball: looks at the fleet through the collector's HTTP API.
#[derive(Debug, Parser)]
#[command(name = "flyball", version, after_help = EXAMPLES, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// Address of the collector [default: http://127.0.0.1:7480].
    #[arg(long, value_name = "URL", global = true, help_heading = EVERYWHERE)]
    server: Option<String>,
    /// How answers are printed [default: table].
    #[arg(long, short, value_name = "FORMAT", global = true, help_heading = EVERYWHERE)]
    output: Option<Output>,
    /// Longest time to wait for an answer, 100ms to 10m [default: 10s].
    #[arg(long, value_name = "TIME", global = true, help_heading = EVERYWHERE)]
    timeout: Option<String>,
    /// Settings in TOML.
    #[arg(long, value_name = "FILE", global = true, help_heading = EVERYWHERE)]
    config: Option<PathBuf>,
    /// Checks the settings, lists every error with its key and exits.
    #[arg(long)]
    pub check_config: bool,
    /// How log lines look [default: text].
    #[arg(long, value_name = "FORMAT", global = true, help_heading = EVERYWHERE)]
    log_format: Option<LogFormat>,
    /// What to do; none only with `--check-config`.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Is the collector ready, and how is the fleet.
    #[command(after_help = STATUS_EXAMPLES)]
    Status,
    /// The nodes and their last values.
    #[command(after_help = NODES_EXAMPLES)]
    Nodes(NodesArgs),
    /// What is wrong now, and what was lately.
    #[command(after_help = ALERTS_EXAMPLES)]
    Alerts(AlertsArgs),
    /// The metrics that exist, or one of them over time.
    #[command(after_help = METRICS_EXAMPLES)]
    Metrics(MetricsArgs),
    /// The fleet, live.
    #[command(after_help = TOP_EXAMPLES)]
    Top(TopArgs),
    /// The caches, or one of them with its hit ratio by size.
    #[command(after_help = steering::CACHES_EXAMPLES)]
    Caches(CachesArgs),
    /// The load balancers and their pools, or one pool in full.
    #[command(after_help = balancers::BALANCERS_EXAMPLES)]
    Balancers(BalancersArgs),
    /// Look now for what would do the fleet good.
    #[command(after_help = steering::OPTIMIZE_EXAMPLES)]
    Optimize(OptimizeArgs),
    /// Ask for a change of your own.
    #[command(after_help = steering::PROPOSE_EXAMPLES)]
    Propose(ProposeArgs),
    /// What was suggested, and what became of it.
    #[command(after_help = steering::SUGGESTIONS_EXAMPLES)]
    Suggestions(SuggestionsArgs),
    /// All about one suggestion or rollout.
    #[command(after_help = steering::SHOW_EXAMPLES)]
    Show(ShowArgs),
    /// Have a suggestion carried out.
    #[command(after_help = steering::CONFIRM_EXAMPLES)]
    Confirm(WatchedArgs),
    /// Say that a suggestion is not wanted.
    #[command(after_help = steering::REJECT_EXAMPLES)]
    Reject(DecideArgs),
    /// Changes on their way, and those that have ended.
    #[command(after_help = steering::ROLLOUTS_EXAMPLES)]
    Rollouts(RolloutsArgs),
    /// Have the old values put back.
    #[command(after_help = steering::ROLLBACK_EXAMPLES)]
    Rollback(WatchedArgs),
    /// Have a rollout go no further for now.
    #[command(after_help = steering::PAUSE_EXAMPLES)]
    Pause(DecideArgs),
    /// Have a paused rollout go on.
    #[command(after_help = steering::RESUME_EXAMPLES)]
    Resume(DecideArgs),
    /// Allow new attempts at a target that was locked.
    #[command(after_help = steering::UNLOCK_EXAMPLES)]
    Unlock(UnlockArgs),
    /// What is wanted of each node, and what is in force there.
    #[command(after_help = steering::POLICIES_EXAMPLES)]
    Policies(PoliciesArgs),
    /// Who decided what, when, from where and why.
    #[command(after_help = steering::AUDIT_EXAMPLES)]
    Audit(AuditArgs),
}

/// `flyball nodes`
#[derive(Debug, Args)]
pub(crate) struct NodesArgs {
    /// Only nodes with one of these names; * stands for any text.
    #[arg(value_name = "NODE")]
    pub patterns: Vec<String>,
    /// What comes first: names from a to z, everything else from the largest.
    #[arg(long, value_name = "KEY", default_value = "name")]
    pub sort: SortKey,
    /// Only nodes in this state.
    #[arg(long, value_name = "STATE")]
    pub state: Option<NodeState>,
}

/// Whether a node reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NodeState {
    /// Its samples arrive.
    Up,
    /// They do not.
    Down,
}

/// `flyball alerts`
#[derive(Debug, Args)]
pub(crate) struct AlertsArgs {
    /// Only alerts of these nodes; repeat it or separate them by commas.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub node: Vec<String>,
    /// Only alerts in this state.
    #[arg(long, value_name = "STATE")]
    pub state: Option<AlertState>,
}

/// Whether an alert still is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AlertState {
    /// It is so now.
    Firing,
    /// It is over.
    Resolved,
}

/// `flyball metrics`
#[derive(Debug, Default, Args)]
pub(crate) struct MetricsArgs {
    /// Metric to show over time; with a * the metrics of the catalog that match, without it all of them.
    #[arg(value_name = "METRIC")]
    pub metric: Option<String>,
    /// Only these nodes; repeat it or separate them by commas.
    #[arg(long, value_name = "NODE", value_delimiter = ',')]
    pub node: Vec<String>,
    /// Start: -1h, -2d, now, RFC 3339 or epoch milliseconds [default: an hour before the end].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "metric")]
    pub from: Option<String>,
    /// End, written like the start [default: now].
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, requires = "metric")]
    pub to: Option<String>,
    /// Time that one point stands for: 10s, 5m, 1h [default: at most 300 points].
    #[arg(long, value_name = "TIME", requires = "metric")]
    pub step: Option<String>,
    /// avg, min, max, sum, last, rate or p50 to p99 [default: avg for gauges, rate for counters].
    #[arg(long, value_name = "NAME", requires = "metric")]
    pub agg: Option<String>,
    /// What each series is before --agg joins those of a group: avg, min, max, last, rate [default: what --agg implies].
    #[arg(long, value_name = "NAME", requires = "metric")]
    pub within: Option<String>,
    /// Attributes to group by, `node` among them; none: all series together [default: every series by itself].
    #[arg(long, value_name = "ATTRIBUTE", value_delimiter = ',', requires = "metric")]
    pub by: Vec<String>,
    /// Only series with this attribute, for example cpu.mode=user; repeat it for more.
    #[arg(long, value_name = "ATTRIBUTE=VALUE", requires = "metric")]
    pub filter: Vec<String>,
    /// Only so many, those with the largest mean, the largest first.
    #[arg(long, value_name = "COUNT", requires = "metric")]
    pub top: Option<u32>,
    /// Tell how the answer was made: tables, rows read, what the caches found.
    #[arg(long, requires = "metric")]
    pub explain: bool,
}

/// `flyball top`
#[derive(Debug, Args)]
pub(crate) struct TopArgs {
    /// Opens this node at once.
    #[arg(value_name = "NODE")]
    pub node: Option<String>,
    /// What comes first.
    #[arg(long, value_name = "KEY", default_value = "cpu")]
    pub sort: SortKey,
}

impl Cli {
    /// Where the settings come from.
    pub(crate) fn sources(&self) -> Sources {
        let mut sources = Sources { file: self.config.clone(), ..Sources::default() };
        sources
            .flag("cli.server", self.server.as_ref())
            .flag("cli.output", self.output)
            .flag("cli.timeout", self.timeout.as_ref())
            .flag("cli.log_format", self.log_format);
        sources
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::snapshot;

    #[test]
    fn the_help_of_every_command_is_the_recorded_one() {
        let mut command = Cli::command();
        command.build();
        let mut text = command.render_long_help().to_string();
        for sub in command.get_subcommands_mut() {
            let name = sub.get_name().to_owned();
            text = format!("{text}\n==== {name} ====\n{}", sub.render_long_help());
        }
        snapshot::check("help", &text);
    }

    #[test]
    fn no_line_of_the_examples_is_wider_than_a_wide_terminal() {
        let command = Cli::command();
        let own = command.get_after_help().into_iter();
        for text in own.chain(command.get_subcommands().filter_map(clap::Command::get_after_help)) {
            let text = text.to_string();
            assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
        }
    }

    #[test]
    fn a_relative_time_is_not_taken_for_a_flag() {
        let cli = Cli::try_parse_from(["flyball", "metrics", "m", "--from", "-1h"]).unwrap();
        let Some(Command::Metrics(args)) = cli.command else { panic!("not metrics") };
        assert_eq!(args.from.as_deref(), Some("-1h"));
    }

    #[test]
    fn a_range_needs_a_metric() {
        let error = Cli::try_parse_from(["flyball", "metrics", "--from", "-1h"]).unwrap_err();
        assert!(error.to_string().contains("METRIC"), "{error}");
    }

    #[test]
    fn options_of_every_command_may_stand_after_it() {
        let cli = Cli::try_parse_from(["flyball", "nodes", "--server", "http://h:1"]).unwrap();
        assert_eq!(cli.server.as_deref(), Some("http://h:1"));
    }
}
