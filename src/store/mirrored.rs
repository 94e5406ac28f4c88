//! Rows of `kubesvc_accounts` as settling reads and writes them, inside its transaction.
//!
//! Only Clouddriver's layer of a row is written here: its definition, its incarnation, and with it the generation. The overlay is
//! Fairlead's and stays, and so does the status of a row that is updated.

use std::sync::Arc;

use serde_json::Value;

use super::db::{Arg, Tx};
use super::journal::fresh_generation;
use super::{Result, Sealed, Shape, Store};
use crate::account::{Origin, Status};
use crate::args;

/// A mirrored row, as far as settling needs it.
#[derive(Clone)]
pub struct MirrorRow {
    /// The name exactly as stored.
    pub name: String,
    /// Which way it came in.
    pub origin: Origin,
    /// The incarnation it mirrors.
    pub incarnation: Option<i64>,
    /// `sql` or `api`: what the definition was read by.
    pub mode: String,
    /// Whether it was ever sent to an agent.
    pub sent: bool,
    /// Its status is DELETING.
    pub deleting: bool,
    /// The generation that agents know.
    pub generation: i64,
    /// The definition as stored, sealed.
    pub definition: String,
}

/// A row that enters.
pub struct NewRow<'a> {
    /// The name exactly as Clouddriver stores it.
    pub name: &'a str,
    /// Which way it comes in.
    pub origin: Origin,
    /// The incarnation it mirrors.
    pub incarnation: i64,
    /// Its first state.
    pub status: Status,
    /// What the definition was read by.
    pub mode: &'a str,
    /// Found after a gap.
    pub after_gap: bool,
    /// The definition.
    pub definition: &'a Value,
}

/// Why a row was not written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The database's.
    #[error(transparent)]
    Database(#[from] super::Error),
    /// This account's definition cannot be stored as it is.
    #[error(transparent)]
    Unstorable(#[from] super::UnstorableError),
}

/// What migrating learned of the table.
fn shape(store: &Store) -> Result<Arc<Shape>> {
    let error = || store.main().row_error(sqlx::Error::Configuration("the tables are not migrated yet".into()));
    store.shape().ok_or_else(error)
}

/// Reads the mirrored row of a name, as this database compares names, and keeps it from others until the transaction ends.
///
/// # Errors
/// The database's.
pub async fn load(store: &Store, tx: &mut Tx<'_>, name: &str) -> Result<Option<MirrorRow>> {
    let shape = shape(store)?;
    let columns = ["name", "fl_origin", "dynamic", "fl_inc", "fl_mode", "fl_sent", "fl_generation", "definition", "status"];
    let list = columns.iter().map(|c| shape.read(c)).collect::<Vec<_>>().join(", ");
    let rows = tx.fetch_dynamic(&format!("select {list} from kubesvc_accounts where name = ? {{update}}"), args![name]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let text = |i| row.text(i).map_err(|e| store.main().row_error(e));
    let int = |i| row.int(i).map_err(|e| store.main().row_error(e));
    let dynamic = int(2)?.unwrap_or(0) != 0;
    let origin = text(1)?.as_deref().and_then(Origin::parse).unwrap_or(if dynamic { Origin::Migrated } else { Origin::Agent });
    Ok(Some(MirrorRow {
        name: text(0)?.unwrap_or_default(),
        origin,
        incarnation: int(3)?,
        mode: text(4)?.unwrap_or_else(|| "sql".to_owned()),
        sent: int(5)?.unwrap_or(0) != 0,
        generation: int(6)?.unwrap_or(0),
        definition: text(7)?.unwrap_or_default(),
        deleting: text(8)?.as_deref() == Some(Status::Deleting.as_str()),
    }))
}

/// Puts a new row in.
///
/// # Errors
/// [`WriteError`]: nothing was written.
pub async fn insert(store: &Store, tx: &mut Tx<'_>, row: &NewRow<'_>) -> std::result::Result<(), WriteError> {
    let Sealed { text: definition, key_id: key } = store.seal_definition(row.name, row.definition)?;
    let sql = shape(store)?.insert(&[
        "name",
        "dynamic",
        "status",
        "definition",
        "failed_count",
        "connections",
        "last_updated",
        "fl_origin",
        "fl_inc",
        "fl_mode",
        "fl_generation",
        "fl_after_gap",
        "fl_sent",
        "fl_key_id",
        "fl_created",
    ]);
    let now = super::journal::first_int(store.main(), &tx.fetch("select {now}", args![]).await?)?;
    let values = args![
        row.name,
        1_i64,
        row.status.as_str(),
        definition,
        0_i64,
        0_i64,
        now,
        row.origin.as_str(),
        row.incarnation,
        row.mode,
        fresh_generation(),
        row.after_gap,
        0_i64,
        key,
        now
    ];
    tx.exec_dynamic(&sql, values).await?;
    Ok(())
}

/// Replaces Clouddriver's layer of a row. `changed`: its agents have to hear of it, so it gets a new generation.
///
/// # Errors
/// [`WriteError`]: nothing was written.
pub async fn update(
    store: &Store,
    tx: &mut Tx<'_>,
    row: &MirrorRow,
    incarnation: i64,
    mode: &str,
    definition: &Value,
    changed: bool,
) -> std::result::Result<(), WriteError> {
    let Sealed { text: definition, key_id: key } = store.seal_definition(&row.name, definition)?;
    let set = shape(store)?.assign(&["definition", "fl_inc", "fl_mode", "fl_generation", "fl_key_id", "last_updated"]);
    let now = super::journal::first_int(store.main(), &tx.fetch("select {now}", args![]).await?)?;
    let generation = if changed { fresh_generation() } else { row.generation };
    let values: &[Arg] = args![definition, incarnation, mode, generation, key, now, row.name.as_str()];
    tx.exec_dynamic(&format!("update kubesvc_accounts set {set}, fl_rev = fl_rev + 1 where name = ?"), values).await?;
    Ok(())
}

/// Takes a row out. One that was sent to agents leaves a tombstone, so that an agent that still holds it is told to let go.
///
/// # Errors
/// The database's.
pub async fn remove(tx: &mut Tx<'_>, row: &MirrorRow) -> Result<()> {
    if row.sent {
        tx.exec(
            "insert into fairlead_tombstones (name_key, generation, created_ms) select name, fl_generation, {now} from kubesvc_accounts where name = ?",
            args![row.name.as_str()],
        )
        .await?;
    }
    tx.exec("delete from kubesvc_accounts where name = ?", args![row.name.as_str()]).await.map(drop)
}

/// What a pass needs of a mirrored row.
#[derive(Clone, Debug)]
pub struct PassRow {
    /// The name exactly as stored.
    pub name: String,
    /// Which way it came in.
    pub origin: Origin,
    /// The incarnation it mirrors.
    pub incarnation: Option<i64>,
    /// `sql` or `api`.
    pub mode: String,
    /// The definition as stored, sealed.
    pub definition: SealedText,
}

/// A definition as stored; not shown by `Debug`.
#[derive(Clone)]
pub struct SealedText(pub String);

impl std::fmt::Debug for SealedText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(definition)")
    }
}

