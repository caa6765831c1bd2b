//! Follows `/api/performance/events`: connects, reads, and connects again with growing delays when the connection is lost.
//!
//! Every connection starts afresh, with a status of all nodes, so that nothing stale survives an interruption; what a reader missed in between is of no use
//! to a live view. Choosing another node reconnects at once, because the node is a parameter of the stream. A reader that is too slow is told so by the collector
//! (`resync`) and gets the status of all nodes on the same connection.

use std::time::Duration;

use flyball_model::backoff::Backoff;
use tokio::sync::{mpsc, watch};

use crate::api::types::LiveEvent;
use crate::api::{Client, root_cause};
use crate::sse::Parser;

/// Metrics of the page of one node.
const METRICS: [&str; 9] = [
    "system.cpu.utilization",
    "system.cpu.load_average.*",
    "system.memory.*",
    "system.paging.usage",
    "system.disk.io*",
    "system.network.io",
    "system.filesystem.*",
    "flyball.pressure.avg10",
    "process.*",
];

const BACKOFF_FLOOR: Duration = Duration::from_millis(250);
const BACKOFF_CAP: Duration = Duration::from_secs(10);
/// The collector sends a comment at least every 15 s; three missing ones mean that the connection is dead.
const SILENCE: Duration = Duration::from_secs(45);

/// What the follower tells.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Update {
    /// A new connection: the next status holds all nodes.
    Connected,
    /// Something happened.
    Event(LiveEvent),
    /// The connection is lost or was not made.
    Lost {
        /// Why.
        reason: String,
        /// Time until the next attempt.
        retry_in: Duration,
    },
}

/// How one connection ended.
enum End {
    /// Nobody listens to the updates.
    Closed,
    /// Another node is wanted: connect again at once.
    Afresh,
    Lost(String),
}

/// Follows the events of the fleet and of the node in `wanted` until the receiver of `updates` is dropped.
pub(super) async fn follow(
    client: Client,
    mut wanted: watch::Receiver<Option<String>>,
    updates: mpsc::Sender<Update>,
) {
    let mut backoff = Backoff::new(BACKOFF_FLOOR, BACKOFF_CAP).expect("0 < floor <= cap");
    loop {
        match connection(&client, &mut wanted, &updates, &mut backoff).await {
            End::Closed => return,
            End::Afresh => {}
            End::Lost(reason) => {
                let retry_in = backoff.next_delay(rand::random());
                tracing::debug!(reason, ?retry_in, "lost the events");
                if updates.send(Update::Lost { reason, retry_in }).await.is_err() {
                    return;
                }
                tokio::select! {
                    () = tokio::time::sleep(retry_in) => {}
                    () = updates.closed() => return,
                }
            }
        }
    }
}

async fn connection(
    client: &Client,
    wanted: &mut watch::Receiver<Option<String>>,
    updates: &mpsc::Sender<Update>,
    backoff: &mut Backoff,
) -> End {
    let query = query(wanted.borrow_and_update().as_deref());
    let mut stream = tokio::select! {
        opened = client.open("/api/performance/events", &query) => match opened {
            Ok(stream) => stream,
            Err(error) => return End::Lost(error.brief()),
        },
        () = changed(wanted) => return End::Afresh,
    };
    if updates.send(Update::Connected).await.is_err() {
        return End::Closed;
    }
    let mut parser = Parser::default();
    loop {
        let chunk = tokio::select! {
            chunk = tokio::time::timeout(SILENCE, stream.chunk()) => chunk,
            () = changed(wanted) => return End::Afresh,
            () = updates.closed() => return End::Closed,
        };
        let chunk = match chunk {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return End::Lost("the collector ended the stream".to_owned()),
            Ok(Err(error)) => return End::Lost(root_cause(&error)),
            Err(_) => return End::Lost(format!("silent for {} s", SILENCE.as_secs())),
        };
        let events = match parser.push(&chunk) {
            Ok(events) => events,
            Err(error) => return End::Lost(error.to_string()),
        };
        for event in events {
            match serde_json::from_str(&event) {
                Ok(event) => {
                    backoff.reset();
                    if updates.send(Update::Event(event)).await.is_err() {
                        return End::Closed;
                    }
                }
                Err(error) => return End::Lost(format!("not an event: {error}")),
            }
        }
    }
}

