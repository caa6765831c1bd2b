//! One line of /proc/PID/stat (proc_pid_stat(5)).

use super::super::parse;
use super::ledger::State;

/// What is taken of the line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stat<'a> {
    /// Name of the executable or thread, cut by the kernel; may hold anything, parentheses and newlines too.
    pub(super) name: &'a [u8],
    /// Running, sleeping, ...
    pub(super) state: State,
    /// Clock ticks in user and kernel mode.
    pub(super) ticks: i64,
    /// Clock ticks from boot to the start: with the pid it tells a process from a later one.
    pub(super) start: i64,
    /// Resident pages.
    pub(super) pages: i64,
}

/// `None` when the line is not as the kernel writes it.
pub(super) fn parse(line: &[u8]) -> Option<Stat<'_>> {
    let open = line.iter().position(|byte| *byte == b'(')?;
    // Numbers hold no parenthesis, so the last one ends the name whatever the name holds.
    let close = line.iter().rposition(|byte| *byte == b')')?;
    let name = line.get(open + 1..close)?;
    let mut fields = parse::fields(&line[close + 1..]);
    let state = State::from_letter(*fields.next()?.first()?);
    let mut field = |skip| parse::integer(fields.nth(skip)?);
    let ticks = field(10)?.checked_add(field(0)?)?;
    Some(Stat { name, state, ticks, start: field(6)?, pages: field(1)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const REST: &str =
        "1 7 7 0 -1 4194304 9 8 7 6 120 30 5 4 20 0 1 0 4711 1234567 89 18446744073709551615";

    #[test]
    fn names_may_hold_anything() {
        for name in ["sh", "a b", "a) S (b", "new\nline", ")", "", "((("] {
            let line = format!("42 ({name}) R {REST}\n");
            let stat = parse(line.as_bytes()).unwrap();
            assert_eq!(stat.name, name.as_bytes());
            assert_eq!(stat.state, State::Running);
            assert_eq!((stat.ticks, stat.start, stat.pages), (150, 4711, 89));
        }
    }

    #[test]
    fn a_line_that_is_cut_or_garbled_is_none() {
        let line = format!("42 (sh) R {REST}");
        for length in 0..line.find(" 89").unwrap() {
            assert_eq!(parse(&line.as_bytes()[..length]), None, "{length}");
        }
        assert_eq!(parse(line.replace("120", "x").as_bytes()), None);
        assert_eq!(parse(b"42 )sh( R 1 2 3"), None);
    }
}
