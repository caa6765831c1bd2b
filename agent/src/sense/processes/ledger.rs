//! The processes of one reading and the series of those that are shown; the same for both back ends.

use flyball_proto::series::{Kind, Scale};

use super::super::{Handle, Metric, Readings};
use super::rank::{self, Candidate};

pub(crate) const COUNT: Metric = Metric {
    name: "system.process.count",
    unit: "{process}",
    kind: Kind::Gauge,
    scale: Scale::UNIT,
    attributes: &["process.state"],
    description: "Processes by state; blocked ones wait in the kernel and cannot be interrupted, idle ones are kernel threads without work. The state of a process without series may be three readings old.",
};
pub(crate) const UTILIZATION: Metric = Metric {
    name: "process.cpu.utilization",
    unit: "1",
    kind: Kind::Gauge,
    scale: Scale::decimal(4),
    attributes: &["process.executable.name", "process.pid"],
    description: "CPU time of the process since the last reading as a share of one logical processor, above 1 with several threads. Only of the largest processes by CPU and by memory.",
};
pub(crate) const MEMORY: Metric = Metric {
    name: "process.memory.usage",
    unit: "By",
    kind: Kind::Gauge,
    scale: Scale::KIBI,
    attributes: &["process.executable.name", "process.pid"],
    description: "Resident memory of the process. Only of the largest processes by CPU and by memory.",
};

/// Millionths of a logical processor.
pub(crate) const SHARE_DIGITS: f64 = 1e6;

/// `process.state`: the conventions' four, and two of our own where none of theirs applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    Sleeping,
    Blocked,
    Idle,
    Stopped,
    Defunct,
}

/// One process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row {
    pub(crate) pid: u32,
    /// Tells it from others that had its pid.
    pub(crate) start: i64,
    /// Hash of its name: another after `exec`.
    pub(crate) name: u64,
    pub(crate) state: State,
    /// CPU time in all, in the back end's unit.
    pub(crate) cpu_time: i64,
    /// When it was read, in the back end's unit.
    pub(crate) read_at: i64,
    /// Its share has been known once, so that its score means something.
    pub(crate) measured: bool,
    /// Millionths of a processor since it was last read; unknown the first time, and in a reading that left it out.
    pub(crate) share: Option<i64>,
    /// [`Row::share`], smoothed over those of readings in a row: what it is ranked by.
    pub(crate) score: i64,
    /// Resident memory.
    pub(crate) memory_kib: i64,
}

/// Series of the processes that are shown, and of the number of all.
#[derive(Debug)]
pub(crate) struct Ledger {
    top: usize,
    counts: Option<[Handle; State::ALL.len()]>,
    shown: Vec<Shown>,
    ranking: Vec<Candidate>,
}

#[derive(Debug)]
struct Shown {
    pid: u32,
    start: i64,
    name: u64,
    by_cpu: bool,
    by_memory: bool,
    utilization: Handle,
    memory: Handle,
}

/// One of the two rankings.
#[derive(Debug, Clone, Copy)]
enum Ranking {
    Cpu,
    Memory,
}

impl State {
    const ALL: [Self; 6] =
        [Self::Running, Self::Sleeping, Self::Blocked, Self::Idle, Self::Stopped, Self::Defunct];

    /// By the letter of /proc/PID/stat; one that is not known sleeps, as `P` (parked) does.
    pub(crate) fn from_letter(letter: u8) -> Self {
        match letter {
            b'R' => Self::Running,
            b'D' => Self::Blocked,
            b'I' => Self::Idle,
            b'T' | b't' => Self::Stopped,
            b'Z' | b'X' | b'x' => Self::Defunct,
            _ => Self::Sleeping,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Sleeping => "sleeping",
            Self::Blocked => "blocked",
            Self::Idle => "idle",
            Self::Stopped => "stopped",
            Self::Defunct => "defunct",
        }
    }
}

impl Row {
    /// Sets the share since the last reading, and the score from it and the last score.
    pub(crate) fn spend(&mut self, share: i64, last: Option<&Row>) {
        let smoothed = |last: &Row| i64::midpoint(last.score, share);
        self.score = last.filter(|last| last.share.is_some()).map_or(share, smoothed);
        self.share = Some(share);
        self.measured = true;
    }

    fn is(&self, shown: &Shown) -> bool {
        (self.pid, self.start, self.name) == (shown.pid, shown.start, shown.name)
    }
}

impl Ledger {
    /// Shows the `top` largest by CPU and by memory.
    pub(crate) fn new(top: u16) -> Self {
        Self { top: top.into(), counts: None, shown: Vec::new(), ranking: Vec::new() }
    }

    /// True when a process under this pid has series.
    pub(crate) fn shows(&self, pid: u32) -> bool {
        self.shown.iter().any(|shown| shown.pid == pid)
    }

    /// Sets the number of processes by state.
    pub(crate) fn count(&mut self, rows: &[Row], readings: &mut Readings) {
        let handles = self.counts.get_or_insert_with(|| {
            State::ALL.map(|state| readings.define(&COUNT, &[("process.state", state.as_str())]))
        });
        let mut counts = [0; State::ALL.len()];
        for row in rows {
            counts[row.state as usize] += 1;
        }
        handles.iter().zip(counts).for_each(|(handle, count)| readings.set(*handle, count));
    }

