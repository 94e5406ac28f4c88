//! Replicas' lives: `fairlead_epochs`, and what is known of the database itself (`fairlead_meta`).
//!
//! An epoch is one life of one replica. Its row says until when every account change that passed it was journalled
//! (`ok_until_ms`) and when it last gave a sign of life (`alive_ms`). Open and silent for longer than the lease, it leaves a
//! *gap*: from `ok_until_ms` on, changes may have passed that nobody remembers.

use super::db::{Db, Dialect, Result};
use super::journal::first_int;
use crate::args;

/// A gap that passes have to look after.
#[derive(Clone, Debug)]
pub struct GapRow {
    /// The epoch that left it.
    pub epoch: String,
    /// The replica that lived it.
    pub replica: String,
    /// Until when nothing was missed.
    pub from: i64,
    /// When it was found.
    pub until: i64,
    /// Passes done: none, at once, and one window later.
    pub passes: i64,
    /// The database's time now.
    pub now: i64,
}

/// Registers a new epoch, and notes when the first one ever was. Registered again, nothing changes.
///
/// # Errors
/// The database's. After an unclear one, register it again.
pub async fn open(db: &Db, id: &str, replica: &str) -> Result<()> {
    let first = match db.dialect() {
        Dialect::MySql => "insert into fairlead_meta (k, v) values ('first_epoch_ms', {now}) on duplicate key update v = fairlead_meta.v",
        Dialect::Postgres => "insert into fairlead_meta (k, v) values ('first_epoch_ms', ({now})::varchar) on conflict (k) do nothing",
        Dialect::Sqlite => "insert into fairlead_meta (k, v) values ('first_epoch_ms', {now}) on conflict (k) do nothing",
    };
    db.exec(first, args![]).await?;
    let epoch = match db.dialect() {
        Dialect::MySql => {
            "insert into fairlead_epochs (id, replica, opened_ms, ok_until_ms, alive_ms, beat, state, passes) \
             values (?, ?, {now}, {now}, {now}, 0, 'open', 0) on duplicate key update id = fairlead_epochs.id"
        }
        Dialect::Postgres | Dialect::Sqlite => {
            "insert into fairlead_epochs (id, replica, opened_ms, ok_until_ms, alive_ms, beat, state, passes) \
             values (?, ?, {now}, {now}, {now}, 0, 'open', 0) on conflict (id) do nothing"
        }
    };
    db.exec(epoch, args![id, replica]).await.map(drop)
}

/// When the first epoch ever was opened: before it there was nothing to miss.
///
/// # Errors
/// The database's.
pub async fn first_opened(db: &Db) -> Result<Option<i64>> {
    let rows = db.fetch("select v from fairlead_meta where k = 'first_epoch_ms'", args![]).await?;
    let text = rows.first().map_or(Ok(None), |r| r.text(0)).map_err(|e| db.row_error(e))?;
    Ok(text.and_then(|t| t.parse().ok()))
}

/// Gives a sign of life. `false`: the row is not as this replica left it (taken for dead, or the database went back).
///
/// # Errors
/// The database's.
pub async fn beat(db: &Db, id: &str, last_beat: i64, nothing_missed: bool) -> Result<bool> {
    let sql = if nothing_missed {
        "update fairlead_epochs set alive_ms = {now}, ok_until_ms = {now}, beat = beat + 1 where id = ? and state = 'open' and beat = ?"
    } else {
        "update fairlead_epochs set alive_ms = {now}, beat = beat + 1 where id = ? and state = 'open' and beat = ?"
    };
    Ok(db.exec(sql, args![id, last_beat]).await? == 1)
}

/// The beat that the database remembers of an open epoch.
///
/// # Errors
/// The database's.
pub async fn remembered_beat(db: &Db, id: &str) -> Result<Option<i64>> {
    first_int(db, &db.fetch("select beat from fairlead_epochs where id = ? and state = 'open'", args![id]).await?)
}

