//! Shipping against a collector that the tests script: it withholds credits, acknowledges late, drops streams, loses the thread, refuses data.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking too")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flyball_agent::config::{Config, Span};
use flyball_agent::recorder::Scheduled;
use flyball_agent::run::run_with;
use flyball_agent::sense::{Metric, Readings, SampleError, Sampler};
use flyball_agent::ship::outbox::Shed;
use flyball_proto::frame::peek;
use flyball_proto::v1;
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
    let mut producer = Producer::start_at(closed.address());
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
    let (mut stored, mut streams) = (Vec::new(), 0);
    while stored.last() != Some(&8) {
        let mut stream = collector.accept().await;
        stream.hello().await;
        stream.welcome(100).await;
        loop {
            let seq = stream.frames(1).await[0];
            if seq == 6 {
                stream
                    .refuse(Status::new(Code::InvalidArgument, "frame 6: checksum does not match"))
                    .await;
                break;
            }
            if !stored.contains(&seq) {
                stored.push(seq);
            }
            // As a real one, it acknowledges late, so that the agent cannot tell from the first refusal which frame was meant.
            if streams > 0 && seq % 2 == 0 {
                stream.ack(seq).await;
            }
            if seq == 8 {
                break;
            }
        }
        streams += 1;
        if stored.last() == Some(&8) {
            eventually(|| producer.in_flight() == 0).await;
        }
    }
    assert_eq!(stored, [1, 2, 3, 4, 5, 7, 8]);
    assert_eq!(producer.shed_for(Shed::Refused), 2 * Producer::SAMPLES, "frames 5 and 6");
    assert_eq!(producer.acked(), 6 * Producer::SAMPLES);
}

#[tokio::test]
async fn definitions_that_the_collector_refuses_do_not_hold_up_what_follows() {
    let mut collector = Collector::start();
    let mut producer = Producer::start(&collector);
    producer.produce(2);
    producer.restart_dictionary();
    producer.produce(2);
    loop {
        let mut stream = collector.accept().await;
        stream.hello().await;
        stream.welcome(100).await;
        if producer.shed() == 0 {
            assert_eq!(stream.definitions().await.dictionary_version, 1);
            stream.refuse(Status::new(Code::ResourceExhausted, "define: more than 2 slots")).await;
        } else {
            assert_eq!(stream.frames(2).await, [3, 4]);
            break;
        }
    }
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
    let mut producer = Producer::start_at(closed.address());
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
    while producer.in_flight() > 0 {
        let mut stream = collector.accept().await;
        stream.hello().await;
        stream.welcome_limited(100, 8).await;
        assert!(stream.has_ended().await);
    }
    assert_eq!(producer.shed_for(Shed::Refused), 2 * Producer::SAMPLES);
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
    config.agent.collector = format!("http://{}", collector.address());
    config.agent.node = "node-7".to_owned();
    config.agent.interval = Span(Duration::from_millis(100));
    config.agent.data_dir = data_dir.path().to_owned();
    let shutdown = CancellationToken::new();
    let ticks = Arc::new(AtomicU64::new(0));
    let sampler = Box::new(CountsTicks(Arc::clone(&ticks)));
    let samplers = vec![Scheduled { sampler, period: Duration::ZERO }];
    let run = run_with(config, samplers, v1::Host::default(), shutdown.clone());
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
