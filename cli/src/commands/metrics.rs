//! `flyball metrics METRIC`: series of one metric over time, a row for each with its last, smallest, largest and mean value and a sparkline.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use comfy_table::Cell;

use super::{Context, catalog, hint, print, range};
use crate::api::types::{AnswerSeries, Explain, MetricsAnswer};
use crate::args::MetricsArgs;
use crate::config::Output;
use crate::error::Error;
use crate::text::chart::sparkline;
use crate::text::table::{Column, Screen, plain, render};
use crate::text::units::{self, Quantity};
use crate::text::{UNKNOWN, clean};

/// Width of a sparkline.
const TREND_CELLS: usize = 24;

/// Prints the catalog or the series of a metric.
///
/// # Errors
/// When the collector cannot be reached or refuses the question.
pub(crate) async fn run(context: &Context, args: &MetricsArgs) -> Result<(), Error> {
    let Some(metric) = args.metric.as_deref().filter(|metric| !metric.contains('*')) else {
        no_question(args)?;
        return catalog::run(context, args).await;
    };
    let query = query(metric, args, units::now_ms())?;
    let body = context.client.get("/api/performance/metrics", &query).await?;
    if context.output == Output::Json {
        return print(&body);
    }
    let answer: MetricsAnswer = context.client.parse(&body)?;
    if answer.series.is_empty() {
        hint(&format!("no samples of {} in this range; choose another with --from", clean(metric)));
        return Ok(());
    }
    print(&table(context.screen, &answer))?;
    match &answer.explain {
        Some(explain) => print(&explained(explain)),
        None => Ok(()),
    }
}

/// How an answer was made, a line for each part of the range.
fn explained(explain: &Explain) -> String {
    let Explain { fold, series, nodes, parts, elapsed_ms } = explain;
    let mut text = format!("\n{fold}, {series} series of {nodes} nodes, {elapsed_ms:.1} ms\n");
    for part in parts {
        let tiers: Vec<_> = part.sources.iter().map(|source| source.tier.as_str()).collect();
        let (from, to) = (units::utc(part.from_ms), units::utc(part.to_ms));
        let _ = write!(text, "  {from} to {to}: {}, from {}", part.outcome, tiers.join("+"));
        if let (Some(rows), Some(ms)) = (part.rows_read, part.store_ms) {
            let _ = write!(text, ", {rows} rows in {ms:.1} ms");
        }
        text.push('\n');
    }
    clean_lines(&text)
}

/// The text without what would move the cursor, line by line.
fn clean_lines(text: &str) -> String {
    text.lines().map(|line| clean(line) + "\n").collect()
}

/// A pattern lists metrics; what asks for samples does not go with it.
fn no_question(args: &MetricsArgs) -> Result<(), Error> {
    let given = [
        ("--from", args.from.is_some()),
        ("--to", args.to.is_some()),
        ("--step", args.step.is_some()),
        ("--agg", args.agg.is_some()),
        ("--within", args.within.is_some()),
        ("--by", !args.by.is_empty()),
        ("--filter", !args.filter.is_empty()),
        ("--top", args.top.is_some()),
        ("--explain", args.explain),
    ];
    match given.iter().find(|(_, given)| *given) {
        Some((flag, _)) => Err(Error::Usage(format!(
            "{flag} needs one METRIC; a name with * only lists the metrics that match"
        ))),
        None => Ok(()),
    }
}

fn query(
    metric: &str,
    args: &MetricsArgs,
    now_ms: i64,
) -> Result<Vec<(&'static str, String)>, Error> {
    let mut query = vec![("metric", metric.to_owned())];
    query.extend(args.node.iter().map(|node| ("node", node.clone())));
    for (name, flag, text) in [("from", "--from", &args.from), ("to", "--to", &args.to)] {
        if let Some(text) = text {
            query.push((name, range::absolute(flag, text, now_ms)?));
        }
    }
    query.extend(args.step.iter().map(|step| ("step", step.clone())));
    query.extend(args.agg.iter().map(|agg| ("agg", agg.clone())));
    query.extend(args.within.iter().map(|within| ("within", within.clone())));
    query.extend(args.by.iter().map(|attribute| ("by", attribute.clone())));
    query.extend(args.filter.iter().map(|filter| ("filter", filter.clone())));
    query.extend(args.top.iter().map(|top| ("top", top.to_string())));
    query.extend(args.explain.then(|| ("explain", "true".to_owned())));
    Ok(query)
}

fn table(screen: Screen, answer: &MetricsAnswer) -> String {
    let mut keys: BTreeSet<&str> = BTreeSet::new();
    for series in &answer.series {
        keys.extend(series.attributes.keys().map(String::as_str));
    }
    let node = keys.remove("node");
    let keys: Vec<&str> = node.then_some("node").into_iter().chain(keys).collect();
    let mut columns: Vec<_> = keys.iter().map(|key| Column::Text(key)).collect();
    columns.extend(["LAST", "MIN", "MAX", "AVG"].map(Column::Number));
    columns.push(Column::Text("TREND"));
    let quantity = Quantity::of(&answer.metric, &answer.unit);
    let rows = answer.series.iter().map(|series| row(series, &keys, quantity)).collect();
    format!("{}\n{}", heading(answer), render(screen, &columns, rows))
}

