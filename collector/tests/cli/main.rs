//! The binary from outside: help, settings, exit codes, addresses, signals. `UPDATE_GOLDEN=1` writes what the help says now.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail the test")]

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const GOLDEN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cli/golden");
const ANY_PORT: [&str; 4] = ["--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0"];

fn collector(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball-collector"));
    for (variable, _) in std::env::vars_os() {
        let name = variable.to_string_lossy();
        if name.starts_with("FLYBALL_") && name != "FLYBALL_CACHE_DIR" {
            command.env_remove(variable);
        }
    }
    command.env_remove("RUST_LOG").args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    collector(arguments).output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn golden(name: &str, output: &[u8]) {
    let (path, text) = (format!("{GOLDEN}/{name}"), String::from_utf8_lossy(output));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &*text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "UPDATE_GOLDEN=1 accepts it");
}

/// Ends a process that a failed test would leave behind.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_help_is_what_was_reviewed() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    golden("help.txt", &output.stdout);
}

#[test]
fn the_statements_for_each_layout_are_what_was_reviewed() {
    let cluster = ["--clickhouse", "http://a:8123,http://b:8123", "--clickhouse-cluster", "main"];
    for (layout, replicated) in [("replicated", "true"), ("sharded", "false")] {
        for (name, flag) in [("up", &[][..]), ("down", &["--down"])] {
            let mut command = collector(&[&["migrate", "sql"], flag, &cluster].concat());
            command.env("FLYBALL_CLICKHOUSE_REPLICATED", replicated);
            let output = command.output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
            golden(&format!("{layout}-{name}.sql"), &output.stdout);
        }
    }
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = run(&["--version"]);
    assert_eq!(output.status.code(), Some(0));
    let expected = concat!("flyball-collector ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn wrong_usage_is_2() {
    for arguments in [&["--no-such-flag"][..], &["no-such-command"], &["migrate"]] {
        assert_eq!(run(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn check_config_lists_every_error_with_its_key_and_origin() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("collector.toml");
    std::fs::write(&file, "[ingest]\nperiod_ms = 0\nperiodd = 1\n[engine]\nport = 'x'\n").unwrap();
    let path = file.to_str().unwrap();
    let output = collector(&["--config", path, "--check-config", "--http", "nowhere"])
        .env("FLYBALL_CLICKHOUSE_RETENTION_DAYS", "0")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    let lines: Vec<_> = text.lines().collect();
    let expected = [
        ("clickhouse.retention_days: ", "FLYBALL_CLICKHOUSE_RETENTION_DAYS"),
        ("engine.port: ", path),
        ("ingest.period_ms: ", path),
        ("ingest.periodd: unknown key", path),
        ("server.http: ", "the command line"),
    ];
    assert_eq!(lines.len(), expected.len(), "{text}");
    for (line, (start, origin)) in lines.iter().zip(expected) {
        assert!(line.starts_with(start) && line.contains(origin), "{line}");
    }

    std::fs::write(&file, "[ingest]\nperiod_ms = 100\n").unwrap();
    assert_eq!(run(&["--config", path, "--check-config"]).status.code(), Some(0));
}

#[test]
fn an_address_that_others_reach_is_refused_without_insecure() {
    let output = run(&["--http", "0.0.0.0:0", "--check-config"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("server.http: 0.0.0.0:0 can be reached"));
    let accepted = run(&["--http", "0.0.0.0:0", "--insecure", "--check-config"]);
    assert_eq!(accepted.status.code(), Some(0));
}

#[test]
fn an_address_in_use_is_one_line_that_names_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let data_dir = dir.path().to_str().unwrap();
    let output = run(&["--http", "127.0.0.1:0", "--grpc", &address, "--data-dir", data_dir]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains(&address) && text.contains("--grpc"), "{text}");
}

#[test]
fn a_data_directory_that_cannot_be_written_is_one_line_that_names_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let below = file.join("data");
    let output = run(&[&ANY_PORT[..], &["--data-dir", below.to_str().unwrap()]].concat());
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("file/data") && text.contains("--data-dir"), "{text}");
}

#[test]
fn it_says_where_it_listens_warns_of_open_addresses_and_leaves_on_sigterm_with_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let mut command = collector(&[
        "serve",
        "--http",
        "0.0.0.0:0",
        "--grpc",
        "127.0.0.1:0",
        "--insecure",
        "--data-dir",
        data_dir,
        "--log-format",
        "json",
    ]);
    let mut child = Guard(command.stderr(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(child.0.stderr.take().unwrap()).lines();
    let mut next = |message: &str| -> Value {
        for line in lines.by_ref() {
            let line: Value = serde_json::from_str(&line.unwrap()).unwrap();
            if line["message"].as_str().unwrap().starts_with(message) {
                return line;
            }
        }
        panic!("ended without saying: {message}");
    };
    let warning = next("other hosts reach this address");
    assert_eq!((&warning["level"], &warning["key"]), (&"WARN".into(), &"server.http".into()));
    let engine = next("the embedded engine answers")["pid"].as_u64().unwrap();
    let listening = next("listening");
    let endpoints = flyball_service::endpoints::read(Path::new(data_dir)).unwrap();
    assert_eq!(listening["http"], endpoints["http"].to_string());
    assert_eq!(listening["grpc"], endpoints["grpc"].to_string());

    kill_process(Pid::from_child(&child.0), Signal::TERM).unwrap();
    next("stopped");
    assert_eq!(child.0.wait().unwrap().code(), Some(0));
    let proc_dir = format!("/proc/{engine}");
    assert!(!Path::new(&proc_dir).exists(), "the engine is left behind");
}
