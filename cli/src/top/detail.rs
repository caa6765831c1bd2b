//! The page of one node: CPU by mode with its past, memory and load, disks, network, processes. Side by side in a wide terminal, else one below the other.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Paragraph};

use super::app::{App, OpenNode, ProcessSort};
use super::node::{MODES, NodeSeries, Process};
use super::view::Theme;
use crate::api::types::{Host, NodeStatus};
use crate::text::chart::{bar, means, sparkline_between};
use crate::text::table::Tone;
use crate::text::units::{self, Quantity};
use crate::text::{UNKNOWN, clean};

/// From this width on panels are side by side.
const WIDE: u16 = 76;
/// Lines of the panels of CPU and memory with their titles.
const TOP_LINES: u16 = 10;
/// Cells between panels that are side by side.
const GAP: u16 = 2;

/// Draws the page.
pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, app: &App, theme: Theme, now_ms: i64) {
    let Some(open) = &app.open else { return };
    let [head, rest] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(area);
    frame.render_widget(Paragraph::new(heading(app.node(&open.name), open, theme, now_ms)), head);
    let series = &open.series;
    let wide = area.width >= WIDE;
    let width = usize::from(if wide { area.width.saturating_sub(GAP) / 2 } else { area.width });
    let (disks, networks) = (disks(series, width), networks(series, width));
    let middle = (disks.len().max(networks.len()) as u16 + 1).max(2);
    let areas: [Rect; 5] = if wide {
        // Processes keep a few lines before disks and networks get all of theirs.
        let middle = middle.min(rest.height.saturating_sub(TOP_LINES + 5).max(2));
        let rows = [Constraint::Length(TOP_LINES), Constraint::Length(middle), Constraint::Min(0)];
        let [top, middle, bottom] = Layout::vertical(rows).areas(rest);
        let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(GAP);
        let [cpu, memory] = halves.areas(top);
        let [disk, network] = halves.areas(middle);
        [cpu, memory, disk, network, bottom]
    } else {
        let length = |lines: usize| Constraint::Length(lines as u16 + 1);
        let (disk, network) = (length(disks.len().clamp(1, 4)), length(networks.len().clamp(1, 4)));
        let top = Constraint::Length(TOP_LINES);
        Layout::vertical([top, top, disk, network, Constraint::Min(0)]).areas(rest)
    };
    let [cpu, memory, disk, network, processes] = areas;
    draw_cpu(frame, cpu, series, theme);
    panel(frame, memory, "memory and load", memory_lines(series, memory.width.into(), theme));
    panel(frame, disk, "disks: read, written, busy", disks);
    panel(frame, network, "network: received, sent", networks);
    let (title, lines) = process_lines(open);
    panel(frame, processes, title, lines);
}

