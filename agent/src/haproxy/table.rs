//! Lines of HAProxy's tables, by the names in their header and never by their position: each version adds columns.

use std::collections::HashMap;

/// A table as it came.
#[derive(Debug)]
pub(super) struct Table<'a> {
    columns: HashMap<&'a str, usize>,
    rows: Vec<Vec<&'a str>>,
}

/// A line of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'t, 'a> {
    table: &'t Table<'a>,
    fields: &'t [&'a str],
}

impl<'a> Table<'a> {
    /// `show stat`: comma-separated, `# ` before the names. `None`: it is no such table.
    pub(super) fn stat(text: &'a str) -> Option<Self> {
        let mut lines = text.lines();
        let names = lines.next()?.strip_prefix("# ")?;
        let rows = lines.filter(|line| !line.is_empty()).map(|line| fields(line).collect());
        Some(Self { columns: columns(names.split(',')), rows: rows.collect() })
    }

    /// `show servers state`: separated by spaces, after a line with the version of the format.
    pub(super) fn state(text: &'a str) -> Option<Self> {
        let mut lines = text.lines().filter(|line| !line.is_empty());
        lines.next().filter(|version| version.trim() == "1")?;
        let names = lines.next()?.strip_prefix("# ")?;
        let rows = lines.map(|line| line.split(' ').collect());
        Some(Self { columns: columns(names.split(' ')), rows: rows.collect() })
    }

    /// Its lines.
    pub(super) fn rows(&self) -> impl Iterator<Item = Row<'_, 'a>> {
        self.rows.iter().map(|fields| Row { table: self, fields })
    }

    /// True when it has all these columns.
    pub(super) fn has(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.columns.contains_key(name))
    }
}

impl<'a> Row<'_, 'a> {
    /// The text in a column; empty when there is none.
    pub(super) fn text(&self, column: &str) -> &'a str {
        let place = self.table.columns.get(column);
        place.and_then(|place| self.fields.get(*place)).copied().unwrap_or_default()
    }

    /// The number in a column.
    pub(super) fn number(&self, column: &str) -> Option<i64> {
        self.text(column).parse().ok()
    }
}

fn columns<'a>(names: impl Iterator<Item = &'a str>) -> HashMap<&'a str, usize> {
    names
        .enumerate()
        .map(|(place, name)| (name, place))
        .filter(|(name, _)| !name.is_empty())
        .collect()
}

/// Fields between commas; one in quotes may hold some.
fn fields(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(line);
    std::iter::from_fn(move || {
        let line = rest?;
        if let Some(quoted) = line.strip_prefix('"') {
            let end = closing(quoted);
            rest = quoted.get(end + 1..).and_then(|after| after.strip_prefix(','));
            return Some(&quoted[..end]);
        }
        let (field, after) = line.split_once(',').map_or((line, None), |(f, a)| (f, Some(a)));
        rest = after;
        Some(field)
    })
}

/// Where a quoted field ends: at a quote that is not doubled.
fn closing(quoted: &str) -> usize {
    let bytes = quoted.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b'"' {
            if bytes.get(at + 1) != Some(&b'"') {
                return at;
            }
            at += 1;
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_found_by_name_wherever_they_are() {
        let text = "# svname,new,pxname,last_chk,scur,\na,,web,\"x, \"\"y\"\"\",7,\n\n";
        let table = Table::stat(text).unwrap();
        let row = table.rows().next().unwrap();
        assert_eq!((row.text("pxname"), row.text("svname")), ("web", "a"));
        assert_eq!(
            (row.number("scur"), row.number("new"), row.number("none")),
            (Some(7), None, None)
        );
        assert_eq!(row.text("last_chk"), "x, \"\"y\"\"");
        assert!(table.has(&["pxname", "scur"]) && !table.has(&["slim"]));
        assert_eq!(table.rows().count(), 1);
    }

    #[test]
    fn a_broken_line_breaks_nothing_else() {
        let table = Table::stat("# a,b\n\"open,1\n2\n,,,,,\n").unwrap();
        let b: Vec<_> = table.rows().map(|row| row.text("b")).collect();
        assert_eq!(b, ["", "", ""]);
        assert!(Table::stat("Permission denied\n").is_none());
    }

    #[test]
    fn the_state_of_servers_has_a_version() {
        let table = Table::state("1\n# be_name srv_name srv_uweight\nweb a 10\n").unwrap();
        assert_eq!(table.rows().next().unwrap().number("srv_uweight"), Some(10));
        assert!(Table::state("2\n# be_name\nweb\n").is_none());
    }
}
