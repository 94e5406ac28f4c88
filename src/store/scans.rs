//! Whose turn it is to scan, by the database's clock: one row of `fairlead_meta`.
//!
//! It spares work and keeps nothing safe: what a scan does is done by settling and compare-and-set, which bear two scans at once. So a turn
//! that was overtaken ends at its next look, and until then does no harm.

use super::db::{Db, Dialect, Result};
use crate::args;

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

/// The row's text: until when, whose, and when a scan was last finished; 0: never.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Record {
    until: i64,
    who: String,
    done: i64,
}

impl Record {
    fn read(text: &str) -> Self {
        let mut words = text.split(' ');
        let mut number = |i: &str| i.parse().unwrap_or(0);
        let until = words.next().map_or(0, &mut number);
        let who = words.next().unwrap_or_default().to_owned();
        Self { until, who, done: words.next().map_or(0, number) }
    }

    fn text(&self) -> String {
        format!("{} {} {}", self.until, self.who, self.done)
    }
}

async fn read(db: &Db) -> Result<Option<(Record, i64)>> {
    let rows = db.fetch("select v, {now} from fairlead_meta where k = 'scan'", args![]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let text = row.text(0).map_err(|e| db.row_error(e))?.unwrap_or_default();
    let now = row.int(1).map_err(|e| db.row_error(e))?.unwrap_or(0);
    Ok(Some((Record::read(&text), now)))
}

/// Writes where the row is as it was read.
async fn replace(db: &Db, old: &Record, new: &Record) -> Result<bool> {
    let sql = "update fairlead_meta set v = ? where k = 'scan' and v = ?";
    Ok(db.exec(sql, args![new.text(), old.text()]).await? == 1)
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
    let (old, now) = found;
    // A clock that went back must not keep scans away for longer than a turn lasts, or than they are apart.
    let held = old.until > now && old.until.saturating_sub(now) <= lease;
    if held && old.who != who {
        return Ok(Claim::Held);
    }
    let left = old.done.saturating_add(every).saturating_sub(now);
    if left > 0 && left <= every {
        return Ok(Claim::NotDue(left));
    }
    let record = Record { until: now.saturating_add(lease), who: who.to_owned(), done: old.done };
    Ok(if replace(db, &old, &record).await? { Claim::Mine(Turn { record }) } else { Claim::Held })
}

/// Makes a turn last. `false`: it is another's.
///
/// # Errors
/// The database's: it is not known.
pub async fn keep(db: &Db, turn: &mut Turn, lease: i64) -> Result<bool> {
    let Some((old, now)) = read(db).await? else { return Ok(false) };
    if old.who != turn.record.who {
        return Ok(false);
    }
    let record = Record { until: now.saturating_add(lease), ..old.clone() };
    if !replace(db, &old, &record).await? {
        return Ok(false);
    }
    turn.record = record;
    Ok(true)
}

/// Ends the turn that `who` has, if it has one. `done`: the scan was finished.
///
/// # Errors
/// The database's; the turn ends by itself then.
pub async fn end(db: &Db, who: &str, done: bool) -> Result<()> {
    let Some((old, now)) = read(db).await? else { return Ok(()) };
    if old.who == who {
        let record = Record { until: 0, who: "-".to_owned(), done: if done { now } else { old.done } };
        replace(db, &old, &record).await?;
    }
    Ok(())
}
