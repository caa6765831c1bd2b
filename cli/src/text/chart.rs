//! Bars and sparklines out of block characters, an eighth of a cell fine.

const LEFT: [char; 8] = ['▏', '▎', '▍', '▌', '▋', '▊', '▉', '█'];
const LOWER: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A bar of `share` (0 to 1, clamped) of `width` cells, padded with spaces; only spaces when it is not known. Anything above zero shows.
pub(crate) fn bar(share: Option<f64>, width: usize) -> String {
    let share = share.filter(|s| s.is_finite()).unwrap_or(0.0).clamp(0.0, 1.0);
    let mut eighths = (share * width as f64 * 8.0).round() as usize;
    if share > 0.0 {
        eighths = eighths.max(1).min(width * 8);
    }
    let mut out = "█".repeat(eighths / 8);
    if let Some(last) = (eighths % 8).checked_sub(1) {
        out.push(LEFT[last]);
    }
    out.push_str(&" ".repeat(width - eighths.div_ceil(8)));
    out
}

/// At most `width` cells between the smallest and the largest known value; each is the mean of the points it stands for, a space where none is known.
/// A flat line is in the middle, or at the bottom when it is zero.
pub(crate) fn sparkline(points: &[Option<f64>], width: usize) -> String {
    let cells = means(points, width);
    let (low, high) = range(cells.iter().copied());
    sparkline_between(&cells, low, high)
}

/// One cell for each value, `low` at the bottom and `high` at the top.
pub(crate) fn sparkline_between(cells: &[Option<f64>], low: f64, high: f64) -> String {
    let level = |value: f64| {
        if high > low {
            // Halved, because the difference of two finite values may not be finite.
            let share = (value / 2.0 - low / 2.0) / (high / 2.0 - low / 2.0);
            ((share * 8.0) as usize).min(7)
        } else if value == 0.0 {
            0
        } else {
            3
        }
    };
    cells.iter().map(|cell| cell.map_or(' ', |value| LOWER[level(value)])).collect()
}

/// Means of `width` equal parts of `points`; the points themselves when there are no more than that.
pub(crate) fn means(points: &[Option<f64>], width: usize) -> Vec<Option<f64>> {
    let known = |value: &Option<f64>| value.filter(|v| v.is_finite());
    if points.len() <= width {
        return points.iter().map(known).collect();
    }
    let part = |i: usize| &points[i * points.len() / width..(i + 1) * points.len() / width];
    let mean = |values: &[Option<f64>]| {
        let (mut sum, mut count) = (0.0, 0.0);
        for value in values.iter().filter_map(known) {
            sum += value;
            count += 1.0;
        }
        (count > 0.0).then(|| sum / count)
    };
    (0..width).map(|i| mean(part(i))).collect()
}

/// Smallest and largest known value; zeros without any.
fn range(values: impl Iterator<Item = Option<f64>>) -> (f64, f64) {
    let fold = |range: Option<(f64, f64)>, v: f64| {
        Some(range.map_or((v, v), |(low, high)| (low.min(v), high.max(v))))
    };
    values.flatten().fold(None, fold).unwrap_or((0.0, 0.0))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(Some(0.5), 4), "██  ");
        assert_eq!(bar(Some(0.53), 4), "██▏ ");
        assert_eq!(bar(Some(1.0), 4), "████");
        assert_eq!(bar(Some(0.0), 4), "    ");
        assert_eq!(bar(Some(0.0001), 4), "▏   ");
        assert_eq!(bar(None, 4), "    ");
        assert_eq!(bar(Some(1.0), 0), "");
    }

    #[test]
    fn a_line_goes_from_the_smallest_to_the_largest() {
        let points: Vec<_> = (0..8).map(|i| Some(f64::from(i))).collect();
        assert_eq!(sparkline(&points, 8), "▁▂▃▄▅▆▇█");
    }

    #[test]
    fn unknown_is_a_gap_and_not_a_zero() {
        assert_eq!(sparkline(&[Some(0.0), None, Some(1.0), Some(f64::NAN)], 8), "▁ █ ");
        assert_eq!(sparkline(&[None, None], 8), "  ");
        assert_eq!(sparkline(&[], 8), "");
    }

    #[test]
    fn a_flat_line_is_in_the_middle_unless_it_is_zero() {
        assert_eq!(sparkline(&[Some(5.0), Some(5.0)], 8), "▄▄");
        assert_eq!(sparkline(&[Some(0.0), Some(0.0)], 8), "▁▁");
    }

    #[test]
    fn many_points_become_means() {
        let points = [Some(0.0), Some(2.0), None, None, Some(4.0), None];
        assert_eq!(means(&points, 3), [Some(1.0), None, Some(4.0)]);
    }

    proptest! {
        #[test]
        fn any_values_give_as_many_cells_as_fit(
            points in prop::collection::vec(prop::option::of(prop::num::f64::ANY), 0..200), width in 1_usize..50,
        ) {
            prop_assert_eq!(sparkline(&points, width).chars().count(), points.len().min(width));
        }

        #[test]
        fn any_share_gives_a_bar_of_its_width(share in prop::num::f64::ANY, width in 0_usize..50) {
            prop_assert_eq!(bar(Some(share), width).chars().count(), width);
        }
    }
}
