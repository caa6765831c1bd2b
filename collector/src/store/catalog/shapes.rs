//! Each distinct definition once: metric, unit, kind, scale and attributes, without the node.
//!
//! Ten thousand hosts of a fleet report mostly the same two hundred definitions, so a series is a definition's number and a node's.

use std::hash::BuildHasher as _;

use flyball_proto::series::{Kind, Scale, Series};
use hashbrown::{DefaultHashBuilder, HashTable};

use super::strings::{Strings, Symbol};

/// Number of a definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct ShapeId(u32);

/// A definition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Shape {
    pub(super) metric: Symbol,
    pub(super) unit: Symbol,
    pub(super) kind: Kind,
    pub(super) scale: Scale,
    /// Sorted by key.
    pub(super) attributes: Box<[(Symbol, Symbol)]>,
}

/// Definitions by number and numbers by definition.
#[derive(Debug, Default)]
pub(super) struct Shapes {
    all: Vec<Counted>,
    free: Vec<ShapeId>,
    table: HashTable<ShapeId>,
    hasher: DefaultHashBuilder,
}

#[derive(Debug)]
struct Counted {
    shape: Shape,
    uses: u32,
}

impl Shape {
    /// The symbols that the definition uses.
    fn symbols(&self) -> impl Iterator<Item = Symbol> {
        let pairs = self.attributes.iter().flat_map(|&(key, value)| [key, value]);
        [self.metric, self.unit].into_iter().chain(pairs)
    }
}

impl Shapes {
    /// The number of a series' definition, which its user gives back with [`Shapes::release`].
    pub(super) fn intern(&mut self, series: &Series, strings: &mut Strings) -> ShapeId {
        let pair = |strings: &mut Strings, k: &str, v: &str| (strings.intern(k), strings.intern(v));
        let shape = Shape {
            metric: strings.intern(&series.metric),
            unit: strings.intern(&series.unit),
            kind: series.kind,
            scale: series.scale,
            attributes: series.attributes.iter().map(|(k, v)| pair(strings, k, v)).collect(),
        };
        let hash = self.hasher.hash_one(&shape);
        let (shapes, hasher) = (&mut self.all, &self.hasher);
        if let Some(&id) = self.table.find(hash, |id| shapes[id.0 as usize].shape == shape) {
            shapes[id.0 as usize].uses += 1;
            shape.symbols().for_each(|symbol| strings.release(symbol));
            return id;
        }
        let counted = Counted { shape, uses: 1 };
        let id = if let Some(id) = self.free.pop() {
            shapes[id.0 as usize] = counted;
            id
        } else {
            shapes.push(counted);
            ShapeId(u32::try_from(shapes.len() - 1).expect("fewer than 2^32 definitions"))
        };
        self.table.insert_unique(hash, id, |id| hasher.hash_one(&shapes[id.0 as usize].shape));
        id
    }

    /// Gives back one use of a definition.
    pub(super) fn release(&mut self, id: ShapeId, strings: &mut Strings) {
        let counted = &mut self.all[id.0 as usize];
        counted.uses -= 1;
        if counted.uses > 0 {
            return;
        }
        let hash = self.hasher.hash_one(&counted.shape);
        if let Ok(entry) = self.table.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        counted.shape.symbols().for_each(|symbol| strings.release(symbol));
        counted.shape.attributes = Box::default();
        self.free.push(id);
    }

    /// A definition that is in use.
    pub(super) fn get(&self, id: ShapeId) -> &Shape {
        &self.all[id.0 as usize].shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(value: &str) -> Series {
        Series {
            metric: "m".into(),
            unit: "1".into(),
            kind: Kind::Gauge,
            scale: Scale::UNIT,
            attributes: vec![("k".into(), value.into())],
        }
    }

    #[test]
    fn equal_definitions_share_a_number_until_the_last_user_has_gone() {
        let (mut shapes, mut strings) = (Shapes::default(), Strings::default());
        let a = shapes.intern(&series("a"), &mut strings);
        assert_eq!(shapes.intern(&series("a"), &mut strings), a);
        let b = shapes.intern(&series("b"), &mut strings);
        assert_ne!(a, b);
        shapes.release(a, &mut strings);
        assert!(strings.find("a").is_some());
        shapes.release(a, &mut strings);
        assert!(strings.find("a").is_none() && strings.find("m").is_some());
        let c = shapes.intern(&series("c"), &mut strings);
        assert_eq!((c, shapes.all.len()), (a, 2));
        let float = Series { scale: Scale::FLOAT, ..series("c") };
        assert_ne!(shapes.intern(&float, &mut strings), c);
        for id in [b, c] {
            shapes.release(id, &mut strings);
        }
        assert_eq!(shapes.table.len(), 1);
    }
}
