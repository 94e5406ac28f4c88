//! Whether Clouddriver's table has changed, asked of the database in constant time.
//!
//! Both servers keep something of the kind for other purposes, and neither promises it. So it is a hint: only two equal marks say "nothing
//! has changed", and there is no mark wherever something is missing or not certain. `docs/adr/0007-scans-that-cost-what-changed.md` has
//! the reasons for each part.

use crate::store::db::{Dialect, Row};

/// What the database says of the table `accounts` at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sign {
    /// The database's time, in milliseconds.
    pub now: i64,
    mark: Option<String>,
}

// `update_time` is kept in memory: NULL after a restart. A commit sets it to the second in which its transaction began to write (measured),
// so for a while another one could set it to the same second. MySQL answers from a copy that may be a day old.
const MYSQL: &str = "select {now}, (select concat_ws('/', @@hostname, @@port, @@server_id, @@global.read_only, t.create_time, t.update_time) \
     from information_schema.tables t where t.table_schema = database() and t.table_name = 'accounts' and version() like '%MariaDB%' \
     and t.table_type = 'BASE TABLE' and t.engine = 'InnoDB' and t.create_options not like '%partitioned%' \
     and timestampdiff(second, t.update_time, now()) >= 60)";

// Rows that were inserted, updated and deleted since the counters were last reset, which the times beside them tell. Before version 15 an
// idle session could keep what it had counted to itself for ever.
const POSTGRES: &str = "select {now}, (select concat_ws('/', pg_postmaster_start_time(), pg_stat_get_bgwriter_stat_reset_time(), \
     pg_stat_get_db_stat_reset_time(d.oid), c.oid, c.relfilenode, pg_stat_get_tuples_inserted(c.oid), pg_stat_get_tuples_updated(c.oid), \
     pg_stat_get_tuples_deleted(c.oid)) from pg_class c, pg_database d where c.oid = to_regclass('accounts') and c.relkind = 'r' \
     and not c.relhassubclass and d.datname = current_database() and current_setting('server_version_num')::int >= 150000 \
     and current_setting('track_counts') = 'on' and not pg_is_in_recovery())";

const SQLITE: &str = "select {now}, null";

impl Sign {
    /// The question. Its answer is read by [`Sign::read`].
    pub(super) const fn statement(dialect: Dialect) -> &'static str {
        match dialect {
            Dialect::MySql => MYSQL,
            Dialect::Postgres => POSTGRES,
            Dialect::Sqlite => SQLITE,
        }
    }

    pub(super) fn read(row: &Row) -> Result<Self, sqlx::Error> {
        Ok(Self { now: row.int(0)?.unwrap_or(0), mark: row.text(1)? })
    }

    /// One that says nothing but the time.
    #[cfg(test)]
    pub(crate) const fn silent(now: i64) -> Self {
        Self { now, mark: None }
    }

    /// Whether nothing was committed between the moment of `before` and this one. `false`: something was, or it cannot be said.
    pub fn shows_no_change_since(&self, before: &Self) -> bool {
        before.mark.is_some() && self.mark == before.mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_equal_marks_say_that_nothing_has_changed() {
        let sign = |mark: Option<&str>| Sign { now: 1, mark: mark.map(str::to_owned) };
        assert!(sign(Some("a")).shows_no_change_since(&Sign { now: 0, ..sign(Some("a")) }));
        for (now, before) in [(Some("a"), Some("b")), (None, None), (Some("a"), None), (None, Some("a"))] {
            assert!(!sign(now).shows_no_change_since(&sign(before)), "{now:?} after {before:?}");
        }
    }
}
