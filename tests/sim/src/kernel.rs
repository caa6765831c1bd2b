//! The clock and the randomness of a simulated world, put where every library asks for them: in the C library's place.
//!
//! A simulation repeats only if nothing in the process can tell two runs apart. Seams in our own code would not do: `HashMap`, `rand`, hyper's `Date`
//! header and h2's timers ask the system themselves. So this binary defines `clock_gettime` and `getrandom`; the linker takes ours before libc's, as
//! madsim has it. On a thread that has [entered](enter) a world they answer with tokio's paused clock and a seeded generator, on all
//! others they ask the kernel. The product is what it is in production: nothing in it knows of this.

#![allow(unsafe_code, reason = "symbols that the C library also has cannot be defined without it")]

use std::cell::Cell;
use std::time::Duration;

use rustix::time::ClockId;
use tokio::runtime::Handle;
use tokio::time::Instant;

const REALTIME: i32 = 0;
const MONOTONIC: i32 = 1;
/// Monotonic time when a world begins, so that nothing subtracts below zero.
const BOOT: Duration = Duration::from_hours(1);

/// A thread's world.
#[derive(Clone, Copy)]
struct World {
    start: Instant,
    wall_ms: i64,
}

thread_local! {
    static WORLD: Cell<Option<World>> = const { Cell::new(None) };
    static RANDOM: Cell<Option<u64>> = const { Cell::new(None) };
    static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    /// Set while tokio is asked for the time, which may ask the system itself.
    static ASKING: Cell<bool> = const { Cell::new(false) };
}

/// `struct timespec` of the 64-bit Linux ABI.
#[repr(C)]
pub(crate) struct Timespec {
    seconds: i64,
    nanoseconds: i64,
}

/// From now on randomness on this thread comes from `seed`. To be called before anything on the thread has drawn any.
pub(crate) fn seed(seed: u64) {
    RANDOM.set(Some(seed));
}

/// Lets this thread's time begin at `wall_ms` and follow the paused clock of the runtime that it is in.
pub(crate) fn enter(wall_ms: i64) {
    WORLD.set(Some(World { start: Instant::now(), wall_ms }));
}

/// Time since [`enter`].
pub(crate) fn elapsed() -> Duration {
    WORLD.get().map_or(Duration::ZERO, since)
}

/// The world's wall clock in milliseconds since the Unix epoch.
pub(crate) fn wall_ms() -> i64 {
    WORLD.get().map_or(0, |world| world.wall_ms + since(world).as_millis() as i64)
}

fn since(world: World) -> Duration {
    if !ASKING.replace(true) {
        if Handle::try_current().is_ok() {
            ELAPSED.set(Instant::now().duration_since(world.start));
        }
        ASKING.set(false);
    }
    ELAPSED.get()
}

/// The next number of SplitMix64 (Steele et al., "Fast splittable pseudorandom number generators").
fn next(state: u64) -> (u64, u64) {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (state, z ^ (z >> 31))
}

/// The system's clock, or this thread's world's.
///
/// # Safety
/// `out` points to a `struct timespec`, as POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_gettime(clock: i32, out: *mut Timespec) -> i32 {
    let time = match (WORLD.try_with(Cell::get).ok().flatten(), clock) {
        (Some(world), REALTIME) => Duration::from_millis(world.wall_ms as u64) + since(world),
        (Some(world), MONOTONIC) => BOOT + since(world),
        (_, REALTIME) => of_kernel(ClockId::Realtime),
        (_, MONOTONIC) => of_kernel(ClockId::Monotonic),
        (_, 2) => of_kernel(ClockId::ProcessCPUTime),
        (_, 3) => of_kernel(ClockId::ThreadCPUTime),
        // Nobody here asks for another one; `EINVAL` to whoever does.
        _ => return -1,
    };
    // SAFETY: the caller's pointer is valid by the function's contract.
    unsafe {
        (*out).seconds = time.as_secs() as i64;
        (*out).nanoseconds = i64::from(time.subsec_nanos());
    }
    0
}

fn of_kernel(clock: ClockId) -> Duration {
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The system's randomness, or this thread's seed's.
///
/// # Safety
/// `out` points to `len` bytes that may be written.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getrandom(out: *mut u8, len: usize, _flags: u32) -> isize {
    // SAFETY: the caller's buffer is valid by the function's contract.
    let bytes = unsafe { std::slice::from_raw_parts_mut(out, len) };
    let Some(mut state) = RANDOM.try_with(Cell::get).ok().flatten() else {
        let flags = rustix::rand::GetRandomFlags::empty();
        return rustix::rand::getrandom(bytes, flags).map_or(-1, |written| written as isize);
    };
    for chunk in bytes.chunks_mut(8) {
        let (after, number) = next(state);
        state = after;
        chunk.copy_from_slice(&number.to_le_bytes()[..chunk.len()]);
    }
    RANDOM.set(Some(state));
    len as isize
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::RandomState;
    use std::hash::BuildHasher as _;

    use super::*;

    /// What a fresh thread with this seed sees.
    fn draws(number: u64) -> (u64, u64) {
        let thread = std::thread::spawn(move || {
            seed(number);
            (RandomState::new().hash_one(1), rand::random())
        });
        thread.join().unwrap()
    }

    #[test]
    fn hash_maps_and_generators_follow_the_seed() {
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7).0, draws(8).0);
        assert_ne!(draws(7).1, draws(8).1);
    }

    #[test]
    fn both_clocks_follow_the_paused_one() {
        let thread = std::thread::spawn(|| {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            let runtime = builder.enable_time().start_paused(true).build().unwrap();
            runtime.block_on(async {
                enter(1_000_000);
                let (wall, monotonic) = (std::time::SystemTime::now(), std::time::Instant::now());
                tokio::time::sleep(Duration::from_secs(90)).await;
                (wall.elapsed().unwrap(), monotonic.elapsed(), wall_ms())
            })
        });
        let passed = Duration::from_secs(90);
        assert_eq!(thread.join().unwrap(), (passed, passed, 1_090_000));
    }
}
