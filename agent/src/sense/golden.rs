//! Golden tests: every sampler of the fast back end on recorded and made-up trees of /proc and /sys, two readings each (tests/fixtures/README.md).
//!
//! `UPDATE_GOLDEN=1 cargo nextest run -p flyball-agent golden` writes the expected output anew; look at the difference before committing it.

use std::collections::HashMap;
use std::fmt::Write;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flyball_proto::series::Series;

use super::filesystem::{CapacityBytes, Filesystem, Probe, mounts};
use super::readings::Change;
use super::{Backend, HostPaths, Readings, Sampler, SenseConfig, parse, registry};

/// Fixtures are read where a test may write: the second reading changes files in place, as the kernel does.
struct Host {
    directory: tempfile::TempDir,
    fixture: PathBuf,
    config: SenseConfig,
}

/// One sampler with all that it has defined.
struct Observed {
    sampler: Box<dyn Sampler>,
    readings: Readings,
    series: HashMap<usize, Series>,
}

impl Host {
    fn new(name: &str) -> Self {
        let fixture = fixtures().join(name);
        let directory = tempfile::tempdir().unwrap();
        for tree in ["proc", "sys"] {
            overlay(&fixture.join(tree), &directory.path().join(tree));
        }
        let mut config = SenseConfig::default();
        let at = |tree| directory.path().join(tree);
        config.paths = HostPaths { proc: at("proc"), sys: at("sys"), root: "/".into() };
        Self { directory, fixture, config }
    }

    /// All but the agent's own CPU and memory, which are those of the test.
    fn samplers(&self) -> Vec<Observed> {
        let observe = |sampler: Box<dyn Sampler>| {
            let sampler = match sampler.name() {
                "filesystem" => Box::new(self.filesystem()) as Box<dyn Sampler>,
                _ => sampler,
            };
            Observed { sampler, readings: Readings::default(), series: HashMap::new() }
        };
        let all = registry::samplers(Backend::Linux, &self.config).into_iter();
        all.filter(|sampler| sampler.name() != "self").map(observe).collect()
    }

    /// With the capacities that the fixture gives in place of those of this machine.
    fn filesystem(&self) -> Filesystem {
        let text = std::fs::read(self.fixture.join("statvfs")).unwrap_or_default();
        let mut capacities = HashMap::new();
        for line in parse::lines(&text) {
            let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
            let kib = |at: usize| parse::unsigned(fields[at]).unwrap() * 1024;
            let path = std::ffi::OsString::from_vec(mounts::unescaped(fields[0]));
            let capacity = CapacityBytes { size: kib(1), unused: kib(2), free: kib(3) };
            capacities.insert(PathBuf::from(path), capacity);
        }
        let missing = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let probe = move |path: &Path| capacities.get(path).copied().ok_or_else(missing);
        let probe: Probe = Arc::new(probe);
        Filesystem::with_probe(&self.config.paths, &self.config.filesystem, probe)
    }

    /// Puts the second reading over the first one.
    fn advance(&self) {
        let next = self.fixture.join("next");
        for tree in ["proc", "sys"] {
            overlay(&next.join(tree), &self.directory.path().join(tree));
        }
        for path in std::fs::read_to_string(next.join("deleted")).unwrap_or_default().lines() {
            std::fs::remove_file(self.directory.path().join(path)).unwrap();
        }
    }

    fn report(&self) -> String {
        let mut samplers = self.samplers();
        let mut report = String::new();
        for reading in ["first", "second"] {
            if reading == "second" {
                self.advance();
            }
            for observed in &mut samplers {
                writeln!(report, "## {} {reading}", observed.sampler.name()).unwrap();
                report.push_str(&observed.sample().replace(&*self.root(), ""));
            }
        }
        report
    }

    fn root(&self) -> String {
        format!("{}/", self.directory.path().display())
    }
}

