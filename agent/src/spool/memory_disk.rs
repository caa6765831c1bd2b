//! A disk in memory that fails as real ones do, on demand: for tests of the spool and for simulation.
//!
//! It knows the difference between what a running system sees and what is on the medium. [`MemoryDisk::kill`] ends the process: what was written stays.
//! [`MemoryDisk::power_cut`] keeps what was synced, and of the rest anything: writes in any order, torn by sectors, files that grew before their content came, names
//! that were made or removed or not. A disk can be full, fail, or end the process in the middle of the n-th call.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};

/// What a medium writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// The disk. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct MemoryDisk(Arc<Mutex<State>>);

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Calls until the one in the midst of which the process ends; every later call fails. `None`: it lives.
    pub calls_left: Option<u64>,
    /// All files together take this many bytes at most; `None`: any number.
    pub capacity_bytes: Option<u64>,
    /// These fail.
    pub failing: &'static [Operation],
}

/// What a disk does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Writing to files and making them. A part of what was to be written may come through.
    Write,
    /// Reading what files hold.
    Read,
    /// Syncing. What it was to make durable never will be.
    Sync,
    /// Removing files.
    Remove,
}

#[derive(Debug, Default)]
struct State {
    files: Vec<Content>,
    names: Names,
    durable_names: Names,
    /// Since the directory was synced, in order.
    renamings: Vec<Renaming>,
    faults: Faults,
    dead: bool,
    /// Files opened before the process ended are of no use to the next one.
    boot: u64,
    calls: u64,
    syncs: u64,
}

type Names = BTreeMap<String, usize>;

/// A file's content, as it is seen and on the medium.
#[derive(Debug, Clone, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Since it was synced, in order.
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug, Clone)]
enum Renaming {
    Set(String, usize),
    Remove(String),
    Move(String, String),
}

#[derive(Debug)]
struct MemoryFile {
    disk: MemoryDisk,
    index: usize,
    boot: u64,
}

/// Random numbers that depend on their seed alone (SplitMix64, Steele and others 2014).
#[derive(Debug)]
struct Dice(u64);

