//! Curves over time as an SVG file: seconds to the right, a logarithmic axis up.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
/// Space for the labels.
const MARGIN: f64 = 50.0;
const COLORS: [&str; 4] = ["#be185d", "#d97706", "#059669", "#2563eb"];

/// Values of one way over time.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub(super) name: String,
    /// Seconds and a value above zero.
    pub(super) points: Vec<(f64, f64)>,
}

/// Draws curves; `mark` is a moment with its name.
pub(super) fn draw(title: &str, curves: &[Curve], mark: (f64, &str)) -> String {
    let points = curves.iter().flat_map(|curve| &curve.points);
    let end = points.clone().map(|point| point.0).fold(1.0, f64::max);
    let low = points.clone().map(|point| point.1).fold(f64::INFINITY, f64::min);
    let high = points.map(|point| point.1).fold(0.0, f64::max);
    let (low, high) = (low.log10().floor(), high.log10().ceil());
    let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
    let x = |seconds: f64| MARGIN + seconds / end * (WIDTH - 2.0 * MARGIN);
    let up = |value: f64| (value.log10() - low) / (high - low);
    let y = |value: f64| HEIGHT - MARGIN - up(value) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    let mut add = |line: String| writeln!(svg, "{line}").expect("a String takes any text");
    for power in low as i32..=high as i32 {
        let (value, right) = (10.0_f64.powi(power), WIDTH - MARGIN);
        let at = y(value);
        add(format!("<path d=\"M{MARGIN} {at:.1}H{right}\" stroke=\"#ddd\"/>"));
        let (left, middle) = (MARGIN - 6.0, at + 4.0);
        add(format!("<text x=\"{left}\" y=\"{middle:.1}\" text-anchor=\"end\">{value}</text>"));
    }
    let (bottom, below) = (HEIGHT - MARGIN, HEIGHT - MARGIN + 18.0);
    for seconds in (0..=end as u32).step_by(5) {
        let at = x(f64::from(seconds));
        add(format!("<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{seconds} s</text>"));
    }
    let at = x(mark.0);
    add(format!("<path d=\"M{at:.1} {MARGIN}V{bottom}\" stroke=\"#888\" stroke-dasharray=\"4\"/>"));
    add(format!("<text x=\"{:.1}\" y=\"{}\" fill=\"#555\">{}</text>", at + 4.0, MARGIN, mark.1));
    for (index, Curve { name, points }) in curves.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let line: Vec<_> =
            points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
        let line = line.join(" ");
        add(format!(
            "<polyline points=\"{line}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>"
        ));
        let (right, height) = (WIDTH - MARGIN, 24.0 + 16.0 * index as f64);
        add(format!(
            "<text x=\"{right}\" y=\"{height}\" fill=\"{color}\" text-anchor=\"end\">{name}</text>"
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_is_within_the_axes() {
        let curve =
            |name: &str, points: &[(f64, f64)]| Curve { name: name.into(), points: points.into() };
        let curves = [curve("a", &[(0.0, 10.0), (10.0, 1000.0)]), curve("b", &[(5.0, 100.0)])];
        let svg = draw("p99, ms", &curves, (5.0, "a backend slows down"));
        // From the lower left to the upper right, and the middle of both.
        assert!(svg.contains("points=\"50.0,310.0 670.0,50.0\""), "{svg}");
        assert!(svg.contains("points=\"360.0,180.0\""), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