/// Mirrored rows after a name, in the database's order of names, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn page(store: &Store, after: Option<&str>, limit: u32) -> Result<Vec<PassRow>> {
    let (condition, mut values) = match after {
        Some(a) => ("where name > ?", vec![Arg::from(a)]),
        None => ("", vec![]),
    };
    values.push(Arg::from(i64::from(limit)));
    rows(store, condition, "order by name limit ?", &values).await
}

/// The mirrored rows of these names, as this database compares names.
///
/// # Errors
/// The database's.
pub async fn of_names(store: &Store, names: &[&str]) -> Result<Vec<PassRow>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; names.len()].join(", ");
    let values: Vec<Arg> = names.iter().map(|n| Arg::from(*n)).collect();
    rows(store, &format!("where name in ({marks})"), "", &values).await
}

async fn rows(store: &Store, condition: &str, order: &str, values: &[Arg]) -> Result<Vec<PassRow>> {
    let shape = shape(store)?;
    let list =
        ["name", "fl_origin", "dynamic", "fl_inc", "fl_mode", "definition"].iter().map(|c| shape.read(c)).collect::<Vec<_>>().join(", ");
    let found = store.main().fetch_dynamic(&format!("select {list} from kubesvc_accounts {condition} {order}"), values).await?;
    found
        .iter()
        .map(|row| {
            let text = |i| row.text(i).map_err(|e| store.main().row_error(e));
            let int = |i| row.int(i).map_err(|e| store.main().row_error(e));
            let dynamic = int(2)?.unwrap_or(0) != 0;
            Ok(PassRow {
                name: text(0)?.unwrap_or_default(),
                origin: text(1)?.as_deref().and_then(Origin::parse).unwrap_or(if dynamic { Origin::Migrated } else { Origin::Agent }),
                incarnation: int(3)?,
                mode: text(4)?.unwrap_or_else(|| "sql".to_owned()),
                definition: SealedText(text(5)?.unwrap_or_default()),
            })
        })
        .collect()
}

/// The incarnations that were last seen under these names, and when.
///
/// # Errors
/// The database's.
pub async fn seen_of(store: &Store, names: &[&str]) -> Result<Vec<(String, Option<i64>, Option<i64>)>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let marks = vec!["?"; names.len()].join(", ");
    let values: Vec<Arg> = names.iter().map(|n| Arg::from(*n)).collect();
    let found = store
        .main()
        .fetch_dynamic(&format!("select name_key, seen_inc, seen_ms from fairlead_names where name_key in ({marks})"), &values)
        .await?;
    found
        .iter()
        .map(|row| {
            let int = |i| row.int(i).map_err(|e| store.main().row_error(e));
            Ok((row.text(0).map_err(|e| store.main().row_error(e))?.unwrap_or_default(), int(1)?, int(2)?))
        })
        .collect()
}
