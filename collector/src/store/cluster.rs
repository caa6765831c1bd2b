//! What a cluster must be like, checked before anything is created on it: what is wrong is said in one line, not found out by wrong answers.

use clickhouse::{Client, Row};
use serde::Deserialize;

use super::client::Endpoint;
use super::config::{ClickHouseSettings, Layout};
use super::error::StoreError;
use super::servers::Servers;
use super::within;

/// A server of the cluster as `system.clusters` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Row, Deserialize)]
struct Member {
    shard: u32,
    replica: u32,
    internal_replication: u8,
}

/// Checks the cluster that the settings name, if they name one.
///
/// # Errors
/// When no server can be reached, or the cluster is not as its layout needs it.
pub(super) async fn check(
    endpoints: &[Endpoint],
    settings: &ClickHouseSettings,
) -> Result<(), StoreError> {
    let Some(cluster) = settings.layout().cluster() else { return Ok(()) };
    let bare = endpoints.iter().map(|endpoint| (endpoint.url.clone(), endpoint.bare_client()));
    let servers = Servers::new(bare.collect(), 0);
    let timeout = settings.timeout();
    let members = |client: Client| async move {
        let sql = "SELECT shard_num AS shard, replica_num AS replica, internal_replication \
                   FROM system.clusters WHERE cluster = ?";
        let query = client.query(sql).bind(cluster);
        within(timeout, async { query.fetch_all::<Member>().await }).await
    };
    let macros = |client: Client| async move {
        let query = client.query("SELECT macro FROM system.macros");
        within(timeout, async { query.fetch_all::<String>().await }).await
    };
    let wrong = |reason: String| StoreError::Config { key: "cluster", reason };
    if let Layout::Replicated { .. } = settings.layout() {
        let members = servers.ask(members).await?;
        let macros = servers.ask(macros).await?;
        return replicated(cluster, &members, &macros).map_err(wrong);
    }
    for server in servers.all() {
        let members = members(server.client.clone()).await?;
        let checked = sharded(cluster, &members, endpoints.len());
        checked.map_err(|reason| wrong(format!("{}: {reason}", server.url())))?;
    }
    Ok(())
}

fn replicated(cluster: &str, members: &[Member], macros: &[String]) -> Result<(), String> {
    known(cluster, members)?;
    if members.iter().any(|member| member.internal_replication == 0) {
        return Err(format!(
            "{cluster} lacks <internal_replication>true</internal_replication> in <remote_servers>: each block would be written to every replica"
        ));
    }
    let missing: Vec<_> =
        ["shard", "replica"].into_iter().filter(|name| !macros.iter().any(|m| m == name)).collect();
    if !missing.is_empty() {
        return Err(format!(
            "<macros> of the servers lack {}: replicated tables are told apart by them",
            missing.join(" and ")
        ));
    }
    Ok(())
}

fn sharded(cluster: &str, members: &[Member], urls: usize) -> Result<(), String> {
    known(cluster, members)?;
    if members.iter().any(|member| member.replica > 1) {
        return Err(format!(
            "{cluster} has replicas: without clickhouse.replicated their tables would differ"
        ));
    }
    if members.len() != urls {
        return Err(format!(
            "{cluster} has {} servers and clickhouse.url names {urls}: without clickhouse.replicated it must name all, since each is migrated by itself",
            members.len()
        ));
    }
    Ok(())
}

fn known(cluster: &str, members: &[Member]) -> Result<(), String> {
    if members.is_empty() {
        return Err(format!("the server knows no cluster {cluster}: see <remote_servers>"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(shard: u32, replica: u32) -> Member {
        Member { shard, replica, internal_replication: 1 }
    }

    #[test]
    fn a_replicated_cluster_needs_macros_and_internal_replication() {
        let macros = ["shard", "replica"].map(str::to_owned);
        let members = [member(1, 1), member(1, 2)];
        assert_eq!(replicated("c", &members, &macros), Ok(()));
        assert!(replicated("c", &[], &macros).unwrap_err().contains("knows no cluster c"));
        let lacking = replicated("c", &members, &macros[..1]).unwrap_err();
        assert!(lacking.contains("lack replica:"), "{lacking}");
        let plain = [Member { internal_replication: 0, ..member(1, 1) }];
        assert!(replicated("c", &plain, &macros).unwrap_err().contains("internal_replication"));
    }

    #[test]
    fn a_sharded_cluster_is_named_whole_and_has_no_replicas() {
        let members = [member(1, 1), member(2, 1)];
        assert_eq!(sharded("c", &members, 2), Ok(()));
        assert!(sharded("c", &members, 1).unwrap_err().contains("has 2 servers"));
        assert!(sharded("c", &[member(1, 1), member(1, 2)], 2).unwrap_err().contains("replicas"));
        assert!(sharded("c", &[], 2).unwrap_err().contains("knows no cluster c"));
    }
}