/// What the numbers are: metric, unit, time.
fn heading(answer: &MetricsAnswer) -> String {
    let times = answer.series.iter().flat_map(|series| series.points.iter().map(|(ts, _)| *ts));
    let (first, last) =
        times.fold((i64::MAX, i64::MIN), |(first, last), ts| (first.min(ts), last.max(ts)));
    let range = if first > last {
        String::new()
    } else {
        let end = last.saturating_add_unsigned(answer.step_ms);
        format!(", {} to {}", units::utc(first), units::utc(end))
    };
    let step = humantime::format_duration(std::time::Duration::from_millis(answer.step_ms));
    let unit = if answer.unit.is_empty() { "1" } else { &answer.unit };
    let tier = if answer.tier.is_empty() { UNKNOWN } else { &answer.tier };
    clean(&format!("{} ({unit}), a point each {step}{range}, from {tier} samples", answer.metric))
}

fn row(series: &AnswerSeries, keys: &[&str], quantity: Quantity) -> Vec<Cell> {
    let attribute = |key: &&str| plain(series.attributes.get(*key).map_or("", String::as_str));
    let mut row: Vec<Cell> = keys.iter().map(attribute).collect();
    let points: Vec<_> = series.points.iter().map(|(_, value)| *value).collect();
    row.extend(Figures::of(&points).as_array().map(|value| plain(quantity.format(value))));
    row.push(plain(sparkline(&points, TREND_CELLS)));
    row
}

/// What is known of a series in short.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Figures {
    last: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    avg: Option<f64>,
}

impl Figures {
    fn of(points: &[Option<f64>]) -> Self {
        let known: Vec<f64> = points.iter().flatten().copied().filter(|v| v.is_finite()).collect();
        let sum: f64 = known.iter().sum();
        Self {
            last: known.last().copied(),
            min: known.iter().copied().reduce(f64::min),
            max: known.iter().copied().reduce(f64::max),
            avg: (!known.is_empty()).then(|| sum / known.len() as f64),
        }
    }

    fn as_array(self) -> [Option<f64>; 4] {
        [self.last, self.min, self.max, self.avg]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot;

    fn args() -> MetricsArgs {
        MetricsArgs {
            node: vec!["a".into(), "b".into()],
            from: Some("-1h".into()),
            to: Some("now".into()),
            step: Some("10s".into()),
            agg: Some("max".into()),
            by: vec!["node".into(), "cpu.mode".into()],
            filter: vec!["cpu.mode=user".into()],
            within: Some("avg".into()),
            top: Some(3),
            explain: true,
            ..MetricsArgs::default()
        }
    }

    #[test]
    fn flags_become_parameters_and_lists_repeat() {
        let query = query("m", &args(), 3_700_000).unwrap();
        let text: Vec<_> = query.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(
            text.join("&"),
            "metric=m&node=a&node=b&from=100000&to=3700000&step=10s&agg=max&within=avg&by=node&by=cpu.mode&filter=cpu.mode=user&top=3&explain=true"
        );
    }

    #[test]
    fn a_pattern_does_not_go_with_a_question() {
        assert!(
            no_question(&MetricsArgs { node: vec!["a".into()], ..MetricsArgs::default() }).is_ok()
        );
        let error = no_question(&args()).unwrap_err();
        assert_eq!(
            (error.exit_code(), error.to_string().split_once(' ').unwrap().0),
            (2, "--from")
        );
    }

    #[test]
    fn figures_are_of_known_points_only() {
        let figures = Figures::of(&[None, Some(4.0), Some(2.0), Some(f64::NAN), None]);
        assert_eq!(figures.as_array(), [Some(2.0), Some(2.0), Some(4.0), Some(3.0)]);
        assert_eq!(Figures::of(&[None]), Figures::default());
    }

    #[test]
    fn series_are_rows_with_a_trend() {
        let series = |node: &str, mode: &str, values: &[Option<f64>]| AnswerSeries {
            attributes: [("node", node), ("cpu.mode", mode)]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into(),
            points: (0_i64..)
                .map(|i| 1_785_585_600_000 + i * 12_000)
                .zip(values.iter().copied())
                .collect(),
        };
        let answer = MetricsAnswer {
            metric: "system.cpu.utilization".into(),
            unit: "1".into(),
            step_ms: 12_000,
            tier: "raw".into(),
            series: vec![
                series("web-1", "user", &[Some(0.1), None, Some(0.2), Some(0.4)]),
                series("web-1", "steal", &[Some(0.0), Some(0.0), Some(0.0), None]),
                series("web-2", "user", &[None, None, None, None]),
            ],
            explain: None,
        };
        snapshot::check("metrics", &table(Screen { terminal: false, color: false }, &answer));
    }
}
