//! The hit ratio by size as a picture out of Braille dots: two columns and four rows of dots a cell.
//!
//! The axis of sizes is logarithmic, as doubling is what an operator does. Between two points the curve is the straight
//! line over bytes, as the collector reads it. Nothing is drawn where nothing was measured. The interval is shaded
//! where it is wider than the line.

use std::fmt::Write as _;

use super::units::{bytes, percent};
use crate::api::caches::{Curve, CurvePoint};

/// Rows of the picture without its axis.
const ROWS: usize = 10;
/// Width of the labels on the left.
const LABEL: usize = 9;
/// Room above and below the curve, as a share of its height.
const AIR: f64 = 0.08;
/// Least height, so that noise does not look like a slope.
const LEAST_HEIGHT: f64 = 0.02;
/// Dots of Braille by column and row, as bits from U+2800.
const DOTS: [[u32; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];

/// A size that is pointed at.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Mark {
    /// Which.
    pub bytes: f64,
    /// What it is, for example `now`.
    pub name: &'static str,
}

/// The curve at a size; `None` outside of what was measured.
pub(crate) fn at(points: &[CurvePoint], size: f64) -> Option<CurvePoint> {
    let after = points.iter().position(|point| point.bytes >= size)?;
    let right = points[after];
    if right.bytes <= size {
        return Some(right);
    }
    let left = points[after.checked_sub(1)?];
    let way = (size - left.bytes) / (right.bytes - left.bytes);
    let between = |a: f64, b: f64| a + (b - a) * way;
    Some(CurvePoint {
        bytes: size,
        hit_ratio: between(left.hit_ratio, right.hit_ratio),
        low: between(left.low, right.low),
        high: between(left.high, right.high),
    })
}

/// Points within the reach.
pub(crate) fn known(curve: &Curve) -> Vec<CurvePoint> {
    let is_known = |point: &&CurvePoint| {
        point.bytes > 0.0
            && point.bytes <= curve.reach_bytes
            && [point.hit_ratio, point.low, point.high].iter().all(|value| value.is_finite())
    };
    curve.points.iter().filter(is_known).copied().collect()
}

/// The picture, `width` cells wide; `None` when there is nothing to draw.
pub(crate) fn picture(curve: &Curve, marks: &[Mark], width: usize) -> Option<String> {
    let points = known(curve);
    let plot = Plot::new(&points, marks, width.saturating_sub(LABEL + 2).clamp(16, 120))?;
    let mut text = String::new();
    for row in 0..ROWS {
        let label = match row {
            0 => percent(Some(plot.top)),
            row if row == ROWS / 2 => percent(Some(f64::midpoint(plot.top, plot.bottom))),
            row if row == ROWS - 1 => percent(Some(plot.bottom)),
            _ => String::new(),
        };
        let edge = if label.is_empty() { '│' } else { '┤' };
        let line: String = (0..plot.cells).map(|cell| plot.cell(cell, row, marks)).collect();
        let _ = writeln!(text, "{label:>LABEL$} {edge}{}", line.trim_end());
    }
    text.push_str(&plot.axis(marks));
    Some(text)
}

/// Where values are on the picture.
struct Plot<'a> {
    points: &'a [CurvePoint],
    /// Logarithms of the sizes at the edges.
    from: f64,
    to: f64,
    top: f64,
    bottom: f64,
    cells: usize,
}

impl<'a> Plot<'a> {
    fn new(points: &'a [CurvePoint], marks: &[Mark], cells: usize) -> Option<Self> {
        if points.len() < 2 {
            return None;
        }
        let marked = marks.iter().map(|mark| mark.bytes).filter(|bytes| *bytes > 0.0);
        let sizes: Vec<f64> = points.iter().map(|point| point.bytes).chain(marked).collect();
        let from = sizes.iter().copied().fold(f64::INFINITY, f64::min).log2();
        let to = sizes.iter().copied().fold(0.0, f64::max).log2();
        let low = points.iter().map(|point| point.low).fold(f64::INFINITY, f64::min);
        let high = points.iter().map(|point| point.high).fold(f64::NEG_INFINITY, f64::max);
        let air = ((high - low) * AIR).max((LEAST_HEIGHT - (high - low)) / 2.0);
        let (top, bottom) = ((high + air).min(1.0), (low - air).max(0.0));
        (to > from && top > bottom).then_some(Self { points, from, to, top, bottom, cells })
    }

    /// The size in the middle of a column of dots.
    fn size(&self, column: usize) -> f64 {
        let share = (column as f64 + 0.5) / (self.cells * 2) as f64;
        (self.from + (self.to - self.from) * share).exp2()
    }

    /// The cell that a size is in.
    fn place(&self, bytes: f64) -> usize {
        let share = (bytes.log2() - self.from) / (self.to - self.from);
        ((share * self.cells as f64) as usize).min(self.cells - 1)
    }

    /// The row of dots that a ratio is in, from the top.
    fn dot(&self, ratio: f64) -> usize {
        let share = (self.top - ratio) / (self.top - self.bottom);
        ((share * (ROWS * 4) as f64).max(0.0) as usize).min(ROWS * 4 - 1)
    }

    /// Rows of dots that a column of the line covers: down to its neighbour's, so that a steep line has no gaps.
    fn line(&self, column: usize) -> Option<(usize, usize)> {
        let here = self.dot(at(self.points, self.size(column))?.hit_ratio);
        let before = column.checked_sub(1).and_then(|column| at(self.points, self.size(column)));
        let before = before.map_or(here, |point| self.dot(point.hit_ratio));
        let next_to = if before > here { before - 1 } else { (before + 1).min(here) };
        Some((here.min(next_to), here.max(next_to)))
    }

