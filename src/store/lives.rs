//! Lives of the dispatch loop: `fairlead_lives`. Rows name one as their owner, and when it is over others take what it worked on.
//!
//! They are not the mirror's epochs: those leave a gap when they die, and are there only while the interceptor is.

use super::db::{Db, Dialect, Result};
use crate::args;

/// Opens one. Opened again, nothing changes.
///
/// # Errors
/// The database's.
pub async fn open(db: &Db, id: &str, replica: &str) -> Result<()> {
    let sql = match db.dialect() {
        Dialect::MySql => {
            "insert into fairlead_lives (id, replica, opened_ms, alive_ms) values (?, ?, {now}, {now}) \
             on duplicate key update id = fairlead_lives.id"
        }
        Dialect::Postgres | Dialect::Sqlite => {
            "insert into fairlead_lives (id, replica, opened_ms, alive_ms) values (?, ?, {now}, {now}) on conflict (id) do nothing"
        }
    };
    db.exec(sql, args![id, replica]).await.map(drop)
}

/// Gives a sign of life. `false`: the row is gone, so others take what this life works on.
///
/// # Errors
/// The database's.
pub async fn beat(db: &Db, id: &str) -> Result<bool> {
    Ok(db.exec("update fairlead_lives set alive_ms = {now} where id = ?", args![id]).await? == 1)
}

/// Ends one: what it works on is free at once.
///
/// # Errors
/// The database's.
pub async fn close(db: &Db, id: &str) -> Result<()> {
    db.exec("delete from fairlead_lives where id = ?", args![id]).await.map(drop)
}

/// Those that gave a sign within the lease. What has been silent for ten of them is cleared away.
///
/// # Errors
/// The database's.
pub async fn alive(db: &Db, lease_ms: i64) -> Result<Vec<String>> {
    db.exec("delete from fairlead_lives where alive_ms < {now} - ?", args![lease_ms.saturating_mul(10)]).await?;
    let rows = db.fetch("select id from fairlead_lives where alive_ms >= {now} - ?", args![lease_ms]).await?;
    rows.iter().map(|r| r.text(0).map(Option::unwrap_or_default).map_err(|e| db.row_error(e))).collect()
}
