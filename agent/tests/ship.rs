//! Shipping against a collector that the tests script: it withholds credits, acknowledges late, drops streams, loses the thread, refuses data.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flyball_agent::config::{Config, Servers, Span};
use flyball_agent::recorder::Scheduled;
use flyball_agent::run::run_with;
use flyball_agent::sense::{Metric, Readings, SampleError, Sampler};
use flyball_agent::ship::outbox::Shed;
use flyball_agent::spool::memory_disk::MemoryDisk;
use flyball_proto::frame::peek;
use flyball_proto::v1;
use flyball_proto::v1::Lane;
use flyball_service::shutdown::GRACE_PERIOD;
use support::{Collector, Producer, eventually};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

#[tokio::test]
async fn frames_arrive_in_order_and_are_freed_when_they_are_acknowledged() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    let mut stream = collector.accept().await;
    let hello = stream.hello().await;
    assert_eq!((hello.node.as_str(), hello.acked_seq, hello.protocol_version), ("node-1", 0, 1));
    stream.welcome(100).await;
    producer.produce(5);
    assert_eq!(stream.frames(5).await, [1, 2, 3, 4, 5]);
    assert_eq!(producer.in_flight(), 5 * Producer::SAMPLES);
    stream.ack(3).await;
    eventually(|| producer.in_flight() == 2 * Producer::SAMPLES).await;
    stream.ack(5).await;
    eventually(|| producer.in_flight() == 0).await;
    assert_eq!(producer.acked(), 5 * Producer::SAMPLES);
}

#[tokio::test]
async fn credits_bound_what_is_unacknowledged_and_zero_pauses() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce(10);
    let mut stream = collector.accept().await;
    stream.hello().await;
    stream.welcome(2).await;
    assert_eq!(stream.frames(2).await, [1, 2]);
    assert!(stream.is_silent().await, "two credits are two frames");
    stream.ack(1).await;
    assert_eq!(stream.frames(1).await, [3]);
    stream.credit(0).await;
    stream.ack(3).await;
    assert!(stream.is_silent().await, "no credit, no frame");
    stream.credit(100).await;
    assert_eq!(stream.frames(7).await, [4, 5, 6, 7, 8, 9, 10]);
}

#[tokio::test]
async fn after_a_lost_stream_everything_that_is_not_stored_is_sent_again() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce_keyframes(&[1, 4]);
    producer.produce(6);
    let mut stream = collector.accept().await;
    stream.hello().await;
    stream.welcome(100).await;
    assert_eq!(stream.frames(6).await, [1, 2, 3, 4, 5, 6]);
    stream.ack(4).await;
    eventually(|| producer.acked() == 4 * Producer::SAMPLES).await;
    drop(stream);
    producer.produce(2);
    let mut stream = collector.accept().await;
    assert_eq!(stream.hello().await.acked_seq, 4);
    stream.welcome(100).await;
    assert_eq!(
        stream.frames(5).await,
        [4, 5, 6, 7, 8],
        "from the keyframe of the first that is not stored"
    );
    stream.ack(8).await;
    eventually(|| producer.in_flight() == 0).await;
    assert_eq!(producer.acked(), 8 * Producer::SAMPLES);
    assert_eq!(producer.shed(), 0);
}

#[tokio::test]
async fn frames_wait_for_a_collector_that_is_not_there_yet() {
    let closed = Collector::reserve();
    let mut producer = Producer::start_at(&[closed.address()]);
    producer.produce(3);
    let mut collector = closed.open();
    let mut stream = collector.accept().await;
    stream.hello().await;
    stream.welcome(100).await;
    assert_eq!(stream.frames(3).await, [1, 2, 3]);
}

#[tokio::test]
async fn a_collector_that_lost_the_thread_gets_a_keyframe_and_loses_nothing() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce_keyframes(&[1, 4]);
    producer.produce(6);
    let mut stream = collector.accept().await;
    stream.hello().await;
    stream.welcome(100).await;
    assert_eq!(stream.frames(4).await, [1, 2, 3, 4]);
    stream.lose_frame(5).await;
    assert!(stream.frame_is_out_of_thread().await, "6 builds upon 5");
    stream.ack(3).await;
    stream.resync().await;
    assert_eq!(stream.frames(2).await, [5, 6], "4 comes again and is known");
    eventually(|| producer.keyframe_wanted()).await;
    producer.produce(1);
    assert!(stream.next_is_keyframe(7).await, "the frame after a Resync starts a segment");
    stream.resync().await;
    assert!(stream.has_ended().await, "what has not helped once is not tried again");
    let mut stream = collector.accept().await;
    assert_eq!(stream.hello().await.acked_seq, 3);
    stream.welcome(100).await;
    assert_eq!(stream.frames(4).await, [4, 5, 6, 7]);
}

