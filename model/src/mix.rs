//! Bits that look random, made from bits that need not: the finalizer of MurmurHash3 (Appleby).
//!
//! It is a bijection, so different inputs never meet, and every input bit moves every output bit.

/// Mixes all bits of `x`. Zero stays zero.
#[inline]
pub(crate) const fn mix64(x: u64) -> u64 {
    let x = (x ^ (x >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let x = (x ^ (x >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ (x >> 33)
}

/// The next number from 0 to below 1 of the sequence that `state` carries (SplitMix, Steele et al.).
pub(crate) fn next_unit(state: &mut u64) -> f64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    (mix64(*state) >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_the_input_moves_about_half_of_the_output() {
        for bit in 0..64 {
            let moved = (0..100).map(|x| (mix64(x) ^ mix64(x ^ (1 << bit))).count_ones());
            let average = f64::from(moved.sum::<u32>()) / 100.0;
            assert!((average - 32.0).abs() < 3.0, "bit {bit} moves {average}");
        }
    }

    #[test]
    fn units_are_spread_evenly_below_one() {
        let mut state = 7;
        let mut tenths = [0; 10];
        for _ in 0..10_000 {
            tenths[(next_unit(&mut state) * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (900..1100).contains(n)), "{tenths:?}");
    }
}
