//! What an agent says of its samples when it stops: the last `stopped` line of its log.

/// Samples of an agent by what became of them, as it reports.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OwnAccount {
    /// Encoded into frames.
    pub produced: u64,
    /// Acknowledged.
    pub stored: u64,
    /// Given up, or found to be missing in the spool.
    pub shed: u64,
    /// Neither.
    pub in_flight: u64,
}

impl OwnAccount {
    /// Reads the last `stopped` line of `log`; `None` when there is none.
    pub fn last(log: &str) -> Option<Self> {
        let line = log.lines().rev().find(|line| line.contains(" stopped "))?;
        Some(Self {
            produced: field(line, "produced")?,
            stored: field(line, "stored")?,
            shed: field(line, "shed")? + field(line, "lost")?,
            in_flight: field(line, "in_spool")?,
        })
    }
}

fn field(line: &str, name: &str) -> Option<u64> {
    let plain = without_colours(line);
    let (_, rest) = plain.split_once(&format!(" {name}="))?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

fn without_colours(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').map_or("", |(_, rest)| rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_counts() {
        let log = "INFO stopped produced=1 stored=1 shed=0 in_spool=0 lost=0\n\
                   \u{1b}[32m INFO\u{1b}[0m stopped \u{1b}[3mproduced\u{1b}[0m=30 stored=20 shed=3 in_spool=6 lost=1\nlater\n";
        let account = OwnAccount { produced: 30, stored: 20, shed: 4, in_flight: 6 };
        assert_eq!(OwnAccount::last(log), Some(account));
        assert_eq!(OwnAccount::last("INFO starting"), None);
    }
}