/// A title on a line, then text. What does not fit is cut off.
fn panel(frame: &mut Frame<'_>, area: Rect, title: &str, lines: Vec<Line<'_>>) {
    let lines = if lines.is_empty() { vec![Line::raw(UNKNOWN)] } else { lines };
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let block = Block::new().borders(Borders::TOP).title(Span::styled(format!("{title} "), bold));
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn heading(
    status: Option<&NodeStatus>,
    open: &OpenNode,
    theme: Theme,
    now_ms: i64,
) -> Line<'static> {
    let up = status.is_some_and(|node| node.up);
    let (word, tone) = if up { ("up", Tone::Good) } else { ("down", Tone::Bad) };
    let seen = units::age(now_ms, status.and_then(|node| node.last_seen_ms));
    let mut parts = vec![format!("seen {seen} ago")];
    if let Some(host) = status.and_then(|node| node.host.as_ref()) {
        parts.extend(host_parts(host, now_ms));
    }
    Line::from(vec![
        Span::styled(clean(&open.name), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw("  "),
        Span::styled(word, theme.tone(tone)),
        Span::raw(format!("  {}", parts.join(", "))),
    ])
}

fn host_parts(host: &Host, now_ms: i64) -> Vec<String> {
    let parts = [
        host.boot_time_ms.map(|boot| format!("booted {} ago", units::age(now_ms, Some(boot)))),
        host.cpus.map(|cpus| format!("{cpus} CPUs")),
        host.memory_bytes.map(|bytes| units::bytes(bytes as f64)),
        host.os_description.as_deref().map(clean),
        host.kernel.as_deref().map(clean),
    ];
    parts.into_iter().flatten().collect()
}

fn draw_cpu(frame: &mut Frame<'_>, area: Rect, series: &NodeSeries, theme: Theme) {
    let busy = series.cpu_busy();
    let width = usize::from(area.width);
    let mut lines: Vec<Line<'_>> = MODES
        .iter()
        .map(|mode| {
            let share = series.value("system.cpu.utilization", ("cpu.mode", mode));
            share_line(mode, share, "", width, theme.tone(Tone::Plain))
        })
        .collect();
    let history: Vec<_> = series.cpu_history().iter().copied().collect();
    let newest = history.len().saturating_sub(width);
    let cells = means(&history[newest..], width);
    let past = sparkline_between(&cells, 0.0, 1.0);
    lines.push(Line::raw(""));
    lines.push(Line::styled(format!("{past:>width$}"), theme.tone(Tone::of_share(busy))));
    panel(frame, area, &format!("cpu {}", units::percent(busy)), lines);
}

/// `name  bar  34.2 %  note`
fn share_line(
    name: &str,
    share: Option<f64>,
    note: &str,
    width: usize,
    style: Style,
) -> Line<'static> {
    const NAME: usize = 10;
    const PERCENT: usize = 8;
    const NOTE: usize = 10;
    let notes = if note.is_empty() { 0 } else { NOTE };
    let cells = width.saturating_sub(NAME + PERCENT + notes + 1);
    Line::from(vec![
        Span::raw(format!("{name:<NAME$}")),
        Span::styled(bar(share, cells), style),
        Span::raw(format!("{:>PERCENT$}{note:>notes$}", units::percent(share))),
    ])
}

fn memory_lines(series: &NodeSeries, width: usize, theme: Theme) -> Vec<Line<'static>> {
    const STATE: &str = "system.memory.state";
    let mut lines: Vec<_> = ["used", "cached", "buffers", "free"]
        .into_iter()
        .map(|state| {
            let share = series.value("system.memory.utilization", (STATE, state));
            let bytes = series.value("system.memory.usage", (STATE, state));
            let tone = if state == "used" { Tone::of_share(share) } else { Tone::Plain };
            share_line(state, share, &Quantity::Bytes.format(bytes), width, theme.tone(tone))
        })
        .collect();
    let swap = |state| series.value("system.paging.usage", ("system.paging.state", state));
    let (used, free) = (swap("used"), swap("free"));
    let share =
        used.zip(free).filter(|(u, f)| u + f > 0.0).map(|(used, free)| used / (used + free));
    lines.push(share_line("swap", share, &Quantity::Bytes.format(used), width, Style::new()));
    lines.push(Line::raw(""));
    let load = ["1m", "5m", "15m"].map(|span| {
        Quantity::Number.format(series.single(&format!("system.cpu.load_average.{span}")))
    });
    lines.push(Line::raw(format!("load      {}", load.join("   "))));
    let pressure = ["cpu", "memory", "io"].map(|resource| {
        let some = series.series("flyball.pressure.avg10").find(|(a, _)| {
            let is = |key: &str, value: &str| a.get(key).is_some_and(|v| v == value);
            is("flyball.pressure.resource", resource) && is("flyball.pressure.kind", "some")
        });
        format!("{resource} {}", units::percent(some.and_then(|(_, track)| track.value())))
    });
    lines.push(Line::raw(format!("pressure  {}", pressure.join("   "))));
    lines
}