impl Observed {
    fn sample(&mut self) -> String {
        self.readings.clear();
        let result = self.sampler.sample(&mut self.readings);
        let mut lines = Vec::new();
        for change in self.readings.changes() {
            match change {
                Change::Defined(handle, series) => {
                    let before = self.series.insert(handle.index(), series.clone());
                    assert!(before.is_none(), "{series:?} took the place of {before:?}");
                }
                Change::Retired(handle) => {
                    let series = self.series.remove(&handle.index()).unwrap();
                    lines.push(format!("- {}", label(&series)));
                }
            }
        }
        self.check_definitions();
        if let Err(error) = result {
            return format!("! {error}\n");
        }
        for value in self.readings.values() {
            let series = &self.series[&value.handle.index()];
            let restarted = if value.reset { " (restarted)" } else { "" };
            let number = series.scale.value(value.raw);
            lines.push(format!("{} {number} {}{restarted}", label(series), series.unit));
        }
        lines.sort();
        lines.iter().fold(String::new(), |text, line| text + line + "\n")
    }

    /// Each series is as its metric says, and no two are the same.
    fn check_definitions(&self) {
        let mut seen = std::collections::HashSet::new();
        for series in self.series.values() {
            assert!(seen.insert(label(series)), "{} twice", label(series));
            let described = |metric: &&super::Metric| metric.name == series.metric;
            let metric = self.sampler.metrics().iter().find(described).unwrap();
            let keys: Vec<&str> = series.attributes.iter().map(|(key, _)| &**key).collect();
            assert_eq!(keys, metric.attributes, "{}", metric.name);
            Series::try_from(series.to_definition(0)).unwrap();
        }
    }
}

fn label(series: &Series) -> String {
    let value = |(key, value): &(String, String)| format!("{key}={}", value.escape_debug());
    let attributes: Vec<String> = series.attributes.iter().map(value).collect();
    format!("{}{{{}}}", series.metric, attributes.join(","))
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// Copies a tree over another; a file that exists keeps its inode, a symbolic link stays one.
fn overlay(from: &Path, to: &Path) {
    let Ok(entries) = from.read_dir() else { return };
    std::fs::create_dir_all(to).unwrap();
    for entry in entries.map(Result::unwrap) {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            overlay(&source, &target);
        } else if kind.is_symlink() {
            std::fs::remove_file(&target).ok();
            std::os::unix::fs::symlink(source.read_link().unwrap(), target).unwrap();
        } else {
            std::fs::write(target, std::fs::read(source).unwrap()).unwrap();
        }
    }
}

/// Compares with the golden file, or writes it.
pub(super) fn compare(golden: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(golden, actual).unwrap();
    }
    let expected = std::fs::read_to_string(golden).unwrap_or_default();
    let different =
        expected.lines().zip(actual.lines()).find(|(expected, actual)| expected != actual);
    assert!(expected == actual, "{} differs, first at {different:?}", golden.display());
}

fn check(name: &str, configure: impl FnOnce(&mut SenseConfig)) {
    let mut host = Host::new(name);
    configure(&mut host.config);
    compare(&fixtures().join(name).join("golden.txt"), &host.report());
}

#[test]
fn golden_vm() {
    check("vm-6.18", |_| {});
}

#[test]
fn golden_container_on_a_cgroup_v2_host() {
    check("container-v2", |_| {});
}

#[test]
fn golden_service_on_a_cgroup_v2_host() {
    check("service-v2", |_| {});
}

#[test]
fn golden_old_kernel_with_cgroup_v1() {
    check("cgroup-v1-old", |_| {});
}

#[test]
fn golden_many_cpus() {
    check("many-cpus", |_| {});
}

#[test]
fn golden_odd_names() {
    check("odd-names", |config| {
        config.disk.stacked = true;
        config.network.r#virtual = true;
    });
}

#[test]
fn golden_restarts() {
    check("restarts", |config| config.processes.top = 3);
}

#[test]
fn golden_garbage() {
    check("garbage", |_| {});
}

#[test]
fn golden_missing_files() {
    check("missing", |_| {});
}

#[test]
fn every_fixture_is_checked() {
    let text = include_str!("golden.rs");
    for entry in fixtures().read_dir().unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        let checked = text.contains(&format!("check(\"{name}\""));
        assert!(checked || !entry.path().is_dir(), "{name} is in no test");
    }
}
