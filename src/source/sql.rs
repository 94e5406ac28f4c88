//! Clouddriver's table, read with one autocommitted statement each time.
//!
//! Every statement carries the server's word on whether it is the primary, so that a failover between a check and a read
//! cannot slip through. A definition above [`MAX_BODY`] is not fetched at all; a page fetches the ordinary ones with its
//! one statement and the large ones singly, up to [`PAGE_BYTES`]. Where few definitions are wanted, a page is read without them ([`Sql::skim`]),
//! and those few by their names.
//!
//! An id that is no text cannot be named in a statement. Its row is poison, and what comes after it is found by its number of rows behind
//! the last id that is one.

use std::collections::{HashMap, HashSet};

use super::statements::Statements;
use super::{Bare, Error, Page, Poison, PreImage, Reading, Sign, SourceInfo, SourceRow, encoding};
use crate::account::Incarnation;
use crate::args;
use crate::store::db::{self, Db, Dialect, Row};

/// Largest definition that is read, in bytes: the server's own limit on one packet is as large by default.
const MAX_BODY: i64 = 16 * 1024 * 1024;
/// Largest definition that a page fetches with its statement. Together with a page's limit it bounds the memory of a page.
const ORDINARY_BODY: i64 = 64 * 1024;
/// A page ends early once it holds so many bytes of large definitions.
const PAGE_BYTES: usize = 16 * 1024 * 1024;
/// Most rows of one page: 64 MiB of ordinary definitions at the worst.
const MAX_ROWS: u32 = 1000;
/// Most rows of one page without definitions: some 20 MiB, if each id is as long as it can be.
const MAX_BARE: u32 = 10_000;
/// Most rows one after the other whose ids are no text.
const MAX_NAMELESS: i64 = 10_000;
/// Bytes of such an id that are told.
const SHOWN: usize = 64;

/// The table `accounts` behind one pool.
#[derive(Clone, Debug)]
pub struct Sql {
    db: Db,
}

/// Which rows a page is of.
#[derive(Clone, Copy, Default)]
pub(super) struct Range<'a> {
    /// Behind this id; `None`: from the first one.
    pub after: Option<&'a str>,
    /// Up to this one and with it; `None`: to the last one.
    pub upto: Option<&'a str>,
    /// Only those that were changed at this time or later, as `last_modified_at` says.
    pub since: Option<i64>,
}

/// A row's id, or the bytes that are no text.
pub(super) type Id = std::result::Result<String, Vec<u8>>;

/// A row as the statements give it.
enum Decoded {
    Row(SourceRow),
    /// There, above the statement's limit on bodies.
    Large(String),
    Poison(Poison),
}

impl Sql {
    /// Reads through this pool; its user needs SELECT on `accounts` and nothing else.
    pub const fn new(db: Db) -> Self {
        Self { db }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.db.dialect()
    }

