//! The agents' own record: what each one has produced, and whether it is stored, waits, was given up, or may have died with the host.
//!
//! Everything is checked against this, never against what the product believes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use flyball_proto::series::Series;
use parking_lot::Mutex;

use crate::kernel;
use crate::store::{Database, Found, key_of};

/// Drawn when an agent starts.
pub(crate) type Epoch = [u8; 16];

/// One sample as it was produced.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// What [`key_of`] gives for its series.
    pub(crate) key: Arc<str>,
    pub(crate) raw: i64,
    pub(crate) scale: i8,
}

/// One frame as it was produced.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) epoch: Epoch,
    pub(crate) seq: u64,
    pub(crate) ts_ms: i64,
    pub(crate) samples: Vec<Sample>,
    /// When, by the world's clock.
    pub(crate) at: Duration,
}

/// Frames that an agent says are neither stored nor given up: epoch, first and last number.
pub(crate) type Waiting = [(Epoch, u64, u64)];

/// What a process finds when it begins.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recovered {
    pub(crate) produced: u64,
    pub(crate) shed: u64,
    /// Samples that the process before it had in memory only.
    pub(crate) in_memory: u64,
    /// The disk has failed or lost its power since the process before it began.
    pub(crate) is_disk_to_blame: bool,
}

/// What became of all samples.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) produced: u64,
    pub(crate) stored: u64,
    pub(crate) missing: u64,
    /// Given up, as the agents say.
    pub(crate) shed: u64,
    /// Most samples that may have died with an agent or its host uncounted.
    pub(crate) excused: u64,
}

/// One agent's record.
#[derive(Debug, Default)]
struct Book {
    frames: Vec<Frame>,
    /// Frames that waited when they were last looked at, by index.
    open: Vec<usize>,
    samples: u64,
    /// Samples that neither wait nor are stored with all that belongs to it.
    missing: u64,
    excused: u64,
    /// Samples that the agent's account does not know of any more.
    forgotten: u64,
    /// Given up, as the agent said last.
    shed: u64,
}

/// The record of all agents.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    books: BTreeMap<String, Book>,
    /// Series and time of every sample.
    identities: BTreeSet<(Arc<str>, i64)>,
    /// What must never happen and did.
    pub(crate) broken: Vec<String>,
}

/// The journal as agents and checks share it.
pub(crate) type SharedJournal = Arc<Mutex<Journal>>;

/// The key of an agent's series.
pub(crate) fn key(agent: &str, series: &Series) -> Arc<str> {
    key_of(agent, &series.metric, &series.attributes).into()
}

impl Journal {
    /// A frame was produced.
    pub(crate) fn produced(&mut self, agent: &str, frame: Frame) {
        for sample in &frame.samples {
            if !self.identities.insert((Arc::clone(&sample.key), frame.ts_ms)) {
                self.broken.push(format!("{} was produced twice for {}", sample.key, frame.ts_ms));
            }
        }
        let book = self.books.entry(agent.to_owned()).or_default();
        book.samples += frame.samples.len() as u64;
        book.open.push(book.frames.len());
        book.frames.push(frame);
    }

    /// Holds an agent's account against its record: what does not wait is stored, but for `shed` samples at most and those that are excused.
    pub(crate) fn check(
        &mut self,
        agent: &str,
        waiting: &Waiting,
        produced: u64,
        shed: u64,
        database: &Database,
    ) {
        let Self { books, broken, .. } = self;
        let Some(book) = books.get_mut(agent) else { return };
        book.shed = shed;
        let frames = &book.frames;
        let (open, settled) =
            book.open.iter().partition(|index| is_waiting(&frames[**index], waiting));
        book.open = open;
        let settled: Vec<usize> = settled;
        for index in settled {
            let frame = &book.frames[index];
            let count = look_up(frame, database, broken);
            book.missing += count.missing + count.unmarked;
            if count != LookedUp::default() && book.missing > shed + book.excused {
                broken.push(format!(
                    "{agent} let go of frame {} of {:02x?}: {} samples are missing, {shed} were given up, {} excused",
                    frame.seq, &frame.epoch[..2], book.missing, book.excused
                ));
            }
        }
        if book.samples != produced + book.forgotten {
            broken.push(format!(
                "{agent} says that it produced {produced}, not {} without {} that it may forget",
                book.samples, book.forgotten
            ));
        }
    }

