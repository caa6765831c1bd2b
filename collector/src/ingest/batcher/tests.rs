use std::collections::VecDeque;

use flyball_proto::series::{Kind, NodeName, Scale, Series};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::super::batch::NewSeries;
use super::super::ledger::Ledger;
use super::*;
use crate::store::HOUR_MS;

const DEADLINE: Duration = Duration::from_secs(20);

/// What was inserted: table, rows, token.
type Call = (&'static str, usize, String);

/// A store that answers by a script, where a real one cannot be made to: then it accepts everything.
#[derive(Debug, Clone, Default)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<Answer>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    released: Arc<TestSemaphore>,
}

/// Without permits at first.
#[derive(Debug)]
struct TestSemaphore(Semaphore);

impl Default for TestSemaphore {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Accept,
    Fail(&'static str),
    /// Accepts when the test adds a permit to `released`.
    Wait,
    Never,
}

impl Scripted {
    async fn answer(&self, call: Call) -> Result<(), StoreError> {
        self.calls.lock().push(call);
        let answer = self.answers.lock().pop_front().unwrap_or(Answer::Accept);
        match answer {
            Answer::Accept => Ok(()),
            Answer::Fail(text) => {
                Err(clickhouse::error::Error::BadResponse(text.to_owned()).into())
            }
            Answer::Wait => {
                self.released.0.acquire().await.expect("it is never closed").forget();
                Ok(())
            }
            Answer::Never => std::future::pending().await,
        }
    }
}

impl Sink for Scripted {
    async fn insert_series(&self, rows: &[SeriesRow], token: &str) -> Result<(), StoreError> {
        self.answer(("series", rows.len(), token.to_owned())).await
    }

    async fn insert_samples(&self, rows: &[SampleRow], token: &str) -> Result<(), StoreError> {
        self.answer(("samples", rows.len(), token.to_owned())).await
    }

    async fn insert_cache_stats(&self, rows: &[CacheRow], token: &str) -> Result<(), StoreError> {
        self.answer(("caches", rows.len(), token.to_owned())).await
    }

    async fn insert_late_marks(&self, marks: &[LateMark], id: u64) -> Result<(), StoreError> {
        self.answer(("marks", marks.len(), id.to_string())).await
    }

    /// Long before the samples of most tests, so that they are not late.
    fn server_now_ms(&self) -> i64 {
        NOW_MS
    }
}

const NOW_MS: i64 = -10_000_000;

/// A running batcher and what stands around it.
struct Bench {
    sink: Scripted,
    queue: mpsc::Sender<Submission>,
    ledger: Arc<Ledger>,
    gate: Arc<Gate>,
    catalog: Arc<Catalog>,
    accounts: Accounts,
    stop: Stop,
    task: tokio::task::JoinHandle<()>,
    seq: u64,
}

fn series() -> Series {
    Series {
        metric: "m".into(),
        unit: "1".into(),
        kind: Kind::Gauge,
        scale: Scale::UNIT,
        attributes: Vec::new(),
    }
}

impl Bench {
    fn start(settings: IngestSettings, answers: impl IntoIterator<Item = Answer>) -> Self {
        let sink = Scripted::default();
        sink.answers.lock().extend(answers);
        let metrics = IngestMetrics::new(10);
        let gate = Arc::new(Gate::new(settings.max_rows_in_flight, metrics.clone()));
        let catalog = Arc::new(Catalog::new(10));
        let ledger = Arc::new(Ledger::new(metrics.account("a"), 0));
        let (queue, submissions) = mpsc::channel(100);
        let stop = Stop::default();
        let accounts = Accounts::new(crate::live::Live::new(1), 1);
        let batcher = Batcher {
            sink: sink.clone(),
            catalog: Arc::clone(&catalog),
            queue: submissions,
            gate: Arc::clone(&gate),
            settings,
            metrics,
            accounts: accounts.clone(),
            stop: stop.clone(),
        };
        let task = tokio::spawn(batcher.run());
        Self { sink, queue, ledger, gate, catalog, accounts, stop, task, seq: 0 }
    }

    /// A frame of `samples` samples, with the definition of a series when `defines`.
    async fn submit(&mut self, ts_ms: i64, samples: usize, defines: bool) {
        self.submit_with(ts_ms, samples, defines, 0).await;
    }

