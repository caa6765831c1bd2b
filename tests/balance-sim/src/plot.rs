//! The matrix as bars in an SVG file.

use std::fmt::Write as _;

use crate::table::Row;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 260.0;
const RIGHT: f64 = 90.0;
const TOP: f64 = 70.0;
/// Height of a bar.
const BAR: f64 = 7.0;
const COLORS: [&str; 7] =
    ["#94a3b8", "#2563eb", "#0891b2", "#d97706", "#059669", "#be185d", "#7c3aed"];

/// Bars of steady p99 over a logarithmic axis, one group for each row. Widths end at 100 s.
pub fn plot(rows: &[Row]) -> String {
    let (least, most) = (10.0_f64, 100_000.0_f64);
    let x = |ms: f64| {
        let part = (ms.clamp(least, most) / least).log10() / (most / least).log10();
        LEFT + part * (WIDTH - LEFT - RIGHT)
    };
    let group = |row: &Row| BAR * row.cells.len() as f64 + 10.0;
    let height = TOP + rows.iter().map(group).sum::<f64>() + 40.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"11\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"20\" y=\"24\" font-size=\"15\">p99 of steady state, ms, simulated</text>\n"
    );
    let mut add = |line: String| writeln!(svg, "{line}").expect("a String takes any text");
    if let Some(row) = rows.first() {
        for (index, (name, _)) in row.cells.iter().enumerate() {
            let at = 20.0 + 125.0 * index as f64;
            let color = COLORS[index % COLORS.len()];
            add(format!("<text x=\"{at}\" y=\"44\" fill=\"{color}\">{name}</text>"));
        }
    }
    for power in 1..=5 {
        let (ms, bottom) = (10.0_f64.powi(power), height - 30.0);
        let at = x(ms);
        add(format!("<path d=\"M{at:.1} {}V{bottom}\" stroke=\"#ddd\"/>", TOP - 10.0));
        let below = bottom + 16.0;
        add(format!("<text x=\"{at:.1}\" y=\"{below}\" text-anchor=\"middle\">{ms}</text>"));
    }
    let mut top = TOP;
    for row in rows {
        let middle = top + group(row) / 2.0;
        let name = row.name.replace('&', "&amp;").replace('<', "&lt;");
        let label = LEFT - 8.0;
        add(format!("<text x=\"{label}\" y=\"{middle:.1}\" text-anchor=\"end\">{name}</text>"));
        for (index, (_, ms)) in row.p99_ms().into_iter().enumerate() {
            let (y, width) = (top + BAR * index as f64, x(ms) - LEFT);
            let color = COLORS[index % COLORS.len()];
            add(format!(
                "<rect x=\"{LEFT}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{}\" fill=\"{color}\"/>",
                BAR - 1.0
            ));
            let (after, base) = (x(ms) + 3.0, y + 6.5);
            add(format!("<text x=\"{after:.1}\" y=\"{base:.1}\" font-size=\"7\">{ms:.0}</text>"));
        }
        top += group(row);
    }
    svg.push_str("</svg>\n");
    svg
}
