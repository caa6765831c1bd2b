//! The hash table as far as eviction sees it: buckets in a row, chains in each.
//!
//! Entries live elsewhere, in numbered slots; the table holds their numbers. A server has two of
//! them over the same entries: all keys, and those that expire.

use crate::mix::{mix64, next_unit};

const NONE: u32 = u32::MAX;
const MIN_BUCKETS: usize = 16;

/// Numbers of slots by hash.
#[derive(Debug)]
pub(super) struct Index {
    heads: Vec<u32>,
    /// The next slot of the same bucket, by slot.
    next: Vec<u32>,
    len: usize,
    /// Where the last scan ended.
    cursor: usize,
}

impl Index {
    pub(super) fn new() -> Self {
        Self { heads: vec![NONE; MIN_BUCKETS], next: Vec::new(), len: 0, cursor: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The slot whose key is this one. `key_of` gives a slot's key.
    pub(super) fn find(&self, key: u64, key_of: impl Fn(u32) -> u64) -> Option<u32> {
        let mut slot = self.heads[self.bucket(key)];
        while slot != NONE {
            if key_of(slot) == key {
                return Some(slot);
            }
            slot = self.next[slot as usize];
        }
        None
    }

    /// Adds a slot that is not in the table.
    pub(super) fn insert(&mut self, key: u64, slot: u32, key_of: impl Fn(u32) -> u64) {
        if self.len >= self.heads.len() {
            self.grow(key_of);
        }
        if self.next.len() <= slot as usize {
            self.next.resize(slot as usize + 1, NONE);
        }
        self.push(key, slot);
        self.len += 1;
    }

    /// Takes a slot out; nothing when it is not there.
    pub(super) fn remove(&mut self, key: u64, slot: u32) {
        let bucket = self.bucket(key);
        let mut at = self.heads[bucket];
        let mut before = NONE;
        while at != NONE && at != slot {
            before = at;
            at = self.next[at as usize];
        }
        if at == NONE {
            return;
        }
        let after = self.next[slot as usize];
        if before == NONE {
            self.heads[bucket] = after;
        } else {
            self.next[before as usize] = after;
        }
        self.len -= 1;
    }

    /// Some slots as the server takes samples: those of neighbouring buckets from a random one on.
    pub(super) fn some(&self, count: usize, random: &mut u64, out: &mut Vec<u32>) {
        out.clear();
        let count = count.min(self.len);
        let (mut at, mut empty) = (self.random_bucket(random), 0);
        for _ in 0..count * 10 {
            let mut slot = self.heads[at];
            empty = if slot == NONE { empty + 1 } else { 0 };
            while slot != NONE {
                out.push(slot);
                if out.len() == count {
                    return;
                }
                slot = self.next[slot as usize];
            }
            at = (at + 1) & (self.heads.len() - 1);
            if empty >= 5 && empty > count {
                (at, empty) = (self.random_bucket(random), 0);
            }
        }
    }

    /// Any slot; `None` when there is none.
    pub(super) fn any(&self, random: &mut u64) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        loop {
            let head = self.heads[self.random_bucket(random)];
            if head == NONE {
                continue;
            }
            let chain: Vec<u32> = self.chain(head).collect();
            return Some(chain[(next_unit(random) * chain.len() as f64) as usize]);
        }
    }

    /// About `count` slots of the buckets after those of the last scan.
    pub(super) fn scan(&mut self, count: usize, out: &mut Vec<u32>) {
        out.clear();
        for _ in 0..(count * 20).min(self.heads.len()) {
            self.cursor = (self.cursor + 1) & (self.heads.len() - 1);
            out.extend(self.chain(self.heads[self.cursor]));
            if out.len() >= count {
                return;
            }
        }
    }

    fn chain(&self, head: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(Some(head).filter(|slot| *slot != NONE), |slot| {
            Some(self.next[*slot as usize]).filter(|slot| *slot != NONE)
        })
    }

    fn bucket(&self, key: u64) -> usize {
        mix64(key) as usize & (self.heads.len() - 1)
    }

    fn random_bucket(&self, random: &mut u64) -> usize {
        (next_unit(random) * self.heads.len() as f64) as usize
    }

    fn push(&mut self, key: u64, slot: u32) {
        let bucket = self.bucket(key);
        self.next[slot as usize] = self.heads[bucket];
        self.heads[bucket] = slot;
    }

    fn grow(&mut self, key_of: impl Fn(u32) -> u64) {
        let slots: Vec<u32> = self.heads.iter().flat_map(|head| self.chain(*head)).collect();
        self.heads = vec![NONE; self.heads.len() * 2];
        for slot in slots {
            self.push(key_of(slot), slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_was_put_in_and_not_taken_out(
            steps in prop::collection::vec((0_u64..200, any::<bool>()), 0..600)
        ) {
            let key_of = |slot: u32| u64::from(slot) * 7;
            let mut index = Index::new();
            let mut present = std::collections::BTreeSet::new();
            for (slot, is_in) in steps {
                let (slot, key) = (slot as u32, slot * 7);
                if is_in && present.insert(slot) {
                    index.insert(key, slot, key_of);
                } else if !is_in {
                    present.remove(&slot);
                    index.remove(key, slot);
                }
                prop_assert_eq!(index.find(key, key_of).is_some(), present.contains(&slot));
                prop_assert_eq!(index.len(), present.len());
            }
            let (mut random, mut out) = (1, Vec::new());
            index.some(5, &mut random, &mut out);
            prop_assert!(out.len() <= 5 && out.iter().all(|slot| present.contains(slot)));
            let is_found = index.any(&mut random).map(|slot| present.contains(&slot));
            prop_assert_eq!(is_found, (!present.is_empty()).then_some(true));
            let mut scanned = std::collections::BTreeSet::new();
            for _ in 0..=2 * index.heads.len() {
                index.scan(1, &mut out);
                scanned.extend(out.iter().copied());
            }
            prop_assert_eq!(scanned, present);
        }
    }

    #[test]
    fn every_slot_is_sampled_about_as_often() {
        let key_of = u64::from;
        let mut index = Index::new();
        (0..100).for_each(|slot| index.insert(u64::from(slot), slot, key_of));
        let (mut random, mut out, mut counts) = (3, Vec::new(), [0; 100]);
        for _ in 0..20_000 {
            index.some(5, &mut random, &mut out);
            for slot in &out {
                counts[*slot as usize] += 1;
            }
        }
        assert!(counts.iter().all(|count| (100..4000).contains(count)), "{counts:?}");
    }
}
