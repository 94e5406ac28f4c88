//! Rows that went, or came to rest, while an agent that was not asked may still have had them: `fairlead_tombstones`.
//!
//! An agent that registers with such a generation is told to let go. Since generations are random and never used again, a tombstone
//! never stands for a row of today, and clearing old ones away is safe.

use super::Store;
use super::db::{Arg, Dialect, Result, Tx, listed};
use crate::args;

/// Names asked for in one statement.
pub(super) const CHUNK: usize = 500;

/// One that went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tombstone {
    /// Its name.
    pub name: String,
    /// The generation that an agent may still have.
    pub generation: i64,
    /// When it was written, by the database's clock.
    pub at: i64,
}

/// Writes one. Written again, nothing changes.
///
/// # Errors
/// The database's.
pub async fn write(store: &Store, tx: &mut Tx<'_>, name: &str, generation: i64) -> Result<()> {
    let sql = match store.main().dialect() {
        Dialect::MySql => {
            "insert into fairlead_tombstones (name_key, generation, created_ms) values (?, ?, {now}) \
             on duplicate key update generation = fairlead_tombstones.generation"
        }
        Dialect::Postgres | Dialect::Sqlite => {
            "insert into fairlead_tombstones (name_key, generation, created_ms) values (?, ?, {now}) on conflict do nothing"
        }
    };
    tx.exec(sql, args![name, generation]).await.map(drop)
}

/// Writes all of these.
///
/// # Errors
/// The database's.
pub async fn write_all(store: &Store, tx: &mut Tx<'_>, stones: &[(&str, i64)]) -> Result<()> {
    let end = match store.main().dialect() {
        Dialect::MySql => "on duplicate key update generation = fairlead_tombstones.generation",
        Dialect::Postgres | Dialect::Sqlite => "on conflict do nothing",
    };
    for some in stones.chunks(CHUNK) {
        let rows = listed("(?, ?, {now})", some.len());
        let values: Vec<Arg> = some.iter().flat_map(|(name, generation)| [Arg::from(*name), Arg::from(*generation)]).collect();
        tx.exec_dynamic(&format!("insert into fairlead_tombstones (name_key, generation, created_ms) values {rows} {end}"), &values)
            .await?;
    }
    Ok(())
}

/// Those of these names, as this database compares names.
///
/// # Errors
/// The database's.
pub async fn of(store: &Store, names: &[&str]) -> Result<Vec<Tombstone>> {
    let mut found = Vec::new();
    for some in names.chunks(CHUNK) {
        let marks = vec!["?"; some.len()].join(", ");
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        let sql = format!("select name_key, generation, created_ms from fairlead_tombstones where name_key in ({marks})");
        for row in store.main().fetch_dynamic(&sql, &values).await? {
            let int = |i| row.int(i).map(Option::unwrap_or_default).map_err(|e| store.main().row_error(e));
            let name = row.text(0).map_err(|e| store.main().row_error(e))?.unwrap_or_default();
            found.push(Tombstone { name, generation: int(1)?, at: int(2)? });
        }
    }
    Ok(found)
}

/// Clears away those that are older than `age_ms`; says how many.
///
/// # Errors
/// The database's.
pub async fn clear(store: &Store, age_ms: i64) -> Result<u64> {
    store.main().exec("delete from fairlead_tombstones where created_ms < {now} - ?", args![age_ms]).await
}
