//! Where the requests of a server come from, for whoever wants to know them.
//!
//! The observer counts hot keys and feeds emulated servers; who tells it the requests is not its
//! concern. [`MonitorSource`] reads `MONITOR`, which every Redis and Valkey has. Another source, an SDK
//! that its clients use or Valkey's `MONITOR TRACE`, is one more [`RequestSource`].

use std::fmt;
use std::sync::atomic::AtomicBool;

use flyball_model::emulate::Request;

use super::hash::KeyHasher;
use super::monitor::{Burst, End, burst_until};
use super::parse::{Lines, Told};
use crate::redis::{Error, Instance};

/// What a line of `MONITOR` costs the server, seconds of its processor.
const LINE_S: f64 = 3.6e-6;

/// A source of the requests of one server.
///
/// Its requests have keys that are hashed with the salt of this host (as [`KeyHasher`] does it), the
/// database among them, and times of the server's clock. What it switches on at the server is off
/// again when it returns, however it ends.
pub trait RequestSource: fmt::Debug + Send + Sync {
    /// What one command costs the server while it is told, seconds of its processor: it is a debt that
    /// the observer rests off. 0 where somebody else pays.
    fn command_s(&self) -> f64;

    /// Gives each command to `each`, with its requests in the order of its keys, until the bounds or
    /// `is_over` end it. `is_over` is looked at often enough that it returns within a tenth of a second.
    ///
    /// # Errors
    /// When the server cannot be reached, breaks off or refuses.
    fn read(
        &self,
        bounds: &Burst,
        is_over: &AtomicBool,
        each: &mut (dyn FnMut(Told, &[Request]) + Send),
    ) -> Result<End, Error>;
}

/// Every request that a server gets, by `MONITOR`.
#[derive(Debug)]
pub struct MonitorSource {
    instance: Instance,
    hasher: KeyHasher,
}

impl MonitorSource {
    /// That of an instance.
    pub const fn new(instance: Instance, hasher: KeyHasher) -> Self {
        Self { instance, hasher }
    }
}

impl RequestSource for MonitorSource {
    fn command_s(&self) -> f64 {
        LINE_S
    }

    fn read(
        &self,
        bounds: &Burst,
        is_over: &AtomicBool,
        each: &mut (dyn FnMut(Told, &[Request]) + Send),
    ) -> Result<End, Error> {
        let (mut lines, mut requests) = (Lines::new(self.hasher), Vec::new());
        burst_until(&self.instance, bounds, is_over, |line| {
            requests.clear();
            let told = lines.read(line, &mut |request| requests.push(request));
            each(told, &requests);
        })
    }
}
