//! One series of a block as bytes: an unsigned varint for each change, a run of equal samples in one.
//!
//! ```text
//! token = varint(value << 2 | tag)
//!   tag 0: a sample in the next frame, what was expected plus zigzag(value)
//!   tag 1: the series is absent from so many frames
//!   tag 2: so many samples in the next frames, each as expected
//!   tag 3: a sample in the next frame; its raw integer follows as 8 bytes little endian
//! ```
//!
//! Expected is the last raw integer, and of a counter that and its last step once more: counters go on as they went.
//!
//! Most series of a host are constant or change by little from one tick to the next, so a sample takes about a byte. Why not the frames as they came: to read one
//! series all of them would have to be decoded. Why not bit-packing: a byte-wise stream can be appended to without a buffer of its own.

const STEP: u64 = 0;
const ABSENT: u64 = 1;
const RUN: u64 = 2;
const WHOLE: u64 = 3;
/// Zigzag values at and above this do not fit beside a tag.
const LARGEST_STEP: u64 = 1 << 61;

/// What the next sample of a series is expected to be.
#[derive(Debug, Clone, Copy, Default)]
struct Expected {
    last: i64,
    /// Zero of what is no counter.
    step: i64,
}

/// A series that is being written. 48 bytes and its tokens.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    bytes: Vec<u8>,
    expected: Expected,
    /// Frames that are written.
    frames: u32,
    /// Of these the last ones, equal samples, that are not in `bytes` yet.
    run: u32,
}

impl Stream {
    /// Adds the sample of frame number `frame` of a series that is a counter or not. False when the frame has one already, or is an earlier one.
    pub(super) fn push(&mut self, frame: u32, raw: i64, is_counter: bool) -> bool {
        if frame < self.frames {
            return false;
        }
        let (expected, is_first) = (self.expected.next(), self.frames == 0);
        self.expected.take(raw, is_counter && !is_first);
        if frame == self.frames && raw == expected {
            self.run += 1;
            self.frames += 1;
            return true;
        }
        self.flush();
        if frame > self.frames {
            self.token(ABSENT, u64::from(frame - self.frames));
        }
        let step = raw.wrapping_sub(expected);
        let zigzag = (step << 1 ^ step >> 63) as u64;
        if zigzag < LARGEST_STEP {
            self.token(STEP, zigzag);
        } else {
            self.token(WHOLE, 0);
            self.bytes.extend_from_slice(&raw.to_le_bytes());
        }
        self.frames = frame + 1;
        true
    }

    /// Bytes that the stream takes besides itself.
    pub(super) fn heap_bytes(&self) -> usize {
        self.bytes.capacity()
    }

    /// True without a sample.
    pub(super) fn is_empty(&self) -> bool {
        self.frames == 0
    }

    /// Appends all tokens to `out`.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
        if self.run > 0 {
            varint(out, u64::from(self.run) << 2 | RUN);
        }
    }

    fn flush(&mut self) {
        let run = std::mem::take(&mut self.run);
        if run > 0 {
            self.token(RUN, u64::from(run));
        }
    }

    fn token(&mut self, tag: u64, value: u64) {
        if self.bytes.capacity() == self.bytes.len() {
            // Doubling would leave half of it empty in millions of series.
            self.bytes.reserve_exact((self.bytes.len() / 4).clamp(8, 256));
        }
        varint(&mut self.bytes, value << 2 | tag);
    }
}

impl Expected {
    const fn next(self) -> i64 {
        self.last.wrapping_add(self.step)
    }

    const fn take(&mut self, raw: i64, has_step: bool) {
        if has_step {
            self.step = raw.wrapping_sub(self.last);
        }
        self.last = raw;
    }
}

/// Gives frame number and raw integer of every sample to `take`, in order.
pub(super) fn read(mut bytes: &[u8], is_counter: bool, mut take: impl FnMut(u32, i64)) {
    let (mut frame, mut expected, mut is_first) = (0_u32, Expected::default(), true);
    let mut next_raw = |raw: i64, frame: &mut u32| {
        expected.take(raw, is_counter && !is_first);
        is_first = false;
        take(*frame, raw);
        *frame = frame.saturating_add(1);
        expected.next()
    };
    let mut prediction = 0_i64;
    while let Some(token) = next(&mut bytes) {
        let value = token >> 2;
        match token & 3 {
            ABSENT => {
                frame = frame.saturating_add(value as u32);
            }
            RUN => {
                for _ in 0..value {
                    prediction = next_raw(prediction, &mut frame);
                }
            }
            WHOLE => {
                let Some((raw, rest)) = bytes.split_first_chunk() else { return };
                bytes = rest;
                prediction = next_raw(i64::from_le_bytes(*raw), &mut frame);
            }
            _ => {
                let step = (value >> 1) as i64 ^ -((value & 1) as i64);
                prediction = next_raw(prediction.wrapping_add(step), &mut frame);
            }
        }
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn next(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_back(stream: &Stream, is_counter: bool) -> Vec<(u32, i64)> {
        let (mut bytes, mut samples) = (Vec::new(), Vec::new());
        stream.write_to(&mut bytes);
        read(&bytes, is_counter, |frame, raw| samples.push((frame, raw)));
        samples
    }

    #[test]
    fn what_goes_on_as_expected_takes_some_bytes_whatever_its_length() {
        for (is_counter, step) in [(false, 0), (true, 0), (true, 3)] {
            let mut stream = Stream::default();
            (0..600).for_each(|frame| {
                assert!(stream.push(frame, 7 + i64::from(frame) * step, is_counter));
            });
            let mut bytes = Vec::new();
            stream.write_to(&mut bytes);
            assert!(bytes.len() <= 5, "{bytes:?}");
            assert_eq!(read_back(&stream, is_counter).len(), 600);
            assert!(!stream.push(599, 7, is_counter), "the frame has a sample already");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            steps in prop::collection::vec(
                (0..4_u32, prop_oneof![Just(0), -100..100_i64, any::<i64>()]), 0..200),
            is_counter in any::<bool>(),
        ) {
            let (mut stream, mut frame, mut raw) = (Stream::default(), 0, 0_i64);
            let mut expected = Vec::new();
            for (absent, step) in steps {
                frame += absent;
                raw = raw.wrapping_add(step);
                prop_assert!(stream.push(frame, raw, is_counter));
                expected.push((frame, raw));
                frame += 1;
            }
            prop_assert_eq!(read_back(&stream, is_counter), expected);
        }

        #[test]
        fn no_bytes_make_reading_fail(
            // Runs of billions would only take long: bytes only ever come from a stream.
            bytes in prop::collection::vec(any::<u8>().prop_map(|b| if b & 3 == 2 { b & !2 } else { b }), 0..40),
        ) {
            read(&bytes, true, |_, _| {});
        }
    }
}
