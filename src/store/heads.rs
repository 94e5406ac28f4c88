//! Mirrored rows without their definitions: for whoever goes over all of them.

use super::db::{Arg, Row};
use super::mirrored::shape;
use super::{Result, Store};
use crate::account::{Origin, Status};

/// A mirrored row, but for its definition.
#[derive(Clone, Debug)]
pub struct Head {
    /// The name exactly as stored.
    pub name: String,
    /// Which way it came in.
    pub origin: Origin,
    /// The incarnation it mirrors.
    pub incarnation: Option<i64>,
    /// Its status; `None`: none of ours.
    pub status: Option<Status>,
}

impl Head {
    /// Its agents are being told to let go of it.
    pub const fn is_leaving(&self) -> bool {
        matches!(self.status, Some(Status::Deleting | Status::DeleteFailed))
    }
}

/// Mirrored rows after a name, in the database's order of names, at most `limit`.
///
/// # Errors
/// The database's.
pub async fn page(store: &Store, after: Option<&str>, limit: u32) -> Result<Vec<Head>> {
    let (condition, mut values) = match after {
        Some(after) => ("where name > ?", vec![Arg::from(after)]),
        None => ("", vec![]),
    };
    values.push(Arg::from(i64::from(limit)));
    let shape = shape(store)?;
    let list = ["name", "fl_origin", "dynamic", "fl_inc", "status"].map(|c| shape.read(c)).join(", ");
    let sql = format!("select {list} from kubesvc_accounts {condition} order by name limit ?");
    store.main().fetch_dynamic(&sql, &values).await?.iter().map(|row| read(store, row)).collect()
}

fn read(store: &Store, row: &Row) -> Result<Head> {
    let text = |i| row.text(i).map_err(|e| store.main().row_error(e));
    let int = |i| row.int(i).map_err(|e| store.main().row_error(e));
    let word = text(4)?;
    Ok(Head {
        name: text(0)?.unwrap_or_default(),
        origin: origin(text(1)?.as_deref(), int(2)?, word.is_some()),
        incarnation: int(3)?,
        status: word.as_deref().and_then(Status::parse),
    })
}

/// Which way a row came in; of one that was not adopted yet, by the rule of its adoption.
pub(super) fn origin(word: Option<&str>, dynamic: Option<i64>, has_status: bool) -> Origin {
    let dynamic = dynamic.map_or(has_status, |d| d != 0);
    word.and_then(Origin::parse).unwrap_or(if dynamic { Origin::Migrated } else { Origin::Agent })
}
