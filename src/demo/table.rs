//! A table like Clouddriver's, for tests that read by SQL what the stand-in stores.

use crate::args;
use crate::store::db::{self, Db, Dialect, Error};

use super::accounts::Row;

/// Makes the table `accounts` as Clouddriver's Liquibase does on this database. It must not be there yet.
///
/// # Errors
/// The database's.
pub async fn create_accounts_table(db: &Db) -> db::Result<()> {
    let sql = match db.dialect() {
        Dialect::MySql => {
            "create table accounts (id varchar(255) not null primary key, type varchar(50) not null, \
             body longtext character set utf8mb4 collate utf8mb4_bin not null check (json_valid(body)), created_at bigint not null, \
             last_modified_at bigint not null, last_modified_by varchar(255) not null, key accounts_type_index (type)) \
             character set utf8mb4 collate utf8mb4_unicode_ci"
        }
        Dialect::Postgres => {
            "create table accounts (id varchar(255) not null primary key, type varchar(50) not null, body json not null, \
             created_at bigint not null, last_modified_at bigint not null, last_modified_by varchar(255) not null)"
        }
        Dialect::Sqlite => {
            "create table accounts (id text not null primary key, type text not null, body text not null, created_at integer not null, \
             last_modified_at integer not null, last_modified_by text not null)"
        }
    };
    db.exec(sql, &[]).await.map(drop)
}

/// Inserts; `false` when the name is taken.
pub(super) async fn insert(db: &Db, row: &Row) -> db::Result<bool> {
    let sql = match db.dialect() {
        Dialect::Postgres => "insert into accounts values (?, ?, cast(? as json), ?, ?, 'anonymous')",
        _ => "insert into accounts values (?, ?, ?, ?, ?, 'anonymous')",
    };
    match db.exec(sql, args![&row.id, &row.kind, &row.body, row.created, row.modified]).await {
        Ok(_) => Ok(true),
        Err(Error::Statement { source: sqlx::Error::Database(d), .. }) if d.is_unique_violation() => Ok(false),
        Err(e) => Err(e),
    }
}

/// Updates all but id and creation; `false` when there is no such name.
pub(super) async fn update(db: &Db, name: &str, kind: &str, body: &str, modified: i64) -> db::Result<bool> {
    let sql = match db.dialect() {
        Dialect::Postgres => "update accounts set type = ?, body = cast(? as json), last_modified_at = ? where id = ?",
        _ => "update accounts set type = ?, body = ?, last_modified_at = ? where id = ?",
    };
    Ok(db.exec(sql, args![kind, body, modified, name]).await? > 0)
}

/// Deletes; `false` when there is no such name.
pub(super) async fn delete(db: &Db, name: &str) -> db::Result<bool> {
    Ok(db.exec("delete from accounts where id = ?", args![name]).await? > 0)
}

/// All rows in the database's order of names.
pub(super) async fn all(db: &Db) -> db::Result<Vec<Row>> {
    let sql = match db.dialect() {
        Dialect::MySql => "select id, type, convert(body using utf8mb4), created_at, last_modified_at from accounts order by id",
        _ => "select id, type, cast(body as text), created_at, last_modified_at from accounts order by id",
    };
    db.fetch(sql, &[]).await?.iter().map(|r| row(r).map_err(|e| db.row_error(e))).collect()
}

/// One name's row.
pub(super) async fn find(db: &Db, name: &str) -> db::Result<Option<Row>> {
    let sql = match db.dialect() {
        Dialect::MySql => "select id, type, convert(body using utf8mb4), created_at, last_modified_at from accounts where id = ?",
        _ => "select id, type, cast(body as text), created_at, last_modified_at from accounts where id = ?",
    };
    db.fetch(sql, args![name]).await?.first().map(|r| row(r).map_err(|e| db.row_error(e))).transpose()
}

fn row(r: &db::Row) -> Result<Row, sqlx::Error> {
    Ok(Row {
        id: r.text(0)?.unwrap_or_default(),
        kind: r.text(1)?.unwrap_or_default(),
        body: r.text(2)?.unwrap_or_default(),
        created: r.int(3)?.unwrap_or_default(),
        modified: r.int(4)?.unwrap_or_default(),
    })
}
