//! Ids of series: 64 bits that sort by metric, then by node.
//!
//! ```text
//! metric_hash (20 bits) << 44 | node_hash (16 bits) << 28 | series_hash (28 bits)
//! ```
//!
//! Each hash is the high bits of XXH3-64: of the metric's name, of the node's name, and of metric, node and all attributes in the order of
//! their keys, every string preceded by its length as 4 bytes little endian; the last one takes the salt as its seed. So the table's order by id
//! makes one series one contiguous read, and nearly so one metric over the fleet. Two metrics or nodes with the same hash share a range
//! and nothing else, because the catalog, not the id's bits, says which series belong to a metric.
//!
//! XXH3 is fixed for good by its specification, which the hashers of Rust's `HashMap` are not: ids outlive the process and its build.

use flyball_proto::series::Series;
use twox_hash::XxHash3_64;

const NODE_BITS: u32 = 16;
const SERIES_BITS: u32 = 28;
const METRIC_BITS: u32 = 64 - NODE_BITS - SERIES_BITS;

/// Id of a series in the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(u64);

impl SeriesId {
    /// The id of a series as long as no other series has it: salt 0. On a collision the catalog tries the next salts.
    pub(crate) fn derive(node: &str, series: &Series, salt: u64) -> Self {
        let metric_hash = XxHash3_64::oneshot(series.metric.as_bytes()) >> (64 - METRIC_BITS);
        let node_hash = XxHash3_64::oneshot(node.as_bytes()) >> (64 - NODE_BITS);
        let mut hasher = XxHash3_64::with_seed(salt);
        let pairs = series.attributes.iter().flat_map(|(key, value)| [key.as_str(), value]);
        for text in [series.metric.as_str(), node].into_iter().chain(pairs) {
            write(&mut hasher, text);
        }
        let series_hash = std::hash::Hasher::finish(&hasher) >> (64 - SERIES_BITS);
        Self(metric_hash << (NODE_BITS + SERIES_BITS) | node_hash << SERIES_BITS | series_hash)
    }

    /// The id with these bits.
    pub const fn from_raw(id: u64) -> Self {
        Self(id)
    }

    /// The bits that all series of a node have in common.
    pub const fn node_hash(self) -> u16 {
        (self.0 >> SERIES_BITS) as u16
    }

    /// The id as the store has it.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<u64> for SeriesId {
    fn from(id: u64) -> Self {
        Self(id)
    }
}

fn write(hasher: &mut XxHash3_64, text: &str) {
    std::hash::Hasher::write(hasher, &(text.len() as u32).to_le_bytes());
    std::hash::Hasher::write(hasher, text.as_bytes());
}

#[cfg(test)]
mod tests {
    use flyball_proto::series::{Kind, Scale};

    use super::*;

    fn series(metric: &str, attributes: &[(&str, &str)]) -> Series {
        Series {
            metric: metric.into(),
            unit: "1".into(),
            kind: Kind::Gauge,
            scale: Scale::UNIT,
            attributes: attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        }
    }

    #[test]
    fn ids_never_change_from_one_version_to_the_next() {
        let one = SeriesId::derive("web-1", &series("system.cpu.time", &[("cpu.mode", "user")]), 0);
        let salted =
            SeriesId::derive("web-1", &series("system.cpu.time", &[("cpu.mode", "user")]), 1);
        assert_eq!(
            (one.get(), salted.get()),
            (9_450_835_583_415_388_506, 9_450_835_583_512_094_293)
        );
    }

    #[test]
    fn one_metric_is_one_range_and_within_it_one_node() {
        let a = SeriesId::derive("n1", &series("m", &[("a", "1")]), 0).get();
        let b = SeriesId::derive("n1", &series("m", &[("a", "2")]), 0).get();
        let c = SeriesId::derive("n2", &series("m", &[("a", "1")]), 0).get();
        assert_eq!(a >> 28, b >> 28);
        assert_eq!(a >> 44, c >> 44);
        assert!(a != b && a != c);
    }

    #[test]
    fn all_series_of_a_node_share_its_hash_whatever_their_salt() {
        let hash =
            |node, metric, salt| SeriesId::derive(node, &series(metric, &[]), salt).node_hash();
        assert_eq!(hash("n1", "a", 0), hash("n1", "b", 3));
        assert_ne!(hash("n1", "a", 0), hash("n2", "a", 0));
    }

    #[test]
    fn where_a_string_ends_matters() {
        let a = SeriesId::derive("n", &series("m", &[("ab", "c")]), 0);
        let b = SeriesId::derive("n", &series("m", &[("a", "bc")]), 0);
        assert_ne!(a, b);
    }
}