    fn statements(&self) -> &'static Statements {
        Statements::of(self.dialect())
    }

    /// No id on PostgreSQL can hold a NUL, and the server refuses to compare with one.
    fn impossible(&self, name: &str) -> bool {
        self.db.dialect() == Dialect::Postgres && name.contains('\0')
    }

    pub(super) async fn read(&self, name: &str) -> Result<Reading, Error> {
        if self.impossible(name) {
            return Ok(Reading::Absent);
        }
        let rows = match self.fetch(self.statements().read, args![MAX_BODY, 0_i64, name]).await {
            Err(e) if encoding::is_to_blame(&e) => return self.refused(name).await,
            rows => rows?,
        };
        let row = rows.first().ok_or_else(|| self.odd("no answer to a reading"))?;
        self.primary(row)?;
        let Some(id) = self.id(row)? else { return Ok(Reading::Absent) };
        Ok(match Self::decode(row, id) {
            Decoded::Row(row) => Reading::Present(row),
            Decoded::Large(_) => Reading::Unknown(too_large()),
            Decoded::Poison(p) => Reading::Unknown(p.reason),
        })
    }

    /// What is large, and what may be there by another spelling, is left to [`Sql::read`]; so are all where one of them is refused.
    pub(super) async fn read_all(&self, names: &[&str]) -> Result<Vec<Option<Reading>>, Error> {
        match self.read_at_once(names).await {
            Err(e) if encoding::is_to_blame(&e) => Ok(names.iter().map(|_| None).collect()),
            read => read,
        }
    }

    async fn read_at_once(&self, names: &[&str]) -> Result<Vec<Option<Reading>>, Error> {
        let asked: Vec<&str> = names.iter().copied().filter(|n| !self.impossible(n)).collect();
        let mut found = HashMap::with_capacity(asked.len());
        let strangers = self.fetch_all(&asked, &mut found).await?;
        // Only MariaDB and MySQL take two spellings for one, and then the row that came has another one than was asked for, or is the row
        // of two that were asked for.
        let missing: Vec<&str> = asked.iter().copied().filter(|n| !found.contains_key(*n)).collect();
        let spelled = !missing.is_empty()
            && self.db.dialect() == Dialect::MySql
            && (strangers || self.fetch_all(&missing, &mut HashMap::new()).await?);
        Ok(names.iter().map(|n| found.remove(*n).unwrap_or((!spelled || self.impossible(n)).then_some(Reading::Absent))).collect())
    }

    /// Whether any row came whose id is none of these names.
    async fn fetch_all(&self, names: &[&str], found: &mut HashMap<String, Option<Reading>>) -> Result<bool, Error> {
        if names.is_empty() {
            return Ok(false);
        }
        // The statement of one name, of several.
        let read = self.statements().read;
        let sql = format!("{} in ({})", read.strip_suffix(" = ?").unwrap_or(read), db::listed("?", names.len()));
        let mut values = args![ORDINARY_BODY, 1_i64].to_vec();
        values.extend(names.iter().map(|n| db::Arg::from(*n)));
        let rows = self.db.fetch_dynamic(&sql, &values).await.map_err(|e| self.explain(e))?;
        let known: HashSet<&str> = names.iter().copied().collect();
        let mut strangers = false;
        for row in &rows {
            self.primary(row)?;
            let id = match self.id(row)? {
                Some(Ok(id)) if known.contains(id.as_str()) => id,
                Some(_) => {
                    strangers = true;
                    continue;
                }
                None => continue,
            };
            let reading = match Self::decode(row, Ok(id.clone())) {
                Decoded::Row(row) => Some(Reading::Present(row)),
                Decoded::Large(_) => None,
                Decoded::Poison(p) => Some(Reading::Unknown(p.reason)),
            };
            found.insert(id, reading);
        }
        if rows.is_empty() { Err(self.odd("no answer to a reading")) } else { Ok(strangers) }
    }

    pub(super) async fn page(&self, range: Range<'_>, limit: u32) -> Result<Page, Error> {
        self.step(false, range, limit.clamp(1, MAX_ROWS)).await
    }

    /// As [`Sql::page`], without definitions.
    pub(super) async fn skim(&self, after: Option<&str>, limit: u32) -> Result<Page, Error> {
        self.step(true, Range { after, ..Range::default() }, limit.clamp(1, MAX_BARE)).await
    }

    /// `bare`: without definitions.
    async fn step(&self, bare: bool, range: Range<'_>, limit: u32) -> Result<Page, Error> {
        let limit = i64::from(limit);
        let mut page = Page::default();
        let (mut large, mut cut) = (0, false);
        let mut last = range.after.map(str::to_owned);
        // Rows behind `last` that no statement can name.
        let (mut nameless, mut size) = (0, limit);
        loop {
            let behind = Range { after: last.as_deref(), ..range };
            let rows = match self.rows(bare, behind, size, nameless).await {
                Err(e) if encoding::is_to_blame(&e) && size > 1 => {
                    size /= 2;
                    continue;
                }
                Err(e) if encoding::is_to_blame(&e) && nameless < MAX_NAMELESS => {
                    let Some(id) = self.raw_id(behind, nameless).await? else { continue };
                    page.raw_count += 1;
                    page.poison.push(id.as_deref().map_or_else(|bytes| no_text(bytes), encoding::poison));
                    if let Ok(id) = id {
                        page.next = Some(id);
                        return Ok(page);
                    }
                    (nameless, size) = (nameless + 1, limit);
                    continue;
                }
                rows => rows?,
            };
            // A statement that began on the primary shows what the primary had then.
            rows.first().map_or(Ok(()), |row| self.primary(row))?;
            for row in &rows {
                if large >= PAGE_BYTES {
                    cut = true;
                    break;
                }
                page.raw_count += 1;
                let id = self.id(row)?.ok_or_else(|| self.odd("a row with no id"))?;
                match &id {
                    Ok(id) => (last, nameless) = (Some(id.clone()), 0),
                    Err(_) => nameless += 1,
                }
                if bare {
                    match id {
                        Ok(id) => page.bare.push(glimpse(row, id)),
                        Err(bytes) => page.poison.push(no_text(&bytes)),
                    }
                    continue;
                }
                match Self::decode(row, id) {
                    Decoded::Row(row) => page.rows.push(row),
                    Decoded::Poison(p) => page.poison.push(p),
                    Decoded::Large(id) => match self.read(&id).await? {
                        Reading::Present(row) => {
                            large += row.body.len();
                            page.rows.push(row);
                        }
                        // Gone since the page's statement.
                        Reading::Absent => {}
                        Reading::Unknown(reason) => page.poison.push(Poison { id, reason }),
                    },
                }
            }
            let full = i64::try_from(rows.len()) == Ok(size);
            if full && !cut && nameless > 0 && nameless < MAX_NAMELESS {
                continue;
            }
            if full && nameless >= MAX_NAMELESS {
                return Err(self.odd("too many ids one after the other that are no text"));
            }
            page.next = if full || cut { last } else { None };
            return Ok(page);
        }
    }

    async fn rows(&self, bare: bool, range: Range<'_>, limit: i64, skip: i64) -> Result<Vec<Row>, Error> {
        let begin = match bare {
            true => (self.statements().ids, Vec::new()),
            false => (self.statements().rows, args![ORDINARY_BODY, 1_i64].to_vec()),
        };
        self.select(begin, range, limit, skip).await
    }

    /// The statement that begins so, of a range's rows in their order, with its values.
    pub(super) async fn select(&self, begin: (&str, Vec<db::Arg>), range: Range<'_>, limit: i64, skip: i64) -> Result<Vec<Row>, Error> {
        let (statement, mut values) = begin;
        let mut conditions = Vec::new();
        let ids = [("a.id > ?", range.after), ("a.id <= ?", range.upto)];
        for (condition, id) in ids.into_iter().filter_map(|(condition, id)| Some((condition, id?))) {
            conditions.push(condition);
            values.push(id.into());
        }
        if let Some(since) = range.since {
            conditions.push("(a.last_modified_at >= ? or a.last_modified_at is null)");
            values.push(since.into());
        }
        let and = if conditions.is_empty() { "" } else { " where " };
        let offset = if skip > 0 { " offset ?" } else { "" };
        let sql = format!("{statement}{and}{} order by a.id limit ?{offset}", conditions.join(" and "));
        values.push(limit.into());
        if skip > 0 {
            values.push(skip.into());
        }
        self.db.fetch_dynamic(&sql, &values).await.map_err(|e| self.explain(e))
    }

    /// What the database says of the table without reading it.
    pub(super) async fn sign(&self) -> Result<Sign, Error> {
        let rows = self.fetch(Sign::statement(self.db.dialect()), &[]).await?;
        let row = rows.first().ok_or_else(|| self.odd("no answer to the question for changes"))?;
        Sign::read(row).map_err(|e| self.undecodable(e))
    }

    pub(super) async fn check(&self) -> Result<SourceInfo, Error> {
        let rows = self.fetch(self.statements().check, &[]).await?;
        let row = rows.first().ok_or_else(|| self.odd("no answer to the check"))?;
        self.primary(row)?;
        let server = row.text(1).map_err(|e| self.undecodable(e))?.unwrap_or_default();
        Ok(SourceInfo { mode: "sql", place: self.db.label().to_owned(), server })
    }

    /// What the server believes by its statistics.
    pub(super) async fn estimate(&self) -> Option<u64> {
        let sql = match self.db.dialect() {
            Dialect::MySql => {
                "select cast(table_rows as signed) from information_schema.tables where table_schema = database() and table_name = 'accounts'"
            }
            Dialect::Postgres => "select reltuples::bigint from pg_class where oid = to_regclass('accounts')",
            Dialect::Sqlite => return None,
        };
        let rows = self.db.fetch(sql, &[]).await.ok()?;
        u64::try_from(rows.first()?.int(0).ok()??).ok().filter(|rows| *rows > 0)
    }

    pub(super) async fn pre_image(&self, name: &str) -> PreImage {
        if self.impossible(name) {
            return PreImage::None;
        }
        let Ok(rows) = self.fetch(self.statements().pre_image, args![name]).await else { return PreImage::Unknown };
        let Some(row) = rows.first() else { return PreImage::Unknown };
        if self.primary(row).is_err() {
            return PreImage::Unknown;
        }
        match (self.id(row), row.int(2), row.int(3)) {
            (Ok(None), ..) => PreImage::None,
            (Ok(Some(_)), Ok(Some(created)), Ok(modified)) => PreImage::Row { created, modified: modified.unwrap_or(created) },
            _ => PreImage::Unknown,
        }
    }

    pub(super) async fn fetch(&self, sql: &'static str, args: &[db::Arg]) -> Result<Vec<Row>, Error> {
        self.db.fetch(sql, args).await.map_err(|e| self.explain(e))
    }

    /// The two failures that an operator mends get words of their own.
    fn explain(&self, e: db::Error) -> Error {
        if let db::Error::Statement { source: sqlx::Error::Database(d), .. } = &e {
            let number = d.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>().map(sqlx::mysql::MySqlDatabaseError::number);
            let code = d.code().unwrap_or_default();
            match (number, &*code) {
                (Some(1142 | 1143), _) | (None, "42501") => return Error::NoRight(self.db.label().to_owned()),
                (Some(1146), _) | (None, "42P01") => return Error::NoTable(self.db.label().to_owned()),
                // SQLite has one code for every mistake in a statement, and ours are right where the table is there.
                (None, "1") if self.db.dialect() == Dialect::Sqlite => return Error::NoTable(self.db.label().to_owned()),
                _ => {}
            }
        }
        Error::Database(e)
    }

    fn primary(&self, row: &Row) -> Result<(), Error> {
        let state = row.text(0).map_err(|e| self.undecodable(e))?.unwrap_or_default();
        if state.split('/').all(|s| matches!(s, "0" | "off" | "OFF")) { Ok(()) } else { Err(Error::NotPrimary(self.db.label().to_owned())) }
    }

    /// `None`: no row.
    pub(super) fn id(&self, row: &Row) -> Result<Option<Id>, Error> {
        row.text_or_bytes(1).map_err(|e| self.undecodable(e))
    }

    fn decode(row: &Row, id: Id) -> Decoded {
        let id = match id {
            Ok(id) => id,
            Err(bytes) => return Decoded::Poison(no_text(&bytes)),
        };
        let poison = |reason: String| Decoded::Poison(Poison { id: id.clone(), reason });
        let kind = match row.text(2) {
            Ok(Some(kind)) => kind,
            Ok(None) => return poison("the row has no type".into()),
            // Driver errors of this kind name column types, never values.
            Err(e) => return poison(format!("the type cannot be decoded: {e}")),
        };
        let created = match row.int(4) {
            Ok(Some(created)) => created,
            Ok(None) => return poison("created_at is NULL".into()),
            Err(e) => return poison(format!("created_at cannot be decoded: {e}")),
        };
        let modified = match row.int(5) {
            Ok(modified) => modified,
            Err(e) => return poison(format!("last_modified_at cannot be decoded: {e}")),
        };
        let body = match (row.text(3), row.int(6)) {
            (Ok(Some(body)), _) => body,
            (Ok(None), _) if kind != "kubernetes" => String::new(),
            (Ok(None), Ok(Some(bytes))) if bytes > MAX_BODY => return poison(too_large()),
            (Ok(None), Ok(Some(_))) => return Decoded::Large(id),
            (Ok(None), _) => return poison("the body is NULL".into()),
            (Err(e), _) => return poison(format!("the body cannot be decoded: {e}")),
        };
        Decoded::Row(SourceRow { id, kind, body, incarnation: Incarnation(created), modified })
    }

    pub(super) fn undecodable(&self, e: sqlx::Error) -> Error {
        Error::Database(self.db.row_error(e))
    }

    fn odd(&self, what: &'static str) -> Error {
        Error::Database(self.db.row_error(sqlx::Error::Protocol(what.into())))
    }
}

/// A row of which nothing but its id has to be right: what is wrong with the rest is found by whoever reads it.
fn glimpse(row: &Row, id: String) -> Bare {
    let other = matches!(row.text(2), Ok(Some(kind)) if kind != "kubernetes");
    Bare { id, may_be_kubernetes: !other, modified: row.int(3).ok().flatten() }
}

/// The id as Java would show it, so that patterns can be asked; the reason has its bytes.
fn no_text(bytes: &[u8]) -> Poison {
    let hex: String = bytes.iter().take(SHOWN).map(|b| format!("{b:02x}")).collect();
    let rest = if bytes.len() > SHOWN { "…" } else { "" };
    Poison { id: String::from_utf8_lossy(bytes).into_owned(), reason: format!("the id is no text: {hex}{rest}") }
}

fn too_large() -> String {
    format!("the definition is larger than {} MiB", MAX_BODY / 1024 / 1024)
}
