//! The catalog and the table of series stay alike: several collectors, churn, and rows that somebody deleted.

use std::collections::BTreeSet;

use flyball_collector::store::{Catalog, DAY_MS, SampleRow, SeriesId, SeriesRow, Store};
use flyball_proto::series::{Kind, NodeName, Scale, Series};

use crate::{Opened, config, open_in, today_ms};

fn series(name: &str) -> Series {
    Series {
        metric: "process.cpu.time".into(),
        unit: "s".into(),
        kind: Kind::Counter,
        scale: Scale::decimal(2),
        attributes: vec![("process.executable.name".into(), name.into())],
    }
}

/// A stream resolves a series and its row is written, as of two days ago.
async fn write(store: &Store, catalog: &Catalog, name: &str) -> SeriesId {
    let node = NodeName::new("web-1").unwrap();
    let (id, unwritten) = catalog.resolve(&node, &series(name)).unwrap();
    assert!(unwritten, "{name}");
    let row = SeriesRow::new(id, &node, &series(name), today_ms() - 2 * DAY_MS);
    // A token of its own: a block that was deleted is not a retry.
    let token = format!("{name}:{:?}", std::time::Instant::now());
    store.insert_series(&[row], &token).await.unwrap();
    catalog.mark_written(&[id]);
    id
}

async fn sample(store: &Store, id: SeriesId) {
    let row = SampleRow { series_id: id.get(), ts_ms: today_ms(), raw: 1, scale: 2 };
    store.insert_samples(&[row], &format!("{id:?}")).await.unwrap();
}

/// Names of the series whose rows are in the table.
async fn stored(store: &Store) -> BTreeSet<String> {
    let rows = store.load_series().await.unwrap();
    rows.into_iter().map(|row| row.attributes[0].1.clone()).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.into_iter().map(str::to_owned).collect()
}

#[tokio::test]
async fn under_churn_only_series_with_samples_or_users_stay() {
    let opened = Opened::new().await;
    let (store, catalog) = (opened.store(), &opened.open.catalog);
    let sampled = write(store, catalog, "sampled").await;
    sample(store, sampled).await;
    let used = write(store, catalog, "used").await;
    catalog.release([sampled]);
    for round in 0..3 {
        let mut gone = Vec::new();
        for n in 0..20 {
            gone.push(write(store, catalog, &format!("process-{round}-{n}")).await);
        }
        assert_eq!(store.prune_series(catalog).await.unwrap(), 0, "their stream goes on");
        catalog.release(gone.iter().copied());
        assert_eq!(store.prune_series(catalog).await.unwrap(), 20);
        assert_eq!(catalog.len(), 2, "round {round}");
    }
    assert_eq!(stored(store).await, names(["sampled", "used"]));
    // One that comes back is new again, and its row is to be written.
    let back = write(store, catalog, "process-0-0").await;
    assert_eq!(stored(store).await.len(), 3);
    catalog.release([used, back]);
    opened.close().await;
}

#[tokio::test]
async fn a_young_series_is_not_forgotten_before_its_first_sample() {
    let opened = Opened::new().await;
    let (store, catalog) = (opened.store(), &opened.open.catalog);
    let node = NodeName::new("web-1").unwrap();
    let (id, _) = catalog.resolve(&node, &series("young")).unwrap();
    let row = SeriesRow::new(id, &node, &series("young"), today_ms() + DAY_MS / 2);
    store.insert_series(&[row], "young").await.unwrap();
    catalog.mark_written(&[id]);
    catalog.release([id]);
    assert_eq!(store.prune_series(catalog).await.unwrap(), 0);
    assert_eq!(stored(store).await, names(["young"]));
    opened.close().await;
}

/// A second collector's store and catalog on the same engine.
async fn other(opened: &Opened) -> flyball_collector::store::OpenStore {
    let endpoint = opened.engine().endpoint().clone();
    let mut config = config(opened.dir.path());
    config.clickhouse.url = vec![endpoint.url];
    config.clickhouse.user = endpoint.user;
    config.clickhouse.password = endpoint.password;
    open_in(&config).await
}

#[tokio::test]
async fn two_collectors_learn_and_forget_together() {
    let opened = Opened::new().await;
    let (store, ours) = (opened.store(), &opened.open.catalog);
    let first = write(store, ours, "first").await;
    let other = other(&opened).await;
    let theirs = &other.catalog;
    assert_eq!(theirs.len(), 1);

    let new = write(store, ours, "new").await;
    // Their own task may have been faster.
    other.store.learn_series(theirs).await.unwrap();
    assert_eq!(theirs.describe(new).unwrap().1, series("new"));
    assert_eq!(other.store.learn_series(theirs).await.unwrap(), 0, "nothing twice");
    assert_eq!(store.learn_series(ours).await.unwrap(), 0, "nothing of our own");
    let node = NodeName::new("web-1").unwrap();
    assert_eq!(theirs.resolve(&node, &series("new")).unwrap(), (new, false));

    // We know of no user of "new" and forget it; they use it and write its row again. "first" is forgotten on both sides.
    ours.release([first, new]);
    assert_eq!(store.prune_series(ours).await.unwrap(), 2);
    assert_eq!(stored(store).await, names([]));
    assert_eq!(other.store.reconcile_series(theirs).await.unwrap(), (1, 1));
    assert_eq!(stored(store).await, names(["new"]));
    assert!(theirs.describe(first).is_none());
    assert_eq!(store.learn_series(ours).await.unwrap(), 1);
    assert_eq!(other.store.reconcile_series(theirs).await.unwrap(), (0, 0));
    opened.close().await;
}

#[tokio::test]
async fn a_new_description_from_another_collector_is_taken_over() {
    let opened = Opened::new().await;
    let (store, ours) = (opened.store(), &opened.open.catalog);
    let id = write(store, ours, "m").await;
    ours.release([id]);
    let node = NodeName::new("web-1").unwrap();
    let changed = Series { scale: Scale::UNIT, unit: "ms".into(), ..series("m") };
    let row = SeriesRow::new(id, &node, &changed, today_ms());
    store.insert_series(&[row], "changed").await.unwrap();
    assert_eq!(store.learn_series(ours).await.unwrap(), 1);
    assert_eq!(ours.describe(id).unwrap().1, changed);
    assert_eq!(ours.resolve(&node, &changed).unwrap(), (id, false));
    opened.close().await;
}
