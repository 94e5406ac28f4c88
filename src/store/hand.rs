//! What a user did by hand, by name: `fairlead_hand`. It outlives the row, and the scanner respects it.
//!
//! PATCH INACTIVE and DELETE are noted until a user's POST or PATCH to ACTIVE, or until Clouddriver deletes the account.

use super::db::{Arg, Dialect, Result, Tx};
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

/// What is noted of these names, as this database compares them.
///
/// # Errors
/// The database's.
pub async fn of(store: &Store, names: &[&str]) -> Result<Vec<ByHand>> {
    let mut found = Vec::new();
    for some in names.chunks(tombstones::CHUNK) {
        let marks = vec!["?"; some.len()].join(", ");
        let values: Vec<Arg> = some.iter().map(|n| Arg::from(*n)).collect();
        let sql = format!("select name_key, wanted, at_ms from fairlead_hand where name_key in ({marks})");
        for row in store.main().fetch_dynamic(&sql, &values).await? {
            let text = |i| row.text(i).map(Option::unwrap_or_default).map_err(|e| store.main().row_error(e));
            let wanted = if text(1)? == Wanted::Deleted.as_str() { Wanted::Deleted } else { Wanted::Inactive };
            let at = row.int(2).map_err(|e| store.main().row_error(e))?.unwrap_or_default();
            found.push(ByHand { name: text(0)?, wanted, at });
        }
    }
    Ok(found)
}