#[tokio::test]
async fn a_segment_that_the_collector_refuses_is_given_up_and_all_others_arrive() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce_keyframes(&[1, 3, 5, 7]);
    producer.produce(8);
    let refusal = || Status::new(Code::InvalidArgument, "frame 6: checksum does not match");
    let mut stream = collector.accept().await;
    stream.expect(Lane::Live, 100).await;
    stream.frames(8).await;
    // It cannot tell which frame is meant.
    stream.refuse(refusal()).await;
    let (mut live, mut stored) = (Vec::new(), BTreeSet::new());
    while stored.len() < 6 {
        let mut stream = collector.accept().await;
        let hello = stream.hello().await;
        stream.welcome(100).await;
        if hello.lane() == Lane::Live {
            // What follows is not suspected.
            eventually(|| producer.keyframe_wanted()).await;
            producer.produce(1);
            live.push(stream);
            continue;
        }
        while let Some(seq) = stream.frame_or_gone().await {
            if seq == 6 {
                stream.refuse(refusal()).await;
                break;
            }
            if seq % 2 == 0 {
                stored.extend([seq - 1, seq]);
                stream.ack(seq).await;
            }
        }
    }
    assert_eq!(Vec::from_iter(stored), [1, 2, 3, 4, 7, 8]);
    eventually(|| producer.acked() == 6 * Producer::SAMPLES).await;
    assert_eq!(producer.shed_for(Shed::Refused), 2 * Producer::SAMPLES, "frames 5 and 6");
}

#[tokio::test]
async fn definitions_that_the_collector_refuses_do_not_hold_up_what_follows() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce(2);
    producer.restart_dictionary();
    producer.produce(2);
    let (mut live, mut stored) = (Vec::new(), None);
    while stored.is_none() {
        let mut stream = collector.accept().await;
        let hello = stream.hello().await;
        stream.welcome(100).await;
        if hello.lane() == Lane::Live && hello.acked_seq == 4 {
            eventually(|| producer.keyframe_wanted()).await;
            producer.produce(1);
            live.push(stream);
        } else if stream.definitions().await.dictionary_version == 1 {
            stream.refuse(Status::new(Code::ResourceExhausted, "define: more than 2 slots")).await;
        } else {
            stored = stream.frame_or_gone().await;
            stream.ack(4).await;
        }
    }
    eventually(|| producer.acked() == 2 * Producer::SAMPLES).await;
    assert_eq!(stored, Some(3));
    assert_eq!(producer.shed_for(Shed::Refused), 2 * Producer::SAMPLES);
}

#[tokio::test]
async fn rejected_samples_are_accounted_for() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce(2);
    let mut stream = collector.accept().await;
    stream.hello().await;
    stream.welcome(100).await;
    stream.frames(2).await;
    stream.ack_rejecting(2, 1).await;
    eventually(|| producer.in_flight() == 0).await;
    assert_eq!(producer.acked(), 2 * Producer::SAMPLES - 1);
    assert_eq!(producer.shed_for(Shed::Rejected), 1);
}

#[tokio::test]
async fn a_new_dictionary_version_is_told_before_its_frames_also_after_a_reconnection() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce(2);
    producer.restart_dictionary();
    producer.produce(2);
    for _ in 0..2 {
        let mut stream = collector.accept().await;
        stream.hello().await;
        stream.welcome(100).await;
        assert_eq!(stream.frames(4).await, [1, 2, 3, 4]);
    }
}

#[tokio::test]
async fn draining_waits_for_the_last_acknowledgement() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    let mut stream = collector.accept().await;
    stream.hello().await;
    stream.welcome(1).await;
    producer.produce(3);
    producer.drain();
    for seq in 1..=3 {
        assert_eq!(stream.frames(1).await, [seq]);
        assert!(!producer.has_ended());
        stream.ack(seq).await;
    }
    assert!(stream.has_ended().await, "in order, not as a connection that breaks");
    producer.ended().await;
    assert_eq!(producer.in_flight(), 0);
}

#[tokio::test]
async fn draining_gives_up_on_a_collector_that_is_gone() {
    let closed = Collector::reserve();
    let mut producer = Producer::start_at(&[closed.address()]);
    producer.produce(3);
    producer.drain();
    let began = tokio::time::Instant::now();
    producer.ended().await;
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert_eq!(producer.in_flight(), 3 * Producer::SAMPLES);
}

