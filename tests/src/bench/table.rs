//! Figures with their spread and their bars, printed as a Markdown table.

use std::fmt;

/// What a figure must be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Bar {
    /// Its median is not above this.
    AtMost(f64),
    /// Its median is not below this.
    AtLeast(f64),
    /// It counts what must never happen: 0 in every measurement.
    Never,
}

/// What was measured once or several times.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it is, with its unit.
    pub what: String,
    /// The measurements; none when what is measured is not there.
    pub values: Vec<f64>,
    /// The bar.
    pub bar: Option<Bar>,
}

/// Figures in the order they were measured.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table(pub Vec<Figure>);

impl Figure {
    /// Median, smallest and largest measurement; `None` without any.
    pub fn spread(&self) -> Option<(f64, f64, f64)> {
        let mut sorted = self.values.clone();
        sorted.sort_by(f64::total_cmp);
        let (low, high) = (*sorted.first()?, *sorted.last()?);
        Some((percentile(&sorted, 0.5), low, high))
    }

    /// Whether the bar is met; `None` without a bar or a measurement.
    pub fn met(&self) -> Option<bool> {
        let (median, _, largest) = self.spread()?;
        self.bar.map(|bar| match bar {
            Bar::AtMost(most) => median <= most,
            Bar::AtLeast(least) => median >= least,
            Bar::Never => largest <= 0.0,
        })
    }
}

impl Table {
    /// Adds a figure; its median must not be above `at_most`.
    pub fn push(&mut self, what: &str, values: Vec<f64>, at_most: Option<f64>) {
        let what = what.to_owned();
        self.0.push(Figure { what, values, bar: at_most.map(Bar::AtMost) });
    }

    /// Adds a measurement to the figure of this name, which the first one makes. A value that is not
    /// a number is no measurement.
    pub fn add(&mut self, what: &str, value: f64, bar: Option<Bar>) {
        let figure = self.figure(what, bar);
        figure.values.extend((!value.is_nan()).then_some(value));
    }

    /// What is measured is not there.
    pub fn missing(&mut self, what: &str, bar: Option<Bar>) {
        self.figure(what, bar);
    }

    fn figure(&mut self, what: &str, bar: Option<Bar>) -> &mut Figure {
        let found = self.0.iter().position(|figure| figure.what == what);
        let index = found.unwrap_or_else(|| {
            self.0.push(Figure { what: what.to_owned(), values: Vec::new(), bar });
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    /// Whether every bar is met.
    pub fn all_met(&self) -> bool {
        self.0.iter().all(|figure| figure.met() != Some(false))
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "at most {}", short(*most)),
            Self::AtLeast(least) => write!(f, "at least {}", short(*least)),
            Self::Never => f.write_str("0 each time"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| what | median (min to max) | bar | met |\n|---|---|---|---|")?;
        for figure in &self.0 {
            let bar = figure.bar.map_or("-".to_owned(), |bar| bar.to_string());
            let met = figure.met().map_or("-", |met| if met { "yes" } else { "NO" });
            let spread = figure.spread().map_or("not there".to_owned(), |(median, low, high)| {
                format!("{} ({} to {})", short(median), short(low), short(high))
            });
            writeln!(f, "| {} | {spread} | {bar} | {met} |", figure.what)?;
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
    fn a_bar_from_below_is_met_by_more_and_what_is_not_there_breaks_none() {
        let mut table = Table::default();
        for value in [2.0, 5.0, 3.0] {
            table.add("rounds", value, Some(Bar::AtLeast(3.0)));
        }
        table.missing("later", Some(Bar::AtMost(1.0)));
        table.add("never", f64::NAN, Some(Bar::AtMost(1.0)));
        assert!(table.all_met());
        let text = table.to_string();
        assert!(text.contains("| rounds | 3.000 (2.000 to 5.000) | at least 3.000 | yes |"));
        for what in ["later", "never"] {
            let line = format!("| {what} | not there | at most 1.000 | - |");
            assert!(text.contains(&line), "{text}");
        }
        table.add("too few", 2.0, Some(Bar::AtLeast(3.0)));
        assert!(!table.all_met());
    }

    #[test]
    fn what_must_never_happen_may_not_happen_once() {
        let mut table = Table::default();
        table.add("failed", 0.0, Some(Bar::Never));
        table.add("failed", 0.0, Some(Bar::Never));
        assert!(table.all_met());
        table.add("failed", 1.0, Some(Bar::Never));
        assert!(!table.all_met());
        assert!(
            table.to_string().contains("| failed | 0.000 (0.000 to 1.000) | 0 each time | NO |")
        );
    }

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<_> = (1..=100).map(f64::from).collect();
        assert_eq!(percentile(&sorted, 0.99).to_bits(), 99.0_f64.to_bits());
        assert_eq!(percentile(&[7.0], 0.5).to_bits(), 7.0_f64.to_bits());
    }
}
