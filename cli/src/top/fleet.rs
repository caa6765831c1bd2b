//! The page of the fleet: a row for each node. As many columns as fit, the important ones first; only the rows that are seen are made.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Paragraph, Row, Table};

use super::app::App;
use super::view::Theme;
use crate::api::types::NodeStatus;
use crate::sort::SortKey;
use crate::text::UNKNOWN;
use crate::text::chart::bar;
use crate::text::table::Tone;
use crate::text::units::{self, Quantity};

const BAR_CELLS: u16 = 12;
/// Width that is kept for names; what is left over goes there too.
const NAME_CELLS: u16 = 12;

/// One column besides the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    State,
    CpuBar,
    Cpu,
    MemoryBar,
    Memory,
    Load,
    Received,
    Sent,
    Read,
    Written,
    Seen,
    Agent,
}

/// In the order in which they are left out, last first.
const BY_IMPORTANCE: [Column; 12] = [
    Column::Cpu,
    Column::Memory,
    Column::State,
    Column::CpuBar,
    Column::Load,
    Column::Received,
    Column::Sent,
    Column::Seen,
    Column::Read,
    Column::Written,
    Column::MemoryBar,
    Column::Agent,
];

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::State => "STATE",
            Self::CpuBar | Self::MemoryBar => "",
            Self::Cpu => "CPU",
            Self::Memory => "MEMORY",
            Self::Load => "LOAD",
            Self::Received => "RECEIVED",
            Self::Sent => "SENT",
            Self::Read => "READ",
            Self::Written => "WRITTEN",
            Self::Seen => "SEEN",
            Self::Agent => "AGENT",
        }
    }

    fn width(self) -> u16 {
        match self {
            Self::State => 5,
            Self::CpuBar | Self::MemoryBar => BAR_CELLS,
            Self::Cpu | Self::Memory | Self::Load | Self::Seen | Self::Agent => 7,
            Self::Received | Self::Sent | Self::Read | Self::Written => 11,
        }
    }

    fn sort(self) -> Option<SortKey> {
        Some(match self {
            Self::Cpu => SortKey::Cpu,
            Self::Memory => SortKey::Memory,
            Self::Load => SortKey::Load,
            Self::Received | Self::Sent => SortKey::Network,
            Self::Read | Self::Written => SortKey::Disk,
            Self::Seen => SortKey::Seen,
            Self::State | Self::CpuBar | Self::MemoryBar | Self::Agent => return None,
        })
    }

    fn is_text(self) -> bool {
        matches!(self, Self::State | Self::CpuBar | Self::MemoryBar | Self::Agent)
    }

    fn cell(self, node: &NodeStatus, theme: Theme, now_ms: i64) -> Cell<'static> {
        let (cpu, memory) = (node.cpu_utilization, node.memory_utilization);
        let traffic = |value| (Quantity::BytesPerSecond.format(value), Tone::Plain);
        let (text, tone) = match self {
            Self::State if node.up => ("up".to_owned(), Tone::Good),
            Self::State => ("down".to_owned(), Tone::Bad),
            Self::CpuBar => (bar(cpu, BAR_CELLS.into()), Tone::of_share(cpu)),
            Self::Cpu => (units::percent(cpu), Tone::of_share(cpu)),
            Self::MemoryBar => (bar(memory, BAR_CELLS.into()), Tone::of_share(memory)),
            Self::Memory => (units::percent(memory), Tone::of_share(memory)),
            Self::Load => (Quantity::Number.format(node.load_1m), Tone::Plain),
            Self::Received => traffic(node.network_receive_bytes_per_second),
            Self::Sent => traffic(node.network_transmit_bytes_per_second),
            Self::Read => traffic(node.disk_read_bytes_per_second),
            Self::Written => traffic(node.disk_write_bytes_per_second),
            Self::Seen => (units::age(now_ms, node.last_seen_ms), Tone::Plain),
            Self::Agent => {
                (node.agent_version.clone().unwrap_or_else(|| UNKNOWN.to_owned()), Tone::Plain)
            }
        };
        let alignment = if self.is_text() { Alignment::Left } else { Alignment::Right };
        Cell::new(Text::raw(text).alignment(alignment)).style(theme.tone(tone))
    }
}

/// Draws the page.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &mut App, theme: Theme, now_ms: i64) {
    let height = usize::from(area.height.saturating_sub(1));
    let nodes = app.nodes();
    let (row, count) = (app.selected_row(&nodes), nodes.len());
    drop(nodes);
    app.fit(row, count, height);
    if count == 0 {
        let text = "no node has reported yet; start `flyball-agent --collector http://HOST:7400`";
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let columns = fitting(area.width);
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let reversed = Style::new().add_modifier(Modifier::REVERSED);
    let header = Row::new(titles(&columns, app.sort)).style(bold);
    let nodes = app.nodes();
    let seen = nodes.iter().enumerate().skip(app.offset).take(height);
    let rows = seen.map(|(i, node)| {
        let name = Cell::new(crate::text::clean(&node.node));
        let cells = columns.iter().map(|column| column.cell(node, theme, now_ms));
        let style = if i == row { reversed } else { Style::new() };
        Row::new(std::iter::once(name).chain(cells)).style(style)
    });
    let widths = columns.iter().map(|column| Constraint::Length(column.width()));
    let widths = std::iter::once(Constraint::Min(NAME_CELLS)).chain(widths);
    frame.render_widget(Table::new(rows, widths).header(header).column_spacing(1), area);
}

fn titles(columns: &[Column], sort: SortKey) -> Vec<Cell<'static>> {
    let mark = |is: bool| if is { "\u{25bc}" } else { "" };
    let name = format!("NODE{}", mark(sort == SortKey::Name));
    let title = |column: &Column| {
        let alignment = if column.is_text() { Alignment::Left } else { Alignment::Right };
        let text = format!("{}{}", column.title(), mark(column.sort() == Some(sort)));
        Cell::new(Line::raw(text).alignment(alignment))
    };
    std::iter::once(Cell::new(name)).chain(columns.iter().map(title)).collect()
}

/// The columns for which there is room, in the order they are shown.
fn fitting(width: u16) -> Vec<Column> {
    let mut left = width.saturating_sub(NAME_CELLS);
    let mut columns: Vec<Column> = BY_IMPORTANCE
        .into_iter()
        .take_while(|column| {
            let needs = column.width() + 1;
            let fits = needs <= left;
            left = left.saturating_sub(needs);
            fits
        })
        .collect();
    columns.sort_by_key(|column| *column as u8);
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn important_columns_stay_when_there_is_little_room() {
        assert_eq!(fitting(200).len(), BY_IMPORTANCE.len());
        assert_eq!(fitting(40), [Column::State, Column::Cpu, Column::Memory]);
        assert_eq!(fitting(20), [Column::Cpu]);
        assert_eq!(fitting(0), []);
    }

    #[test]
    fn more_room_never_shows_less() {
        let mut shown = 0;
        for width in 0..200 {
            let now = fitting(width).len();
            assert!(now >= shown, "{width}");
            shown = now;
        }
    }
}
