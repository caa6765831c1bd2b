//! Files of the embedded engine's directory: its configuration, its users, its start script, its output, which is also its lock.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::store::config::Secret;
use crate::store::error::StoreError;
use crate::store::hex;

/// Name of the user that the collector connects as.
pub(super) const USER: &str = "flyball";

const START_SQL: &str = "SYSTEM START LISTEN HTTP;\n";
/// Before the reason, in the message of [`StoreError::EngineStart`] that the engine's process leaves in its output.
const FAILED: &str = "did not start: ";
const OUTPUT: &str = "engine.out";
const LOG: &str = "engine.log";

/// The engine's directory, locked for this process and the engines that it starts.
#[derive(Debug)]
pub(super) struct EngineDir {
    path: PathBuf,
    /// Its lock belongs to the open file, which the engine inherits as its output: it is free when both are gone.
    output: File,
}

impl EngineDir {
    /// Creates the directory if it is missing and locks it. Gives `None` while an engine of a collector that has ended is still leaving.
    pub(super) fn lock(path: &Path) -> Result<Option<Self>, StoreError> {
        fs::create_dir_all(path).map_err(error("create", path))?;
        let name = path.join(OUTPUT);
        let mut output = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .mode(0o600)
            .open(&name)
            .map_err(error("open", &name))?;
        match output.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return in_use(path),
            Err(fs::TryLockError::Error(source)) => return Err(error("lock", &name)(source)),
        }
        output.set_len(0).map_err(error("write", &name))?;
        let dir = Self {
            path: path.to_owned(),
            output: output.try_clone().map_err(error("open", &name))?,
        };
        dir.write("pid", &identity(std::process::id()).unwrap_or_default())?;
        writeln!(output, "started by pid {}", std::process::id()).map_err(error("write", &name))?;
        Ok(Some(dir))
    }

    /// Writes the configuration for an engine that listens on `port`. `password` is stored as a hash.
    pub(super) fn configure(&self, memory_bytes: u64, password: &Secret) -> Result<(), StoreError> {
        self.write("config.xml", &self.server_xml(memory_bytes))?;
        self.write("users.xml", &users_xml(memory_bytes, password))?;
        self.write("start.sql", START_SQL)
    }

    /// Arguments of `clickhouse local`. The last one makes it wait for the end of its input once it listens.
    pub(super) fn arguments(&self, port: u16) -> Vec<std::ffi::OsString> {
        let with = |option: &str, path: &str| {
            let mut text = std::ffi::OsString::from(option);
            text.push(self.path.join(path));
            text
        };
        vec![
            with("--config-file=", "config.xml"),
            with("--path=", "data"),
            // The level of the configuration file is not heeded: without this, everything is logged.
            "--log-level=warning".into(),
            "--listen_host=127.0.0.1".into(),
            format!("--http_port={port}").into(),
            "--queries-file".into(),
            self.path.join("start.sql").into(),
            "--queries-file".into(),
            "/dev/fd/0".into(),
        ]
    }

    /// Where an engine writes what it prints; holds the lock for as long as the engine has it open.
    pub(super) fn output(&self) -> Result<File, StoreError> {
        self.output.try_clone().map_err(error("open", &self.path.join(OUTPUT)))
    }

    /// The last lines that speak of an error in the engine's output and log.
    pub(super) fn last_error(&self) -> String {
        let tails = [OUTPUT, LOG].map(|name| tail(&self.path.join(name)).unwrap_or_default());
        let lines: Vec<_> = tails.iter().flat_map(|text| text.lines()).collect();
        let speaks = |line: &&&str| {
            ["Exception", "<Error>", "<Fatal>", "error", "cannot"].iter().any(|w| line.contains(w))
        };
        let line = lines.iter().rev().find(speaks).or(lines.last());
        let line = line.map_or("it left no message", |line| line.trim());
        line.rsplit_once(FAILED).map_or(line, |(_, reason)| reason).to_owned()
    }

    fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let (path, new) = (self.path.join(name), self.path.join(format!("{name}.new")));
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .map_err(error("create", &new))?;
        file.write_all(text.as_bytes()).map_err(error("write", &new))?;
        fs::rename(&new, &path).map_err(error("write", &path))
    }

    fn server_xml(&self, memory_bytes: u64) -> String {
        let file = |name: &str| escape(&self.path.join(name).to_string_lossy());
        let cache = memory_bytes / 20;
        format!(
            "<clickhouse>
    <logger>
        <log>{log}</log>
        <size>10M</size>
        <count>3</count>
    </logger>
    <users_config>{users}</users_config>
    <max_server_memory_usage>{memory_bytes}</max_server_memory_usage>
    <mark_cache_size>{cache}</mark_cache_size>
    <index_mark_cache_size>{small}</index_mark_cache_size>
    <primary_index_cache_size>{cache}</primary_index_cache_size>
    <compiled_expression_cache_size>{small}</compiled_expression_cache_size>
    <mmap_cache_size>100</mmap_cache_size>
    <background_pool_size>2</background_pool_size>
    <background_schedule_pool_size>4</background_schedule_pool_size>
    <background_fetches_pool_size>1</background_fetches_pool_size>
    <background_move_pool_size>1</background_move_pool_size>
    <background_common_pool_size>2</background_common_pool_size>
    <merge_tree>
        <number_of_free_entries_in_pool_to_lower_max_size_of_merge>2</number_of_free_entries_in_pool_to_lower_max_size_of_merge>
        <number_of_free_entries_in_pool_to_execute_mutation>2</number_of_free_entries_in_pool_to_execute_mutation>
        <number_of_free_entries_in_pool_to_execute_optimize_entire_partition>2</number_of_free_entries_in_pool_to_execute_optimize_entire_partition>
        <merge_max_block_size_bytes>4194304</merge_max_block_size_bytes>
    </merge_tree>
    <http_handlers>
        <rule>
            <headers><X-ClickHouse-User>{USER}</X-ClickHouse-User></headers>
            <handler><type>dynamic_query_handler</type><query_param_name>query</query_param_name></handler>
        </rule>
    </http_handlers>
</clickhouse>
",
            log = file(LOG),
            users = file("users.xml"),
            small = 4 << 20,
        )
    }
}

