//! `flyball-simulate`: the matrix of load-balancing scenarios as a Markdown table, and as a picture.

use std::io::{self, IsTerminal as _, Write as _};
use std::path::PathBuf;

use flyball_balance_sim::{matrix, plot};

/// Seeds of each scenario.
const SEEDS: u64 = 3;

/// `flyball-simulate [SVG [WORD]]`: prints the table, and draws it to the file; only scenarios with the word in their name.
fn main() -> io::Result<()> {
    let picture = std::env::args_os().nth(1).map(PathBuf::from);
    let word = std::env::args().nth(2).unwrap_or_default();
    let mut errors = io::stderr();
    let live = errors.is_terminal();
    let mut progress = |part: f64, what: &str| {
        if live {
            // A terminal that is gone is no reason to stop.
            drop(write!(errors, "\r\x1b[K{:3.0} %  {what}", part * 100.0));
            drop(errors.flush());
        }
    };
    let rows = matrix(SEEDS, &word, &mut progress);
    if live {
        writeln!(io::stderr())?;
    }
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "p99 of steady state in ms (of the whole run) / variation of a weight / windows until every share is within 25 % of ideal; {SEEDS} seeds, others than those that constants were chosen with\n"
    )?;
    if let Some(row) = rows.first() {
        writeln!(out, "{}", row.heading())?;
    }
    for row in &rows {
        writeln!(out, "{}", row.markdown())?;
    }
    if let Some(path) = picture {
        std::fs::write(path, plot(&rows))?;
    }
    Ok(())
}
