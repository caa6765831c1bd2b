//! Processes: how many by state, and CPU and memory of the largest, from /proc/PID/stat.
//!
//! Those that are shown and those that are new are read in every reading, each other one in every [`STRIDE`]th, its turn by its pid; until then its last row stands.
//! Shares are taken over the time since the process itself was last read. That a process is gone shows at once.
//!
//! Each file is opened, read and closed on a kept descriptor of /proc. Files kept open would save half of the system time of a read but cost a descriptor and a page of
//! kernel memory for every process of the host (docs/adr/002-host-sampler.md).

use std::ffi::CStr;
use std::hash::{DefaultHasher, Hasher};
use std::io::Write;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, RawDir, SeekFrom, openat, readlinkat, seek};
use rustix::io::{Errno, read};

use super::config::ProcessesConfig;
use super::source::Source;
use super::{HostPaths, Isolation, Metric, Readings, SampleError, Sampler, parse};
use ledger::{Ledger, Row};

pub(super) mod ledger;
mod rank;
mod stat;

/// Longer than any line of /proc/PID/stat up to the fields that are read.
const LINE_BYTES: usize = 1024;
const DIRECTORY_BUFFER_BYTES: usize = 8192;
/// One of so many readings reads a process that is not shown: one that begins to work shows within 15 s.
const STRIDE: u32 = 3;
const TICKS_PER_SECOND: i64 = 100;

/// Reads /proc/PID/stat of every process.
#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
    directory: Option<OwnedFd>,
    entries: Box<[MaybeUninit<u8>]>,
    uptime: Source,
    last_uptime: Option<i64>,
    reading: u32,
    page_kib: i64,
    period: Duration,
    pids: Vec<u32>,
    rows: Vec<Row>,
    last_rows: Vec<Row>,
    ledger: Ledger,
}

impl Processes {
    pub(super) fn new(paths: &HostPaths, config: &ProcessesConfig) -> Self {
        Self {
            proc: paths.proc.clone(),
            directory: None,
            entries: vec![MaybeUninit::uninit(); DIRECTORY_BUFFER_BYTES].into_boxed_slice(),
            uptime: Source::new(paths.proc.join("uptime")),
            last_uptime: None,
            reading: 0,
            page_kib: rustix::param::page_size() as i64 / 1024,
            period: config.period(),
            pids: Vec::new(),
            rows: Vec::new(),
            last_rows: Vec::new(),
            ledger: Ledger::new(config.top),
        }
    }
}

impl Sampler for Processes {
    fn name(&self) -> &'static str {
        "processes"
    }

    fn metrics(&self) -> &'static [Metric] {
        &[ledger::COUNT, ledger::UTILIZATION, ledger::MEMORY]
    }

    /// Cannot hang, but takes milliseconds where there are thousands of processes, and the others should not wait for it.
    fn isolation(&self) -> Isolation {
        Isolation::Thread
    }

    fn period(&self) -> Option<Duration> {
        Some(self.period)
    }

    fn cost_rank(&self) -> u8 {
        100
    }

    fn sample(&mut self, readings: &mut Readings) -> Result<(), SampleError> {
        let Some(uptime) = hundredths(self.uptime.read()?) else {
            return Err(self.uptime.garbled("not a number of seconds"));
        };
        let listed = self.list();
        listed.map_err(|errno| {
            self.directory = None;
            SampleError::Read { path: self.proc.display().to_string(), source: errno.into() }
        })?;
        self.reading = self.reading.wrapping_add(1);
        self.read_all(uptime);
        self.last_uptime = Some(uptime);
        let directory = self.directory.as_ref().expect("opened by list");
        // Where /proc hides the processes of others (hidepid), it hides the first one, and the number of all is unknown.
        if self.rows.first().is_some_and(|row| row.pid == 1) {
            self.ledger.count(&self.rows, readings);
        }
        self.ledger.show(&self.rows, |row| executable(directory, row), readings);
        Ok(())
    }
}