    /// A process of an agent begins with an account that it found on its disk. A kill makes it forget nothing but the samples that were `in_memory` only; a disk
    /// that failed or lost its power may have kept an older account.
    pub(crate) fn recovered(&mut self, agent: &str, account: &Recovered) {
        let Self { books, broken, .. } = self;
        let book = books.entry(agent.to_owned()).or_default();
        let forgotten = book.samples.wrapping_sub(account.produced);
        let most = if account.is_disk_to_blame {
            book.samples
        } else {
            book.forgotten + account.in_memory
        };
        if forgotten > most {
            broken.push(format!(
                "{agent} begins with {} samples produced, not {}: {most} may be forgotten",
                account.produced, book.samples
            ));
        }
        book.forgotten = forgotten.min(book.samples);
        let uncounted = book.shed.saturating_sub(account.shed);
        book.excused += account.in_memory;
        if account.is_disk_to_blame {
            book.excused += uncounted;
        } else if uncounted > 0 {
            broken.push(format!("{agent} has forgotten that it gave up {uncounted} samples"));
        }
        book.shed = account.shed;
    }

    /// Samples of an agent that wait and were produced after `since`.
    pub(crate) fn younger(&self, agent: &str, waiting: &Waiting, since: Duration) -> u64 {
        let frames = self.books.get(agent).map_or(&[][..], |book| &book.frames);
        let young = frames.iter().rev().take_while(|frame| frame.at >= since);
        young
            .filter(|frame| is_waiting(frame, waiting))
            .map(|frame| frame.samples.len() as u64)
            .sum()
    }

    /// So many samples of an agent may have died with it and nobody counted them.
    pub(crate) fn excuse(&mut self, agent: &str, samples: u64) {
        self.books.entry(agent.to_owned()).or_default().excused += samples;
    }

    /// How long ago a frame was produced; `None` when it never was.
    pub(crate) fn age(&self, agent: &str, epoch: Epoch, seq: u64) -> Option<Duration> {
        let mut frames = self.books.get(agent)?.frames.iter().rev();
        let frame = frames.find(|frame| frame.epoch == epoch && frame.seq == seq)?;
        Some(kernel::elapsed().saturating_sub(frame.at))
    }

    /// Frames produced so far.
    pub(crate) fn frames(&self) -> usize {
        self.books.values().map(|book| book.frames.len()).sum()
    }

    /// Checks, when everything has ended, that nothing is missing that was not given up, and that nothing is stored that was not produced.
    pub(crate) fn check_all(&mut self, database: &Database) -> Account {
        let Self { books, broken, identities } = self;
        let mut account = Account { produced: identities.len() as u64, ..Account::default() };
        for (agent, book) in books {
            let mut gone = 0;
            for frame in &book.frames {
                let LookedUp { missing, unmarked } = look_up(frame, database, broken);
                account.missing += missing;
                gone += missing + unmarked;
            }
            let Book { shed, excused, samples, .. } = book;
            account.shed += *shed;
            account.excused += *excused;
            if gone > *shed + *excused {
                broken.push(format!(
                    "{agent} lost {gone} of {samples} samples, gave up {shed}, and {excused} are excused"
                ));
            }
        }
        account.stored = database.tables(|tables| tables.samples()) as u64;
        if account.stored + account.missing != account.produced {
            broken.push(format!("{account:?}: stored is not produced without the missing ones"));
        }
        account
    }
}

fn is_waiting(frame: &Frame, waiting: &Waiting) -> bool {
    let of = |(epoch, first, last): &(Epoch, u64, u64)| {
        *epoch == frame.epoch && (*first..=*last).contains(&frame.seq)
    };
    waiting.iter().any(of)
}

/// Samples of a frame that nobody may have acknowledged.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct LookedUp {
    /// Not stored.
    missing: u64,
    /// Stored late and without the mark that gets them into the rollups, as when the collector died between the two and the agent then gave them up.
    unmarked: u64,
}

fn look_up(frame: &Frame, database: &Database, broken: &mut Vec<String>) -> LookedUp {
    let mut found = LookedUp::default();
    for Sample { key, raw, scale } in &frame.samples {
        match database.tables(|tables| tables.find(key, frame.ts_ms, *raw, *scale)) {
            Found::Same => {}
            Found::SameUnmarked => found.unmarked += 1,
            Found::Nothing => found.missing += 1,
            Found::Other { raw: other, scale: other_scale } => broken.push(format!(
                "{key} at {} is {raw} ({scale}) and stored as {other} ({other_scale})",
                frame.ts_ms
            )),
        }
    }
    found
}