#[tokio::test]
async fn frames_that_the_collector_does_not_take_are_never_sent() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce_keyframes(&[1, 2]);
    producer.produce(2);
    let mut held = Vec::new();
    while producer.in_flight() > Producer::SAMPLES {
        let mut stream = collector.accept().await;
        let hello = stream.hello().await;
        stream.welcome_limited(100, 8).await;
        if hello.lane() == Lane::Live {
            held.push(stream);
        } else {
            assert_eq!(stream.frame_or_gone().await, None);
        }
    }
    assert_eq!(producer.shed_for(Shed::Refused), Producer::SAMPLES, "the other one is open");
}

#[tokio::test]
async fn after_an_outage_the_present_comes_first_and_the_backlog_beside_it() {
    let closed = Collector::reserve();
    let mut producer = Producer::start_at(&[closed.address()]);
    producer.produce_keyframes(&[101]);
    producer.produce(200);
    let mut collector = closed.open();
    let mut live = collector.accept().await;
    assert_eq!(live.expect(Lane::Live, 100).await.acked_seq, 200);
    eventually(|| producer.keyframe_wanted()).await;

    // The first of two segments is closed and can come at once.
    let mut backlog = collector.accept().await;
    let hello = backlog.expect(Lane::Backlog, 30).await;
    assert_eq!((hello.acked_seq, hello.epoch, hello.interval_ms), (0, vec![7; 16], 1_000));
    let first: Vec<_> = (1..=30).collect();
    assert_eq!(backlog.frames(30).await, first);
    assert!(backlog.is_silent().await, "as many as the credits allow");

    producer.produce(2);
    assert_eq!(live.frames(2).await, [201, 202], "the live lane waits for nobody");
    live.ack(202).await;
    eventually(|| producer.acked() == 2 * Producer::SAMPLES).await;

    backlog.ack(30).await;
    assert_eq!(backlog.frames(30).await.last(), Some(&60));
    backlog.credit(100).await;
    assert_eq!(backlog.frames(40).await.last(), Some(&100));
    backlog.ack(100).await;
    assert!(backlog.has_ended().await, "one stream for each segment");
    let mut backlog = collector.accept().await;
    assert_eq!(backlog.expect(Lane::Backlog, 200).await.acked_seq, 100);
    assert_eq!(backlog.frames(100).await.last(), Some(&200));
    backlog.ack(200).await;
    eventually(|| producer.in_flight() == 0).await;
    assert_eq!(producer.acked(), 202 * Producer::SAMPLES);
}

#[tokio::test]
async fn a_backlog_that_breaks_off_goes_on_where_it_was_acknowledged() {
    let closed = Collector::reserve();
    let mut producer = Producer::start_at(&[closed.address()]);
    producer.produce(150);
    let mut collector = closed.open();
    let mut live = collector.accept().await;
    live.expect(Lane::Live, 100).await;
    eventually(|| producer.keyframe_wanted()).await;
    producer.produce(1);
    let mut backlog = collector.accept().await;
    backlog.expect(Lane::Backlog, 100).await;
    backlog.frames(80).await;
    backlog.ack(70).await;
    eventually(|| producer.acked() == 70 * Producer::SAMPLES).await;
    drop(backlog);
    let mut backlog = collector.accept().await;
    assert_eq!(backlog.expect(Lane::Backlog, 100).await.acked_seq, 70);
    assert_eq!(backlog.frames(150).await.last(), Some(&150), "from the keyframe on");
    backlog.ack(150).await;
    eventually(|| producer.acked() == 150 * Producer::SAMPLES).await;
}

#[tokio::test]
async fn what_an_earlier_process_has_left_arrives_under_its_own_epoch() {
    let disk = MemoryDisk::new();
    let closed = Collector::reserve();
    let mut killed = Producer::start_on(&disk, [1; 16], &[closed.address()]);
    killed.produce(5);
    drop(killed);
    disk.kill();
    let mut producer = Producer::start_on(&disk, [2; 16], &[closed.address()]);
    assert_eq!(producer.in_flight(), 5 * Producer::SAMPLES);
    producer.produce(1);
    let mut collector = closed.open();
    let mut live = collector.accept().await;
    let hello = live.expect(Lane::Live, 100).await;
    assert_eq!((hello.epoch, hello.acked_seq), (vec![2; 16], 0));
    assert_eq!(live.frames(1).await, [1]);
    let mut backlog = collector.accept().await;
    assert_eq!(backlog.expect(Lane::Backlog, 100).await.epoch, vec![1; 16]);
    assert_eq!(backlog.frames(5).await, [1, 2, 3, 4, 5]);
    backlog.ack(5).await;
    live.ack(1).await;
    eventually(|| producer.in_flight() == 0).await;
    assert_eq!(producer.acked(), 6 * Producer::SAMPLES);
}

