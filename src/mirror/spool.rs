//! What left before it was journalled, on this host's own disk.
//!
//! Under `Ignore` a change is forwarded although the journal was too slow, and until its intent is written only this process knows of it.
//! So it is noted here first: in a file of this process's own, which the next process on this disk reads before it serves
//! ([`super::epoch`]), and whose changes it then journals. A process that is killed while the journal is slow thus forgets nothing, and where
//! the file tells everything, its epoch is no gap.
//!
//! The file has no kubeconfigs, only names. It is locked by whoever lives, and has one line of JSON for each of what happened. Its functions
//! block.

use std::collections::HashSet;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::{Change, Method};
use crate::store::journal::NewIntent;

/// The end of a file's name.
const SUFFIX: &str = ".changes";
/// Bytes above which a file is begun anew, once nothing in it counts any more.
const LONG: u64 = 64 << 10;
/// Bytes above which no more is noted: far above what [`super::registry::MAX_OPEN`] changes take.
const FULL: u64 = 16 << 20;
/// Age of a file that nobody holds, after which it tells nobody anything.
const STALE: std::time::Duration = std::time::Duration::from_secs(7 * 24 * 3_600);

/// One line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Line {
    /// Since this start of the machine, where that can be told: what was written is there as long as that lasts.
    Boot(Option<String>),
    /// From here on it is this epoch's.
    Epoch(String),
    /// The beat that the database acknowledged.
    Beat(i64),
    /// A change that left unjournalled.
    Change(Noted),
    /// That one counts no more.
    Done(String),
    /// Something left that is not told here.
    Lacks(String),
}

/// A change that left before its intent was journalled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Noted {
    /// The intent's ULID.
    pub id: String,
    /// The journal's word for the call.
    pub method: String,
    /// The account's name as hinted.
    pub name: Option<String>,
    /// When it left, by this host's clock; epoch milliseconds.
    pub at: i64,
}

impl Noted {
    /// A change that leaves now.
    pub(super) fn now(change: &Change) -> Self {
        Self { id: change.id.to_string(), method: change.method.as_str().to_owned(), name: change.name.clone(), at: now() }
    }

