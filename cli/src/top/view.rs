//! What is on the screen: a line about the connection, one about the fleet, the open page, the keys.

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, Paragraph};

use super::app::{App, Link};
use super::{detail, fleet};
use crate::text::table::Tone;
use crate::text::units;

const HELP: [(&str, &str); 9] = [
    ("up, down, j, k", "choose a node"),
    ("page up, page down", "a page further"),
    ("home, end, g, G", "first and last node"),
    ("enter, right", "open the node"),
    ("esc, left", "back"),
    ("s, S", "next and previous order"),
    ("?", "this help"),
    ("q, ctrl-c", "quit"),
    ("\u{2013}", "a value that is not known"),
];

/// Smallest terminal that something useful fits into.
const SMALLEST: (u16, u16) = (40, 8);

/// Colours, or none. Bold and reversed text are used with both.
#[derive(Debug, Clone, Copy)]
pub(super) struct Theme {
    /// Colours are wanted.
    pub color: bool,
}

impl Theme {
    /// Style of something that stands out.
    pub(super) fn tone(self, tone: Tone) -> Style {
        let color = match tone {
            _ if !self.color => return Style::new(),
            Tone::Plain => return Style::new(),
            Tone::Good => Color::Green,
            Tone::Warning => Color::Yellow,
            Tone::Bad => Color::Red,
        };
        Style::new().fg(color)
    }
}

/// Draws everything.
pub(super) fn draw(frame: &mut Frame<'_>, app: &mut App, theme: Theme, now_ms: i64) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (width, height) = SMALLEST;
        let text = format!("too small, needs {width} x {height}");
        frame.render_widget(Paragraph::new(text), area);
        return;
    }
    let rows =
        [Constraint::Length(1), Constraint::Length(1), Constraint::Min(1), Constraint::Length(1)];
    let [top, totals, page, keys] = Layout::vertical(rows).areas(area);
    draw_top(frame, top, app, theme);
    frame.render_widget(Paragraph::new(totals_line(app)), totals);
    if app.open.is_some() {
        detail::draw(frame, page, app, theme, now_ms);
    } else {
        fleet::draw(frame, page, app, theme, now_ms);
    }
    let dim = Style::new().add_modifier(Modifier::DIM);
    frame.render_widget(Paragraph::new(keys_line(app)).style(dim), keys);
    if app.help {
        draw_help(frame, area);
    }
}

fn draw_top(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme) {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let (text, tone) = match &app.link {
        Link::Connecting => ("connecting".to_owned(), Tone::Warning),
        Link::Live => ("live".to_owned(), Tone::Good),
        Link::Lost { reason, retry_in } => {
            let seconds = retry_in.as_secs_f64();
            (format!("old values, reconnecting in {seconds:.1} s: {reason}"), Tone::Bad)
        }
    };
    let style = theme.tone(tone).add_modifier(Modifier::BOLD);
    let width = (text.chars().count() as u16).min(area.width.saturating_sub(8));
    let [left, right] =
        Layout::horizontal([Constraint::Min(7), Constraint::Length(width)]).areas(area);
    let name =
        Line::from(vec![Span::styled("flyball", bold), Span::raw(format!("  {}", app.server))]);
    frame.render_widget(Paragraph::new(name), left);
    frame.render_widget(Paragraph::new(text).style(style).alignment(Alignment::Right), right);
}

fn totals_line(app: &App) -> String {
    let totals = app.totals;
    format!(
        "{} of {} nodes up   {} series   {} samples/s",
        totals.nodes_up,
        totals.nodes,
        units::number(totals.series as f64),
        units::number(totals.samples_per_second.round()),
    )
}

fn keys_line(app: &App) -> String {
    match &app.open {
        Some(_) => "esc back   s order of processes   ? help   q quit".to_owned(),
        None => format!("enter open   s order: {}   ? help   q quit", app.sort.name()),
    }
}

