//! How large a cache may get where it runs: by the resident memory of its process, not by its limit.
//!
//! What a process will take at another size is told by a line through what it took until now, as samples
//! have it ([`Resident`]): the allocator's share is another one for each server, and much of what a small
//! one takes beside its keys stays the same at any size. Where too little was seen for a line, most of all
//! of a server that has always been full, it is [`Resident::ASSUMED_SLOPE`] for each byte more. The line is
//! raised to what is measured now, and twice what it is off by is added.
//!
//! That, with a part of it again where replicas are, since it is copied while one is synchronized, must fit
//! what the process and the host have free, less [`SuggestSettings::host_reserve`].
//!
//! Properties, each a test: (a) the resident memory of the largest size fits; (b) more memory in use for
//! each byte, or more noise, makes it smaller; (c) a host that is not known has no room.
//!
//! [`SuggestSettings::host_reserve`]: super::SuggestSettings::host_reserve

use flyball_model::reuse::{Resident, Room};
use flyball_proto::steering::CacheFacts;
use serde_json::{Value, json};

use super::Context;
use super::draft::{Evidence, bytes};
use super::view::CacheView;

/// Share of the process that is copied while a replica is synchronized.
const COPIED: f64 = 0.3;

/// What a cache may grow to where it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostRoom {
    line: Resident,
    /// The line was seen, and not assumed.
    is_fitted: bool,
    room: Room,
    /// Of the process now.
    resident_bytes: u64,
    available_bytes: u64,
}

impl HostRoom {
    /// That of a cache.
    ///
    /// # Errors
    /// When the host's memory is not known.
    pub fn new(
        view: &CacheView,
        facts: &CacheFacts,
        context: &Context<'_>,
    ) -> Result<Self, String> {
        let known = facts.host_memory_bytes.zip(facts.host_available_bytes);
        let (host_bytes, available_bytes) =
            known.ok_or("how much memory its host has is not known")?;
        let resident_bytes = facts.rss_bytes.unwrap_or(facts.used_bytes).max(facts.used_bytes);
        let (used, resident, host) =
            (facts.used_bytes as f64, resident_bytes as f64, host_bytes as f64);
        let fitted = view.memory.and_then(|memory| Resident::fit(&memory.moments));
        let line = fitted.unwrap_or_else(|| Resident::assumed(used, resident));
        let room = Room {
            limit_bytes: (resident + available_bytes as f64).min(host),
            reserve_bytes: host * context.settings.host_reserve,
            fork_share: if facts.replicas > 0 { COPIED } else { 0.0 },
        };
        let line = line.raised(used, resident);
        Ok(Self { line, is_fitted: fitted.is_some(), room, resident_bytes, available_bytes })
    }

    /// The largest limit that fits.
    pub fn largest(&self) -> u64 {
        // A line may be below zero where nothing is: what has no room at all gets none.
        if self.room.limit_bytes <= self.room.reserve_bytes {
            return 0;
        }
        // Below zero, and what is no number, is none.
        self.line.largest(&self.room) as u64
    }

    /// Resident memory that the process is reckoned to have when so much is in use.
    pub fn resident_at(&self, used_bytes: u64) -> u64 {
        self.line.at_most(used_bytes as f64) as u64
    }

    /// What the process grows by.
    pub fn growth_to(&self, used_bytes: u64) -> u64 {
        self.resident_at(used_bytes).saturating_sub(self.resident_bytes)
    }

    /// Why there is no more.
    pub fn lack(&self) -> String {
        let (available, reserve) = (self.available_bytes, self.room.reserve_bytes as u64);
        format!(
            "its host has no memory for more: {} are available, of which {} stay free",
            bytes(available),
            bytes(reserve)
        )
    }

    /// What the process takes now, and what it is reckoned to take at a size.
    pub fn evidence(&self, view: &CacheView, size: u64) -> Vec<Evidence> {
        let (now, then) = (self.resident_bytes as f64, self.resident_at(size) as f64);
        let (slope, at) = (self.line.slope, bytes(size));
        let predicted = match &view.memory {
            Some(memory) if self.is_fitted => {
                let name = format!(
                    "resident memory at {at}, by {slope:.2} bytes for each in use, as {} samples have it",
                    memory.moments.count
                );
                Evidence::memory(view, &name, then, (memory.from_ms, memory.to_ms))
            }
            _ => {
                let name = format!(
                    "resident memory at {at}, by {slope:.2} bytes for each more in use, since too little was seen to know"
                );
                Evidence::reported(view, &name, then, "By")
            }
        };
        let available = self.available_bytes as f64;
        vec![
            Evidence::reported(view, "resident memory", now, "By"),
            predicted,
            Evidence::reported(view, "host memory available", available, "By"),
        ]
    }

    /// As it is written down with a suggestion.
    pub fn inputs(&self) -> Value {
        json!({
            "slope": self.line.slope, "offset_bytes": self.line.offset_bytes,
            "sd_bytes": self.line.sd_bytes, "is_fitted": self.is_fitted,
            "limit_bytes": self.room.limit_bytes, "reserve_bytes": self.room.reserve_bytes,
            "fork_share": self.room.fork_share,
        })
    }
}
