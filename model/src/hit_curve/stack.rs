//! The LRU stack of the sampled keys: for each key the smallest cache that still holds it.
//!
//! Keys stand in the order of their last access. A key's depth is the sum of the bytes from the
//! newest key down to itself; the key is still in a cache of `c` bytes exactly when its depth has
//! not been above `c` since it was last accessed. So each key carries its depth and the highest
//! depth that it ever had. They differ when a key above it was removed or became smaller: what was
//! evicted before does not come back. A Fenwick tree of sizes (Olken's way of counting) knows only
//! the present depth, and would call such keys hits.
//!
//! Slots are logical times, the leaves of a complete binary tree. An access changes the depth of
//! all older slots by one number, so the tree holds pending changes in its inner nodes, each with
//! the highest value that it reached on the way (a segment tree with historic maxima). Every
//! operation is one walk from the root to a leaf. When the slots are used up, [`Stack::rebuild`]
//! numbers the keys anew.

use std::mem;

/// Slots of the smallest tree.
const MIN_SLOTS: usize = 64;

/// A sampled key. 12 bytes, because there are many.
#[derive(Debug)]
pub(super) struct Entry {
    /// Place in the order of last accesses.
    pub(super) slot: u32,
    /// Size at the last access.
    pub(super) bytes: u32,
    /// Half-life in which the last access was.
    pub(super) epoch: u32,
}

/// In a leaf: a key's depth. In an inner node: the change which all leaves below have yet to take.
#[derive(Debug, Clone, Copy, Default)]
struct Node {
    now: i64,
    highest: i64,
}

/// Depths of all keys in bytes, by slot.
#[derive(Debug)]
pub(super) struct Stack {
    /// Node 1 is the root, the children of `n` are `2n` and `2n + 1`, the second half is leaves.
    nodes: Vec<Node>,
    next: usize,
}

impl Node {
    fn change(by: i64) -> Self {
        Self { now: by, highest: by.max(0) }
    }

    fn then(&mut self, later: Self) {
        self.highest = self.highest.max(self.now + later.highest);
        self.now += later.now;
    }
}

impl Stack {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::default(); 2 * MIN_SLOTS], next: 0 }
    }

    /// Whether [`Self::rebuild`] is due before the next [`Self::push`].
    pub(super) fn is_full(&self) -> bool {
        self.next == self.slots()
    }

    /// Puts a key of this size on top. Returns its slot.
    pub(super) fn push(&mut self, bytes: u32) -> u32 {
        let slot = self.next as u32;
        self.next += 1;
        let leaf = self.change_older(slot, i64::from(bytes));
        self.nodes[leaf] = Node { now: i64::from(bytes), highest: i64::from(bytes) };
        slot
    }

    /// Takes a key out. Returns the smallest size in bytes of a cache that still held it.
    pub(super) fn remove(&mut self, entry: &Entry) -> u64 {
        let leaf = self.change_older(entry.slot, -i64::from(entry.bytes));
        self.nodes[leaf].highest as u64
    }

    /// Numbers the keys that are left, oldest first, from 0 on, with room for as many more.
    ///
    /// What a key's highest depth was above its present one is multiplied by `scale`: keys between
    /// them may have left the sample.
    pub(super) fn rebuild(&mut self, oldest_first: &mut [&mut Entry], scale: f64) {
        (1..self.slots()).for_each(|node| self.hand_down(node));
        let leaves = &self.nodes[self.slots()..];
        let leaf = |entry: &Entry| leaves[entry.slot as usize];
        let gaps: Vec<i64> = oldest_first.iter().map(|e| leaf(e).highest - leaf(e).now).collect();
        let slots = (2 * oldest_first.len()).next_power_of_two().max(MIN_SLOTS);
        self.nodes.clear();
        self.nodes.resize(2 * slots, Node::default());
        self.next = oldest_first.len();
        let mut now = 0;
        for (slot, entry) in oldest_first.iter_mut().enumerate().rev() {
            now += i64::from(entry.bytes);
            let highest = now + (gaps[slot] as f64 * scale).round() as i64;
            self.nodes[slots + slot] = Node { now, highest };
            entry.slot = slot as u32;
        }
    }

    fn slots(&self) -> usize {
        self.nodes.len() / 2
    }

    /// Changes the depth of all slots before this one; nothing is pending above its leaf then.
    /// Returns the leaf.
    fn change_older(&mut self, slot: u32, by: i64) -> usize {
        let leaf = self.slots() + slot as usize;
        let mut node = 1;
        for level in (0..self.slots().trailing_zeros()).rev() {
            self.hand_down(node);
            let child = leaf >> level;
            if child & 1 == 1 {
                self.nodes[child - 1].then(Node::change(by));
            }
            node = child;
        }
        leaf
    }

    fn hand_down(&mut self, node: usize) {
        let pending = mem::take(&mut self.nodes[node]);
        self.nodes[2 * node].then(pending);
        self.nodes[2 * node + 1].then(pending);
    }
}
