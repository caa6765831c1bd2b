//! Processes: how many by state, and CPU and memory of the largest, from /proc/PID/stat.
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
const TICKS_PER_SECOND: i64 = 100;

/// Reads /proc/PID/stat of every process.
#[derive(Debug)]
pub(super) struct Processes {
    proc: PathBuf,
    directory: Option<OwnedFd>,
    entries: Box<[MaybeUninit<u8>]>,
    uptime: Source,
    last_uptime: Option<i64>,
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
            let Some(stat) = line_of(directory, *pid, &mut line).and_then(stat::parse) else {
                continue;
            };
            let mut row = Row {
                pid: *pid,
                start: stat.start,
                name: hash(stat.name),
                state: stat.state,
                cpu_time: stat.ticks,
                share: None,
                score: 0,
                memory_kib: stat.pages.saturating_mul(self.page_kib),
            };
            let last =
                last_rows.first().filter(|last| (last.pid, last.start) == (row.pid, row.start));
            if let Some(share) = share(&row, last, self.last_uptime, uptime) {
                row.spend(share, last);
            }
            self.rows.push(row);
        }
    }
}

/// Millionths of a processor since the last reading; of a process that is younger than that, over the same time.
fn share(row: &Row, last: Option<&Row>, last_uptime: Option<i64>, uptime: i64) -> Option<i64> {
    let last_uptime = last_uptime?;
    let elapsed = uptime - last_uptime;
    let born_since = row.start >= last_uptime * TICKS_PER_SECOND / 100;
    let spent = match last {
        Some(last) => row.cpu_time - last.cpu_time,
        None if born_since => row.cpu_time,
        None => return None,
    };
    // Both are hundredths of a second.
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
