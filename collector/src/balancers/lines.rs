//! Which pool of a window is which pool of the windows before it.
//!
//! A pool is named after its group and, where groups of that name have nothing in common, after its first balancer: a second group of the name, or a balancer that
//! comes or goes, changes the name. So what is kept of a pool (the law's state, windows of the past) goes by its *line*, a number that stays: a pool continues the line of its
//! group with which it has most balancers in common. Of the parts of one that was split the largest continues it; several that are one now continue the largest.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use super::pool::Pool;

/// Lines that are known.
#[derive(Debug, Default)]
pub(super) struct Lines {
    next: u64,
    known: BTreeMap<u64, Line>,
}

#[derive(Debug)]
struct Line {
    group: String,
    members: BTreeSet<String>,
    seen_ms: i64,
}

impl Lines {
    /// The lines of a window's pools, in their order.
    pub(super) fn take(&mut self, pools: &[Pool], now_ms: i64) -> Vec<u64> {
        let members: Vec<BTreeSet<String>> = pools
            .iter()
            .map(|pool| pool.members.iter().map(super::pool::Member::id).collect())
            .collect();
        let mut pairs: Vec<(Reverse<usize>, u64, usize)> = Vec::new();
        for (line, known) in &self.known {
            for (at, own) in
                members.iter().enumerate().filter(|(at, _)| pools[*at].group == known.group)
            {
                let common = own.intersection(&known.members).count();
                if common > 0 {
                    pairs.push((Reverse(common), *line, at));
                }
            }
        }
        pairs.sort_unstable();
        let mut lines: Vec<Option<u64>> = vec![None; pools.len()];
        let mut taken = BTreeSet::new();
        for (_, line, at) in pairs {
            if lines[at].is_none() && taken.insert(line) {
                lines[at] = Some(line);
            }
        }
        let lines = lines.into_iter().zip(members).zip(pools).map(|((line, members), pool)| {
            let line = line.unwrap_or_else(|| {
                self.next += 1;
                self.next
            });
            let group = pool.group.clone();
            self.known.insert(line, Line { group, members, seen_ms: now_ms });
            line
        });
        lines.collect()
    }

    /// Forgets what was not seen since then.
    pub(super) fn sweep(&mut self, before_ms: i64) {
        self.known.retain(|_, line| line.seen_ms >= before_ms);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use flyball_model::balance::law::PoolState;
    use flyball_proto::series::NodeName;
    use flyball_proto::steering::{
        BackendGroup, BackendServer, BalancerReport, BalancerState, Target, UtilizationSource,
        WeightMeaning,
    };

    use crate::balancers::settings::{BalanceSettings, Objective};
    use crate::balancers::watch::{NoLoads, PoolWatch};
    use crate::steer::watch::Balancer;

    /// A report of the group `web` of a balancer with backends at these addresses.
    fn report(node: &str, addresses: &[u8], at_ms: i64, received: Instant) -> Balancer {
        let server = |last: &u8| BackendServer {
            requests: 100,
            utilization: Some((0.5, UtilizationSource::Orca)),
            ..BackendServer::new(format!("s{last}"), format!("10.0.0.{last}:80"), 100)
        };
        let mut report =
            BalancerReport::new(Target::new("haproxy", "edge"), BalancerState::Up, at_ms);
        report.window_ms = 5_000;
        report.groups = vec![BackendGroup {
            name: "web".into(),
            limit: None,
            algorithm: "roundrobin".into(),
            weights: WeightMeaning::Exact,
            weights_note: String::new(),
            queue: 0,
            latency: None,
            backends: addresses.iter().map(server).collect(),
        }];
        let report = Arc::new(report);
        let node = NodeName::new(node).unwrap();
        Balancer { node, whole: Some(Arc::clone(&report)), report, received }
    }

    /// Windows in which these balancers report, one after the other.
    struct Windows(PoolWatch, i64, Instant);

    impl Windows {
        fn pass(&mut self, balancers: &[(&str, &[u8])]) {
            self.1 += 5_000;
            self.2 += Duration::from_secs(5);
            let reports = balancers.iter().map(|(node, at)| report(node, at, self.1, self.2));
            self.0.take(&reports.collect::<Vec<_>>());
            self.0.close(&NoLoads, self.1, self.2);
        }
    }

    const ONE: &str = "haproxy:lb-1:edge";
    const TWO: &str = "haproxy:lb-2:edge";
    const WEIGHT: &str = "weight:web/s1";

    #[test]
    fn another_group_of_the_name_and_who_comes_or_goes_change_nothing_but_the_name() {
        let pools = PoolWatch::new(&BalanceSettings::default(), Objective::default());
        let mut windows = Windows(pools.clone(), 1_800_000_000_000, Instant::now());
        let own: [(&str, &[u8]); 2] = [("lb-1", &[1, 2]), ("lb-2", &[1, 2])];
        let members = [(ONE, WEIGHT), (TWO, WEIGHT)];
        let known = |windows: usize, name: &str| {
            let estimate = pools.pool_of_most(members).unwrap();
            assert_eq!(estimate.pool.name, name);
            assert_eq!(pools.pool_past(&estimate, 0).len(), windows);
            assert_eq!(pools.member_past(TWO, WEIGHT, 0).len(), windows);
            assert_eq!(estimate.valid_windows as usize, windows, "the law goes on");
            let is_measured =
                |state: &PoolState| state.backends.values().all(|b| b.smoothed.is_some());
            assert!(is_measured(&estimate.state));
            estimate.line
        };
        (0..4).for_each(|_| windows.pass(&own));
        let line = known(4, "web");
        // A group of the same name that has nothing to do with it, before it in the order.
        let mut both = own.to_vec();
        both.push(("aa-1", &[7, 8]));
        (0..2).for_each(|_| windows.pass(&both));
        assert_eq!(known(6, "web@haproxy:lb-1:edge"), line);
        assert!(pools.latest("web").is_none());
        assert_ne!(pools.pool_of("haproxy:aa-1:edge", WEIGHT).unwrap().line, line);
        // A balancer of its own that comes first in the order.
        both.push(("bb-1", &[1, 2]));
        windows.pass(&both);
        assert_eq!(known(7, "web@haproxy:bb-1:edge"), line);
        // Most of them are in the pool that is meant.
        both[2] = ("aa-1", &[7, 8]);
        both[0] = ("lb-1", &[7, 8]);
        windows.pass(&both);
        let most =
            pools.pool_of_most([(ONE, WEIGHT), (TWO, WEIGHT), ("haproxy:bb-1:edge", WEIGHT)]);
        assert_eq!(most.unwrap().line, line, "two of three");
        assert!(pools.pool_of_most([("haproxy:no:edge", WEIGHT)]).is_none());
    }
}