/// Disks with the most traffic first, then filesystems, the fullest first.
fn disks(series: &NodeSeries, width: usize) -> Vec<Line<'static>> {
    const DEVICE: &str = "system.device";
    let rate = |device, direction| {
        series.rate("system.disk.io", (DEVICE, device), Some(("disk.io.direction", direction)))
    };
    let devices = series.names("system.disk.io", DEVICE).into_iter();
    let rows = devices.map(|device| {
        let (read, write) = (rate(device, "read"), rate(device, "write"));
        let busy = units::percent(series.rate("system.disk.io_time", (DEVICE, device), None));
        let figures = [bytes_per_second(read), bytes_per_second(write), format!("{busy:>7}")];
        (read.unwrap_or(0.0) + write.unwrap_or(0.0), named(device, &figures, width))
    });
    let mounts =
        series.series("system.filesystem.utilization").filter_map(|(attributes, track)| {
            let mount = attributes.get("system.filesystem.mountpoint")?;
            let figure = format!("{} full", units::percent(track.value()));
            Some((track.value().unwrap_or(-1.0), named(mount, &[figure], width)))
        });
    largest_first(rows).chain(largest_first(mounts)).collect()
}

/// Interfaces with the most traffic first.
fn networks(series: &NodeSeries, width: usize) -> Vec<Line<'static>> {
    const NAME: &str = "network.interface.name";
    let rate = |name, direction| {
        series.rate("system.network.io", (NAME, name), Some(("network.io.direction", direction)))
    };
    let names = series.names("system.network.io", NAME).into_iter();
    let rows = names.map(|name| {
        let (received, sent) = (rate(name, "receive"), rate(name, "transmit"));
        let figures = [bytes_per_second(received), bytes_per_second(sent)];
        (received.unwrap_or(0.0) + sent.unwrap_or(0.0), named(name, &figures, width))
    });
    largest_first(rows).collect()
}

fn largest_first(
    rows: impl Iterator<Item = (f64, Line<'static>)>,
) -> impl Iterator<Item = Line<'static>> {
    let mut rows: Vec<_> = rows.collect();
    rows.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    rows.into_iter().map(|(_, line)| line)
}

fn bytes_per_second(value: Option<f64>) -> String {
    format!("{:>10}", Quantity::BytesPerSecond.format(value))
}

/// A name to the left and figures to the right; a name that is too long loses its beginning, which says less than its end.
fn named(name: &str, figures: &[String], width: usize) -> Line<'static> {
    let figures = figures.join("  ");
    let room = width.saturating_sub(figures.chars().count() + 1).max(4);
    let name = clean(name);
    let skip = name.chars().count().saturating_sub(room);
    let name: String = if skip == 0 {
        name
    } else {
        std::iter::once('\u{2026}').chain(name.chars().skip(skip + 1)).collect()
    };
    Line::raw(format!("{name:<room$} {figures}"))
}

fn process_lines(open: &OpenNode) -> (&'static str, Vec<Line<'static>>) {
    let mut processes = open.series.processes();
    let (title, key): (_, fn(&Process) -> Option<f64>) = match open.sort {
        ProcessSort::Cpu => ("processes by cpu (of one core)", |p| p.cpu),
        ProcessSort::Memory => ("processes by memory", |p| p.memory_bytes),
    };
    let rank = |p: &Process| key(p).unwrap_or(-1.0);
    processes.sort_by(|a, b| rank(b).total_cmp(&rank(a)).then_with(|| a.pid.cmp(&b.pid)));
    let line = |p: &Process| {
        let (cpu, memory) = (units::percent(p.cpu), Quantity::Bytes.format(p.memory_bytes));
        Line::raw(format!("{:>8} {cpu:>8} {memory:>10}  {}", clean(&p.pid), clean(&p.name)))
    };
    (title, processes.iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_name_keeps_its_end() {
        let text = |name, width| named(name, &["1 B".to_owned()], width).to_string();
        assert_eq!(text("sda", 12), "sda      1 B");
        assert_eq!(text("/very/long/mount", 12), "\u{2026}g/mount 1 B");
    }
}
