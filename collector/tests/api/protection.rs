//! What the API does for itself: callers that ask too much, too many at once, slow clients, and a store that does not move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use flyball_collector::api::edge::Limits;
use flyball_collector::api::serve::SPARE;
use flyball_collector::live::now_ms;
use flyball_collector::overload::Rate;
use flyball_collector::query::QueryLimits;
use flyball_proto::series::{Kind, Scale};
use flyball_proto::v1;
use flyball_proto::v1::performance_client::PerformanceClient;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::harness::{Answer, DEADLINE, Server, Setup, series};

const STATUS: &str = "/api/performance/status";
const SHORT: Duration = Duration::from_millis(200);

impl Server {
    /// A connection on which the test says what is sent, and when.
    async fn raw(&self) -> TcpStream {
        TcpStream::connect(self.http).await.unwrap()
    }

    /// A metric of the collector.
    async fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in\n{text}")).parse().unwrap()
    }

    async fn until(&self, name: &str, is: impl Fn(f64) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let value = self.metric(name).await;
            if is(value) {
                return;
            }
            assert!(Instant::now() < deadline, "{name} stays at {value}");
        }
    }

    async fn performance(&self) -> PerformanceClient<tonic::transport::Channel> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", self.grpc));
        PerformanceClient::new(endpoint.unwrap().connect().await.unwrap())
    }

    /// Asks until an answer has this status.
    async fn ask_until(&self, path: &str, status: u16) -> Answer {
        let deadline = Instant::now() + DEADLINE;
        loop {
            // A connection may be closed without a word: then there is another one.
            let is_there = self.client.get(self.url(path)).send().await;
            if is_there.is_ok_and(|answer| answer.status() == status) {
                let answer = self.get(path).await;
                if answer.status == status {
                    return answer;
                }
            }
            assert!(Instant::now() < deadline, "{path} never is {status}");
        }
    }
}

/// Everything that comes until the connection is closed, in whatever way.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(DEADLINE, stream.read_to_end(&mut bytes)).await.expect("it is closed");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the beginning of an answer.
async fn first_line(stream: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let read = timeout(DEADLINE, stream.read(&mut bytes)).await.unwrap().unwrap();
    String::from_utf8_lossy(&bytes[..read]).lines().next().unwrap_or_default().to_owned()
}

