//! docs/metrics.md, written from the samplers' own tables.
//!
//! `UPDATE_GOLDEN=1 cargo nextest run -p flyball-agent documentation` writes it anew.

use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::golden::compare;
use super::{
    Backend, Isolation, MemcachedConfig, MemcachedServer, Metric, Sampler, SenseConfig, balancers,
    samplers, servers,
};
use crate::envoy::{Balanced, Envoy, EnvoyConfig};
use crate::haproxy::{Haproxy, HaproxyConfig};
use crate::orca::{Orca, OrcaConfig};
use crate::recorder;
use crate::redis::{Instance, RedisConfig};

const INTRODUCTION: &str = "\
# Metrics

Written by a test from the tables in the code: do not edit. Names, units and attributes follow OpenTelemetry's semantic conventions; `flyball.*` is what they have no
name for, and where Flyball differs from them is listed in [docs/adr/002-host-sampler.md](adr/002-host-sampler.md). Every series also has the node's name.

A value that could not be read is unknown, which is not zero. Counters that started again are flagged. `linux` is the back end that reads /proc and /sys directly,
`portable` the one by sysinfo (`sense.backend`).
";

fn row(document: &mut String, metric: &Metric, back_ends: &str) {
    let attributes: Vec<String> = metric.attributes.iter().map(|key| format!("`{key}`")).collect();
    let Metric { name, unit, kind, description, .. } = metric;
    writeln!(
        document,
        "| `{name}` | `{unit}` | {} | {} | {description} | {back_ends} |",
        kind.as_str(),
        attributes.join(", "),
    )
    .unwrap();
}

fn head(document: &mut String, title: &str, text: &str) {
    writeln!(document, "\n## {title}\n\n{text}\n").unwrap();
    document.push_str("| name | unit | kind | attributes | description | back ends |\n");
    document.push_str("|---|---|---|---|---|---|\n");
}

fn how(sampler: &dyn Sampler) -> String {
    let period = sampler
        .period()
        .map_or_else(|| "each tick".to_owned(), |period| format!("every {} s", period.as_secs()));
    match sampler.isolation() {
        Isolation::Inline => format!("Read {period}."),
        Isolation::Thread => format!("Read {period}, on a thread of its own."),
    }
}

/// The samplers of servers, with a server each.
fn of_servers() -> Vec<Box<dyn Sampler>> {
    let redis = RedisConfig { url: "redis://h".to_owned(), ..RedisConfig::default() };
    let redis = Instance::new(redis, Path::new("/nonexistent")).unwrap();
    let memcached = MemcachedConfig { address: "h".to_owned(), ..MemcachedConfig::default() };
    let memcached = MemcachedServer::new(&memcached, Path::new("/nonexistent")).unwrap();
    let haproxy = HaproxyConfig { socket: "h:1".to_owned(), ..HaproxyConfig::default() };
    let haproxy = Haproxy::new(haproxy).unwrap();
    let balanced = Balanced {
        envoys: vec![Envoy::new(EnvoyConfig::default())],
        orca: vec![Orca::new(OrcaConfig::default())],
        ..Balanced::default()
    };
    let mut all = servers(&[redis], &[memcached], &[haproxy], Duration::from_secs(1));
    all.extend(balancers(&balanced));
    all
}

fn document() -> String {
    let config = SenseConfig::default();
    let portable = samplers(Backend::Portable, &config);
    let in_portable: HashSet<&str> =
        portable.iter().flat_map(|sampler| sampler.metrics()).map(|metric| metric.name).collect();
    let mut document = INTRODUCTION.to_owned();
    for sampler in samplers(Backend::Linux, &config) {
        head(&mut document, sampler.name(), &how(&*sampler));
        for metric in sampler.metrics() {
            let both = in_portable.contains(metric.name);
            row(&mut document, metric, if both { "linux, portable" } else { "linux" });
        }
    }
    for sampler in of_servers() {
        head(&mut document, sampler.name(), &how(&*sampler));
        for metric in sampler.metrics() {
            row(&mut document, metric, "linux, portable");
        }
    }
    head(&mut document, "sampling and shipping", "Published by the agent of its own work.");
    for metric in recorder::METRICS {
        row(&mut document, metric, "linux, portable");
    }
    document
}

#[test]
fn the_documentation_is_that_of_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    compare(&path, &document());
}

#[test]
fn a_metric_is_the_same_in_both_back_ends_and_comes_from_one_sampler() {
    let config = SenseConfig::default();
    let linux = samplers(Backend::Linux, &config);
    let servers = of_servers();
    let all: Vec<&Metric> =
        linux.iter().chain(&servers).flat_map(|sampler| sampler.metrics()).collect();
    let names: HashSet<&str> = all.iter().map(|metric| metric.name).collect();
    assert_eq!(names.len(), all.len());
    for sampler in samplers(Backend::Portable, &config) {
        for metric in sampler.metrics() {
            assert!(all.contains(&metric), "{} differs", metric.name);
        }
    }
}
