//! What weights mean for the share of each backend, and whether that is right.

/// Shares that weights mean.
pub fn as_shares(weights: &[u32]) -> Vec<f64> {
    let sum: u32 = weights.iter().sum();
    weights.iter().map(|weight| f64::from(*weight) / f64::from(sum.max(1))).collect()
}

/// Whether each share is within a quarter of what capacity says.
pub fn is_right(shares: &[f64], ideal: &[f64]) -> bool {
    shares.iter().zip(ideal).all(|(share, ideal)| (share / ideal - 1.0).abs() <= 0.25)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_right_within_a_quarter() {
        let ideal = as_shares(&[256, 128]);
        assert!(is_right(&as_shares(&[256, 140]), &ideal));
        assert!(!is_right(&as_shares(&[256, 256]), &ideal));
    }
}
