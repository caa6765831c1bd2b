//! When each tag was invalidated last: an entry counts only when its loading began after that, for every tag that it has.
//!
//! So to invalidate costs the same however many entries have the tag, and so does to check. *When* is a number that every invalidation raises, never a clock. An entry remembers the
//! number at the time when its loading **began**: what was read before an invalidation and stored after it is out of date from the start.
//!
//! Stamps that are older than any entry may live are dropped. When there are too many, everything is invalidated instead.
//!
//! When invalidations of other collectors are not heard any more, what was loaded before may soon be out of date without anybody knowing: it is *aged out*, and ends at a time instead of
//! at once, so that a short break of the connection costs nothing.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::key::Tag;

/// Most tags that are remembered; some 40 bytes each.
const MAX_STAMPS: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// Number of invalidations so far.
    count: AtomicU64,
    /// The last one that was of everything.
    all: AtomicU64,
    aging: RwLock<Aging>,
    tags: RwLock<HashMap<Tag, Stamp>>,
}

#[derive(Debug, Clone, Copy)]
struct Stamp {
    count: u64,
    at_ms: i64,
}

/// What began before `count` ends at `at_ms`.
#[derive(Debug, Clone, Copy, Default)]
struct Aging {
    count: u64,
    at_ms: i64,
}

impl Stamps {
    /// What an entry whose loading begins now is to remember.
    pub(super) fn now(&self) -> u64 {
        self.count.load(SeqCst)
    }

    /// Invalidates. Stamps from before `oldest_ms` may be dropped.
    pub(super) fn invalidate(&self, tags: &[Tag], now_ms: i64, oldest_ms: i64) {
        let mut stamps = self.tags.write();
        let count = self.count.load(SeqCst) + 1;
        if stamps.len() + tags.len() > MAX_STAMPS {
            stamps.retain(|_, stamp| stamp.at_ms >= oldest_ms);
        }
        if tags.contains(&Tag::ALL) || stamps.len() + tags.len() > MAX_STAMPS {
            stamps.clear();
            self.all.store(count, SeqCst);
        } else {
            for &tag in tags {
                stamps.insert(tag, Stamp { count, at_ms: now_ms });
            }
        }
        // Last: who sees the new number sees its stamps, or waits for the lock.
        self.count.store(count, SeqCst);
    }

    /// Everything that is held ends at `at_ms`, or earlier.
    pub(super) fn age_out(&self, now_ms: i64, at_ms: i64) {
        let _stamps = self.tags.write();
        let count = self.count.load(SeqCst) + 1;
        let mut aging = self.aging.write();
        let is_over = aging.at_ms <= now_ms;
        if is_over {
            self.all.fetch_max(aging.count, SeqCst);
        }
        // Those that are to end earlier take the others with them.
        let at_ms = if is_over { at_ms } else { aging.at_ms.min(at_ms) };
        *aging = Aging { count, at_ms };
        self.count.store(count, SeqCst);
    }

    /// True when no tag was invalidated since an entry's loading began.
    pub(super) fn is_valid(&self, began: u64, tags: &[Tag], now_ms: i64) -> bool {
        if began >= self.count.load(SeqCst) {
            return true;
        }
        let Aging { count, at_ms } = *self.aging.read();
        if began < count && now_ms >= at_ms {
            return false;
        }
        let stamps = self.tags.read();
        began >= self.all.load(SeqCst)
            && tags.iter().all(|tag| stamps.get(tag).is_none_or(|stamp| began >= stamp.count))
    }
}

#[cfg(test)]
impl Stamps {
    /// Keeps others from invalidating.
    pub(super) fn hold(&self) -> impl Drop {
        self.tags.write()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_began_before_is_invalid_and_what_began_after_is_not() {
        let stamps = Stamps::default();
        let (a, b) = (Tag::new("a"), Tag::new("b"));
        let before = stamps.now();
        assert!(stamps.is_valid(before, &[a, b], 0));
        stamps.invalidate(&[a], 1, 0);
        assert!(!stamps.is_valid(before, &[a, b], 1) && stamps.is_valid(before, &[b], 1));
        let after = stamps.now();
        assert!(stamps.is_valid(after, &[a, b], 1));
        stamps.invalidate(&[Tag::ALL], 2, 0);
        assert!(!stamps.is_valid(after, &[], 2), "everything is meant");
        assert!(stamps.is_valid(stamps.now(), &[a], 2));
    }

    #[test]
    fn what_is_aged_out_ends_at_its_time_and_never_comes_back() {
        let (stamps, tags) = (Stamps::default(), [Tag::new("a")]);
        let first = stamps.now();
        stamps.age_out(0, 100);
        let second = stamps.now();
        assert!(stamps.is_valid(first, &tags, 99) && !stamps.is_valid(first, &tags, 100));
        assert!(stamps.is_valid(second, &tags, 1_000));
        stamps.age_out(50, 150);
        assert!(!stamps.is_valid(second, &tags, 100), "with those that end earlier");
        let third = stamps.now();
        stamps.age_out(200, 300);
        assert!(!stamps.is_valid(first, &tags, 250) && !stamps.is_valid(second, &tags, 250));
        assert!(stamps.is_valid(third, &tags, 299) && !stamps.is_valid(third, &tags, 300));
    }

    #[test]
    fn too_many_tags_invalidate_everything_rather_than_being_forgotten() {
        let stamps = Stamps::default();
        let began = stamps.now();
        for number in 0..=MAX_STAMPS as u64 {
            stamps.invalidate(&[Tag::from_raw(number + 1)], 10, 5);
        }
        assert!(!stamps.is_valid(began, &[Tag::new("never invalidated")], 10));
        assert!(stamps.tags.read().len() <= MAX_STAMPS);
        let began = stamps.now();
        for number in 0..=MAX_STAMPS as u64 {
            stamps.invalidate(&[Tag::from_raw(number + 1)], number as i64, 50_000);
        }
        assert!(stamps.is_valid(began, &[Tag::new("x")], 10), "old stamps made room");
    }
}
