//! Names are compared by the database as Clouddriver's `accounts.id` compares them.
//!
//! On MySQL and MariaDB that is a matter of the column's collation (`utf8mb4_unicode_ci` takes `Prod` for `prod`), so our key columns get the
//! one that `accounts.id` has. PostgreSQL and SQLite compare byte by byte on both sides.

use super::adopt::MADE_BY;
use super::db::{Db, Dialect, Result};
use super::migrate::{MigrateError, Report, step};

/// How a column of text is stored and compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Collation {
    charset: String,
    collation: String,
}

/// Our columns that hold names: table, column, and what follows the type.
const KEYS: [(&str, &str, &str); 4] = [
    ("fairlead_intents", "name_key", "NULL"),
    ("fairlead_names", "name_key", "NOT NULL"),
    ("fairlead_tombstones", "name_key", "NOT NULL"),
    ("fairlead_hand", "name_key", "NOT NULL"),
];

/// The collation of a column of this schema; `None` where there is no such column, or the user may not see it.
pub(super) async fn of(db: &Db, table: &str, column: &str) -> Result<Option<Collation>> {
    let rows = db
        .fetch(
            "SELECT CAST(character_set_name AS CHAR), CAST(collation_name AS CHAR) FROM information_schema.columns
             WHERE table_schema = DATABASE() AND table_name = ? AND column_name = ?",
            crate::args![table, column],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let text = |i| row.text(i).map_err(|e| db.row_error(e));
    Ok(text(0)?.zip(text(1)?).map(|(charset, collation)| Collation { charset, collation }))
}

/// Gives our key columns the collation of `accounts.id`, from this schema or from the other database that holds it.
pub(super) async fn align(db: &Db, elsewhere: Option<&Collation>, report: &mut Report) -> std::result::Result<(), MigrateError> {
    if db.dialect() != Dialect::MySql {
        return Ok(());
    }
    let Some(wanted) = (match elsewhere {
        Some(c) => Some(c.clone()),
        None => of(db, "accounts", "id").await?,
    }) else {
        return Ok(());
    };
    // Names come from the server itself, yet they become part of a statement.
    if ![&wanted.charset, &wanted.collation].iter().all(|n| n.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')) {
        return Ok(());
    }
    for (table, column, end) in KEYS {
        alter(db, table, column, end, &wanted).await?;
    }
    let Some(has) = of(db, "kubesvc_accounts", "name").await? else { return Ok(()) };
    if has == wanted {
        return Ok(());
    }
    let ours = !db.fetch("SELECT v FROM fairlead_meta WHERE k = ? AND v = 'fairlead'", crate::args![MADE_BY]).await?.is_empty();
    let empty = db.fetch("SELECT 1 FROM kubesvc_accounts LIMIT 1", &[]).await?.is_empty();
    if ours || empty {
        alter(db, "kubesvc_accounts", "name", "NOT NULL", &wanted).await
    } else {
        report.warn(format!(
            "{}: kubesvc_accounts.name has the collation {}, Clouddriver's accounts.id has {}: names that one of them takes for equal are two \
             for the other; alter kubesvc_accounts.name",
            db.label(),
            has.collation,
            wanted.collation
        ));
        Ok(())
    }
}

async fn alter(db: &Db, table: &str, column: &str, end: &str, wanted: &Collation) -> std::result::Result<(), MigrateError> {
    if of(db, table, column).await?.as_ref() == Some(wanted) {
        return Ok(());
    }
    let Collation { charset, collation } = wanted;
    let sql = format!("ALTER TABLE {table} MODIFY {column} varchar(255) CHARACTER SET {charset} COLLATE {collation} {end}");
    step(db, &sql, "ALTER", table).await
}