    /// Milliseconds since it left, by this host's clock.
    pub(super) fn age_ms(&self) -> i64 {
        now().saturating_sub(self.at).max(0)
    }
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// This process's file.
#[derive(Debug, Default)]
pub(super) struct Spool {
    dir: Option<PathBuf>,
    open: Mutex<Option<Open>>,
    /// Something left that the file does not tell.
    spoilt: AtomicBool,
    /// That no file can be made was told.
    told: AtomicBool,
}

#[derive(Debug)]
struct Open {
    file: File,
    path: PathBuf,
    bytes: u64,
    epoch: String,
    beat: i64,
    /// Noted, and not journalled yet.
    live: HashSet<String>,
}

impl Open {
    fn append(&mut self, line: &Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file.write_all(&text)?;
        self.bytes += text.len() as u64;
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.append(&Line::Boot(boot()))?;
        let (epoch, beat) = (self.epoch.clone(), self.beat);
        self.append(&Line::Epoch(epoch))?;
        self.append(&Line::Beat(beat))
    }
}

impl Spool {
    /// In this folder, which is made when it is needed; without one nothing is noted.
    pub(super) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, ..Self::default() }
    }

    fn open(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on, what is noted is this epoch's. Makes the file where there is none.
    pub(super) fn begin(&self, epoch: &str) -> io::Result<()> {
        let Some(dir) = &self.dir else { return Ok(()) };
        if self.is_spoilt() {
            self.remove();
        }
        let mut open = self.open();
        if let Some(open) = open.as_mut() {
            (open.epoch, open.beat) = (epoch.to_owned(), 0);
            return open.begin();
        }
        make_private(dir)?;
        let path = dir.join(format!("{}{SUFFIX}", Ulid::generate()));
        let mut options = OpenOptions::new();
        options.append(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        file.lock()?;
        let mut new = Open { file, path, bytes: 0, epoch: epoch.to_owned(), beat: 0, live: HashSet::new() };
        new.begin()?;
        *open = Some(new);
        self.spoilt.store(false, Ordering::Release);
        self.told.store(false, Ordering::Release);
        Ok(())
    }

    /// Whether this was asked before, since the last file was made.
    pub(super) fn is_told(&self) -> bool {
        self.told.swap(true, Ordering::AcqRel)
    }

    /// Whether something left that it does not tell, so that it has to be begun anew.
    pub(super) fn is_spoilt(&self) -> bool {
        self.spoilt.load(Ordering::Acquire)
    }

    /// In the file when it answers: it outlives this process, and where the machine stops as well, whoever finds the file knows that. `false`:
    /// it is not, and the file says or shows so.
    pub(super) fn note(&self, change: Noted) -> bool {
        let mut guard = self.open();
        let Some(open) = guard.as_mut().filter(|open| open.bytes < FULL) else {
            drop(guard);
            self.spoil(&change.id);
            return false;
        };
        let id = change.id.clone();
        let written = open.append(&Line::Change(change));
        open.live.insert(id.clone());
        drop(guard);
        if let Err(e) = &written {
            tracing::warn!(error = %e, "a change that the journal is too slow for cannot be noted on disk: see interceptor.stateDir");
            self.spoil(&id);
        }
        written.is_ok()
    }

    /// It is journalled, or was not done. Told twice it does no harm.
    pub(super) fn done(&self, id: &str) {
        let mut guard = self.open();
        let Some(open) = guard.as_mut() else { return };
        if !open.live.remove(id) {
            return;
        }
        let _ = open.append(&Line::Done(id.to_owned()));
        self.shorten(open);
    }

    /// The database has acknowledged this beat: what it knows of this epoch is no older than that.
    pub(super) fn beat(&self, beat: i64) {
        if let Some(open) = self.open().as_mut() {
            open.beat = beat;
            let _ = open.append(&Line::Beat(beat));
            self.shorten(open);
        }
    }

    /// Begins a long file anew where nothing in it counts. That it lacks a change does count, until that is journalled.
    fn shorten(&self, open: &mut Open) {
        if open.live.is_empty() && open.bytes > LONG && !self.is_spoilt() {
            open.bytes = 0;
            // Broken off in between, it tells nothing, and there is nothing to tell.
            let _ = open.file.set_len(0).and_then(|()| open.begin());
        }
    }

    /// A change leaves that the file may not tell: whoever finds it must not take it for everything. What else it tells stays.
    pub(super) fn spoil(&self, id: &str) {
        if self.spoilt.swap(true, Ordering::AcqRel) {
            return;
        }
        let said = self.open().as_mut().is_some_and(|open| open.append(&Line::Lacks(id.to_owned())).is_ok());
        if !said {
            self.remove();
        }
    }

    /// Nothing is left that only this process knows.
    pub(super) fn end(&self) {
        self.remove();
    }

    fn remove(&self) {
        if let Some(open) = self.open().take() {
            let _ = std::fs::remove_file(&open.path);
        }
    }
}

/// Which start of the machine this is.
fn boot() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// Only its owner looks into it.
fn make_private(dir: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(dir)
}

/// What somebody's file tells, whoever that is.
#[derive(Debug, Default)]
pub(super) struct Leftover {
    path: PathBuf,
    /// The epoch that it ended in.
    pub epoch: String,
    /// The last beat of that epoch which its process knew of.
    pub beat: i64,
    /// Changes that left and were not journalled, as far as it tells.
    pub changes: Vec<Noted>,
    /// It can be read, and nothing that was written to it can be missing.
    pub whole: bool,
    /// Held by us, once it is ours to look after.
    _held: Option<File>,
}

impl Leftover {
    /// As it would have been journalled.
    pub(super) fn new_intent(&self, change: &Noted) -> NewIntent {
        let method = Method::parse(&change.method).map_or("", Method::as_str);
        NewIntent { id: change.id.clone(), name: change.name.clone(), method, epoch: self.epoch.clone() }
    }

    /// Holds the file, and reads it anew; `None`: its process lives, or somebody else looks after it.
    pub(super) fn hold(self) -> io::Result<Option<Self>> {
        let file = open(&self.path)?;
        match file.try_lock() {
            // Removed since, by whoever held it before.
            Ok(()) if !self.path.exists() => Ok(None),
            Ok(()) => Ok(Some(Self { _held: Some(file), ..read(self.path)? })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }

    /// What it tells is in the journal.
    pub(super) fn remove(self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// All files in this folder, of living and dead processes and of whatever database: that is told by their epochs. None is held by this,
/// so that nobody is kept from one that is his.
pub(super) fn leftovers(dir: &Path) -> Vec<Leftover> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        // In a folder that others write in: a pipe would be waited for, a link leads anywhere.
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()))
        .map(|entry| entry.path())
        .filter(|path| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.ends_with(SUFFIX)))
        .filter(|path| !is_stale(path))
        .filter_map(|path| read(path).ok())
        .filter(|left| !left.epoch.is_empty())
        .collect()
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).open(path)
}

