//! What the database says about `kubesvc_accounts`. Only reading.

use super::db::{Db, Dialect, Result, Row};
use super::shape::Found;

const MYSQL: &str = "SELECT CAST(column_name AS CHAR), CAST(data_type AS CHAR), CAST(column_type AS CHAR),
  CAST(is_nullable = 'YES' AS SIGNED), CAST(column_default IS NOT NULL AS SIGNED), CAST(extra AS CHAR),
  CAST(CASE WHEN data_type IN ('char', 'varchar') THEN character_maximum_length END AS SIGNED),
  CAST(CASE WHEN data_type IN ('char', 'varchar') THEN NULL ELSE character_octet_length END AS SIGNED), NULL
 FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = 'kubesvc_accounts' ORDER BY ordinal_position";

// to_regclass follows the search path, as the statements do that use the table. A domain counts as what it is made of.
const POSTGRES: &str = "SELECT a.attname::text, COALESCE(b.typname, t.typname)::text, format_type(a.atttypid, a.atttypmod)::text,
  (NOT a.attnotnull)::int::bigint, (a.atthasdef OR a.attidentity <> '')::int::bigint, a.attgenerated::text,
  CASE WHEN t.typname IN ('varchar', 'bpchar') AND a.atttypmod > 4 THEN (a.atttypmod - 4)::bigint END, NULL::bigint,
  (SELECT e.enumlabel::text FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder LIMIT 1)
 FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_type b ON b.oid = t.typbasetype AND t.typtype = 'd'
 WHERE a.attrelid = to_regclass('kubesvc_accounts') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

const SQLITE: &str = "SELECT name, lower(type), lower(type), CASE \"notnull\" WHEN 0 THEN 1 ELSE 0 END,
  CASE WHEN dflt_value IS NULL THEN 0 ELSE 1 END, CASE WHEN hidden IN (2, 3) THEN 'stored generated' ELSE '' END, NULL, NULL, NULL
 FROM pragma_table_xinfo('kubesvc_accounts')";

/// The columns of `kubesvc_accounts`; none where there is no such table.
pub(super) async fn columns(db: &Db) -> Result<Vec<Found>> {
    let sql = match db.dialect() {
        Dialect::MySql => MYSQL,
        Dialect::Postgres => POSTGRES,
        Dialect::Sqlite => SQLITE,
    };
    let mut found: Vec<Found> =
        db.fetch(sql, &[]).await?.iter().map(|row| column(row).map_err(|e| db.row_error(e))).collect::<Result<_>>()?;
    if db.dialect() == Dialect::Sqlite {
        found.iter_mut().for_each(|c| c.base = affinity(&c.base).to_owned());
    }
    Ok(found)
}

/// SQLite takes any words for a type; these are its own rules for what they mean.
fn affinity(words: &str) -> &'static str {
    let has = |parts: &[&str]| parts.iter().any(|p| words.contains(p));
    if has(&["int"]) {
        "integer"
    } else if has(&["char", "clob", "text", "json"]) {
        "text"
    } else if words.is_empty() || has(&["blob"]) {
        "blob"
    } else {
        "numeric"
    }
}

fn column(row: &Row) -> std::result::Result<Found, sqlx::Error> {
    let text = |i| row.text(i).map(Option::unwrap_or_default);
    let (full, extra) = (text(2)?, text(5)?.to_lowercase());
    // "DEFAULT_GENERATED" is MySQL's word for a default that is an expression; that column has a default anyway.
    let computed = extra == "s" || extra.contains("stored gen") || extra.contains("virtual gen") || extra.contains("persistent");
    Ok(Found {
        name: text(0)?,
        base: text(1)?.to_lowercase().split('(').next().unwrap_or_default().trim().to_owned(),
        nullable: row.int(3)? == Some(1),
        filled: row.int(4)? == Some(1) || computed || extra.contains("auto_increment"),
        max_chars: row.int(6)?,
        max_bytes: row.int(7)?,
        first_label: row.text(8)?.or_else(|| mysql_label(&full)),
        full,
    })
}

/// The first value of `enum('A','B')`.
fn mysql_label(full: &str) -> Option<String> {
    let rest = full.strip_prefix("enum('")?;
    rest.split("','").next().map(|l| l.trim_end_matches("')").replace("''", "'"))
}

/// Most bytes of one statement that the server takes; `None` where there is no such bound.
pub(super) async fn packet(db: &Db) -> Result<Option<i64>> {
    if db.dialect() != Dialect::MySql {
        return Ok(None);
    }
    let rows = db.fetch("SELECT CAST(@@max_allowed_packet AS SIGNED)", &[]).await?;
    rows.first().map_or(Ok(None), |r| r.int(0).map_err(|e| db.row_error(e)))
}

/// Whether no two rows can have the same name.
pub(super) async fn name_is_unique(db: &Db) -> Result<bool> {
    let sql = match db.dialect() {
        Dialect::MySql => {
            "SELECT CAST(COUNT(*) AS SIGNED) FROM (SELECT index_name FROM information_schema.statistics
              WHERE table_schema = DATABASE() AND table_name = 'kubesvc_accounts' AND non_unique = 0
              GROUP BY index_name HAVING COUNT(*) = 1 AND MAX(LOWER(column_name)) = 'name') u"
        }
        Dialect::Postgres => {
            "SELECT COUNT(*)::bigint FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0]
              WHERE i.indrelid = to_regclass('kubesvc_accounts') AND i.indisunique AND i.indnkeyatts = 1 AND i.indpred IS NULL AND a.attname = 'name'"
        }
        Dialect::Sqlite => {
            "SELECT (SELECT COUNT(*) FROM pragma_index_list('kubesvc_accounts') l WHERE l.\"unique\" = 1 AND l.partial = 0
               AND (SELECT COUNT(*) FROM pragma_index_info(l.name)) = 1 AND (SELECT lower(name) FROM pragma_index_info(l.name)) = 'name')"
        }
    };
    let rows = db.fetch(sql, &[]).await?;
    let count = rows.first().map_or(Ok(None), |r| r.int(0)).map_err(|e| db.row_error(e))?;
    Ok(count.unwrap_or(0) > 0)
}
