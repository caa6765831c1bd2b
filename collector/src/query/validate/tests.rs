use flyball_proto::series::{NodeName, Scale, Series};

use super::*;

const NOW_MS: i64 = 1_785_585_600_000;

fn catalog() -> Catalog {
    let catalog = Catalog::new(100);
    let add = |node: &str, metric: &str, kind, attributes: &[(&str, &str)]| {
        let series = Series {
            metric: metric.into(),
            unit: "By".into(),
            kind,
            scale: Scale::UNIT,
            attributes: attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        };
        catalog.resolve(&NodeName::new(node).unwrap(), &series).unwrap();
    };
    for node in ["a", "b"] {
        for mode in ["user", "idle"] {
            add(node, "cpu", Kind::Gauge, &[("cpu.mode", mode)]);
        }
    }
    add("a", "io", Kind::Counter, &[("device", "sda"), ("direction", "read")]);
    add("c", "load", Kind::Gauge, &[]);
    catalog
}

fn ask(metric: &str) -> MetricsAsk {
    MetricsAsk { metric: Some(metric.to_owned()), ..MetricsAsk::default() }
}

fn judge(ask: MetricsAsk) -> Result<MetricsQuery, QueryError> {
    validate(ask, Violations::default(), &catalog(), NOW_MS)
}

/// Fields that are wrong, and whether the request is invalid (and not only names what does not exist).
fn wrong(ask: MetricsAsk) -> (bool, Vec<String>) {
    let (invalid, violations) = match judge(ask) {
        Err(QueryError::Invalid(v)) => (true, v),
        Err(QueryError::NotFound(v)) => (false, v),
        other => panic!("{other:?}"),
    };
    (invalid, violations.fields().iter().map(|f| f.field.clone()).collect())
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|t| (*t).to_owned()).collect()
}

#[test]
fn what_is_left_out_has_a_default() {
    let query = judge(ask("cpu")).unwrap();
    assert_eq!(query.fold, Agg::Avg.into());
    assert_eq!(query.series.len(), 4);
    assert_eq!(query.buckets, Buckets::covering(NOW_MS - 3_600_000, NOW_MS, 15_000));
    assert_eq!(judge(ask("io")).unwrap().fold, Agg::Rate.into());
    let early = MetricsAsk { to_ms: Some(1_000), ..ask("cpu") };
    assert_eq!(judge(early).unwrap().buckets.first_ms(), 0);
}

#[test]
fn what_does_not_exist_is_not_found() {
    assert_eq!(wrong(ask("nope")), (false, texts(&["metric"])));
    let unknown = MetricsAsk { nodes: texts(&["x", "a", "y"]), ..ask("nope") };
    assert_eq!(wrong(unknown), (false, texts(&["node", "node", "metric"])));
    let filter = MetricsAsk { filter: texts(&["node=x"]), ..ask("cpu") };
    assert_eq!(wrong(filter), (false, texts(&["filter"])));
}

#[test]
fn everything_that_is_wrong_is_told_at_once() {
    let all = MetricsAsk {
        metric: Some("io".into()),
        nodes: texts(&["x"]),
        from_ms: Some(5),
        to_ms: Some(5),
        step_ms: Some(10),
        agg: Some("p95".into()),
        by: texts(&["zone"]),
        filter: texts(&["device", "=x", "rack=1", "row=2"]),
        within: Some("sum".into()),
        top: Some(0),
        explain: false,
    };
    let fields =
        ["from", "within", "top", "filter", "filter", "node", "filter", "filter", "by", "agg"];
    assert_eq!(wrong(all), (true, texts(&fields)));
    let none = MetricsAsk { nodes: texts(&["x"]), agg: Some("mean".into()), ..Default::default() };
    assert_eq!(wrong(none), (true, texts(&["agg", "metric", "node"])));
}

#[test]
fn violations_found_while_reading_come_first() {
    let mut violations = Violations::default();
    violations.invalid("zap", "unknown parameter");
    let Err(QueryError::Invalid(v)) = validate(ask("nope"), violations, &catalog(), NOW_MS) else {
        panic!("not invalid")
    };
    let fields: Vec<_> = v.fields().iter().map(|f| f.field.as_str()).collect();
    assert_eq!(fields, ["zap", "metric"]);
}

