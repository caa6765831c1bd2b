//! What is known of a request by its path alone, before anything else is looked at: whether it may be refused, and its metrics.

use hashbrown::HashMap;

use super::super::telemetry::{ApiMetrics, OTHER_ROUTE, RouteMetrics};

/// How a request is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    /// Says how the collector is: answered whatever else happens.
    Operation,
    /// A call of the API.
    Call,
    /// A stream of events: bounded by the number of readers, and not in flight.
    Events,
    /// A file of the dashboard, or nothing.
    File,
}

/// A path of the API.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) class: Class,
    pub(super) metrics: RouteMetrics,
}

/// All paths of the API.
#[derive(Debug)]
pub(super) struct Routes {
    literal: HashMap<String, Route>,
    /// Paths with parameters, by their segments; `None` is a parameter.
    patterns: Vec<(Vec<Option<String>>, Route)>,
    other: Route,
}

impl Routes {
    /// `paths` as the description of the API has them: `/a/{b}`.
    pub(super) fn new<'a>(paths: impl IntoIterator<Item = &'a str>, metrics: &ApiMetrics) -> Self {
        let mut routes = Self {
            literal: HashMap::new(),
            patterns: Vec::new(),
            other: Route { class: Class::File, metrics: metrics.route(OTHER_ROUTE) },
        };
        for path in paths {
            let route = Route { class: Class::of(path), metrics: metrics.route(path) };
            if path.contains('{') {
                let part = |s: &str| (!s.starts_with('{')).then(|| s.to_owned());
                routes.patterns.push((path.split('/').map(part).collect(), route));
            } else {
                routes.literal.insert(path.to_owned(), route);
            }
        }
        routes
    }

    /// The route of a path.
    pub(super) fn find(&self, path: &str) -> &Route {
        if let Some(route) = self.literal.get(path) {
            return route;
        }
        let found = self.patterns.iter().find(|(parts, _)| matches(parts, path));
        found.map_or(&self.other, |(_, route)| route)
    }
}

impl Class {
    fn of(path: &str) -> Self {
        match path {
            "/healthz" | "/readyz" | "/metrics" => Self::Operation,
            "/api/performance/events" => Self::Events,
            path if path.starts_with("/api/") => Self::Call,
            _ => Self::File,
        }
    }
}

fn matches(parts: &[Option<String>], path: &str) -> bool {
    let mut segments = path.split('/');
    let all = parts.iter().all(|part| match (part, segments.next()) {
        (Some(part), Some(segment)) => part == segment,
        (None, Some(segment)) => !segment.is_empty(),
        (_, None) => false,
    });
    all && segments.next().is_none()
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_path_is_found_with_and_without_parameters() {
        let metrics = ApiMetrics::register(&mut Registry::default());
        let paths = ["/healthz", "/docs", "/api/performance/events", "/api/x/{id}/y", "/api/x/a/y"];
        let routes = Routes::new(paths, &metrics);
        for (path, class, name) in [
            ("/healthz", Class::Operation, "/healthz"),
            ("/docs", Class::File, "/docs"),
            ("/api/performance/events", Class::Events, "/api/performance/events"),
            ("/api/x/7/y", Class::Call, "/api/x/{id}/y"),
            ("/api/x/a/y", Class::Call, "/api/x/a/y"),
            ("/api/x//y", Class::File, OTHER_ROUTE),
            ("/api/x/7/y/", Class::File, OTHER_ROUTE),
            ("/healthz/", Class::File, OTHER_ROUTE),
        ] {
            let route = routes.find(path);
            assert_eq!((route.class, route.metrics.name()), (class, name), "{path}");
        }
    }
}
