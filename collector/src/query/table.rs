//! Values of groups on a grid of buckets: what ClickHouse, the memory and the caches give, before it is written for a caller.

use std::collections::BTreeMap;

use super::answer::{Point, SeriesAnswer};
use super::{Buckets, MAX_ANSWER_POINTS, MAX_PART_POINTS, QueryError};

/// Attributes that the series of a group have in common.
pub type GroupKey = BTreeMap<String, String>;

/// Groups that have a value, ordered by key, and the value of each in each bucket; NaN where it is not known.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// The grid.
    pub buckets: Buckets,
    /// Groups and their values, one for each bucket.
    pub rows: Vec<(GroupKey, Box<[f64]>)>,
}

impl Table {
    /// Without a group.
    pub const fn new(buckets: Buckets) -> Self {
        Self { buckets, rows: Vec::new() }
    }

    /// Whether this may be an answer.
    ///
    /// # Errors
    /// When there are too many points.
    pub fn check_size(&self) -> Result<(), QueryError> {
        let points = self.rows.len() * self.buckets.count() as usize;
        if points > MAX_ANSWER_POINTS { Err(too_many_points()) } else { Ok(()) }
    }

    /// Adds a group after all others. A part of an answer may begin before it and have twice its points.
    ///
    /// # Errors
    /// When there are too many points.
    pub fn push(&mut self, key: GroupKey) -> Result<&mut [f64], QueryError> {
        let width = self.buckets.count() as usize;
        if (self.rows.len() + 1) * width > MAX_PART_POINTS {
            return Err(too_many_points());
        }
        let row = self.rows.push_mut((key, vec![f64::NAN; width].into()));
        Ok(&mut row.1)
    }

    /// The part of this table on a smaller grid of the same step. Groups without a value there are left out.
    #[must_use]
    pub fn slice(&self, buckets: Buckets) -> Self {
        let mut part = Self::new(buckets);
        for (key, values) in &self.rows {
            let mut row = vec![f64::NAN; buckets.count() as usize];
            copy(values, self.buckets, &mut row, buckets);
            if row.iter().any(|value| !value.is_nan()) {
                part.rows.push((key.clone(), row.into()));
            }
        }
        part
    }

    /// Joins tables of one step, each of other buckets, on one grid.
    ///
    /// # Errors
    /// When there are too many points.
    pub fn join(parts: &[impl AsRef<Self>], buckets: Buckets) -> Result<Self, QueryError> {
        let mut groups: BTreeMap<&GroupKey, Vec<(usize, usize)>> = BTreeMap::new();
        for (number, part) in parts.iter().enumerate() {
            for (row, (key, _)) in part.as_ref().rows.iter().enumerate() {
                groups.entry(key).or_default().push((number, row));
            }
        }
        let mut whole = Self::new(buckets);
        for (key, places) in groups {
            let row = whole.push(key.clone())?;
            for (number, place) in places {
                let part = parts[number].as_ref();
                copy(&part.rows[place].1, part.buckets, row, buckets);
            }
            if whole.rows.last().is_some_and(|(_, row)| row.iter().all(|value| value.is_nan())) {
                whole.rows.pop();
            }
        }
        Ok(whole)
    }

    /// Keeps the `count` groups with the largest mean over the known buckets, the largest first.
    pub fn keep_top(&mut self, count: usize) {
        let mean = |values: &[f64]| {
            let known = values.iter().filter(|value| !value.is_nan());
            let (sum, count) = known.fold((0.0, 0_u32), |(sum, n), value| (sum + value, n + 1));
            if count == 0 { f64::NEG_INFINITY } else { sum / f64::from(count) }
        };
        // Stable: of equal ones the first by key.
        self.rows.sort_by(|a, b| mean(&b.1).total_cmp(&mean(&a.1)));
        self.rows.truncate(count);
    }

    /// About how many bytes this takes.
    pub fn bytes(&self) -> usize {
        let text = |key: &GroupKey| key.iter().map(|(k, v)| k.len() + v.len() + 96).sum::<usize>();
        let row = |(key, values): &(GroupKey, Box<[f64]>)| text(key) + values.len() * 8 + 64;
        size_of::<Self>() + self.rows.iter().map(row).sum::<usize>()
    }