#[tokio::test]
async fn the_next_collector_is_taken_when_one_is_gone() {
    let mut collectors = [Collector::start(), Collector::start()];
    let addresses = [collectors[0].address(), collectors[1].address()];
    let mut producer = Producer::start_at(&addresses);
    producer.produce(1);
    let [first, second] = &mut collectors;
    let (mut stream, other) = tokio::select! {
        stream = first.accept() => (stream, second),
        stream = second.accept() => (stream, first),
    };
    stream.expect(Lane::Live, 100).await;
    assert_eq!(stream.frames(1).await, [1]);
    stream.refuse(Status::new(Code::Unavailable, "the collector is stopping")).await;
    let mut stream = other.accept().await;
    stream.expect(Lane::Live, 100).await;
    assert_eq!(stream.frames(1).await, [1], "what was not acknowledged goes to the next one");
    stream.ack(1).await;
    eventually(|| producer.in_flight() == 0).await;
}

#[tokio::test]
async fn the_account_is_told_after_welcome_and_at_the_end() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce(4);
    let mut stream = collector.accept().await;
    stream.expect(Lane::Live, 100).await;
    let report = stream.report().await;
    let all = 4 * Producer::SAMPLES;
    assert_eq!((report.produced, report.stored, report.in_flight), (all, 0, all));
    assert_eq!((report.shed.len(), report.unspooled), (0, 0));
    assert_eq!(report.spool_limit_bytes, 10_000_000);
    assert_eq!(report.oldest_unacked_ms, 1_700_000_001_000);
    assert_eq!(report.taken_at_ms, 1_700_000_004_000);
    stream.frames(4).await;
    stream.ack_rejecting(4, 1).await;
    eventually(|| producer.in_flight() == 0).await;
    producer.drain();
    let report = stream.report().await;
    assert_eq!((report.produced, report.stored, report.in_flight), (all, all - 1, 0));
    assert_eq!((report.shed[0].reason.as_str(), report.shed[0].samples), ("rejected", 1));
}

/// Publishes nothing and counts how often it is asked.
struct CountsTicks(Arc<AtomicU64>);

impl Sampler for CountsTicks {
    fn name(&self) -> &'static str {
        "ticks"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[]
    }

    fn sample(&mut self, _: &mut Readings) -> Result<(), SampleError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test]
async fn on_shutdown_the_agent_stops_sampling_and_sends_what_is_left() {
    let mut collector = Collector::start();
    let data_dir = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.agent.collector = format!("http://{}", collector.address()).into();
    config.agent.node = "node-7".to_owned();
    config.agent.interval = Span(Duration::from_millis(100));
    config.agent.data_dir = data_dir.path().to_owned();
    let shutdown = CancellationToken::new();
    let ticks = Arc::new(AtomicU64::new(0));
    let sampler = Box::new(CountsTicks(Arc::clone(&ticks)));
    let samplers = vec![Scheduled { sampler, period: Duration::ZERO }];
    let run = run_with(config, samplers, Servers::default(), v1::Host::default(), shutdown.clone());
    let agent = tokio::spawn(run);

    let mut stream = collector.accept().await;
    let hello = stream.hello().await;
    assert_eq!((hello.node.as_str(), hello.interval_ms, hello.epoch.len()), ("node-7", 100, 16));
    stream.welcome(2).await;
    assert_eq!(stream.frames(2).await, [1, 2]);
    eventually(|| ticks.load(Ordering::Relaxed) >= 5).await;
    shutdown.cancel();
    let cancelled = tokio::time::Instant::now();
    assert!(stream.is_silent().await, "it waits for acknowledgements");
    assert!(!agent.is_finished());
    let mut seq = 2;
    stream.ack(seq).await;
    while let Some(next) = stream.payload_or_end().await {
        seq = peek(&next).unwrap().seq;
        stream.ack(seq).await;
    }
    drop(stream);
    agent.await.unwrap().unwrap();
    assert!(cancelled.elapsed() < GRACE_PERIOD, "it ends when everything is stored");
    assert_eq!(
        seq,
        ticks.load(Ordering::Relaxed),
        "a frame for each tick, also of the time without credit"
    );
}
