//! Whose turn it is to scan, by the database's clock: one row of `fairlead_meta`.
//!
//! It spares work and keeps nothing safe: what a scan does is done by settling and compare-and-set, which bear two scans at once. So a turn
//! that was overtaken ends at its next look, and until then does no harm. And which mirrored rows wait for a scan.

use super::Store;
use super::db::{Arg, Db, Dialect, Result};
use crate::account::{Origin, Status};
use crate::args;
use crate::lifecycle::Wanted;

/// A turn that is ours until its time is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turn {
    record: Record,
}

/// What came of asking for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is ours.
    Mine(Turn),
    /// Another has it, or was faster.
    Held,
    /// The last scan is not long enough ago: the rest, in milliseconds.
    NotDue(i64),
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Before the scan did.
    BrokenOff,
    /// The scan was finished.
    Done,
    /// It was, and who did it remembers accounts that the next one has to look at.
    WithRest,
}

/// The row's text: until when, whose, when a scan was last finished (0: never), and who remembers what that one left (`-`: nobody).
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    until: i64,
    who: String,
    done: i64,
    rest: String,
}

impl Turn {
    /// Whether another process remembers what the last scan left.
    pub fn is_left_by_another(&self) -> bool {
        self.record.rest != NOBODY && self.record.rest != self.record.who
    }
}

const NOBODY: &str = "-";

impl Record {
    fn read(text: &str) -> Self {
        let mut words = text.split(' ');
        let mut number = |i: &str| i.parse().unwrap_or(0);
        let until = words.next().map_or(0, &mut number);
        let who = words.next().unwrap_or_default().to_owned();
        let done = words.next().map_or(0, number);
        // A version that knows three words only leaves nothing.
        Self { until, who, done, rest: words.next().unwrap_or(NOBODY).to_owned() }
    }

    fn text(&self) -> String {
        format!("{} {} {} {}", self.until, self.who, self.done, self.rest)
    }
}

/// The row as it is in the table.
struct Found {
    text: String,
    record: Record,
    now: i64,
}

async fn read(db: &Db) -> Result<Option<Found>> {
    let rows = db.fetch("select v, {now} from fairlead_meta where k = 'scan'", args![]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let text = row.text(0).map_err(|e| db.row_error(e))?.unwrap_or_default();
    let now = row.int(1).map_err(|e| db.row_error(e))?.unwrap_or(0);
    Ok(Some(Found { record: Record::read(&text), text, now }))
}

/// Writes where the row is as it was read.
async fn replace(db: &Db, old: &Found, new: &Record) -> Result<bool> {
    let sql = "update fairlead_meta set v = ? where k = 'scan' and v = ?";
    Ok(db.exec(sql, args![new.text(), old.text.as_str()]).await? == 1)
}

/// Asks for the next turn. `who` is this process, in one word; `every`: a scan is due so long after the last one, in milliseconds (0: now).
///
/// # Errors
/// The database's. It may be ours then; asked again, it is.
pub async fn claim(db: &Db, who: &str, lease: i64, every: i64) -> Result<Claim> {
    let found = match read(db).await? {
        Some(found) => found,
        None => {
            let first = match db.dialect() {
                Dialect::MySql => "insert into fairlead_meta (k, v) values ('scan', '0 - 0') on duplicate key update v = fairlead_meta.v",
                Dialect::Postgres | Dialect::Sqlite => {
                    "insert into fairlead_meta (k, v) values ('scan', '0 - 0') on conflict (k) do nothing"
                }
            };
            db.exec(first, args![]).await?;
            let Some(found) = read(db).await? else { return Ok(Claim::Held) };
            found
        }
    };
    let Found { record: old, now, .. } = &found;
    // A clock that went back must not keep scans away for longer than a turn lasts, or than they are apart.
    let held = old.until > *now && old.until.saturating_sub(*now) <= lease;
    if held && old.who != who {
        return Ok(Claim::Held);
    }
    let left = old.done.saturating_add(every).saturating_sub(*now);
    if left > 0 && left <= every {
        return Ok(Claim::NotDue(left));
    }
    let record = Record { until: now.saturating_add(lease), who: who.to_owned(), ..old.clone() };
    Ok(if replace(db, &found, &record).await? { Claim::Mine(Turn { record }) } else { Claim::Held })
}

/// Makes a turn last. `false`: it is another's.
///
/// # Errors
/// The database's: it is not known.
pub async fn keep(db: &Db, turn: &mut Turn, lease: i64) -> Result<bool> {
    let Some(found) = read(db).await? else { return Ok(false) };
    if found.record.who != turn.record.who {
        return Ok(false);
    }
    let record = Record { until: found.now.saturating_add(lease), ..found.record.clone() };
    if !replace(db, &found, &record).await? {
        return Ok(false);
    }
    turn.record = record;
    Ok(true)
}

/// Ends the turn that `who` has, if it has one.
///
/// # Errors
/// The database's; the turn ends by itself then.
pub async fn end(db: &Db, who: &str, ended: Ended) -> Result<()> {
    let Some(found) = read(db).await? else { return Ok(()) };
    if found.record.who == who {
        let (done, rest) = match ended {
            Ended::BrokenOff => (found.record.done, found.record.rest.as_str()),
            Ended::Done => (found.now, NOBODY),
            Ended::WithRest => (found.now, who),
        };
        let record = Record { until: 0, who: NOBODY.to_owned(), done, rest: rest.to_owned() };
        replace(db, &found, &record).await?;
    }
    Ok(())
}

/// A mirrored row that is INACTIVE, and wanted so.
#[derive(Clone, Debug)]
pub struct Inactive {
    /// Its name exactly as stored.
    pub name: String,
    /// It mirrors Clouddriver's account.
    pub follows: bool,
}

/// Such rows after a name, in the database's order of names, at most `limit`. Costs in proportion to how many there are, by the index on
/// the status.
///
/// # Errors
/// The database's.
pub async fn inactive(store: &Store, after: Option<&str>, limit: u32) -> Result<Vec<Inactive>> {
    let shape = store.ready()?;
    let list = ["name", "fl_origin", "dynamic"].map(|c| shape.read(c)).join(", ");
    // The column itself and not as it is read elsewhere, which no index serves.
    let sql = format!(
        "select {list} from kubesvc_accounts where status = '{}' and coalesce(fl_wanted, '{wanted}') = '{wanted}' and name > ? \
         order by name limit ?",
        Status::Inactive.as_str(),
        wanted = Wanted::Inactive.as_str(),
    );
    let rows = store.main().fetch_dynamic(&sql, &[Arg::from(after.unwrap_or("")), Arg::from(i64::from(limit))]).await?;
    let error = |e| store.main().row_error(e);
    rows.iter()
        .map(|row| {
            let origin = Origin::stored(row.text(1).map_err(error)?.as_deref(), row.int(2).map_err(error)?.unwrap_or(0) != 0);
            Ok(Inactive { name: row.text(0).map_err(error)?.unwrap_or_default(), follows: origin.follows_clouddriver() })
        })
        .collect()
}