    /// The series as programs read them.
    pub fn series(&self) -> impl Iterator<Item = SeriesAnswer> {
        self.rows.iter().map(|(key, values)| {
            let known = |value: f64| (!value.is_nan()).then_some(value);
            let point = |(start_ms, value): (i64, &f64)| -> Point { (start_ms, known(*value)) };
            let points = self.buckets.starts().zip(values.iter()).map(point).collect();
            SeriesAnswer { attributes: key.clone(), points }
        })
    }
}

/// The answer would be larger than one may be.
pub(super) fn too_many_points() -> QueryError {
    QueryError::TooExpensive(format!(
        "the answer would hold more than {MAX_ANSWER_POINTS} points: use a larger step, group by fewer attributes, or name nodes or a filter"
    ))
}

impl AsRef<Self> for Table {
    fn as_ref(&self) -> &Self {
        self
    }
}

/// Copies the values of the buckets that both grids have.
fn copy(from: &[f64], from_grid: Buckets, to: &mut [f64], to_grid: Buckets) {
    let step_ms = to_grid.step_ms();
    let start_ms = from_grid.first_ms().max(to_grid.first_ms());
    let end_ms = from_grid.end_ms().min(to_grid.end_ms());
    if start_ms >= end_ms {
        return;
    }
    let count = ((end_ms - start_ms) / step_ms) as usize;
    let from_index = ((start_ms - from_grid.first_ms()) / step_ms) as usize;
    let to_index = ((start_ms - to_grid.first_ms()) / step_ms) as usize;
    to[to_index..to_index + count].copy_from_slice(&from[from_index..from_index + count]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(node: &str) -> GroupKey {
        GroupKey::from([("node".to_owned(), node.to_owned())])
    }

    fn table(from_ms: i64, rows: &[(&str, &[f64])]) -> Table {
        let count = rows[0].1.len() as i64;
        let mut table = Table::new(Buckets::covering(from_ms, from_ms + count * 10, 10));
        for (node, values) in rows {
            table.push(key(node)).unwrap().copy_from_slice(values);
        }
        table
    }

    fn shown(table: &Table) -> Vec<(String, Vec<Option<f64>>)> {
        let one = |series: SeriesAnswer| {
            let values = series.points.iter().map(|(_, value)| *value).collect();
            (series.attributes["node"].clone(), values)
        };
        table.series().map(one).collect()
    }

    #[test]
    fn what_is_sliced_and_joined_is_what_it_was() {
        let unknown = f64::NAN;
        let whole = table(
            0,
            &[
                ("a", &[1.0, unknown, 3.0, 4.0]),
                ("b", &[unknown, unknown, 7.0, unknown]),
                ("c", &[9.0, 9.5, unknown, unknown]),
            ],
        );
        let (left, right) = (Buckets::covering(0, 20, 10), Buckets::covering(20, 40, 10));
        let parts = [whole.slice(left), whole.slice(right)];
        assert_eq!(shown(&parts[0]).len(), 2, "b has no value there");
        let joined = Table::join(&parts, whole.buckets).unwrap();
        assert_eq!(shown(&joined), shown(&whole));
        let middle = Table::join(&parts, Buckets::covering(10, 30, 10)).unwrap();
        assert_eq!(
            shown(&middle),
            [
                ("a".to_owned(), vec![None, Some(3.0)]),
                ("b".to_owned(), vec![None, Some(7.0)]),
                ("c".to_owned(), vec![Some(9.5), None])
            ]
        );
    }

    #[test]
    fn the_top_is_by_mean_of_what_is_known() {
        let rows: [(&str, &[f64]); 3] =
            [("a", &[5.0, 1.0]), ("b", &[f64::NAN, 4.0]), ("c", &[3.0, 3.0])];
        let mut table = table(0, &rows);
        table.keep_top(2);
        let names: Vec<_> = shown(&table).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["b", "a"], "a and c have the same mean");
    }

    #[test]
    fn an_answer_has_a_bounded_number_of_points() {
        let mut table = Table::new(Buckets::covering(0, 10_000, 1));
        for group in 0..100 {
            table.push(key(&group.to_string())).unwrap();
        }
        table.check_size().unwrap();
        for group in 100..200 {
            table.push(key(&group.to_string())).unwrap();
            assert!(matches!(table.check_size(), Err(QueryError::TooExpensive(_))));
        }
        assert!(matches!(table.push(key("x")), Err(QueryError::TooExpensive(_))));
    }
}
