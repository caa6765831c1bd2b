//! Frames cost no allocation once the dictionary stands, and a hostile frame costs none at all.
#![allow(unsafe_code, reason = "an allocator that counts must be one")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use flyball_proto::frame::{Decoder, Encoder, Limits};

#[path = "support/capture.rs"]
mod capture;
#[path = "support/random.rs"]
mod random;

use capture::{CAPTURES, Replay};
use random::Random;

/// The system's allocator, which counts what this thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call is passed on as it is to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the memory came from `alloc` or `realloc` with this layout.
        unsafe { System.dealloc(memory, layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the memory came from `alloc` or `realloc` with this layout.
        unsafe { System.realloc(memory, layout, bytes) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Allocations of this thread while `work` runs.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

#[test]
fn the_allocator_counts() {
    assert_eq!(allocations(|| drop(std::hint::black_box(vec![0_u8; 10]))), 1);
}

#[test]
fn neither_side_allocates_for_a_frame() {
    for (name, bytes) in CAPTURES {
        let mut replay = Replay::new(Encoder::new(Limits::default()));
        let mut decoder = Decoder::new(Limits::default());
        let mut payload = Vec::with_capacity(64 * 1024);
        for tick in capture::read(bytes) {
            replay.prepare(&tick, &mut decoder);
            let samples = replay.samples(&tick);
            payload.clear();
            let encoder = &mut replay.encoder;
            let encoding = allocations(|| {
                for (slot, raw) in &samples {
                    encoder.set(*slot, *raw);
                }
                encoder.encode(tick.ts_ms, &mut payload);
            });
            let decoding = allocations(|| {
                let decoded = decoder.decode(&payload).unwrap();
                assert_eq!(decoded.samples.len(), samples.len());
            });
            assert_eq!((encoding, decoding), (0, 0), "{name} at {}", tick.ts_ms);
        }
    }
}

#[test]
fn a_hostile_frame_allocates_nothing() {
    let mut replay = Replay::new(Encoder::new(Limits::default()));
    let mut decoder = Decoder::new(Limits::default());
    let mut random = Random::new(1);
    let mut payload = Vec::new();
    for tick in capture::read(CAPTURES[1].1).iter().take(100) {
        replay.prepare(tick, &mut decoder);
        for (slot, raw) in replay.samples(tick) {
            replay.encoder.set(slot, raw);
        }
        payload.clear();
        replay.encoder.encode(tick.ts_ms, &mut payload);
        for _ in 0..20 {
            let hostile = random.damage(&payload);
            let decoding = allocations(|| {
                // An error or not, but for a damage that leaves the frame as it was.
                let _ = decoder.decode(&hostile).is_ok();
            });
            assert_eq!(decoding, 0, "{hostile:02x?}");
        }
        let _ = decoder.decode(&payload).is_ok();
    }
}
