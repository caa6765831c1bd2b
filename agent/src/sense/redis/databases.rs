//! Keys by database. One that has become empty is left out by INFO; it has no keys then.

use std::collections::BTreeMap;

use super::metrics as m;
use super::series::define;
use crate::redis::Info;
use crate::sense::{Handle, Readings};

/// Databases with series of their own, the first ones that have keys.
const MOST: usize = 64;

/// The series of all databases.
#[derive(Default)]
pub(super) struct Databases(BTreeMap<u32, Of>);

struct Of {
    keys: Handle,
    expires: Handle,
    avg_ttl: Handle,
}

impl Databases {
    pub(super) fn set(&mut self, cache: &str, info: &Info, readings: &mut Readings) {
        for database in &info.databases {
            if self.0.len() < MOST || self.0.contains_key(&database.number) {
                self.0
                    .entry(database.number)
                    .or_insert_with(|| Of::define(cache, database.number, readings));
            }
        }
        if self.0.is_empty() {
            self.0.insert(0, Of::define(cache, 0, readings));
        }
        for (number, of) in &self.0 {
            let found = info.databases.iter().find(|database| database.number == *number);
            readings.set(of.keys, found.map_or(0, |database| database.keys));
            readings.set(of.expires, found.map_or(0, |database| database.expires));
            if let Some(avg_ttl_ms) = found.and_then(|database| database.avg_ttl_ms) {
                readings.set(of.avg_ttl, avg_ttl_ms);
            }
        }
    }
}

impl Of {
    fn define(cache: &str, number: u32, readings: &mut Readings) -> Self {
        let number = number.to_string();
        let more = [("db", number.as_str())];
        Self {
            keys: define(cache, &m::DB_KEYS, &more, readings),
            expires: define(cache, &m::DB_EXPIRES, &more, readings),
            avg_ttl: define(cache, &m::DB_AVG_TTL, &more, readings),
        }
    }
}