#[test]
fn a_range_must_be_sound() {
    let range = |from_ms, to_ms, step_ms| MetricsAsk { from_ms, to_ms, step_ms, ..ask("cpu") };
    assert_eq!(wrong(range(Some(NOW_MS), None, None)), (true, texts(&["from"])));
    assert_eq!(wrong(range(Some(-1), Some(-2), None)), (true, texts(&["to", "from"])));
    for step in [0, -1, i64::MIN, i64::MAX] {
        assert_eq!(wrong(range(None, None, Some(step))), (true, texts(&["step"])), "{step}");
    }
    assert_eq!(wrong(range(Some(0), Some(11_000_001), Some(1_000))), (true, texts(&["step"])));
    assert!(judge(range(Some(0), Some(11_000_000), Some(1_000))).is_ok());
}

#[test]
fn the_step_that_is_named_as_enough_is_enough() {
    for (from_ms, to_ms) in [(0, 11_000_001), (999, 50_000_000), (7, NOW_MS)] {
        let asked = MetricsAsk {
            from_ms: Some(from_ms),
            to_ms: Some(to_ms),
            step_ms: Some(1),
            ..ask("cpu")
        };
        let Err(QueryError::Invalid(v)) = judge(asked.clone()) else { panic!("not invalid") };
        let reason = &v.fields()[0].reason;
        let least = reason.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
        assert!(judge(MetricsAsk { step_ms: Some(least), ..asked }).is_ok(), "{reason}");
    }
}

#[test]
fn an_aggregation_must_say_something_about_the_metric() {
    let agg = |metric, agg: &str| MetricsAsk { agg: Some(agg.to_owned()), ..ask(metric) };
    assert_eq!(wrong(agg("cpu", "rate")), (true, texts(&["agg"])));
    assert_eq!(wrong(agg("io", "avg")), (true, texts(&["agg"])));
    assert_eq!(judge(agg("cpu", "p99")).unwrap().fold, Agg::Percentile(99).into());
}

#[test]
fn filters_and_nodes_select_series() {
    let select = |nodes: &[&str], filter: &[&str]| {
        let ask = MetricsAsk { nodes: texts(nodes), filter: texts(filter), ..ask("cpu") };
        judge(ask).unwrap().series.len()
    };
    assert_eq!(select(&["a"], &[]), 2);
    assert_eq!(select(&["a"], &["cpu.mode=user"]), 1);
    assert_eq!(select(&[], &["cpu.mode=user"]), 2);
    assert_eq!(select(&[], &["cpu.mode=user", "cpu.mode=idle"]), 4);
    assert_eq!(select(&[], &["node=b"]), 2);
    assert_eq!(select(&["a"], &["node=b"]), 0);
    assert_eq!(select(&[], &["cpu.mode=nice"]), 0);
    assert_eq!(select(&["c"], &[]), 0);
}

#[test]
fn by_is_a_set_of_attributes_that_the_metric_has() {
    let by = |by: &[&str], filter: &[&str]| MetricsAsk {
        by: texts(by),
        filter: texts(filter),
        ..ask("cpu")
    };
    let query = judge(by(&["node", "cpu.mode", "node"], &["cpu.mode=nice"])).unwrap();
    assert_eq!(query.by, By::Attributes(texts(&["cpu.mode", "node"])));
    assert_eq!(judge(by(&["none"], &[])).unwrap().by, By::Nothing);
    assert_eq!(judge(by(&[], &[])).unwrap().by, By::Series);
    assert_eq!(wrong(by(&["device", "zone"], &[])), (true, texts(&["by", "by"])));
}

#[test]
fn lists_are_bounded() {
    let many = MetricsAsk { nodes: vec!["a".to_owned(); MAX_REPEATS + 1], ..ask("cpu") };
    assert_eq!(wrong(many), (true, texts(&["node"])));
}

#[test]
fn nodes_are_all_that_counts_only_when_each_has_a_series() {
    let names = |nodes: &[&str], filter: &[&str]| {
        let ask = MetricsAsk { nodes: texts(nodes), filter: texts(filter), ..ask("cpu") };
        judge(ask).unwrap().names_nodes
    };
    assert!(names(&["a"], &[]) && names(&["a", "b"], &[]) && names(&[], &["node=a", "node=b"]));
    assert!(!names(&[], &[]));
    // The first series of c may yet come, and with a late sample.
    assert!(!names(&["a", "c"], &[]) && !names(&[], &["node=a", "node=c"]));
}
