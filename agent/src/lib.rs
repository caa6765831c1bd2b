//! Samples a host and streams the samples to a collector: sense -> ship -> steer.

pub mod addresses;
pub mod cache;
pub mod config;
pub mod data_dir;
pub mod nginx;
pub mod recorder;
pub mod redis;
pub mod run;
pub mod schedule;
pub mod sense;
pub mod ship;
pub mod spool;
pub mod stamps;
pub mod steer;
