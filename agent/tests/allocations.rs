//! A sampler on the sampling thread allocates nothing once its series are defined.
#![allow(unsafe_code, reason = "a global allocator cannot be written without it")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use flyball_agent::sense::{Backend, Isolation, Readings, SenseConfig, samplers};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// Counts by thread, so that the test harness does not disturb.
struct Counting;

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn inline_samplers_allocate_nothing_in_the_steady_state() {
    let mut checked = 0;
    for mut sampler in samplers(Backend::Linux, &SenseConfig::default()) {
        let mut readings = Readings::default();
        let supported = (0..5).all(|_| {
            readings.clear();
            sampler.sample(&mut readings).is_ok()
        });
        if sampler.isolation() != Isolation::Inline || !supported {
            continue;
        }
        checked += 1;
        let before = ALLOCATIONS.with(Cell::get);
        for _ in 0..50 {
            readings.clear();
            sampler.sample(&mut readings).expect("it has worked before");
        }
        let allocations = ALLOCATIONS.with(Cell::get) - before;
        assert_eq!(allocations, 0, "{}", sampler.name());
    }
    assert!(checked >= 7, "only {checked} samplers work on this machine");
}
