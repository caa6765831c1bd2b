//! CapacityBytes of mounted file systems, by statvfs(3).
//!
//! `used`, `free` and `reserved` sum to the size: free is what an ordinary user may still write, reserved what only root may. Utilization is that of df(1): used of used and
//! free. A mount that does not answer publishes nothing, is counted in `flyball.filesystem.unanswered`, and holds up no other.

use std::hash::{DefaultHasher, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use flyball_proto::series::{Kind, Scale};

use super::config::FilesystemConfig;
use super::source::Source;
use super::{Handle, HostPaths, Isolation, Metric, Readings, SampleError, Sampler};
use guard::{Guard, Threads};
use mounts::Mount;

mod guard;
pub(super) mod mounts;

pub(super) const USAGE: Metric = Metric {
    name: "system.filesystem.usage",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &[
        "system.device",
        "system.filesystem.mountpoint",
        "system.filesystem.state",
        "system.filesystem.type",
    ],
    description: "Space of the file system by state: used, free (for all), reserved (for root). The states sum to its size.",
};
const UTILIZATION: Metric = Metric {
    name: "system.filesystem.utilization",
    unit: "1",
    kind: Kind::Gauge,
    scale: Scale::decimal(4),
    attributes: &["system.device", "system.filesystem.mountpoint", "system.filesystem.type"],
    description: "Used space as a share of used and free space, as df shows it.",
};
const UNANSWERED: Metric = Metric {
    name: "flyball.filesystem.unanswered",
    unit: "{mount}",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &[],
    description: "Mounts that were not read this time: their server does not answer, they cannot be read, or there are too many that may hang.",
};

/// How long a reading waits for all mounts that may hang: well within the deadline that the recorder gives the reading as a whole.
const PATIENCE: Duration = Duration::from_millis(20);

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CapacityBytes {
    /// All.
    pub(super) size: u64,
    /// Not used.
    pub(super) unused: u64,
    /// Not used, and not kept for root.
    pub(super) free: u64,
}

/// How the capacity of a path is found; statvfs(3) but in tests of mounts that hang.
pub(super) type Probe = Arc<dyn Fn(&Path) -> std::io::Result<CapacityBytes> + Send + Sync>;

/// Reads /proc/self/mountinfo and asks each mount.
pub(super) struct Filesystem {
    mountinfo: Source,
    table: Option<u64>,
    root: PathBuf,
    config: FilesystemConfig,
    probe: Probe,
    patience: Duration,
    threads: Threads,
    mounts: Vec<Watched>,
    unanswered: Option<Handle>,
}

/// A mount with its series.
#[derive(Debug)]
struct Watched {
    mount: Mount,
    path: PathBuf,
    guard: Option<Guard>,
    series: Option<Series>,
}

#[derive(Debug)]
struct Series {
    used: Handle,
    free: Handle,
    reserved: Handle,
    utilization: Handle,
}

impl Filesystem {
    pub(super) fn new(paths: &HostPaths, config: &FilesystemConfig) -> Self {
        Self::with_probe(paths, config, Arc::new(statvfs))
    }

    /// Asks with `probe` in place of statvfs(3).
    pub(super) fn with_probe(paths: &HostPaths, config: &FilesystemConfig, probe: Probe) -> Self {
        Self {
            mountinfo: Source::new(paths.proc.join("self/mountinfo")),
            table: None,
            root: paths.root.clone(),
            config: config.clone(),
            probe,
            patience: PATIENCE,
            threads: Threads::default(),
            mounts: Vec::new(),
            unanswered: None,
        }
    }

    /// Reads the mount table and, when it is another than last time, starts and ends what came and went.
    fn follow_table(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let text = self.mountinfo.read()?;
        let mut hasher = DefaultHasher::new();
        hasher.write(text);
        let table = Some(hasher.finish());
        if self.table == table {
            return Ok(());
        }
        let selected = mounts::select(text, &self.config);
        let gone = self.mounts.extract_if(.., |watched| !selected.contains(&watched.mount));
        gone.filter_map(|watched| watched.series).for_each(|series| series.retire(readings));
        for mount in selected {
            if !self.mounts.iter().any(|watched| watched.mount == mount) {
                let path = self.root.join(&mount.path);
                self.mounts.push(Watched { mount, path, guard: None, series: None });
            }
        }
        self.table = table;
        Ok(())
    }
}

impl Sampler for Filesystem {
    fn name(&self) -> &'static str {
        "filesystem"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[USAGE, UTILIZATION, UNANSWERED]
    }

    fn isolation(&self) -> Isolation {
        Isolation::Thread
    }

    fn period(&self) -> Option<Duration> {
        Some(self.config.period())
    }

    fn cost_rank(&self) -> u8 {
        60
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        self.follow_table(readings)?;
        for watched in &mut self.mounts {
            watched.ask(&self.threads, &self.probe);
        }
        let deadline = Instant::now() + self.patience;
        let mut unanswered = 0;
        for watched in &mut self.mounts {
            let answer = match &mut watched.guard {
                Some(guard) => guard.answer(deadline),
                None if watched.mount.remote => None,
                None => Some((self.probe)(&watched.path)),
            };
            match answer {
                Some(Ok(capacity)) => watched.publish(&capacity, readings),
                Some(Err(_)) | None => unanswered += 1,
            }
        }
        let handle = *self.unanswered.get_or_insert_with(|| readings.define(&UNANSWERED, &[]));
        readings.set(handle, unanswered);
        Ok(())
    }
}

