//! Reading `kubesvc_accounts`.

use super::db::{self, Db, Row};
use super::{Result, Shape, Store};
use crate::account::{Incarnation, Origin};

/// One row. `Debug` shows neither definition nor overlay nor properties.
#[derive(Clone, PartialEq, Eq)]
pub struct AccountRow {
    /// The name, exactly as the row has it.
    pub name: String,
    /// Epoch milliseconds of the last change of the row.
    pub last_updated: Option<i64>,
    /// The cluster's version, as its agent said.
    pub kube_version: Option<String>,
    /// The cluster's address, as its agent said.
    pub kube_host: Option<String>,
    /// MD5 of the cluster's certificate, in hexadecimal.
    pub cert_fingerprint: Option<String>,
    /// The contract's name; the values seen in the field are milliseconds.
    pub max_watch_age_seconds: Option<i64>,
    /// JSON, such as `{"permissions": …}`.
    pub props: Option<String>,
    /// The zone whose agents may have it.
    pub zone_id: Option<String>,
    /// `false`: from an agent's own configuration.
    pub dynamic: Option<bool>,
    /// The state, in the contract's words; the original may know one that we do not.
    pub status: Option<String>,
    /// Clouddriver's layer, canonical JSON with secrets sealed.
    pub definition: Option<String>,
    /// What went wrong last.
    pub error_message: Option<String>,
    /// Attempts that failed.
    pub failed_count: i64,
    /// Agents that are connected with it.
    pub connections: i64,
    /// How it came in. A word that this version does not know reads as [`Origin::Agent`], whose rows nothing here touches.
    pub origin: Origin,
    /// The incarnation that it mirrors; `None`: not linked.
    pub incarnation: Option<Incarnation>,
    /// How Clouddriver's layer was read: `sql` or `api`.
    pub mode: Option<String>,
    /// Fairlead's layer, JSON.
    pub overlay: Option<String>,
    /// Counts the definitions that the agent was to have.
    pub generation: i64,
    /// Counts the changes of the row; what compare-and-set compares.
    pub rev: i64,
    /// The state that is wanted.
    pub wanted: Option<String>,
    /// Found after a gap; never activated by itself.
    pub after_gap: bool,
    /// It was on its way to an agent at some time.
    pub sent: bool,
    /// The key that sealed the definition; `None`: not sealed.
    pub key_id: Option<String>,
    /// Epoch milliseconds of the row's making.
    pub created: Option<i64>,
    /// The zone was found by offering the account to every zone, not given.
    pub zone_found: bool,
}

impl std::fmt::Debug for AccountRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AccountRow")
            .field("name", &self.name)
            .field("status", &self.status)
            .field("origin", &self.origin)
            .field("incarnation", &self.incarnation)
            .field("generation", &self.generation)
            .field("rev", &self.rev)
            .finish_non_exhaustive()
    }
}

/// Some rows, and how many there are in all.
#[derive(Clone, Debug)]
pub struct Page {
    /// In the order of their names.
    pub rows: Vec<AccountRow>,
    /// Rows of the whole table.
    pub total: i64,
}

impl AccountRow {
    /// Reads a row that was selected by [`Shape::select_list`].
    ///
    /// # Errors
    /// [`db::Error::Statement`], where the table holds what no such column should.
    pub fn read(db: &Db, row: &Row) -> Result<Self> {
        let text = |i| row.text(i).map_err(|e| db.row_error(e));
        let int = |i| row.int(i).map_err(|e| db.row_error(e));
        let (dynamic, status) = (int(8)?.map(|d| d != 0), text(9)?);
        let origin = match text(14)? {
            Some(word) => Origin::parse(&word).unwrap_or(Origin::Agent),
            // The original has written it since our start; the same rule as at adoption.
            None if dynamic.unwrap_or(status.is_some()) => Origin::Migrated,
            None => Origin::Agent,
        };
        Ok(Self {
            name: text(0)?.unwrap_or_default(),
            last_updated: int(1)?,
            kube_version: text(2)?,
            kube_host: text(3)?,
            cert_fingerprint: text(4)?,
            max_watch_age_seconds: int(5)?,
            props: text(6)?,
            zone_id: text(7)?,
            dynamic,
            status,
            definition: text(10)?,
            error_message: text(11)?,
            failed_count: int(12)?.unwrap_or(0),
            connections: int(13)?.unwrap_or(0),
            origin,
            incarnation: int(15)?.map(Incarnation),
            mode: text(16)?,
            overlay: text(17)?,
            generation: int(18)?.unwrap_or(0),
            rev: int(19)?.unwrap_or(0),
            wanted: text(20)?,
            after_gap: int(21)?.unwrap_or(0) != 0,
            sent: int(22)?.unwrap_or(0) != 0,
            key_id: text(23)?,
            created: int(24)?,
            zone_found: int(29)?.unwrap_or(0) != 0,
        })
    }
}

impl Store {
    /// What `kubesvc_accounts` looks like.
    ///
    /// # Errors
    /// [`db::Error::NotReady`] until [`Store::migrate`] has succeeded once.
    pub fn ready(&self) -> Result<std::sync::Arc<Shape>> {
        self.shape().ok_or_else(|| db::Error::NotReady { database: self.main().label().into() })
    }

    /// The row of this name, compared as the database compares names.
    ///
    /// # Errors
    /// See [`db::Error`].
    pub async fn get(&self, name: &str) -> Result<Option<AccountRow>> {
        let shape = self.ready()?;
        // PostgreSQL cannot hold the character, and would refuse the question.
        if name.contains('\0') {
            return Ok(None);
        }
        let sql = format!("SELECT {} FROM kubesvc_accounts WHERE name = ?", shape.select_list());
        let rows = self.main().fetch_dynamic(&sql, crate::args![name]).await?;
        rows.first().map(|r| AccountRow::read(self.main(), r)).transpose()
    }

    /// Page `page` (from 1) of at most `limit` rows, in the order of their names. A definition above 64 KiB reads as an empty text: a page
    /// of those would be without bound.
    ///
    /// # Errors
    /// See [`db::Error`].
    pub async fn page(&self, page: u32, limit: u32) -> Result<Page> {
        let shape = self.ready()?;
        let offset = i64::from(page.saturating_sub(1)) * i64::from(limit);
        let total = self.main().fetch("SELECT COUNT(*) FROM kubesvc_accounts", &[]).await?;
        let total = total.first().map_or(Ok(None), |r| r.int(0)).map_err(|e| self.main().row_error(e))?.unwrap_or(0);
        let sql = format!("SELECT {} FROM kubesvc_accounts ORDER BY name LIMIT ? OFFSET ?", shape.list_of_pages());
        let rows = self.main().fetch_dynamic(&sql, crate::args![i64::from(limit), offset]).await?;
        let rows = rows.iter().map(|r| AccountRow::read(self.main(), r)).collect::<Result<_>>()?;
        Ok(Page { rows, total })
    }
}
