//! Lists in pages: the newest first, and a cursor that goes on after the last one of a page whatever was
//! added meanwhile.

use crate::query::Violations;

/// Items of a page unless told otherwise, and at most.
const USUAL: usize = 50;
const MOST: usize = 200;

/// Which page is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: usize,
    after: Option<Place>,
}

/// Where an item stands: by time, the newest first, and then by id.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    at_ms: i64,
    id: String,
}

impl Page {
    /// Of `limit` and `cursor`, which may be missing.
    pub(super) fn parse(
        limit: Option<&str>,
        cursor: Option<&str>,
        violations: &mut Violations,
    ) -> Self {
        let parsed = limit.map_or(Ok(USUAL), str::parse);
        let limit = parsed.ok().filter(|limit| (1..=MOST).contains(limit));
        if limit.is_none() {
            violations.invalid("limit", format!("must be a whole number of 1 to {MOST}"));
        }
        let after = cursor.filter(|cursor| !cursor.is_empty()).map(Place::parse);
        if after == Some(None) {
            violations.invalid("cursor", "not one that this collector gave");
        }
        Self { limit: limit.unwrap_or(USUAL), after: after.flatten() }
    }

    /// The page of all items, and the cursor of the next one.
    pub(super) fn cut<T>(
        &self,
        mut all: Vec<T>,
        place: impl Fn(&T) -> (i64, &str),
    ) -> (Vec<T>, Option<String>) {
        let order = |item: &T| {
            let (at_ms, id) = place(item);
            (std::cmp::Reverse(at_ms), id.to_owned())
        };
        all.sort_by_cached_key(order);
        if let Some(after) = &self.after {
            let mark = (std::cmp::Reverse(after.at_ms), after.id.clone());
            all.retain(|item| order(item) > mark);
        }
        let more = all.len() > self.limit;
        all.truncate(self.limit);
        let next = all.last().filter(|_| more).map(|last| {
            let (at_ms, id) = place(last);
            format!("{at_ms}.{id}")
        });
        (all, next)
    }
}

impl Place {
    fn parse(text: &str) -> Option<Self> {
        let (at_ms, id) = text.split_once('.')?;
        Some(Self { at_ms: at_ms.parse().ok()?, id: id.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(limit: &str, cursor: &str) -> Result<Page, Violations> {
        let mut violations = Violations::default();
        let page = Page::parse(Some(limit), Some(cursor), &mut violations);
        if violations.is_empty() { Ok(page) } else { Err(violations) }
    }

    #[test]
    fn pages_follow_each_other_without_gap_or_repeat_while_newer_ones_come() {
        let mut all: Vec<(i64, String)> = (0..7).map(|i| (i / 2, format!("id.{i}"))).collect();
        let mut seen = Vec::new();
        let mut cursor = String::new();
        loop {
            let (items, next) =
                page("2", &cursor).unwrap().cut(all.clone(), |item| (item.0, &item.1));
            seen.extend(items.into_iter().map(|item| item.1));
            let Some(next) = next else { break };
            cursor = next;
            all.push((100, format!("new.{}", seen.len())));
        }
        assert_eq!(seen, ["id.6", "id.4", "id.5", "id.2", "id.3", "id.0", "id.1"]);
    }

    #[test]
    fn what_is_no_page_is_refused() {
        for (limit, cursor) in [("0", ""), ("201", ""), ("x", ""), ("1", "x"), ("1", "x.y")] {
            assert!(page(limit, cursor).is_err(), "{limit} {cursor}");
        }
        assert!(page("200", "-5.s-1").is_ok());
    }
}
