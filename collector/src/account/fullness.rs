//! Whether the catalog is full, and who filled it.
//!
//! It counts as full from the first series that was turned away until there is room again: below [`ROOMY`] of the bound with nobody turned away, so that
//! a fleet at the edge does not make the alert flutter. The nodes with most series are named; one that stands out is the offender.

use super::alert::{Finding, Kind};
use crate::store::Catalog;

/// Share of the bound below which the catalog is not full any more.
const ROOMY: f64 = 0.95;
/// Nodes that are named.
const NAMED: usize = 3;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Fullness {
    turned_away: u64,
    is_full: bool,
}

impl Fullness {
    /// What has changed since the last look.
    pub(super) fn look(&mut self, catalog: &Catalog) -> Option<Finding> {
        let turned_away = catalog.turned_away();
        let grew = turned_away > std::mem::replace(&mut self.turned_away, turned_away);
        let is_roomy = (catalog.len() as f64) < catalog.max_series() as f64 * ROOMY;
        if grew {
            self.is_full = true;
            return Some(Finding::of(Kind::CatalogFull, true, || text(catalog)));
        }
        (self.is_full && is_roomy).then(|| {
            self.is_full = false;
            Finding::over(Kind::CatalogFull)
        })
    }
}

fn text(catalog: &Catalog) -> String {
    let named: Vec<_> = catalog
        .largest_nodes(NAMED)
        .into_iter()
        .map(|(node, series)| format!("{node} ({series})"))
        .collect();
    format!(
        "there are {} series, as many as clickhouse.max_series allows: samples of new ones are kept as sums by node and metric; most series are of {}",
        catalog.max_series(),
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use flyball_proto::series::{Kind as SeriesKind, NodeName, Scale, Series};

    use super::*;
    use crate::store::SeriesId;

    fn resolve(catalog: &Catalog, number: usize) -> Option<SeriesId> {
        let series = Series {
            metric: "m".into(),
            unit: "1".into(),
            kind: SeriesKind::Gauge,
            scale: Scale::UNIT,
            attributes: vec![("n".into(), number.to_string())],
        };
        catalog.resolve(&NodeName::new("web-1").unwrap(), &series).ok().map(|(id, _)| id)
    }

    #[test]
    fn it_is_full_from_the_first_that_is_turned_away_until_there_is_room() {
        let (catalog, mut fullness) = (Catalog::new(20), Fullness::default());
        let ids: Vec<_> = (0..20).filter_map(|number| resolve(&catalog, number)).collect();
        assert_eq!(fullness.look(&catalog), None, "nobody was turned away");
        assert_eq!(resolve(&catalog, 20), None);
        let text = fullness.look(&catalog).unwrap().text.unwrap();
        assert!(text.contains("20 series") && text.contains("web-1 (20)"), "{text}");
        assert_eq!(fullness.look(&catalog), None);
        catalog.release(ids.iter().copied());
        catalog.remove_unused(&ids[..1]);
        assert_eq!(fullness.look(&catalog), None, "19 of 20: not roomy");
        catalog.remove_unused(&ids[1..2]);
        assert_eq!(fullness.look(&catalog), Some(Finding::over(Kind::CatalogFull)));
        assert_eq!(fullness.look(&catalog), None);
    }
}