impl MemoryDisk {
    /// An empty one without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// What goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.lock().faults = faults;
    }

    /// What goes wrong now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.0.lock().faults
    }

    /// The process ends; the system lives on. The disk has no faults any more.
    pub fn kill(&self) {
        self.0.lock().reboot();
    }

    /// The power fails. What was not synced is there or not, by `seed`. The disk has no faults any more.
    pub fn power_cut(&self, seed: u64) {
        let mut state = self.0.lock();
        let mut dice = Dice(seed);
        for content in &mut state.files {
            content.power_cut(&mut dice);
        }
        let mut names = std::mem::take(&mut state.durable_names);
        let renamings = std::mem::take(&mut state.renamings);
        // A journal keeps the order of names: a part of them from the beginning on survives.
        let survivors = dice.below(renamings.len() as u64 + 1) as usize;
        renamings.into_iter().take(survivors).for_each(|renaming| renaming.apply(&mut names));
        (state.names, state.durable_names) = (names.clone(), names);
        state.reboot();
    }

    /// Calls so far.
    pub fn calls(&self) -> u64 {
        self.0.lock().calls
    }

    /// Syncs of files so far.
    pub fn syncs(&self) -> u64 {
        self.0.lock().syncs
    }

    /// True when the process has ended in the midst of a call.
    pub fn is_dead(&self) -> bool {
        self.0.lock().dead
    }

    /// Content of a file; `None` when there is none.
    pub fn content(&self, name: &str) -> Option<Vec<u8>> {
        let state = self.0.lock();
        state.names.get(name).map(|index| state.files[*index].seen.clone())
    }

    /// Puts a file there, durably, past all faults.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.0.lock();
        let index = state.add(Content {
            seen: bytes.to_vec(),
            durable: bytes.to_vec(),
            changes: Vec::new(),
        });
        state.names.insert(name.to_owned(), index);
        state.durable_names.insert(name.to_owned(), index);
    }

    /// Names of all files.
    pub fn names(&self) -> Vec<String> {
        self.0.lock().names.keys().cloned().collect()
    }

    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.0.lock();
        state.calls += 1;
        if state.dead {
            return Err(gone());
        }
        Ok(state)
    }

    fn file(&self, index: usize, boot: u64) -> Arc<dyn DiskFile> {
        Arc::new(MemoryFile { disk: self.clone(), index, boot })
    }
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let mut state = self.call()?;
        state.live()?;
        let size = |index: &usize| state.files[*index].seen.len() as u64;
        Ok(state.names.iter().map(|(name, index)| (name.clone(), size(index))).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.call()?;
        if state.fails(Operation::Write) {
            return Err(broken());
        }
        // When the process ends in this call, the file may be there already.
        let index = state.add(Content::default());
        state.rename(Renaming::Set(name.to_owned(), index));
        state.live()?;
        Ok(self.file(index, state.boot))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.call()?;
        state.live()?;
        let index = *state.names.get(name).ok_or_else(|| io::Error::from(ErrorKind::NotFound))?;
        Ok(self.file(index, state.boot))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.call()?;
        if !state.names.contains_key(name) {
            return Err(ErrorKind::NotFound.into());
        }
        if state.fails(Operation::Remove) {
            return Err(broken());
        }
        state.live()?;
        state.rename(Renaming::Remove(name.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.call()?;
        if !state.names.contains_key(from) {
            return Err(ErrorKind::NotFound.into());
        }
        if state.fails(Operation::Write) {
            return Err(broken());
        }
        state.live()?;
        state.rename(Renaming::Move(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.call()?;
        state.live()?;
        if state.fails(Operation::Sync) {
            return Err(broken());
        }
        state.renamings.clear();
        state.durable_names = state.names.clone();
        state.forget();
        Ok(())
    }
}

impl DiskFile for MemoryFile {
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.call()?;
        if state.fails(Operation::Write) {
            // As a device does: a part may have come through.
            state.files[self.index]
                .change(Change::Write(offset, bytes[..bytes.len() / 2].to_vec()));
            return Err(broken());
        }
        let mut room = bytes.len() as u64;
        if let Some(capacity) = state.faults.capacity_bytes {
            let grown = (offset + room).saturating_sub(state.files[self.index].seen.len() as u64);
            room -= grown.min((state.used() + grown).saturating_sub(capacity));
        }
        if state.faults.calls_left == Some(0) {
            room = state.calls % (room + 1);
        }
        state.files[self.index].change(Change::Write(offset, bytes[..room as usize].to_vec()));
        state.live()?;
        if room < bytes.len() as u64 { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut state = self.call()?;
        state.live()?;
        if state.fails(Operation::Read) {
            return Err(broken());
        }
        let seen = &state.files[self.index].seen;
        let rest = &seen[(offset as usize).min(seen.len())..];
        let count = rest.len().min(bytes.len());
        bytes[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut state = self.call()?;
        if state.fails(Operation::Write) {
            return Err(broken());
        }
        state.live()?;
        state.files[self.index].change(Change::SetLen(bytes));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.call()?;
        state.live()?;
        state.syncs += 1;
        let failed = state.fails(Operation::Sync);
        let content = &mut state.files[self.index];
        content.changes.clear();
        if failed {
            // The system forgets that it ever had to write them.
            return Err(broken());
        }
        content.durable = content.seen.clone();
        Ok(())
    }
}

impl MemoryFile {
    fn call(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.disk.call()?;
        if state.boot == self.boot { Ok(state) } else { Err(gone()) }
    }
}

impl State {
    fn fails(&self, operation: Operation) -> bool {
        self.faults.failing.contains(&operation)
    }

    /// Ends the process, if this is the call.
    fn live(&mut self) -> io::Result<()> {
        match &mut self.faults.calls_left {
            Some(0) => {
                self.dead = true;
                Err(gone())
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn reboot(&mut self) {
        self.boot += 1;
        self.dead = false;
        self.faults = Faults::default();
        self.forget();
    }

    fn add(&mut self, content: Content) -> usize {
        self.files.push(content);
        self.files.len() - 1
    }

    /// Forgets the content of files that have no name any more and will not get one back.
    fn forget(&mut self) {
        let mut named: Vec<bool> = vec![false; self.files.len()];
        self.names.values().chain(self.durable_names.values()).for_each(|i| named[*i] = true);
        for renaming in &self.renamings {
            if let Renaming::Set(_, index) = renaming {
                named[*index] = true;
            }
        }
        for (content, named) in self.files.iter_mut().zip(named) {
            if !named {
                *content = Content::default();
            }
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|index| self.files[*index].seen.len() as u64).sum()
    }

    fn rename(&mut self, renaming: Renaming) {
        renaming.apply(&mut self.names);
        self.renamings.push(renaming);
    }
}

impl Content {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen, None);
        self.changes.push(change);
    }

    fn power_cut(&mut self, dice: &mut Dice) {
        let mut changes = std::mem::take(&mut self.changes);
        if dice.below(3) == 0 {
            dice.shuffle(&mut changes);
        }
        let share = dice.below(5);
        for change in changes {
            if dice.below(4) < share {
                let torn = (dice.below(4) == 0).then_some(&mut *dice);
                change.apply(&mut self.durable, torn);
            }
        }
        self.seen.clone_from(&self.durable);
    }
}

impl Change {
    /// With dice, some sectors of a write do not come through: they stay what they were.
    fn apply(&self, bytes: &mut Vec<u8>, mut torn: Option<&mut Dice>) {
        match self {
            Self::SetLen(len) => bytes.resize(*len as usize, 0),
            Self::Write(offset, written) => {
                let end = *offset as usize + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                let mut at = *offset as usize;
                while at < end {
                    let next =
                        ((at as u64 / SECTOR_BYTES + 1) * SECTOR_BYTES).min(end as u64) as usize;
                    if torn.as_mut().is_none_or(|dice| dice.below(2) == 0) {
                        let from = at - *offset as usize;
                        bytes[at..next].copy_from_slice(&written[from..from + next - at]);
                    }
                    at = next;
                }
            }
        }
    }
}

impl Renaming {
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Set(name, index) => drop(names.insert(name.clone(), *index)),
            Self::Remove(name) => drop(names.remove(name)),
            Self::Move(from, to) => {
                if let Some(index) = names.remove(from) {
                    names.insert(to.clone(), index);
                }
            }
        }
    }
}

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u64 + 1) as usize);
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("the disk fails")
}

fn gone() -> io::Error {
    io::Error::other("the process has ended")
}
