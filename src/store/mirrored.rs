//! Rows of `kubesvc_accounts` as settling reads and writes them, inside its transaction.
//!
//! Only Clouddriver's layer of a row is written here: its definition, its incarnation, and with it the generation. The overlay is
//! Fairlead's and stays. The status changes along the table of [`crate::lifecycle`] only: a definition that changed, a row that is to go.

use std::sync::Arc;

use serde_json::Value;

use super::db::{Arg, Row, Tx, listed};
use super::journal::fresh_generation;
use super::states::many::enter;
use super::{Result, Sealed, Shape, Store, hand, heads, tombstones};
use crate::account::{Origin, Status};
use crate::args;
use crate::lifecycle::{self, Attempts, Event, State, Step, Wanted};

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
    /// Its agents are being told to let go: DELETING or DELETE_FAILED.
    pub deleting: bool,
    /// The generation that agents know.
    pub generation: i64,
    /// The definition as stored, sealed.
    pub definition: String,
    /// What the table of states needs; `None`: its status is none of ours.
    state: Option<State>,
    overlay: Option<String>,
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
    /// The zone that was given for it.
    pub zone: Option<&'a str>,
    /// Fairlead's layer.
    pub overlay: Option<&'a Value>,
    /// Its generation.
    pub generation: i64,
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
pub(super) fn shape(store: &Store) -> Result<Arc<Shape>> {
    let error = || store.main().row_error(sqlx::Error::Configuration("the tables are not migrated yet".into()));
    store.shape().ok_or_else(error)
}

/// Reads the mirrored row of a name, as this database compares names, and keeps it from others until the transaction ends.
///
/// # Errors
/// The database's.
pub async fn load(store: &Store, tx: &mut Tx<'_>, name: &str) -> Result<Option<MirrorRow>> {
    let rows = tx.fetch_dynamic(&format!("{} where name = ? {{update}}", select(store)?), args![name]).await?;
    rows.first().map(|row| read(store, row)).transpose()
}

/// As [`load`], for many.
///
/// # Errors
/// The database's.
pub async fn load_all(store: &Store, tx: &mut Tx<'_>, names: &[&str]) -> Result<Vec<MirrorRow>> {
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let values: Vec<Arg> = names.iter().map(|n| Arg::from(*n)).collect();
    let sql = format!("{} where name in ({}) order by name {{update}}", select(store)?, listed("?", names.len()));
    tx.fetch_dynamic(&sql, &values).await?.iter().map(|row| read(store, row)).collect()
}

fn select(store: &Store) -> Result<String> {
    let shape = shape(store)?;
    let columns = [
        "name",
        "fl_origin",
        "dynamic",
        "fl_inc",
        "fl_mode",
        "fl_sent",
        "fl_generation",
        "definition",
        "status",
        "fl_wanted",
        "fl_overlay",
    ];
    let list = columns.iter().map(|c| shape.read(c)).collect::<Vec<_>>().join(", ");
    Ok(format!("select {list} from kubesvc_accounts"))
}

fn read(store: &Store, row: &Row) -> Result<MirrorRow> {
    let text = |i| row.text(i).map_err(|e| store.main().row_error(e));
    let int = |i| row.int(i).map_err(|e| store.main().row_error(e));
    let dynamic = int(2)?.unwrap_or(0) != 0;
    let origin = Origin::stored(text(1)?.as_deref(), dynamic);
    let sent = int(5)?.unwrap_or(0) != 0;
    let status = text(8)?.as_deref().and_then(Status::parse);
    let wanted = text(9)?;
    Ok(MirrorRow {
        name: text(0)?.unwrap_or_default(),
        origin,
        incarnation: int(3)?,
        mode: text(4)?.unwrap_or_else(|| "sql".to_owned()),
        sent,
        generation: int(6)?.unwrap_or(0),
        definition: text(7)?.unwrap_or_default(),
        deleting: matches!(status, Some(Status::Deleting | Status::DeleteFailed)),
        state: status.map(|status| State { status, wanted: Wanted::of(wanted.as_deref(), status), sent, dynamic }),
        overlay: text(10)?,
    })
}