impl Processes {
    /// Fills `pids`, sorted.
    fn list(&mut self) -> Result<(), Errno> {
        if self.directory.is_none() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            self.directory = Some(rustix::fs::open(&self.proc, flags, Mode::empty())?);
        }
        let directory = self.directory.as_ref().expect("opened above");
        seek(directory, SeekFrom::Start(0))?;
        self.pids.clear();
        let mut entries = RawDir::new(directory, &mut self.entries);
        while let Some(entry) = entries.next() {
            let pid = parse::unsigned(entry?.file_name().to_bytes());
            self.pids.extend(pid.and_then(|pid| u32::try_from(pid).ok()));
        }
        self.pids.sort_unstable();
        Ok(())
    }

    /// Fills `rows` for the processes that still exist, sorted by pid, with the last rows beside them.
    fn read_all(&mut self, uptime: i64) {
        std::mem::swap(&mut self.rows, &mut self.last_rows);
        self.rows.clear();
        let directory = self.directory.as_ref().expect("opened by list");
        let mut line = [0; LINE_BYTES];
        let mut last_rows = &self.last_rows[..];
        for pid in &self.pids {
            let before =
                last_rows.iter().position(|row| row.pid >= *pid).unwrap_or(last_rows.len());
            last_rows = &last_rows[before..];
            let last = last_rows.first().filter(|last| last.pid == *pid);
            let turn = pid.wrapping_add(self.reading) % STRIDE == 0;
            if let Some(last) = last
                && last.measured
                && !turn
                && !self.ledger.shows(*pid)
            {
                self.rows.push(Row { share: None, ..*last });
                continue;
            }
            let Some(stat) = line_of(directory, *pid, &mut line).and_then(stat::parse) else {
                continue;
            };
            let mut row = Row {
                pid: *pid,
                start: stat.start,
                name: hash(stat.name),
                state: stat.state,
                cpu_time: stat.ticks,
                read_at: uptime,
                measured: false,
                share: None,
                score: 0,
                memory_kib: stat.pages.saturating_mul(self.page_kib),
            };
            let last =
                last_rows.first().filter(|last| (last.pid, last.start) == (row.pid, row.start));
            if let Some(share) = share(&row, last, self.last_uptime) {
                row.spend(share, last);
            }
            self.rows.push(row);
        }
    }
}

/// Millionths of a processor since it was last read; of a process that is younger than the last reading, over the time since that.
fn share(row: &Row, last: Option<&Row>, last_uptime: Option<i64>) -> Option<i64> {
    let last_uptime = last_uptime?;
    let born_since = row.start >= last_uptime * TICKS_PER_SECOND / 100;
    let (spent, since) = match last {
        Some(last) => (row.cpu_time - last.cpu_time, last.read_at),
        None if born_since => (row.cpu_time, last_uptime),
        None => return None,
    };
    // Both are hundredths of a second.
    let elapsed = row.read_at - since;
    (elapsed > 0 && spent >= 0).then(|| spent.saturating_mul(1_000_000) / elapsed)
}

/// Seconds in hundredths.
fn hundredths(uptime: &[u8]) -> Option<i64> {
    parse::fields(uptime).next().and_then(|seconds| parse::decimal(seconds, 2))
}

/// /proc/PID/stat, as much as fits; `None` when the process is gone.
fn line_of<'a>(directory: &OwnedFd, pid: u32, line: &'a mut [u8; LINE_BYTES]) -> Option<&'a [u8]> {
    let mut path = [0; 24];
    write!(&mut path[..], "{pid}/stat\0").expect("ten digits and six bytes fit");
    let path = CStr::from_bytes_until_nul(&path).expect("ends with a zero");
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = openat(directory.as_fd(), path, flags, Mode::empty()).ok()?;
    let length = read(&file, &mut line[..]).ok()?;
    Some(&line[..length])
}

