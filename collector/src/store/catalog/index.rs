//! What the catalog's lock protects: entries of 24 bytes, and the ways in by id, metric and node. Questions are in [`super::select`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use flyball_proto::series::{NodeName, Series};
use hashbrown::HashTable;

use super::id::SeriesId;
use super::shapes::{Shape, ShapeId, Shapes};
use super::strings::{Strings, Symbol};
use crate::store::rows::SeriesRow;

/// Salts tried before giving up; each one is a fresh draw of 28 bits among the few series of one metric on one node.
const MAX_SALT: u64 = 1_000;
/// Entries are made room for in steps of this part of their number: a doubling would hold twice the memory of a large fleet.
const GROWTH: usize = 8;

/// All series of the catalog.
#[derive(Debug, Default)]
pub(super) struct Index {
    pub(super) strings: Strings,
    pub(super) shapes: Shapes,
    entries: Vec<Entry>,
    /// Positions of entries that are gone.
    free: Vec<u32>,
    by_id: HashTable<u32>,
    pub(super) by_metric: HashMap<Symbol, Vec<u32>>,
    pub(super) by_node: HashMap<Symbol, Vec<u32>>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: SeriesId,
    shape: ShapeId,
    pub(super) node: Symbol,
    /// Streams that use the id.
    uses: AtomicU32,
    /// The row is durable.
    written: AtomicBool,
}

