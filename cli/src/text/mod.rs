//! How values become text: units, bars, sparklines, tables.

pub(crate) mod chart;
pub(crate) mod curve;
pub(crate) mod pattern;
pub(crate) mod size;
pub(crate) mod table;
pub(crate) mod units;
pub(crate) mod values;

/// Shown for a value that is not known.
pub(crate) const UNKNOWN: &str = "\u{2013}";

/// Text from elsewhere without control characters, so that a process called `\x1b[2J` does not clear the operator's terminal.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(clean("a\u{1b}[2Jb\nc\u{9b}é"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}é");
    }
}