/// Waits for another wanted node; for ever when nobody can want one any more.
async fn changed(wanted: &mut watch::Receiver<Option<String>>) {
    if wanted.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn query(node: Option<&str>) -> Vec<(&'static str, String)> {
    let Some(node) = node else { return Vec::new() };
    let mut query = vec![("node", node.to_owned())];
    query.extend(METRICS.iter().map(|metric| ("metric", (*metric).to_owned())));
    query
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::Config;

    const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    const STATUS: &str = "data: {\"type\":\"status\",\"ts_ms\":1,\"nodes\":[],\"totals\":{}}\n\n";

    /// A server for what a real collector cannot be made to do at a given moment: break off in the middle of an event.
    struct Server(TcpListener);

    impl Server {
        async fn start() -> (Self, Client) {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let mut config = Config::default();
            config.cli.server = format!("http://{}", listener.local_addr().unwrap());
            (Self(listener), Client::new(&config).unwrap())
        }

        /// Takes a connection, gives its request line and has sent `answer`.
        async fn answer(&self, answer: &str) -> (String, TcpStream) {
            let (mut stream, _) = self.0.accept().await.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            let request = String::from_utf8(request).unwrap();
            (request.lines().next().unwrap().to_owned(), stream)
        }
    }

    fn start(client: Client) -> (watch::Sender<Option<String>>, mpsc::Receiver<Update>) {
        let (want, wanted) = watch::channel(None);
        let (sender, updates) = mpsc::channel(8);
        tokio::spawn(follow(client, wanted, sender));
        (want, updates)
    }

    async fn next(updates: &mut mpsc::Receiver<Update>) -> Update {
        tokio::time::timeout(Duration::from_secs(20), updates.recv()).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_stream_that_breaks_off_is_opened_again() {
        let (server, client) = Server::start().await;
        let (_want, mut updates) = start(client);
        let (_, stream) = server.answer(&format!("{HEAD}{STATUS}data: {{\"type\":")).await;
        drop(stream);
        assert_eq!(next(&mut updates).await, Update::Connected);
        assert!(matches!(next(&mut updates).await, Update::Event(LiveEvent::Status { .. })));
        let Update::Lost { retry_in, .. } = next(&mut updates).await else { panic!("not lost") };
        assert!(retry_in <= BACKOFF_FLOOR, "{retry_in:?}");
        let _stream = server.answer(&format!("{HEAD}{STATUS}")).await;
        assert_eq!(next(&mut updates).await, Update::Connected);
    }

    #[tokio::test]
    async fn a_refusal_is_told_and_tried_again() {
        let (server, client) = Server::start().await;
        let (_want, mut updates) = start(client);
        let body = r#"{"title":"Service Unavailable","status":503,"detail":"draining"}"#;
        let length = body.len();
        let head = format!(
            "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        let _refused = server.answer(&format!("{head}{body}")).await;
        let Update::Lost { reason, .. } = next(&mut updates).await else { panic!("not lost") };
        assert_eq!(reason, "service unavailable: draining");
        let _stream = server.answer(HEAD).await;
        assert_eq!(next(&mut updates).await, Update::Connected);
    }

    #[tokio::test]
    async fn another_node_is_asked_for_at_once() {
        let (server, client) = Server::start().await;
        let (want, mut updates) = start(client);
        let first = server.answer(HEAD).await;
        assert_eq!(first.0, "GET /api/performance/events HTTP/1.1");
        assert_eq!(next(&mut updates).await, Update::Connected);
        want.send_replace(Some("web 1".into()));
        let second = server.answer(HEAD).await;
        assert!(
            second.0.starts_with("GET /api/performance/events?node=web+1&metric=system.cpu."),
            "{}",
            second.0
        );
        assert_eq!(next(&mut updates).await, Update::Connected);
    }

    #[tokio::test]
    async fn it_ends_when_nobody_listens() {
        let (server, client) = Server::start().await;
        let (_want, wanted) = watch::channel(None);
        let (sender, updates) = mpsc::channel(8);
        let follower = tokio::spawn(follow(client, wanted, sender));
        let _stream = server.answer(HEAD).await;
        drop(updates);
        tokio::time::timeout(Duration::from_secs(20), follower).await.unwrap().unwrap();
    }
}