    /// The same with rows of caches.
    async fn submit_with(&mut self, ts: i64, samples: usize, defines: bool, caches: usize) {
        let ts_ms = ts;
        self.seq += 1;
        let node = NodeName::new("a").unwrap();
        let (id, _) = self.catalog.resolve(&node, &series()).unwrap();
        let row = SampleRow { series_id: id.get(), ts_ms, raw: 0, scale: 0 };
        self.ledger.submitted(samples as u64);
        let submission = Submission {
            ledger: Arc::clone(&self.ledger),
            epoch: [0; 16],
            seq: self.seq,
            series: defines
                .then(|| NewSeries::new(id, &node, &Arc::new(series())))
                .into_iter()
                .collect(),
            samples: samples as u64,
            rows: vec![row; samples],
            caches: vec![CacheRow { ts, ..CacheRow::default() }; caches],
            refused: Vec::new(),
            room: None,
        };
        self.queue.send(submission).await.unwrap();
    }

    /// Waits until all frames have settled.
    async fn settled(&self) -> flyball_proto::v1::Ack {
        let all = async {
            while self.ledger.frames_in_flight() > 0 {
                self.ledger.changed().await;
            }
        };
        timeout(DEADLINE, all).await.expect("settles in time");
        self.ledger.take().unwrap()
    }

    fn calls(&self) -> Vec<Call> {
        self.sink.calls.lock().clone()
    }

    /// Waits until so many inserts were tried and everything that was submitted is out of the queue.
    async fn called(&self, count: usize) {
        let called = async {
            while self.calls().len() < count || self.queue.capacity() < self.queue.max_capacity() {
                tokio::task::yield_now().await;
            }
        };
        timeout(DEADLINE, called).await.expect("the blocks are tried");
    }

    async fn end(self) {
        self.stop.close.cancel();
        timeout(DEADLINE, self.task).await.expect("ends in time").unwrap();
    }
}

fn quick() -> IngestSettings {
    IngestSettings { period_ms: 20, ..IngestSettings::default() }
}

#[tokio::test]
async fn series_go_before_samples_and_are_marked_as_written() {
    let mut bench = Bench::start(quick(), []);
    bench.submit(0, 3, true).await;
    assert_eq!(bench.settled().await.written, 3);
    let calls: Vec<_> = bench.calls().iter().map(|(table, rows, _)| (*table, *rows)).collect();
    assert_eq!(calls, [("series", 1), ("samples", 3)]);
    let (_, to_write) = bench.catalog.resolve(&NodeName::new("a").unwrap(), &series()).unwrap();
    assert!(!to_write);
    bench.end().await;
}

#[tokio::test]
async fn a_retry_is_the_same_block_under_the_same_token() {
    let down = Answer::Fail("Code: 210. DB::NetException: refused");
    let mut bench = Bench::start(quick(), [down, down]);
    let flow = bench.gate.watch(super::super::hello::Lane::Live);
    bench.submit(0, 3, false).await;
    assert_eq!(bench.settled().await.written, 3);
    let calls = bench.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| *call == calls[0]), "{calls:?}");
    assert!(flow.has_changed().unwrap(), "the gate was closed");
    assert!(!bench.gate.health().is_closed, "and is open again");
    bench.end().await;
}

#[tokio::test]
async fn a_block_that_is_refused_for_good_is_rejected_with_the_reason_and_the_next_one_goes_on() {
    let wrong = Answer::Fail("Code: 53. DB::Exception: Type mismatch");
    let mut bench = Bench::start(quick(), [wrong]);
    bench.submit(0, 3, false).await;
    bench.submit(HOUR_MS, 2, false).await;
    let ack = bench.settled().await;
    assert_eq!((ack.durable_seq, ack.written), (2, 2));
    assert_eq!((ack.rejected.len(), ack.rejected[0].samples), (1, 3));
    assert!(ack.rejected[0].reason.contains("Type mismatch"), "{ack:?}");
    assert!(!bench.gate.health().is_closed);
    bench.end().await;
}

#[tokio::test]
async fn rows_of_caches_are_stored_before_their_frame_is_acknowledged() {
    let down = Answer::Fail("Code: 210. DB::NetException: refused");
    let mut bench = Bench::start(quick(), [Answer::Accept, down, Answer::Wait]);
    bench.submit_with(0, 3, false, 2).await;
    bench.called(2).await;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    while bench.calls().len() < 3 {
        tick.tick().await;
    }
    assert_eq!(bench.ledger.take(), None, "its samples are stored, its caches are not");
    bench.sink.released.0.add_permits(1);
    assert_eq!(bench.settled().await.written, 3);
    let calls = bench.calls();
    let what: Vec<_> = calls.iter().map(|(what, rows, _)| (*what, *rows)).collect();
    assert_eq!(what, [("samples", 3), ("caches", 2), ("caches", 2)]);
    assert_eq!(calls[1].2, calls[2].2, "a retry is the same insert");
    bench.end().await;
}