fn draw_help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<_> =
        HELP.iter().map(|(keys, what)| Line::raw(format!(" {keys:<20} {what} "))).collect();
    let (width, height) = (52.min(area.width), (HELP.len() as u16 + 2).min(area.height));
    let place = Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    };
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), place);
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::app::Key;
    use super::super::live::Update;
    use super::*;
    use crate::api::types::{FleetStatus, LiveEvent, LiveSample, NodeStatus, Totals};
    use crate::snapshot;
    use crate::sort::SortKey;

    /// What a terminal of this size shows, without styles.
    pub(in crate::top) fn shown(app: &mut App, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        let theme = Theme { color: true };
        terminal.draw(|frame| draw(frame, app, theme, 100_000)).unwrap();
        let buffer = terminal.backend().buffer();
        let cell = |x, y| buffer.cell((x, y)).map_or("", |cell| cell.symbol());
        let line = |y| (0..width).map(|x| cell(x, y)).collect::<String>();
        (0..height).map(|y| line(y) + "\n").collect()
    }

    /// A fleet with a busy node, a calm one, and one that is down.
    pub(in crate::top) fn app() -> App {
        let node = |name: &str, cpu, memory| NodeStatus {
            node: name.into(),
            up: true,
            last_seen_ms: Some(99_500),
            agent_version: Some("0.1.0".into()),
            cpu_utilization: cpu,
            memory_utilization: memory,
            load_1m: Some(1.25),
            network_receive_bytes_per_second: Some(1_234_567.0),
            network_transmit_bytes_per_second: Some(0.0),
            disk_read_bytes_per_second: Some(8_192.0),
            disk_write_bytes_per_second: None,
            ..NodeStatus::default()
        };
        let down =
            NodeStatus { node: "db-1".into(), last_seen_ms: Some(30_000), ..NodeStatus::default() };
        let nodes =
            vec![node("web-1", Some(0.31), Some(0.72)), node("web-2", Some(0.97), Some(0.4)), down];
        let totals = Totals { nodes: 3, nodes_up: 2, series: 1_234, samples_per_second: 1_180.4 };
        let mut app = App::new(
            "http://127.0.0.1:7480",
            FleetStatus { nodes, totals, ..FleetStatus::default() },
            SortKey::Cpu,
        );
        app.update(Update::Connected);
        app
    }

    /// Two frames of `web-2`, a second apart.
    fn samples() -> [Update; 2] {
        let at = |ts_ms: i64| {
            let seconds = ts_ms as f64 / 1_000.0;
            let mut samples = Vec::new();
            let mut add = |metric: &str, attributes: &[(&str, &str)], value: f64| {
                let attributes =
                    attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
                samples.push(LiveSample { metric: metric.into(), attributes, value: Some(value) });
            };
            for (mode, share) in [("user", 0.6), ("system", 0.3), ("iowait", 0.02), ("idle", 0.08)]
            {
                add("system.cpu.utilization", &[("cpu.mode", mode)], share);
            }
            for (state, share) in
                [("used", 0.4), ("cached", 0.35), ("buffers", 0.05), ("free", 0.2)]
            {
                add("system.memory.utilization", &[("system.memory.state", state)], share);
                let bytes = share * 16.0 * 1024.0 * 1024.0 * 1024.0;
                add("system.memory.usage", &[("system.memory.state", state)], bytes);
            }
            add("system.cpu.load_average.1m", &[], 7.5);
            add("system.cpu.load_average.5m", &[], 3.25);
            let pressure =
                [("flyball.pressure.resource", "cpu"), ("flyball.pressure.kind", "some")];
            add("flyball.pressure.avg10", &pressure, 0.125);
            for (direction, rate) in [("read", 0.0), ("write", 5e6)] {
                let attributes = [("system.device", "nvme0n1"), ("disk.io.direction", direction)];
                add("system.disk.io", &attributes, seconds * rate);
            }
            add("system.disk.io_time", &[("system.device", "nvme0n1")], seconds * 0.25);
            add(
                "system.filesystem.utilization",
                &[
                    ("system.device", "nvme0n1p1"),
                    ("system.filesystem.mountpoint", "/"),
                    ("system.filesystem.type", "ext4"),
                ],
                0.91,
            );
            for (direction, rate) in [("receive", 125e3), ("transmit", 2e3)] {
                let attributes =
                    [("network.interface.name", "eth0"), ("network.io.direction", direction)];
                add("system.network.io", &attributes, seconds * rate);
            }
            for (pid, name, cpu, memory) in [
                ("17", "small\u{1b}[2J", 0.5, 1e6),
                ("4242", "postgres", 1.75, 2e9),
                ("99", "idle", 0.0, 3e6),
            ] {
                let attributes = [("process.pid", pid), ("process.executable.name", name)];
                add("process.cpu.utilization", &attributes, cpu);
                add("process.memory.usage", &attributes, memory);
            }
            Update::Event(LiveEvent::Samples { node: "web-2".into(), ts_ms, samples })
        };
        [at(98_000), at(99_000)]
    }

    fn opened() -> App {
        let mut app = app();
        app.key(Key::Enter);
        for update in samples() {
            app.update(update);
        }
        app
    }

    #[test]
    fn the_fleet_in_terminals_of_all_sizes() {
        snapshot::check("top-fleet-140x10", &shown(&mut app(), 140, 10));
        snapshot::check("top-fleet-80x10", &shown(&mut app(), 80, 10));
        snapshot::check("top-fleet-40x8", &shown(&mut app(), 40, 8));
    }

    #[test]
    fn a_node_in_terminals_of_all_sizes() {
        snapshot::check("top-node-120x36", &shown(&mut opened(), 120, 36));
        snapshot::check("top-node-80x24", &shown(&mut opened(), 80, 24));
        snapshot::check("top-node-50x40", &shown(&mut opened(), 50, 40));
    }

    #[test]
    fn a_node_without_samples_is_all_dashes() {
        let mut app = app();
        app.open("db-1");
        snapshot::check("top-node-unknown", &shown(&mut app, 100, 24));
    }

    #[test]
    fn a_lost_connection_and_the_help_are_shown() {
        let mut app = app();
        let reason = "Connection refused (os error 111)".to_owned();
        app.update(Update::Lost { reason, retry_in: Duration::from_millis(1_500) });
        app.key(Key::Help);
        snapshot::check("top-lost-and-help", &shown(&mut app, 100, 16));
    }

    #[test]
    fn any_size_can_be_drawn() {
        for width in [0, 1, 39, 40, 41, 60, 75, 76, 77, 120, 160] {
            for height in [0, 1, 7, 8, 9, 12, 16, 20, 24, 35, 50] {
                for mut app in [app(), opened()] {
                    shown(&mut app, width, height);
                    app.key(Key::Help);
                    shown(&mut app, width, height);
                }
            }
        }
    }

    #[test]
    fn without_colours_there_are_none() {
        let mut terminal = Terminal::new(TestBackend::new(120, 36)).unwrap();
        for mut app in [app(), opened()] {
            terminal.draw(|frame| draw(frame, &mut app, Theme { color: false }, 0)).unwrap();
            let buffer = terminal.backend().buffer();
            assert!(buffer.content().iter().all(|c| c.fg == Color::Reset && c.bg == Color::Reset));
            terminal.draw(|frame| draw(frame, &mut app, Theme { color: true }, 0)).unwrap();
            let buffer = terminal.backend().buffer();
            assert!(buffer.content().iter().any(|c| c.fg != Color::Reset));
        }
    }
}
