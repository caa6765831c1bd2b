//! State of the live view. Pure: keys and updates go in, the pages draw what is here.
//!
//! Properties, each a test: a chosen node stays chosen when the order changes; unless one was chosen, the first row is; the first status of a connection
//! or after lost events replaces the fleet, later ones change single nodes; samples of a node that is not open are passed over.

use std::collections::BTreeMap;
use std::time::Duration;

use super::live::Update;
use super::node::NodeSeries;
use crate::api::types::{FleetStatus, LiveEvent, NodeStatus, Totals};
use crate::sort::SortKey;

/// What the operator wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// One row up.
    Up,
    /// One row down.
    Down,
    /// A page up.
    PageUp,
    /// A page down.
    PageDown,
    /// First row.
    Home,
    /// Last row.
    End,
    /// Open the chosen node.
    Enter,
    /// Close what is open.
    Back,
    /// Next order.
    NextSort,
    /// Order before.
    PreviousSort,
    /// Show or hide the keys.
    Help,
    /// End.
    Quit,
}

/// What follows from a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Only a drawing.
    None,
    /// The end.
    Quit,
    /// Samples of this node are wanted; none for `None`.
    Watch(Option<String>),
}

/// State of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Not yet made.
    Connecting,
    /// What is shown is live.
    Live,
    /// What is shown is old.
    Lost {
        /// Why.
        reason: String,
        /// Delay before the next attempt.
        retry_in: Duration,
    },
}

/// Order of processes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ProcessSort {
    /// Busiest first.
    #[default]
    Cpu,
    /// Largest first.
    Memory,
}

/// The node whose page is open.
#[derive(Debug)]
pub(super) struct OpenNode {
    /// Its name.
    pub name: String,
    /// Its samples.
    pub series: NodeSeries,
    /// Order of its processes.
    pub sort: ProcessSort,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct App {
    /// Address of the collector.
    pub server: String,
    /// State of the connection.
    pub link: Link,
    /// Sums over the fleet.
    pub totals: Totals,
    /// Order of the nodes.
    pub sort: SortKey,
    /// The keys are shown.
    pub help: bool,
    /// The node whose page is open.
    pub open: Option<OpenNode>,
    /// First row that is shown.
    pub offset: usize,
    fleet: BTreeMap<String, NodeStatus>,
    selected: Option<String>,
    rows_on_page: usize,
    /// The next status holds all nodes.
    fresh: bool,
}

impl App {
    /// Shows the fleet as it was when asked for.
    pub(super) fn new(server: &str, fleet: FleetStatus, sort: SortKey) -> Self {
        let mut app = Self {
            server: server.to_owned(),
            link: Link::Connecting,
            totals: Totals::default(),
            sort,
            help: false,
            open: None,
            offset: 0,
            fleet: BTreeMap::new(),
            selected: None,
            rows_on_page: 1,
            fresh: true,
        };
        app.status(fleet.nodes, fleet.totals);
        app
    }

    /// Opens the page of a node.
    pub(super) fn open(&mut self, name: &str) {
        self.selected = Some(name.to_owned());
        self.open = Some(OpenNode {
            name: name.to_owned(),
            series: NodeSeries::default(),
            sort: ProcessSort::default(),
        });
    }

    /// Last values of a node.
    pub(super) fn node(&self, name: &str) -> Option<&NodeStatus> {
        self.fleet.get(name)
    }

    /// The nodes in order.
    pub(super) fn nodes(&self) -> Vec<&NodeStatus> {
        let mut nodes: Vec<_> = self.fleet.values().collect();
        nodes.sort_by(|a, b| self.sort.compare(a, b));
        nodes
    }

    /// Row of the chosen node among `nodes`.
    pub(super) fn selected_row(&self, nodes: &[&NodeStatus]) -> usize {
        let selected = self.selected.as_deref();
        nodes.iter().position(|node| Some(node.node.as_str()) == selected).unwrap_or(0)
    }

    /// Moves the part of `count` rows that is shown so that `row` is in it; `height` rows fit.
    pub(super) fn fit(&mut self, row: usize, count: usize, height: usize) {
        self.rows_on_page = height.max(1);
        let last = count.saturating_sub(self.rows_on_page);
        let lowest = (row + 1).saturating_sub(self.rows_on_page);
        self.offset = self.offset.clamp(lowest, row.max(lowest)).min(last);
    }

