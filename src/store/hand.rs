//! What a user did by hand, by name: `fairlead_hand`. It outlives the row, and the scanner respects it.
//!
//! PATCH INACTIVE and DELETE are noted until a user's POST or PATCH to ACTIVE, or until Clouddriver deletes the account.

use super::db::{Arg, Db, Dialect, Result, Row, Tx, listed};
use super::{Store, tombstones};
use crate::args;
use crate::lifecycle::Wanted;

/// What was done by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ByHand {
    /// The name as it was given then; the database compares it as it compares names.
    pub name: String,
    /// INACTIVE or DELETED.
    pub wanted: Wanted,
    /// When, by the database's clock.
    pub at: i64,
}

/// Notes it, in place of what was noted before.
///
/// # Errors
/// The database's.
pub async fn note(store: &Store, tx: &mut Tx<'_>, name: &str, wanted: Wanted) -> Result<()> {
    let sql = match store.main().dialect() {
        Dialect::MySql => {
            "insert into fairlead_hand (name_key, wanted, at_ms) values (?, ?, {now}) \
             on duplicate key update wanted = values(wanted), at_ms = values(at_ms)"
        }
        Dialect::Postgres | Dialect::Sqlite => {
            "insert into fairlead_hand (name_key, wanted, at_ms) values (?, ?, {now}) \
             on conflict (name_key) do update set wanted = excluded.wanted, at_ms = excluded.at_ms"
        }
    };
    tx.exec(sql, args![name, wanted.as_str()]).await.map(drop)
}

/// Forgets it.
///
/// # Errors
/// The database's.
pub async fn forget(tx: &mut Tx<'_>, name: &str) -> Result<()> {
    tx.exec("delete from fairlead_hand where name_key = ?", args![name]).await.map(drop)
}

/// Notes it of all of these, no two of which are one for the database.
///
/// # Errors
/// The database's.
pub async fn note_all(store: &Store, tx: &mut Tx<'_>, names: &[&str], wanted: Wanted) -> Result<()> {
    let end = match store.main().dialect() {
        Dialect::MySql => "on duplicate key update wanted = values(wanted), at_ms = values(at_ms)",
        Dialect::Postgres | Dialect::Sqlite => "on conflict (name_key) do update set wanted = excluded.wanted, at_ms = excluded.at_ms",
    };
    for some in names.chunks(tombstones::CHUNK) {
        let rows = listed("(?, ?, {now})", some.len());
        let values: Vec<Arg> = some.iter().flat_map(|name| [Arg::from(*name), Arg::from(wanted.as_str())]).collect();
        tx.exec_dynamic(&format!("insert into fairlead_hand (name_key, wanted, at_ms) values {rows} {end}"), &values).await?;
    }
    Ok(())
}

/// Forgets it of all of these.
///
/// # Errors
/// The database's.
pub async fn forget_all(tx: &mut Tx<'_>, names: &[&str]) -> Result<()> {
    for some in names.chunks(tombstones::CHUNK) {
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        tx.exec_dynamic(&format!("delete from fairlead_hand where name_key in ({})", listed("?", some.len())), &values).await?;
    }
    Ok(())
}

/// Forgets a note that is as it was read. `false`: it is another by now, or none.
///
/// # Errors
/// The database's.
pub async fn forget_as_it_was(db: &Db, note: &ByHand) -> Result<bool> {
    Ok(db.exec("delete from fairlead_hand where name_key = ? and at_ms = ?", args![note.name.as_str(), note.at]).await? > 0)
}

/// Notes after a name, in the database's order of names, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn page(store: &Store, after: Option<&str>, limit: u32) -> Result<Vec<ByHand>> {
    let (condition, mut values) = match after {
        Some(after) => ("where name_key > ?", vec![Arg::from(after)]),
        None => ("", vec![]),
    };
    values.push(Arg::from(i64::from(limit)));
    let sql = format!("select name_key, wanted, at_ms from fairlead_hand {condition} order by name_key limit ?");
    store.main().fetch_dynamic(&sql, &values).await?.iter().map(|row| read(store.main(), row)).collect()
}

/// What is noted of these names, as this database compares them, at this moment of the transaction.
///
/// # Errors
/// The database's.
pub async fn of_in(store: &Store, tx: &mut Tx<'_>, names: &[&str]) -> Result<Vec<ByHand>> {
    let mut found = Vec::new();
    for some in names.chunks(tombstones::CHUNK) {
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        for row in tx.fetch_dynamic(&select(some.len()), &values).await? {
            found.push(read(store.main(), &row)?);
        }
    }
    Ok(found)
}

/// What is noted of these names, as this database compares them.
///
/// # Errors
/// The database's.
pub async fn of(store: &Store, names: &[&str]) -> Result<Vec<ByHand>> {
    let mut found = Vec::new();
    for some in names.chunks(tombstones::CHUNK) {
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        for row in store.main().fetch_dynamic(&select(some.len()), &values).await? {
            found.push(read(store.main(), &row)?);
        }
    }
    Ok(found)
}

fn select(names: usize) -> String {
    format!("select name_key, wanted, at_ms from fairlead_hand where name_key in ({})", listed("?", names))
}

fn read(db: &Db, row: &Row) -> Result<ByHand> {
    let text = |i| row.text(i).map(Option::unwrap_or_default).map_err(|e| db.row_error(e));
    let wanted = if text(1)? == Wanted::Deleted.as_str() { Wanted::Deleted } else { Wanted::Inactive };
    let at = row.int(2).map_err(|e| db.row_error(e))?.unwrap_or_default();
    Ok(ByHand { name: text(0)?, wanted, at })
}
