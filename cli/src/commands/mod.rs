//! The commands. Each asks the API and prints a table or what the API answered; errors become one line on standard error.

pub(crate) mod alerts;
pub(crate) mod audit;
pub(crate) mod balancers;
mod cache;
pub(crate) mod caches;
mod catalog;
pub(crate) mod control;
pub(crate) mod decide;
mod group;
pub(crate) mod metrics;
pub(crate) mod nodes;
pub(crate) mod policies;
pub(crate) mod propose;
mod range;
pub(crate) mod rollout;
pub(crate) mod show;
pub(crate) mod status;
pub(crate) mod suggestions;
mod watch;

use std::io::Write as _;

use crate::api::Client;
use crate::config::{Config, Output};
use crate::error::Error;
use crate::text::table::Screen;

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    /// Client of the collector.
    pub client: Client,
    /// How answers are printed.
    pub output: Output,
    /// What standard output can do.
    pub screen: Screen,
}

impl Context {
    /// Of the settings and of this process' standard output.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub(crate) fn new(config: &Config) -> Result<Self, Error> {
        let client = Client::new(config)?;
        Ok(Self { client, output: config.cli.output, screen: Screen::of_stdout() })
    }
}

/// Writes to standard output, with a line end when there is none.
///
/// # Errors
/// When it is closed or full.
pub(crate) fn print(text: &str) -> Result<(), Error> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}

/// Writes a line for people to standard error, where it does not disturb who reads the output.
pub(crate) fn hint(text: &str) {
    // Nobody listens to a closed standard error.
    let _ = writeln!(std::io::stderr(), "flyball: {text}");
}
