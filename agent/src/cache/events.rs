//! Keyspace events: what happens to keys, as the server publishes it.
//!
//! They are off unless somebody asks for them by `notify-keyspace-events`, a setting that others may
//! use too. So a [`Lease`] adds the letters that are missing, remembers on disk what was there
//! before, and gives it back; after a crash the next lease does that. What somebody else has changed
//! meanwhile is left as it is.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use flyball_model::reuse::Cause;

use super::{connect, now_ms, write_private};
use crate::redis::{Connection, Error, Instance, Reply};

/// Events by name (`E`): evicted, generic (deletions), expired, missed.
const NEEDED: &str = "Egxem";
/// What `A` stands for. Newer servers know more letters; none of them is needed here.
const ALL: &str = "g$lshzxet";
const SETTING: &[u8] = SETTING_NAME.as_bytes();
/// The setting that a [`Lease`] is of.
pub(crate) const SETTING_NAME: &str = "notify-keyspace-events";

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// It is gone.
    Gone(Cause),
    /// Somebody asked for it and it was not there.
    Missed,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub what: What,
    /// Database.
    pub database: u32,
    /// The key. It is to be hashed and forgotten.
    pub key: Vec<u8>,
    /// When it was heard, in milliseconds since the Unix epoch.
    pub at_ms: u64,
}

/// The server publishes events as long as this lasts.
#[derive(Debug)]
pub struct Lease {
    file: PathBuf,
    /// What was set before, and what the server says is set now; `None` when nothing had to be.
    changed: Option<(String, String)>,
}

/// Hears events.
#[derive(Debug)]
pub struct Events {
    connection: Connection,
}

/// Names of events, and what they mean.
const NAMES: [(&str, What); 6] = [
    ("evicted", What::Gone(Cause::Evicted)),
    ("expired", What::Gone(Cause::Expired)),
    ("del", What::Gone(Cause::Invalidated)),
    ("rename_from", What::Gone(Cause::Invalidated)),
    ("move_from", What::Gone(Cause::Invalidated)),
    ("keymiss", What::Missed),
];

impl Lease {
    /// Turns on what is needed. `file` is where the setting of before is kept.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses, or the file cannot be written.
    pub fn take(connection: &mut Connection, file: PathBuf) -> Result<Self, Error> {
        let present = get(connection)?;
        let before = match read(&file) {
            // An agent that ended without a word has left it so.
            Some((before, set)) if is_same(&set, &present) => before,
            _ => present.clone(),
        };
        let wanted = with_needed(&before);
        if is_same(&wanted, &present) && is_same(&before, &present) {
            return Ok(Self { file, changed: None });
        }
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).map_err(|source| Error::File { path: dir.into(), source })?;
        }
        write_private(&file, format!("{before}\n{wanted}\n").as_bytes())
            .map_err(|source| Error::File { path: file.clone(), source })?;
        connection.call(&[b"CONFIG", b"SET", SETTING, wanted.as_bytes()])?;
        Ok(Self { file, changed: Some((before, wanted)) })
    }

    /// What was set before, and what is set now; `None` when nothing had to be changed.
    pub const fn changed(&self) -> Option<&(String, String)> {
        self.changed.as_ref()
    }

    /// Gives back the setting of before, unless somebody else has changed it since.
    ///
    /// # Errors
    /// When the server cannot be asked or refuses; the next lease tries again.
    pub fn give_back(self, connection: &mut Connection) -> Result<(), Error> {
        if let Some((before, set)) = &self.changed {
            if is_same(&get(connection)?, set) {
                connection.call(&[b"CONFIG", b"SET", SETTING, before.as_bytes()])?;
            }
            // A file that stays is recognized as an old one.
            let _ = fs::remove_file(&self.file);
        }
        Ok(())
    }
}

/// Gives back what an agent has left that ended without a word; nothing where there is nothing to
/// give back. What somebody else has set since stays.
///
/// # Errors
/// When the server cannot be asked or refuses; to be tried again then.
pub fn restore(connection: &mut Connection, file: &Path) -> Result<bool, Error> {
    if !file.exists() {
        return Ok(false);
    }
    let changed = read(file);
    let was_left = changed.is_some();
    Lease { file: file.to_owned(), changed }.give_back(connection)?;
    // One that cannot be read tells nothing.
    let _ = fs::remove_file(file);
    Ok(was_left)
}

