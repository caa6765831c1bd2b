//! The binary from outside: help, settings, exit codes, signals. `UPDATE_GOLDEN=1` writes what the help says now.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use flyball_agent::config::Config;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/flyball-agent.example.toml");
const HELP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/help.txt");

fn agent(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_flyball-agent"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("FLYBALL_") {
            command.env_remove(variable);
        }
    }
    command.args(arguments);
    command
}

fn run(arguments: &[&str]) -> Output {
    agent(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn the_help_is_what_was_reviewed() {
    let output = run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = text(&output.stdout);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(HELP, &help).unwrap();
    }
    assert_eq!(help, std::fs::read_to_string(HELP).unwrap(), "UPDATE_GOLDEN=1 accepts it");
}

#[test]
fn the_example_file_has_every_key_with_its_default() {
    let example: Value = Figment::from(Toml::file_exact(EXAMPLE)).extract().unwrap();
    let defaults: Value = Figment::from(Serialized::defaults(Config::default())).extract().unwrap();
    assert_eq!(example, without_nulls(defaults));
}

/// TOML has no null and no empty array of tables: what is unset by default is in the example as a comment.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, v)| !v.is_null() && *v != Value::Array(Vec::new()))
            .map(|(k, v)| (k, without_nulls(v)))
            .collect(),
        other => other,
    }
}

#[test]
fn good_settings_are_checked_silently() {
    let output = run(&["--config", EXAMPLE, "--check-config"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(output.stdout.is_empty() && output.stderr.is_empty());
}

#[test]
fn every_wrong_setting_is_listed_with_its_key_and_place() {
    let output =
        agent(&["--check-config", "--interval", "5", "--collector", "http://10.1.1.1:7400"])
            .env("FLYBALL_BUDGET_CPU_PERCENT", "200")
            .env("FLYBALL_SAMPLERS_CPU_ENABLED", "perhaps")
            .output()
            .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    let keys: Vec<_> = errors.lines().filter_map(|line| line.split(": ").next()).collect();
    assert_eq!(
        keys,
        ["agent.collector", "agent.interval", "budget.cpu_percent", "samplers.cpu.enabled"]
    );
    assert!(errors.contains("--insecure"), "{errors}");
    assert!(errors.contains("(from FLYBALL_BUDGET_CPU_PERCENT)"), "{errors}");
    assert!(errors.contains("(from the command line)"), "{errors}");
}

#[test]
fn unknown_keys_and_flags_are_wrong_usage() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("agent.toml");
    std::fs::write(&file, "[agent]\nintervall = '1s'\n[samplers.gpu]\nenabled = true\n").unwrap();
    let output = run(&["--config", file.to_str().unwrap(), "--check-config"]);
    assert_eq!(output.status.code(), Some(2));
    let errors = text(&output.stderr);
    assert!(errors.contains("agent.intervall: unknown key; known here: "), "{errors}");
    assert!(errors.contains("samplers.gpu.enabled: "), "{errors}");
    assert_eq!(run(&["--colector", "x"]).status.code(), Some(2));
}

/// An agent without a collector. Killed when the test is over.
struct Running {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Running {
    /// Starts it and waits until it has tried to connect.
    fn start(data_dir: &Path) -> Self {
        let mut child = agent(&["--data-dir", data_dir.to_str().unwrap(), "--log-format", "json"])
            // Nothing listens on port 1.
            .args(["--collector", "http://127.0.0.1:1", "--interval", "100ms"])
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut running = Self { child, log };
        running.log_until("not connected");
        running
    }

    /// The first line that holds `text`.
    fn log_until(&mut self, text: &str) -> Value {
        let line = self.log.by_ref().map(Result::unwrap).find(|line| line.contains(text));
        serde_json::from_str(&line.expect("it is logged before the agent ends")).unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_signal_ends_it_with_0_and_an_account_of_its_samples() {
    for signal in [Signal::TERM, Signal::INT] {
        let dir = tempfile::tempdir().unwrap();
        let mut running = Running::start(dir.path());
        running.signal(signal);
        let account = running.log_until("stopped");
        let count = |field: &str| account[field].as_u64().unwrap();
        let settled = count("stored") + count("shed") + count("lost");
        assert_eq!(count("produced"), settled + count("in_spool"));
        assert_eq!(running.child.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn two_agents_do_not_share_a_directory() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Running::start(dir.path());
    let second = run(&["--data-dir", dir.path().to_str().unwrap()]);
    assert_eq!(second.status.code(), Some(1));
    let log = text(&second.stderr);
    assert_eq!(log.lines().count(), 1, "{log}");
    assert!(log.contains("in use by another flyball-agent"), "{log}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below = file.path().join("state");
    let output = run(&["--data-dir", below.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    let log = text(&output.stderr);
    assert!(log.contains(below.to_str().unwrap()) && log.contains("--data-dir"), "{log}");
}
