//! Tables without lines: columns two spaces apart, numbers to the right. Colours and the terminal's width only where there is a terminal.

use std::io::IsTerminal as _;

use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table, presets};

use super::clean;

/// Width of a picture where there is no terminal.
const PICTURE: usize = 80;

/// What standard output can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Screen {
    /// Somebody looks at it.
    pub terminal: bool,
    /// Colours are shown and wanted.
    pub color: bool,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column<'a> {
    /// Aligned to the left.
    Text(&'a str),
    /// Aligned to the right.
    Number(&'a str),
}

/// How a cell stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    /// Not at all.
    Plain,
    /// As it should be.
    Good,
    /// To be watched.
    Warning,
    /// To be mended.
    Bad,
}

impl Screen {
    /// Standard output of this process. `NO_COLOR` with any text in it turns colours off (no-color.org).
    pub(crate) fn of_stdout() -> Self {
        let terminal = std::io::stdout().is_terminal();
        let set = |name| std::env::var_os(name).unwrap_or_default();
        let color = terminal && set("NO_COLOR").is_empty() && set("TERM") != "dumb";
        Self { terminal, color }
    }

    /// Width of a picture: that of the terminal, within reason.
    pub(crate) fn width(self) -> usize {
        let size = if self.terminal { crossterm::terminal::size().ok() } else { None };
        size.map_or(PICTURE, |(columns, _)| usize::from(columns)).clamp(40, 100)
    }
}

impl Tone {
    /// Of a share of something that must not run out.
    pub(crate) fn of_share(share: Option<f64>) -> Self {
        match share {
            Some(share) if share >= 0.9 => Self::Bad,
            Some(share) if share >= 0.7 => Self::Warning,
            Some(_) => Self::Good,
            None => Self::Plain,
        }
    }
}

/// A cell that stands out.
pub(crate) fn toned(text: &str, tone: Tone) -> Cell {
    let cell = Cell::new(clean(text));
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Warning => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
    }
}

/// A cell that does not.
pub(crate) fn plain(text: impl AsRef<str>) -> Cell {
    Cell::new(clean(text.as_ref()))
}

/// The table as lines of text, each ended.
pub(crate) fn render(screen: Screen, columns: &[Column<'_>], rows: Vec<Vec<Cell>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // Only a terminal's lines end somewhere; a pipe gets one line a row.
    table.set_content_arrangement(if screen.terminal {
        ContentArrangement::Dynamic
    } else {
        ContentArrangement::Disabled
    });
    if screen.color {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if !columns.is_empty() {
        let name = |column: &Column<'_>| match *column {
            Column::Text(name) | Column::Number(name) => {
                Cell::new(name).add_attribute(Attribute::Bold)
            }
        };
        table.set_header(columns.iter().map(name).collect::<Vec<_>>());
    }
    table.add_rows(rows);
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 2));
        if let Some(Column::Number(_)) = columns.get(i) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIPE: Screen = Screen { terminal: false, color: false };

    #[test]
    fn columns_are_aligned_and_lines_have_no_tail() {
        let rows = vec![vec![plain("a"), plain("1")], vec![plain("longer"), plain("10")]];
        let text = render(PIPE, &[Column::Text("NAME"), Column::Number("N")], rows);
        assert_eq!(text, "NAME     N\na        1\nlonger  10\n");
    }

    #[test]
    fn colours_are_only_where_they_are_wanted() {
        let table = |color| {
            render(Screen { terminal: false, color }, &[], vec![vec![toned("x", Tone::Bad)]])
        };
        assert!(!table(false).contains('\u{1b}'));
        assert!(table(true).contains('\u{1b}'));
    }
}
