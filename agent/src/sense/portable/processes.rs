//! Processes from sysinfo: ranked and published as those of /proc are.

use std::hash::{DefaultHasher, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use sysinfo::{
    Pid, Process, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind,
};

use super::super::config::ProcessesConfig;
use super::super::processes::ledger::{COUNT, Ledger, MEMORY, Row, State, UTILIZATION};
use super::super::{Isolation, Metric, Readings, SampleError, Sampler, parse};
use super::failed;

/// Reads all processes.
#[derive(Debug)]
pub(in super::super) struct Processes {
    period: Duration,
    system: Option<System>,
    rows: Vec<Row>,
    last_rows: Vec<Row>,
    ledger: Ledger,
}

impl Processes {
    pub(in super::super) fn new(config: &ProcessesConfig) -> Self {
        Self {
            period: config.period(),
            system: None,
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
        &[COUNT, UTILIZATION, MEMORY]
    }

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
        let first = self.system.is_none();
        if first {
            self.system = Some(System::new().map_err(failed)?);
        }
        let system = self.system.as_mut().expect("made above");
        // Threads are listed as processes unless they are refused.
        let wanted = ProcessRefreshKind::nothing().with_cpu().with_memory().without_tasks();
        system.refresh_processes_specifics(ProcessesToUpdate::All, true, wanted);
        std::mem::swap(&mut self.rows, &mut self.last_rows);
        self.rows.clear();
        self.rows.extend(system.processes().values().map(row));
        self.rows.sort_unstable_by_key(|row| row.pid);
        if !first {
            for row in &mut self.rows {
                let last = self.last_rows.binary_search_by_key(&row.pid, |last| last.pid);
                let last = last.ok().map(|index| &self.last_rows[index]);
                let percent =
                    system.process(Pid::from_u32(row.pid)).map_or(0.0, Process::cpu_usage);
                let last = last.filter(|last| last.start == row.start);
                row.spend((f64::from(percent) * 1e4) as i64, last);
            }
        }
        self.ledger.count(&self.rows, readings);
        self.ledger.show(&self.rows, |row| executable(system, row), readings);
        Ok(())
    }
}

fn row(process: &Process) -> Row {
    let mut name = DefaultHasher::new();
    name.write(process.name().as_bytes());
    Row {
        pid: process.pid().as_u32(),
        start: process.start_time() as i64,
        name: name.finish(),
        state: state(process.status()),
        cpu_time: process.accumulated_cpu_time() as i64,
        read_at: 0,
        measured: false,
        share: None,
        score: 0,
        memory_kib: (process.memory() / 1024) as i64,
    }
}

fn state(status: ProcessStatus) -> State {
    match status {
        ProcessStatus::Run => State::Running,
        ProcessStatus::UninterruptibleDiskSleep | ProcessStatus::LockBlocked => State::Blocked,
        ProcessStatus::Idle => State::Idle,
        ProcessStatus::Stop | ProcessStatus::Tracing | ProcessStatus::Suspended => State::Stopped,
        ProcessStatus::Zombie | ProcessStatus::Dead => State::Defunct,
        _ => State::Sleeping,
    }
}

/// The base name of the executable, or else the name of the process. Asked of the new ones only: for all it would be a read of a link each.
fn executable(system: &mut System, row: &Row) -> Option<String> {
    let pid = Pid::from_u32(row.pid);
    let wanted = ProcessRefreshKind::nothing().with_exe(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), false, wanted);
    let process = system.process(pid)?;
    let base = process.exe().and_then(Path::file_name).unwrap_or(process.name());
    let base = base.as_bytes();
    parse::attribute(base.strip_suffix(b" (deleted)").unwrap_or(base))
}