/// The last beat that the database remembers of a life that another process led: open still, or a gap by now. `None`: it knows of no such.
///
/// # Errors
/// The database's.
pub async fn left_beat(db: &Db, id: &str) -> Result<Option<i64>> {
    first_int(db, &db.fetch("select beat from fairlead_epochs where id = ?", args![id]).await?)
}

/// Forgets a life of which everything is journalled: it leaves no gap, unless its row has changed.
///
/// # Errors
/// The database's.
pub async fn forget_life(db: &Db, id: &str, beat: i64) -> Result<()> {
    db.exec("delete from fairlead_epochs where id = ? and beat = ?", args![id, beat]).await.map(drop)
}

/// Marks this replica's own epoch as one that left a gap (changes passed that it cannot remember).
///
/// # Errors
/// The database's.
pub async fn give_up(db: &Db, id: &str) -> Result<()> {
    db.exec(
        "update fairlead_epochs set state = 'gap', gap_from_ms = ok_until_ms, gap_until_ms = {now} where id = ? and state = 'open'",
        args![id],
    )
    .await
    .map(drop)
}

/// Notes a gap that no epoch row tells of.
///
/// # Errors
/// The database's.
pub async fn note_gap(db: &Db, id: &str, replica: &str, from: i64) -> Result<()> {
    db.exec(
        "insert into fairlead_epochs (id, replica, opened_ms, ok_until_ms, alive_ms, beat, state, gap_from_ms, gap_until_ms, passes) \
         values (?, ?, ?, ?, {now}, 0, 'gap', ?, {now}, 0)",
        args![id, replica, from, from, from],
    )
    .await
    .map(drop)
}

/// Closes an epoch after a clean drain: it leaves no gap.
///
/// # Errors
/// The database's.
pub async fn close(db: &Db, id: &str) -> Result<()> {
    db.exec("delete from fairlead_epochs where id = ? and state = 'open'", args![id]).await.map(drop)
}

/// Turns open epochs that have been silent for longer than the lease into gaps; says how many.
///
/// # Errors
/// The database's.
pub async fn expire(db: &Db, own: &str, lease_ms: i64) -> Result<u64> {
    db.exec(
        "update fairlead_epochs set state = 'gap', gap_from_ms = ok_until_ms, gap_until_ms = {now} \
         where state = 'open' and id <> ? and alive_ms < {now} - ?",
        args![own, lease_ms],
    )
    .await
}

/// Open gaps.
///
/// # Errors
/// The database's.
pub async fn gaps(db: &Db) -> Result<Vec<GapRow>> {
    let sql = match db.dialect() {
        Dialect::Postgres => {
            "select id, replica, gap_from_ms, gap_until_ms, passes::bigint, {now} from fairlead_epochs where state = 'gap' order by id limit 1000"
        }
        _ => "select id, replica, gap_from_ms, gap_until_ms, passes, {now} from fairlead_epochs where state = 'gap' order by id limit 1000",
    };
    let rows = db.fetch(sql, args![]).await?;
    rows.iter()
        .map(|r| {
            let int = |i| r.int(i).map_err(|e| db.row_error(e)).map(Option::unwrap_or_default);
            let text = |i| r.text(i).map_err(|e| db.row_error(e)).map(Option::unwrap_or_default);
            Ok(GapRow { epoch: text(0)?, replica: text(1)?, from: int(2)?, until: int(3)?, passes: int(4)?, now: int(5)? })
        })
        .collect()
}

/// Notes that a pass over everything came by after the gap.
///
/// # Errors
/// The database's.
pub async fn passed(db: &Db, epoch: &str, passes_before: i64) -> Result<()> {
    db.exec("update fairlead_epochs set passes = passes + 1 where id = ? and passes = ?", args![epoch, passes_before]).await.map(drop)
}

/// Forgets a gap that has been looked after.
///
/// # Errors
/// The database's.
pub async fn forget_gap(db: &Db, epoch: &str) -> Result<()> {
    db.exec("delete from fairlead_epochs where id = ? and state = 'gap'", args![epoch]).await.map(drop)
}