    fn cell(&self, cell: usize, row: usize, marks: &[Mark]) -> char {
        let mut dots = 0;
        for (side, bits) in DOTS.iter().enumerate() {
            let Some((first, last)) = self.line(cell * 2 + side) else { continue };
            for (place, bit) in bits.iter().enumerate() {
                let dot = row * 4 + place;
                if (first..=last).contains(&dot) {
                    dots |= bit;
                }
            }
        }
        if dots != 0 {
            return char::from_u32(0x2800 + dots).unwrap_or('*');
        }
        if marks.iter().any(|mark| mark.bytes > 0.0 && self.place(mark.bytes) == cell) {
            return '┊';
        }
        let middle = at(self.points, self.size(cell * 2 + 1));
        let is_within = middle.is_some_and(|point| {
            (self.dot(point.high) / 4..=self.dot(point.low) / 4).contains(&row)
        });
        if is_within { '░' } else { ' ' }
    }

    /// The axis with the sizes at its ends, and a line for each mark.
    fn axis(&self, marks: &[Mark]) -> String {
        let indent = " ".repeat(LABEL + 1);
        let marked =
            |cell| marks.iter().any(|mark| mark.bytes > 0.0 && self.place(mark.bytes) == cell);
        let line: String =
            (0..self.cells).map(|cell| if marked(cell) { '┴' } else { '─' }).collect();
        let (first, last) = (bytes(self.from.exp2()), bytes(self.to.exp2()));
        let gap = self.cells.saturating_sub(first.chars().count() + last.chars().count());
        let mut text =
            format!("{indent}└{line}\n{indent} {first}{}{last}\n", " ".repeat(gap.max(1)));
        for mark in marks.iter().filter(|mark| mark.bytes > 0.0) {
            let place = self.place(mark.bytes);
            let mut label = format!("{} {}", mark.name, bytes(mark.bytes));
            if let Some(point) = at(self.points, mark.bytes) {
                let _ = write!(label, ": {}", percent(Some(point.hit_ratio)));
            }
            let length = label.chars().count() + 2;
            let shown = if place + length > self.cells && place + 1 >= length {
                format!("{}{label} ▲", " ".repeat(place + 1 - length))
            } else {
                format!("{}▲ {label}", " ".repeat(place))
            };
            let _ = writeln!(text, "{indent} {shown}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::snapshot;

    const MIB: f64 = 1_048_576.0;

    fn curve() -> Curve {
        let point = |i: u32| {
            let bytes = (32.0 + f64::from(i) * 8.0) * MIB;
            let hit_ratio = 0.95 * (1.0 - (-bytes / 60e6).exp());
            let half = if i > 8 { 0.04 } else { 0.01 };
            CurvePoint { bytes, hit_ratio, low: hit_ratio - half, high: hit_ratio + half }
        };
        let points: Vec<_> = (0..=12).map(point).collect();
        Curve { measured_at_ms: 0, reach_bytes: 128.0 * MIB, points }
    }

    #[test]
    fn the_picture_of_a_curve_with_two_sizes() {
        let marks =
            [Mark { bytes: 64.0 * MIB, name: "now" }, Mark { bytes: 120.0 * MIB, name: "then" }];
        snapshot::check("curve", &picture(&curve(), &marks, 72).unwrap());
    }

    #[test]
    fn nothing_is_drawn_where_nothing_was_measured() {
        let empty = Curve::default();
        assert_eq!(picture(&empty, &[], 72), None);
        let out_of_reach = Curve { reach_bytes: 33.0 * MIB, ..curve() };
        assert_eq!(picture(&out_of_reach, &[], 72), None);
        let mark = [Mark { bytes: 1024.0 * MIB, name: "now" }];
        let text = picture(&curve(), &mark, 72).unwrap();
        assert!(text.contains("now 1 GiB ▲") && !text.contains("now 1 GiB:"), "{text}");
    }

    #[test]
    fn between_points_it_is_on_the_line() {
        let points = known(&curve());
        assert_eq!(at(&points, 31.0 * MIB), None);
        assert_eq!(at(&points, 129.0 * MIB), None);
        let middle = at(&points, 36.0 * MIB).unwrap();
        let expected = f64::midpoint(points[0].hit_ratio, points[1].hit_ratio);
        assert!((middle.hit_ratio - expected).abs() < 1e-9);
    }

    proptest! {
        #[test]
        fn any_curve_fits_its_width(
            points in prop::collection::vec(
                (1.0..1e15_f64, prop::num::f64::ANY, prop::num::f64::ANY, prop::num::f64::ANY), 0..20),
            now in 0.0..1e16_f64, width in 0_usize..200, reach in 0.0..1e15_f64,
        ) {
            let mut points: Vec<_> = points
                .into_iter()
                .map(|(bytes, hit_ratio, low, high)| CurvePoint { bytes, hit_ratio, low, high })
                .collect();
            points.sort_by(|a, b| a.bytes.total_cmp(&b.bytes));
            let curve = Curve { measured_at_ms: 0, reach_bytes: reach, points };
            let marks = [Mark { bytes: now, name: "now" }];
            if let Some(text) = picture(&curve, &marks, width) {
                prop_assert!(text.lines().count() >= ROWS + 2);
            }
        }
    }
}