    /// Takes a key.
    pub(super) fn key(&mut self, key: Key) -> Effect {
        if key == Key::Quit {
            return Effect::Quit;
        }
        if self.help {
            // Any key puts the help away.
            self.help = false;
            return Effect::None;
        }
        match (key, &mut self.open) {
            (Key::Help, _) => self.help = true,
            (Key::Back, Some(_)) => {
                self.open = None;
                return Effect::Watch(None);
            }
            (Key::NextSort | Key::PreviousSort, Some(open)) => {
                open.sort = match open.sort {
                    ProcessSort::Cpu => ProcessSort::Memory,
                    ProcessSort::Memory => ProcessSort::Cpu,
                };
            }
            (_, Some(_)) => {}
            (Key::NextSort, None) => self.sort = self.sort.step(1),
            (Key::PreviousSort, None) => self.sort = self.sort.step(-1),
            (Key::Enter, None) => {
                let nodes = self.nodes();
                let Some(node) = nodes.get(self.selected_row(&nodes)) else { return Effect::None };
                let name = node.node.clone();
                self.open(&name);
                return Effect::Watch(Some(name));
            }
            (key, None) => self.go(key),
        }
        Effect::None
    }

    fn go(&mut self, key: Key) {
        let nodes = self.nodes();
        let Some(last) = nodes.len().checked_sub(1) else { return };
        let row = self.selected_row(&nodes);
        let row = match key {
            Key::Up => row.saturating_sub(1),
            Key::Down => row + 1,
            Key::PageUp => row.saturating_sub(self.rows_on_page),
            Key::PageDown => row + self.rows_on_page,
            Key::Home => 0,
            Key::End => last,
            _ => return,
        };
        let name = nodes[row.min(last)].node.clone();
        // The first row is the one that stays at the top whoever is in it.
        self.selected = (row > 0).then_some(name);
    }

    /// Takes what the follower tells.
    pub(super) fn update(&mut self, update: Update) {
        match update {
            Update::Connected => {
                self.link = Link::Live;
                self.interrupted();
            }
            Update::Event(LiveEvent::Resync) => self.interrupted(),
            Update::Lost { reason, retry_in } => self.link = Link::Lost { reason, retry_in },
            Update::Event(LiveEvent::Status { nodes, totals }) => self.status(nodes, totals),
            Update::Event(LiveEvent::Samples { node, ts_ms, samples }) => {
                if let Some(open) = self.open.as_mut().filter(|open| open.name == node) {
                    open.series.apply(ts_ms, samples);
                }
            }
            Update::Event(LiveEvent::Other) => {}
        }
    }

    /// Events may be missing; the next status holds all nodes.
    fn interrupted(&mut self) {
        self.fresh = true;
        if let Some(open) = &mut self.open {
            open.series.interrupt();
        }
    }

