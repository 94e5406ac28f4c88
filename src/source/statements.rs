//! The statements on Clouddriver's table, in each database's words.

use crate::store::db::Dialect;

/// The columns of every reading, in this order. Some casts differ, and so does the question for the primary.
///
/// 0 server state, 1 id, 2 type, 3 body or NULL, 4 created, 5 modified, 6 bytes of the body.
pub(super) struct Statements {
    pub read: &'static str,
    pub rows: &'static str,
    /// Without definitions: 0 server state, 1 id, 2 type, 3 modified.
    pub ids: &'static str,
    pub pre_image: &'static str,
    pub check: &'static str,
}

impl Statements {
    pub const fn of(dialect: Dialect) -> &'static Self {
        match dialect {
            Dialect::MySql => &MYSQL,
            Dialect::Postgres => &POSTGRES,
            Dialect::Sqlite => &SQLITE,
        }
    }
}

// A left join from one row of state, so that also "no row" is said by a server that says what it is.
// `read_only` is a number or a word by version, so it is read as text.
macro_rules! mysql_state {
    () => {
        "concat(@@global.read_only, '/', @@global.innodb_read_only)"
    };
}
macro_rules! mysql_columns {
    () => {
        "a.id, a.type, case when octet_length(a.body) <= ? and (? = 0 or a.type = 'kubernetes') then convert(a.body using utf8mb4) end, \
         cast(a.created_at as signed), cast(a.last_modified_at as signed), cast(octet_length(a.body) as signed)"
    };
}
const MYSQL: Statements = Statements {
    read: concat!("select s.state, ", mysql_columns!(), " from (select ", mysql_state!(), " as state) s left join accounts a on a.id = ?"),
    rows: concat!("select ", mysql_state!(), ", ", mysql_columns!(), " from accounts a"),
    ids: concat!("select ", mysql_state!(), ", a.id, a.type, cast(a.last_modified_at as signed) from accounts a"),
    pre_image: concat!(
        "select s.state, a.id, cast(a.created_at as signed), cast(a.last_modified_at as signed) from (select ",
        mysql_state!(),
        " as state) s left join accounts a on a.id = ?"
    ),
    check: concat!(
        "select ",
        mysql_state!(),
        ", version(), (select count(*) from (select id, type, body, created_at, last_modified_at from accounts limit 1) a)"
    ),
};

macro_rules! pg_state {
    () => {
        "concat(case when pg_is_in_recovery() then 'recovery' else '0' end, '/', current_setting('transaction_read_only'))"
    };
}
macro_rules! pg_columns {
    () => {
        "a.id::text, a.type::text, case when octet_length(a.body::text) <= ? and (? = 0 or a.type = 'kubernetes') then a.body::text end, \
         a.created_at::bigint, a.last_modified_at::bigint, octet_length(a.body::text)::bigint"
    };
}
const POSTGRES: Statements = Statements {
    read: concat!("select s.state, ", pg_columns!(), " from (select ", pg_state!(), " as state) s left join accounts a on a.id = ?"),
    // The state as a query of its own, or else it is asked for each row.
    rows: concat!("select (select ", pg_state!(), "), ", pg_columns!(), " from accounts a"),
    ids: concat!("select (select ", pg_state!(), "), a.id::text, a.type::text, a.last_modified_at::bigint from accounts a"),
    pre_image: concat!(
        "select s.state, a.id::text, a.created_at::bigint, a.last_modified_at::bigint from (select ",
        pg_state!(),
        " as state) s left join accounts a on a.id = ?"
    ),
    check: concat!(
        "select ",
        pg_state!(),
        ", version()::text, (select count(*) from (select id, type, body, created_at, last_modified_at from accounts limit 1) a)"
    ),
};

// Clouddriver itself never runs on SQLite; the demonstration's stand-in and tests keep their table there.
macro_rules! sqlite_columns {
    () => {
        "a.id, a.type, case when octet_length(a.body) <= ? and (? = 0 or a.type = 'kubernetes') then a.body end, a.created_at, \
         a.last_modified_at, octet_length(a.body)"
    };
}
const SQLITE: Statements = Statements {
    read: concat!("select s.state, ", sqlite_columns!(), " from (select '0/0' as state) s left join accounts a on a.id = ?"),
    rows: concat!("select '0/0', ", sqlite_columns!(), " from accounts a"),
    ids: "select '0/0', a.id, a.type, a.last_modified_at from accounts a",
    pre_image: "select '0/0', a.id, a.created_at, a.last_modified_at from (select 1) s left join accounts a on a.id = ?",
    check: "select '0/0', sqlite_version(), (select count(*) from (select id, type, body, created_at, last_modified_at from accounts limit 1))",
};