fn refusal(answer: &Answer) -> (u16, String) {
    assert_eq!(answer.problem_fields(), Vec::<String>::new());
    assert_eq!(answer.header("retry-after"), "1");
    (answer.status, answer.json()["detail"].as_str().unwrap().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_asks_too_much_is_told_when_to_come_again() {
    let rate = Some(Rate { per_second: 1, burst: 3 });
    let limits = Limits { rate, rate_of_loopback: true, ..Limits::default() };
    let server = Server::start_with(limits).await;
    assert_eq!(server.get(STATUS).await.status, 200);
    let (status, detail) = refusal(&server.ask_until(STATUS, 429).await);
    assert!(status == 429 && detail.contains("http.requests_per_second"), "{detail}");
    let mut client = server.performance().await;
    let deadline = Instant::now() + DEADLINE;
    let refused = loop {
        match client.status(v1::StatusRequest::default()).await {
            Err(refused) => break refused,
            Ok(_) => assert!(Instant::now() < deadline, "gRPC has a rate of its own"),
        }
    };
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let wait = refused.get_details_retry_info().unwrap().retry_delay.unwrap();
    assert!(wait <= Duration::from_secs(1), "{wait:?}");
    for path in ["/healthz", "/metrics"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    assert!(server.metric("flyball_http_refused_total{reason=\"rate\"}").await >= 2.0);
    drop(client);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_at_once_than_are_worked_on_are_refused_and_health_is_not() {
    let server = Server::start_with(Limits { in_flight: 1, ..Limits::default() }).await;
    let mut slow = server.raw().await;
    let head = "POST /api/performance/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    server.until("flyball_http_in_flight", |n| n >= 1.0).await;

    let (status, detail) = refusal(&server.get(STATUS).await);
    assert!(status == 503 && detail.contains("http.max_in_flight"), "{detail}");
    let mut client = server.performance().await;
    let refused = client.status(v1::StatusRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.get_details_retry_info().is_some());
    for path in ["/healthz", "/readyz", "/metrics"] {
        assert_eq!(server.get(path).await.status, 200, "{path}");
    }
    let events = server.client.get(server.url("/api/performance/events")).send().await.unwrap();
    assert_eq!(events.status(), 200, "a stream is not in flight");
    drop(events);

    slow.write_all(b"{\"zap\":1}").await.unwrap();
    assert_eq!(first_line(&mut slow).await, "HTTP/1.1 400 Bad Request");
    assert_eq!(server.get(STATUS).await.status, 200);
    assert!(client.status(v1::StatusRequest::default()).await.is_ok());
    drop((client, slow));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_clients_are_cut_off() {
    let limits = Limits {
        // Also of what is asked in order here.
        header_timeout: SHORT * 5,
        idle_timeout: SHORT * 5,
        body_timeout: SHORT,
        ..Limits::default()
    };
    let server = Server::start_with(limits).await;
    let mut silent = server.raw().await;
    assert_eq!(rest(&mut silent).await, "");
    let mut half = server.raw().await;
    half.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    assert_eq!(rest(&mut half).await, "");
    assert!(server.metric("flyball_http_cut_total{reason=\"header\"}").await >= 2.0);

    let mut idle = server.raw().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(rest(&mut idle).await.starts_with("HTTP/1.1 200 OK"), "answered, and closed later");
    assert!(server.metric("flyball_http_cut_total{reason=\"idle\"}").await >= 1.0);

    let mut body = server.raw().await;
    let head = "POST /api/performance/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n{";
    body.write_all(head.as_bytes()).await.unwrap();
    let answer = rest(&mut body).await;
    assert!(answer.starts_with("HTTP/1.1 408 Request Timeout"), "{answer}");
    assert!(answer.contains("urn:flyball:problem:slow-body"), "{answer}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_read_is_cut_off() {
    let server = Server::start_with(Limits { stall_timeout: SHORT, ..Limits::default() }).await;
    let mut deaf = server.raw().await;
    let asked = 3_000;
    let one = "GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n";
    deaf.write_all(one.repeat(asked).as_bytes()).await.unwrap();
    server.until("flyball_http_cut_total{reason=\"stall\"}", |n| n >= 1.0).await;
    let got = rest(&mut deaf).await.matches("HTTP/1.1 200 OK").count();
    assert!(got < asked, "all was sent");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_over_the_bound_is_told_so_and_one_over_that_is_closed() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = Server::start_with(limits).await;
    let mut first = server.raw().await;
    first.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(first_line(&mut first).await, "HTTP/1.1 200 OK");

    let refused = server.get(STATUS).await;
    assert_eq!(refused.header("connection"), "close");
    let (status, detail) = refusal(&refused);
    assert!(status == 503 && detail.contains("http.max_connections"), "{detail}");
    assert_eq!(server.get("/healthz").await.status, 200);
    assert!(server.metric("flyball_http_refused_total{reason=\"connections\"}").await >= 1.0);

    let mut others = Vec::new();
    for _ in 0..=SPARE {
        others.push(server.raw().await);
    }
    let closed = others.iter_mut().map(|stream| Box::pin(rest(stream)));
    let (text, ..) = futures_util::future::select_all(closed).await;
    assert_eq!(text, "", "closed without a word");
    drop((first, others));
    server.ask_until(STATUS, 200).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_stands_still_queries_are_refused_and_last_values_are_not() {
    let queries = QueryLimits { running: 1, waiting: 1, ..QueryLimits::default() };
    let server = Server::start_as(Setup { queries, ..Setup::default() }).await;
    let gauge = series("m", Kind::Gauge, Scale::UNIT, &[]);
    server.insert("a", &gauge, &[(now_ms(), 1)]).await;
    let _feed = server.connect("a", gauge);
    // Questions of which none is the same as another, each one query.
    let path = |step: u32| {
        let from = now_ms() - 5_000;
        format!("/api/performance/metrics?metric=m&from={from}&step={step}s")
    };
    let engine = server.open.engine.as_ref().unwrap().state().borrow().pid.unwrap();
    let engine = Pid::from_raw(engine as i32).unwrap();
    kill_process(engine, Signal::STOP).unwrap();
    let ask = |step| tokio::spawn(server.client.get(server.url(&path(step))).send());
    let stuck = [ask(1), ask(2)];
    server.until("flyball_query_turns", |n| n >= 2.0).await;

    let (status, _) = refusal(&server.get(&path(3)).await);
    assert_eq!(status, 429);
    assert_eq!(server.get("/api/performance/status?node=a").await.status, 200);
    assert_eq!(server.metric("flyball_query_turns_refused_total").await as u64, 1);
    kill_process(engine, Signal::CONT).unwrap();
    for answer in stuck {
        assert_eq!(answer.await.unwrap().unwrap().status(), 200);
    }
    assert_eq!(server.get(&path(4)).await.status, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_takes_the_query_along() {
    let server = Server::start().await;
    let gauge = series("m", Kind::Gauge, Scale::UNIT, &[]);
    server.insert("a", &gauge, &[(now_ms(), 1)]).await;
    let engine = server.open.engine.as_ref().unwrap().state().borrow().pid.unwrap();
    let engine = Pid::from_raw(engine as i32).unwrap();
    kill_process(engine, Signal::STOP).unwrap();
    let path = format!("/api/performance/metrics?metric=m&from={}", now_ms() - 5_000);
    let asking = tokio::spawn(server.client.get(server.url(&path)).send());
    server.until("flyball_query_turns", |n| n >= 1.0).await;
    asking.abort();
    // The store still stands: nothing but the caller has ended it.
    server.until("flyball_query_turns", |n| n <= 0.0).await;
    kill_process(engine, Signal::CONT).unwrap();
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_requests_wait_for_a_processor_some_are_refused_until_they_do_not() {
    // The crowd stays, however long everything else takes with so little of a processor.
    let limits = Limits { timeout: DEADLINE, body_timeout: DEADLINE, ..Limits::default() };
    let server = Server::start_with(limits).await;
    let busy = Arc::new(AtomicBool::new(true));
    let spin = |busy: Arc<AtomicBool>| async move {
        while busy.load(Ordering::Relaxed) {
            let until = std::time::Instant::now() + Duration::from_millis(20);
            while std::time::Instant::now() < until {
                std::hint::spin_loop();
            }
            tokio::task::yield_now().await;
        }
    };
    let spinners: Vec<_> = (0..12).map(|_| tokio::spawn(spin(Arc::clone(&busy)))).collect();
    server.until("flyball_http_delay_seconds", |delay| delay > 0.1).await;
    assert_eq!(server.get(STATUS).await.status, 200, "one alone does not make others wait");
    let mut crowd = Vec::new();
    for _ in 0..40 {
        let mut one = server.raw().await;
        let head = "POST /api/performance/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
        one.write_all(head.as_bytes()).await.unwrap();
        crowd.push(one);
    }
    let (status, detail) = refusal(&server.ask_until(STATUS, 503).await);
    assert!(status == 503 && detail.contains("wait too long for a processor"), "{detail}");
    assert!(server.metric("flyball_http_shed_share").await > 0.0);
    busy.store(false, Ordering::Relaxed);
    for spinner in spinners {
        spinner.await.unwrap();
    }
    server.until("flyball_http_shed_share", |share| share <= 0.0).await;
    assert_eq!(server.get(STATUS).await.status, 200);
    // They would be waited for.
    drop(crowd);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_closes_idle_connections_and_waits_for_answers() {
    let server = Server::start().await;
    let mut idle = server.raw().await;
    idle.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert_eq!(first_line(&mut idle).await, "HTTP/1.1 200 OK");
    let mut asking = server.raw().await;
    let head = "POST /api/performance/metrics HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n";
    asking.write_all(head.as_bytes()).await.unwrap();
    server.until("flyball_http_in_flight", |n| n >= 1.0).await;
    server.cancel();
    assert_eq!(rest(&mut idle).await, "");
    asking.write_all(b"{}").await.unwrap();
    let answer = rest(&mut asking).await;
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request"), "{answer}");
    server.stop().await;
}
