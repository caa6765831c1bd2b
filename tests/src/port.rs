//! Ports that stay free while their server is down.
//!
//! A port of the range that the system gives to outgoing connections can be taken by one while nobody listens on it; a client that tries again and again may even
//! connect to itself and keep the server from coming back. So servers that are killed and started again get ports below that range.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};

use anyhow::{Result, bail};
use parking_lot::Mutex;
use rand::RngExt as _;

/// Below 32768, where Linux begins to take ports for outgoing connections.
const RANGE: std::ops::Range<u16> = 20_000..32_000;
const TRIES: u32 = 100;

/// A port on the loopback address that nobody listens on, and another one each time.
///
/// # Errors
/// When none of many is free.
pub fn free() -> Result<u16> {
    // Whoever asked before may not listen yet.
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let (mut random, mut given) = (rand::rng(), GIVEN.lock());
    for _ in 0..TRIES {
        let port = random.random_range(RANGE);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() && given.insert(port) {
            return Ok(port);
        }
    }
    bail!("{TRIES} ports between {} and {} are all in use", RANGE.start, RANGE.end)
}
