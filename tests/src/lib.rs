//! Harness that starts the real servers on free ports in temporary directories and stops them by pid.
//!
//! Nothing here is a stand-in: the collector, its ClickHouse, the agent and the browser are those that users run. The binaries are taken from the
//! directory that holds this test's own (`target/debug` or `target/release`); `make test` and `make bench` build them first.

pub mod balance;
pub mod balanced;
pub mod bench;
pub mod chaos;
pub mod clickhouse;
pub mod command;
pub mod controlled;
pub mod demo;
pub mod engine;
pub mod http;
pub mod journal;
pub mod load;
pub mod port;
pub mod process;
pub mod proxy;
pub mod redis;
pub mod shape;
pub mod simulate;
pub mod stack;
pub mod steered;
pub mod steering;
pub mod terminal;
pub mod wait;
pub mod workload;
