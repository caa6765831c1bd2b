//! A ClickHouse server of its own: the engine's library in a process, with a user whose password is known and a TCP listener for its cluster. It can be killed
//! and started again on the same data and the same ports.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use flyball_collector::store::engine::{self, LIBRARY};
use flyball_collector::store::{Endpoint, EngineSettings, Secret};
use parking_lot::Mutex;
use tokio::process::{Child, Command};

use crate::harness::until;

/// Name of the cluster of all servers of a test.
pub const CLUSTER: &str = "two";
const USER: &str = "flyball";
const PASSWORD: &str = "flyball";

/// The server's directory, its ports and, while it runs, its process.
pub struct Server {
    dir: PathBuf,
    pub http: u16,
    pub tcp: u16,
    child: Option<Child>,
    client: clickhouse::Client,
}

impl Server {
    /// A server that does not run yet.
    pub fn new(dir: &Path, name: &str) -> Self {
        let (http, tcp) = (free_port(), free_port());
        let endpoint = endpoint(http);
        let client = clickhouse::Client::default()
            .with_url(endpoint.url)
            .with_user(USER)
            .with_password(PASSWORD)
            .with_database("flyball");
        Self { dir: dir.join(name), http, tcp, child: None, client }
    }

    /// As many servers as names, each a shard of the cluster, all running.
    pub async fn shards<const N: usize>(dir: &Path, names: [&str; N]) -> [Self; N] {
        let mut servers = names.map(|name| Self::new(dir, name));
        let ports = servers.each_ref().map(|server| server.tcp);
        for server in &mut servers {
            server.start(&ports).await;
        }
        servers
    }

    /// Starts it, as one of the shards that listen on `ports`, and waits until it answers.
    pub async fn start(&mut self, ports: &[u16]) {
        std::fs::create_dir_all(&self.dir).unwrap();
        let users = users_xml();
        let start = "SYSTEM START LISTEN HTTP;\nSYSTEM START LISTEN TCP;\n";
        for (name, text) in
            [("config.xml", &*config_xml(ports)), ("users.xml", &users), ("start.sql", start)]
        {
            std::fs::write(self.dir.join(name), text).unwrap();
        }
        self.run();
        until("the server answers", async || self.answers().await.then_some(())).await;
    }

    /// Starts it again with the configuration that it had, and waits until it answers.
    pub async fn restart(&mut self) {
        self.run();
        until("the server answers", async || self.answers().await.then_some(())).await;
    }

    fn run(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let library = engine::directory(&EngineSettings::default()).unwrap().join(LIBRARY);
        let file = |option: &str, name: &str| format!("{option}{}", self.dir.join(name).display());
        let output = std::fs::File::create(self.dir.join("output")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_flyball-collector"));
        command.args(["engine", "run"]).arg(library).arg("--").current_dir(&self.dir);
        command.arg(file("--config-file=", "config.xml")).arg(file("--path=", "data"));
        command.args(["--log-level=warning", "--listen_host=127.0.0.1"]);
        command.arg(format!("--http_port={}", self.http));
        command.arg(format!("--tcp_port={}", self.tcp));
        command.arg("--queries-file").arg(self.dir.join("start.sql"));
        // Waits for the end of its input, which comes when the test ends, however it ends.
        command.args(["--queries-file", "/dev/fd/0"]);
        command.stdin(Stdio::piped()).stdout(output.try_clone().unwrap()).stderr(output);
        self.child = Some(command.kill_on_drop(true).spawn().unwrap());
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// Removes its data, as when its disk was replaced. It must not run.
    pub fn lose_data(&self) {
        assert!(self.child.is_none(), "it runs");
        std::fs::remove_dir_all(self.dir.join("data")).unwrap();
    }

    pub fn url(&self) -> String {
        endpoint(self.http).url
    }

    /// One value of a query on this server alone, every row counted as often as it is there.
    pub async fn value<T>(&self, sql: &str) -> T
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let query = self.client.query(sql).with_setting("final", "0");
        query.fetch_one().await.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Whether the database of the collectors is there.
    pub async fn has_database(&self) -> bool {
        let client = self.client.clone().with_database("system");
        let query = client.query("SELECT count() FROM databases WHERE name = 'flyball'");
        query.fetch_one::<u64>().await.unwrap() == 1
    }

    /// Runs a statement that needs no database.
    pub async fn ask(&self, sql: &str) {
        let client = self.client.clone().with_database("system");
        client.query_raw(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub async fn execute(&self, sql: &str) {
        self.client.query_raw(sql).execute().await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }

    async fn answers(&self) -> bool {
        let query = self.client.clone().with_database("system").query("SELECT 1");
        query.fetch_one::<u8>().await.is_ok()
    }
}

/// How a collector reaches what listens on a port.
pub fn endpoint(port: u16) -> Endpoint {
    let url = format!("http://127.0.0.1:{port}");
    Endpoint { url, user: USER.to_owned(), password: Secret::new(PASSWORD) }
}

/// A port below those that the system gives to outgoing connections, so that it stays free while a server is down.
pub fn free_port() -> u16 {
    // Whoever asked before may not listen yet.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock();
    (0..1_000)
        .map(|_| rand::random_range(10_000..32_000))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && given.insert(*port))
        .expect("one of a thousand ports is free")
}

fn config_xml(ports: &[u16]) -> String {
    let shard = |port: &u16| {
        format!(
            "<shard><internal_replication>true</internal_replication><replica><host>127.0.0.1</host><port>{port}</port>\
             <user>{USER}</user><password>{PASSWORD}</password></replica></shard>"
        )
    };
    let shards: String = ports.iter().map(shard).collect();
    format!(
        "<clickhouse>
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
    <remote_servers><{CLUSTER}>{shards}</{CLUSTER}></remote_servers>
</clickhouse>
"
    )
}

/// `default` is the engine's own session and may open the listeners and nothing else.
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
