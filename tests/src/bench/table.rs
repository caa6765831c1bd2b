//! Figures with their spread and their bars, printed as a Markdown table.

use std::fmt;

/// What was measured once or several times.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it is, with its unit.
    pub what: String,
    /// The measurements.
    pub values: Vec<f64>,
    /// The bar: the median must not be above it.
    pub at_most: Option<f64>,
}

/// Figures in the order they were measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(pub Vec<Figure>);

impl Figure {
    /// Median, smallest and largest measurement.
    ///
    /// # Panics
    /// When there is no measurement.
    pub fn spread(&self) -> (f64, f64, f64) {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        assert!(!sorted.is_empty(), "{} was never measured", self.what);
        (percentile(&sorted, 0.5), sorted[0], sorted[sorted.len() - 1])
    }

    /// Whether the bar is met; `None` without a bar.
    pub fn met(&self) -> Option<bool> {
        self.at_most.map(|bar| self.spread().0 <= bar)
    }
}

impl Table {
    /// Adds a figure.
    pub fn push(&mut self, what: &str, values: Vec<f64>, at_most: Option<f64>) {
        self.0.push(Figure { what: what.to_owned(), values, at_most });
    }

    /// Whether every bar is met.
    pub fn all_met(&self) -> bool {
        self.0.iter().all(|figure| figure.met() != Some(false))
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | median (min to max) | bar | met |\n|---|---|---|---|")?;
        for figure in &self.0 {
            let (median, low, high) = figure.spread();
            let bar =
                figure.at_most.map_or("-".to_owned(), |bar| format!("at most {}", short(bar)));
            let met = figure.met().map_or("-", |met| if met { "yes" } else { "NO" });
            let (median, low, high) = (short(median), short(low), short(high));
            writeln!(f, "| {} | {median} ({low} to {high}) | {bar} | {met} |", figure.what)?;
        }
        Ok(())
    }
}

/// The value below which `share` of the sorted values lie (nearest rank).
///
/// # Panics
/// When there are none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    assert!(!sorted.is_empty(), "a percentile of nothing");
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn short(value: f64) -> String {
    let digits = if value.abs() >= 100.0 {
        0
    } else if value.abs() >= 10.0 {
        1
    } else {
        3
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_met_by_the_median() {
        let mut table = Table::default();
        table.push("low", vec![3.0, 1.0, 2.0], Some(2.0));
        assert!(table.all_met());
        table.push("high", vec![3.0], Some(2.0));
        assert!(!table.all_met());
        assert!(
            table.to_string().contains("| low | 2.000 (1.000 to 3.000) | at most 2.000 | yes |")
        );
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<_> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 0.99).to_bits(), 99.0_f64.to_bits());
        assert_eq!(percentile(&[7.0], 0.5).to_bits(), 7.0_f64.to_bits());
    }
}
