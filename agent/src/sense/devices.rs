//! The devices that one file lists, by name: which are new, which are gone.
//!
//! The kernel lists them in the same order each time, so the row after the last one found is nearly always the next.

/// What is known of each device.
#[derive(Debug)]
pub(super) struct Devices<T> {
    rows: Vec<Row<T>>,
    expected: usize,
    started: bool,
}

#[derive(Debug)]
struct Row<T> {
    name: Box<[u8]>,
    device: T,
    seen: bool,
}

impl<T> Default for Devices<T> {
    fn default() -> Self {
        Self { rows: Vec::new(), expected: 0, started: false }
    }
}

impl<T> Devices<T> {
    /// The device of this name, made by `define` when it is new; `define` is told whether the first listing is over. `None` when the name has been listed in this tick already.
    pub(super) fn get(&mut self, name: &[u8], define: impl FnOnce(bool) -> T) -> Option<&mut T> {
        let index = self.find(name).unwrap_or_else(|| {
            let device = define(self.started);
            self.rows.push(Row { name: name.into(), device, seen: false });
            self.rows.len() - 1
        });
        self.expected = index + 1;
        let row = &mut self.rows[index];
        let first = !std::mem::replace(&mut row.seen, true);
        first.then_some(&mut row.device)
    }

    /// Ends a listing. Devices that were not in it are handed to `gone`, unless part of it could not be read (`complete` is false): then nothing is known of them.
    pub(super) fn finish(&mut self, complete: bool, mut gone: impl FnMut(T)) {
        if complete {
            self.rows.extract_if(.., |row| !row.seen).for_each(|row| gone(row.device));
        }
        self.rows.iter_mut().for_each(|row| row.seen = false);
        self.expected = 0;
        self.started = true;
    }

    fn find(&self, name: &[u8]) -> Option<usize> {
        let is_it = |row: &Row<T>| *row.name == *name;
        if self.rows.get(self.expected).is_some_and(is_it) {
            return Some(self.expected);
        }
        self.rows.iter().position(is_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(devices: &mut Devices<String>, names: &[&str], complete: bool) -> Vec<String> {
        let mut events = Vec::new();
        for name in names {
            let new = |late: bool| {
                events.push(format!("+{name} {late}"));
                (*name).to_owned()
            };
            let found = devices.get(name.as_bytes(), new).cloned();
            if found.as_deref() != Some(name) {
                events.push(format!("twice {name}"));
            }
        }
        devices.finish(complete, |gone| events.push(format!("-{gone}")));
        events
    }

    #[test]
    fn devices_come_and_go() {
        let mut devices = Devices::default();
        assert_eq!(
            list(&mut devices, &["a", "b", "c"], true),
            ["+a false", "+b false", "+c false"]
        );
        assert_eq!(list(&mut devices, &["a", "b", "c"], true), [""; 0]);
        assert_eq!(list(&mut devices, &["c", "a"], true), ["-b"]);
        assert_eq!(list(&mut devices, &["a", "b", "c"], true), ["+b true"]);
    }

    #[test]
    fn an_incomplete_listing_ends_nothing() {
        let mut devices = Devices::default();
        list(&mut devices, &["a", "b"], true);
        assert_eq!(list(&mut devices, &["a"], false), [""; 0]);
        assert_eq!(list(&mut devices, &["a"], true), ["-b"]);
    }

    #[test]
    fn a_name_listed_twice_is_taken_once() {
        let mut devices = Devices::default();
        assert_eq!(list(&mut devices, &["a", "a"], true), ["+a false", "twice a"]);
    }
}