impl Watched {
    fn ask(&mut self, threads: &Threads, probe: &Probe) {
        if self.mount.remote && self.guard.is_none() {
            self.guard = threads.guard(&self.path, Arc::clone(probe));
        }
        if let Some(guard) = &mut self.guard {
            guard.ask();
        }
    }

    fn publish(&mut self, capacity: &CapacityBytes, readings: &mut Readings) {
        let Some([used, free, reserved]) = capacity.states() else { return };
        let series = self.series.get_or_insert_with(|| Series::define(&self.mount, readings));
        for (handle, bytes) in
            [(series.used, used), (series.free, free), (series.reserved, reserved)]
        {
            readings.set(handle, (bytes / 1024) as i64);
        }
        if used + free > 0 {
            readings.set_value(series.utilization, used as f64 / (used + free) as f64);
        }
    }
}

impl Series {
    fn define(mount: &Mount, readings: &mut Readings) -> Self {
        let device = ("system.device", &*mount.device);
        let mountpoint = ("system.filesystem.mountpoint", &*mount.mountpoint);
        let kind = ("system.filesystem.type", &*mount.kind);
        let mut usage = |state| {
            readings.define(&USAGE, &[device, mountpoint, kind, ("system.filesystem.state", state)])
        };
        let (used, free, reserved) = (usage("used"), usage("free"), usage("reserved"));
        let utilization = readings.define(&UTILIZATION, &[device, mountpoint, kind]);
        Self { used, free, reserved, utilization }
    }

    fn retire(self, readings: &mut Readings) {
        for handle in [self.used, self.free, self.reserved, self.utilization] {
            readings.retire(handle);
        }
    }
}

impl CapacityBytes {
    /// Used, free and reserved bytes; `None` for a file system without size or with numbers that contradict each other.
    fn states(&self) -> Option<[u64; 3]> {
        let used = self.size.checked_sub(self.unused)?;
        let reserved = self.unused.checked_sub(self.free)?;
        (self.size > 0).then_some([used, self.free, reserved])
    }
}

