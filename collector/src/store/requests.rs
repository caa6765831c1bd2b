//! ClickHouse's settings that go with every request: what makes an answer right and an insert safe in each layout.

use super::config::{ClickHouseSettings, Layout};

/// Seconds by which a replica may lag and still answer while another one lags less. Below the minute after which a closed bucket is rolled up.
const REPLICA_DELAY_S: u32 = 30;

impl ClickHouseSettings {
    /// What makes any request right and bounded.
    pub fn query_settings(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("max_execution_time", self.timeout().as_secs().max(1).to_string()),
            ("final", "1".to_owned()),
            ("do_not_merge_across_partitions_select_final", "1".to_owned()),
        ];
        if self.layout() != Layout::Single {
            // A subquery on a Distributed table is answered by all shards, and neither refused nor answered by each shard for itself. A shard that is away
            // fails the query: an answer without its series would be wrong.
            all.push(("distributed_product_mode", "global".to_owned()));
            all.push(("skip_unavailable_shards", "0".to_owned()));
        }
        if matches!(self.layout(), Layout::Replicated { .. }) {
            let quorum = self.insert_quorum;
            let quorum = if quorum == 0 { "auto".to_owned() } else { quorum.to_string() };
            all.push(("insert_quorum", quorum));
            all.push(("insert_quorum_timeout", self.timeout_ms.to_string()));
            all.push(("max_replica_delay_for_distributed_queries", REPLICA_DELAY_S.to_string()));
        }
        all
    }

    /// What besides makes an insert whole, acknowledged only when it is stored, and harmless to repeat.
    pub fn insert_settings(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("async_insert", "0".to_owned()),
            ("insert_deduplicate", "1".to_owned()),
            ("max_partitions_per_insert_block", "1".to_owned()),
            ("optimize_on_insert", "0".to_owned()),
        ];
        if self.layout() != Layout::Single {
            // The server that takes the block answers after every shard has its part, and gives up no later than we do.
            let seconds = self.timeout().as_secs().max(1);
            all.push(("distributed_foreground_insert", "1".to_owned()));
            all.push(("insert_distributed_timeout", seconds.to_string()));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replicated_cluster_waits_for_most_replicas_unless_told_otherwise() {
        let quorum = |replicated, insert_quorum| {
            let cluster = Some("main".to_owned());
            let settings = ClickHouseSettings {
                cluster,
                replicated,
                insert_quorum,
                ..ClickHouseSettings::default()
            };
            let all = settings.query_settings().into_iter();
            all.into_iter().find(|(name, _)| *name == "insert_quorum").map(|(_, value)| value)
        };
        assert_eq!(quorum(true, 0).as_deref(), Some("auto"));
        assert_eq!(quorum(true, 1).as_deref(), Some("1"));
        assert_eq!(quorum(false, 0), None);
    }
}
