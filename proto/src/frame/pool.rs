//! Definitions that many streams have in common, each once: the hosts of a fleet report mostly the same series, and a definition takes some 300 bytes.
//!
//! What no stream uses any more is dropped when the pool has doubled since it was last looked through, so a pool holds at most twice what is in use (and a
//! few), at a cost that does not grow with the number of definitions shared.

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::series::Series;

/// A pool is not looked through before it holds so many definitions.
const LEAST: usize = 1_024;

/// See the module.
#[derive(Debug, Default)]
pub struct SeriesPool {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    series: HashSet<Arc<Series>>,
    /// Number of definitions at which the unused ones are dropped.
    limit: usize,
}

impl SeriesPool {
    /// The one copy of a definition.
    pub fn share(&self, series: Series) -> Arc<Series> {
        let mut held = self.held.lock();
        if let Some(known) = held.series.get(&series) {
            return Arc::clone(known);
        }
        if held.series.len() >= held.limit.max(LEAST) {
            held.series.retain(|series| Arc::strong_count(series) > 1);
            held.limit = held.series.len() * 2;
            let room = held.limit;
            held.series.shrink_to(room);
        }
        let series = Arc::new(series);
        held.series.insert(Arc::clone(&series));
        series
    }

    /// Definitions in the pool.
    pub fn len(&self) -> usize {
        self.held.lock().series.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::{Kind, Scale};

    fn series(number: usize) -> Series {
        Series {
            metric: format!("m{number}"),
            unit: "1".into(),
            kind: Kind::Gauge,
            scale: Scale::UNIT,
            attributes: Vec::new(),
        }
    }

    #[test]
    fn equal_definitions_are_one() {
        let pool = SeriesPool::default();
        let (a, b) = (pool.share(series(1)), pool.share(series(1)));
        assert!(Arc::ptr_eq(&a, &b));
        let other = Series { scale: Scale::FLOAT, ..series(1) };
        assert!(!Arc::ptr_eq(&a, &pool.share(other)));
        assert_eq!(pool.len(), 2);
    }

    #[test]
    fn what_nobody_uses_goes_and_what_is_used_stays_one() {
        let pool = SeriesPool::default();
        let used: Vec<_> = (0..100).map(|number| pool.share(series(number))).collect();
        for number in 100..50_000 {
            pool.share(series(number));
            assert!(pool.len() <= LEAST, "{} after {number}", pool.len());
        }
        for (number, kept) in used.iter().enumerate() {
            assert!(Arc::ptr_eq(kept, &pool.share(series(number))));
        }
    }
}
