//! Server-sent events: the first status, samples, going on after a lost connection, and the end.

use flyball_collector::api::edge::Limits;
use flyball_collector::live::now_ms;
use flyball_proto::series::{Kind, Scale};
use futures_util::StreamExt as _;
use serde_json::{Value, json};

use crate::harness::{DEADLINE, Server, live_sample, series};

/// A connection that reads events.
struct Reader {
    stream: futures_util::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    text: String,
}

impl Server {
    async fn follow(&self, query: &str, last_id: Option<u64>) -> Reader {
        let mut request = self.client.get(self.url(&format!("/api/performance/events{query}")));
        request = request.header("Accept-Encoding", "gzip");
        if let Some(id) = last_id {
            request = request.header("Last-Event-ID", id);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert!(response.headers().get("content-encoding").is_none(), "events are not held back");
        Reader { stream: response.bytes_stream().boxed(), text: String::new() }
    }
}

impl Reader {
    /// The next event and its id; `None` when the stream ended.
    async fn next(&mut self) -> Option<(u64, Value)> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| event.lines().find_map(|l| l.strip_prefix(name));
                if let Some(data) = field("data: ") {
                    let id = field("id: ").unwrap().parse().unwrap();
                    assert!(field("event:").is_none(), "{event}");
                    return Some((id, serde_json::from_str(data).unwrap()));
                }
                continue;
            }
            let chunk = tokio::time::timeout(DEADLINE, self.stream.next()).await.unwrap()?;
            self.text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
        }
    }

    /// Reads on to the next event of this type.
    async fn next_of(&mut self, kind: &str) -> (u64, Value) {
        loop {
            let (id, event) = self.next().await.expect("the stream goes on");
            if event["type"] == kind {
                return (id, event);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_hears_of_status_and_samples_and_goes_on_where_it_left() {
    let server = Server::start().await;
    let load = series("system.cpu.load_average.1m", Kind::Gauge, Scale::decimal(2), &[("k", "v")]);
    let feed = server.connect("a", load);
    let now = now_ms();
    feed.update(now - 3_000, &[live_sample(100)]);

    let mut all = server.follow("", None).await;
    let (_, first) = all.next().await.unwrap();
    assert_eq!((&first["type"], &first["nodes"][0]["node"]), (&"status".into(), &"a".into()));
    assert_eq!(first["totals"]["nodes"], 1);

    let mut samples = server.follow("?node=a&metric=system.cpu.*", None).await;
    let mut others = server.follow("?node=a&metric=system.memory.*", None).await;
    samples.next_of("status").await;
    others.next_of("status").await;
    feed.update(now - 2_000, &[live_sample(125)]);
    let (id, event) = samples.next_of("samples").await;
    let expected = json!({"type": "samples", "node": "a", "ts_ms": now - 2_000, "samples": [
        {"metric": "system.cpu.load_average.1m", "attributes": {"k": "v"}, "value": 1.25},
    ]});
    assert_eq!(event, expected);
    assert_eq!(others.next_of("samples").await.1["samples"], json!([]));

    drop(samples);
    feed.update(now - 1_000, &[live_sample(150)]);
    let mut again = server.follow("?node=a", Some(id)).await;
    let (next_id, missed) = again.next_of("samples").await;
    assert_eq!((&missed["ts_ms"], next_id > id), (&(now - 1_000).into(), true));

    let mut late = server.follow("", Some(1)).await;
    assert_eq!(late.next().await.unwrap().1, json!({"type": "resync"}));
    assert_eq!(late.next().await.unwrap().1["nodes"][0]["node"], "a");

    drop(feed);
    let down = loop {
        let (_, event) = all.next_of("status").await;
        if event["nodes"][0]["up"] == false {
            break event;
        }
    };
    assert_eq!(down["totals"]["nodes_up"], 0);

    server.cancel();
    while again.next().await.is_some() {}
    while all.next().await.is_some() {}
    drop((late, others));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_are_bounded_and_counted() {
    let limits = Limits { event_readers: 1, ..Limits::default() };
    let server = Server::start_with(limits).await;
    let mut reader = server.follow("", None).await;
    reader.next().await.unwrap();
    let refused = server.get("/api/performance/events").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    assert_eq!(refused.problem_fields(), Vec::<String>::new());
    assert!(server.get("/metrics").await.text().contains("flyball_event_readers 1\n"));
    drop(reader);
    let deadline = tokio::time::Instant::now() + DEADLINE;
    while !server.get("/metrics").await.text().contains("flyball_event_readers 0\n") {
        assert!(tokio::time::Instant::now() < deadline, "the reader that left is still counted");
    }
    server.stop().await;
}
