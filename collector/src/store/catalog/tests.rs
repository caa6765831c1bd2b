use flyball_proto::series::Scale;

use super::*;

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn series(metric: &str, attributes: &[(&str, &str)]) -> Series {
    Series {
        metric: metric.into(),
        unit: "s".into(),
        kind: Kind::Counter,
        scale: Scale::decimal(2),
        attributes: attributes.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
    }
}

fn pair(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

fn filled() -> Catalog {
    let catalog = Catalog::new(1_000);
    for name in ["b", "a"] {
        for mode in ["user", "system"] {
            for cpu in ["0", "1", "2"] {
                let attributes = [("cpu.logical_number", cpu), ("cpu.mode", mode)];
                catalog.resolve(&node(name), &series("system.cpu.time", &attributes)).unwrap();
            }
        }
        catalog.resolve(&node(name), &series("system.uptime", &[])).unwrap();
    }
    catalog
}

#[test]
fn a_series_keeps_its_id_and_is_unwritten_until_its_row_is_durable() {
    let catalog = Catalog::new(10);
    let uptime = series("system.uptime", &[]);
    let (id, unwritten) = catalog.resolve(&node("a"), &uptime).unwrap();
    assert!(unwritten);
    assert_eq!(catalog.resolve(&node("a"), &uptime).unwrap(), (id, true));
    catalog.mark_written(&[id]);
    assert_eq!(catalog.resolve(&node("a"), &uptime).unwrap(), (id, false));
    assert_ne!(catalog.resolve(&node("b"), &uptime).unwrap().0, id);
    assert_eq!(catalog.len(), 2);
}

#[test]
fn a_new_description_replaces_the_old_one_under_the_same_id() {
    let catalog = Catalog::new(1);
    let old = series("system.uptime", &[]);
    let (id, _) = catalog.resolve(&node("a"), &old).unwrap();
    catalog.mark_written(&[id]);
    for new in [
        Series { scale: Scale::UNIT, ..old.clone() },
        Series { unit: "ms".into(), scale: Scale::UNIT, ..old.clone() },
        Series { kind: Kind::Gauge, ..old.clone() },
    ] {
        assert_eq!(catalog.resolve(&node("a"), &new).unwrap(), (id, true));
        assert_eq!(catalog.describe(id).unwrap(), ("a".into(), new.clone()));
        catalog.mark_written(&[id]);
        assert_eq!(catalog.resolve(&node("a"), &new).unwrap(), (id, false));
    }
}

#[test]
fn an_id_that_another_series_has_is_not_given_again() {
    let (first, second) = (series("m", &[("a", "1")]), series("m", &[("a", "2")]));
    let taken = SeriesId::derive("n", &second, 0);
    let catalog = Catalog::new(10);
    assert!(catalog.load(SeriesRow::new(taken, &node("n"), &first, 0)));
    let (id, unwritten) = catalog.resolve(&node("n"), &second).unwrap();
    assert_eq!((id, unwritten), (SeriesId::derive("n", &second, 1), true));
    assert_eq!(catalog.resolve(&node("n"), &second).unwrap().0, id);
    assert_eq!(catalog.describe(taken).unwrap().1, first);

    let again = Catalog::new(10);
    again.load(SeriesRow::new(taken, &node("n"), &first, 0));
    again.load(SeriesRow::new(id, &node("n"), &second, 0));
    assert_eq!(again.resolve(&node("n"), &second).unwrap(), (id, false));
}

#[test]
fn a_full_catalog_refuses_new_series_and_serves_the_known_ones() {
    let catalog = Catalog::new(1);
    let known = series("system.uptime", &[]);
    let (id, _) = catalog.resolve(&node("a"), &known).unwrap();
    assert_eq!(catalog.resolve(&node("b"), &known), Err(CatalogFull { max_series: 1 }));
    assert_eq!(catalog.resolve(&node("a"), &known).unwrap().0, id);
    assert_eq!(catalog.turned_away(), 1);
    let overflow = series("system.uptime", &[("otel.metric.overflow", "true")]);
    assert!(catalog.resolve_overflow(&node("b"), &overflow).is_ok(), "sums have room of their own");
    assert!(catalog.resolve_overflow(&node("c"), &overflow).is_err(), "and not without a bound");
    let row = SeriesRow::new(SeriesId::from(1), &node("b"), &known, 0);
    assert!(!catalog.load(row));
    assert_eq!(catalog.len(), 2);
}

#[test]
fn series_that_no_stream_uses_can_be_forgotten() {
    let catalog = Catalog::new(10);
    let (old, back, new) = (series("old", &[("a", "1")]), series("back", &[]), series("new", &[]));
    for (id, series) in [(1, &old), (SeriesId::derive("n", &back, 0).get(), &back)] {
        catalog.load(SeriesRow::new(SeriesId::from(id), &node("n"), series, 0));
    }
    let (back_id, _) = catalog.resolve(&node("n"), &back).unwrap();
    let (new_id, _) = catalog.resolve(&node("n"), &new).unwrap();
    let gone = catalog.remove_unused(&[SeriesId::from(1), back_id, new_id, SeriesId::from(99)]);
    assert_eq!(gone, [SeriesId::from(1)]);
    assert_eq!(catalog.size.get(), 2);
    let names: Vec<_> = catalog.metrics().iter().map(|m| m.name.to_string()).collect();
    assert_eq!(names, ["back", "new"]);
    assert_eq!(catalog.resolve(&node("n"), &back).unwrap(), (back_id, false));
    assert_eq!(catalog.resolve(&node("n"), &new).unwrap(), (new_id, true));
    assert_eq!(catalog.remove_unused(&[SeriesId::from(1)]), []);
}

#[test]
fn a_series_is_in_use_until_every_stream_has_released_it() {
    let catalog = Catalog::new(10);
    let uptime = series("system.uptime", &[]);
    let (id, _) = catalog.resolve(&node("a"), &uptime).unwrap();
    catalog.resolve(&node("a"), &uptime).unwrap();
    catalog.mark_written(&[id]);
    catalog.release([id]);
    assert_eq!(catalog.remove_unused(&[id]), []);
    assert_eq!((catalog.written_ids(true), catalog.written_ids(false)), (vec![id], vec![]));
    catalog.release([id]);
    assert_eq!((catalog.written_ids(true), catalog.written_ids(false)), (vec![], vec![id]));
    catalog.release([id]);
    catalog.resolve(&node("a"), &uptime).unwrap();
    assert_eq!(catalog.remove_unused(&[id]), [], "one release too many does no harm");
    catalog.release([id]);
    assert_eq!(catalog.remove_unused(&[id]), [id]);
    assert_eq!((catalog.len(), catalog.nodes().len(), catalog.metrics().len()), (0, 0, 0));
}

#[test]
fn a_row_of_another_collector_is_taken_over_unless_a_stream_here_knows_better() {
    let catalog = Catalog::new(10);
    let old = series("m", &[]);
    let new = Series { scale: Scale::UNIT, unit: "ms".into(), ..old.clone() };
    let id = SeriesId::derive("a", &old, 0);
    let row = |series: &Series| SeriesRow::new(id, &node("a"), series, 0);
    assert!(catalog.load(row(&old)));
    assert!(catalog.load(row(&new)));
    assert_eq!(catalog.describe(id).unwrap().1, new);
    assert_eq!(catalog.resolve(&node("a"), &old).unwrap(), (id, true));
    assert!(catalog.load(row(&new)));
    assert_eq!(catalog.describe(id).unwrap().1, old, "a stream uses it");
    assert_eq!(catalog.resolve(&node("a"), &old).unwrap(), (id, true), "its row is another one");
    assert!(!catalog.load(SeriesRow::new(id, &node("b"), &old, 0)), "the id is another series'");
    assert!(catalog.load(row(&old)));
    assert_eq!(catalog.resolve(&node("a"), &old).unwrap(), (id, false), "now it is there");
}

#[test]
fn places_and_names_of_series_that_are_gone_are_given_anew() {
    let catalog = Catalog::new(1_000);
    for round in 0..50 {
        let ids: Vec<_> = (0..100)
            .map(|n| {
                let pid = format!("{round}-{n}");
                catalog.resolve(&node("a"), &series("process.cpu", &[("pid", &pid)])).unwrap().0
            })
            .collect();
        catalog.release(ids.iter().copied());
        assert_eq!(catalog.remove_unused(&ids).len(), 100);
        catalog.resolve(&node(&format!("n{round}")), &series("kept", &[])).unwrap();
        assert_eq!(catalog.len(), round + 1);
    }
    let kept = catalog.select(&Selector { metric: "kept", ..Selector::default() }).unwrap();
    let nodes: std::collections::BTreeSet<_> = kept.series.iter().map(|s| &*s.node).collect();
    assert_eq!((kept.series.len(), nodes.len()), (50, 50));
    assert!(catalog.select(&Selector { metric: "process.cpu", ..Selector::default() }).is_err());
}

#[test]
fn the_nodes_with_most_series_are_named() {
    let catalog = filled();
    catalog.resolve(&node("b"), &series("more", &[])).unwrap();
    assert_eq!(catalog.largest_nodes(2), [("b".into(), 8), ("a".into(), 7)]);
}

#[test]
fn selectors_narrow_by_node_and_by_attributes() {
    let catalog = filled();
    let count = |nodes: &[&str], filters: &[(String, String)]| {
        let nodes: Vec<String> = nodes.iter().map(|n| (*n).to_owned()).collect();
        let selector = Selector { metric: "system.cpu.time", nodes: &nodes, filters };
        let selection = catalog.select(&selector).unwrap();
        assert!(selection.series.windows(2).all(|w| w[0].id < w[1].id));
        selection.series.len()
    };
    assert_eq!(count(&[], &[]), 12);
    assert_eq!(count(&["a"], &[]), 6);
    assert_eq!(count(&["a", "b", "a"], &[pair("cpu.mode", "user")]), 6);
    assert_eq!(count(&["a"], &[pair("cpu.mode", "user"), pair("cpu.logical_number", "1")]), 1);
    assert_eq!(count(&[], &[pair("cpu.mode", "user"), pair("cpu.mode", "system")]), 12);
    assert_eq!(count(&[], &[pair("cpu.mode", "of no cpu")]), 0);
}

#[test]
fn a_selected_series_carries_its_node_and_attributes() {
    let catalog = filled();
    let filters = [pair("cpu.mode", "user"), pair("cpu.logical_number", "2")];
    let nodes = ["b".to_owned()];
    let selector = Selector { metric: "system.cpu.time", nodes: &nodes, filters: &filters };
    let selection = catalog.select(&selector).unwrap();
    assert_eq!((&*selection.unit, selection.kind), ("s", Kind::Counter));
    let [found] = &selection.series[..] else { panic!("one series") };
    assert_eq!(&*found.node, "b");
    let expected =
        [("cpu.logical_number", "2"), ("cpu.mode", "user")].map(|(k, v)| (k.into(), v.into()));
    assert_eq!(found.attributes, expected);
}

#[test]
fn what_does_not_exist_is_named() {
    let catalog = filled();
    let select = |metric, nodes: &[String], filters: &[(String, String)]| {
        catalog.select(&Selector { metric, nodes, filters }).unwrap_err()
    };
    assert_eq!(select("system.cpu", &[], &[]), Unknown::Metric("system.cpu".into()));
    // A string that is known, but not as a metric, a node or an attribute of this metric.
    assert_eq!(select("cpu.mode", &[], &[]), Unknown::Metric("cpu.mode".into()));
    let nodes = ["a".to_owned(), "user".to_owned()];
    assert_eq!(select("system.uptime", &nodes, &[]), Unknown::Node("user".into()));
    let filters = [pair("cpu.mode", "user")];
    assert_eq!(select("system.uptime", &[], &filters), Unknown::Attribute("cpu.mode".into()));
}

#[test]
fn metrics_list_their_nodes_attributes_and_series() {
    let metrics = filled().metrics();
    assert_eq!(metrics.len(), 2);
    let cpu = &metrics[0];
    assert_eq!(
        (&*cpu.name, &*cpu.unit, cpu.kind, cpu.series),
        ("system.cpu.time", "s", Kind::Counter, 12)
    );
    assert_eq!(cpu.nodes, ["a", "b"].map(Arc::from));
    assert_eq!(cpu.attributes, ["cpu.logical_number", "cpu.mode"].map(Arc::from));
    assert_eq!((&*metrics[1].name, metrics[1].series), ("system.uptime", 2));
    assert_eq!(filled().nodes(), ["a", "b"].map(Arc::from));
}

#[test]
fn two_hundred_thousand_series_fit_in_tens_of_megabytes() {
    let catalog = Catalog::new(1_000_000);
    let resident = || {
        let text = std::fs::read_to_string("/proc/self/statm").unwrap();
        text.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
    };
    let before = resident();
    for n in 0..1_000 {
        let name = node(&format!("node-{n:04}"));
        for s in 0..200 {
            let (metric, item) = (format!("system.metric.{}", s % 20), format!("item{}", s / 20));
            let attributes = [("direction", "read"), ("item", item.as_str())];
            catalog.resolve(&name, &series(&metric, &attributes)).unwrap();
        }
    }
    let grown = resident().saturating_sub(before);
    assert_eq!(catalog.len(), 200_000);
    println!("{} bytes a series", grown / 200_000);
    // 45 bytes, and what the allocator leaves over: 54 to 66 were seen of the same code.
    assert!(grown < 100 * 200_000, "{grown} bytes");
}