/// Whether it tells nobody anything any more; then it is removed.
fn is_stale(path: &Path) -> bool {
    let old = std::fs::metadata(path).and_then(|m| m.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > STALE));
    if old && open(path).is_ok_and(|file| file.try_lock().is_ok()) {
        let _ = std::fs::remove_file(path);
    }
    old
}

fn read(path: PathBuf) -> io::Result<Leftover> {
    let mut text = Vec::new();
    File::open(&path)?.take(FULL + LONG).read_to_end(&mut text)?;
    let mut left = Leftover { path, whole: true, ..Leftover::default() };
    // What is behind the last end of a line was being written when its process ended, and had not left.
    for line in text.split_inclusive(|b| *b == b'\n').filter(|line| line.ends_with(b"\n")) {
        match serde_json::from_slice(line) {
            Ok(Line::Boot(id)) => left.whole &= id.is_some() && id == boot(),
            Ok(Line::Epoch(id)) => (left.epoch, left.beat) = (id, 0),
            Ok(Line::Beat(n)) => left.beat = left.beat.max(n),
            Ok(Line::Change(change)) if Method::parse(&change.method).is_some() && change.id.parse::<Ulid>().is_ok() => {
                left.changes.push(change);
            }
            Ok(Line::Done(id)) => left.changes.retain(|change| change.id != id),
            Ok(Line::Change(_) | Line::Lacks(_)) | Err(_) => left.whole = false,
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(name: &str) -> Change {
        Change { id: Ulid::generate(), method: Method::Post, name: Some(name.to_owned()), request_id: None }
    }

    fn held(dir: &Path) -> Option<Leftover> {
        leftovers(dir).pop()?.hold().expect("it can be read")
    }

    #[test]
    fn what_a_dead_process_noted_and_did_not_journal_is_found_once() {
        let dir = tempfile::tempdir().expect("a folder");
        let dir = dir.path().join("state");
        let spool = Spool::new(Some(dir.clone()));
        spool.begin("E1").expect("a file");
        let (a, b) = (Noted::now(&change("a")), Noted::now(&change("b")));
        assert!(spool.note(a.clone()) && spool.note(b.clone()));
        spool.done(&a.id);
        spool.beat(3);
        assert!(held(&dir).is_none(), "its process lives");
        drop(spool);
        let left = held(&dir).expect("a file");
        assert_eq!((left.epoch.as_str(), left.beat, left.whole, left.changes.as_slice()), ("E1", 3, true, [b].as_slice()));
        assert!(held(&dir).is_none(), "somebody looks after it");
        let late = leftovers(&dir).pop().expect("seen before it was removed");
        left.remove();
        assert!(late.hold().is_err(), "it is gone");
        assert!(leftovers(&dir).is_empty());
    }

    #[test]
    fn a_change_that_was_being_noted_had_not_left_and_a_broken_line_tells_that_something_is_missing() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(Some(dir.path().to_owned()));
        spool.begin("E1").expect("a file");
        let path = spool.open().as_ref().expect("open").path.clone();
        drop(spool);
        let write = |text: &[u8]| OpenOptions::new().append(true).open(&path).expect("it").write_all(text).expect("written");
        write(br#"{"change":{"id":"01"#);
        assert!(leftovers(dir.path())[0].whole);
        write(b"\n");
        assert!(!leftovers(dir.path())[0].whole);
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_file_is_not_read() {
        let (dir, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let spool = Spool::new(Some(elsewhere.path().to_owned()));
        spool.begin("E1").expect("a file");
        let path = spool.open().as_ref().expect("open").path.clone();
        std::os::unix::fs::symlink(&path, dir.path().join("a.changes")).expect("a link");
        assert_eq!((leftovers(elsewhere.path()).len(), leftovers(dir.path()).len()), (1, 0));
        let pipe = std::process::Command::new("mkfifo").arg(dir.path().join("b.changes")).status();
        assert!(pipe.is_ok_and(|status| status.success()));
        assert!(leftovers(dir.path()).is_empty());
    }

    #[test]
    fn after_another_start_of_the_machine_something_may_be_missing() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(Some(dir.path().to_owned()));
        spool.begin("E1").expect("a file");
        assert!(spool.note(Noted::now(&change("a"))));
        let path = spool.open().as_ref().expect("open").path.clone();
        drop(spool);
        let text = std::fs::read_to_string(&path).expect("it");
        std::fs::write(&path, text.replacen(&boot().expect("Linux tells"), "another", 1)).expect("written");
        let left = &leftovers(dir.path())[0];
        assert_eq!((left.whole, left.changes.len()), (false, 1));
    }

    #[test]
    fn where_one_change_could_not_be_noted_the_others_are_still_told_until_it_begins_anew() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(Some(dir.path().to_owned()));
        spool.begin("E1").expect("a file");
        assert!(spool.note(Noted::now(&change("a"))));
        spool.spoil("another");
        assert!(spool.note(Noted::now(&change("b"))));
        let left = leftovers(dir.path()).pop().expect("a file");
        assert_eq!((left.whole, left.changes.len()), (false, 2));
        spool.begin("E2").expect("a file");
        let left = leftovers(dir.path()).pop().expect("a file");
        assert_eq!((left.epoch.as_str(), left.whole, left.changes.len()), ("E2", true, 0));
        assert_eq!(leftovers(dir.path()).len(), 1);
    }

    #[test]
    fn that_it_lacks_a_change_is_not_forgotten_when_it_is_made_shorter() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(Some(dir.path().to_owned()));
        spool.begin("E1").expect("a file");
        spool.spoil("another");
        for n in 0..20_000 {
            spool.beat(n);
        }
        drop(spool);
        assert!(!leftovers(dir.path()).pop().expect("a file").whole);
    }

    #[test]
    fn it_does_not_grow_where_nothing_in_it_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let spool = Spool::new(Some(dir.path().to_owned()));
        spool.begin("E1").expect("a file");
        for n in 0..20_000 {
            spool.beat(n);
        }
        drop(spool);
        let left = leftovers(dir.path()).pop().expect("a file");
        assert_eq!((left.beat, left.whole), (19_999, true));
        assert!(std::fs::metadata(&left.path).expect("it").len() < 2 * LONG);
    }

    #[test]
    fn without_a_folder_nothing_is_noted_and_with_one_that_cannot_be_made_neither() {
        let none = Spool::new(None);
        none.begin("E1").expect("nothing to do");
        assert!(!none.note(Noted::now(&change("a"))));
        let spool = Spool::new(Some(PathBuf::from("/proc/fairlead")));
        assert!(spool.begin("E1").is_err());
        assert!(!spool.note(Noted::now(&change("a"))));
    }
}