#[tokio::test]
async fn rows_of_caches_that_are_refused_for_good_hold_nothing() {
    let wrong = Answer::Fail("Code: 53. DB::Exception: Type mismatch");
    let mut bench = Bench::start(quick(), [Answer::Accept, wrong]);
    bench.submit_with(0, 3, false, 2).await;
    let ack = bench.settled().await;
    assert_eq!((ack.written, ack.rejected.len()), (3, 0));
    bench.end().await;
}

#[tokio::test]
async fn late_samples_are_marked_after_they_are_stored_and_before_they_are_acknowledged() {
    let down = Answer::Fail("Code: 210. DB::NetException: refused");
    let mut bench = Bench::start(quick(), [Answer::Accept, down, Answer::Never]);
    let late_ms = NOW_MS - LateMark::SPAN_MS - LATE_MS;
    bench.submit(late_ms, 3, false).await;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    let called = async {
        while bench.calls().len() < 3 {
            tick.tick().await;
        }
    };
    timeout(DEADLINE, called).await.expect("in time");
    assert_eq!(bench.ledger.take(), None, "stored, but not marked");
    let calls = bench.calls();
    let what: Vec<_> = calls.iter().map(|(what, rows, _)| (*what, *rows)).collect();
    assert_eq!(what, [("samples", 3), ("marks", 1), ("marks", 1)]);
    assert_eq!(calls[1].2, calls[2].2, "a retry is the same insert");
    bench.stop.give_up.cancel();
    bench.end().await;

    let mut bench = Bench::start(quick(), []);
    bench.submit(late_ms, 3, false).await;
    assert_eq!(bench.settled().await.written, 3);
    bench.submit(NOW_MS - LATE_MS, 3, false).await;
    assert_eq!(bench.settled().await.written, 3);
    let marked = bench.calls().iter().filter(|(what, ..)| *what == "marks").count();
    assert_eq!(marked, 1, "the second one is not late");
    bench.end().await;
}

#[tokio::test]
async fn marks_that_are_refused_hold_everything_until_they_are_taken() {
    let wrong = Answer::Fail("Code: 60. DB::Exception: Table flyball.rollup_marks does not exist");
    let mut bench = Bench::start(quick(), [Answer::Accept, wrong, wrong]);
    let mut flow = bench.gate.watch(super::super::hello::Lane::Live);
    bench.submit(NOW_MS - LateMark::SPAN_MS - LATE_MS, 3, false).await;
    timeout(DEADLINE, flow.changed()).await.expect("the gate closes").unwrap();
    let failure = bench.gate.health().failure.expect("it says why");
    assert!(failure.error.contains("rollup_marks"), "{failure:?}");
    let ack = bench.settled().await;
    assert_eq!((ack.written, ack.rejected.len()), (3, 0));
    let calls = bench.calls();
    let marks: Vec<_> = calls.iter().filter(|(what, ..)| *what == "marks").collect();
    assert!(marks.len() == 3 && marks.iter().all(|call| *call == marks[0]), "{calls:?}");
    assert!(!bench.gate.health().is_closed);
    bench.end().await;
}

#[tokio::test]
async fn a_refusal_after_a_failure_opens_the_gate_again() {
    let down = Answer::Fail("Code: 210. DB::NetException: refused");
    let wrong = Answer::Fail("Code: 53. DB::Exception: Type mismatch");
    let mut bench = Bench::start(quick(), [down, wrong]);
    bench.submit(0, 3, false).await;
    assert_eq!(bench.settled().await.rejected[0].samples, 3);
    assert!(!bench.gate.health().is_closed, "the server answered");
    bench.end().await;
}

#[tokio::test]
async fn samples_are_rejected_with_the_series_that_they_need() {
    let wrong = Answer::Fail("Code: 53. DB::Exception: Type mismatch");
    let mut bench = Bench::start(quick(), [wrong]);
    bench.submit(0, 3, true).await;
    let ack = bench.settled().await;
    assert_eq!((ack.written, ack.rejected[0].samples), (0, 3));
    assert_eq!(bench.calls().len(), 1, "the samples were not tried");
    let (_, to_write) = bench.catalog.resolve(&NodeName::new("a").unwrap(), &series()).unwrap();
    assert!(to_write, "whoever sends the series next writes it");
    bench.end().await;
}

