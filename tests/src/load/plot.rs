//! Curves over two logarithmic axes as an SVG file.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 420.0;
/// Space for the labels at the left and at the bottom.
const MARGIN: f64 = 60.0;
const COLORS: [&str; 4] = ["#2563eb", "#d97706", "#059669", "#be185d"];

/// Points that belong together; both coordinates are positive.
#[derive(Debug, Clone)]
pub(super) struct Curve {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// An axis from one power of ten to another.
struct Axis {
    from: f64,
    to: f64,
}

impl Axis {
    fn of(values: impl Iterator<Item = f64> + Clone) -> Self {
        let least = values.clone().fold(f64::INFINITY, f64::min).log10().floor();
        let most = values.fold(0.0, f64::max).log10().ceil();
        Self { from: least, to: most.max(least + 1.0) }
    }

    /// Share of the axis below `value`.
    fn place(&self, value: f64) -> f64 {
        (value.log10() - self.from) / (self.to - self.from)
    }

    fn powers(&self) -> impl Iterator<Item = f64> {
        (self.from as i32..=self.to as i32).map(|power| 10.0_f64.powi(power))
    }
}

/// Draws the curves.
pub(super) fn plot(title: &str, below: &str, curves: &[Curve]) -> String {
    let points = curves.iter().flat_map(|curve| &curve.points);
    let across = Axis::of(points.clone().map(|point| point.0));
    let up = Axis::of(points.map(|point| point.1));
    let x = |value: f64| MARGIN + across.place(value) * (WIDTH - 2.0 * MARGIN);
    let y = |value: f64| HEIGHT - MARGIN - up.place(value) * (HEIGHT - 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"{MARGIN}\" y=\"24\" font-size=\"15\">{title}</text>\n"
    );
    let mut add = |line: String| writeln!(svg, "{line}").expect("a String takes any text");
    for value in across.powers() {
        let (at, bottom) = (x(value), HEIGHT - MARGIN);
        add(format!("<path d=\"M{at:.1} {MARGIN}V{bottom}\" stroke=\"#ddd\"/>"));
        add(format!(
            "<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{value}</text>",
            bottom + 18.0
        ));
    }
    add(format!(
        "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{below}</text>",
        WIDTH / 2.0,
        HEIGHT - 14.0
    ));
    for value in up.powers() {
        let (at, right) = (y(value), WIDTH - MARGIN);
        add(format!("<path d=\"M{MARGIN} {at:.1}H{right}\" stroke=\"#ddd\"/>"));
        add(format!(
            "<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{value}</text>",
            MARGIN - 6.0,
            at + 4.0
        ));
    }
    for (index, curve) in curves.iter().enumerate() {
        let color = COLORS[index % COLORS.len()];
        let line: Vec<_> =
            curve.points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), y(p.1))).collect();
        add(format!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/>",
            line.join(" ")
        ));
        // Figures of the first curve stand above its points, those of others below: curves come close to each other.
        let label = if index == 0 { -6.0 } else { 16.0 };
        for &(across, up) in &curve.points {
            add(format!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\" fill=\"{color}\"/>",
                x(across),
                y(up)
            ));
            add(format!(
                "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"{color}\">{up:.2}</text>",
                x(across) + 5.0,
                y(up) + label
            ));
        }
        let height = 44.0 + 16.0 * index as f64;
        add(format!(
            "<text x=\"{}\" y=\"{height}\" fill=\"{color}\" text-anchor=\"end\">{}</text>",
            WIDTH - MARGIN,
            curve.name
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_is_drawn_within_the_axes() {
        let curve =
            |name: &str, points: &[(f64, f64)]| Curve { name: name.into(), points: points.into() };
        let svg = plot(
            "cost",
            "agents",
            &[curve("a", &[(10.0, 50.0), (10_000.0, 0.5)]), curve("b", &[(100.0, 1.0)])],
        );
        assert_eq!(svg.matches("<circle").count(), 3);
        assert_eq!(svg.matches("<polyline").count(), 2);
        // Ten agents at the left end, fifty between ten and a hundred.
        assert!(svg.contains("cx=\"60.0\""), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
