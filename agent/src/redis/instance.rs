//! One instance as the agent knows it: how it is reached, and what its sampler, observer and actuator share.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::config::RedisConfig;
use super::dial::Endpoint;
use super::error::Error;
use super::shared::{Attribution, Borrowed, Expirations, Observed, Probes, Trial};

/// Bounds on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest time to connect, with TLS and the password.
    pub connect: Duration,
    /// Longest time for the answer to one command.
    pub request: Duration,
    /// Largest string and array that are taken, in bytes and elements.
    pub reply_bytes: usize,
}

/// An instance. Cheap to clone; all clones share the counts.
#[derive(Debug, Clone)]
pub struct Instance(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    config: RedisConfig,
    endpoint: Endpoint,
    limits: Limits,
    state_file: PathBuf,
    probes: Probes,
    attribution: Attribution,
    trial: Trial,
    borrowed: Borrowed,
    expirations: Expirations,
    observed: Observed,
}

impl Default for Limits {
    fn default() -> Self {
        let (connect, request) = (Duration::from_secs(2), Duration::from_secs(1));
        Self { connect, request, reply_bytes: 8 << 20 }
    }
}

impl Instance {
    /// An instance whose files lie below `data_dir`.
    ///
    /// # Errors
    /// What is wrong with its URL.
    pub fn new(config: RedisConfig, data_dir: &Path) -> Result<Self, String> {
        Self::with_limits(config, data_dir, Limits::default())
    }

    /// As [`Instance::new`], with other bounds.
    ///
    /// # Errors
    /// What is wrong with its URL.
    pub fn with_limits(
        config: RedisConfig,
        data_dir: &Path,
        limits: Limits,
    ) -> Result<Self, String> {
        let endpoint = Endpoint::parse(&config.url)?;
        let state_file = data_dir.join("redis").join(&config.name);
        Ok(Self(Arc::new(Inner {
            config,
            endpoint,
            limits,
            state_file,
            probes: Probes::default(),
            attribution: Attribution::default(),
            trial: Trial::default(),
            borrowed: Borrowed::default(),
            expirations: Expirations::default(),
            observed: Observed::default(),
        })))
    }

    /// Name of the cache.
    pub fn name(&self) -> &str {
        &self.0.config.name
    }

    /// Its settings.
    pub fn config(&self) -> &RedisConfig {
        &self.0.config
    }

    /// Where it is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0.endpoint
    }

    /// Bounds on connections to it.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Own lookups.
    pub fn probes(&self) -> &Probes {
        &self.0.probes
    }

    /// Why keys are missed.
    pub fn attribution(&self) -> &Attribution {
        &self.0.attribution
    }

    /// What a trial may have to go back to.
    pub fn trial(&self) -> &Trial {
        &self.0.trial
    }

    /// What the observer has set for a while.
    pub fn borrowed(&self) -> &Borrowed {
        &self.0.borrowed
    }

    /// How many keys expire each second.
    pub fn expirations(&self) -> &Expirations {
        &self.0.expirations
    }

    /// What the observer has done.
    pub fn observed(&self) -> &Observed {
        &self.0.observed
    }

    /// Where the sampler keeps what has to outlive the agent.
    pub fn state_file(&self) -> &Path {
        &self.0.state_file
    }

    /// The password as its file has it now.
    pub(super) fn password(&self) -> Result<Option<String>, Error> {
        let Some(path) = &self.0.config.password_file else { return Ok(None) };
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.clone(), source })?;
        Ok(Some(text.lines().next().unwrap_or_default().to_owned()))
    }
}
