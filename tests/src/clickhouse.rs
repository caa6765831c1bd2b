//! A ClickHouse server that no collector has started: several collectors can share it, and it outlives each of them.
//!
//! It is the engine's library in a process of its own, with a user whose password is known. Like a real server it can be killed, paused and started again
//! on the same data and the same port.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::engine::library;
use crate::port;
use crate::process::{Process, binary};
use crate::wait::{SOON, until};

/// Its user.
pub const USER: &str = "flyball";
/// The password of [`USER`]: the server is on the loopback address and lives as long as a test.
pub const PASSWORD: &str = "flyball";

const CONFIG: &str = "<clickhouse>
    <logger><log>server.log</log><errorlog>server.err.log</errorlog></logger>
    <users_config>users.xml</users_config>
    <max_server_memory_usage>1000000000</max_server_memory_usage>
    <mark_cache_size>50000000</mark_cache_size>
    <background_pool_size>2</background_pool_size>
    <background_schedule_pool_size>4</background_schedule_pool_size>
    <merge_tree>
        <number_of_free_entries_in_pool_to_lower_max_size_of_merge>2</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
        <number_of_free_entries_in_pool_to_execute_mutation>2</number_of_free_entries_in_pool_to_execute_mutation>
        <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
    </merge_tree>
</clickhouse>
";

/// Where the server's files are and where it answers. Its process is the caller's: to be killed, paused and started again.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    dir: PathBuf,
    address: SocketAddr,
    client: reqwest::Client,
}

impl ClickHouse {
    /// Starts a server with its files in `dir/clickhouse` and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn start(dir: &Path) -> Result<(Self, Process)> {
        let server = Self::prepare(dir)?;
        let mut process = Process::start_held("clickhouse", server.command()?, dir)?;
        until("the server to answer", SOON, || {
            let running = process.check_running();
            let server = &server;
            async move {
                running?;
                server.query("SELECT 1").await
            }
        })
        .await?;
        Ok((server, process))
    }

    /// Writes the server's files into `dir/clickhouse` and chooses its port.
    ///
    /// # Errors
    /// When the files cannot be written or no port is free.
    pub fn prepare(dir: &Path) -> Result<Self> {
        let dir = dir.join("clickhouse");
        std::fs::create_dir_all(&dir)?;
        let users = users_xml();
        let start = "SYSTEM START LISTEN HTTP;\n";
        for (name, text) in [("config.xml", CONFIG), ("users.xml", &users), ("start.sql", start)] {
            std::fs::write(dir.join(name), text)?;
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port::free()?));
        Ok(Self { dir, address, client: reqwest::Client::new() })
    }

    /// What starts it, on the same data and port each time. It runs until its input ends, so start it with [`Process::start_held`].
    ///
    /// # Errors
    /// When the engine has not been fetched or the collector has not been built.
    pub fn command(&self) -> Result<Command> {
        let file = |option: &str, name: &str| format!("{option}{}", self.dir.join(name).display());
        let mut command = Command::new(binary("flyball-collector")?);
        command.args(["engine", "run"]).arg(library()?).arg("--").current_dir(&self.dir);
        command.arg(file("--config-file=", "config.xml")).arg(file("--path=", "data"));
        command.args(["--log-level=warning", "--listen_host=127.0.0.1"]);
        command.arg(format!("--http_port={}", self.address.port()));
        command.arg("--queries-file").arg(self.dir.join("start.sql"));
        command.args(["--queries-file", "/dev/fd/0"]);
        Ok(command)
    }

    /// Where it serves HTTP.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What a statement answers, tab separated where it does not name another format.
    ///
    /// # Errors
    /// When there is no answer or the statement fails.
    pub async fn query(&self, sql: &str) -> Result<String> {
        ask(&self.client, self.address, sql).await
    }
}

async fn ask(client: &reqwest::Client, address: SocketAddr, sql: &str) -> Result<String> {
    let request = client.post(format!("http://{address}/")).body(sql.to_owned());
    let request = request.header("X-ClickHouse-User", USER).header("X-ClickHouse-Key", PASSWORD);
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    ensure!(status.is_success(), "{sql}: {status} {text}");
    Ok(text)
}

/// `default` is the engine's own session and may open the listener and nothing else.
fn users_xml() -> String {
    format!(
        "<clickhouse>
    <users>
        <default>
            <no_password/>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
            <grants><query>GRANT SYSTEM LISTEN ON *.*</query></grants>
        </default>
        <{USER}>
            <password>{PASSWORD}</password>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
        </{USER}>
    </users>
    <profiles><default/></profiles>
    <quotas><default/></quotas>
</clickhouse>
"
    )
}