/// `process.executable.name`: the base name of the executable, or what the kernel calls the process when that cannot be read (kernel threads, processes of others).
fn executable(directory: &OwnedFd, row: &Row) -> Option<String> {
    let link = readlinkat(directory.as_fd(), format!("{}/exe", row.pid), Vec::new()).ok();
    let link = link.as_ref().map(|link| link.to_bytes()).unwrap_or_default();
    let link = link.strip_suffix(b" (deleted)").unwrap_or(link);
    let base = link.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    if let Some(base) = parse::attribute(base).filter(|base| !base.is_empty()) {
        return Some(base);
    }
    let mut line = [0; LINE_BYTES];
    let stat = line_of(directory, row.pid, &mut line).and_then(stat::parse)?;
    (stat.start == row.start).then(|| parse::attribute(stat.name))?
}

fn hash(name: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host of two processes, the first busy; time passes by five seconds a reading.
    struct Host {
        directory: tempfile::TempDir,
        sampler: Processes,
        readings: Readings,
        seconds: u32,
    }

    impl Host {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            for pid in ["1", "2"] {
                std::fs::create_dir(directory.path().join(pid)).unwrap();
            }
            let paths = HostPaths { proc: directory.path().into(), ..HostPaths::default() };
            let config = ProcessesConfig { top: 1, period_seconds: 5 };
            let sampler = Processes::new(&paths, &config);
            Self { directory, sampler, readings: Readings::default(), seconds: 100 }
        }

        /// One reading; the row of the second process, which has used so many ticks.
        fn read(&mut self, ticks: u32) -> Row {
            self.seconds += 5;
            let write = |path: &str, text: String| {
                std::fs::write(self.directory.path().join(path), text).unwrap();
            };
            write("uptime", format!("{}.00 0.00\n", self.seconds));
            let rest =
                |ticks, pages| format!("S 0 0 0 0 0 0 0 0 0 0 {ticks} 0 0 0 0 0 1 0 10 0 {pages}");
            write("1/stat", format!("1 (busy) {}", rest(self.seconds * 50, 9)));
            write("2/stat", format!("2 (other) {}", rest(ticks, 1)));
            self.readings.clear();
            self.sampler.sample(&mut self.readings).unwrap();
            self.sampler.rows[1]
        }
    }

    #[test]
    fn one_that_is_not_shown_is_read_in_its_turn_and_its_work_is_spread_over_the_time_since() {
        let mut host = Host::new();
        assert_eq!(host.read(7).share, None, "nothing to compare with");
        assert_eq!(host.read(7).share, Some(0), "measured at once, whosever turn it is");
        let rows: Vec<Row> = (1..13).map(|reading| host.read(7 + 30 * reading)).collect();
        let read: Vec<&Row> = rows.iter().filter(|row| row.share.is_some()).collect();
        assert_eq!(read.len(), rows.len() / STRIDE as usize);
        // 30 ticks in 5 s.
        assert!(read[1..].iter().all(|row| row.share == Some(60_000)), "{read:?}");
        assert!(rows[3..].iter().all(|row| row.score == 60_000), "{rows:?}");
        assert!(!host.sampler.ledger.shows(2));
    }

    #[test]
    fn one_that_begins_to_work_is_shown_within_15_s_and_then_read_every_time() {
        let mut host = Host::new();
        (0..8).for_each(|_| _ = host.read(7));
        let mut ticks = 7;
        for _ in 0..STRIDE {
            ticks += 500;
            host.read(ticks);
        }
        assert!(host.sampler.ledger.shows(2));
        for _ in 0..STRIDE {
            ticks += 500;
            assert_eq!(host.read(ticks).share, Some(1_000_000));
        }
    }

    #[test]
    fn one_that_is_gone_is_gone_at_once() {
        let mut host = Host::new();
        (0..8).for_each(|_| _ = host.read(7));
        std::fs::remove_dir_all(host.directory.path().join("2")).unwrap();
        host.sampler.sample(&mut host.readings).unwrap();
        assert_eq!(host.sampler.rows.len(), 1);
    }
}
