//! Files that give each number a name, where many are wanted: one key and one value a line, or a line of names above a line of values.
//!
//! A wanted name is not looked for in each reading: the kernel writes a file in the same order each time, so the name at a place is compared with the one that was there last
//! time, and only one that differs is looked up. Nothing is allocated while the order stays.

use super::{Handle, Metric, Readings, parse};

/// One series and the names in the file whose sum it is; most have one name.
#[derive(Debug)]
pub(super) struct Wanted {
    names: &'static [&'static str],
    metric: &'static Metric,
    attributes: &'static [(&'static str, &'static str)],
}

/// The numbers of `N` groups of names.
#[derive(Debug)]
pub(super) struct Table<const N: usize> {
    groups: [&'static [&'static str]; N],
    places: Vec<Place>,
}

/// What was at one place of the file in the last reading.
#[derive(Debug)]
struct Place {
    name: Box<[u8]>,
    group: Option<usize>,
}

/// Sums of one reading; unknown where no name was found or one had no number.
struct Sums<const N: usize> {
    values: [Option<i64>; N],
    found: [bool; N],
}

/// A series of the file's number under one of `names`, or of the sum of several.
pub(super) const fn wanted(
    names: &'static [&'static str],
    metric: &'static Metric,
    attributes: &'static [(&'static str, &'static str)],
) -> Wanted {
    Wanted { names, metric, attributes }
}

/// Defines the series in order.
pub(super) fn define<const N: usize>(wanted: &[Wanted; N], readings: &mut Readings) -> [Handle; N] {
    wanted.each_ref().map(|series| readings.define(series.metric, series.attributes))
}

impl Wanted {
    /// The names of which it is the sum.
    pub(super) const fn names(&self) -> &'static [&'static str] {
        self.names
    }
}

impl<const N: usize> Table<N> {
    /// A table of the names of `wanted`.
    pub(super) fn new(wanted: &[Wanted; N]) -> Self {
        Self::of(wanted.each_ref().map(Wanted::names))
    }

    /// A table of these groups of names.
    pub(super) fn of(groups: [&'static [&'static str]; N]) -> Self {
        Self { groups, places: Vec::new() }
    }

    /// From lines of a name, with or without a colon, and a number.
    pub(super) fn lines(&mut self, text: &[u8]) -> [Option<i64>; N] {
        let mut sums = Sums::new();
        for (place, line) in parse::lines(text).enumerate() {
            let end = line.iter().position(|byte| matches!(byte, b' ' | b'\t' | b':'));
            let (name, rest) = line.split_at(end.unwrap_or(line.len()));
            if let Some(group) = self.group(place, name) {
                let rest = rest.strip_prefix(b":").unwrap_or(rest);
                sums.add(group, parse::fields(rest).next().and_then(parse::integer));
            }
        }
        sums.finish()
    }

    /// From the pair of lines that starts with `prefix`: names, then their values in the same order.
    pub(super) fn columns(&mut self, text: &[u8], prefix: &[u8]) -> [Option<i64>; N] {
        let mut sums = Sums::new();
        let mut pair = parse::lines(text).filter_map(|line| line.strip_prefix(prefix));
        if let (Some(names), Some(values)) = (pair.next(), pair.next()) {
            let columns = parse::fields(names).zip(parse::fields(values));
            for (place, (name, value)) in columns.enumerate() {
                if let Some(group) = self.group(place, name) {
                    sums.add(group, parse::integer(value));
                }
            }
        }
        sums.finish()
    }

    fn group(&mut self, place: usize, name: &[u8]) -> Option<usize> {
        let known = self.places.get(place).filter(|known| *known.name == *name);
        if let Some(known) = known {
            return known.group;
        }
        let is_it = |group: &&[&str]| group.iter().any(|wanted| wanted.as_bytes() == name);
        let group = self.groups.iter().position(is_it);
        let found = Place { name: name.into(), group };
        match self.places.get_mut(place) {
            Some(known) => *known = found,
            None => self.places.push(found),
        }
        group
    }
}

impl<const N: usize> Sums<N> {
    fn new() -> Self {
        Self { values: [Some(0); N], found: [false; N] }
    }

    fn add(&mut self, group: usize, number: Option<i64>) {
        self.found[group] = true;
        let sum = &mut self.values[group];
        *sum = sum.zip(number).and_then(|(sum, number)| sum.checked_add(number));
    }

    fn finish(self) -> [Option<i64>; N] {
        std::array::from_fn(|group| self.values[group].filter(|_| self.found[group]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_in_any_order() {
        let mut table = Table::of([&["CurrEstab"], &["InSegs"], &["MaxConn"], &["none"]]);
        let text = b"Tcp: MaxConn InSegs CurrEstab\nTcp: -1 7 3\nUdp: InSegs\nUdp: 9\n";
        assert_eq!(table.columns(text, b"Tcp:"), [Some(3), Some(7), None, None]);
        let text = b"Tcp: CurrEstab X MaxConn InSegs\nTcp: 4 5 6 7\n";
        assert_eq!(table.columns(text, b"Tcp:"), [Some(4), Some(7), Some(6), None]);
        assert_eq!(table.columns(b"Tcp: InSegs\n", b"Tcp:"), [None; 4]);
    }

    #[test]
    fn lines_that_move_are_found_again() {
        let mut table = Table::of([&["a"], &["bb"]]);
        assert_eq!(table.lines(b"a 1\nbb: 2 kB\n"), [Some(1), Some(2)]);
        assert_eq!(table.lines(b"x 9\na 3\n\nbb 4\n"), [Some(3), Some(4)]);
        assert_eq!(table.lines(b"b 9\na x\nbb\n"), [None, None]);
    }

    #[test]
    fn a_sum_is_unknown_when_a_part_of_it_is() {
        let mut table = Table::of([&["a", "b"]]);
        assert_eq!(table.lines(b"a 1\nb 2\n"), [Some(3)]);
        assert_eq!(table.lines(b"b 2\n"), [Some(2)], "not every kernel has every part");
        assert_eq!(table.lines(b"a 1\nb 18446744073709551615\n"), [None]);
        assert_eq!(table.lines(b"a 9223372036854775807\nb 1\n"), [None]);
        assert_eq!(table.lines(b""), [None]);
    }
}