/// `default` is the engine's own session, which has no password: it may open the listener and nothing else, and the rule on
/// `http_handlers` keeps it off HTTP.
fn users_xml(memory_bytes: u64, password: &Secret) -> String {
    let hash = hex::encode(&Sha256::digest(password.expose()));
    let query_bytes = memory_bytes / 2;
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
            <password_sha256_hex>{hash}</password_sha256_hex>
            <networks><ip>127.0.0.1</ip></networks>
            <profile>default</profile>
            <quota>default</quota>
        </{USER}>
    </users>
    <profiles><default><max_memory_usage>{query_bytes}</max_memory_usage></default></profiles>
    <quotas><default/></quotas>
</clickhouse>
"
    )
}

/// Somebody holds the lock: an error when the collector that took it is alive.
fn in_use(path: &Path) -> Result<Option<EngineDir>, StoreError> {
    let holder = fs::read_to_string(path.join("pid")).unwrap_or_default();
    let pid = holder.split(' ').next().unwrap_or_default();
    if let Ok(number) = pid.parse()
        && identity(number).as_ref() != Some(&holder)
    {
        return Ok(None);
    }
    let holder = if pid.is_empty() { String::new() } else { format!(" (pid {pid})") };
    Err(StoreError::DataDirInUse { path: path.to_owned(), holder })
}

/// Process id and start time of a process that runs: no later process has both.
fn identity(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let (state, started) = (fields.first()?, fields.get(19)?);
    (!matches!(*state, "Z" | "X")).then(|| format!("{pid} {started}"))
}

fn tail(path: &Path) -> io::Result<String> {
    const BYTES: u64 = 16_384;
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(BYTES)))?;
    let mut bytes = Vec::new();
    file.take(BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn error<'a>(what: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> StoreError + 'a {
    move |source| StoreError::File { what, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_locked_until_its_last_holder_is_gone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("clickhouse");
        let first = EngineDir::lock(&path).unwrap().unwrap();
        let inherited = first.output().unwrap();
        let error = EngineDir::lock(&path).unwrap_err().to_string();
        assert!(error.contains(&format!("(pid {})", std::process::id())), "{error}");
        drop(first);
        // The collector that took the lock is dead, and its engine is still there.
        fs::write(path.join("pid"), format!("{} 1", std::process::id())).unwrap();
        assert!(EngineDir::lock(&path).unwrap().is_none());
        drop(inherited);
        assert!(EngineDir::lock(&path).unwrap().is_some());
    }

    #[test]
    fn the_password_is_stored_as_a_hash_in_a_file_of_ours_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        let dir = EngineDir::lock(root.path()).unwrap().unwrap();
        dir.configure(1_000_000_000, &Secret::new("hunter2")).unwrap();
        let users = fs::read_to_string(root.path().join("users.xml")).unwrap();
        assert!(!users.contains("hunter2"));
        assert!(users.contains("f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7"));
        let mode = fs::metadata(root.path().join("users.xml")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_last_error_is_the_last_line_that_speaks_of_one() {
        let root = tempfile::tempdir().unwrap();
        let dir = EngineDir::lock(root.path()).unwrap().unwrap();
        fs::write(root.path().join(LOG), "<Error> first\n<Error> second\nat line 3\n").unwrap();
        assert_eq!(dir.last_error(), "<Error> second");
        fs::remove_file(root.path().join(LOG)).unwrap();
        fs::write(root.path().join(OUTPUT), "ERROR the engine did not start: no space\n").unwrap();
        assert_eq!(dir.last_error(), "no space");
    }
}