    fn status(&mut self, nodes: Vec<NodeStatus>, totals: Totals) {
        if std::mem::take(&mut self.fresh) {
            self.fleet.clear();
        }
        self.fleet.extend(nodes.into_iter().map(|node| (node.node.clone(), node)));
        self.totals = totals;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::LiveSample;

    fn node(name: &str, cpu: f64) -> NodeStatus {
        NodeStatus { node: name.into(), cpu_utilization: Some(cpu), ..NodeStatus::default() }
    }

    fn app() -> App {
        let nodes = vec![node("a", 0.1), node("b", 0.2), node("c", 0.3)];
        App::new("http://h", FleetStatus { nodes, ..FleetStatus::default() }, SortKey::Cpu)
    }

    fn status(nodes: Vec<NodeStatus>) -> Update {
        Update::Event(LiveEvent::Status { nodes, totals: Totals { nodes: 9, ..Totals::default() } })
    }

    fn selected(app: &App) -> String {
        let nodes = app.nodes();
        nodes[app.selected_row(&nodes)].node.clone()
    }

    fn keys(app: &mut App, keys: &[Key]) {
        for key in keys {
            assert_eq!(app.key(*key), Effect::None);
        }
    }

    #[test]
    fn a_chosen_node_stays_chosen_when_the_order_changes() {
        let mut app = app();
        assert_eq!(selected(&app), "c");
        keys(&mut app, &[Key::Down]);
        assert_eq!(selected(&app), "b");
        app.update(status(vec![node("b", 0.05)]));
        assert_eq!(selected(&app), "b");
        keys(&mut app, &[Key::NextSort]);
        assert_eq!((app.sort, selected(&app).as_str()), (SortKey::Memory, "b"));
    }

    #[test]
    fn unless_one_was_chosen_the_first_row_is() {
        let mut app = app();
        app.update(status(vec![node("a", 0.9)]));
        assert_eq!(selected(&app), "a");
        keys(&mut app, &[Key::End, Key::Home]);
        app.update(status(vec![node("b", 1.0)]));
        assert_eq!(selected(&app), "b");
    }

    #[test]
    fn rows_end_at_both_ends() {
        let mut app = app();
        keys(&mut app, &[Key::Up, Key::PageUp]);
        assert_eq!(selected(&app), "c");
        keys(&mut app, &[Key::PageDown, Key::PageDown, Key::PageDown, Key::Down]);
        assert_eq!(selected(&app), "a");
        let mut empty = App::new("", FleetStatus::default(), SortKey::Cpu);
        keys(&mut empty, &[Key::Down, Key::End, Key::Enter]);
    }

    #[test]
    fn the_first_status_of_a_connection_replaces_the_fleet() {
        let mut app = app();
        app.update(status(vec![node("d", 0.4)]));
        assert_eq!(app.nodes().len(), 4);
        app.update(Update::Connected);
        assert_eq!((app.nodes().len(), &app.link), (4, &Link::Live));
        app.update(status(vec![node("d", 0.4)]));
        assert_eq!((app.nodes().len(), app.totals.nodes), (1, 9));
        app.update(status(vec![node("e", 0.4)]));
        assert_eq!(app.nodes().len(), 2);
        app.update(Update::Event(LiveEvent::Resync));
        app.update(status(vec![node("e", 0.4)]));
        assert_eq!((app.nodes().len(), &app.link), (1, &Link::Live));
    }

    #[test]
    fn a_lost_connection_keeps_what_is_shown() {
        let mut app = app();
        let lost = Update::Lost { reason: "refused".into(), retry_in: Duration::from_secs(1) };
        app.update(lost);
        assert!(matches!(&app.link, Link::Lost { reason, .. } if reason == "refused"));
        assert_eq!(app.nodes().len(), 3);
    }

    #[test]
    fn a_node_is_opened_and_closed() {
        let mut app = app();
        assert_eq!(app.key(Key::Back), Effect::None);
        assert_eq!(app.key(Key::Enter), Effect::Watch(Some("c".into())));
        keys(&mut app, &[Key::NextSort]);
        assert_eq!(app.open.as_ref().unwrap().sort, ProcessSort::Memory);
        assert_eq!(app.sort, SortKey::Cpu);
        assert_eq!(app.key(Key::Back), Effect::Watch(None));
        assert!(app.open.is_none());
        assert_eq!(selected(&app), "c");
    }

    #[test]
    fn samples_of_another_node_are_passed_over() {
        let mut app = app();
        app.open("a");
        let samples = |node: &str| {
            let sample =
                LiveSample { metric: "m".into(), value: Some(1.0), ..LiveSample::default() };
            Update::Event(LiveEvent::Samples { node: node.into(), ts_ms: 1, samples: vec![sample] })
        };
        app.update(samples("b"));
        assert_eq!(app.open.as_ref().unwrap().series.single("m"), None);
        app.update(samples("a"));
        assert_eq!(app.open.as_ref().unwrap().series.single("m"), Some(1.0));
    }

    #[test]
    fn any_key_puts_the_help_away_and_quit_always_quits() {
        let mut app = app();
        keys(&mut app, &[Key::Help, Key::Enter]);
        assert!(!app.help && app.open.is_none());
        keys(&mut app, &[Key::Help]);
        assert_eq!(app.key(Key::Quit), Effect::Quit);
    }

    #[test]
    fn the_chosen_row_is_always_among_those_shown() {
        let mut app = app();
        for (row, count, height, offset) in [
            (0, 10, 4, 0),
            (3, 10, 4, 0),
            (4, 10, 4, 1),
            (9, 10, 4, 6),
            (7, 10, 4, 6),
            (5, 10, 4, 5),
            (5, 10, 20, 0),
            (0, 0, 4, 0),
            (2, 5, 0, 2),
        ] {
            app.fit(row, count, height);
            assert_eq!(app.offset, offset, "row {row} of {count} in {height}");
        }
    }
}