#[tokio::test]
async fn later_frames_of_a_refused_series_are_rejected_until_its_row_is_accepted() {
    let wrong = Answer::Fail("Code: 53. DB::Exception: Type mismatch");
    let mut bench = Bench::start(quick(), [wrong]);
    bench.submit(0, 3, true).await;
    assert_eq!(bench.settled().await.rejected[0].samples, 3);
    bench.submit(1, 2, false).await;
    let ack = bench.settled().await;
    assert_eq!((ack.written, ack.rejected[0].samples), (0, 2));
    assert!(ack.rejected[0].reason.contains("Type mismatch"), "{ack:?}");
    assert_eq!(bench.calls().len(), 1, "no sample was written");
    let alerts = bench.accounts.alerts();
    assert_eq!((alerts.len(), alerts[0].name), (1, "series.refused"));

    bench.submit(2, 2, true).await;
    assert_eq!(bench.settled().await.written, 2);
    bench.submit(3, 1, false).await;
    assert_eq!(bench.settled().await.written, 1);
    assert_eq!(bench.accounts.alerts()[0].state, crate::account::AlertState::Resolved);
    bench.end().await;
}

#[tokio::test]
async fn a_batch_ends_at_its_rows_and_not_at_its_period() {
    let settings = IngestSettings { period_ms: 60_000, batch_rows: 5, ..quick() };
    let mut bench = Bench::start(settings, []);
    for _ in 0..3 {
        bench.submit(0, 2, false).await;
    }
    assert_eq!(bench.settled().await.written, 6);
    bench.end().await;
}

#[tokio::test]
async fn to_drain_is_to_write_at_once() {
    let settings = IngestSettings { period_ms: 60_000, ..quick() };
    let mut bench = Bench::start(settings, []);
    bench.submit(0, 2, false).await;
    bench.stop.drain.cancel();
    assert_eq!(bench.settled().await.written, 2);
    bench.submit(1, 2, false).await;
    assert_eq!(bench.settled().await.written, 2);
    bench.end().await;
}

#[tokio::test]
async fn to_give_up_settles_nothing() {
    let mut bench = Bench::start(quick(), [Answer::Never]);
    bench.submit(0, 2, false).await;
    bench.called(1).await;
    bench.stop.give_up.cancel();
    timeout(DEADLINE, &mut bench.task).await.expect("ends in time").unwrap();
    assert_eq!(bench.ledger.frames_in_flight(), 1);
    assert_eq!(bench.ledger.take(), None);
}

#[tokio::test]
async fn batches_are_written_together_and_settle_in_their_order() {
    let settings = IngestSettings { batch_rows: 2, ..quick() };
    let mut bench = Bench::start(settings, [Answer::Wait, Answer::Accept]);
    bench.submit(0, 2, false).await;
    bench.called(1).await;
    for ts_ms in [1, 2] {
        bench.submit(ts_ms, 3, false).await;
    }
    bench.called(2).await;
    assert_eq!(bench.calls().len(), WRITES, "the third one has no place yet");
    assert_eq!(bench.ledger.take(), None, "the second one is through and waits for the first");
    bench.sink.released.0.add_permits(1);
    let ack = bench.settled().await;
    assert_eq!((ack.durable_seq, ack.written), (3, 8));
    bench.end().await;
}

#[tokio::test]
async fn samples_wait_for_the_series_of_an_earlier_batch() {
    let settings = IngestSettings { batch_rows: 2, ..quick() };
    let mut bench = Bench::start(settings, [Answer::Wait]);
    bench.submit(0, 2, true).await;
    bench.called(1).await;
    bench.submit(1, 3, false).await;
    bench.called(1).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.calls().len(), 1, "the samples of the second batch are not tried");
    bench.sink.released.0.add_permits(1);
    assert_eq!(bench.settled().await.written, 5);
    let calls: Vec<_> = bench.calls().iter().map(|(table, ..)| *table).collect();
    assert_eq!(calls, ["series", "samples", "samples"]);
    bench.end().await;
}

#[tokio::test]
async fn to_give_up_ends_all_batches_that_are_written() {
    let settings = IngestSettings { batch_rows: 2, ..quick() };
    let mut bench = Bench::start(settings, [Answer::Never, Answer::Accept]);
    for ts_ms in [0, 1] {
        bench.submit(ts_ms, 2, false).await;
        bench.called(1 + ts_ms as usize).await;
    }
    bench.stop.give_up.cancel();
    timeout(DEADLINE, &mut bench.task).await.expect("ends in time").unwrap();
    assert_eq!(bench.ledger.take(), None, "the second one is stored, but not the first");
    assert_eq!(bench.ledger.frames_in_flight(), 2);
}
