//! `flyball top`: the fleet or one node, live.
//!
//! One task follows the events ([`live`]); this one owns the state ([`app`]) and draws it ([`view`]). Between them is a bounded queue: when drawing is slow the
//! follower waits, the connection fills up and the collector tells that events were lost, upon which the follower starts afresh.

mod app;
mod detail;
mod fleet;
mod live;
mod node;
mod screen;
mod view;

use std::time::Duration;

use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use flyball_service::shutdown;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::StreamExt as _;

use crate::api::types::FleetStatus;
use crate::args::TopArgs;
use crate::commands::{Context, hint, nodes, print};
use crate::config::Output;
use crate::error::Error;
use crate::text::units::now_ms;
use app::{App, Effect, Key};
use live::Update;
use screen::TerminalGuard;
use view::Theme;

/// Updates that wait to be drawn. A reader this far behind is told to start afresh by the collector.
const QUEUE: usize = 64;
/// Ages grow on the screen when nothing arrives.
const REDRAW: Duration = Duration::from_secs(1);

/// Shows the fleet until the operator quits; without a terminal prints one snapshot.
///
/// # Errors
/// When the collector cannot be reached at the start, or the terminal cannot be used.
pub(crate) async fn run(context: &Context, args: &TopArgs) -> Result<(), Error> {
    let body = context.client.get("/api/performance/status", &[]).await?;
    let fleet: FleetStatus = context.client.parse(&body)?;
    if let Some(node) = args.node.as_deref().filter(|n| fleet.nodes.iter().all(|f| f.node != *n)) {
        return Err(Error::NotFound(format!("no node is {node}; `flyball nodes` lists all")));
    }
    if context.output == Output::Json {
        return print(&body);
    }
    if !context.screen.terminal {
        return snapshot(context, args, fleet);
    }
    let mut app = App::new(context.client.server(), fleet, args.sort);
    let (want, wanted) = watch::channel(args.node.clone());
    if let Some(node) = &args.node {
        app.open(node);
    }
    let (sender, updates) = mpsc::channel(QUEUE);
    let mut follower = JoinSet::new();
    follower.spawn(live::follow(context.client.clone(), wanted, sender));
    let theme = Theme { color: context.screen.color };
    let mut terminal = TerminalGuard::open()?;
    let ended = draw_until_quit(&mut terminal, &mut app, theme, updates, &want).await;
    drop(terminal);
    // A panic of the follower is told after the terminal is itself again.
    follower.abort_all();
    while let Some(joined) = follower.join_next().await {
        if let Err(error) = joined
            && error.is_panic()
        {
            std::panic::resume_unwind(error.into_panic());
        }
    }
    ended
}

fn snapshot(context: &Context, args: &TopArgs, fleet: FleetStatus) -> Result<(), Error> {
    let mut shown = fleet.nodes;
    if let Some(name) = &args.node {
        shown.retain(|node| node.node == *name);
    }
    print(&nodes::sorted_table(context.screen, shown, args.sort, now_ms()))?;
    hint("this is one snapshot, because standard output is not a terminal");
    Ok(())
}

async fn draw_until_quit(
    terminal: &mut TerminalGuard,
    app: &mut App,
    theme: Theme,
    mut updates: mpsc::Receiver<Update>,
    want: &watch::Sender<Option<String>>,
) -> Result<(), Error> {
    let shutdown = shutdown::on_signal()?;
    let mut keys = EventStream::new();
    let mut ages = tokio::time::interval(REDRAW);
    loop {
        terminal.draw(|frame| view::draw(frame, app, theme, now_ms()))?;
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            event = keys.next() => match event {
                Some(Ok(Event::Key(key))) => match key_of(key).map_or(Effect::None, |k| app.key(k)) {
                    Effect::None => {}
                    Effect::Quit => return Ok(()),
                    Effect::Watch(node) => {
                        want.send_replace(node);
                    }
                },
                // A changed size is drawn like anything else.
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            update = updates.recv() => {
                // The follower never ends by itself.
                let Some(update) = update else { return Ok(()) };
                app.update(update);
                // One drawing shows all that has arrived.
                while let Ok(update) = updates.try_recv() {
                    app.update(update);
                }
            }
            _ = ages.tick() => {}
        }
    }
}

fn key_of(key: KeyEvent) -> Option<Key> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return matches!(key.code, KeyCode::Char('c' | 'd')).then_some(Key::Quit);
    }
    Some(match key.code {
        KeyCode::Char('q' | 'Q') => Key::Quit,
        KeyCode::Up | KeyCode::Char('k') => Key::Up,
        KeyCode::Down | KeyCode::Char('j') => Key::Down,
        KeyCode::PageUp => Key::PageUp,
        KeyCode::PageDown | KeyCode::Char(' ') => Key::PageDown,
        KeyCode::Home | KeyCode::Char('g') => Key::Home,
        KeyCode::End | KeyCode::Char('G') => Key::End,
        KeyCode::Enter | KeyCode::Right => Key::Enter,
        KeyCode::Esc | KeyCode::Left | KeyCode::Backspace => Key::Back,
        KeyCode::Char('s') => Key::NextSort,
        KeyCode::Char('S') => Key::PreviousSort,
        KeyCode::Char('?' | 'h') => Key::Help,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_known_and_others_do_nothing() {
        let key = |code, modifiers| key_of(KeyEvent::new(code, modifiers));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::NONE), None);
        assert_eq!(key(KeyCode::Char('s'), KeyModifiers::CONTROL), None);
        assert_eq!(key(KeyCode::Char('S'), KeyModifiers::SHIFT), Some(Key::PreviousSort));
        assert_eq!(key(KeyCode::Enter, KeyModifiers::NONE), Some(Key::Enter));
    }
}
