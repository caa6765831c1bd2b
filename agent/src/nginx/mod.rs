//! nginx: its upstreams as files of `server` lines that it includes, and how it is told that they have changed.
//!
//! nginx without a commercial licence has no interface that a weight could be set by: it reads its configuration when it is told to, by new workers, while old ones go on until
//! their connections end. So each upstream's `server` lines are in a file of their own, which is written as a whole, tested by nginx itself, and then loaded.
//!
//! ```text
//! upstream web { include /etc/nginx/flyball/web.conf; }     # nginx's own configuration
//! server 10.0.0.1:80 weight=100 max_fails=3;                # web.conf, which Flyball may write
//! server 10.0.0.2:80 weight=50 down;
//! ```

mod command;
mod config;
mod file;
mod process;
mod watch;

pub use config::{NginxConfig, UpstreamConfig};
pub use file::{Servers, Setting};
pub use process::{Nginx, NginxError};
pub use watch::watch;

/// The kind of target.
pub const KIND: &str = "nginx";
/// Largest weight that Flyball gives.
pub const MOST_WEIGHT: u32 = 256;