/// Where a series was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    Stream,
    Table,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.entries.len() - self.free.len()
    }

    pub(super) fn has_id(&self, id: SeriesId) -> bool {
        self.find_id(id).is_some()
    }

    /// Uses a series: gives its id and whether the row is unwritten. `None` when the series is new or its description changed.
    pub(super) fn find(&self, node: &NodeName, series: &Series) -> Option<(SeriesId, bool)> {
        let entry = self.entry(self.position(node, series).ok()?);
        let same = self.is_described(entry, series);
        same.then(|| {
            entry.uses.fetch_add(1, Relaxed);
            (entry.id, !entry.written.load(Relaxed))
        })
    }

    pub(super) fn contains(&self, node: &NodeName, series: &Series) -> bool {
        self.position(node, series).is_ok()
    }

    /// Uses a series: adds it, or takes over its new description. Gives its id and whether the row is unwritten.
    pub(super) fn insert(&mut self, node: &NodeName, series: &Series) -> (SeriesId, bool) {
        let position = match self.position(node, series) {
            Ok(position) => {
                self.describe_anew(position, series, Origin::Stream);
                position
            }
            Err(id) => self.add(id, node.as_str(), series, Origin::Stream),
        };
        let entry = self.entry(position);
        entry.uses.fetch_add(1, Relaxed);
        (entry.id, !entry.written.load(Relaxed))
    }

    /// Takes over a row of the table. The description of a series that streams use is theirs. False when the id is another series'.
    pub(super) fn load(&mut self, id: SeriesId, node: &NodeName, series: &Series) -> bool {
        let Some(position) = self.find_id(id) else {
            self.add(id, node.as_str(), series, Origin::Table);
            return true;
        };
        if !self.is(self.entry(position), node, series) {
            return false;
        }
        if self.entry(position).uses.load(Relaxed) == 0 {
            self.describe_anew(position, series, Origin::Table);
        }
        let entry = self.entry(position);
        if self.is_described(entry, series) {
            entry.written.store(true, Relaxed);
        }
        true
    }

    pub(super) fn knows(&self, id: SeriesId, unit: &str, kind: i8, scale: i8) -> bool {
        self.find_id(id).is_some_and(|position| {
            let shape = self.shape(self.entry(position));
            let code = SeriesRow::kind_code(shape.kind);
            code == kind && shape.scale.code() == scale && **self.strings.text(shape.unit) == *unit
        })
    }

    pub(super) fn mark_written(&self, id: SeriesId) {
        if let Some(position) = self.find_id(id) {
            self.entry(position).written.store(true, Relaxed);
        }
    }

    pub(super) fn mark_unwritten(&self, id: SeriesId) {
        if let Some(position) = self.find_id(id) {
            self.entry(position).written.store(false, Relaxed);
        }
    }

    /// Gives back one use of an id.
    pub(super) fn release(&self, id: SeriesId) {
        if let Some(position) = self.find_id(id) {
            let less = |uses: u32| uses.checked_sub(1);
            // An id that was not in use stays so: nothing goes below zero.
            let _ = self.entry(position).uses.fetch_update(Relaxed, Relaxed, less);
        }
    }

    /// Ids in order, by whether their rows are durable and whether streams use them.
    pub(super) fn ids(&self, wanted: impl Fn(bool, bool) -> bool) -> Vec<SeriesId> {
        let mut ids: Vec<_> = self
            .live()
            .filter(|e| wanted(e.written.load(Relaxed), e.uses.load(Relaxed) > 0))
            .map(|e| e.id)
            .collect();
        ids.sort_unstable();
        ids
    }

    /// Forgets those of `ids` that no stream uses. Gives the ones that are gone.
    pub(super) fn remove_unused(&mut self, ids: &[SeriesId]) -> Vec<SeriesId> {
        let mut gone = HashSet::new();
        let (mut metrics, mut nodes) = (HashSet::new(), HashSet::new());
        for position in ids.iter().filter_map(|&id| self.find_id(id)) {
            let entry = self.entry(position);
            if entry.uses.load(Relaxed) == 0 && gone.insert(position) {
                metrics.insert(self.shape(entry).metric);
                nodes.insert(entry.node);
            }
        }
        forget(&mut self.by_metric, &metrics, &gone);
        forget(&mut self.by_node, &nodes, &gone);
        gone.into_iter().map(|position| self.remove(position)).collect()
    }

    pub(super) fn describe(&self, id: SeriesId) -> Option<(Arc<str>, Series)> {
        let entry = self.entry(self.find_id(id)?);
        let shape = self.shape(entry);
        let text = |symbol| self.strings.text(symbol).to_string();
        let series = Series {
            metric: text(shape.metric),
            unit: text(shape.unit),
            kind: shape.kind,
            scale: shape.scale,
            attributes: shape.attributes.iter().map(|&(k, v)| (text(k), text(v))).collect(),
        };
        Some((Arc::clone(self.strings.text(entry.node)), series))
    }

    pub(super) fn entry(&self, position: u32) -> &Entry {
        &self.entries[position as usize]
    }

    pub(super) fn shape(&self, entry: &Entry) -> &Shape {
        self.shapes.get(entry.shape)
    }

    fn find_id(&self, id: SeriesId) -> Option<u32> {
        self.by_id.find(hash(id), |&position| self.entry(position).id == id).copied()
    }

    fn live(&self) -> impl Iterator<Item = &Entry> {
        self.by_id.iter().map(|&position| self.entry(position))
    }

    /// Position of a series that is known, or else the id that it is to get.
    fn position(&self, node: &NodeName, series: &Series) -> Result<u32, SeriesId> {
        for salt in 0..MAX_SALT {
            let id = SeriesId::derive(node.as_str(), series, salt);
            match self.find_id(id) {
                None => return Err(id),
                Some(position) if self.is(self.entry(position), node, series) => {
                    return Ok(position);
                }
                Some(_) => {}
            }
        }
        unreachable!("{MAX_SALT} ids in a row are taken, each of 2^28")
    }

    fn is(&self, entry: &Entry, node: &NodeName, series: &Series) -> bool {
        let is = |symbol, text: &str| **self.strings.text(symbol) == *text;
        let shape = self.shape(entry);
        let pairs = &shape.attributes;
        is(shape.metric, &series.metric)
            && is(entry.node, node.as_str())
            && pairs.len() == series.attributes.len()
            && pairs.iter().zip(&series.attributes).all(|(p, a)| is(p.0, &a.0) && is(p.1, &a.1))
    }

    fn is_described(&self, entry: &Entry, series: &Series) -> bool {
        let shape = self.shape(entry);
        shape.kind == series.kind
            && shape.scale == series.scale
            && **self.strings.text(shape.unit) == *series.unit
    }

    /// Takes over another unit, kind or scale. What came from a stream is not in the table yet.
    fn describe_anew(&mut self, position: u32, series: &Series, origin: Origin) {
        if self.is_described(self.entry(position), series) {
            return;
        }
        let shape = self.shapes.intern(series, &mut self.strings);
        let entry = &mut self.entries[position as usize];
        let old = std::mem::replace(&mut entry.shape, shape);
        *entry.written.get_mut() = origin == Origin::Table;
        self.shapes.release(old, &mut self.strings);
    }

    fn add(&mut self, id: SeriesId, node: &str, series: &Series, origin: Origin) -> u32 {
        let entry = Entry {
            id,
            shape: self.shapes.intern(series, &mut self.strings),
            node: self.strings.intern(node),
            uses: AtomicU32::new(0),
            written: AtomicBool::new(origin == Origin::Table),
        };
        let (metric, node) = (self.shape(&entry).metric, entry.node);
        let position = if let Some(position) = self.free.pop() {
            self.entries[position as usize] = entry;
            position
        } else {
            if self.entries.len() == self.entries.capacity() {
                self.entries.reserve_exact(self.entries.len() / GROWTH + 64);
            }
            self.entries.push(entry);
            u32::try_from(self.entries.len() - 1).expect("fewer than 2^32 series")
        };
        let entries = &self.entries;
        self.by_id.insert_unique(hash(id), position, |&p| hash(entries[p as usize].id));
        self.by_metric.entry(metric).or_default().push(position);
        self.by_node.entry(node).or_default().push(position);
        position
    }

    /// Removes an entry that is in no list any more. Gives its id.
    fn remove(&mut self, position: u32) -> SeriesId {
        let Entry { id, shape, node, .. } = self.entries[position as usize];
        if let Ok(entry) = self.by_id.find_entry(hash(id), |&other| other == position) {
            entry.remove();
        }
        self.shapes.release(shape, &mut self.strings);
        self.strings.release(node);
        self.free.push(position);
        id
    }
}

/// Ids of one metric share their high bits, which a table takes its tags from.
const fn hash(id: SeriesId) -> u64 {
    id.get().wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Takes positions out of some lists.
fn forget(lists: &mut HashMap<Symbol, Vec<u32>>, keys: &HashSet<Symbol>, gone: &HashSet<u32>) {
    for key in keys {
        if let Some(list) = lists.get_mut(key) {
            list.retain(|position| !gone.contains(position));
            list.shrink_to(list.len() * 2);
            if list.is_empty() {
                lists.remove(key);
            }
        }
    }
}