    /// Chooses which to show, ends the series of the others and sets the values. `executable` is asked for the name of those that are new.
    pub(crate) fn show(
        &mut self,
        rows: &[Row],
        mut executable: impl FnMut(&Row) -> Option<String>,
        readings: &mut Readings,
    ) {
        self.choose(Ranking::Cpu, rows, &mut executable, readings);
        self.choose(Ranking::Memory, rows, &mut executable, readings);
        self.shown.retain(|shown| {
            let stays = shown.by_cpu || shown.by_memory;
            if !stays {
                readings.retire(shown.utilization);
                readings.retire(shown.memory);
            }
            stays
        });
        for shown in &self.shown {
            let Some(row) = find(rows, shown) else { continue };
            if let Some(share) = row.share {
                readings.set_value(shown.utilization, share as f64 / SHARE_DIGITS);
            }
            readings.set(shown.memory, row.memory_kib);
        }
    }

    fn choose(
        &mut self,
        ranking: Ranking,
        rows: &[Row],
        executable: &mut impl FnMut(&Row) -> Option<String>,
        readings: &mut Readings,
    ) {
        self.ranking.clear();
        self.ranking.extend(rows.iter().enumerate().map(|(index, row)| Candidate {
            score: ranking.score(row),
            row: index as u32,
            shown: false,
        }));
        for shown in &mut self.shown {
            let was = std::mem::take(ranking.flag(shown));
            let index = rows.binary_search_by_key(&shown.pid, |row| row.pid);
            if let Some(index) = index.ok().filter(|index| rows[*index].is(shown)) {
                self.ranking[index].shown = was;
            }
        }
        rank::choose(&mut self.ranking, self.top);
        for candidate in &self.ranking {
            let row = &rows[candidate.row as usize];
            let found = self.shown.iter().position(|shown| row.is(shown)).or_else(|| {
                self.shown.push(Shown::define(row, &executable(row)?, readings));
                Some(self.shown.len() - 1)
            });
            if let Some(found) = found {
                *ranking.flag(&mut self.shown[found]) = true;
            }
        }
    }
}

impl Ranking {
    fn score(self, row: &Row) -> i64 {
        match self {
            Self::Cpu => row.score,
            Self::Memory => row.memory_kib,
        }
    }

    fn flag(self, shown: &mut Shown) -> &mut bool {
        match self {
            Self::Cpu => &mut shown.by_cpu,
            Self::Memory => &mut shown.by_memory,
        }
    }
}

impl Shown {
    fn define(row: &Row, executable: &str, readings: &mut Readings) -> Self {
        let pid = row.pid.to_string();
        let attributes = [("process.executable.name", executable), ("process.pid", &pid)];
        Self {
            pid: row.pid,
            start: row.start,
            name: row.name,
            by_cpu: false,
            by_memory: false,
            utilization: readings.define(&UTILIZATION, &attributes),
            memory: readings.define(&MEMORY, &attributes),
        }
    }
}

/// The row of a process; rows are sorted by pid.
fn find<'a>(rows: &'a [Row], shown: &Shown) -> Option<&'a Row> {
    let index = rows.binary_search_by_key(&shown.pid, |row| row.pid).ok()?;
    Some(&rows[index]).filter(|row| row.is(shown))
}

#[cfg(test)]
mod tests {
    use super::super::super::readings::Change;
    use super::*;

    fn row(pid: u32, share: i64, memory_kib: i64) -> Row {
        let state = State::Running;
        let known = Some(share);
        Row {
            pid,
            start: 1,
            name: 7,
            state,
            cpu_time: 0,
            read_at: 0,
            measured: true,
            share: known,
            score: share,
            memory_kib,
        }
    }

    fn changes(ledger: &mut Ledger, rows: &[Row], readings: &mut Readings) -> (usize, usize) {
        readings.clear();
        ledger.show(rows, |row| Some(format!("p{}", row.pid)), readings);
        let defined = |change: &&Change| matches!(change, Change::Defined(..));
        let count = readings.changes().iter().filter(defined).count();
        (count, readings.changes().len() - count)
    }

    #[test]
    fn a_process_that_falls_back_a_little_keeps_its_series() {
        let (mut ledger, mut readings) = (Ledger::new(1), Readings::default());
        assert_eq!(changes(&mut ledger, &[row(1, 9, 0), row(2, 5, 0)], &mut readings), (2, 0));
        assert_eq!(changes(&mut ledger, &[row(1, 5, 0), row(2, 9, 0)], &mut readings), (2, 0));
        assert_eq!(changes(&mut ledger, &[row(1, 9, 0), row(2, 5, 0)], &mut readings), (0, 0));
        let third = [row(1, 5, 0), row(2, 6, 0), row(3, 9, 0)];
        assert_eq!(changes(&mut ledger, &third, &mut readings), (2, 2));
    }

    #[test]
    fn series_end_with_their_process_and_a_new_one_under_its_pid_has_its_own() {
        let (mut ledger, mut readings) = (Ledger::new(2), Readings::default());
        assert_eq!(changes(&mut ledger, &[row(1, 9, 5), row(2, 5, 5)], &mut readings), (4, 0));
        assert_eq!(changes(&mut ledger, &[row(1, 9, 5)], &mut readings), (0, 2));
        let later = Row { start: 2, ..row(1, 9, 5) };
        assert_eq!(changes(&mut ledger, &[later], &mut readings), (2, 2));
        let other_program = Row { name: 8, ..later };
        assert_eq!(changes(&mut ledger, &[other_program], &mut readings), (2, 2));
    }

    #[test]
    fn an_unknown_share_is_not_zero() {
        let (mut ledger, mut readings) = (Ledger::new(1), Readings::default());
        let first = Row { share: None, score: 0, ..row(1, 0, 64) };
        changes(&mut ledger, &[first], &mut readings);
        assert_eq!(readings.values().iter().map(|value| value.raw).collect::<Vec<_>>(), [64]);
    }
}