impl Events {
    /// Hears the events of these databases.
    ///
    /// # Errors
    /// When the server cannot be reached or refuses.
    pub fn subscribe(instance: &Instance, databases: &[u32]) -> Result<Self, Error> {
        let mut connection = connect(instance)?;
        let channels: Vec<String> = databases
            .iter()
            .flat_map(|db| NAMES.map(|(name, _)| format!("__keyevent@{db}__:{name}")))
            .collect();
        let mut words: Vec<&[u8]> = vec![b"SUBSCRIBE"];
        words.extend(channels.iter().map(String::as_bytes));
        connection.queue(&words);
        connection.flush()?;
        for _ in &channels {
            connection.receive()?;
        }
        Ok(Self { connection })
    }

    /// The next event; `None` when none comes in this time.
    ///
    /// # Errors
    /// When the connection has broken.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Event>, Error> {
        let reply = self.connection.receive_within(patience.max(super::LEAST_WAIT))?;
        Ok(reply.and_then(event))
    }
}

/// The event that a message tells; `None` for other messages.
fn event(reply: Reply) -> Option<Event> {
    let Reply::Array(parts) = reply else { return None };
    let [_, channel, key] = <[Reply; 3]>::try_from(parts).ok()?;
    let (Reply::Text(channel), Reply::Text(key)) = (channel, key) else { return None };
    let channel = str::from_utf8(&channel).ok()?.strip_prefix("__keyevent@")?;
    let (database, name) = channel.split_once("__:")?;
    let (_, what) = NAMES.into_iter().find(|(known, _)| *known == name)?;
    Some(Event { what, database: database.parse().ok()?, key, at_ms: now_ms() })
}

fn get(connection: &mut Connection) -> Result<String, Error> {
    let reply = connection.call(&[b"CONFIG", b"GET", SETTING])?;
    let value = reply.parts().get(1).and_then(Reply::text);
    let value = value.ok_or(Error::Protocol("no setting for events"))?;
    Ok(String::from_utf8_lossy(value).into_owned())
}

/// What an earlier lease has written: the setting of before, and its own.
fn read(file: &Path) -> Option<(String, String)> {
    let text = fs::read_to_string(file).ok()?;
    let (before, rest) = text.split_once('\n')?;
    Some((before.to_owned(), rest.trim_end().to_owned()))
}

/// The letters of a setting, each once, in one order.
fn letters(setting: &str) -> String {
    let mut letters: Vec<char> = setting
        .chars()
        .flat_map(|c| {
            if c == 'A' { ALL.to_owned() } else { c.to_string() }.chars().collect::<Vec<_>>()
        })
        .collect();
    letters.sort_unstable();
    letters.dedup();
    letters.into_iter().collect()
}

/// True when two settings ask for the same events.
pub(crate) fn is_same(a: &str, b: &str) -> bool {
    letters(a) == letters(b)
}

/// A setting with the letters that are missing.
fn with_needed(setting: &str) -> String {
    let present = letters(setting);
    let missing = NEEDED.chars().filter(|letter| !present.contains(*letter));
    setting.chars().chain(missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_keeps_its_letters_and_gets_those_that_are_missing() {
        for (before, after) in
            [("", "Egxem"), ("AK", "AKEm"), ("Kx", "KxEgem"), ("Egxem", "Egxem"), ("AKEm", "AKEm")]
        {
            assert_eq!(with_needed(before), after);
        }
        assert!(is_same("AKE", "Kg$lshzxetE") && is_same("Exe", "exE"));
        assert!(!is_same("Ex", "Em"));
    }

    #[test]
    fn messages_that_are_no_events_are_passed_over() {
        let text = |text: &str| Reply::Text(text.as_bytes().to_vec());
        let of =
            |channel: &str| event(Reply::Array(vec![text("message"), text(channel), text("k:1")]));
        let told = of("__keyevent@12__:evicted").unwrap();
        assert_eq!((told.what, told.database), (What::Gone(Cause::Evicted), 12));
        assert_eq!(told.key, b"k:1");
        assert_eq!(of("__keyevent@0__:keymiss").unwrap().what, What::Missed);
        for other in ["__keyevent@0__:set", "news", "__keyevent@x__:del", "__keyspace@0__:k"] {
            assert_eq!(of(other), None, "{other}");
        }
        assert_eq!(event(Reply::Integer(1)), None);
        assert_eq!(event(Reply::Array(vec![text("subscribe")])), None);
    }
}
