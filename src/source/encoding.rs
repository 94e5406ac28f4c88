//! What a database refuses to take or to hand out, because a text has no place in an encoding.
//!
//! All take and give UTF-8 here, whatever the encoding of the table. A name that the table cannot hold is nobody's id. A row that PostgreSQL
//! cannot give in UTF-8 (bytes of any kind in `SQL_ASCII`, bytes without a meaning in `WIN1252`) fails the whole statement; so it is looked
//! for with smaller and smaller statements, and fails alone.

use super::sql::{Id, Range, Sql};
use super::{Error, Poison, Reading};
use crate::args;
use crate::store::db::{self, Dialect};

const REFUSED: &str = "the database cannot give the row as UTF-8";

/// Whether an answer failed for that.
pub(super) fn is_to_blame(e: &Error) -> bool {
    let Error::Database(db::Error::Statement { source: sqlx::Error::Database(d), .. }) = e else { return false };
    match d.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        // A name with characters that the column's character set does not have is not compared with it.
        Some(d) => matches!(d.number(), 1267 | 1270 | 1271 | 3854),
        // Bytes that are no text, and characters that the other encoding does not have.
        None => matches!(d.code().as_deref(), Some("22021" | "22P05")),
    }
}

pub(super) fn poison(id: &str) -> Poison {
    Poison { id: id.to_owned(), reason: REFUSED.to_owned() }
}

impl Sql {
    /// What is to be said of a name whose reading failed for that: either no id can be this name, or its row is there.
    pub(super) async fn refused(&self, name: &str) -> Result<Reading, Error> {
        if self.dialect() != Dialect::Postgres {
            return Ok(Reading::Absent);
        }
        match self.fetch("select ?::text is null", args![name]).await {
            Ok(_) => Ok(Reading::Unknown(REFUSED.to_owned())),
            Err(e) if is_to_blame(&e) => Ok(Reading::Absent),
            Err(e) => Err(e),
        }
    }

    /// The id of the first row of these but `skip`, as the database holds it. `None`: there is no such row any more.
    pub(super) async fn raw_id(&self, range: Range<'_>, skip: i64) -> Result<Option<Id>, Error> {
        let statement = "select '0', convert_to(a.id::text, getdatabaseencoding()), getdatabaseencoding()::text from accounts a";
        let rows = self.select((statement, Vec::new()), range, 1, skip).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let is_unicode = matches!(row.text(2).map_err(|e| self.undecodable(e))?.as_deref(), Some("UTF8" | "SQL_ASCII"));
        Ok(self.id(row)?.map(|id| match id {
            // In another encoding these bytes mean something else.
            Ok(id) if !is_unicode && !id.is_ascii() => Err(id.into_bytes()),
            id => id,
        }))
    }
}