fn statvfs(path: &Path) -> std::io::Result<CapacityBytes> {
    let answer = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(answer.f_frsize);
    Ok(CapacityBytes {
        size: bytes(answer.f_blocks),
        unused: bytes(answer.f_bfree),
        free: bytes(answer.f_bavail),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use flyball_proto::series::Series;
    use parking_lot::Mutex;

    use super::super::readings::Change;
    use super::*;

    const GIB: u64 = 1 << 30;

    /// A mount table in a directory, and a probe that waits at paths which end in `hangs` until it is told to go on.
    fn host(mounts: &[(&str, &str)]) -> (tempfile::TempDir, Filesystem, Sender<()>) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("self")).unwrap();
        let line = |(n, (kind, path)): (usize, &(&str, &str))| {
            format!("{n} 1 0:{n} / {path} rw - {kind} source rw\n")
        };
        let table: String = mounts.iter().enumerate().map(line).collect();
        std::fs::write(directory.path().join("self/mountinfo"), table).unwrap();
        let (go_on, told): (_, Receiver<()>) = channel();
        let told = Mutex::new(told);
        let probe = move |path: &Path| {
            if path.to_string_lossy().ends_with("hangs") {
                told.lock().recv().ok();
            }
            Ok(CapacityBytes { size: 10 * GIB, unused: 4 * GIB, free: 3 * GIB })
        };
        let paths = HostPaths { proc: directory.path().into(), ..HostPaths::default() };
        let config = FilesystemConfig::default();
        (directory, Filesystem::with_probe(&paths, &config, Arc::new(probe)), go_on)
    }

    fn defined(readings: &Readings) -> Vec<Series> {
        let series = |change: &Change| match change {
            Change::Defined(_, series) => Some(series.clone()),
            Change::Retired(_) => None,
        };
        readings.changes().iter().filter_map(series).collect()
    }

    fn unanswered(filesystem: &Filesystem, readings: &Readings) -> i64 {
        let handle = filesystem.unanswered.unwrap();
        readings.values().iter().find(|value| value.handle == handle).unwrap().raw
    }

    #[test]
    fn the_states_sum_to_the_size() {
        let (_directory, mut filesystem, _) = host(&[("ext4", "/")]);
        let mut readings = Readings::default();
        filesystem.sample(&mut readings).unwrap();
        let raw: Vec<i64> = readings.values().iter().map(|value| value.raw).collect();
        assert_eq!(raw, [6 << 20, 3 << 20, 1 << 20, 6667, 0]);
    }

    #[test]
    fn a_mount_that_hangs_delays_no_other_and_comes_back() {
        let mounts = [("ext4", "/"), ("nfs4", "/hangs"), ("nfs4", "/works")];
        let (_directory, mut filesystem, go_on) = host(&mounts);
        let (mut readings, mut places) = (Readings::default(), Vec::new());
        let at =
            |series: &Series| series.attribute("system.filesystem.mountpoint").map(str::to_owned);
        // A thread that has only just begun may need more than one reading's patience to answer.
        for reading in 0.. {
            assert!(reading < 1_000, "it delays the other one");
            readings.clear();
            filesystem.sample(&mut readings).unwrap();
            places.extend(defined(&readings).iter().filter_map(at));
            if unanswered(&filesystem, &readings) == 1 {
                break;
            }
        }
        assert!(places.contains(&"/".into()) && places.contains(&"/works".into()));
        assert!(!places.contains(&"/hangs".into()));
        drop(go_on);
        filesystem.patience = Duration::from_secs(30);
        readings.clear();
        filesystem.sample(&mut readings).unwrap();
        assert_eq!(unanswered(&filesystem, &readings), 0);
        assert_eq!(readings.values().len(), 3 * 4 + 1);
    }

    #[test]
    fn there_are_only_so_many_threads() {
        let paths: Vec<String> = (0..20).map(|n| format!("/{n}/hangs")).collect();
        let mounts: Vec<_> = paths.iter().map(|path| ("nfs4", path.as_str())).collect();
        let (_directory, mut filesystem, go_on) = host(&mounts);
        let mut readings = Readings::default();
        filesystem.sample(&mut readings).unwrap();
        assert_eq!(unanswered(&filesystem, &readings), 20);
        let guarded = filesystem.mounts.iter().filter(|watched| watched.guard.is_some()).count();
        assert_eq!(guarded, guard::MAX_THREADS);
        drop(go_on);
    }

    #[test]
    fn series_end_when_the_mount_is_gone() {
        let (directory, mut filesystem, _) = host(&[("ext4", "/"), ("xfs", "/data")]);
        let mut readings = Readings::default();
        filesystem.sample(&mut readings).unwrap();
        assert_eq!(readings.values().len(), 2 * 4 + 1);
        readings.clear();
        let table = "0 1 0:0 / / rw - ext4 source rw\n";
        std::fs::write(directory.path().join("self/mountinfo"), table).unwrap();
        filesystem.sample(&mut readings).unwrap();
        let retired = |change: &&Change| matches!(change, Change::Retired(_));
        assert_eq!(readings.changes().iter().filter(retired).count(), 4);
        assert_eq!(readings.values().len(), 4 + 1);
    }

    #[test]
    fn numbers_that_contradict_each_other_are_not_published() {
        let capacity = |size, unused, free| CapacityBytes { size, unused, free }.states();
        assert_eq!(capacity(0, 0, 0), None);
        assert_eq!(capacity(1, 2, 1), None);
        assert_eq!(capacity(3, 1, 2), None);
        assert_eq!(capacity(4, 2, 1), Some([2, 1, 1]));
    }
}