/// Puts a new row in.
///
/// # Errors
/// [`WriteError`]: nothing was written.
pub async fn insert(store: &Store, tx: &mut Tx<'_>, row: &NewRow<'_>) -> std::result::Result<(), WriteError> {
    insert_all(store, tx, vec![seal(store, row)?]).await?;
    Ok(())
}

/// A row that is ready to enter: sealed.
pub struct Entering {
    columns: [(&'static str, Arg); 16],
    after_gap: bool,
    transient: bool,
}

/// Makes a row ready to enter.
///
/// # Errors
/// [`UnstorableError`](super::UnstorableError): of this account only.
pub fn seal(store: &Store, row: &NewRow<'_>) -> std::result::Result<Entering, super::UnstorableError> {
    let Sealed { text: definition, key_id: key } = store.seal_definition(row.name, row.definition)?;
    let overlay = row.overlay.map(|o| store.seal_overlay(row.name, o)).transpose()?;
    let columns = [
        ("name", row.name.into()),
        ("dynamic", 1_i64.into()),
        ("status", row.status.as_str().into()),
        ("definition", definition.into()),
        ("failed_count", 0_i64.into()),
        ("connections", 0_i64.into()),
        ("fl_origin", row.origin.as_str().into()),
        ("fl_inc", row.incarnation.into()),
        ("fl_mode", row.mode.into()),
        ("fl_generation", row.generation.into()),
        ("fl_after_gap", row.after_gap.into()),
        ("fl_sent", 0_i64.into()),
        ("fl_key_id", key.into()),
        ("fl_wanted", Wanted::of(None, row.status).as_str().into()),
        ("zone_id", row.zone.into()),
        ("fl_overlay", overlay.into()),
    ];
    Ok(Entering { columns, after_gap: row.after_gap, transient: lifecycle::is_transient(row.status) })
}

/// Puts rows in. A name that is there already fails them all.
///
/// # Errors
/// The database's.
pub async fn insert_all(store: &Store, tx: &mut Tx<'_>, rows: Vec<Entering>) -> Result<()> {
    let now = super::journal::first_int(store.main(), &tx.fetch("select {now}", args![]).await?)?;
    let name = |row: &Entering| if let Arg::Text(Some(name)) = &row.columns[0].1 { name.clone() } else { String::new() };
    // A user's POST takes it again.
    let taken: Vec<String> = rows.iter().filter(|row| !row.after_gap).map(name).collect();
    let rows = rows.into_iter().map(|row| {
        let times = [("last_updated", now), ("fl_created", now), ("fl_since", now), ("fl_due", now.filter(|_| row.transient))];
        row.columns.into_iter().chain(times.map(|(column, time)| (column, time.into()))).collect()
    });
    enter(store, tx, rows.collect()).await?;
    hand::forget_all(tx, &taken.iter().map(String::as_str).collect::<Vec<_>>()).await
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
    // Both layers are under the one key that the row names. What does not open stays as it is: sending it will say so.
    let overlay = row.overlay.as_deref().map(|text| store.reseal_overlay(&row.name, text).unwrap_or_else(|_| text.to_owned()));
    let shape = shape(store)?;
    let mut set = shape.assign(&["definition", "fl_inc", "fl_mode", "fl_key_id", "fl_overlay", "last_updated"]);
    let now = super::journal::first_int(store.main(), &tx.fetch("select {now}", args![]).await?)?;
    let mut values: Vec<Arg> = args![definition, incarnation, mode, key, overlay, now].to_vec();
    if changed {
        set.push_str(", fl_generation = ?, fl_identity = NULL");
        values.push(fresh_generation().into());
        if let Some(state) = row.state
            && let Step::Go { to, attempts, .. } = lifecycle::next(&state, Event::Changed)
        {
            if to != state.status {
                set.push_str(&format!(", {}, fl_since = {{now}}, fl_operation = NULL, fl_owner = NULL", shape.assign(&["status"])));
                values.push(to.as_str().into());
            }
            if attempts == Attempts::Reset {
                set.push_str(&format!(", {}", shape.assign(&["failed_count", "error_message"])));
                values.extend_from_slice(args![0_i64, None::<String>]);
            }
            // What no agent has, none has to hear of.
            if to != Status::Inactive {
                set.push_str(", fl_due = {now}");
            }
        }
    }
    values.push(Arg::from(&row.name));
    tx.exec_dynamic(&format!("update kubesvc_accounts set {set}, fl_rev = fl_rev + 1 where name = ?"), &values).await?;
    Ok(())
}

/// Takes a row out. One that was sent to agents goes by way of DELETING: dispatch drops it when they have let go. Says whether the row is gone.
///
/// `deleted`: Clouddriver has no such account any more, so what a user did to it by hand counts no more.
///
/// # Errors
/// The database's.
pub async fn remove(store: &Store, tx: &mut Tx<'_>, row: &MirrorRow, deleted: bool) -> Result<bool> {
    if deleted {
        hand::forget(tx, &row.name).await?;
    }
    // A word of the original's that we do not know: what was sent may be held, and nobody here moves such a row.
    let step = row.state.map_or(Step::Leave { tombstone: row.sent }, |state| lifecycle::next(&state, Event::Delete));
    match step {
        Step::Go { to, wanted, .. } => {
            if !row.deleting {
                let shape = shape(store)?;
                let set = shape.assign(&["status", "fl_wanted", "failed_count", "error_message"]);
                let sql = format!(
                    "update kubesvc_accounts set {set}, fl_operation = NULL, fl_owner = NULL, fl_since = {{now}}, fl_due = {{now}}, \
                     fl_rev = fl_rev + 1 where name = ?"
                );
                tx.exec_dynamic(&sql, args![to.as_str(), wanted.as_str(), 0_i64, None::<String>, row.name.as_str()]).await?;
            }
            Ok(false)
        }
        Step::Leave { tombstone } => {
            if tombstone {
                tombstones::write(store, tx, &row.name, row.generation).await?;
            }
            tx.exec("delete from kubesvc_accounts where name = ?", args![row.name.as_str()]).await?;
            Ok(true)
        }
        Step::Ignore | Step::Refuse(_) => Ok(false),
    }
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
    /// Its status; `None`: none of ours.
    pub status: Option<Status>,
    /// What is wanted of it.
    pub wanted: Wanted,
}

impl PassRow {
    /// Its agents are being told to let go of it.
    pub const fn is_leaving(&self) -> bool {
        matches!(self.status, Some(Status::Deleting | Status::DeleteFailed))
    }
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
    let list = ["name", "fl_origin", "dynamic", "fl_inc", "fl_mode", "definition", "status", "fl_wanted"].map(|c| shape.read(c)).join(", ");
    let found = store.main().fetch_dynamic(&format!("select {list} from kubesvc_accounts {condition} {order}"), values).await?;
    found
        .iter()
        .map(|row| {
            let text = |i| row.text(i).map_err(|e| store.main().row_error(e));
            let int = |i| row.int(i).map_err(|e| store.main().row_error(e));
            let word = text(6)?;
            let status = word.as_deref().and_then(Status::parse);
            Ok(PassRow {
                name: text(0)?.unwrap_or_default(),
                origin: heads::origin(text(1)?.as_deref(), int(2)?, word.is_some()),
                incarnation: int(3)?,
                mode: text(4)?.unwrap_or_else(|| "sql".to_owned()),
                definition: SealedText(text(5)?.unwrap_or_default()),
                status,
                wanted: Wanted::of(text(7)?.as_deref(), status.unwrap_or(Status::Active)),
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
